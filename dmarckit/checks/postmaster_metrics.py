"""What Postmaster Tools (API v2) is asked for, and how its answers become rows.

Names are those of the API's discovery document, which does not say in which unit v2 gives
rates; v1 gave ratios from 0 to 1, and so they are read (`stat_row`, the only place). A
percentage shows itself: most mail is authenticated, so that rate would be near 100.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from dmarckit.core import NotARate, PostmasterAccess, Rate, normalize_domain, one_line

Row = dict[str, Any]
"""Columns of the table `postmaster` that come from Google: domain, day, metric, detail, share, …"""

REASONS = {
    "reject": (
        "bad_attachment", "bad_or_missing_ptr_record", "ip_in_rbls", "low_domain_reputation",
        "low_ip_reputation", "spammy_content", "stamp_policy_error", "other",
    ),
    "temp_fail": ("anomalous_traffic_pattern", "other"),
}  # fmt: skip
"""error_type → error_reason, of DELIVERY_ERROR_RATE and DELIVERY_ERROR_COUNT"""


@dataclass(frozen=True)
class Metric:
    """A metric of the API, and what it is called in the table."""

    metric: str
    detail: str
    standard: str
    """StandardMetric of the API"""
    filter: str = ""


def condition(**values: str) -> str:
    """Return a filter of the API: all of the values."""
    escaped = {n: value.replace("\\", "\\\\").replace('"', '\\"') for n, value in values.items()}
    return " AND ".join(f'{name} = "{value}"' for name, value in escaped.items())


def _errors(metric: str) -> Iterator[Metric]:
    yield Metric(metric, "", metric.upper())
    for kind, reasons in REASONS.items():
        yield Metric(metric, kind, metric.upper(), condition(error_type=kind))
        for reason in reasons:
            both = condition(error_type=kind, error_reason=reason)
            yield Metric(metric, f"{kind}/{reason}", metric.upper(), both)


def _each(metric: str, standard: str, key: str, *values: str) -> tuple[Metric, ...]:
    return tuple(Metric(metric, v.lower(), standard, condition(**{key: v})) for v in values)


FAMILIES: dict[str, tuple[Metric, ...]] = {
    "spam": (Metric("spam_rate", "", "SPAM_RATE"),),
    "authentication": _each(
        "auth_success_rate", "AUTH_SUCCESS_RATE", "auth_type", "spf", "dkim", "dmarc"
    ),
    # inbound is into Gmail: mail that the domain sent
    "encryption": _each(
        "tls_encryption_rate", "TLS_ENCRYPTION_RATE", "traffic_direction", "inbound", "outbound"
    ),
    "delivery": (*_errors("delivery_error_rate"), *_errors("delivery_error_count")),
    # of mail from the domain, or of all that it signed
    "feedback loops": _each(
        "feedback_loop_ids", "FEEDBACK_LOOP_ID", "aggregation_key_type", "FROM_HEADER", "ALL_DKIM"
    ),
}
"""what is asked with one query: Google refuses a query whole, so that one which it does not
like must not cost the others"""


def loop_metrics(rows: Sequence[Row]) -> tuple[Metric, ...]:
    """Return the spam rate of each feedback loop that rows of `feedback_loop_ids` name."""
    found: dict[Metric, None] = {}
    for row in rows:
        if row["metric"] != "feedback_loop_ids":
            continue
        for loop in json.loads(row["text"]):
            key = str(row["detail"]).upper()
            both = condition(feedback_loop_id=loop, aggregation_key_type=key)
            name = f"{row['detail']}/{loop}"
            found[Metric("feedback_loop_rate", name, "FEEDBACK_LOOP_SPAM_RATE", both)] = None
    return tuple(found)


def stat_row(domain: str, metric: Metric, stat: Mapping[str, Any]) -> Row | None:
    """Return a DomainStat as a row; None when it has no day or no value.

    Raises PostmasterAccess for a rate that cannot be a share from 0 to 1: its unit is then
    not what we take it for, which concerns every domain.
    """
    date_, value = stat.get("date") or {}, stat.get("value") or {}
    try:
        day = datetime(date_["year"], date_["month"], date_["day"], tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        return None
    row: Row = {"domain": domain, "day": day, "metric": metric.metric, "detail": metric.detail}
    row |= {"share": None, "number": None, "text": None}
    if metric.metric == "feedback_loop_ids":
        listed = (value.get("stringList") or {}).get("values") or ()
        texts = [value["stringValue"]] if value.get("stringValue") else listed
        loops = sorted({str(text) for text in texts if text})
        return row | {"text": json.dumps(loops, ensure_ascii=False)} if loops else None
    given = [value[k] for k in ("doubleValue", "floatValue", "intValue") if k in value]
    try:
        number = float(given[0])  # 64-bit integers come as text
    except (IndexError, TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    if metric.metric == "delivery_error_count":
        return row | {"number": round(number)}
    try:
        return row | {"share": Rate(number).share}
    except NotARate as error:
        raise PostmasterAccess(
            f"Postmaster Tools gives {metric.metric} {one_line(metric.detail, 40)} of "
            f"{one_line(domain)} on {day:%Y-%m-%d} as {number:g}, but rates are read as shares "
            "from 0 to 1: Google's unit seems to have changed. Nothing of this answer was kept"
        ) from error


def compliance_rows(domain: str, status: Mapping[str, Any], day: datetime) -> list[Row]:
    """Return a DomainComplianceStatus as rows: a state per requirement, as of `day`.

    What it says of the registrable domain stands under that domain's name. `metric` is
    ``compliance``, or ``compliance_reason`` where Google says why; `detail` is the requirement.
    A state that Google does not know is left out.
    """
    rows: list[Row] = []
    for part in ("complianceData", "subdomainComplianceData"):
        data = status.get(part) or {}
        name = normalize_domain(str(data.get("domainId") or domain))
        base: Row = {"domain": name, "day": day, "share": None, "number": None}
        found: dict[str, tuple[str, str]] = {}  # requirement → state and reason
        for row in data.get("rowData") or ():
            requirement = str(row.get("requirement") or "")
            if requirement and not requirement.endswith("UNSPECIFIED"):
                found[requirement] = str((row.get("status") or {}).get("status") or ""), ""
        for requirement, key in _VERDICTS.items():
            if said := data.get(key):  # it says more than the row does
                state = said.get("status") or said.get("state") or {}
                text = str(state.get("status") or "") or found.get(requirement, ("", ""))[0]
                found[requirement] = text, str(said.get("reason") or "")
        for requirement, pair in found.items():
            for metric, text in zip(("compliance", "compliance_reason"), pair, strict=True):
                if text and not text.endswith("UNSPECIFIED"):
                    rows.append(base | {"metric": metric, "detail": requirement, "text": text})
    return rows


_VERDICTS = {
    "ONE_CLICK_UNSUBSCRIBE": "oneClickUnsubscribeVerdict",
    "HONOR_UNSUBSCRIBE": "honorUnsubscribeVerdict",
    "DELIVERABILITY": "deliverabilityStatusVerdict",
}


def api_date(day: date) -> dict[str, int]:
    """Return a Date of the API."""
    return {"year": day.year, "month": day.month, "day": day.day}
