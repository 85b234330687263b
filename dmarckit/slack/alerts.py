"""Select failing reports that have not been alerted on, and build their Slack messages.

A report is new while neither `alerts` nor the outbox has its subject. Each gets one message, or
all of a run one digest when they are many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dmarckit import core, facts, pages, reports
from dmarckit.core import Settings, _, count, ngettext
from dmarckit.lake import OUTVOTED, Lake, identity, month_of, report_from_lake
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Message
from dmarckit.slack.outbox import OutboxMessage, Routes

TOP_SOURCES = 5
DIGEST_ROWS = 25
NEW_DAYS = timedelta(days=3)  # mails that came in before are history, and no alert is due
MANY_RECORDS = 10_000  # beyond which a report gets no files of its own and no alert chart

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
_LAST_GOOD = "SELECT max(started) AS started FROM runs WHERE result IN ('ok', 'problems')"

Row = Mapping[str, Any]  # a row of the table `reports`


def unsent_reports(settings: Settings, lake: Lake, now: datetime) -> list[Row]:
    """Return the rows of `reports` with failing messages that are new, the newest first.

    Only of the domains that the settings name: anybody may report on any other. New is what
    came in since three days before now, or before the last run that went well.
    """
    (last,) = lake.arrow(_LAST_GOOD)["started"].to_pylist()
    since = (now if last is None else min(now, last)) - NEW_DAYS
    rows: list[Row] = lake.arrow(_UNSENT, since=since, month=month_of(since)).to_pylist()
    names = set(settings.domain_names)
    return [row for row in rows if not names or row["domain"] in names]


def build_alerts(
    settings: Settings, lake: Lake, rows: Sequence[Row], routes: Routes, run: str, at_most: int
) -> tuple[list[OutboxMessage], list[str]]:
    """Return the messages about reports, and the subjects that need no message.

    Up to `at_most` reports of a channel get one message each; more get one digest, and are
    due without a message of their own. Reports whose failures are all forwarded mail need
    none (unless `alert_forwarded`). The files that the messages link to are stored.
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
        single = len(own) <= at_most
        if not single:
            place = "" if channel == routes.main else f"@{channel}"
            # a slot that is run again, and finds more, has the same run and another digest
            part = identity(*sorted(row["report_uid"] for row in own))[:8]
            subject = f"digest:{run}:{part}{place}"
            dues.append(OutboxMessage(subject, channel, digest_message(own)))
        for row in own:
            message = _alert(lake, storage, row) if single else None
            dues.append(OutboxMessage(_subject(row), channel, message))
    return dues, [_subject(row) for row in rows if row["report_uid"] in forwarded]


def _subject(row: Row) -> str:
    return f"report:{row['report_uid']}"


def _alert(lake: Lake, storage: core.Storage, row: Row) -> Message:
    import pandas as pd

    from dmarckit.slack.chart import alert_chart

    uid = str(row["report_uid"])
    if row["records"] > MANY_RECORDS:
        report = report_from_lake(row, pd.DataFrame())
        return report_alert(report, None, None, None, failing=int(row["failing"]), uid=uid)
    query = "SELECT * FROM records WHERE month = $month AND report_uid = $uid"
    report = report_from_lake(row, lake.sql(query, month=row["month"], uid=uid))

    about = (row["reporter"], row["domain"], row["begin"], row["end"], uid)

    def stored(kind: Any, content_type: str, data: bytes) -> kit.StoredFile:
        key = reports.export_key(*about, kind)
        storage.put(key, data, content_type=content_type)
        return kit.StoredFile("exports", key)

    json_text = reports.json_text(reports.report_json(report, str(row["mail_key"])))
    json_file = stored("json", "application/json", json_text.encode())
    csv_file = stored("csv", "text/csv; charset=utf-8", reports.report_csv(report).encode())
    chart = stored("png", "image/png", alert_chart(report))
    return report_alert(report, json_file, csv_file, chart, uid=uid)


