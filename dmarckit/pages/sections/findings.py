"""Findings: a card each, the most urgent first, and what they mean for a page as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

from dmarckit import findings
from dmarckit.core import _, later, ngettext, one_line, show_domain, text as words
from dmarckit.findings import EVIDENCE_ORDER, LedgerEntry, Record, is_open
from dmarckit.pages.html import Column, Html, render_part, table, value_text
from dmarckit.pages.sections.base import PageData, Section

CARDS = 24  # cards of a page; what comes after them is a row of a folded table
SHOWN = 5  # things named in an answer; more is not read in ten seconds

_LEVELS = {"critical": "bad", "warning": "warning", "info": "plain", "good": "good"}
_NAMES = {"critical": later("critical"), "warning": later("warning"), "info": later("to know")}
_NAMES |= {"good": later("a step forward")}
_STATUS = {"NEW": later("NEW"), "WORSE": later("WORSE"), "SAME": later("SAME")}
_STATUS |= {"RESOLVED": later("RESOLVED")}
_STATUS_OF_KIND = {"NEW": later("{what} (new)"), "WORSE": later("{what} (worse)")}


class FindingSections(PageData):
    """What is wrong, has changed, or can be done next."""

    def findings(self, *kinds: str) -> Section:
        """Show findings as cards, the most urgent first; muted and resolved ones are folded.

        `kinds`: only those of these kinds or topics, such as ``requirements``.

        `.data`: one row a finding: `kind`, `domain`, `subject`, `severity`, `messages`,
        `first_day`, `last_day`, `reporters` (number), `summary`, `action`, `evidence` (a
        dict), `mute_reason`, `status` (NEW, WORSE, SAME or RESOLVED).
        """
        items = findings.of_kinds(self.analysis.findings, *kinds)
        rows = [asdict(item.finding) | {"status": item.status} for item in items]
        columns = [*(field.name for field in fields(findings.Finding)), "status"]
        return Section(pd.DataFrame(rows, columns=columns), findings_html(items))


def findings_html(items: Sequence[LedgerEntry]) -> Html:
    """Return open findings as cards, muted and resolved ones folded below."""
    shown = [item for item in items if is_open(item)]
    muted = [item for item in items if item.finding.muted and item.status != "RESOLVED"]
    resolved = [item for item in items if item.status == "RESOLVED"]
    html = render_part("empty", _("Nothing was found that is open."))
    if shown:
        html = render_part("findings", [_card(item) for item in shown[:CARDS]])
    more, n = shown[CARDS:], len(resolved)
    text = ngettext("{n} more finding, less urgent", "{n} more findings, less urgent", len(more))
    html += _folded(text, more)
    html += _folded(ngettext("{n} muted", "{n} muted", len(muted)), muted)
    text = ngettext("{n} resolved since the last run", "{n} resolved since the last run", n)
    return html + _folded(text, resolved)


def records_to_paste(records: Sequence[Record]) -> Html:
    """Return the DNS records to copy, each with the one to go back to."""
    shown = Html()
    for record in records:
        label = _("Record to publish")
        if len(records) > 1 or record.type != "TXT":
            label = f"{label}: {one_line(record.name, 300)} {record.type}"
        shown += render_part("record", record.value, label)
        if record.replaces:
            shown += render_part("record", record.replaces, _("To go back"))
    return shown


def _card(item: LedgerEntry) -> dict[str, Any]:
    """Return a finding as the macro ``findings`` prints it."""
    finding, evidence = item.finding, item.finding.evidence
    names = dict.fromkeys(
        [
            *(name for name in EVIDENCE_ORDER if name in evidence and name != "query"),
            *sorted(evidence.keys() - {"query"}),
            *(["query"] if "query" in evidence else []),
        ]
    )
    return {
        "level": _LEVELS[finding.severity],
        "severity": _(_NAMES[finding.severity]),
        "status": _(_STATUS[item.status]),
        "status_level": "strong" if item.status in ("NEW", "WORSE") else "plain",
        "domain": show_domain(finding.domain) or _("all domains"),
        "title": finding.title,
        "summary": finding.summary,
        "label": _("To do:") if finding.severity in findings.URGENT else _("Next:"),
        "action": finding.action,
        "records": records_to_paste(finding.record),
        "evidence": [
            (findings.evidence_label(name), _value(name, evidence[name]))
            for name in names
            if evidence[name] not in (None, "", [], {})
        ],
    }


def _value(name: str, value: Any) -> Html:
    if name == "query":
        return render_part("code", value)
    if isinstance(value, Mapping):
        pairs = [
            (findings.part_label(name, key), f" {value_text(part)}") for key, part in value.items()
        ]
    else:
        values = value if isinstance(value, list | tuple) else [value]
        pairs = [(value_text(part), "") for part in values]
    return render_part("named", pairs)


def _folded(text: str, items: Sequence[LedgerEntry]) -> Html:
    """Return findings, if any, as a folded table below `text`, which says how many they are."""
    if not items:
        return Html()
    text = text.format(n=words.count(len(items)))

    def status(item: LedgerEntry) -> str:
        if not item.finding.muted or item.status == "RESOLVED":
            return _(_STATUS[item.status])
        return _("muted: {reason}").format(reason=one_line(item.finding.mute_reason, 200))

    rows = [
        {
            "title": item.finding.title,
            "summary": item.finding.summary,
            "domain": show_domain(item.finding.domain) or _("all domains"),
            "severity": _(_NAMES[item.finding.severity]),
            "status": status(item),
        }
        for item in items
    ]
    columns = [
        Column("title", _("Finding"), under="summary"),
        Column("domain", _("Domain")),
        Column("severity", _("Severity")),
        Column("status", _("Status")),
    ]
    return render_part("fold", text, table(pd.DataFrame(rows), columns, caption=text, empty=""))


@dataclass(frozen=True)
class Answer:
    """What a reader must know first."""

    level: str  # ``good``, ``warning`` (somebody must act), ``plain``, ``none`` (there is no data)
    sentence: str
    points: tuple[str, ...] = ()
    """the reasons, each a sentence of plain text; outside words in it are not yet escaped"""


def answer_html(answer: Answer, title: str = "", below: Html | None = None) -> Html:
    """Return the answer as the first thing of a page, which is named `title`."""
    points = answer.points
    return render_part("answer", answer.level, answer.sentence, points, help=below, title=title)


def answer(items: Sequence[LedgerEntry], measures: pd.DataFrame) -> Answer:
    """Return the answer from the findings and `overview.measure`.

    Open findings that are critical or warnings need doing. Without any report there is no
    answer, unless a finding says why there is none.
    """
    values = measures.set_index("measure")["value"]
    if todo := findings.urgent(items):
        sentence = ngettext("One thing needs doing.", "{n} things need doing.", len(todo))
        sentence = sentence.format(n=words.count(len(todo)))
        points = []
        for item in todo[:SHOWN]:
            status = _(_STATUS_OF_KIND.get(item.status, "{what}"))
            what = status.format(what=item.finding.title)
            domain = one_line(show_domain(item.finding.domain), 130)
            text = _("{domain}: {what}.") if domain else _("{what}.")
            points.append(text.format(domain=domain, what=what))
        return Answer("warning", sentence, (*points, *more_below(len(todo) - SHOWN)))
    if not values["reports"]:
        return Answer("none", _("There are no reports for these days."))
    if not values["messages"]:
        text = _("{reports} came in, without messages.")
        text = text.format(reports=words.n_reports(values["reports"]))
        return Answer("none", _("There were no messages on these days."), (text,))
    more = sum(map(is_open, items))
    text = ngettext(
        "{share} of {messages} pass DMARC; {n} thing to know below.",
        "{share} of {messages} pass DMARC; {n} things to know below.",
        more,
    )
    text = text if more else _("{share} of {messages} pass DMARC.")
    text = text.format(
        share=words.percent(values["pass_share"]),
        messages=words.n_messages(values["messages"]),
        n=words.count(more),
    )
    return Answer("good", _("Nothing needs doing."), (text,))


def more_below(number: int) -> tuple[str, ...]:
    """Return the sentence that so many things are not named, or nothing."""
    text = ngettext("And {n} more thing below.", "And {n} more things below.", number)
    return (text.format(n=words.count(number)),) if number > 0 else ()
