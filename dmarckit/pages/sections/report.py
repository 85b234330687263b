"""One report as the receiver sent it: its frames from the lake, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dmarckit.core import _, later, ngettext, one_line, period, text as words
from dmarckit.lake import Lake
from dmarckit.pages.html import Column, Html, escape, table

SHOWN = 500
"""records of a page; the whole report is in the lake and in its export"""

_FACTS = {
    "reporter": later("Reporter"),
    "domain": later("Domain"),
    "period": later("Period (UTC)"),
    "report_id": later("Report id"),
    "messages": later("Messages"),
    "failing": later("Failing"),
    "contact": later("Contact"),
    "generator": later("Generator"),
    "policy": later("Policy it saw"),
    "warnings": later("Repaired while reading"),
    "errors": later("Errors it names"),
    "mail_key": later("Mail"),
    "report_uid": later("Report"),
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
        empty = _("There is no such report in the lake.")
        return Html(f'<p class="dk-empty">{escape(empty)}</p>')
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
        f"<dt>{escape(_(label))}</dt><dd><bdi>{escape(values[name], 2000)}</bdi></dd>"
        for name, label in _FACTS.items()
        if not words.is_missing(values[name]) and values[name] != ""
    )
    about = title.format(reporter=one_line(row["reporter"], 80), domain=one_line(row["domain"], 80))
    return Html(f'<dl class="dk-about-report">{rows}</dl>', about)


def records(frame: pd.DataFrame) -> Html:
    """One row a record, with raw results as the receiver wrote them; the failing ones first."""
    rows = with_results(frame).sort_values(["failing", "messages"], ascending=False, kind="stable")
    columns = [Column("source_ip", _("Source"), under=envelope), *result_columns()]
    shown = table(
        rows.head(SHOWN), columns, caption=_("Records"), empty=_("The report holds no records.")
    )
    more = len(rows) - SHOWN
    if more <= 0:
        return shown
    text = ngettext("And {n} more record.", "And {n} more records.", more)
    return Html(f'{shown.markup}<p class="dk-note">{text.format(n=words.count(more))}</p>')


def with_results(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `records`, and what `result_columns` show of them; `failing`: it fails DMARC."""
    dkim, spf = (frame[c].fillna(False).astype(bool) for c in ("dkim_aligned", "spf_aligned"))
    verdict = {True: _("counts: aligned and passes"), False: _("does not count")}
    return frame.assign(
        failing=~(dkim | spf),
        raw_dkim=frame["dkim"].map(_dkim),
        raw_spf=frame["spf"].map(_spf),
        why=frame["reasons"].map(_reasons),
        dkim_result=dkim.map(verdict),
        spf_result=spf.map(verdict),
        result=(dkim | spf).map({True: _("passes"), False: _("fails")}),
    )


def result_columns() -> list[Column]:
    """What a receiver says about a record: columns of the tables of records."""
    return [
        Column("messages", _("Messages"), "count"),
        Column("header_from", _("From")),
        Column("result", "DMARC"),
        Column("raw_dkim", "DKIM", under=lambda r: str(r.dkim_result)),
        Column("raw_spf", "SPF", under=lambda r: str(r.spf_result)),
        Column("disposition", _("Receiver did"), under=lambda r: str(r.why)),
    ]


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
    parts = {
        _("return path {domain}"): row.envelope_from,
        _("to {domain}"): row.envelope_to,
    }
    some = {text: v for text, v in parts.items() if v and not words.is_missing(v)}
    return ", ".join(text.format(domain=v) for text, v in some.items())


def _dkim(results: Any) -> str:
    missing = _("no result")
    return "; ".join(
        f"{r['result'] or missing}: d={r['domain'] or '–'}, s={r['selector'] or '–'}"
        + (f" ({r['human_result']})" if r["human_result"] else "")
        for r in _items(results)
    )


def _spf(results: Any) -> str:
    missing = _("no result")
    return "; ".join(
        f"{r['result'] or missing}: {r['domain'] or '–'}"
        + (f" ({r['scope']})" if r["scope"] else "")
        + (f" ({r['human_result']})" if r["human_result"] else "")
        for r in _items(results)
    )


def _reasons(reasons: Any) -> str:
    return "; ".join(
        ": ".join(str(part) for part in (r["type"], r["comment"]) if part) for r in _items(reasons)
    )
