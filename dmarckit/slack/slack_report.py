"""What dmarckit says in Slack about reports with failing messages: the alert, the digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dmarckit.core.language import _, ngettext
from dmarckit.core.periods import period
from dmarckit.core.words import count, n_messages, n_reports, percent
from dmarckit.pages.page_links import command
from dmarckit.reports.models import AggregateReport, Policy, Record
from dmarckit.slack.slack_blocks import (
    Block,
    Message,
    Target,
    context,
    fields,
    header,
    image,
    links,
    message,
    section,
    table,
)
from dmarckit.slack.slack_text import code, escape, lines

TOP_SOURCES = 5
DIGEST_ROWS = 25
_DELIVERED = ("none", "pass")
_STOPPED = ("quarantine", "reject")


def report_alert(
    report: AggregateReport,
    json_file: Target | None,
    csv_file: Target | None,
    chart: Target | None,
    failing: int | None = None,
    uid: str | None = None,
) -> Message:
    """The message about one report with failing messages.

    Provider, period, domain and policy, messages and failing messages, the addresses with
    the most failing messages, links to the report as JSON and CSV, the chart, and with a
    `uid` the command that shows the report whole. For a report whose records were too many
    to load, `failing` is the number of its failing messages; else it is counted from the
    records.
    """
    records = [record for record in report.records if not record.passes and record.messages]
    failed = sum(record.messages for record in records) if failing is None else failing
    provider = report.reporter or _("an unnamed provider")
    domain = report.policy.domain or _("an unnamed domain")
    said = _failures(failed, report.message_count)
    title = ngettext(
        "{domain}: {n} message failing DMARC", "{domain}: {n} messages failing DMARC", failed
    )
    blocks = [
        header(title.format(domain=_short(domain, 70), n=count(failed))),
        section("\n".join(filter(None, (f"*{said}*", _delivered(records))))),
        fields(
            [
                (_("Provider"), escape(provider)),
                (_("Period"), period(report.begin, report.end)),
                (_("Domain"), code(domain)),
                (_("Policy"), code(_policy(report.policy))),
            ]
        ),
    ]
    if records:
        title = _("Top failing sources")
        blocks.append(section(f"*{title}*\n{_sources(records)}"))
    blocks += links([(_("Report as JSON"), json_file), (_("Report as CSV"), csv_file)])
    if uid is not None:
        blocks.append(_details(uid))
    blocks += image(chart, _("DMARC, DKIM and SPF results: {what}").format(what=said))
    text = _("{domain}: {what}, says {provider}")
    return message(text.format(domain=escape(domain), what=said, provider=escape(provider)), blocks)


def _details(uid: str) -> Block:
    how = code(command("report", report_uid=uid))
    return context(_("Details: {command}").format(command=how))


def _failures(failed: int, total: int) -> str:
    if not total:
        return _("the report holds no messages")
    return _("{n} of {messages} fail DMARC ({share})").format(
        n=count(failed), messages=n_messages(total), share=percent(failed / total)
    )


def _delivered(failing: Sequence[Record]) -> str:
    """Whether the failing messages arrived all the same: the first thing people ask."""
    by_disposition: Counter[str] = Counter()
    for record in failing:
        by_disposition[(record.disposition or "").lower()] += record.messages
    failed = by_disposition.total()
    delivered = sum(by_disposition[name] for name in _DELIVERED)
    if delivered and delivered == failed:
        return _("All of them delivered all the same.")
    if delivered:
        return _("{n} of them delivered all the same.").format(n=count(delivered))
    if failed and failed == sum(by_disposition[name] for name in _STOPPED):
        return _("None of them was delivered as usual.")
    return ""


def _policy(policy: Policy) -> str:
    tags = (("p", policy.p), ("sp", policy.sp), ("np", policy.np), ("t", policy.testing))
    return "; ".join(f"{tag}={value}" for tag, value in tags if value) or _("none quoted")


def _sources(failing: Sequence[Record]) -> str:
    sources: Counter[str] = Counter()
    for record in failing:
        sources[record.source_ip or _("no address")] += record.messages
    top = sorted(sources.items(), key=lambda source: (-source[1], source[0]))
    shown = lines([f"{code(address)} {n_messages(n)}" for address, n in top[:TOP_SOURCES]])
    more = len(top) - TOP_SOURCES
    if more <= 0:
        return shown
    text = ngettext("and {n} more address", "and {n} more addresses", more)
    return f"{shown}\n{text.format(n=count(more))}"


@dataclass(frozen=True)
class DigestRow:
    """One failing report in a digest."""

    reporter: str | None
    domain: str | None
    begin: datetime
    end: datetime
    messages: int
    failing: int


def digest_message(rows: Sequence[DigestRow]) -> Message:
    """One message about many failing reports, instead of a flood: those with the most failing
    messages in a table, the others counted."""
    failing, total = sum(row.failing for row in rows), sum(row.messages for row in rows)
    domains = Counter[str]()
    for row in rows:
        domains[row.domain or _("an unnamed domain")] += row.failing
    said = _failures(failing, total)
    title = ngettext(
        "{n} new report with failing messages", "{n} new reports with failing messages", len(rows)
    ).format(n=count(len(rows)))
    worst, most = max(domains.items(), key=lambda item: (item[1], item[0]))
    where = ngettext(
        "*{what}*\nAll of {domain}.",
        "*{what}*\n{n} domains; most of it, {messages}, is about {domain}.",
        len(domains),
    )
    about = where.format(
        what=said, n=count(len(domains)), messages=n_messages(most), domain=code(worst)
    )
    top = sorted(rows, key=lambda r: (-r.failing, str(r.domain), str(r.reporter), r.begin))
    cells = [
        (
            row.reporter or _("an unnamed provider"),
            row.domain or _("an unnamed domain"),
            period(row.begin, row.end),
            count(row.messages),
            count(row.failing),
        )
        for row in top[:DIGEST_ROWS]
    ]
    names = (_("Provider"), _("Domain"), _("Period"), _("Messages"), _("Failing"))
    how = code("dmarckit page overview")
    hint = _("All of them are on the overview page ({command}).").format(command=how)
    blocks = [header(title), section(about), *table(names, cells, len(rows)), context(hint)]
    text = _("{reports} with failing messages: {what}")
    return message(text.format(reports=n_reports(len(rows)), what=said), blocks)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
