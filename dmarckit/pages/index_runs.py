"""Runs of the jobs as the index of all pages shows them: what ended how, and its page."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pandas as pd

from dmarckit.core import words
from dmarckit.core.errors import one_line
from dmarckit.core.language import _, later, ngettext
from dmarckit.lake.lake import Lake

MOST = 5000
"""runs that are looked at, the newest ones"""

_LEVELS = {"ok": "good", "problems": "warning"}
_RESULTS = {
    "ok": later("ok"),
    "problems": later("problems"),
    "failed": later("failed"),
    "interrupted": later("interrupted"),
}


@dataclass(frozen=True)
class RunEntry:
    """One run, or several that ended alike in a row; plain text, not escaped yet."""

    started: datetime
    result: str
    level: str
    address: str | None
    """of its page, relative to the index; None: it made none, or it is gone"""
    counts: str
    error: str
    notebook: str
    """where the failed notebook is kept; empty: none is"""
    earlier: int
    """runs before it that day with the same end and page, not shown on their own"""


@dataclass(frozen=True)
class Job:
    """The runs of a schedule, the newest first."""

    name: str
    runs: tuple[RunEntry, ...]


def read_runs(lake: Lake) -> pd.DataFrame:
    """The newest runs of the lake, as `index_page` takes them; empty without any."""
    return lake.sql("SELECT * FROM runs ORDER BY started DESC, run LIMIT $most", most=MOST)


def jobs(runs: pd.DataFrame, keys: Collection[str]) -> list[Job]:
    """Jobs by name, with their runs. Takes rows of the table `runs`, in any order.

    `keys` are the pages that are stored. Runs of a day that ended alike, with the same page
    and error, are one entry: jobs that run every few minutes would hide all others.
    """
    newest = runs.sort_values(["started", "run"], ascending=False, kind="stable")
    return [
        Job(str(name), tuple(_entries(rows, keys)))
        for name, rows in newest.groupby("job", sort=True)
    ]


def _entries(rows: pd.DataFrame, keys: Collection[str]) -> list[RunEntry]:
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows.itertuples(index=False):
        alike = (row.result, _text(row.page), _text(row.error), f"{row.started:%Y-%m-%d}")
        found.setdefault(alike, []).append(row)
    return [_entry(same[0], len(same) - 1, keys) for same in found.values()]


def _entry(row: Any, earlier: int, keys: Collection[str]) -> RunEntry:
    page = _text(row.page)
    return RunEntry(
        started=row.started,
        result=_(_RESULTS.get(str(row.result), str(row.result))),
        level=_LEVELS.get(str(row.result), "bad"),
        address=quote(page) if page in keys else None,
        counts=_counts(row),
        error=one_line(_text(row.error), 400),
        notebook=one_line(_text(row.notebook), 400),
        earlier=earlier,
    )


def _counts(row: Any) -> str:
    """What the run read and found, in words; what is nothing is left out."""
    numbers: dict[str, Callable[[int], str]] = {
        "mails": lambda n: ngettext("{n} mail", "{n} mails", n),
        "stored": lambda n: _("{n} stored"),
        "duplicate": lambda n: ngettext("{n} duplicate", "{n} duplicates", n),
        "untrusted": lambda n: _("{n} not trusted"),
        "unreadable": lambda n: _("{n} unreadable"),
        "findings": lambda n: ngettext("{n} open finding", "{n} open findings", n),
        "told": lambda n: ngettext("{n} message to Slack", "{n} messages to Slack", n),
        "waiting": lambda n: ngettext("{n} message waiting", "{n} messages waiting", n),
    }
    parts = []
    for name, text in numbers.items():
        value = getattr(row, name)
        if not words.is_missing(value) and value and int(value) > 0:
            parts.append(text(int(value)).format(n=words.count(int(value))))
    return ", ".join(parts)


def _text(value: Any) -> str:
    return "" if value is None or words.is_missing(value) else str(value)
