"""Builders for the frames that the lake gives: one row at a time, or a whole realistic lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import TABLES

DAY = datetime(2026, 11, 23, tzinfo=UTC)

RECORD: dict[str, Any] = {
    "report_uid": "r1",
    "position": 0,
    "month": "2026-11",
    "begin": DAY,
    "end": DAY + timedelta(days=1),
    "domain": "example.com",
    "reporter": "Receiver One",
    "source_ip": "192.0.2.1",
    "messages": 10,
    "disposition": "none",
    "dkim_aligned": True,
    "spf_aligned": True,
    "reasons": [],
    "header_from": "example.com",
    "envelope_from": "example.com",
    "envelope_to": None,
    "dkim": [{"domain": "example.com", "selector": "s1", "result": "pass", "human_result": None}],
    "spf": [{"domain": "example.com", "scope": "mfrom", "result": "pass", "human_result": None}],
}
FAILS = {
    "dkim_aligned": False,
    "spf_aligned": False,
    "dkim": [],
    "spf": [{"domain": "example.com", "scope": "mfrom", "result": "fail", "human_result": None}],
}
REPORT: dict[str, Any] = {
    "report_uid": "r1",
    "month": "2026-11",
    "reporter": "Receiver One",
    "contact": "dmarc@one.example",
    "report_id": "1",
    "begin": DAY,
    "end": DAY + timedelta(days=1),
    "domain": "example.com",
    "p": "none",
    "sp": None,
    "np": None,
    "pct": 100,
    "testing": None,
    "adkim": "r",
    "aspf": "r",
    "fo": None,
    "discovery_method": None,
    "generator": None,
    "version": "1.0",
    "warnings": [],
    "errors": [],
    "mail_key": "mail/1",
    "records": 1,
    "messages": 10,
    "failing": 0,
}
MAIL: dict[str, Any] = {
    "key": "mail/1",
    "etag": "e1",
    "size": 2000,
    "received": DAY + timedelta(days=1, hours=3),
    "from_domain": "one.example",
    "dmarc": "pass",
    "spam": "PASS",
    "virus": "PASS",
    "outcome": "stored",
    "error": None,
    "reports": 1,
    "run": "run1",
}


def _frame(base: dict[str, Any], rows: tuple[dict[str, Any], ...], times: list[str]) -> Any:
    frame = pd.DataFrame([base | row for row in rows], columns=list(base))
    return frame.astype(dict.fromkeys(times, "datetime64[us, UTC]"))


def records(*rows: dict[str, Any]) -> pd.DataFrame:
    """`records(dict(messages=3), FAILS)`: what is not said is that of `RECORD`."""
    frame = _frame(RECORD, rows, ["begin", "end"])
    return frame.astype({"messages": "int64", "dkim_aligned": "boolean", "spf_aligned": "boolean"})


def reports(*rows: dict[str, Any]) -> pd.DataFrame:
    """Reports; what is not said is that of `REPORT`."""
    return _frame(REPORT, rows, ["begin", "end"]).astype({"messages": "int64", "failing": "int64"})


def mails(*rows: dict[str, Any]) -> pd.DataFrame:
    """Ledger rows; what is not said is that of `MAIL`."""
    return _frame(MAIL, rows, ["received"])


SOURCES: list[tuple[str, int, dict[str, Any]]] = [
    ("192.0.2.", 900, {}),
    ("198.51.100.", 260, {"spf_aligned": False}),
    ("192.0.2.", 60, {"dkim_aligned": False, "dkim": []}),
    ("203.0.113.", 14, {"spf_aligned": False, "spf": FAILS["spf"]}),
    ("2001:db8:77::", 18, FAILS | {"spf": [RECORD["spf"][0] | {"domain": "mailer.example"}]}),
    ("203.0.113.", 9, FAILS),
]


def lake(
    days: int = 60, domains: int = 3, reporters: int = 5, seed: int = 1, end: datetime = DAY
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Records, reports and mails of a fleet whose last day is `end`, with a spoofing wave."""
    rng = np.random.default_rng(seed)
    report_rows, record_rows, mail_rows = [], [], []
    policies = ["none", "quarantine", "reject"]
    for d in range(domains):
        domain = "example.com" if d == 0 else f"brand{d}.example"
        for back in range(days):
            begin = end - timedelta(days=back)
            weekday = 0.35 if begin.weekday() >= 5 else 1.0
            for r in range(reporters):
                uid = f"{d}-{back}-{r}"
                report = {
                    "report_uid": uid,
                    "reporter": f"receiver{r + 1}.example",
                    "report_id": f"{begin:%Y%m%d}.{uid}",
                    "domain": domain,
                    "begin": begin,
                    "end": begin + timedelta(days=1),
                }
                rows = []
                for position, (network, size, extra) in enumerate(SOURCES):
                    wave = 40 if position == 5 and d == 0 and 9 < back < 14 else 1
                    n = int(rng.poisson(size * weekday * wave / (1 + r) / (1 + d)))
                    if n:
                        failing = extra.get("dkim") == [] and "spf" in extra
                        policy = {"reject": "reject", "quarantine": "quarantine"}
                        rows.append(
                            report
                            | extra
                            | {
                                "position": position,
                                "messages": n,
                                "source_ip": f"{network}{int(rng.integers(1, 20))}",
                                "header_from": domain,
                                "disposition": policy.get(policies[d % 3], "none")
                                if failing
                                else "none",
                            }
                        )
                bad = sum(x["messages"] for x in rows if x.get("dkim") == [] and "spf" in x)
                total = sum(x["messages"] for x in rows)
                record_rows += rows
                report_rows.append(
                    report
                    | {"p": policies[d % 3], "records": len(rows)}
                    | {"messages": total, "failing": bad, "mail_key": f"mail/{uid}"}
                )
                received = begin + timedelta(days=1, hours=2 + r)
                sender = f"receiver{r + 1}.example"
                mail_rows.append(
                    {"key": f"mail/{uid}", "received": received, "from_domain": sender}
                )
    refused = {"outcome": "untrusted", "from_domain": "receiver1.example", "dmarc": "fail"}
    refused |= {"error": "dmarc=fail in Authentication-Results", "reports": 0, "key": "mail/forged"}
    broken = {"outcome": "unreadable", "from_domain": "receiver3.example", "reports": 0}
    broken |= {"error": "report.xml: record 3: row/count is 'many', expected a whole number"}
    mail_rows += [refused, broken | {"key": "mail/broken"}]
    return records(*record_rows), reports(*report_rows), mails(*mail_rows)


def fill(
    home: Path, record_rows: pd.DataFrame, report_rows: pd.DataFrame, mail_rows: pd.DataFrame
) -> Path:
    """A lake below `home` with these rows; the settings file that names it."""
    lake_there = Lake(str(home / "lake"))
    tables = {"records": record_rows, "reports": report_rows, "mails": mail_rows}
    for name, frame in tables.items():
        time = frame["received" if name == "mails" else "begin"]
        with_month = frame.assign(month=time.dt.strftime("%Y-%m")).astype(object)
        rows = with_month.where(with_month.notna(), None).to_dict("records")
        if rows:
            table = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
            lake_there.write.append_new(name, table)
    settings = home / "dmarckit.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(f'home = "{home.as_posix()}"\n', encoding="utf-8")
    return settings
