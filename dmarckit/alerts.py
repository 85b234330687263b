"""Which failing reports Slack has not heard of yet, and the alert about each.

What was told stands in the table `alerts`. It is written right after the message went
out, so that a crash in between may repeat at most one message.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from dmarckit.alert_chart import alert_chart
from dmarckit.exports import export_key, report_csv
from dmarckit.from_lake import report_from_lake
from dmarckit.lake import Lake
from dmarckit.models import AggregateReport
from dmarckit.report_json import json_text, report_json
from dmarckit.rows import month_of
from dmarckit.schemas import ALERTS
from dmarckit.settings import Settings
from dmarckit.slack_messages import report_alert
from dmarckit.slack_text import Message
from dmarckit.storage import Storage, open_storage

FRESH = timedelta(days=3)  # mails that came in before are history, and no alert is due
LONG = 10_000  # records beyond which a report gets no files of its own and no alert chart

_UNTOLD = """
    SELECT r.* FROM reports r JOIN mails m ON m.key = r.mail_key
    WHERE r.failing > 0 AND m.outcome = 'stored' AND m.received >= $since
      AND 'report:' || r.report_uid NOT IN (SELECT subject FROM alerts)
    ORDER BY m.received DESC, r.begin DESC, r.report_uid
"""


def untold_reports(lake: Lake, now: datetime) -> pd.DataFrame:
    """Rows of `reports`: fresh ones with failing messages that no alert was about."""
    return lake.sql(_UNTOLD, since=now - FRESH)


def send_alerts(
    settings: Settings,
    lake: Lake,
    now: datetime,
    run: str,
    at_most: int,
    deliver: Callable[[Message], str | None],
) -> tuple[int, int]:
    """One message for each of the newest `at_most` untold reports; the rest are only noted.

    `deliver` sends a message and says to which channel. Returns how many alerts went out,
    and how many further failing reports were noted without one.
    """
    untold = untold_reports(lake, now)
    storage = open_storage(settings.exports_url, settings.presign_keys())
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in untold.to_dict("records")
    ]
    for row in rows[:at_most]:
        channel = deliver(_alert(settings, lake, storage, row))
        _note(lake, [str(row["report_uid"])], now, channel, run)
    _note(lake, [str(row["report_uid"]) for row in rows[at_most:]], now, None, run)
    return min(len(rows), at_most), max(len(rows) - at_most, 0)


def _alert(settings: Settings, lake: Lake, storage: Storage, row: dict[str, Any]) -> Message:
    if row["records"] > LONG:
        report = report_from_lake(row, pd.DataFrame())
        return report_alert(report, None, None, None, failing=int(row["failing"]))
    records = lake.sql(
        "SELECT * FROM records WHERE month = $month AND report_uid = $uid",
        month=row["month"],
        uid=row["report_uid"],
    )
    report = report_from_lake(row, records)
    files = {
        "json": json_text(report_json(report, str(row["mail_key"]))).encode(),
        "csv": report_csv(report).encode(),
        "png": alert_chart(report),
    }
    links = {
        kind: _link(settings, storage, report, row, kind, data) for kind, data in files.items()
    }
    return report_alert(report, links["json"], links["csv"], links["png"])


def _link(
    settings: Settings,
    storage: Storage,
    report: AggregateReport,
    row: dict[str, Any],
    kind: Any,
    data: bytes,
) -> str:
    types = {"json": "application/json", "csv": "text/csv; charset=utf-8", "png": "image/png"}
    domain = report.policy.domain
    key = export_key(report.reporter, domain, report.begin, report.end, row["report_uid"], kind)
    storage.put(key, data, content_type=types[kind])
    return storage.link(key, settings.presign_expires)


def _note(lake: Lake, uids: list[str], now: datetime, channel: str | None, run: str) -> None:
    rows = [
        {
            "subject": f"report:{uid}",
            "told": now,
            "channel": channel,
            "run": run,
            "month": month_of(now),
        }
        for uid in uids
    ]
    if rows:
        lake.write.append_new("alerts", pa.Table.from_pylist(rows, schema=ALERTS.schema))
