"""Findings: a card each, the most urgent first, and what they mean for a page as a whole."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from functools import partial
from typing import Any

import pandas as pd
from markupsafe import Markup

from dmarckit import facts, findings
from dmarckit.core import (
    _,
    later,
    ngettext,
    one_line,
    period,
    rate_text,
    show_domain,
    show_domains,
    text as words,
)
from dmarckit.findings import EVIDENCE_ORDER, LedgerEntry, is_open
from dmarckit.pages.charts import class_word
from dmarckit.pages.html import Column, Html, escape, render_part, table, value_text
from dmarckit.pages.links import page_target, short_hash
from dmarckit.pages.marks import spark
from dmarckit.pages.sections.base import PageData, Section, rows_of

CARDS = 24  # cards of a page beside those that need action; the rest is a folded table
MOST_CARDS = 100  # cards of a page
FEW_REPORTS = 3  # that a card leads to
SHOWN = 8  # findings that an answer names
ENOUGH = 0.95  # share of own mail that is authenticated, from which on nothing needs a look
MUTED = timedelta(days=30)  # that a finding is muted, as a card proposes it
SAID = "faults"  # the part of the evidence that the summary says in words
DAYS = "messages_a_day"  # the part of the evidence that a finding's line draws

_WORDS = {"classes": class_word, "sender_kind": facts.kind_word}
"""parts of the evidence that hold names of the lake's own, and how people read these"""

_LEVELS = {"critical": "bad", "warning": "warning", "info": "plain", "good": "good"}
_NAMES = {"critical": later("critical"), "warning": later("warning"), "info": later("info")}
_NAMES |= {"good": later("opportunity")}
_STATUS = {"NEW": later("NEW"), "WORSE": later("WORSE"), "SAME": later("STILL OPEN")}
_STATUS |= {"RESOLVED": later("FIXED")}
# what kinds do harm by, after the loss of wanted mail: what gets through, what breaks (the
# kinds not named), hygiene
_THROUGH = ("spoofing", "subdomain_exposed", "passing_abuse", "policy_not_honoured")
_HYGIENE = frozenset(
    {"dns_record", "dns_changed", "requirement_not_met", "spf_only", "reporter_odd"}
    | {"untrusted_reports", "unreadable_reports", "dead_letters"}
)
_SENDERS = ("mail_lost", "unidentified_sender", "new_sender", "sender_stopped", "unaligned_sender")
# what is counted where it is no message
_NO_MESSAGES = ("untrusted_reports", "unreadable_reports", "dead_letters")


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
        until = self.analysis.now.date() + MUTED
        seen = self.facts.reports
        shown = findings_html(items, until, seen, here=self.domain, is_first=self._is_first)
        return Section(pd.DataFrame(rows, columns=columns), shown)


def findings_html(
    items: Sequence[LedgerEntry],
    until: date,
    reports: pd.DataFrame,
    here: str = "",
    is_first: bool = False,
) -> Html:
    """Return open findings as cards, one a cause; muted and resolved ones folded below.

    `until`: up to when cards propose to mute; `reports`: those of the facts, of which cards lead
    to few; `here`: the page's domain, which is not linked to; `is_first`: there was no run
    before, so that nothing is new.
    """
    groups = by_cause(items)
    muted = [item for item in items if item.finding.muted and item.status != "RESOLVED"]
    resolved = [item for item in items if item.status == "RESOLVED"]
    html = render_part("empty", _("No open findings."))
    n = min(max(CARDS, sum(is_urgent(group) for group in groups)), MOST_CARDS)
    if groups:
        cards = [_card(group, until, reports, here, is_first) for group in groups[:n]]
        html = render_part("findings", cards)
    more = [item for group in groups[n:] for item in group]
    html += _folded(ngettext("{n} more finding", "{n} more findings", len(more)), more)
    html += _folded(ngettext("{n} muted", "{n} muted", len(muted)), muted)
    n = len(resolved)
    text = ngettext("{n} fixed since the last run", "{n} fixed since the last run", n)
    return html + _folded(text, resolved)


def by_cause(items: Sequence[LedgerEntry]) -> list[list[LedgerEntry]]:
    """Return the open findings by what they come from, the most harmful first.

    Those that need action come before all others; then what loses wanted mail, what lets forged
    mail through, what breaks, and hygiene.
    """
    groups: dict[tuple[str, str], list[LedgerEntry]] = {}
    for item in sorted(filter(is_open, items), key=_harm):
        finding = item.finding
        groups.setdefault((finding.kind, finding.cause or finding.fingerprint), []).append(item)
    return list(groups.values())


def _harm(item: LedgerEntry) -> tuple[bool, int, int, int, int]:
    finding = item.finding
    harm = 1 if finding.kind in _THROUGH else 3 if finding.kind in _HYGIENE else 2
    if finding.kind == "ingest_broken" or finding.lost or finding.kind == "mail_lost":
        harm = 0  # without reports nothing else is known
    rank = findings.SEVERITIES.index(finding.severity)
    is_urgent = finding.severity in findings.URGENT
    return not is_urgent, harm if is_urgent else 0, rank, -finding.lost, -finding.messages


