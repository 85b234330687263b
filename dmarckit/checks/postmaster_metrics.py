"""What Postmaster Tools (API v2) is asked for, and how its answers become rows.

Names are those of the API's discovery document (gmailpostmastertools v2). Rows are plain
dicts with the columns of the table `postmaster` that come from Google: domain, day, metric,
detail, share, number, text.

The document does not say in which unit v2 gives rates; v1 gave ratios from 0 to 1, and so
they are read (`_rate`, the only place). A percentage shows itself: most mail is
authenticated, so that rate would be near 100. Nothing of such an answer is kept.
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

REASONS = {
    "reject": (
        "bad_attachment",
        "bad_or_missing_ptr_record",
        "ip_in_rbls",
        "low_domain_reputation",
        "low_ip_reputation",
        "spammy_content",
        "stamp_policy_error",
        "other",
    ),
    "temp_fail": ("anomalous_traffic_pattern", "other"),
}
"""error_type → error_reason, of DELIVERY_ERROR_RATE and DELIVERY_ERROR_COUNT"""

AGGREGATIONS = ("FROM_HEADER", "ALL_DKIM")
"""whose feedback loops: of mail from the domain, or of all that it signed"""

LOOPS = 100
"""feedback loops of a domain whose rate is asked; more are named as a problem"""


@dataclass(frozen=True)
class Metric:
    """A metric of the API, and what it is called in the table."""

    metric: str
    detail: str
    standard: str
    """StandardMetric of the API"""
    filter: str = ""

    def definition(self, name: str) -> dict[str, Any]:
        """Return a MetricDefinition; its results carry `name`."""
        asked: dict[str, Any] = {"name": name, "baseMetric": {"standardMetric": self.standard}}
        return asked | ({"filter": self.filter} if self.filter else {})


def condition(**values: str) -> str:
    r"""Return a filter of the API: all of the values.

    >>> condition(error_type="reject", error_reason='say "no"')
    'error_type = "reject" AND error_reason = "say \\"no\\""'
    """

    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    return " AND ".join(f"{name} = {quoted(value)}" for name, value in values.items())


def _errors(metric: str, standard: str) -> Iterator[Metric]:
    yield Metric(metric, "", standard)
    for kind, reasons in REASONS.items():
        yield Metric(metric, kind, standard, condition(error_type=kind))
        for reason in reasons:
            both = condition(error_type=kind, error_reason=reason)
            yield Metric(metric, f"{kind}/{reason}", standard, both)


FAMILIES: dict[str, tuple[Metric, ...]] = {
    "spam": (Metric("spam_rate", "", "SPAM_RATE"),),
    "authentication": tuple(
        Metric("auth_success_rate", kind, "AUTH_SUCCESS_RATE", condition(auth_type=kind))
        for kind in ("spf", "dkim", "dmarc")
    ),
    "encryption": tuple(
        # inbound is into Gmail: mail that the domain sent
        Metric("tls_encryption_rate", way, "TLS_ENCRYPTION_RATE", condition(traffic_direction=way))
        for way in ("inbound", "outbound")
    ),
    "delivery": (
        *_errors("delivery_error_rate", "DELIVERY_ERROR_RATE"),
        *_errors("delivery_error_count", "DELIVERY_ERROR_COUNT"),
    ),
    "feedback loops": tuple(
        Metric(
            "feedback_loop_ids",
            key.lower(),
            "FEEDBACK_LOOP_ID",
            condition(aggregation_key_type=key),
        )
        for key in AGGREGATIONS
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
        key = str(row["detail"]).upper()
        for loop in json.loads(row["text"]):
            both = condition(feedback_loop_id=loop, aggregation_key_type=key)
            name = f"{row['detail']}/{loop}"
            found[Metric("feedback_loop_rate", name, "FEEDBACK_LOOP_SPAM_RATE", both)] = None
    return tuple(found)


def stat_row(domain: str, metric: Metric, stat: Mapping[str, Any]) -> Row | None:
    """Return a DomainStat as a row; None when it has no day or no value.

    Raises PostmasterAccess for a rate that cannot be a share from 0 to 1: its unit is then
    not what we take it for, which concerns every domain.
    """
    day, value = _day(stat.get("date") or {}), stat.get("value") or {}
    if day is None:
        return None
    row: Row = {"domain": domain, "day": day, "metric": metric.metric, "detail": metric.detail}
    row |= {"share": None, "number": None, "text": None}
    if metric.metric == "feedback_loop_ids":
        loops = _texts(value)
        return row | {"text": json.dumps(sorted(loops), ensure_ascii=False)} if loops else None
    number = _number(value)
    if number is None:
        return None
    if metric.metric == "delivery_error_count":
        return row | {"number": round(number)}
    return row | {"share": _rate(number, domain, metric, day)}


def _rate(number: float, domain: str, metric: Metric, day: datetime) -> float:
    try:
        return Rate(number).share
    except NotARate as error:
        raise PostmasterAccess(
            f"Postmaster Tools gives {metric.metric} {one_line(metric.detail, 40)} of "
            f"{one_line(domain)} on {day:%Y-%m-%d} as {number:g}, but rates are read as shares "
            "from 0 to 1: Google's unit seems to have changed. Nothing of this answer was kept"
        ) from error


def _number(value: Mapping[str, Any]) -> float | None:
    for name in ("doubleValue", "floatValue", "intValue"):
        if name in value:
            try:
                number = float(value[name])  # 64-bit integers come as text
            except (TypeError, ValueError):
                return None
            return number if math.isfinite(number) else None
    return None


def _texts(value: Mapping[str, Any]) -> set[str]:
    listed = (value.get("stringList") or {}).get("values") or ()
    texts = [value["stringValue"]] if value.get("stringValue") else listed
    return {str(text) for text in texts if text}


def _day(parts: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime(parts["year"], parts["month"], parts["day"], tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        return None


def compliance_rows(domain: str, status: Mapping[str, Any], day: datetime) -> list[Row]:
    """Return a DomainComplianceStatus as rows: a state per requirement, as of `day`.

    What it says of the registrable domain stands under that domain's name. `metric` is
    ``compliance`` (text COMPLIANT or NEEDS_WORK), or ``compliance_reason`` where Google says
    why; `detail` is the requirement, such as ONE_CLICK_UNSUBSCRIBE. A state that Google does
    not know is left out.
    """
    rows: list[Row] = []
    for part in ("complianceData", "subdomainComplianceData"):
        data = status.get(part) or {}
        name = normalize_domain(str(data.get("domainId") or domain))
        base: Row = {"domain": name, "day": day, "share": None, "number": None}
        for requirement, state, reason in _states(data):
            if state and not state.endswith("UNSPECIFIED"):
                rows.append(base | {"metric": "compliance", "detail": requirement, "text": state})
            if reason and not reason.endswith("UNSPECIFIED"):
                why = {"metric": "compliance_reason", "detail": requirement, "text": reason}
                rows.append(base | why)
    return rows


_VERDICTS = {
    "ONE_CLICK_UNSUBSCRIBE": "oneClickUnsubscribeVerdict",
    "HONOR_UNSUBSCRIBE": "honorUnsubscribeVerdict",
    "DELIVERABILITY": "deliverabilityStatusVerdict",
}


def _states(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield requirement, state and reason. A verdict of its own says more than the row does."""
    states = {
        str(row.get("requirement") or ""): str((row.get("status") or {}).get("status") or "")
        for row in data.get("rowData") or ()
    }
    for requirement, verdict in _VERDICTS.items():
        if said := data.get(verdict):
            state = said.get("status") or said.get("state") or {}
            found = str(state.get("status") or "") or states.get(requirement, "")
            yield requirement, found, str(said.get("reason") or "")
            states.pop(requirement, None)
    for requirement, state in states.items():
        if requirement and not requirement.endswith("UNSPECIFIED"):
            yield requirement, state, ""


def api_date(day: date) -> dict[str, int]:
    """Return a Date of the API."""
    return {"year": day.year, "month": day.month, "day": day.day}
