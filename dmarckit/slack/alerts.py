"""Select failing reports that have not been alerted on, and build their Slack messages.

A report is new while neither `alerts` nor the outbox has its subject. Those about one domain are
one message; when the domains are many, all of a run are one digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dmarckit import core, facts, pages, reports
from dmarckit.core import Settings, _, count, ngettext
from dmarckit.lake import OUTVOTED, Lake, identity, month_of, report_from_lake
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Message
from dmarckit.slack.outbox import OutboxMessage, Routes

if TYPE_CHECKING:
    import pandas as pd

TOP_SENDERS, TOP_ADDRESSES = 5, 3
DIGEST_ROWS = 25
LINKED = 4  # reports of a message that have links to their files
NEW_DAYS = timedelta(days=3)  # mails that came in before are history, and no alert is due
MANY_RECORDS = 10_000  # beyond which reports get no files of their own and no alert chart

_UNSENT = f"""
    SELECT r.* FROM reports r JOIN (
        SELECT key, max(received) AS received FROM mails
        WHERE outcome = 'stored' AND received >= $since AND month >= $month GROUP BY key
    ) m ON m.key = r.mail_key
    WHERE r.failing > 0 AND r.report_uid NOT IN ({OUTVOTED["reports"]})
      AND 'report:' || r.report_uid NOT IN (SELECT subject FROM alerts)
      AND 'report:' || r.report_uid NOT IN (SELECT subject FROM outbox)
    ORDER BY m.received DESC, r.begin DESC, r.report_uid
"""  # noqa: S608
_FAILING = """
    SELECT domain, source_ip, header_from, [x.domain FOR x IN spf IF x.result = 'pass'][1]
        AS spf_pass_domain, [[x.domain, x.selector] FOR x IN dkim IF x.result = 'pass']
        AS dkim_pass, sum(messages)::BIGINT AS messages
    FROM records
    WHERE list_contains($months, month) AND list_contains($uids, report_uid) AND messages > 0
        AND NOT coalesce(spf_aligned OR dkim_aligned, false)
    GROUP BY ALL ORDER BY messages DESC, source_ip LIMIT 5000
