"""The registry of kinds: what is found is registered, and what is registered is whole."""

from __future__ import annotations

import pytest

from dmarckit.findings.find import KINDS, find
from dmarckit.findings.titles import EVIDENCE_ORDER, evidence_label, part_label
from tests.support.finding_cases import CASES
from tests.support.finding_facts import NOW

ALL_CASES = [(kind, n) for kind, cases in CASES.items() for n in range(len(cases))]


@pytest.mark.parametrize(("kind", "case"), ALL_CASES)
def test_what_is_found_is_as_its_kind_says(kind: str, case: int) -> None:
    for finding in find(CASES[kind][case](), now=NOW):
        registered = KINDS[finding.kind]
        assert finding.severity in registered.severities
        parts = {part for part in finding.evidence if not part.startswith("record")}
        assert parts <= EVIDENCE_ORDER.keys() | registered.evidence.keys()


def test_kinds_have_one_label_for_a_part_of_the_evidence() -> None:
    for kind in KINDS.values():
        for name, label in kind.evidence.items():
            part, _, key = name.partition(".")
            assert (part_label(part, key) if key else evidence_label(part)) == label


def test_kinds_are_hidden_by_others_only() -> None:
    for kind in KINDS.values():
        assert set(kind.hidden_by) <= KINDS.keys() - {kind.name}
