"""Does anything need doing? The first sentence of a page, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dmarckit.errors import one_line
from dmarckit.finding_words import is_open, title, urgent
from dmarckit.findings_ledger import Judged
from dmarckit.words import count, percent, plural

SHOWN = 5
"""things named in the answer; more is not read in ten seconds"""


@dataclass(frozen=True)
class Answer:
    """What a reader must know first."""

    level: str
    """``good``, ``warning`` (somebody must act) or ``none`` (there is no data)"""
    sentence: str
    points: tuple[str, ...]
    """the reasons, each a sentence of plain text; outside words in it are not yet escaped"""


def answer(findings: Sequence[Judged], measures: pd.DataFrame) -> Answer:
    """The answer from the findings and `summary.headline`.

    Open findings that are critical or warnings need doing; muted and resolved ones do not,
    and neither does what is only worth knowing. Without any report there is no answer, unless
    a finding says why there is none.
    """
    values = measures.set_index("measure")["value"]
    todo = urgent(findings)
    if todo:
        many = len(todo) > 1
        sentence = f"{count(len(todo))} things need doing." if many else "One thing needs doing."
        points = [_point(item) for item in todo[:SHOWN]]
        if len(todo) > SHOWN:
            points.append(f"And {plural(len(todo) - SHOWN, 'more thing')} below.")
        return Answer("warning", sentence, tuple(points))
    if not values["reports"]:
        return Answer("none", "There are no reports for these days.", ())
    if not values["messages"]:
        came = f"{plural(values['reports'], 'report')} came in, without messages."
        return Answer("none", "There were no messages on these days.", (came,))
    passing = f"{percent(values['pass_share'])} of {plural(values['messages'], 'message')}"
    more = sum(1 for item in findings if is_open(item))
    known = f"; {plural(more, 'thing')} to know below" if more else ""
    return Answer("good", "Nothing needs doing.", (f"{passing} pass DMARC{known}.",))


def _point(item: Judged) -> str:
    finding = item.finding
    status = {"NEW": " (new)", "WORSE": " (worse)"}.get(item.status, "")
    where = f"{one_line(finding.domain, 60)}: " if finding.domain else ""
    return f"{where}{title(finding)}{status}."
