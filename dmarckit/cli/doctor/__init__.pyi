from . import machine as machine, places as places, services as services
