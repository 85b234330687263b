"""The list of all pages, made from a listing of their storage and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import jinja2

from dmarckit.models import StoredObject
from dmarckit.render import TEMPLATES, versions

INDEX = "index.html"
_KEY = re.compile(
    r"(?P<notebook>[\w-]+)/(?P<day>\d{4}-\d\d-\d\d)(\.(?P<words>[\w.-]*)\.[0-9a-f]{8})?\.html"
)


@dataclass(frozen=True)
class Entry:
    """One page as the index shows it."""

    address: str
    """relative to the index"""
    day: str
    parameters: str
    size: int
    """bytes as stored"""


def index_page(objects: Iterable[StoredObject]) -> bytes:
    """The index, UTF-8: pages by notebook, the newest first. Other objects are left out."""
    groups: dict[str, list[Entry]] = {}
    for stored in objects:
        if found := _KEY.fullmatch(stored.key):
            words = (found["words"] or "").split(".")
            parameters = ", ".join(word.replace("-", " ", 1) for word in words)
            entry = Entry(quote(stored.key), found["day"], parameters, stored.size)
            groups.setdefault(found["notebook"], []).append(entry)
    ordered = {
        name: sorted(entries, key=lambda e: (e.day, e.address), reverse=True)
        for name, entries in sorted(groups.items())
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "dmarckit"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("pages.html.j2").render(groups=ordered, versions=versions())
    return page.encode("utf-8")
