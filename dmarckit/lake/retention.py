"""How long the rows of each table are kept: the setting `keep_days`, and what it may not break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dmarckit.core.errors import SettingsError, one_line
from dmarckit.core.language import _
from dmarckit.core.settings import Settings
from dmarckit.core.storage import open_storage
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of
from dmarckit.lake.schemas import TABLES

KEEP_DAYS: Mapping[str, int] = {"failures": 30}
"""What holds without the setting; failure reports hold personal data. Others stay for ever."""

TO_THE_DAY = {"failures": "arrival"}
"""table → time by which single rows go; of other tables whole months go, once all of a month
is old enough: that rewrites nothing"""

LOOKS_BACK = 91  # days that senders are learnt from, and the day that is not over


@dataclass(frozen=True)
class Expiry:
    """What of a table is too old."""

    before: datetime
    """rows before this moment need not be kept"""

    @property
    def month(self) -> str:
        """Months before this one (``YYYY-MM``) hold nothing that must be kept."""
        return month_of(self.before)


def expiries(settings: Settings, lake: Lake, now: datetime) -> tuple[dict[str, Expiry], list[str]]:
    """Table → what of it is too old at `now`, and sentences about what stays all the same.

    The ledger's rows (`mails`) outlive the objects that they tell of: else these would be
    read again as new mails. Raises SettingsError for a table that there is not, or an order
    of days that would send Slack messages again; StorageError when the mails cannot be listed.
    """
    days = {**KEEP_DAYS, **settings.keep_days}
    _check(days)
    found = {name: Expiry(now - timedelta(days=n)) for name, n in days.items()}
    warnings = [
        _(
            "keep_days.{table} is {n}: findings learn the usual senders from {days} days, "
            "and will be wrong about them."
        ).format(table=name, n=days[name], days=LOOKS_BACK)
        for name in ("reports", "records")
        if days.get(name, LOOKS_BACK) < LOOKS_BACK
    ]
    if "mails" in found and _has_months_before(lake, found["mails"]):
        oldest = _oldest_mail(settings)
        if oldest is not None and month_of(oldest) < found["mails"].month:
            found["mails"] = Expiry(oldest)
            warnings.append(
                _(
                    "Mails of {month} are still in the mail storage: their rows in the table "
                    "mails stay until the mails are deleted there, or they would be read again."
                ).format(month=month_of(oldest))
            )
    return found, warnings


def _check(days: Mapping[str, int]) -> None:
    for name in days:
        if name not in TABLES:
            raise SettingsError(
                f"setting keep_days: no table {one_line(name)!r}; tables are {', '.join(TABLES)}"
            )
    if "alerts" in days and days.get("outbox", days["alerts"] + 1) > days["alerts"]:
        raise SettingsError(
            f"setting keep_days: alerts ({days['alerts']}) is less than outbox "
            f"({days.get('outbox', 'for ever')}): what was told would be told again; "
            f"set outbox to {days['alerts']} or less"
        )


def _has_months_before(lake: Lake, expiry: Expiry) -> bool:
    with lake.session("mails") as connection:
        row = connection.execute("SELECT min(month) FROM mails").fetchone()
    return bool(row and row[0] and row[0] < expiry.month)


def _oldest_mail(settings: Settings) -> datetime | None:
    times = (item.modified for item in open_storage(settings.mail_url).list())
    oldest = min(times, default=None)
    return None if oldest is None else oldest.astimezone(UTC)
