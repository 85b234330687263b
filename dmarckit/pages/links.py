"""Where pages belong, and how they link to each other.

A notebook does not know which pages there will be: its links name a target (`page_target`), and
whoever publishes pages sets the addresses of those that are there (`with_links`).
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from html import escape, unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode

from dmarckit.core import one_line

INDEX = "index.html"  # the key of the list of all pages


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
            domain = f"{_slug(domain)[:60]}-{short_hash(domain)}".lstrip("-")
        folder += f"/{domain}"
    if not rest:
        return folder, ".html"
    words = ".".join(_slug(f"{key} {value}") for key, value in sorted(rest.items()))[:60]
    text = json.dumps(rest, sort_keys=True, default=str)
    return folder, f".{words}.{short_hash(text)}.html"


def _slug(text: str) -> str:
    """Return text as it may stand in a key and an address without escaping."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")


def short_hash(text: str) -> str:
    """Return eight hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


KEY = re.compile(
    r"(?P<folder>(?P<notebook>[\w-]+)(/(?P<domain>[\w.-]+))?)/(?P<day>\d{4}-\d\d-\d\d)"
    r"(?P<rest>(\.(?P<words>[\w.-]*)\.[0-9a-f]{8})?\.html)",
    re.ASCII,
)
_LINK = re.compile(r'<a data-page="([^"]*)"(?: href="[^"]*")?')
HIDDEN = re.compile(r"<tbody hidden>.*?</tbody>", re.DOTALL)  # rows that a script shows
HOME = "index"  # the target that is the list of all pages


def page_target(notebook: str, **parameters: str) -> str:
    """Return what a link names until its page is published: notebook and parameters.

    >>> page_target("sender", domain="example.com", sender="Mail & Co")
    'sender?domain=example.com&sender=Mail+%26+Co'
    """
    query = urlencode(parameters, errors="surrogatepass")
    return f"{notebook}?{query}" if query else notebook


def read_target(target: str) -> tuple[str, dict[str, str]]:
    """Return notebook and parameters of a `page_target`."""
    notebook, _mark, query = target.partition("?")
    return notebook, dict(parse_qsl(query, keep_blank_values=True, errors="surrogatepass"))


def row_target(notebook: str, *columns: str, **parameters: str) -> Callable[[Any], str]:
    """Return what links a row to the page of `notebook` about its `columns` and `parameters`."""
    return lambda row: page_target(
        notebook, **parameters, **{name: str(getattr(row, name)) for name in columns}
    )


def targets_of(page: str) -> list[str]:
    """Return what a page would link to, each once, in its order; hidden rows are left out."""
    return list(dict.fromkeys(map(unescape, _LINK.findall(HIDDEN.sub("", page)))))


def with_links(page: str, address: Callable[[str], str | None]) -> str:
    """Return a page with the address of each target; without one its words stand alone."""

    def link(match: re.Match[str]) -> str:
        found = address(unescape(match[1]))
        return f'<a data-page="{match[1]}"' + (f' href="{escape(found)}"' if found else "")

    return _LINK.sub(link, page)


def newest_key(target: str, days: Mapping[tuple[str, str], str]) -> str | None:
    """Return the key of the newest page of a target; `days` are those of `newest_days`."""
    if target == HOME:
        return INDEX
    notebook, parameters = read_target(target)
    folder, rest = page_place(notebook, parameters)
    day = days.get((folder, rest))
    return f"{folder}/{day}{rest}" if day else None


def newest_days(keys: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return folder and ending of each page's name → the newest day; other keys are left out."""
    found = [match for key in keys if (match := KEY.fullmatch(key))]
    found.sort(key=lambda match: match["day"])
    return {(match["folder"], match["rest"]): match["day"] for match in found}


def command(notebook: str, **parameters: str) -> str:
    """Return what to type for a page, quoted for a shell.

    >>> command("sender", domain="example.com", sender="Example Mail")
    "dmarckit page sender -p domain example.com -p sender 'Example Mail'"
    """
    given = (f"-p {name} {shlex.quote(one_line(value))}" for name, value in parameters.items())
    return " ".join(["dmarckit page", notebook, *given])