def report_alert(
    report: reports.AggregateReport,
    json_file: kit.Target | None,
    csv_file: kit.Target | None,
    chart: kit.Target | None,
    failing: int | None = None,
    uid: str | None = None,
) -> Message:
    """Build the message about one report with failing messages.

    With a `uid` it has the command that shows the report whole. For a report whose records
    were too many to load, `failing` is the number of its failing messages; else it is counted
    from the records.
    """
    records = [record for record in report.records if not record.passes and record.messages]
    failed = sum(record.messages for record in records) if failing is None else failing
    provider = report.reporter or _unnamed(report.contact)
    domain = core.show_domain(report.policy.domain or "") or _("an unnamed domain")
    said = _failures(failed, report.message_count)
    title = ngettext(
        "{domain}: {n} message failing DMARC", "{domain}: {n} messages failing DMARC", failed
    )
    policy = report.policy
    tags = (("p", policy.p), ("sp", policy.sp), ("np", policy.np), ("t", policy.testing))
    quoted = "; ".join(f"{tag}={value}" for tag, value in tags if value) or _("none quoted")
    pairs = [
        (_("Provider"), kit.mrkdwn(provider)),
        (_("Period"), core.period(report.begin, report.end)),
        (_("Domain"), kit.code(domain)),
        (_("Policy"), kit.code(quoted)),
    ]
    blocks = [
        kit.header(title.format(domain=core.one_line(domain, 70), n=count(failed))),
        kit.section("\n".join(filter(None, (f"*{said}*", _delivered(records))))),
        kit.fields(pairs),
    ]
    if records:
        sources = Counter[str]()
        for record in records:
            sources[record.source_ip or _("no address")] += record.messages
        top = sorted(sources.items(), key=lambda source: (-source[1], source[0]))
        shown = [f"{kit.code(address)} {core.n_messages(n)}" for address, n in top[:TOP_SOURCES]]
        lines = kit.bullet_list(shown)
        if (more := len(top) - TOP_SOURCES) > 0:
            text = ngettext("and {n} more address", "and {n} more addresses", more)
            lines = f"{lines}\n{text.format(n=count(more))}"
        title = _("Top failing sources")
        blocks.append(kit.section(f"*{title}*\n{lines}"))
    blocks += kit.link_lines([(_("Report as JSON"), json_file), (_("Report as CSV"), csv_file)])
    if uid is not None:
        how = kit.code(pages.command("report", report_uid=uid))
        blocks.append(kit.context(_("Details: {command}").format(command=how)))
    blocks += kit.image(chart, _("DMARC, DKIM and SPF results: {what}").format(what=said))
    text = _("{domain}: {what}, says {provider}")
    text = text.format(domain=kit.mrkdwn(domain), what=said, provider=kit.mrkdwn(provider))
    return kit.build_message(text, blocks)


def _unnamed(contact: str | None) -> str:
    if not contact:
        return _("an unnamed reporter")
    return _("an unnamed reporter (contact {contact})").format(contact=contact)


def _failures(failed: int, total: int) -> str:
    if not total:
        return _("the report holds no messages")
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
        return _("All of them delivered all the same.")
    if delivered:
        return _("{n} of them delivered all the same.").format(n=count(delivered))
    if failed and failed == by_disposition["quarantine"] + by_disposition["reject"]:
        return _("None of them was delivered as usual.")
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
        "*{what}*\nAll of {domain}.",
        "*{what}*\n{n} domains; most of it, {messages}, is about {domain}.",
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
    names = (_("Provider"), _("Domain"), _("Period"), _("Messages"), _("Failing"))
    how = kit.code("dmarckit page overview")
    hint = _("All of them are on the overview page ({command}).").format(command=how)
    table = kit.text_table(names, cells, len(rows))
    blocks = [kit.header(title), kit.section(about), *table, kit.context(hint)]
    text = _("{reports} with failing messages: {what}")
    return kit.build_message(text.format(reports=core.n_reports(len(rows)), what=said), blocks)
