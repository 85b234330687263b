"""Which failing reports Slack has not heard of yet, and what it hears about them.

A report is untold while neither `alerts` nor the outbox has its subject. One message each,
or one digest for all of a run when they are many.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.core.settings import Settings
from dmarckit.core.storage import Storage, open_storage
from dmarckit.facts.forwarded import only_forwarded
from dmarckit.lake.from_lake import report_from_lake
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import identity, month_of
from dmarckit.reports.exports import export_key, report_csv
from dmarckit.reports.report_json import json_text, report_json
from dmarckit.slack.alert_chart import alert_chart
from dmarckit.slack.outbox import Due
from dmarckit.slack.routing import Routes
from dmarckit.slack.slack_blocks import Message, Stored
from dmarckit.slack.slack_report import DigestRow, digest_message, report_alert

FRESH = timedelta(days=3)  # mails that came in before are history, and no alert is due
LONG = 10_000  # records beyond which a report gets no files of its own and no alert chart

_UNTOLD = """
    SELECT r.* FROM reports r JOIN (
        SELECT key, max(received) AS received FROM mails
        WHERE outcome = 'stored' AND received >= $since AND month >= $month GROUP BY key
    ) m ON m.key = r.mail_key
    WHERE r.failing > 0
      AND 'report:' || r.report_uid NOT IN (SELECT subject FROM alerts)
      AND 'report:' || r.report_uid NOT IN (SELECT subject FROM outbox)
    ORDER BY m.received DESC, r.begin DESC, r.report_uid
"""
_LAST_GOOD = "SELECT max(started) AS started FROM runs WHERE result IN ('ok', 'problems')"


def untold_reports(lake: Lake, now: datetime) -> pd.DataFrame:
    """Rows of `reports`: fresh ones with failing messages that no message was about.

    Fresh is what came in the last three days, or since three days before the last run that
    went well: what comes in while nothing runs is told afterwards.
    """
    last = lake.sql(_LAST_GOOD)["started"].iloc[0]
    since = (now if pd.isna(last) else min(now, last.to_pydatetime())) - FRESH
    return lake.sql(_UNTOLD, since=since, month=month_of(since))


def alerts_about(
    settings: Settings, lake: Lake, untold: pd.DataFrame, routes: Routes, run: str, at_most: int
) -> tuple[list[Due], list[str]]:
    """The messages about these rows of `reports`, the newest report first.

    Up to `at_most` reports of a channel get one each; more get one digest, and are due
    without a message of their own. Reports whose failures are all forwarded mail are not
    told (unless `alert_forwarded`): their subjects are the second part of the answer. The
    files that the messages link to are stored. Nothing is written to the lake.
    """
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in untold.to_dict("records")
    ]
    told, silent = _worth_telling(settings, lake, rows)
    by_channel: dict[str | None, list[dict[str, Any]]] = {}
    for row in told:
        by_channel.setdefault(routes.channel_of(row["domain"]), []).append(row)
    storage = open_storage(settings.exports_url)
    dues: list[Due] = []
    for channel, own in by_channel.items():
        if len(own) <= at_most:
            dues += [Due(_subject(row), channel, _alert(lake, storage, row)) for row in own]
            continue
        place = "" if channel == routes.main else f"@{channel}"
        digest = digest_message([_digest_row(row) for row in own])
        # a slot that is run again, and finds more, has the same run and another digest
        part = identity(*sorted(row["report_uid"] for row in own))[:8]
        dues.append(Due(f"digest:{run}:{part}{place}", channel, digest))
        dues += [Due(_subject(row), channel, None) for row in own]
    return dues, silent


def _worth_telling(
    settings: Settings, lake: Lake, rows: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    if settings.alert_forwarded:
        return list(rows), []
    forwarded = only_forwarded(lake, {row["report_uid"]: row["month"] for row in rows})
    told = [row for row in rows if row["report_uid"] not in forwarded]
    return told, [_subject(row) for row in rows if row["report_uid"] in forwarded]


def _subject(row: dict[str, Any]) -> str:
    return f"report:{row['report_uid']}"


def _digest_row(row: dict[str, Any]) -> DigestRow:
    report = report_from_lake(row, pd.DataFrame())
    return DigestRow(
        reporter=report.reporter,
        domain=report.policy.domain,
        begin=report.begin,
        end=report.end,
        messages=report.message_count,
        failing=int(row["failing"]),
    )


def _alert(lake: Lake, storage: Storage, row: dict[str, Any]) -> Message:
    uid = str(row["report_uid"])
    if row["records"] > LONG:
        report = report_from_lake(row, pd.DataFrame())
        return report_alert(report, None, None, None, failing=int(row["failing"]), uid=uid)
    records = lake.sql(
        "SELECT * FROM records WHERE month = $month AND report_uid = $uid",
        month=row["month"],
        uid=uid,
    )
    report = report_from_lake(row, records)
    json_file = json_text(report_json(report, str(row["mail_key"]))).encode()
    files = {
        kind: _stored(storage, row, kind, content_type, data)
        for kind, content_type, data in (
            ("json", "application/json", json_file),
            ("csv", "text/csv; charset=utf-8", report_csv(report).encode()),
            ("png", "image/png", alert_chart(report)),
        )
    }
    return report_alert(report, files["json"], files["csv"], files["png"], uid=uid)


def _stored(
    storage: Storage, row: dict[str, Any], kind: Any, content_type: str, data: bytes
) -> Stored:
    report = report_from_lake(row, pd.DataFrame())
    key = export_key(
        report.reporter, report.policy.domain, report.begin, report.end, row["report_uid"], kind
    )
    storage.put(key, data, content_type=content_type)
    return Stored("exports", key)
