"""The list of all pages: what jobs made and how their runs ended, then domains, then the rest."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import quote

import jinja2
import pandas as pd

from dmarckit.core.language import _, language, ngettext
from dmarckit.core.objects import StoredObject
from dmarckit.pages.index_runs import jobs
from dmarckit.pages.page_texts import notebook_word, text_script
from dmarckit.pages.render import TEMPLATES, script_hash, versions

INDEX = "index.html"
NEWEST = 14
"""pages of a notebook, or runs of a job, that are in sight; older ones are behind a toggle"""
DOMAIN = "domain"
"""the notebook whose pages come first after the jobs"""
_KEY = re.compile(
    r"(?P<notebook>[\w-]+)/((?P<domain>[\w.-]+)/)?(?P<day>\d{4}-\d\d-\d\d)"
    r"(\.(?P<words>[\w.-]*)\.[0-9a-f]{8})?\.html",
    re.ASCII,
)


@dataclass(frozen=True)
class Entry:
    """One page as the index shows it."""

    address: str
    """relative to the index"""
    day: str
    parameters: str
    """other than the domain"""


@dataclass(frozen=True)
class Group:
    """The pages of a notebook, or of one domain in it, the newest first."""

    name: str
    pages: tuple[Entry, ...]
    domains: tuple[Group, ...] = ()
    """the newest pages first; of the same day by name"""


def index_page(objects: Iterable[StoredObject], runs: pd.DataFrame | None = None) -> bytes:
    """The index, UTF-8. Objects that are no pages are left out.

    `runs` are rows of the table `runs`: pages that they made stand below the name of their
    schedule, with how the run ended; runs that failed are there too. Other pages follow by
    notebook, domain and day.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "dmarckit"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_=_, ngettext=ngettext, notebook_word=notebook_word)
    script = text_script() + (TEMPLATES / "dmarckit/pages.js").read_text("utf-8")
    keys = [stored.key for stored in objects]
    known = jobs(runs, set(keys)) if runs is not None else []
    shown = {run.address for job in known for run in job.runs}
    page = environment.get_template("pages.html.j2").render(
        jobs=known,
        groups=_groups(keys, shown),
        newest=NEWEST,
        script=script,
        script_hash=script_hash(script),
        versions=versions(),
        language=language(),
    )
    return page.encode("utf-8")


def _groups(keys: Iterable[str], shown: Collection[str | None]) -> list[Group]:
    found: dict[str, dict[str, list[Entry]]] = {}
    for match in filter(None, map(_KEY.fullmatch, keys)):
        words = (match["words"] or "").split(".")
        parameters = ", ".join(word.replace("-", " ", 1) for word in words)
        domain = match["domain"] or ""
        if domain and parameters and match["notebook"] != DOMAIN:
            # another sender is another thing, and no older page of the same
            domain, parameters = f"{domain}: {parameters}", ""
        entry = Entry(quote(match[0]), match["day"], parameters)
        if entry.address not in shown:
            domains = found.setdefault(match["notebook"], {})
            domains.setdefault(domain, []).append(entry)
    order = sorted(found.items(), key=lambda item: (item[0] != DOMAIN, item[0]))
    return [_group(name, domains) for name, domains in order]


def _group(name: str, entries: dict[str, list[Entry]]) -> Group:
    ordered = {
        domain: tuple(sorted(pages, key=lambda e: (e.day, e.address), reverse=True))
        for domain, pages in sorted(entries.items())
    }
    own = ordered.pop("", ())
    domains = [Group(domain, pages) for domain, pages in ordered.items()]
    domains.sort(key=lambda group: group.pages[0].day, reverse=True)
    return Group(name, own, tuple(domains))
