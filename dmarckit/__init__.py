"""dmarckit: DMARC reports from S3 to one page a morning.

>>> import dmarckit as dk
>>> lake = dk.open_lake()  # doctest: +SKIP
>>> page = dk.open_page(days=30)  # doctest: +SKIP

Each name is imported when it is first asked for.
"""

import typing as _typing

import lazy_loader as _lazy

if _typing.TYPE_CHECKING:
    from dmarckit.core import Settings, Window, last_days, load_settings
    from dmarckit.facts import Lake, open_lake
    from dmarckit.pages import Page, open_page

__version__ = "0.1.0"
__all__ = [
    "Lake",
    "Page",
    "Settings",
    "Window",
    "__version__",
    "last_days",
    "load_settings",
    "open_lake",
    "open_page",
]

__getattr__, _, _ = _lazy.attach(
    __name__,
    submod_attrs={
        "core": ["Settings", "Window", "last_days", "load_settings"],
        "facts": ["Lake", "open_lake"],
        "pages": ["Page", "open_page"],
    },
)


def __dir__() -> list[str]:
    return __all__
