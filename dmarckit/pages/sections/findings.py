"""Findings → HTML: a card each, the most urgent first; muted and resolved ones folded.

Does anything need doing? The first sentence of a page, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dmarckit.core import (
    _,
    count,
    later,
    n_messages,
    n_reports,
    ngettext,
    one_line,
    percent,
    text as words,
)
from dmarckit.findings import (
    EVIDENCE_ORDER,
    URGENT,
    LedgerEntry,
    evidence_label,
    is_open,
    part_label,
    title,
    urgent,
)
from dmarckit.pages.html import Column, Html, escape, table

CARDS = 24
"""cards of a page; what comes after them is a row of a folded table"""

_LONG = 1500
"""characters of a summary, an action, a record: nothing of it may be cut off"""

_SEVERITY = {"critical": "bad", "warning": "warning", "info": "plain", "good": "good"}
_NAMES = {
    "critical": later("critical"),
    "warning": later("warning"),
    "info": later("to know"),
    "good": later("a step forward"),
}
_STATUS = {
    "NEW": later("NEW"),
    "WORSE": later("WORSE"),
    "SAME": later("SAME"),
    "RESOLVED": later("RESOLVED"),
}


def findings(items: Sequence[LedgerEntry]) -> Html:
    """All findings of a page: open ones as cards, muted and resolved ones folded below."""
    shown = [item for item in items if is_open(item)]
    parts = [_cards(shown[:CARDS])] if shown else [_nothing()]
    if shown[CARDS:]:
        more = len(shown) - CARDS
        text = ngettext("{n} more finding, less urgent", "{n} more findings, less urgent", more)
        parts.append(_folded(text.format(n=words.count(more)), shown[CARDS:], _status))
    muted = [item for item in items if item.finding.muted and item.status != "RESOLVED"]
    if muted:
        text = ngettext("{n} muted", "{n} muted", len(muted)).format(n=len(muted))
        parts.append(_folded(text, muted, _why_muted))
    resolved = [item for item in items if item.status == "RESOLVED"]
    if resolved:
        text = ngettext(
            "{n} resolved since the last run", "{n} resolved since the last run", len(resolved)
        ).format(n=len(resolved))
        parts.append(_folded(text, resolved, _status))
    return Html("".join(parts))


def _nothing() -> str:
    text = _("Nothing was found that is open.")
    return f'<p class="dk-empty">{escape(text)}</p>'


def _status(item: LedgerEntry) -> str:
    return _(_STATUS[item.status])


def records_to_paste(record: str, back: str | None = None) -> Html:
    """A DNS record to copy, and the one to go back to."""
    return Html(
        _record(_("Record to publish"), record) + (_record(_("To go back"), back) if back else "")
    )


def _cards(items: Sequence[LedgerEntry]) -> str:
    return f'<ol class="dk-findings">{"".join(_card(item) for item in items)}</ol>'


def _card(item: LedgerEntry) -> str:
    finding = item.finding
    pills = _pill(_(_NAMES[finding.severity]), _SEVERITY[finding.severity])
    pills += _pill(_status(item), "strong" if item.status in ("NEW", "WORSE") else "plain")
    domain = escape(finding.domain or _("all domains"))
    where = f'<span class="dk-where"><bdi>{domain}</bdi></span>'
    label = _("To do:") if finding.severity in URGENT else _("Next:")
    return (
        f'<li class="dk-finding {_SEVERITY[finding.severity]}">'
        f'<p class="dk-tags">{pills}{where}</p>'
        f"<h3>{escape(title(finding))}</h3><p>{escape(finding.summary, _LONG)}</p>"
        f'<p class="dk-action"><b>{escape(label)}</b> {escape(finding.action, _LONG)}</p>'
        f"{_records(finding.evidence)}{_evidence(finding.evidence)}</li>"
    )


def _pill(text: str, level: str) -> str:
    return f'<span class="dk-pill {level}">{escape(text)}</span>'


def _records(evidence: Mapping[str, Any]) -> str:
    """The record that the finding proposes; one that only quotes what is published is none."""
    record, back = evidence.get("record"), evidence.get("record_back")
    if not record or not back:
        return ""
    return records_to_paste(str(record), str(back)).markup


def _record(label: str, record: str) -> str:
    return (
        f'<div class="dk-record"><span>{escape(label)}</span>'
        f'<code tabindex="0">{escape(record, _LONG)}</code></div>'
    )


def _evidence(evidence: Mapping[str, Any]) -> str:
    names = [name for name in EVIDENCE_ORDER if name in evidence]
    names += [n for n in sorted(evidence) if n not in EVIDENCE_ORDER and not n.startswith("record")]
    rows = "".join(
        f"<dt>{escape(evidence_label(name))}</dt><dd>{_value(name, evidence[name])}</dd>"
        for name in names
        if evidence[name] not in (None, "", [], {})
    )
    summary = escape(_("Evidence"))
    return f"<details><summary>{summary}</summary><dl>{rows}</dl></details>" if rows else ""


def _value(name: str, value: Any) -> str:
    if name == "query":
        return f'<code tabindex="0">{escape(value, 20_000)}</code>'
    if isinstance(value, Mapping):
        pairs = (
            f"<bdi>{escape(part_label(name, k))}</bdi> {escape(_short(v))}"
            for k, v in value.items()
        )
        return ", ".join(pairs)
    if isinstance(value, list | tuple):
        return ", ".join(f"<bdi>{escape(_short(v))}</bdi>" for v in value)
    return f"<bdi>{escape(_short(value))}</bdi>"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return words.count(value)
    return one_line(value, 200)


def _folded(text: str, items: Sequence[LedgerEntry], last: Any) -> str:
    frame = pd.DataFrame(
        {
            "title": [title(item.finding) for item in items],
            "domain": [item.finding.domain or _("all domains") for item in items],
            "severity": [_(_NAMES[item.finding.severity]) for item in items],
            "summary": [item.finding.summary for item in items],
            "why": [last(item) for item in items],
        }
    )
    columns = [
        Column("title", _("Finding"), under=lambda row: str(row.summary)),
        Column("domain", _("Domain")),
        Column("severity", _("Severity")),
        Column("why", _("Status")),
    ]
    shown = table(frame, columns, caption=text, empty="").markup
    return f'<details class="dk-fold"><summary>{escape(text)}</summary>{shown}</details>'


def _why_muted(item: LedgerEntry) -> str:
    return _("muted: {reason}").format(reason=one_line(item.finding.mute_reason, 200))


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


def answer(findings: Sequence[LedgerEntry], measures: pd.DataFrame) -> Answer:
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


def _point(item: LedgerEntry) -> str:
    finding = item.finding
    status = _(_STATUS_OF_KIND.get(item.status, "{what}")).format(what=title(finding))
    domain = one_line(finding.domain, 60)
    text = _("{domain}: {what}.") if domain else _("{what}.")
    return text.format(domain=domain, what=status)


_STATUS_OF_KIND = {"NEW": later("{what} (new)"), "WORSE": later("{what} (worse)")}
