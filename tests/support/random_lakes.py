"""Small lakes at random: what reports, mails and TLS reports may say, mostly what rules look for.

An address has one sender: its SPF result, and the results of signatures that are not the
domain's own, do not change. Evidence names senders by their addresses.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from dmarckit.core.thresholds import Thresholds
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of
from dmarckit.lake.schema import TABLES
from dmarckit.reports.model import (
    AggregateReport,
    DkimResult,
    Reason,
    Record,
    SpfResult,
    TlsFailure,
    TlsPolicy,
    TlsReport,
)
from tests.support import lakes
from tests.support.lakes import NOW, lake_of, report

DOMAINS = ("example.com", "brand.example")
REPORTERS = ("google.com", "Receiver Two", "Receiver Three", "Enterprise Outlook")
RESULTS = ("pass", "pass", "fail", "softfail", "permerror", "temperror", "none")
COMMENTS = (
    None,
    "",
    "arc=pass",
    "policy: ARC = Pass as[1]",
    "arc=fail",
    "Sender requirement failed: 550-5.7.30 see https://mail.example",
    "sender requirement failed: 421-4.7.32",
    "SENDER REQUIREMENT FAILED:  550 5.7.3",
)
REASONS = ("forwarded", "mailing_list", "trusted_forwarder", "local_policy", "other", None)
SENSITIVE = Thresholds(
    history_days=3,
    new_messages=1,
    stopped_days=5,
    unaligned_messages=1,
    dkim_messages=5,
    dkim_points=0.01,
    dkim_z=0.1,
    spf_error_messages=1,
    spf_only_messages=1,
    spf_only_share=0.1,
    wave_messages=1,
    wave_mad=0.5,
    wave_factor=0.5,
    wave_reporters=1,
    subdomain_messages=1,
    ready_quarantine_testing=1,
    ready_quarantine=1,
    ready_reject_testing=1,
    ready_reject=1,
    unhonoured_messages=1,
    silent_reports=2,
    silent_hours=20,
    tls_sessions=1,
)
"""Thresholds that hardly hold any finding back."""


@dataclass
class _Flow:
    """A sender: its addresses, and the identities that its records have."""

    addresses: list[str]
    spf: tuple[SpfResult, ...]
    foreign: tuple[DkimResult, ...]
    """signatures of others"""
    signs: tuple[str, str | None] | None
    """d= and s= of its signature in the domain's name"""
    header_from: str
    first: int
    last: int
    """days before today between which it sends"""


def random_lake(home: Path, seed: int) -> Lake:
    """A lake below `home` about 35 days before `NOW`."""
    rng = random.Random(seed)
    reports = []
    for domain in DOMAINS[: rng.randint(1, 2)]:
        flows = [_flow(rng, domain, n) for n in range(rng.randint(3, 8))]
        policy = _policy(rng)
        for reporter in REPORTERS[: rng.randint(1, 4)]:
            silent_since = rng.choice([0, 0, 0, 6])
            ago: float = 35
            while ago > silent_since:
                days = rng.choice([1, 1, 1, 1, 1, 1, 0.25, 2.5, 7])
                if rng.random() < 0.02:
                    policy = _policy(rng)
                if rng.random() < 0.9:
                    reports.append(_report(rng, domain, reporter, flows, policy, ago, days))
                ago -= days
    lake = lake_of(home, *reports, tls=tuple(_tls(rng) for _ in range(rng.randint(0, 4))))
    _append(lake, "mails", [_mail(rng, n) for n in range(rng.randint(0, 30))])
    _append(lake, "postmaster", _rates(rng))
    _append(lake, "dead_letters", [_dead_letter(rng, n) for n in range(rng.randint(0, 4))])
    return lake


def _flow(rng: random.Random, domain: str, n: int) -> _Flow:
    other = rng.choice(["sendgrid.net", "mcsv.net", "lists.example.net", "mx.other.example"])
    author = rng.choice([domain, domain, domain, f"news.{domain}", f"x{n}.{domain}"])
    envelope = rng.choice([domain, f"bounce.{domain}", other, other])
    spf = [SpfResult(envelope, rng.choice(["mfrom", "helo", None]), rng.choice(RESULTS))]
    if rng.random() < 0.2:
        spf.append(SpfResult(f"mta.{envelope}", "helo", rng.choice(RESULTS)))
    foreign = [DkimResult(other, "k1", rng.choice(["pass", "fail"]))]
    return _Flow(
        addresses=[f"198.51.{n}.{rng.randint(1, 250)}" for _ in range(1 + n % 4)],
        spf=tuple(spf),
        foreign=tuple(foreign if rng.random() < 0.4 else ()),
        signs=rng.choice([(domain, "s1"), (domain, "s2"), (author, None), None]),
        header_from=author,
        first=rng.choice([35, 35, 35, 20, 6]),
        last=rng.choice([0, 0, 0, 5, 12]),
    )


