"""Who may report in whose name: the domains that the reporters who write most write from.

The table is ``facts/data/reporters.csv``; rooms above this one look reporters up in it too.
"""

from __future__ import annotations

import csv
import functools
import unicodedata
from collections.abc import Iterable, Mapping
from importlib.resources import files

from dmarckit.core import normalize_domain, one_line
from dmarckit.reports.model import Mail


@functools.lru_cache(4096)
def reporter_key(name: str) -> str:
    """Return a reporter's name as it is compared: width, case, white space, a final dot go.

    >>> reporter_key("  Google  Inc. ")
    'google inc'
    """
    plain = unicodedata.normalize("NFKC", name)
    # what no reader sees must not make another name of it
    seen = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return " ".join(seen.casefold().split()).rstrip(".")


@functools.cache
def _listed() -> dict[str, tuple[str, frozenset[str]]]:
    """Return `reporter_key` of each name, and each domain, of the table → reporter and domains.

    Domains are those of all rows with that name.
    """
    found: dict[str, tuple[str, frozenset[str]]] = {}
    path = files("dmarckit") / "facts" / "data" / "reporters.csv"
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            domains = frozenset(row["domains"].lower().split("|")) - {""}
            for name in (row["reporter"], *row["org_names"].split("|"), *domains):
                first, known = found.get(reporter_key(name), (row["reporter"], frozenset()))
                found[reporter_key(name)] = first, known | domains
    found.pop("", None)
    return found


@functools.lru_cache(4096)
def listed_reporter(name: str) -> str | None:
    """Return the reporter of the table that has this name, or domain; None: the table has none.

    >>> listed_reporter("Yahoo! Inc."), listed_reporter("dmarc.yahoo.com"), listed_reporter("me")
    ('Yahoo', 'Yahoo', None)
    """
    return next((_listed()[key][0] for key in _keys(name) if key in _listed()), None)


@functools.lru_cache(4096)
def listed_domains(reporter: str) -> frozenset[str]:
    """Return the domains that reports in this name come from; empty: the table lacks the name.

    A domain as name is that of the reporter who writes from it, or from one above it.
    """
    found = (_listed()[key][1] for key in _keys(reporter) if key in _listed())
    return next((domains for domains in found if domains), frozenset())


def _keys(name: str) -> list[str]:
    """Return `reporter_key` of a name and, if it is a domain, of the domains above it."""
    key = reporter_key(name)
    labels = key.split(".")
    above = [".".join(labels[i:]) for i in range(1, len(labels) - 1)] if " " not in key else []
    return [key, *above]


def own_reporters(named: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Return the setting `reporters` by `reporter_key`; names that are one share their domains."""
    found: dict[str, frozenset[str]] = {}
    for name, domains in named.items():
        key = reporter_key(name)
        found[key] = found.get(key, frozenset()).union(map(normalize_domain, domains))
    return found


def is_within(domain: str, domains: Iterable[str]) -> bool:
    """Return True if the domain is one of these or below one of them.

    >>> is_within("mail.example.com", ["example.com"]), is_within("anexample.com", ["example.com"])
    (True, False)
    """
    return any(domain == each or domain.endswith(f".{each}") for each in domains)


def authenticated_from(mail: Mail) -> str | None:
    """Return the From domain that passed DMARC when the mail came in; None: none did."""
    verdict = mail.verdict
    return (verdict.dmarc_domain or mail.from_domain) if verdict.dmarc == "pass" else None


def false_claim(reporter: str | None, mail: Mail, own: Mapping[str, frozenset[str]]) -> str | None:
    """Return why the mail is not from the listed reporter that it claims to be from.

    None when it is, when the table lacks that name, and when the mail has no From. `own`
    (`reporter_key` → domains) are further domains of reporters: the setting `reporters`.
    """
    domains = listed_domains(reporter) if reporter else None
    if not reporter or not domains:
        return None
    sender = authenticated_from(mail) or mail.from_domain
    if sender is None or is_within(sender, domains):
        return None
    if is_within(sender, own.get(reporter_key(reporter), ())):
        return None
    return f"claims to be {one_line(reporter, 80)}, sent by {one_line(sender, 80)}"
