"""Every scenario: the classes of its messages, the findings it must give, and no other alert."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from dmarckit.demo.traffic import reports
from tests.scenarios.all import SCENARIOS
from tests.scenarios.harness import SEED, play
from tests.scenarios.reference import classified
from tests.scenarios.scenario import END, UNTOLD, Scenario

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


@each_scenario
def test_findings_and_classes(scenario: Scenario, tmp_path: Path) -> None:
    pytest.importorskip("dmarckit.findings")
    score = play(scenario, tmp_path)
    assert not score.mismatches, "\n".join([scenario.why, *map(str, score.mismatches)])


@each_scenario
def test_the_truth_follows_the_rules(scenario: Scenario) -> None:
    days, start = scenario.days, END - timedelta(scenario.days)
    made = reports(scenario.domains, scenario.flows, scenario.reporters, start, days, SEED)
    kept = list(scenario.change(made))
    truths = [t for g in kept for t in g.truth if t.messages]
    want, found = Counter[str](), Counter[str]()
    for truth, row in zip(
        truths, classified(kept, scenario.settings.get("senders", ())), strict=True
    ):
        if truth.expected == UNTOLD:
            continue
        name = "?" if truth.sender == "?" else row.sender
        want[f"{truth.flow}: {truth.expected} by {truth.sender}"] += truth.messages
        found[f"{truth.flow}: {row.klass} by {name}"] += truth.messages
    assert found == want
