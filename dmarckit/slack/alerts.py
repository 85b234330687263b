"""Select failing reports that have not been alerted on, and build their Slack messages.

A report is new while neither `alerts` nor the outbox has its subject. Those about one domain are
one message; when the domains are many, all of a run are one digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
_RECORDS = """
    SELECT * FROM records WHERE list_contains($months, month) AND list_contains($uids, report_uid)
"""
_LAST_GOOD = "SELECT max(started) AS started FROM runs WHERE result IN ('ok', 'problems')"

Row = Mapping[str, Any]  # a row of the table `reports`
Sender = tuple[str, Counter[str]]  # its name, and its failing messages by address


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

    Reports about one domain are one message, those of more than `at_most` domains of a channel one
    digest; what another message covers is due without one. Reports whose failures are all forwarded
    mail need none (unless `alert_forwarded`). The files that messages link to are stored.
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
    from dmarckit.slack.chart import alert_chart

    rows = sorted(rows, key=lambda row: -row["failing"])
    months, uids = sorted({row["month"] for row in rows}), [row["report_uid"] for row in rows]
    failing = lake.sql(_FAILING, months=months, uids=uids)
    senders = _senders(facts.name_sources(settings, lake, failing))
    if sum(row["records"] for row in rows) > MANY_RECORDS:
        return report_alert(rows, senders=senders)
    records = lake.sql(_RECORDS, months=months, uids=uids)
    found = [report_from_lake(row, records) for row in rows]

    def stored(row: Row, kind: Any, content_type: str, data: bytes) -> kit.StoredFile:
        about = (row["reporter"], row["domain"], row["begin"], row["end"], row["report_uid"])
        key = reports.export_key(*about, kind)
        storage.put(key, data, content_type=content_type)
        return kit.StoredFile("exports", key)

    links: list[tuple[str, kit.StoredFile]] = []
    for row, report in zip(rows[:LINKED], found, strict=False):
        whose = kit.mrkdwn(_reporter(row), 60)
        json_text = reports.report_text(report, str(row["mail_key"]))
        file = stored(row, "json", "application/json", json_text.encode())
        links.append((_("{reporter}: report as JSON").format(reporter=whose), file))
        csv_text = reports.report_csv(report)
        file = stored(row, "csv", "text/csv; charset=utf-8", csv_text.encode())
        links.append((_("{reporter}: report as CSV").format(reporter=whose), file))
    chart = stored(rows[0], "png", "image/png", alert_chart(found))
    return report_alert(
        rows, [r for report in found for r in report.records], links, chart, senders
    )


def _senders(named: pd.DataFrame) -> list[Sender]:
    """Return the senders of rows with sender, source_ip and messages, the busiest first."""
    found: dict[str, Counter[str]] = {}
    rows = zip(named["sender"], named["source_ip"], named["messages"], strict=True)
    for name, address, messages in rows:
        where = _("no address") if core.is_missing(address) else str(address)
        found.setdefault(str(name), Counter())[where] += int(messages)
    return sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))


def report_alert(
    rows: Sequence[Row],
    records: Sequence[reports.Record] = (),
    links: Sequence[tuple[str, kit.StoredFile]] = (),
    chart: kit.StoredFile | None = None,
    senders: Sequence[Sender] = (),
) -> Message:
    """Build the message about the reports of one domain; `records` are theirs, where loaded."""
    one, said = rows[0], _failures(rows)
    domain, whose = _domain(one), _reporter(one)
    failed = sum(row["failing"] for row in rows)
    title = ngettext(
        "{domain}: {n} message failing DMARC", "{domain}: {n} messages failing DMARC", failed
    )
    blocks = [
        kit.header(title.format(domain=core.one_line(domain, 70), n=count(failed))),
        kit.section("\n".join(filter(None, (f"*{said}*", _delivered(records))))),
    ]
    if len(rows) == 1:
        tags = (("p", "p"), ("sp", "sp"), ("np", "np"), ("t", "testing"))
        policy = "; ".join(f"{tag}={one[column]}" for tag, column in tags if one[column])
        pairs = [
            (_("Reporter"), kit.mrkdwn(whose)),
            (_("Report id"), kit.code(one["report_id"] or _("none"))),
            (_("Period"), core.period(one["begin"], one["end"])),
            (_("Domain"), kit.code(domain)),
            (_("Policy"), kit.code(policy or _("none quoted"))),
        ]
        blocks.append(kit.fields(pairs))
    else:
        if (n := len(set(map(_reporter, rows)))) > 1:
            whose = core.n_reporters(n)
        blocks += _table(rows, _("Report id"), lambda row: row["report_id"] or "")
    if senders:
        heading = _("Senders of failing messages")
        lines = [_sender_line(*sender) for sender in senders[:TOP_SENDERS]]
        if (more := len(senders) - TOP_SENDERS) > 0:
            text = ngettext("and {n} more sender", "and {n} more senders", more)
            lines.append(text.format(n=count(more)))
        blocks.append(kit.section(f"*{heading}*\n{kit.bullet_list(lines)}"))
    blocks += kit.link_lines(links)
    how = kit.code(pages.command("report", report_uid=str(one["report_uid"])))
    blocks.append(kit.context(_("Details: {command}").format(command=how)))
    blocks += kit.image(chart, _("DMARC, SPF and DKIM results: {what}").format(what=said))
    text = _("{domain}: {what}, reported by {reporter}")
    text = text.format(domain=kit.mrkdwn(domain), what=said, reporter=kit.mrkdwn(whose))
    return kit.build_message(text, blocks)


def _sender_line(name: str, addresses: Counter[str]) -> str:
    shown = [kit.code(address) for address, _n in addresses.most_common(TOP_ADDRESSES)]
    if (more := len(addresses) - TOP_ADDRESSES) > 0:
        text = ngettext("and {n} more address", "and {n} more addresses", more)
        shown.append(text.format(n=count(more)))
    return _("{sender}: {messages} ({addresses})").format(
        sender=kit.mrkdwn(name, 80),
        messages=core.n_messages(addresses.total()),
        addresses=", ".join(shown),
    )


def _table(rows: Sequence[Row], name: str, cell: Callable[[Row], str]) -> list[kit.Block]:
    """Return a table of reports, with a column of one's own beside the reporter."""
    names = (_("Reporter"), name, _("Period"), _("Messages"), _("Failing"))
    cells = []
    for row in rows:
        days, numbers = core.period(row["begin"], row["end"]), (row["messages"], row["failing"])
        cells.append((_reporter(row), cell(row), days, *map(count, numbers)))
    return kit.text_table(names, cells)


