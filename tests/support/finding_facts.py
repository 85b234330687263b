"""Builders of facts for the tests of findings: a healthy domain, and what is added to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.facts.frames import COLUMNS, Facts, empty_facts
from dmarckit.findings.find import find
from dmarckit.findings.model import Finding
from dmarckit.reports.reporters import listed_reporter

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
TODAY = datetime(2026, 11, 24, tzinfo=UTC)
ALL = range(1, 61)
"""days before today; 1 is yesterday"""
FOUR = ("Receiver One", "Receiver Two", "Receiver Three", "Receiver Four")

MESSAGES: dict[str, Any] = {
    "domain": "example.com",
    "sender": "example.com",
    "sender_kind": "own",
    "header_from": "example.com",
    "class": "aligned",
    "disposition": "none",
    "da": True,
    "sa": True,
    "in_inventory": True,
    "ours": True,
    "messages": 20,
}
SIGNATURE: dict[str, Any] = {
    "domain": "example.com",
    "sender": "example.com",
    "in_inventory": True,
    "header_from": "example.com",
    "dkim_domain": "example.com",
    "selector": "s1",
    "ours": True,
    "passed": True,
    "aligned": True,
    "living": True,
    "covered": False,
    "disposition": "none",
    "messages": 20,
}
SPF: dict[str, Any] = {
    "domain": "example.com",
    "sender": "example.com",
    "spf_domain": "example.com",
    "result": "pass",
    "messages": 20,
}
POLICY: dict[str, Any] = {
    "domain": "example.com",
    "p": "none",
    "sp": "",
    "np": "",
    "pct": 100,
    "testing": "",
    "adkim": "r",
    "aspf": "r",
}
STRANGER = {
    "sender": "203.0.113.0/24",
    "sender_kind": "unknown",
    "class": "unauthenticated",
    "da": False,
    "sa": False,
    "in_inventory": False,
    "ours": False,
}
SERVICE = {"sender": "Postwagon", "sender_kind": "marketing", "class": "dkim_only", "sa": False}
UNALIGNED = {
    "sender": "Salesdesk",
    "sender_kind": "crm",
    "class": "unaligned_sender",
    "da": False,
    "sa": False,
    "in_inventory": False,
}


def day(ago: int) -> datetime:
    """The UTC midnight `ago` days before today."""
    return TODAY - timedelta(days=ago)


def daily(
    base: dict[str, Any], days: Iterable[int] = ALL, reporters: Iterable[str] = FOUR, **fields: Any
) -> list[dict[str, Any]]:
    """A row for each day and reporter."""
    return [{**base, **fields, "day": day(d), "reporter": r} for d in days for r in reporters]


def messages(days: Iterable[int] = ALL, **fields: Any) -> list[dict[str, Any]]:
    """Rows of `Facts.messages`."""
    reporters = fields.pop("reporters", FOUR)
    return daily(MESSAGES, days, reporters, **fields)


def reported(
    days: Iterable[int] = ALL, reporters: Iterable[str] = FOUR, domain: str = "example.com"
) -> list[dict[str, Any]]:
    """Rows of `Facts.reports`: one a day and reporter, whose mail comes three hours later."""
    return [
        {
            "domain": domain,
            "reporter": reporter,
            "begin": day(d),
            "end": day(d - 1),
            "received": day(d - 1) + timedelta(hours=3),
        }
        for d in days
        for reporter in reporters
    ]


def policies(
    days: Iterable[int] = ALL, reporters: Iterable[str] = FOUR, **tags: Any
) -> list[dict[str, Any]]:
    """Rows of `Facts.policies`: what each report quotes."""
    return [
        {**POLICY, **tags, "reporter": r, "begin": day(d), "end": day(d - 1)}
        for d in days
        for r in reporters
    ]


def facts(**frames: list[dict[str, Any]]) -> Facts:
    """Facts of these rows; a healthy domain's reports and policies unless given."""
    frames.setdefault("reports", reported())
    frames.setdefault("policies", policies())
    built = {
        name: pd.DataFrame(map(_whole, rows), columns=list(COLUMNS[name]))
        for name, rows in frames.items()
    }
    return empty_facts(NOW, day(90), **built)


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the flags that follow from what it says."""
    ours = row.get("in_inventory") or row.get("class") in ("unaligned_sender", "unidentified")
    given = {"ours": bool(ours), "living": True, "covered": False, "disposition": "none"}
    reporter = row.get("reporter") or ""
    given |= {"provider": listed_reporter(reporter), "spelling": reporter}
    return {**given, **row}


def found(some: Facts, kind: str, days: int = 7, **options: Any) -> list[Finding]:
    """The findings of one kind."""
    return [f for f in find(some, now=NOW, days=days, **options) if f.kind == kind]


def only(some: Facts, kind: str, **options: Any) -> Finding:
    """The one finding of a kind."""
    (finding,) = found(some, kind, **options)
    return finding
