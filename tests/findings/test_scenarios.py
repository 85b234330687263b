"""Every scenario: the classes of its messages, the findings it must give, and no other alert."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.facts.lake import open_lake
from dmarckit.findings.analysis import Analysis
from dmarckit.pages.build import find_notebook
from dmarckit.pages.page import SECTIONS, Page
from tests.scenarios.all import SCENARIOS
from tests.scenarios.analysis import Analysis as Seen
from tests.scenarios.harness import Score, compare_findings, play, settings_of, written
from tests.scenarios.reference import classified
from tests.scenarios.scenario import NOW, UNTOLD, Expect, Scenario, run
from tests.scenarios.score import summary


@pytest.fixture(scope="module", params=SCENARIOS.values(), ids=SCENARIOS.keys())
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """Each scenario; its tests run one after the other."""
    found: Scenario = request.param
    return found


@pytest.fixture(scope="module")
def made(scenario: Scenario) -> list[GeneratedReport]:
    """What is written in it, for all its tests."""
    return written(scenario)


def test_findings_and_classes(
    scenario: Scenario, made: list[GeneratedReport], tmp_path: Path
) -> None:
    score = play(scenario, tmp_path, made)
    assert not score.mismatches, "\n".join([scenario.why, *map(str, score.mismatches)])
    assert score.analysis is not None
    _build_sections(scenario, settings_of(scenario, tmp_path), score.analysis)


def _build_sections(scenario: Scenario, settings: Settings, analysis: Analysis) -> None:
    """Build every section of one of the pages.

    A scenario's place in the list decides which: each page is built of dozens of them, and all
    pages of all scenarios would take as long as all other tests.
    """
    window, lake = last_days(scenario.window, today=analysis.now.date()), open_lake(settings)
    outside = () if analysis.outside.empty else ("requirements", "postmaster")
    domain = scenario.domains[0].name
    names = [("overview", ""), ("domain", domain), ("sender", domain), ("tls", "")]
    names += [(notebook, "") for notebook in outside]
    notebook, about = names[list(SCENARIOS).index(scenario.name) % len(names)]
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


def test_the_truth_follows_the_rules(scenario: Scenario, made: list[GeneratedReport]) -> None:
    kept = list(scenario.change(list(made)))
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