def _domain(row: Row) -> str:
    return core.show_domain(row["domain"] or "") or _("an unnamed domain")


def _reporter(row: Row) -> str:
    if row["reporter"] or not row["contact"]:
        return row["reporter"] or _("an unnamed reporter")
    return _("an unnamed reporter (contact {contact})").format(contact=row["contact"])


def _failures(rows: Sequence[Row]) -> str:
    failed, total = sum(row["failing"] for row in rows), sum(row["messages"] for row in rows)
    share = core.percent(failed / total if total else None)
    text = _("{n} of {messages} fail DMARC ({share})")
    return text.format(n=count(failed), messages=core.n_messages(total), share=share)


def _delivered(records: Sequence[reports.Record]) -> str:
    """Return whether the failing messages arrived all the same: the first thing people ask."""
    done: Counter[str] = Counter()
    for record in records:
        if not record.passes:
            done[(record.disposition or "").lower()] += record.messages
    failed, delivered = done.total(), done["none"] + done["pass"]
    if delivered:
        text = _("{n} of them were delivered anyway.")
        if delivered == failed:
            text = _("All of them were delivered anyway.")
        return text.format(n=count(delivered))
    blocked = failed and failed == done["quarantine"] + done["reject"]
    return _("All of them were quarantined or rejected.") if blocked else ""


def digest_message(rows: Sequence[Row]) -> Message:
    """Build one message about many failing reports, instead of a flood.

    Those with the most failing messages are in a table, the others are counted.
    """
    said, domains = _failures(rows), Counter[str]()
    for row in rows:
        domains[_domain(row)] += row["failing"]
    title = ngettext(
        "{n} new report with failing messages", "{n} new reports with failing messages", len(rows)
    )
    where = _("{n} domains; most failures: {domain} ({messages}).")
    if len(domains) == 1:
        where = _("All for {domain}.")
    worst, most = max(domains.items(), key=lambda item: (item[1], item[0]))
    about = where.format(
        n=count(len(domains)), messages=core.n_messages(most), domain=kit.code(worst)
    )
    top = sorted(
        rows, key=lambda r: (-r["failing"], str(r["domain"]), str(r["reporter"]), r["begin"])
    )
    hint = _("The newest are on the overview page ({command}).")
    blocks = [
        kit.header(title.format(n=count(len(rows)))),
        kit.section(f"*{said}*\n{about}"),
        *_table(top, _("Domain"), _domain),
        kit.context(hint.format(command=kit.code("dmarckit page overview"))),
    ]
    text = _("{reports} with failing messages: {what}")
    return kit.build_message(text.format(reports=core.n_reports(len(rows)), what=said), blocks)