"""
_LAST_GOOD = "SELECT max(started) AS started FROM runs WHERE result IN ('ok', 'problems')"

Row = Mapping[str, Any]  # a row of the table `reports`


@dataclass(frozen=True)
class FailingSender:
    """Who delivered failing messages, and from where, the busiest address first."""

    name: str
    messages: int
    addresses: Sequence[str]


def unsent_reports(settings: Settings, lake: Lake, now: datetime) -> list[Row]:
    """Return the rows of `reports` with failing messages that are new, the newest first.

    Only of the domains that the settings name: anybody may report on any other. New is what
    came in since three days before now, or before the last run that went well.
    """
    last = lake.rows(_LAST_GOOD)[0]["started"]
    since = (now if last is None else min(now, last)) - NEW_DAYS
    rows = lake.rows(_UNSENT, since=since, month=month_of(since))
    names = set(settings.domain_names)
    return [row for row in rows if not names or row["domain"] in names]


def build_alerts(
    settings: Settings, lake: Lake, rows: Sequence[Row], routes: Routes, run: str, at_most: int
) -> tuple[list[OutboxMessage], list[str]]:
    """Return the messages about reports, and the subjects that need no message.

    The reports about one domain are one message. More than `at_most` domains of a channel are
    one digest. What another message covers is due without one of its own. Reports whose
    failures are all forwarded mail need none (unless `alert_forwarded`). The files that the
    messages link to are stored.
    """
    forwarded: set[str] = set()
    if not settings.alert_forwarded:
        forwarded = facts.only_forwarded(lake, {row["report_uid"]: row["month"] for row in rows})
    by_channel: dict[str | None, list[Row]] = {}
    for row in rows:
        if row["report_uid"] not in forwarded:
            by_channel.setdefault(routes.channel_of(row["domain"]), []).append(row)
    storage = core.open_storage(settings.exports_url)
    dues: list[OutboxMessage] = []
    for channel, own in by_channel.items():
        by_domain: dict[str, list[Row]] = {}
        for row in own:
            by_domain.setdefault(core.normalize_domain(row["domain"] or ""), []).append(row)
        if len(by_domain) > at_most:
            place = "" if channel == routes.main else f"@{channel}"
            # a slot that is run again, and finds more, has the same run and another digest
            part = identity(*sorted(row["report_uid"] for row in own))[:8]
            subject = f"digest:{run}:{part}{place}"
            dues.append(OutboxMessage(subject, channel, digest_message(own)))
            dues += [OutboxMessage(_subject(row), channel, None) for row in own]
            continue
        for group in by_domain.values():
            message = _alert(settings, lake, storage, group)
            dues.append(OutboxMessage(_subject(group[0]), channel, message))
            dues += [OutboxMessage(_subject(row), channel, None) for row in group[1:]]
    return dues, [_subject(row) for row in rows if row["report_uid"] in forwarded]


def _subject(row: Row) -> str:
    return f"report:{row['report_uid']}"


def _alert(settings: Settings, lake: Lake, storage: core.Storage, rows: Sequence[Row]) -> Message:
    """Build the message about the reports of one domain."""
    import pandas as pd

    from dmarckit.slack.chart import alert_chart

    rows = sorted(rows, key=lambda row: -row["failing"])
    which = {
        "months": sorted({row["month"] for row in rows}),
        "uids": [row["report_uid"] for row in rows],
    }
    senders = _senders(facts.name_sources(settings, lake, lake.sql(_FAILING, **which)))
    failing, uid = sum(row["failing"] for row in rows), str(rows[0]["report_uid"])
    if sum(row["records"] for row in rows) > MANY_RECORDS:
        found = [report_from_lake(row, pd.DataFrame()) for row in rows]
        return report_alert(found, senders=senders, failing=failing, uid=uid)
    query = """SELECT * FROM records
        WHERE list_contains($months, month) AND list_contains($uids, report_uid)"""
    records = lake.sql(query, **which)
    found = [report_from_lake(row, records) for row in rows]

    def stored(row: Row, kind: Any, content_type: str, data: bytes) -> kit.StoredFile:
        about = (row["reporter"], row["domain"], row["begin"], row["end"], row["report_uid"])
        key = reports.export_key(*about, kind)
        storage.put(key, data, content_type=content_type)
        return kit.StoredFile("exports", key)

    links: list[tuple[str, kit.Target]] = []
    for row, report in zip(rows[:LINKED], found, strict=False):
        whose = kit.mrkdwn(_reporter(report), 60)
        json_text = reports.json_text(reports.report_json(report, str(row["mail_key"])))
        file = stored(row, "json", "application/json", json_text.encode())
        links.append((_("{reporter}: report as JSON").format(reporter=whose), file))
        csv_text = reports.report_csv(report)
        file = stored(row, "csv", "text/csv; charset=utf-8", csv_text.encode())
        links.append((_("{reporter}: report as CSV").format(reporter=whose), file))
    chart = stored(rows[0], "png", "image/png", alert_chart(found))
    return report_alert(found, links, chart, senders, failing, uid)


def _senders(named: pd.DataFrame) -> list[FailingSender]:
    """Return the senders of rows with sender, source_ip and messages, the busiest first."""
    found: dict[str, Counter[str]] = {}
    rows = zip(named["sender"], named["source_ip"], named["messages"], strict=True)
    for name, address, messages in rows:
        where = _("no address") if core.is_missing(address) else str(address)
        found.setdefault(str(name), Counter())[where] += int(messages)
    senders = [
        FailingSender(name, ips.total(), [ip for ip, _n in ips.most_common()])
        for name, ips in found.items()
    ]
    return sorted(senders, key=lambda sender: (-sender.messages, sender.name))


def report_alert(
    found: Sequence[reports.AggregateReport],
    links: Sequence[tuple[str, kit.Target]] = (),
    chart: kit.Target | None = None,
    senders: Sequence[FailingSender] = (),
    failing: int | None = None,
    uid: str | None = None,
) -> Message:
    """Build the message about the reports of one domain with failing messages.

    With a `uid` it has the command that shows this report whole. Where the records were too many
    to load, `failing` is the number of failing messages; else it is counted from them.
    """
    records = [r for report in found for r in report.records if not r.passes and r.messages]
    failed = sum(record.messages for record in records) if failing is None else failing
    one = found[0]
    domain = core.show_domain(one.policy.domain or "") or _("an unnamed domain")
    said = _failures(failed, sum(report.message_count for report in found))
    title = ngettext(
        "{domain}: {n} message failing DMARC", "{domain}: {n} messages failing DMARC", failed
    )
    blocks = [
        kit.header(title.format(domain=core.one_line(domain, 70), n=count(failed))),
        kit.section("\n".join(filter(None, (f"*{said}*", _delivered(records))))),
    ]
    if len(found) == 1:
        whose = kit.mrkdwn(_reporter(one))
        pairs = [
            (_("Reporter"), whose),
            (_("Report id"), kit.code(one.report_id or _("none"))),
            (_("Period"), core.period(one.begin, one.end)),
            (_("Domain"), kit.code(domain)),
            (_("Policy"), kit.code(_quoted_policy(one.policy))),
        ]
        blocks.append(kit.fields(pairs))
    else:
        n = len({_reporter(report) for report in found})
        several = ngettext("{n} reporter", "{n} reporters", n).format(n=count(n))
        whose = several if n > 1 else kit.mrkdwn(_reporter(one))
        names = (_("Reporter"), _("Report id"), _("Period"), _("Messages"), _("Failing"))
        cells = [
            (
                *(_reporter(report), report.report_id or ""),
                core.period(report.begin, report.end),
                count(report.message_count),
                count(sum(r.messages for r in report.records if not r.passes))
                if report.records
                else "",
            )
            for report in found[:DIGEST_ROWS]
        ]
        blocks += kit.text_table(names, cells, len(found))
    if senders:
        heading = _("Senders of failing messages")
        lines = [_sender_line(sender) for sender in senders[:TOP_SENDERS]]
        more = len(senders) - TOP_SENDERS
        if more > 0:
            text = ngettext("and {n} more sender", "and {n} more senders", more)
            lines.append(text.format(n=count(more)))
        blocks.append(kit.section(f"*{heading}*\n{kit.bullet_list(lines)}"))
    blocks += kit.link_lines(links)
    if uid is not None:
        how = kit.code(pages.command("report", report_uid=uid))
        blocks.append(kit.context(_("Details: {command}").format(command=how)))
    blocks += kit.image(chart, _("DMARC, SPF and DKIM results: {what}").format(what=said))
    text = _("{domain}: {what}, reported by {reporter}")
    text = text.format(domain=kit.mrkdwn(domain), what=said, reporter=whose)
    return kit.build_message(text, blocks)


def _sender_line(sender: FailingSender) -> str:
    shown = [kit.code(address) for address in sender.addresses[:TOP_ADDRESSES]]
    if (more := len(sender.addresses) - TOP_ADDRESSES) > 0:
        text = ngettext("and {n} more address", "and {n} more addresses", more)
        shown.append(text.format(n=count(more)))
    return _("{sender}: {messages} ({addresses})").format(
        sender=kit.mrkdwn(sender.name, 80),
        messages=core.n_messages(sender.messages),
        addresses=", ".join(shown),
    )


def _quoted_policy(policy: reports.Policy) -> str:
    tags = (("p", policy.p), ("sp", policy.sp), ("np", policy.np), ("t", policy.testing))
    return "; ".join(f"{tag}={value}" for tag, value in tags if value) or _("none quoted")


def _reporter(report: reports.AggregateReport) -> str:
    return report.reporter or _unnamed(report.contact)


def _unnamed(contact: str | None) -> str:
    if not contact:
        return _("an unnamed reporter")
    return _("an unnamed reporter (contact {contact})").format(contact=contact)


def _failures(failed: int, total: int) -> str:
    if not total:
        return _("the report contains no messages")
    return _("{n} of {messages} fail DMARC ({share})").format(
        n=count(failed), messages=core.n_messages(total), share=core.percent(failed / total)
    )


def _delivered(failing: Sequence[reports.Record]) -> str:
    """Return whether the failing messages arrived all the same: the first thing people ask."""
    by_disposition: Counter[str] = Counter()
    for record in failing:
        by_disposition[(record.disposition or "").lower()] += record.messages
    failed = by_disposition.total()
    delivered = by_disposition["none"] + by_disposition["pass"]
    if delivered and delivered == failed:
        return _("All of them were delivered anyway.")
    if delivered:
        return _("{n} of them were delivered anyway.").format(n=count(delivered))
    if failed and failed == by_disposition["quarantine"] + by_disposition["reject"]:
        return _("None was delivered normally.")
    return ""


def digest_message(rows: Sequence[Row]) -> Message:
    """Build one message about many failing reports, instead of a flood.

    Those with the most failing messages are in a table, the others are counted. `rows` need
    the columns reporter, domain, begin, end, messages and failing of the table `reports`.
    """
    failing, total = sum(row["failing"] for row in rows), sum(row["messages"] for row in rows)
    domains = Counter[str]()
    for row in rows:
        domains[row["domain"] or ""] += row["failing"]
    said = _failures(failing, total)
    title = ngettext(
        "{n} new report with failing messages", "{n} new reports with failing messages", len(rows)
    ).format(n=count(len(rows)))
    worst, most = max(domains.items(), key=lambda item: (item[1], item[0]))
    where = ngettext(
        "*{what}*\nAll as {domain}.",
        "*{what}*\n{n} domains; most, {messages}, are about {domain}.",
        len(domains),
    )
    shown = kit.code(core.show_domain(worst) or _("an unnamed domain"))
    about = where.format(
        what=said, n=count(len(domains)), messages=core.n_messages(most), domain=shown
    )
    top = sorted(
        rows, key=lambda r: (-r["failing"], str(r["domain"]), str(r["reporter"]), r["begin"])
    )
    cells = [
        (
            row["reporter"] or _unnamed(row["contact"]),
            core.show_domain(row["domain"] or "") or _("an unnamed domain"),
            core.period(row["begin"], row["end"]),
            count(row["messages"]),
            count(row["failing"]),
        )
        for row in top[:DIGEST_ROWS]
    ]
    names = (_("Reporter"), _("Domain"), _("Period"), _("Messages"), _("Failing"))
    how = kit.code("dmarckit page overview")
    hint = _("The overview page lists all of them ({command}).").format(command=how)
    table = kit.text_table(names, cells, len(rows))
    blocks = [kit.header(title), kit.section(about), *table, kit.context(hint)]
    text = _("{reports} with failing messages: {what}")
    return kit.build_message(text.format(reports=core.n_reports(len(rows)), what=said), blocks)
