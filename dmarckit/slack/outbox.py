"""Messages written down before they go out, and what was told (tables `outbox`, `alerts`).

Every message has a subject and goes into the outbox once. It is told when `alerts` has the
subject. So a crash, or Slack being down, loses nothing: whoever tells next finds what is
waiting, in the order in which it was due.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of
from dmarckit.lake.schemas import ALERTS, OUTBOX
from dmarckit.slack.slack_blocks import Message

_SUBJECTS = "SELECT subject FROM outbox WHERE subject NOT IN (SELECT subject FROM alerts)"
_WAITING = """
    SELECT * FROM outbox WHERE subject IN (SELECT unnest($subjects))
    ORDER BY made, position, subject
"""


@dataclass(frozen=True)
class Due:
    """A message that is to go out."""

    subject: str
    """``report:<uid>``, ``digest:<run>:<hash of the reports>``, ``run:<run>``,
    ``failure:<job>:<since>:<day>``, ``recovery:<job>:<run>``; where one goes to
    several channels, ``…@<channel>``"""
    channel: str | None
    """None: there is no channel, it is shown and saved"""
    message: Message | None
    """with files of ours in place of addresses: links are secrets that do not lie in tables.
    None: another message that is due with it tells of it (a digest of its reports)"""


@dataclass(frozen=True)
class Waiting:
    """A message in the outbox that was not told yet."""

    due: Due
    made: datetime
    run: str


def put(lake: Lake, dues: Sequence[Due], run: str, made: datetime, first: int = 0) -> None:
    """Write messages into the outbox, all with one commit; a known subject stays as it is.

    `first` is the position of the first among those made at the same time.
    """
    rows = [
        {
            "subject": due.subject,
            "made": made,
            "position": first + position,
            "channel": due.channel,
            "message": None if due.message is None else due.message.as_json(),
            "run": run,
            "month": month_of(made),
        }
        for position, due in enumerate(dues)
    ]
    if rows:
        lake.write.append_new("outbox", pa.Table.from_pylist(rows, schema=OUTBOX.schema))


def waiting(lake: Lake) -> list[Waiting]:
    """What is in the outbox and was not told, the oldest first."""
    # first without the messages: those of years are not read to find that none waits
    subjects = lake.sql(_SUBJECTS)["subject"].tolist()
    if not subjects:
        return []
    return [
        Waiting(
            Due(
                row["subject"],
                _text(row["channel"]),
                None if _text(row["message"]) is None else Message.from_json(row["message"]),
            ),
            row["made"].to_pydatetime(),
            row["run"],
        )
        for row in _rows(lake.sql(_WAITING, subjects=subjects))
    ]


def note(
    lake: Lake, subjects: Iterable[str], *, run: str, now: datetime, channel: str | None
) -> None:
    """Write down that these were told (or need not be): nobody tells them again."""
    rows = [
        {"subject": s, "told": now, "channel": channel, "run": run, "month": month_of(now)}
        for s in subjects
    ]
    if rows:
        lake.write.append_new("alerts", pa.Table.from_pylist(rows, schema=ALERTS.schema))


def failing_since(lake: Lake, job: str) -> datetime | None:
    """Since when a job fails, by the last message about it; None: no failure is open.

    A failure is open until a recovery was made after it.
    """
    rows = _rows(
        lake.sql(
            "SELECT subject, made FROM outbox WHERE starts_with(subject, $failure) "
            "OR starts_with(subject, $recovery) ORDER BY made DESC, position DESC LIMIT 1",
            failure=f"failure:{job}:",
            recovery=f"recovery:{job}:",
        )
    )
    if not rows or not rows[0]["subject"].startswith("failure:"):
        return None
    since = rows[0]["subject"].split(":")[2]
    return datetime.fromisoformat(since)


def failure_subject(job: str, since: datetime, now: datetime) -> str:
    """The subject of a failure: a new one each day as long as it lasts."""
    utc = since.astimezone(UTC)  # in ISO 8601's form without colons
    return f"failure:{job}:{utc:%Y%m%dT%H%M%SZ}:{now:%Y-%m-%d}"


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
