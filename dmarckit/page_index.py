"""The list of all pages, made from a listing of their storage and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import jinja2

from dmarckit.models import StoredObject
from dmarckit.render import TEMPLATES, script_hash, versions

INDEX = "index.html"
NEWEST = 14
"""pages of a notebook that are in sight; older ones are behind a toggle"""
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


def index_page(objects: Iterable[StoredObject]) -> bytes:
    """The index, UTF-8: pages by notebook, domain and day. Other objects are left out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "dmarckit"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "dmarckit/pages.js").read_text("utf-8")
    page = environment.get_template("pages.html.j2").render(
        groups=_groups(objects),
        newest=NEWEST,
        script=script,
        script_hash=script_hash(script),
        versions=versions(),
    )
    return page.encode("utf-8")


def _groups(objects: Iterable[StoredObject]) -> list[Group]:
    found: dict[str, dict[str, list[Entry]]] = {}
    for stored in objects:
        if match := _KEY.fullmatch(stored.key):
            words = (match["words"] or "").split(".")
            parameters = ", ".join(word.replace("-", " ", 1) for word in words)
            entry = Entry(quote(stored.key), match["day"], parameters)
            domains = found.setdefault(match["notebook"], {})
            domains.setdefault(match["domain"] or "", []).append(entry)
    return [_group(name, domains) for name, domains in sorted(found.items())]


def _group(name: str, entries: dict[str, list[Entry]]) -> Group:
    ordered = {
        domain: tuple(sorted(pages, key=lambda e: (e.day, e.address), reverse=True))
        for domain, pages in sorted(entries.items())
    }
    own = ordered.pop("", ())
    domains = [Group(domain, pages) for domain, pages in ordered.items()]
    domains.sort(key=lambda group: group.pages[0].day, reverse=True)
    return Group(name, own, tuple(domains))
