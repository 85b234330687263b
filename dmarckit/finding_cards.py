"""Findings → HTML: a card each, the most urgent first; muted and resolved ones folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dmarckit import words
from dmarckit.errors import one_line
from dmarckit.finding_words import URGENT, is_open, title
from dmarckit.findings_ledger import Judged
from dmarckit.markup import Column, Html, escape, table

CARDS = 24
"""cards of a page; what comes after them is a row of a folded table"""

_LONG = 1500
"""characters of a summary, an action, a record: nothing of it may be cut off"""

_SEVERITY = {"critical": "bad", "warning": "warning", "info": "plain", "good": "good"}
_NAMES = {"critical": "critical", "warning": "warning", "info": "to know", "good": "a step forward"}
_EVIDENCE = {
    "number": "The number",
    "reporters": "Reporters",
    "messages_a_day": "By day",
    "addresses": "Addresses",
    "dispositions": "What receivers did",
    "thresholds": "Thresholds",
    "query": "The query that gives the number",
}
"""what of the evidence is shown by its own name, in this order; the rest follows"""


def findings(items: Sequence[Judged]) -> Html:
    """All findings of a page: open ones as cards, muted and resolved ones folded below."""
    shown = [item for item in items if is_open(item)]
    parts = [_cards(shown[:CARDS])] if shown else [_NOTHING]
    if shown[CARDS:]:
        more = words.plural(len(shown) - CARDS, "more finding")
        parts.append(_folded(f"{more}, less urgent", shown[CARDS:], lambda item: item.status))
    muted = [item for item in items if item.finding.muted and item.status != "RESOLVED"]
    if muted:
        parts.append(_folded(f"{len(muted)} muted", muted, _why_muted))
    resolved = [item for item in items if item.status == "RESOLVED"]
    if resolved:
        text = f"{len(resolved)} resolved since the last run"
        parts.append(_folded(text, resolved, lambda item: item.status))
    return Html("".join(parts))


_NOTHING = '<p class="dk-empty">Nothing was found that is open.</p>'


def records_to_paste(record: str, back: str | None = None) -> Html:
    """A DNS record to copy, and the one to go back to."""
    return Html(
        _record("Record to publish", record) + (_record("To go back", back) if back else "")
    )


def _cards(items: Sequence[Judged]) -> str:
    return f'<ol class="dk-findings">{"".join(_card(item) for item in items)}</ol>'


def _card(item: Judged) -> str:
    finding = item.finding
    pills = _pill(_NAMES[finding.severity], _SEVERITY[finding.severity])
    pills += _pill(item.status, "strong" if item.status in ("NEW", "WORSE") else "plain")
    where = f'<span class="dk-where"><bdi>{escape(finding.domain or "all domains")}</bdi></span>'
    label = "To do" if finding.severity in URGENT else "Next"
    return (
        f'<li class="dk-finding {_SEVERITY[finding.severity]}">'
        f'<p class="dk-tags">{pills}{where}</p>'
        f"<h3>{escape(title(finding))}</h3><p>{escape(finding.summary, _LONG)}</p>"
        f'<p class="dk-action"><b>{label}:</b> {escape(finding.action, _LONG)}</p>'
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
    names = [name for name in _EVIDENCE if name in evidence]
    names += [n for n in sorted(evidence) if n not in _EVIDENCE and not n.startswith("record")]
    rows = "".join(
        f"<dt>{escape(_EVIDENCE.get(name, name.replace('_', ' ').capitalize()))}</dt>"
        f"<dd>{_value(name, evidence[name])}</dd>"
        for name in names
        if evidence[name] not in (None, "", [], {})
    )
    return f"<details><summary>Evidence</summary><dl>{rows}</dl></details>" if rows else ""


def _value(name: str, value: Any) -> str:
    if name == "query":
        return f'<code tabindex="0">{escape(value, 20_000)}</code>'
    if isinstance(value, Mapping):
        pairs = (f"<bdi>{escape(k)}</bdi> {escape(_short(v))}" for k, v in value.items())
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


def _folded(text: str, items: Sequence[Judged], last: Any) -> str:
    frame = pd.DataFrame(
        {
            "title": [title(item.finding) for item in items],
            "domain": [item.finding.domain or "all domains" for item in items],
            "severity": [_NAMES[item.finding.severity] for item in items],
            "summary": [item.finding.summary for item in items],
            "why": [last(item) for item in items],
        }
    )
    columns = [
        Column("title", "Finding", under=lambda row: str(row.summary)),
        Column("domain", "Domain"),
        Column("severity", "Severity"),
        Column("why", "Status"),
    ]
    shown = table(frame, columns, caption=text, empty="").markup
    return f'<details class="dk-fold"><summary>{escape(text)}</summary>{shown}</details>'


def _why_muted(item: Judged) -> str:
    return f"muted: {one_line(item.finding.mute_reason, 200)}"
