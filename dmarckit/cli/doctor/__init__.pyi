from . import check as check, machine as machine, places as places, services as services
