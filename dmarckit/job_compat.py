"""Until `telling` and `publishing` speak as agreed: the same calls on what they have now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dmarckit import publishing, telling
from dmarckit.errors import SlackError
from dmarckit.pages import store_index
from dmarckit.settings import Settings
from dmarckit.storage import open_storage

try:
    from dmarckit.telling import tell_failure  # type: ignore[attr-defined,unused-ignore]

    tell: Any = telling.tell
except ImportError:

    @dataclass
    class _Told(telling.Told):
        sent: int = 0
        waiting: int = 0
        warnings: Any = ()
        open_findings: int = 0

    def tell(
        settings: Any,
        schedule: Any,
        ingested: Any,
        published: Any,
        *,
        run: str,
        now: Any,
        step: Any,
    ) -> Any:  # type: ignore[no-redef]
        if published is None:
            return _Told()
        told = telling.tell(settings, schedule, ingested, published, now=now, step=step)
        return _Told(told.messages, told.channel, told.saved, sent=len(told.messages))

    def tell_failure(*a: Any, **k: Any) -> Any:  # type: ignore[no-redef]
        return _Told()


def refresh_index(settings: Settings) -> None:
    if hasattr(publishing, "refresh_index"):
        publishing.refresh_index(settings)
    else:
        store_index(open_storage(settings.pages_url))
