"""dmarckit: DMARC reports from S3 to one page a morning.

The names that notebooks use are here; each is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmarckit.core import Settings, Window, last_days, load_settings
    from dmarckit.facts import Lake, open_lake

__version__ = "0.1.0"

__all__ = [
    "Lake",
    "Settings",
    "Window",
    "__version__",
    "last_days",
    "load_settings",
    "open_lake",
]

_HOMES = {
    "Lake": "facts.lake",
    "open_lake": "facts.lake",
    "Settings": "core.settings",
    "load_settings": "core.settings",
    "Window": "core.window",
    "last_days": "core.window",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dmarckit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dmarckit.{_HOMES[name]}"), name)
