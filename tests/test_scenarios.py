"""Every scenario: the classes of its messages, the findings it must give, and no other alert."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("dmarckit.findings")

from tests.scenarios.all import SCENARIOS
from tests.scenarios.harness import play
from tests.scenarios.scenario import Scenario


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario(scenario: Scenario, tmp_path: Path) -> None:
    score = play(scenario, tmp_path)
    assert not score.mismatches, "\n".join([scenario.why, *map(str, score.mismatches)])
