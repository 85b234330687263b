"""SMTP TLS reports: JSON bytes → `TlsReport` (RFC 8460).

A policy without its totals makes the report unreadable; a failure detail without a count is kept
with 0 and a warning, since the totals do not come from it.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from dmarckit.core import LimitExceeded, NotAReport, UnreadableReport, one_line
from dmarckit.reports.model import TlsFailure, TlsPolicy, TlsReport
from dmarckit.reports.values import (
    FIELD_CHARACTERS,
    MAX_COUNT,
    Warnings,
    cut,
    domain,
    moment,
    noted_address,
    quoted,
    read_count,
)

JSON_BYTES = 8_000_000  # a parsed JSON value takes up to thirty times its size in memory


def looks_like_tls(text: bytes) -> bool:
    """Return True if JSON `text` speaks of what only a TLS report has (RFC 8460 section 4.4)."""
    return b"policies" in text.lower()


def read_tls(text: bytes, named: str | None = None, most: int = FIELD_CHARACTERS) -> TlsReport:
    """Return the report in `text`; `named` is the domain of policies that have none.

    Fields of its head keep `most` characters.

    Raises `NotAReport` for JSON of another kind, `UnreadableReport` when it is no JSON or
    lacks its period or a count, `LimitExceeded`.
    """
    if len(text) > JSON_BYTES:
        raise LimitExceeded(f"JSON of {len(text):,} bytes, more than {JSON_BYTES:,}")
    warnings = Warnings()
    found = _parsed(text, warnings)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise NotAReport("JSON of another kind: not an object")
    fields = _hyphenated(found)
    if "policies" not in fields or not fields.keys() & {"organization-name", "date-range"}:
        raise NotAReport("JSON of another kind: no organization-name, date-range and policies")
    period = _object(fields.get("date-range"), "date-range", warnings)
    begin = _moment(period.get("start-datetime"), "date-range/start-datetime", warnings)
    reporter, contact, report_id = (
        text and cut(text, name, warnings, most=most)
        for name in ("organization-name", "contact-info", "report-id")
        for text in [_text(fields.get(name), 0)]
    )
    policies = tuple(
        _policy(_object(each, "policies", warnings), f"policy {number}", warnings, named)
        for number, each in enumerate(_list(fields["policies"]), 1)
        if each is not None
    )
    if sum(policy.successful + policy.failed for policy in policies) > MAX_COUNT:
        raise UnreadableReport(f"summary: more than {MAX_COUNT:,} sessions in all policies")
    return TlsReport(
        reporter=reporter,
        contact=contact,
        report_id=report_id,
        begin=begin,
        end=_moment(period.get("end-datetime"), "date-range/end-datetime", warnings),
        policies=policies,
        warnings=warnings.lines(),
    )


def _parsed(text: bytes, warnings: Warnings) -> Any:
    halves = 0

    def whole(escape: re.Match[str]) -> str:
        """Replace half of a character, which only JSON can write: no table holds it."""
        nonlocal halves
        halves += bool(escape[1])
        return "\ufffd" if escape[1] else escape[0]

    try:
        decoded = text.decode(json.detect_encoding(text)).lstrip("\ufeff \t\r\n")
        decoded = _ESCAPE.sub(whole, decoded)
        if halves:
            warnings.add(f"lone surrogates replaced by U+FFFD: {halves:,}")
        found, end = _DECODER.raw_decode(decoded)
    except RecursionError:
        raise UnreadableReport("JSON is nested too deep") from None
    except ValueError as error:
        raise UnreadableReport(f"no valid JSON: {one_line(error)}") from None
    if after := decoded[end:].strip(" \t\r\n\0"):
        warnings.add(f"{len(after):,} characters after the report passed over: {quoted(after)}")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""an escape of a JSON string; its group: half of a pair, alone"""
_DECODER = json.JSONDecoder(
    strict=False,
    parse_constant=_no_number,
    parse_int=lambda digits: int(digits) if len(digits) <= 20 else digits,  # read_count refuses it
)


def _hyphenated(found: dict[str, Any]) -> dict[str, Any]:
    """Return the names as the RFC writes them: some reporters use underscores or upper case."""
    return {name.lower().replace("_", "-"): value for name, value in found.items()}


def _object(found: Any, element: str, warnings: Warnings) -> dict[str, Any]:
    if isinstance(found, dict):
        return _hyphenated(found)
    if found is not None:
        warnings.add(f"{element}: {quoted(found)} is no object, passed over")
    return {}


def _text(found: Any, most: int = FIELD_CHARACTERS) -> str | None:
    """Return text as sent, of `most` characters; a number as its digits; else, or empty, None."""
    if isinstance(found, str):
        return found.strip()[: most or None] or None
    return str(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(text for text in map(_text, _list(found)) if text is not None)


def _moment(found: Any, element: str, warnings: Warnings) -> Any:
    """Return a time; ISO 8601 is what the RFC asks for, so only other forms leave a warning."""
    text = _text(found)
    when = moment(text, element, Warnings())
    if text and "T" not in text:
        warnings.changed(element, text, when.isoformat())
    return when


def _policy(found: dict[str, Any], place: str, warnings: Warnings, named: str | None) -> TlsPolicy:
    policy = _object(found.get("policy"), f"{place}/policy", warnings) or found
    summary = _object(found.get("summary"), f"{place}/summary", warnings)
    policy_domain = domain(_text(policy.get("policy-domain")) or "")
    if policy_domain is None and named:
        warnings.add(f"policy-domain is missing, {quoted(named)} taken from the mail", place)
    return TlsPolicy(
        policy_type=_text(policy.get("policy-type")),
        policy_domain=policy_domain or named,
        policy_string=_texts(policy.get("policy-string")),
        mx_host=_texts(policy.get("mx-host", policy.get("mx-host-pattern"))),
        successful=_sessions(summary, "total-successful-session-count", place, warnings),
        failed=_sessions(summary, "total-failure-session-count", place, warnings),
        details=tuple(
            _failure(_object(each, "failure-details", warnings), place, warnings)
            for each in _list(found.get("failure-details"))
            if each
        ),
    )


def _sessions(found: dict[str, Any], name: str, place: str, warnings: Warnings) -> int:
    return read_count(_text(found.get(name)), name, warnings, place)


def _failure(found: dict[str, Any], place: str, warnings: Warnings) -> TlsFailure:
    sessions = 0
    if _text(found.get("failed-session-count")) is None:
        warnings.add("failed-session-count is missing, taken as 0", place)
    else:
        sessions = _sessions(found, "failed-session-count", place, warnings)
    sending, receiving = (
        noted_address(_text(found.get(name)), name, warnings, place)
        for name in ("sending-mta-ip", "receiving-ip")
    )
    more = found.get("additional-information", found.get("additional-info-uri"))
    return TlsFailure(
        result_type=_text(found.get("result-type")),
        sessions=sessions,
        sending_mta_ip=sending,
        receiving_mx_hostname=_text(found.get("receiving-mx-hostname")),
        receiving_mx_helo=_text(found.get("receiving-mx-helo")),
        receiving_ip=receiving,
        additional_information=_text(more),
        failure_reason_code=_text(found.get("failure-reason-code")),
    )
