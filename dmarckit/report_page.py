"""One report as the receiver sent it: its frames from the lake, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dmarckit import words
from dmarckit.errors import one_line
from dmarckit.lake import Lake
from dmarckit.language import _
from dmarckit.markup import Column, Html, escape, table
from dmarckit.periods import period

SHOWN = 500
"""records of a page; the whole report is in the lake and in its export"""

_FACTS = {
    "reporter": "Reporter",
    "domain": "Domain",
    "period": "Period (UTC)",
    "report_id": "Report id",
    "messages": "Messages",
    "failing": "Failing",
    "contact": "Contact",
    "generator": "Generator",
    "policy": "Policy it saw",
    "warnings": "Repaired while reading",
    "errors": "Errors it names",
    "mail_key": "Mail",
    "report_uid": "Report",
}
_TAGS = ("p", "sp", "np", "pct", "testing", "adkim", "aspf", "fo", "discovery_method")


def load(lake: Lake, report_uid: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """The report (one row, or none when it is not known) and its records, in order.

    Without `report_uid` it is the newest report with failing messages, else the newest.
    """
    if report_uid:
        found = lake.sql("SELECT * FROM reports WHERE report_uid = $uid", uid=report_uid)
    else:
        found = lake.sql(
            "SELECT * FROM reports ORDER BY (failing > 0) DESC, begin DESC, report_uid LIMIT 1"
        )
    uid = str(found["report_uid"].iloc[0]) if len(found) else ""
    query = "SELECT * FROM records WHERE report_uid = $uid ORDER BY position"
    return found, lake.sql(query, uid=uid)


def about(report: pd.DataFrame) -> Html:
    """What the report says of itself. Takes the first frame of `load`."""
    if report.empty:
        return Html('<p class="dk-empty">There is no such report in the lake.</p>')
    row = report.iloc[0]
    title = _("Report of {reporter} about {domain}")
    values: dict[str, Any] = dict(row) | {
        "period": period(row["begin"], row["end"]),
        "messages": words.count(row["messages"]),
        "failing": words.count(row["failing"]),
        "policy": _policy(row),
        "warnings": "; ".join(map(str, _items(row["warnings"]))),
        "errors": "; ".join(map(str, _items(row["errors"]))),
    }
    rows = "".join(
        f"<dt>{label}</dt><dd><bdi>{escape(values[name], 2000)}</bdi></dd>"
        for name, label in _FACTS.items()
        if not words.is_missing(values[name]) and values[name] != ""
    )
    about = title.format(reporter=one_line(row["reporter"], 80), domain=one_line(row["domain"], 80))
    return Html(f'<dl class="dk-about-report">{rows}</dl>', about)


def records(frame: pd.DataFrame) -> Html:
    """One row a record, with raw results as the receiver wrote them; the failing ones first."""
    rows = with_results(frame).sort_values(["failing", "messages"], ascending=False, kind="stable")
    columns = [Column("source_ip", "Source", under=envelope), *result_columns()]
    shown = table(
        rows.head(SHOWN), columns, caption="Records", empty="The report holds no records."
    )
    more = len(rows) - SHOWN
    if more <= 0:
        return shown
    return Html(f'{shown.markup}<p class="dk-note">And {words.plural(more, "more record")}.</p>')


def with_results(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `records`, and what `result_columns` show of them; `failing`: it fails DMARC."""
    dkim, spf = (frame[c].fillna(False).astype(bool) for c in ("dkim_aligned", "spf_aligned"))
    return frame.assign(
        failing=~(dkim | spf),
        raw_dkim=frame["dkim"].map(_dkim),
        raw_spf=frame["spf"].map(_spf),
        why=frame["reasons"].map(_reasons),
        dkim_result=dkim.map(_VERDICT),
        spf_result=spf.map(_VERDICT),
        result=(dkim | spf).map({True: "passes", False: "fails"}),
    )


def result_columns() -> list[Column]:
    """What a receiver says about a record: columns of the tables of records."""
    return [
        Column("messages", "Messages", "count"),
        Column("header_from", "From"),
        Column("result", "DMARC"),
        Column("raw_dkim", "DKIM", under=lambda r: str(r.dkim_result)),
        Column("raw_spf", "SPF", under=lambda r: str(r.spf_result)),
        Column("disposition", "Receiver did", under=lambda r: str(r.why)),
    ]


_VERDICT = {True: "counts: aligned and passes", False: "does not count"}


def _items(cell: Any) -> Iterable[Any]:
    """A list cell, which pandas may hold as a list, an array or an absent value."""
    return () if cell is None or not hasattr(cell, "__len__") else cell


def _policy(row: Mapping[Any, Any] | pd.Series[Any]) -> str:
    tags = ((name, row[name]) for name in _TAGS)
    return "; ".join(f"{n}={_whole(v)}" for n, v in tags if not words.is_missing(v) and v != "")


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def envelope(row: Any) -> str:
    """Return path and recipient domain of a record, where they are given."""
    parts = {"return path": row.envelope_from, "to": row.envelope_to}
    return ", ".join(f"{k} {v}" for k, v in parts.items() if v and not words.is_missing(v))


def _dkim(results: Any) -> str:
    return "; ".join(
        f"{r['result'] or 'no result'}: d={r['domain'] or '–'}, s={r['selector'] or '–'}"
        + (f" ({r['human_result']})" if r["human_result"] else "")
        for r in _items(results)
    )


def _spf(results: Any) -> str:
    return "; ".join(
        f"{r['result'] or 'no result'}: {r['domain'] or '–'}"
        + (f" ({r['scope']})" if r["scope"] else "")
        + (f" ({r['human_result']})" if r["human_result"] else "")
        for r in _items(results)
    )


def _reasons(reasons: Any) -> str:
    return "; ".join(
        ": ".join(str(part) for part in (r["type"], r["comment"]) if part) for r in _items(reasons)
    )
