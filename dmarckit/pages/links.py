"""Where pages belong, the addresses of those that are there, commands that build the others."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import quote

from dmarckit.core import Settings, StorageError, StoredObject, _, later, one_line, open_storage
from dmarckit.pages.html import RowLink


def page_key(notebook: str, parameters: Mapping[str, Any], day: date) -> str:
    """Return where a page belongs: ``overview/2026-11-24.html``.

    A `domain` is a folder; of other parameters there are the values and a hash of them.

    >>> page_key("overview", {"days": 7}, date(2026, 11, 24))
    'overview/2026-11-24.days-7.9789fa86.html'
    >>> page_key("domain", {"domain": "example.com"}, date(2026, 11, 24))
    'domain/example.com/2026-11-24.html'
    """
    folder, ending = page_place(notebook, parameters)
    return f"{folder}/{day:%Y-%m-%d}{ending}"


def page_place(notebook: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Return the folder of a page, and what stands behind the day in its name.

    >>> page_place("sender", {"domain": "example.com", "sender": "Example Mail"})
    ('sender/example.com', '.sender-example-mail.3e4bd263.html')
    """
    rest, folder = dict(parameters), _slug(notebook) or "page"
    if domain := str(rest.pop("domain", "") or ""):
        # as it is, or what can be kept of another text, with a hash of it
        if not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){1,9}", domain):
            domain = f"{_slug(domain)[:60]}-{_short_hash(domain)}".lstrip("-")
        folder += f"/{domain}"
    if not rest:
        return folder, ".html"
    words = ".".join(_slug(f"{key} {value}") for key, value in sorted(rest.items()))[:60]
    text = json.dumps(rest, sort_keys=True, default=str)
    return folder, f".{words}.{_short_hash(text)}.html"


def _slug(text: str) -> str:
    """Return text as it may stand in a key and an address without escaping."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


KEY = re.compile(
    r"(?P<folder>(?P<notebook>[\w-]+)(/(?P<domain>[\w.-]+))?)/(?P<day>\d{4}-\d\d-\d\d)"
    r"(?P<rest>(\.(?P<words>[\w.-]*)\.[0-9a-f]{8})?\.html)",
    re.ASCII,
)
_OF_ALL = {  # notebooks about all domains → what a link to their page says
    "overview": later("All domains"),
    "requirements": later("Sender requirements"),
    "postmaster": later("Google Postmaster Tools"),
    "tls": later("TLS reports"),
}


@dataclass(frozen=True)
class PageLinks:
    """The newest page of each kind, as seen from one that lies `up` above them."""

    # folder and ending of a page's name → the newest day
    days: dict[tuple[str, str], str] = field(default_factory=dict)
    up: str = "../"

    def address(self, notebook: str, **parameters: str) -> str | None:
        """Return the newest page of a notebook with these parameters; None if there is none."""
        folder, rest = page_place(notebook, parameters)
        day = self.days.get((folder, rest))
        return self.up + quote(f"{folder}/{day}{rest}") if day else None

    def row_link(self, notebook: str, **parameters: str) -> RowLink:
        """Return the page of a notebook with these parameters: its address, how to build it."""
        return RowLink(command(notebook, **parameters), self.address(notebook, **parameters))

    def navigation(self, domain: str = "", *, of: str = "") -> list[tuple[str, str]]:
        """Return the names and addresses of the pages that one leads to.

        From one of a `domain` it is up to it and to all domains, from one about all domains
        (`of`: its notebook) to its like.
        """
        others = [name for name in _OF_ALL if name != of] if of else ["overview"]
        pages = [(_(_OF_ALL[name]), self.address(name)) for name in others]
        if domain:
            label = _("All senders of {domain}").format(domain=domain)
            pages.append((label, self.address("domain", domain=domain)))
        return [(text, address) for text, address in pages if address]


def row_link(
    links: PageLinks, notebook: str, *columns: str, **parameters: str
) -> Callable[[Any], RowLink]:
    """Return what links a row to the page of `notebook` about its `columns` and `parameters`."""
    return lambda row: links.row_link(
        notebook, **parameters, **{name: str(getattr(row, name)) for name in columns}
    )


def find_links(settings: Settings, domain: str = "") -> PageLinks:
    """Return the pages that are stored now: of one `domain`, else of all.

    There are none in a bucket whose pages need a signed link each (no `page_base_url`), nor
    while the pages cannot be listed: a page without links is better than none.
    """
    storage = open_storage(settings.pages_url)
    folders = [*(["overview"] if domain else _OF_ALL), "report"]
    folders += [page_place(name, {"domain": domain})[0] for name in ("domain", "sender")]
    found: list[StoredObject] = []
    if not storage.remote or settings.page_base_url:
        for folder in folders:
            with contextlib.suppress(StorageError):
                found += storage.list(f"{folder}/")
    return PageLinks(newest_days(found), "../../" if domain else "../")


def newest_days(objects: Iterable[StoredObject]) -> dict[tuple[str, str], str]:
    """Return folder and ending of each page's name → the newest day; others are left out."""
    found = [match for stored in objects if (match := KEY.fullmatch(stored.key))]
    found.sort(key=lambda match: match["day"])
    return {(match["folder"], match["rest"]): match["day"] for match in found}


def command(notebook: str, **parameters: str) -> str:
    """Return what to type for a page, quoted for a shell.

    >>> command("sender", domain="example.com", sender="Example Mail")
    "dmarckit page sender -p domain example.com -p sender 'Example Mail'"
    """
    given = (f"-p {name} {shlex.quote(one_line(value))}" for name, value in parameters.items())
    return " ".join(["dmarckit page", notebook, *given])
