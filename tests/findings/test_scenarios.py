"""Every scenario: the classes of its messages, the findings it must give, and no other alert."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.demo.traffic import reports
from dmarckit.facts.lake import open_lake
from dmarckit.findings.analysis import Analysis
from dmarckit.pages.build import find_notebook
from dmarckit.pages.page import SECTIONS, Page
from tests.scenarios.all import SCENARIOS
from tests.scenarios.analysis import Analysis as Seen
from tests.scenarios.harness import SEED, Score, compare_findings, play, settings_of
from tests.scenarios.reference import classified
from tests.scenarios.scenario import END, NOW, UNTOLD, Expect, Scenario, run
from tests.scenarios.score import summary

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


@each_scenario
def test_findings_and_classes(scenario: Scenario, tmp_path: Path) -> None:
    score = play(scenario, tmp_path)
    assert not score.mismatches, "\n".join([scenario.why, *map(str, score.mismatches)])
    assert score.analysis is not None
    _build_sections(scenario, settings_of(scenario, tmp_path), score.analysis)


def _build_sections(scenario: Scenario, settings: Settings, analysis: Analysis) -> None:
    """Build every section of the overview, and of one of the other pages by turns.

    A scenario's place in the list decides which: all pages of all scenarios take ten minutes.
    """
    window, lake = last_days(scenario.window, today=analysis.now.date()), open_lake(settings)
    outside = () if analysis.outside.empty else ("requirements", "postmaster")
    domain = scenario.domains[0].name
    others = [("domain", domain), ("sender", domain), *((name, "") for name in ("tls", *outside))]
    turn = list(SCENARIOS).index(scenario.name) % len(others)
    for notebook, about in (("overview", ""), others[turn]):
        page = Page(settings, lake, window, domain=about)
        page.analysis = analysis
        called = re.findall(r"page\.(\w+)\(", find_notebook(notebook).read_text())
        for name in sorted(set(SECTIONS).intersection(called)):
            assert getattr(page, name)()._repr_mimebundle_(), (notebook, name)


KINDS = (
    "new_sender",
    "sender_stopped",
    "unaligned_sender",
    "broken_dkim",
    "spf_errors",
    "spf_only",
    "spoofing",
    "subdomain_exposed",
    "passing_abuse",
    "policy_ready",
    "policy_changed",
    "policy_not_honoured",
    "reporter_silent",
    "ingest_broken",
    "gmail_requirement",
    "tls_failures",
    "untrusted_reports",
    "unreadable_reports",
    "spam_rate",
    "delivery_errors",
    "dns_record",
    "requirement_not_met",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_wanted_somewhere_and_wrong_elsewhere(kind: str) -> None:
    looks = [context for s in SCENARIOS.values() for context in s.runs]
    assert any(e.kind == kind for context in looks for e in context.expected)
    assert any(a.kind == kind for context in looks for a in context.absent)


def test_what_is_missing_and_what_is_too_much_is_told() -> None:
    context = run(NOW, Expect("spoofing", "example.com", "alert"), absent=["new_sender"])
    base = {"domain": "example.com", "messages": 5, "summary": "", "action": "", "evidence": {}}
    base |= {"record": []}
    found = [
        {**base, "kind": "spf_only", "subject": "a", "severity": "warning"},
        {**base, "kind": "new_sender", "subject": "b", "severity": "info"},
        {**base, "kind": "policy_ready", "subject": "c", "severity": "good"},
    ]
    score = Score("made up")
    compare_findings(score, 1, context, Seen([], found, None))
    assert (score.right, score.missing, score.alarms) == (0, 1, 2)
    assert "recall 0.0 %" in summary([score])


@each_scenario
def test_the_truth_follows_the_rules(scenario: Scenario) -> None:
    days, start = scenario.days, END - timedelta(scenario.days)
    made = reports(scenario.domains, scenario.flows, scenario.reporters, start, days, SEED)
    kept = list(scenario.change(made))
    truths = [t for g in kept for t in g.truth if t.messages]
    want, found = Counter[str](), Counter[str]()
    declared, now = scenario.settings.get("senders", ()), scenario.runs[-1].now
    rows = classified((g.report for g in kept), declared, now)
    for truth, row in zip(truths, rows, strict=True):
        if truth.expected == UNTOLD:
            continue
        name = "?" if truth.sender == "?" else row.sender
        want[f"{truth.flow}: {truth.expected} by {truth.sender}"] += truth.messages
        found[f"{truth.flow}: {row.klass} by {name}"] += truth.messages
    assert found == want
