from .core import (
    Settings as Settings,
    Window as Window,
    last_days as last_days,
    load_settings as load_settings,
)
from .facts import Lake as Lake, open_lake as open_lake
from .pages import Page as Page, open_page as open_page

__version__: str
