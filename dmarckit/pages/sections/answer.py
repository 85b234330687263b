"""Does anything need doing? The first sentence of a page, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dmarckit.core.errors import one_line
from dmarckit.core.language import _, later, ngettext
from dmarckit.core.words import count, n_messages, n_reports, percent
from dmarckit.findings.finding_words import is_open, title, urgent
from dmarckit.findings.findings_ledger import Judged

SHOWN = 5
"""things named in the answer; more is not read in ten seconds"""


@dataclass(frozen=True)
class Answer:
    """What a reader must know first."""

    level: str
    """``good``, ``warning`` (somebody must act), ``plain``, or ``none`` (there is no data)"""
    sentence: str
    points: tuple[str, ...]
    """the reasons, each a sentence of plain text; outside words in it are not yet escaped"""


def answer(findings: Sequence[Judged], measures: pd.DataFrame) -> Answer:
    """The answer from the findings and `domain_summary.headline`.

    Open findings that are critical or warnings need doing; muted and resolved ones do not,
    and neither does what is only worth knowing. Without any report there is no answer, unless
    a finding says why there is none.
    """
    values = measures.set_index("measure")["value"]
    todo = urgent(findings)
    if todo:
        sentence = ngettext("One thing needs doing.", "{n} things need doing.", len(todo))
        sentence = sentence.format(n=count(len(todo)))
        points = [_point(item) for item in todo[:SHOWN]]
        if len(todo) > SHOWN:
            more = len(todo) - SHOWN
            text = ngettext("And {n} more thing below.", "And {n} more things below.", more)
            points.append(text.format(n=count(more)))
        return Answer("warning", sentence, tuple(points))
    if not values["reports"]:
        return Answer("none", _("There are no reports for these days."), ())
    if not values["messages"]:
        came = _("{reports} came in, without messages.")
        came = came.format(reports=n_reports(values["reports"]))
        return Answer("none", _("There were no messages on these days."), (came,))
    more = sum(1 for item in findings if is_open(item))
    text = _("{share} of {messages} pass DMARC.")
    if more:
        text = ngettext(
            "{share} of {messages} pass DMARC; {n} thing to know below.",
            "{share} of {messages} pass DMARC; {n} things to know below.",
            more,
        )
    share, messages = percent(values["pass_share"]), n_messages(values["messages"])
    said = text.format(share=share, messages=messages, n=count(more))
    return Answer("good", _("Nothing needs doing."), (said,))


def _point(item: Judged) -> str:
    finding = item.finding
    status = _(_STATUS.get(item.status, "{what}")).format(what=title(finding))
    domain = one_line(finding.domain, 60)
    text = _("{domain}: {what}.") if domain else _("{what}.")
    return text.format(domain=domain, what=status)


_STATUS = {"NEW": later("{what} (new)"), "WORSE": later("{what} (worse)")}
