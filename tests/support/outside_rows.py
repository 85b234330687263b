"""Rows of Postmaster Tools and DNS, straight into the tables of a lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import DNS, POSTMASTER

TODAY = datetime(2026, 11, 24, tzinfo=UTC)


def metric(
    domain: str, name: str, detail: str, value: float | str, days_ago: int = 1
) -> dict[str, Any]:
    """A row of `postmaster`: a rate, or a state."""
    at = TODAY - timedelta(days=days_ago)
    column = "text" if isinstance(value, str) else "share"
    row = {"domain": domain, "day": at, "metric": name, "detail": detail, column: value}
    return row | {"pulled": TODAY + timedelta(hours=6), "run": "r", "month": f"{at:%Y-%m}"}


def entry(
    domain: str, record: str, name: str, state: str = "ok", problem: str = "", **values: Any
) -> dict[str, Any]:
    """A row of `dns`, of today's check."""
    faults = [] if state in ("ok", "unknown") else [state]
    return {
        "domain": domain,
        "day": TODAY,
        "record": record,
        "name": name,
        "state": state,
        "found": [] if state == "missing" else [f"v={record}"],
        "problems": [problem] if problem else [],
        "proposal": None,
        "values": json.dumps({"faults": faults} | values),
        "checked": TODAY + timedelta(hours=6),
        "run": "r",
        "month": "2026-11",
    }


def keep(
    lake: Lake, metrics: Sequence[dict[str, Any]] = (), entries: Sequence[dict[str, Any]] = ()
) -> None:
    """Write rows into the two tables."""
    if metrics:
        table = pa.Table.from_pylist(list(metrics), schema=POSTMASTER.schema)
        lake.write.append_new("postmaster", table)
    if entries:
        lake.write.append_new("dns", pa.Table.from_pylist(list(entries), schema=DNS.schema))


def faulty(domain: str, text: str = "") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Some of everything for a domain: met, not met and unknown; `text` stands in the problems."""
    metrics = [
        metric(domain, "compliance", "ENCRYPTION", "COMPLIANT"),
        metric(domain, "compliance", "DNS_RECORDS", "COMPLIANT"),
        metric(domain, "compliance", "ONE_CLICK_UNSUBSCRIBE", "NEEDS_WORK"),
        *(metric(domain, "spam_rate", "", 0.0004 * n, n) for n in range(2, 6)),
        *(metric(domain, "auth_success_rate", "dkim", 0.9 + 0.01 * n, n) for n in range(2, 6)),
        *(metric(domain, "tls_encryption_rate", "inbound", 0.99, n) for n in range(2, 6)),
        *(metric(domain, "delivery_error_rate", "temp_fail", 0.002 * n, n) for n in range(2, 6)),
    ]
    problem = text or "192.0.2.1 sends your mail, but has no host name (PTR)."
    entries = [
        entry(domain, "dmarc", f"_dmarc.{domain}", tags={"p": "none"}),
        entry(domain, "spf", domain, "invalid", f"{domain} needs 14 lookups. {text}", lookups=14),
        entry(domain, "dkim", f"s1._domainkey.{domain}", bits=2048),
        entry(domain, "ptr", "192.0.2.1", "missing", problem),
    ]
    return metrics, entries
