"""The list of all pages: what jobs made and how their runs ended, then domains, then the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from dmarckit.core import StoredObject, _, current_language, later, ngettext, text as words
from dmarckit.lake import Lake
from dmarckit.pages.html import notebook_word, script_hash, script_source, templates, text_script
from dmarckit.pages.inputs import page_versions

INDEX = "index.html"
NEWEST = 14  # pages of a notebook, or runs of a job, in sight; older ones are behind a toggle
DOMAIN = "domain"  # the notebook whose pages come first after the jobs
_KEY = re.compile(
    r"(?P<notebook>[\w-]+)/((?P<domain>[\w.-]+)/)?(?P<day>\d{4}-\d\d-\d\d)"
    r"(\.(?P<words>[\w.-]*)\.[0-9a-f]{8})?\.html",
    re.ASCII,
)
MOST = 5000  # runs that are looked at, the newest ones

_LEVELS = {"ok": "good", "problems": "warning"}
_RESULTS = {
    "ok": later("ok"),
    "problems": later("problems"),
    "failed": later("failed"),
    "interrupted": later("interrupted"),
}


@dataclass(frozen=True)
class RunEntry:
    """One run, or several of a day that ended alike; plain text, not escaped yet."""

    started: datetime
    result: str
    level: str
    address: str | None  # of its page, relative to the index; None: it made none, or it is gone
    counts: str
    error: str
    notebook: str  # where the failed notebook is kept; empty: none is
    earlier: int  # runs before it that day with the same end and page, not shown on their own


def read_runs(lake: Lake) -> pd.DataFrame:
    """Return the newest runs of the lake, as `index_page` takes them; empty without any."""
    return lake.sql("SELECT * FROM runs ORDER BY started DESC, run LIMIT $most", most=MOST)


def jobs(runs: pd.DataFrame, keys: Collection[str]) -> dict[str, list[RunEntry]]:
    """Return jobs by name, with their runs, from rows of the table `runs` in any order.

    `keys` are the pages that are stored. The newest runs come first. Runs of a day that ended
    alike, with the same page and error, are one entry: jobs that run every few minutes would
    hide all others.
    """
    texts = dict.fromkeys(("page", "error", "notebook"), "")
    ordered = runs.fillna(texts).sort_values(
        ["job", "started", "run"], ascending=[True, False, False], kind="stable"
    )
    alike: dict[tuple[Any, ...], list[Any]] = {}
    for row in ordered.itertuples(index=False):
        same = (row.job, row.result, row.page, row.error, f"{row.started:%Y-%m-%d}")
        alike.setdefault(same, []).append(row)
    found: dict[str, list[RunEntry]] = {}
    for row, *earlier in alike.values():
        entry = RunEntry(
            started=row.started,
            result=_(_RESULTS.get(row.result, row.result)),
            level=_LEVELS.get(row.result, "bad"),
            address=quote(row.page) if row.page in keys else None,
            counts=_counts(row),
            error=row.error,
            notebook=row.notebook,
            earlier=len(earlier),
        )
        found.setdefault(str(row.job), []).append(entry)
    return found


def _counts(row: Any) -> str:
    """Return what the run read and found, in words; zeros are left out."""
    numbers: dict[str, Callable[[int], str]] = {
        "mails": lambda n: ngettext("{n} mail", "{n} mails", n),
        "stored": lambda n: _("{n} stored"),
        "duplicate": lambda n: ngettext("{n} duplicate", "{n} duplicates", n),
        "untrusted": lambda n: _("{n} not trusted"),
        "unreadable": lambda n: _("{n} unreadable"),
        "unreachable": lambda n: _("{n} unreachable"),
        "findings": lambda n: ngettext("{n} open finding", "{n} open findings", n),
        "told": lambda n: ngettext("{n} message to Slack", "{n} messages to Slack", n),
        "waiting": lambda n: ngettext("{n} message waiting", "{n} messages waiting", n),
    }
    values = {name: getattr(row, name) for name in numbers}
    found = {name: int(n) for name, n in values.items() if not words.is_missing(n) and n > 0}
    return ", ".join(numbers[name](n).format(n=words.count(n)) for name, n in found.items())


class Entry(NamedTuple):
    """One page as the index shows it."""

    day: str
    address: str  # relative to the index
    parameters: str  # other than the domain


@dataclass(frozen=True)
class PageGroup:
    """The pages of a notebook, or of one domain in it, the newest first."""

    name: str
    pages: tuple[Entry, ...]
    domains: tuple[PageGroup, ...] = ()  # the newest pages first; of the same day by name


def index_page(objects: Iterable[StoredObject], runs: pd.DataFrame | None = None) -> bytes:
    """Return the index, UTF-8. Objects that are no pages are left out.

    `runs` are rows of the table `runs`: pages that they made stand below the name of their
    schedule, with how the run ended; runs that failed are there too. Other pages follow by
    notebook, domain and day.
    """
    script = text_script() + script_source("pages.js")
    keys = [stored.key for stored in objects]
    known = jobs(runs, set(keys)) if runs is not None else {}
    shown = {run.address for entries in known.values() for run in entries}
    template = templates().get_template("pages.html.j2")
    page = template.render(
        notebook_word=notebook_word,
        jobs=known,
        groups=_groups(keys, shown),
        newest=NEWEST,
        script=script,
        script_hash=script_hash(script),
        versions=page_versions(),
        language=current_language(),
    )
    return page.encode("utf-8")


def _groups(keys: Iterable[str], shown: Collection[str | None]) -> list[PageGroup]:
    found: dict[str, dict[str, list[Entry]]] = {}
    for match in filter(None, map(_KEY.fullmatch, keys)):
        words = (match["words"] or "").split(".")
        parameters = ", ".join(word.replace("-", " ", 1) for word in words)
        domain = match["domain"] or ""
        if domain and parameters and match["notebook"] != DOMAIN:
            # another sender is another thing, and no older page of the same
            domain, parameters = f"{domain}: {parameters}", ""
        entry = Entry(match["day"], quote(match[0]), parameters)
        if entry.address not in shown:
            found.setdefault(match["notebook"], {}).setdefault(domain, []).append(entry)
    groups = []
    for name in sorted(found, key=lambda name: (name != DOMAIN, name)):
        pages = {d: tuple(sorted(found[name][d], reverse=True)) for d in sorted(found[name])}
        own = pages.pop("", ())
        parts = [PageGroup(domain, entries) for domain, entries in pages.items()]
        parts.sort(key=lambda group: group.pages[0].day, reverse=True)
        groups.append(PageGroup(name, own, tuple(parts)))
    return groups
