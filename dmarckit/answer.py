"""Does anything need doing? The first sentence of a page, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from dmarckit.errors import one_line
from dmarckit.words import count, is_missing, percent, plural

LOW_PASS_SHARE = 0.98
"""below it a domain needs a look: what is usual when every sender is set up and some mail is
forwarded lies above"""
DROP = 0.02
"""a fall of the pass share against the window before that needs a look, whatever its level"""
FEW_MESSAGES = 10
"""fewer failing messages than this are noise: one forwarded newsletter makes as many"""


@dataclass(frozen=True)
class Answer:
    """What a reader must know first."""

    level: str
    """``good``, ``warning`` (somebody should look) or ``none`` (there is no data)"""
    sentence: str
    points: tuple[str, ...]
    """the reasons, each a sentence of plain text; outside words in it are not yet escaped"""


def answer(
    measures: pd.DataFrame, domains: pd.DataFrame, sources: pd.DataFrame, refused: pd.DataFrame
) -> Answer:
    """The answer from the frames of `summary`: headline, by_domain, failing_sources, refused_mails.

    A domain needs a look when at least `FEW_MESSAGES` of its messages failed and were not
    stopped by its policy, and its pass share is below `LOW_PASS_SHARE` or fell by `DROP`.
    """
    values = measures.set_index("measure")["value"]
    points = list(_refused(refused))
    if not values["messages"]:
        if not values["reports"]:
            return Answer("none", "There are no reports for these days.", tuple(points))
        points.insert(0, f"{plural(values['reports'], 'report')} came in, without messages.")
        return Answer("none", "There were no messages on these days.", tuple(points))
    low = (domains["pass_share"] < LOW_PASS_SHARE) | (
        domains["before"] - domains["pass_share"] >= DROP
    )
    look = domains[low & (domains["delivered"] >= FEW_MESSAGES)]
    points = [*_domains(look), *_sources(sources, look), *points]
    if len(look):
        names = _names(list(look["domain"]))
        verb = "needs" if len(look) == 1 else "need"
        return Answer("warning", f"{names} {verb} a look.", tuple(points))
    passing = f"{percent(values['pass_share'])} of {plural(values['messages'], 'message')}"
    text = f"{passing} pass DMARC, and no domain has many failing messages that were delivered."
    if refused["outcome"].isin(["untrusted", "unreadable"]).any():
        sentence = "The mail looks fine, but not every report could be taken."
        return Answer("warning", sentence, (text, *points))
    return Answer("good", "Nothing needs doing.", (text, *points))


def _domains(look: pd.DataFrame) -> list[str]:
    points = []
    row: Any
    for row in look.head(3).itertuples():
        fell = "" if is_missing(row.before) else f", {percent(row.before)} before"
        policy = (
            f"its policy is p={_name(row.policy)}"
            if isinstance(row.policy, str)
            else "no policy is quoted"
        )
        part = "all" if row.delivered == row.failing else f"{count(row.delivered)} of"
        points.append(
            f"{_name(row.domain)}: {percent(row.pass_share)} pass DMARC{fell}; {part} "
            f"{plural(row.failing, 'failing message')} were delivered all the same ({policy})."
        )
    return points


def _sources(sources: pd.DataFrame, look: pd.DataFrame) -> list[str]:
    top = sources[sources["domain"].isin(look["domain"])].head(1)
    points = []
    row: Any
    for row in top.itertuples():
        sent = f"{plural(row.messages, 'message')} as {_name(row.domain)}"
        points.append(f"Most failing messages came from {_name(row.source)}: {sent}.")
    return points


def _refused(refused: pd.DataFrame) -> list[str]:
    words = {
        "untrusted": "not trusted, so the reports in {it} do not count",
        "unreadable": "not readable, so the numbers here may lack {it}",
    }
    number = refused.groupby("outcome")["mails"].sum()
    points = []
    for outcome, text in words.items():
        n = int(number.get(outcome, 0))
        if n:
            is_one = n == 1
            text = text.format(it="it" if is_one else "them")
            points.append(f"{plural(n, 'mail')} {'was' if is_one else 'were'} {text}.")
    return points


def _name(text: object) -> str:
    """A name from a report, short enough for a sentence."""
    return one_line(text, 60)


def _names(found: list[str], limit: int = 3) -> str:
    names = [_name(name) for name in found]
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {plural(len(names) - limit, 'other domain')}"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
