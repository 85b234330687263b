"""The list of all pages: what jobs made and how their runs ended, then all by notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from dmarckit.core import (
    StoredObject,
    _,
    current_language,
    later,
    ngettext,
    show_domain,
    text as words,
)
from dmarckit.pages.html import (
    NOTEBOOKS,
    notebook_word,
    script_hash,
    script_source,
    templates,
    text_script,
)
from dmarckit.pages.inputs import page_versions
from dmarckit.pages.links import KEY

NEWEST = 14  # pages of a notebook, or runs of a job, in sight; older ones are behind a toggle
_LEVELS = {"ok": "good", "problems": "warning"}
_RESULTS = {"ok": later("ok"), "problems": later("problems")}
_RESULTS |= {"failed": later("failed"), "interrupted": later("interrupted")}


def jobs(
    runs: Iterable[Mapping[str, Any]], addresses: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return jobs by name, with their runs, from rows of the table `runs` in any order.

    `addresses` are those of the pages that are stored, by key. The newest runs come first. Runs of
    a day that ended alike, with the same page and error, are one entry: jobs that run every few
    minutes would hide all others. Beside the columns of `runs` an entry has `result` in words, its
    `level`, `address` (of its page; empty: it made none, or it is gone), `counts` in words, and
    `earlier` (the runs of the day like it that are not shown on their own).
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: (run["started"], run["run"]), reverse=True):
        alike = ("job", "result", "page", "error")
        key = (f"{run['started']:%Y-%m-%d}", *(run[name] for name in alike))
        if key in found:
            found[key]["earlier"] += 1
            continue
        found[key] = {
            **run,
            "earlier": 0,
            "level": _LEVELS.get(run["result"], "bad"),
            "result": _(_RESULTS.get(run["result"], run["result"])),
            "address": addresses.get(run["page"] or "", ""),
            "counts": _counts(run),
        }
    by_job: dict[str, list[dict[str, Any]]] = {}
    for entry in found.values():
        by_job.setdefault(entry["job"], []).append(entry)
    return dict(sorted(by_job.items()))


def _counts(run: Mapping[str, Any]) -> str:
    """Return what the run read and found, in words; zeros are left out."""
    numbers: dict[str, Callable[[int], str]] = {
        "mails": lambda n: ngettext("{n} email", "{n} emails", n),
        "stored": lambda n: _("{n} stored"),
        "duplicate": lambda n: ngettext("{n} duplicate", "{n} duplicates", n),
        "untrusted": lambda n: _("{n} not trusted"),
        "unreadable": lambda n: _("{n} unreadable"),
        "unreachable": lambda n: _("{n} unreachable"),
        "findings": lambda n: ngettext("{n} open finding", "{n} open findings", n),
        "told": lambda n: ngettext("{n} message sent", "{n} messages sent", n),
        "waiting": lambda n: ngettext("{n} message waiting", "{n} messages waiting", n),
    }
    found = {name: n for name in numbers if (n := run[name])}
    return ", ".join(numbers[name](n).format(n=words.count(n)) for name, n in found.items())


class Entry(NamedTuple):
    """One page as the index shows it."""

    day: str
    address: str  # empty: an old page of which there is no link
    parameters: str  # other than the domain


@dataclass(frozen=True)
class PageGroup:
    """The pages of a notebook, or of one domain in it, the newest first."""

    name: str
    pages: tuple[Entry, ...]
    domains: tuple[PageGroup, ...] = ()  # the newest pages first; of the same day by name


def index_page(
    objects: Iterable[StoredObject],
    runs: Iterable[Mapping[str, Any]] = (),
    address: Callable[[str], str] = quote,
    linked: int | None = None,
) -> bytes:
    """Return the index, UTF-8. Objects that are no pages are left out.

    `runs` are rows of that table: pages that they made stand below the name of their schedule,
    with how the run ended. Other pages follow by notebook, domain and day. The `linked`
    newest pages (all unless given) have a link, by `address`.
    """
    script = text_script() + script_source("pages.js")
    found_keys = [match for stored in objects if (match := KEY.fullmatch(stored.key))]
    found_keys.sort(key=lambda match: match["day"], reverse=True)
    addresses = {match[0]: "" for match in found_keys}
    addresses |= {match[0]: address(match[0]) for match in found_keys[:linked]}
    known = jobs(runs, addresses)
    shown = {run["page"] for entries in known.values() for run in entries}
    found: dict[str, dict[str, list[Entry]]] = {}
    for match in found_keys:
        rest = (match["words"] or "").split(".")
        # of a sender's page its name is enough
        words_ = (word.removeprefix(f"{match['notebook']}-").replace("-", " ", 1) for word in rest)
        parameters = ", ".join(words_)
        domain = show_domain(match["domain"] or "")
        if domain and parameters and match["notebook"] != "domain":
            # another sender is another thing, and no older page of the same
            domain, parameters = f"{domain}: {parameters}", ""
        entry = Entry(match["day"], addresses[match[0]], parameters)
        if match[0] not in shown:
            found.setdefault(match["notebook"], {}).setdefault(domain, []).append(entry)
    groups, order = [], [*NOTEBOOKS, *sorted(found)]
    for name in sorted(found, key=order.index):
        pages = {d: tuple(sorted(found[name][d], reverse=True)) for d in sorted(found[name])}
        own = pages.pop("", ())
        parts = [PageGroup(domain, entries) for domain, entries in pages.items()]
        parts.sort(key=lambda group: group.pages[0].day, reverse=True)
        groups.append(PageGroup(name, own, tuple(parts)))
    template = templates().get_template("pages.html.j2")
    page = template.render(
        notebook_word=notebook_word,
        jobs=known,
        groups=groups,
        newest=NEWEST,
        script=script,
        script_hash=script_hash(script),
        versions=page_versions(),
        language=current_language(),
    )
    return page.encode("utf-8")