def is_urgent(group: Sequence[LedgerEntry]) -> bool:
    """Return True if a person must act."""
    return group[0].finding.severity in findings.URGENT


def issues_html(items: Sequence[LedgerEntry], here: str = "", is_first: bool = False) -> Html:
    """Return what has changed in a line, and the findings that need action in a line each."""
    urgent = [group for group in by_cause(items) if is_urgent(group)]
    states = [str(item.status) for item in items if not item.finding.muted]
    n_open = words.count(len(states) - states.count("RESOLVED"))
    text = _("{open} open; there is no earlier run to compare with.")
    if not is_first:
        text = _("Since the last run: {new} new, {worse} worse, {fixed} fixed · {open} open")
    names = {"new": "NEW", "worse": "WORSE", "fixed": "RESOLVED"}
    counts = {name: words.count(states.count(status)) for name, status in names.items()}
    html = render_part("note", text.format(open=n_open, **counts)) if states else Html()
    if urgent:
        html += render_part("issues", [_row(group, here, is_first) for group in urgent[:SHOWN]])
    for text in more_below(len(urgent) - SHOWN):
        html += render_part("note", text)
    return html


def _row(group: Sequence[LedgerEntry], here: str, is_first: bool) -> dict[str, Any]:
    """Return what a line of the answer and a card have in common."""
    item, found = group[0], [item.finding for item in group]
    finding = item.finding
    since = min((day for f in found if (day := f.since or f.first_day)), default=None)
    days: Counter[str] = Counter()
    for one in found:
        days.update(one.evidence.get(DAYS) or {})
    domains: str | Html = _("{n} domains").format(n=words.count(len(group)))
    if len(group) == 1:
        domains = "" if here and finding.domain == here else _domain(finding.domain)
    status = "" if is_first and item.status == "NEW" else item.status
    return {
        "anchor": f"finding-{short_hash(finding.fingerprint)}",
        "level": _LEVELS[finding.severity],
        "severity": _(_NAMES[finding.severity]),
        "status": _(_STATUS[status]) if status else "",
        "status_level": "strong" if item.status in ("NEW", "WORSE") else "plain",
        "title": finding.title,
        "domain": domains,
        "number": amount(found),
        "since": _("since {day}").format(day=words.short_day(since)) if since else "",
        "spark": spark(days, _("Messages per day")),
    }


def amount(found: Sequence[findings.Finding]) -> str:
    """Return how many messages findings of one cause are about, and how many are lost."""
    messages, lost = sum(f.messages for f in found), sum(f.lost for f in found)
    number = words.n_messages(messages) if messages else ""
    if found[0].kind == "tls_failures":
        number = ngettext("{n} session", "{n} sessions", messages).format(n=words.count(messages))
    elif found[0].kind in _NO_MESSAGES:
        number = words.count(messages)
    if lost:
        number = _("{messages}, {lost} lost").format(messages=number, lost=words.count(lost))
    return number


def _domain(name: str) -> Html:
    """Return a domain with a link to its page, or that all are meant."""
    if not name:
        return render_part("named", [(_("all domains"), "")])
    return render_part("link", page_target("domain", domain=name), show_domain(name))


def _card(
    group: Sequence[LedgerEntry], until: date, reports: pd.DataFrame, here: str, is_first: bool
) -> dict[str, Any]:
    """Return findings of one cause as the macro ``findings`` prints them."""
    finding = group[0].finding
    row, evidence = _row(group, here, is_first), dict(finding.evidence)
    to_paste, links = Html(), []
    for record in finding.record:
        label = _("Publish {name}, {type}").format(name=record.name, type=record.type)
        to_paste += render_part("record", record.value, label)
        if record.replaces:
            to_paste += render_part("record", record.replaces, _("Roll back with"))
    for name in ("declare", "deny"):
        if value := evidence.pop(name, None):
            to_paste += render_part("record", value, findings.evidence_label(name))
    if finding.kind in _SENDERS and finding.subject != "*" and finding.domain:
        target = page_target("sender", domain=finding.domain, sender=finding.subject)
        label = _("All mail of {sender}").format(sender=one_line(finding.subject, 80))
        links.append((label, target))
    links += _report_links(finding, reports) if len(group) == 1 else ()
    names = dict.fromkeys(
        [*(name for name in EVIDENCE_ORDER if name in evidence), *sorted(evidence)]
    )
    # thresholds and the query that gives the number are the last that anybody asks for
    last = [name for name in ("thresholds", "query") if name in names]
    mute = {"fingerprint": finding.fingerprint, "reason": _("why")}
    lines = ["[[mute]]", *(f"{key} = {_toml_text(value)}" for key, value in mute.items())]
    return row | {
        "summary": finding.summary,
        "label": _("To do:") if is_urgent(group) else _("Next:"),
        "action": finding.action,
        "table": _domains_of(group) if len(group) > 1 else Html(),
        "records": to_paste,
        "links": links,
        "mute": Html(Markup("\n").join(escape(line, 600) for line in [*lines, f"until = {until}"])),
        "evidence": [
            (findings.evidence_label(name), _value(name, evidence[name]))
            for name in [*(name for name in names if name not in last), *last]
            if evidence[name] not in (None, "", [], {}) and name != SAID
        ],
    }


