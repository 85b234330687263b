"""Where a page belongs below all pages: the same for the same notebook, parameters and day."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any


def page_key(notebook: str, parameters: Mapping[str, Any], day: date) -> str:
    """``overview/2026-11-24.html``; a `domain` is a folder; of other parameters also the
    values and a hash of them.

    >>> page_key("overview", {"days": 7}, date(2026, 11, 24))
    'overview/2026-11-24.days-7.9789fa86.html'
    >>> page_key("domain", {"domain": "example.com"}, date(2026, 11, 24))
    'domain/example.com/2026-11-24.html'
    """
    folder, ending = page_place(notebook, parameters)
    return f"{folder}/{day:%Y-%m-%d}{ending}"


def page_place(notebook: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """The folder of a page, and what stands behind the day in its name.

    >>> page_place("sender", {"domain": "example.com", "sender": "Example Mail"})
    ('sender/example.com', '.sender-example-mail.3e4bd263.html')
    """
    rest = dict(parameters)
    folder = page_folder(notebook)
    if domain := rest.pop("domain", None):
        folder += f"/{domain_folder(str(domain))}"
    if not rest:
        return folder, ".html"
    words = ".".join(_slug(f"{key} {value}") for key, value in sorted(rest.items()))[:60]
    text = json.dumps(rest, sort_keys=True, default=str)
    return folder, f".{words}.{_short_hash(text)}.html"


def page_folder(notebook: str) -> str:
    """Where the pages of a notebook are, below all pages."""
    return _slug(notebook) or "page"


def domain_folder(domain: str) -> str:
    """A domain as it is, or what can be kept of another text, with a hash of it."""
    if re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){1,9}", domain):
        return domain
    return f"{_slug(domain)[:60]}-{_short_hash(domain)}".lstrip("-")


def _slug(text: str) -> str:
    """Text as it may stand in a key and an address without escaping."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
