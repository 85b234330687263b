"""TLS and failure reports as rows of their tables; failure reports are redacted here.

A failure report quotes somebody's mail. What is kept of addresses is the domain and a
keyed hash of the local part: equal addresses stay equal, and nobody can be read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from dmarckit.lake.rows import identity, month_of
from dmarckit.reports.models import FailureReport, TlsPolicy, TlsReport

# A local part and its domain, wherever they stand: From headers, results, message ids.
_ADDRESS = re.compile(r"([^\s<>@\"'(),;:=\[\]]+)@([A-Za-z0-9.\-\u0080-\uffff\[\]:]+)")
_QUOTED_LOCAL = re.compile(r'"[^"\r\n]*"(?=@)')
_NAME = re.compile(r"^.*?(?=<[^<>]*>\s*$)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tls_rows(report: TlsReport, mail_key: str) -> list[dict[str, Any]]:
    """Rows of `tls`: one a policy; a report without policies is one row of nulls."""
    shared = {
        "report_uid": identity(report.reporter, report.report_id, report.begin, report.end),
        "reporter": report.reporter,
        "contact": report.contact,
        "report_id": report.report_id,
        "begin": report.begin,
        "end": report.end,
        "warnings": list(report.warnings),
        "mail_key": mail_key,
        "month": month_of(report.begin),
    }
    empty = TlsPolicy(None, None, (), (), 0, 0, ())
    return [
        {
            **shared,
            "position": position,
            "policy_type": policy.policy_type,
            "policy_domain": policy.policy_domain,
            "policy_string": list(policy.policy_string),
            "mx_host": list(policy.mx_host),
            "successful": policy.successful,
            "failed": policy.failed,
            "details": [asdict(detail) for detail in policy.details],
        }
        for position, policy in enumerate(report.policies or (empty,))
    ]


def failure_row(
    report: FailureReport, mail_key: str, salt: bytes, *, content: bool
) -> dict[str, Any]:
    """The row of `failures`; subject and body only with `content`."""

    def redacted(text: str | None) -> str | None:
        return None if text is None else redact(text, salt)

    def without_name(text: str | None) -> str | None:
        return redacted(None if text is None else _NAME.sub("", text, count=1))

    uid = identity(
        report.reporter, report.domain, report.source_ip, report.arrival, report.message_id,
        report.original_mail_from, report.original_rcpt_to, report.subject,
    )  # fmt: skip
    return {
        "report_uid": uid,
        "reporter": report.reporter,
        "arrival": report.arrival,
        "domain": report.domain,
        "source_ip": report.source_ip,
        "auth_failure": report.auth_failure,
        "delivery_result": report.delivery_result,
        "identity_alignment": report.identity_alignment,
        "dkim_domain": report.dkim_domain,
        "dkim_selector": report.dkim_selector,
        "original_mail_from": without_name(report.original_mail_from),
        "original_rcpt_to": without_name(report.original_rcpt_to),
        "authentication_results": redacted(report.authentication_results),
        "header_from": without_name(report.header_from),
        "subject": report.subject if content else None,
        "message_id": redacted(report.message_id),
        "body": report.body if content else None,
        "warnings": list(report.warnings),
        "mail_key": mail_key,
        "month": month_of(report.arrival or _EPOCH),
    }


def redact(text: str, salt: bytes) -> str:
    """The text with the local part of every address replaced by a keyed hash.

    >>> redact("Ann <ann@example.com>", b"salt") == redact("Ann <ann@example.com>", b"salt")
    True
    >>> "ann@" in redact("ann@example.com", b"salt")
    False
    """

    def hashed(local: str) -> str:
        return hmac.new(salt, local.lower().encode(), hashlib.sha256).hexdigest()[:16]

    plain = _QUOTED_LOCAL.sub(lambda m: hashed(m[0]), text)
    return _ADDRESS.sub(lambda m: f"{hashed(m[1])}@{m[2]}", plain)