def _toml_text(value: str) -> str:
    """Return a text for a file of settings; what cannot be seen is written as its number."""
    return json.dumps(value, ensure_ascii=not value.isprintable())


def _report_links(finding: findings.Finding, reports: pd.DataFrame) -> list[tuple[str, str]]:
    """Return text and target of the reports that a finding comes from, where they are few."""
    first, last = finding.first_day, finding.last_day
    if not first or not last or finding.kind == "tls_failures":  # whose reports are others
        return []
    if max((last - first).days + 1, finding.reporters) > FEW_REPORTS:
        return []
    rows = reports[reports["domain"] == finding.domain]
    rows = rows[rows["reporter"].isin(list(finding.evidence.get("reporters") or ()))]
    start, end = (pd.Timestamp(day, tz="UTC") for day in (first, last + timedelta(days=1)))
    rows = rows[(rows["begin"] < end) & (rows["end"] > start)]
    text = _("Report of {reporter}, {period}")
    return [
        (
            text.format(reporter=one_line(row.reporter, 60), period=period(row.begin, row.end)),
            page_target("report", report_uid=str(row.report_uid)),
        )
        for row in (rows_of(rows) if len(rows) <= FEW_REPORTS else ())
    ]


def _domains_of(group: Sequence[LedgerEntry]) -> Html:
    """Return the domains of one cause as a table."""
    rows = [
        {"name": item.finding.domain, "messages": item.finding.messages, "lost": item.finding.lost}
        for item in group
    ]
    columns = [
        Column("name", _("Domain"), link=lambda row: page_target("domain", domain=row.name)),
        Column("messages", _("Messages"), "volume"),
        Column("lost", _("Lost"), "count"),
    ]
    caption = _("Domains with the same cause")
    return table(pd.DataFrame(rows), columns, caption=caption, empty="")


def _value(name: str, value: Any) -> Html:
    if name == "query":
        return render_part("fold", _("Show the query"), render_part("code", value))
    if name.endswith("_a_day") and isinstance(value, Mapping):
        first, last = min(value), max(value)
        days = first if first == last else f"{first} – {last}"
        most = _number(name, max(value.values()))
        label = _("{period}, at most {n} per day").format(period=days, n=most)
        return Html(spark(value, label)) + render_part("note", label)
    if name == "explains" and isinstance(value, Mapping):  # by fingerprint, which nobody reads
        return render_part("paragraphs", [show_domains(text) for text in value.values()])
    if isinstance(value, Mapping):
        word = _WORDS.get(name) or partial(findings.part_label, name)
        pairs = [(show_domains(word(k)), f" {_number(name, part)}") for k, part in value.items()]
    else:
        values = value if isinstance(value, list | tuple) else [value]
        word = _WORDS.get(name) or partial(_number, name)
        pairs = [(word(part), "") for part in values]
    return render_part("named", pairs)


def _number(name: str, value: Any) -> str:
    """Return a part of the evidence `name` as text: what is a share as a percentage."""
    if isinstance(value, float) and 0 < value < 1 and re.search("share|rate|threshold", name):
        return words.percent(value) if value >= 0.01 else rate_text(value)
    return show_domains(value_text(value))


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

    Open findings that are critical or warnings need action, one for each cause. Without any
    report there is no answer, unless a finding says why there is none. It is good only where
    own mail is authenticated, findings or not.
    """
    values = measures.set_index("measure")["value"]
    groups = by_cause(items)
    if todo := sum(map(is_urgent, groups)):
        text = ngettext("One issue needs action.", "{n} issues need action.", todo)
        return Answer("warning", text.format(n=words.count(todo)))
    if not values["reports"]:
        return Answer("none", _("No reports for this period."))
    if not values["messages"]:
        text = _("{reports} arrived, without messages.")
        text = text.format(reports=words.n_reports(values["reports"]))
        return Answer("none", _("There were no messages in this period."), (text,))
    share, more = values["own_share"], len(groups)
    notes = ngettext("{n} note below.", "{n} notes below.", more).format(n=words.count(more))
    if share < ENOUGH:  # of few messages, too little for a finding, or known and muted
        text = _("{share} of own mail is not authenticated.")
        base = _("No finding calls for action, from {reports} with {messages}.").format(
            reports=words.n_reports(values["reports"]),
            messages=words.n_messages(values["messages"]),
        )
        sentence = text.format(share=words.percent(1 - share))
        return Answer("plain", sentence, (base, notes) if more else (base,))
    text = _("{share} of own mail is authenticated.").format(share=words.percent(share))
    text = _("There was no mail of your own.") if pd.isna(share) else text
    return Answer("good", _("No action needed."), (text, notes) if more else (text,))


def more_below(number: int) -> tuple[str, ...]:
    """Return the sentence that so many things are not named, or nothing."""
    text = ngettext("{n} more below", "{n} more below", number)
    return (text.format(n=words.count(number)),) if number > 0 else ()
