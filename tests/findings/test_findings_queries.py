"""Each number in a summary is what its query counts in the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dmarckit.checks.dns import load_outside
from dmarckit.core.settings import Settings, load_settings
from dmarckit.facts import load
from dmarckit.findings.find import find
from dmarckit.lake.lake import Lake
from tests.scenarios import harness
from tests.scenarios.all import SCENARIOS
from tests.scenarios.analysis import Analysis
from tests.support.lakes import NOW
from tests.support.random_lakes import SENSITIVE, random_lake

SHOWN_BY = {
    "a new service, aligned": "new_sender",
    "a service stops": "sender_stopped",
    "an unaligned service for months": "unaligned_sender",
    "one signer breaks": "broken_dkim",
    "a rotation to a key that nobody published": "broken_dkim",
    "a service that nobody declared": "unidentified_sender",
    "a scanner loses everything": "mail_lost",
    "a server moved and is not in SPF yet": "mail_lost",
    "thirty new forwarders": "new_sender",
    "the SPF record has a mistake, hosts undeclared": "spf_errors",
    "a host without DKIM": "spf_only",
    "a spoofing wave at p=quarantine": "spoofing",
    "a subdomain that nobody uses": "subdomain_exposed",
    "a report over seven days": "policy_ready",
    "the policy is taken back": "policy_changed",
    "a receiver does not honour p=reject": "policy_not_honoured",
    "a reporter falls silent": "reporter_silent",
    "three of four domains fall silent": "ingest_broken",
    "no mail for two days": "ingest_broken",
    "Gmail asks for DKIM": "gmail_requirement",
    "TLS fails": "tls_failures",
    "forged reports": "untrusted_reports",
    "a reporter sends everything twice": "reporter_odd",
    "a reporter names the wrong policy domain": "reporter_odd",
    "a reporter contradicts itself": "reporter_odd",
    "reports cut off half-way": "unreadable_reports",
}


@pytest.mark.parametrize(("name", "kind"), SHOWN_BY.items(), ids=SHOWN_BY)
def test_queries_recompute_the_numbers(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = set[str]()

    def analyse(settings: Settings, *, now: Any, days: int) -> Analysis:
        lake = Lake(settings.lake_url)
        known = load.load_facts(lake, now, settings=settings)
        for finding in find(known, now=now, days=days):
            kinds.add(finding.kind)
            counted = lake.sql(finding.evidence["query"]).iloc[0, 0]
            assert counted == finding.evidence["number"], finding.fingerprint
            assert _is_said(finding.evidence["number"], finding.summary), finding.summary
        return Analysis([], [])

    monkeypatch.setattr(harness, "analyse", analyse)
    harness.play(SCENARIOS[name], tmp_path)
    assert kind in kinds


def _is_said(number: int, summary: str) -> bool:
    return f"{number:,}" in summary


@pytest.mark.parametrize("seed", [0, 1, 12, 13, 44, 50])
def test_queries_recompute_the_numbers_of_random_data(seed: int, tmp_path: Path) -> None:
    lake = random_lake(tmp_path, seed)
    known = load.load_facts(lake, NOW, settings=load_settings(home=str(tmp_path)))
    outside = load_outside(lake, (), NOW)
    found = find(known, now=NOW, days=7, thresholds=SENSITIVE, outside=outside)
    counted = {
        f.fingerprint: (f.evidence["number"], lake.sql(f.evidence["query"]).iloc[0, 0])
        for f in found
        if "query" in f.evidence
    }
    assert len(counted) > 3
    assert {name: pair for name, pair in counted.items() if pair[0] != pair[1]} == {}
