"""Precision and recall over scenarios, and each thing that was wrong."""

from __future__ import annotations

from collections.abc import Iterable

from tests.scenarios.harness import Score


def summary(scores: Iterable[Score]) -> str:
    """A text: each mismatch by scenario, then the totals.

    Findings: right, missing, false alarms; precision is right ÷ (right + false alarms),
    recall right ÷ (right + missing). Classes: messages in the right class ÷ all.
    """
    scores = list(scores)
    lines = [f"{score.name}: {mismatch}" for score in scores for mismatch in score.mismatches]
    right = sum(s.right for s in scores)
    missing = sum(s.missing for s in scores)
    alarms = sum(s.alarms for s in scores)
    messages = sum(s.messages for s in scores)
    wrong = sum(s.misclassified for s in scores)
    clean = sum(not s.mismatches for s in scores)
    lines += [
        "",
        f"scenarios  {clean} of {len(scores)} without any mismatch",
        f"findings   {right} right, {missing} missing, {alarms} false alarms",
        f"           precision {_share(right, right + alarms)}, "
        f"recall {_share(right, right + missing)}",
        f"classes    {_share(messages - wrong, messages)} of {messages:,.0f} messages right",
    ]
    return "\n".join(lines)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "no data"
