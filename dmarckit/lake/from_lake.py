"""A report as the lake holds it, back as the model it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dmarckit.reports.models import AggregateReport, DkimResult, Policy, Reason, Record, SpfResult

if TYPE_CHECKING:
    import pandas as pd

_POLICY_TEXTS = ("domain", "p", "sp", "np", "testing", "adkim", "aspf", "fo", "discovery_method")


def report_from_lake(row: Mapping[str, Any], records: pd.DataFrame) -> AggregateReport:
    """The aggregate report of one row of `reports` and its rows of `records`.

    `row` is a dict or Series with the columns of the table `reports`; `records` has the
    columns of the table `records` and may hold other reports' rows too (those of another
    `report_uid` are left out). The records come in the order of `position`. Whatever
    stands for "absent" in a frame (None, NaN, NaT, NA, a missing column) is None.
    """
    own = records
    if "report_uid" in records.columns and _text(row.get("report_uid")) is not None:
        own = records[records["report_uid"] == row["report_uid"]]
    if "position" in own.columns:
        own = own.sort_values("position", kind="stable")
    found = tuple(_record(values) for values in own.to_dict("records"))
    stated, messages = _whole(row.get("records")), _whole(row.get("messages"))
    return AggregateReport(
        reporter=_text(row.get("reporter")),
        contact=_text(row.get("contact")),
        extra_contact=_text(row.get("extra_contact")),
        report_id=_text(row.get("report_id")),
        begin=_moment(row["begin"]),
        end=_moment(row["end"]),
        policy=Policy(
            pct=_whole(row.get("pct")), **{name: _text(row.get(name)) for name in _POLICY_TEXTS}
        ),
        generator=_text(row.get("generator")),
        version=_text(row.get("version")),
        records=found,
        record_count=len(found) if stated is None else stated,
        message_count=sum(r.messages for r in found) if messages is None else messages,
        warnings=_texts(row.get("warnings")),
        errors=_texts(row.get("errors")),
    )


def _record(values: Mapping[Any, Any]) -> Record:
    return Record(
        source_ip=_text(values.get("source_ip")),
        messages=_whole(values.get("messages")) or 0,
        disposition=_text(values.get("disposition")),
        dkim_aligned=_flag(values.get("dkim_aligned")),
        spf_aligned=_flag(values.get("spf_aligned")),
        reasons=tuple(
            Reason(_text(reason.get("type")), _text(reason.get("comment")))
            for reason in _items(values.get("reasons"))
        ),
        header_from=_text(values.get("header_from")),
        envelope_from=_text(values.get("envelope_from")),
        envelope_to=_text(values.get("envelope_to")),
        dkim=tuple(
            DkimResult(*(_text(result.get(key)) for key in DkimResult.__slots__))
            for result in _items(values.get("dkim"))
        ),
        spf=tuple(
            SpfResult(*(_text(result.get(key)) for key in SpfResult.__slots__))
            for result in _items(values.get("spf"))
        ),
    )


def _items(cell: Any) -> tuple[Any, ...]:
    """A list cell, which pandas may hold as a list, an array or an absent value."""
    return () if cell is None or not hasattr(cell, "__len__") else tuple(cell)


def _absent(value: Any) -> bool:
    import pandas as pd

    return value is None or bool(pd.isna(value))


def _text(value: Any) -> str | None:
    return None if _absent(value) else str(value)


def _texts(cell: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in _items(cell) if not _absent(item))


def _whole(value: Any) -> int | None:
    return None if _absent(value) else int(value)


def _flag(value: Any) -> bool | None:
    return None if _absent(value) else bool(value)


def _moment(value: Any) -> datetime:
    import pandas as pd

    moment = pd.Timestamp(value)
    utc = moment.tz_localize(UTC) if moment.tzinfo is None else moment.tz_convert(UTC)
    return utc.floor("us").to_pydatetime()