def _policy(rng: random.Random) -> dict[str, Any]:
    return {
        "p": rng.choice(["none", "quarantine", "reject", "reject"]),
        "sp": rng.choice([None, "none", "reject"]),
        "np": rng.choice([None, None, "reject"]),
        "pct": rng.choice([None, 100, 100, 50]),
        "testing": rng.choice([None, None, "n", "y"]),
        "adkim": rng.choice([None, "r", "s"]),
    }


def _report(
    rng: random.Random,
    domain: str,
    reporter: str,
    flows: list[_Flow],
    policy: dict[str, Any],
    ago: float,
    days: float,
) -> AggregateReport:
    sending = [flow for flow in flows if flow.first >= ago > flow.last]
    records = [_record(rng, flow) for flow in sending for _ in range(rng.randint(0, 2))]
    spelt = rng.choice([reporter, reporter, reporter, reporter.upper()])
    return report(
        *records,
        days_ago=ago - rng.choice([0, 0, 0, 0.3]),
        days=days,
        domain=domain,
        policy=policy,
        reporter=spelt,
        report_id=f"{reporter}-{ago}",
    )


def _record(rng: random.Random, flow: _Flow) -> Record:
    dkim = list(flow.foreign)
    if flow.signs:
        dkim.append(DkimResult(*flow.signs, rng.choice(("pass", "pass", "pass", *RESULTS))))
    author = flow.header_from
    checked = [s for s in flow.spf if s.scope != "helo"] or list(flow.spf)
    reasons: tuple[Reason, ...] = ()
    if rng.random() < 0.2:
        reasons = (Reason(rng.choice(REASONS), rng.choice(COMMENTS)),)
    return Record(
        source_ip=rng.choice(flow.addresses),
        messages=rng.choice([0, 1, 1, 2, 5, 20, 80]),
        disposition=rng.choice(["none", "none", "none", "quarantine", "reject", None]),
        dkim_aligned=any(d.result == "pass" and _related(d.domain, author) for d in dkim),
        spf_aligned=any(s.result == "pass" and _related(s.domain, author) for s in checked)
        or rng.choice([False, None]),
        reasons=reasons,
        header_from=author,
        envelope_from=None,
        envelope_to=None,
        dkim=tuple(dkim),
        spf=flow.spf,
    )


def _related(one: str | None, author: str) -> bool:
    return one is not None and one.split(".")[-2:] == author.split(".")[-2:]


def _tls(rng: random.Random) -> TlsReport:
    begin = NOW - timedelta(days=rng.randint(1, 9))
    sessions = rng.randint(1, 30)
    details = (TlsFailure("certificate-expired", rng.randint(1, sessions)),)
    policy = TlsPolicy("sts", "example.com", (), (), 100, sessions, rng.choice([(), details]))
    return TlsReport("google.com", None, f"t{rng.random()}", begin, begin + timedelta(1), (policy,))


def _mail(rng: random.Random, n: int) -> dict[str, Any]:
    received = NOW - timedelta(days=rng.uniform(0, 20))
    return {
        "key": f"m/{n}",
        "etag": "1",
        "size": 1,
        "received": received,
        "from_domain": rng.choice(["inbox.example", "other.example", None]),
        "outcome": rng.choice(["stored", "untrusted", "unreadable", "duplicate"]),
        "error": rng.choice([None, "cut off", "no XML"]),
        "run": "made",
        "month": month_of(received),
    }


def _rates(rng: random.Random) -> list[dict[str, Any]]:
    """Rates of some days, some of them asked for twice."""
    rates = [("spam_rate", ""), ("delivery_error_rate", "reject/ip_in_rbls")]
    rows = []
    for n in range(rng.randint(0, 30)):
        metric, detail = rng.choice(rates)
        day = lakes.day(rng.randint(0, 12))
        row = {"domain": "example.com", "metric": metric, "detail": detail, "day": day}
        row |= {"share": rng.choice([0.0, 0.001, 0.003, 0.05, 0.2]), "run": "made"}
        rows.append(row | {"pulled": day + timedelta(days=1, minutes=n), "month": month_of(day)})
    return rows


def _dead_letter(rng: random.Random, n: int) -> dict[str, Any]:
    seen = NOW - timedelta(days=rng.uniform(0, 12))
    return {
        "queue": rng.choice(["arrivals", "others"]),
        "message": f"{n}",
        "seen": seen,
        "reason": "no event",
        "month": month_of(seen),
    }


def _append(lake: Lake, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        lake.write.append_new(table, pa.Table.from_pylist(rows, schema=TABLES[table].schema))
