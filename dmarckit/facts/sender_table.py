"""Which service a domain belongs to: the curated table `data/senders.csv`.

A row of the table is a domain suffix that a service uses for return paths (SPF), DKIM
``d=`` or the names of its hosts (PTR), with the service's name, its kind, and where that
can be checked. The longest suffix of whole labels wins.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Sender(NamedTuple):
    """A service or organisation that delivers mail."""

    name: str
    kind: str


class SenderTable:
    """Domain suffix → sender, looked up by whole labels, the longest suffix first."""

    def __init__(self, senders: Mapping[str, Sender]) -> None:
        self._senders = dict(senders)
        self._known: dict[str, Sender | None] = {}

    def lookup(self, domain: str | None) -> Sender | None:
        """The sender that the domain belongs to; None when the table has no suffix of it.

        >>> table = SenderTable({"mail.example": Sender("Example Mail", "email service")})
        >>> table.lookup("u1.Mail.example.").name
        'Example Mail'
        >>> table.lookup("notmail.example") is None
        True
        """
        if not domain:
            return None
        if domain not in self._known:
            self._known[domain] = self._longest(domain.lower().strip("."))
        return self._known[domain]

    def _longest(self, name: str) -> Sender | None:
        while name:
            if name in self._senders:
                return self._senders[name]
            name = name.partition(".")[2]
        return None

    def __len__(self) -> int:
        return len(self._senders)


def read_rows(lines: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table in CSV: suffix, sender, kind, source."""
    return list(csv.DictReader(lines))


@cache
def load_table() -> SenderTable:
    """The table that comes with the package."""
    text = (files("dmarckit") / "facts" / "data" / "senders.csv").read_text("utf-8")
    rows = read_rows(text.splitlines())
    return SenderTable({row["suffix"]: Sender(row["sender"], row["kind"]) for row in rows})
