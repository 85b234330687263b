"""Reports as JSON: what `dmarckit parse` prints, and the ``.json`` files of the exports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from dmarckit.reports.models import (
    AggregateReport,
    FailureReport,
    Record,
    Report,
    TlsReport,
    Unreadable,
)


def report_json(report: Report, file: str) -> dict[str, Any]:
    """One report as the JSON object of `dmarckit parse`; `file` says where it was found.

    Keys: kind ("aggregate", "tls" or "failure") and file first, then what the report
    says, by the names of the models. Times are ISO 8601 in UTC (2026-11-01T00:00:00Z),
    an absent value is null, counts are messages (TLS: sessions).
    """
    if isinstance(report, AggregateReport):
        return _aggregate_json(report, file)
    if isinstance(report, TlsReport):
        return _tls_json(report, file)
    return _failure_json(report, file)


def unreadable_json(unreadable: Unreadable, file: str) -> dict[str, Any]:
    """A document that is no readable report, as the JSON object of `dmarckit parse`.

    Keys: kind ("error"), file, error (the reason, one line), outcome ("unreadable", or
    "not_a_report" when nothing in it looks like one), document (its name in the file).
    """
    return {
        "kind": "error",
        "file": file,
        "error": unreadable.reason,
        "outcome": "unreadable" if unreadable.is_report else "not_a_report",
        "document": unreadable.name,
    }


def json_text(value: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON in ASCII: safe for any terminal and encoding, whatever the report says in it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent)


def _aggregate_json(report: AggregateReport, file: str) -> dict[str, Any]:
    return {
        "kind": "aggregate",
        "file": file,
        "reporter": report.reporter,
        "report_id": report.report_id,
        "domain": report.policy.domain,
        "begin": _iso(report.begin),
        "end": _iso(report.end),
        "policy": asdict(report.policy),
        "records": [record_json(record) for record in report.records],
        "warnings": list(report.warnings),
        "contact": report.contact,
        "extra_contact": report.extra_contact,
        "generator": report.generator,
        "version": report.version,
        "errors": list(report.errors),
        "messages": report.message_count,
    }


def record_json(record: Record) -> dict[str, Any]:
    """One record as the JSON object that stands in `records`."""
    return {
        "source_ip": record.source_ip,
        "messages": record.messages,
        "disposition": record.disposition,
        "dkim_aligned": record.dkim_aligned,
        "spf_aligned": record.spf_aligned,
        "header_from": record.header_from,
        "envelope_from": record.envelope_from,
        "envelope_to": record.envelope_to,
        "reasons": [{"type": r.type, "comment": r.comment} for r in record.reasons],
        "dkim": [
            {
                "domain": signature.domain,
                "selector": signature.selector,
                "result": signature.result,
                "human_result": signature.human_result,
            }
            for signature in record.dkim
        ],
        "spf": [
            {
                "domain": check.domain,
                "scope": check.scope,
                "result": check.result,
                "human_result": check.human_result,
            }
            for check in record.spf
        ],
    }


def _tls_json(report: TlsReport, file: str) -> dict[str, Any]:
    return {
        "kind": "tls",
        "file": file,
        "reporter": report.reporter,
        "report_id": report.report_id,
        "begin": _iso(report.begin),
        "end": _iso(report.end),
        "policies": [
            {
                "policy_type": policy.policy_type,
                "policy_domain": policy.policy_domain,
                "successful": policy.successful,
                "failed": policy.failed,
                "details": [asdict(detail) for detail in policy.details],
                "policy_string": list(policy.policy_string),
                "mx_host": list(policy.mx_host),
            }
            for policy in report.policies
        ],
        "warnings": list(report.warnings),
        "contact": report.contact,
    }


def _failure_json(report: FailureReport, file: str) -> dict[str, Any]:
    fields = asdict(report)
    first = {name: fields.pop(name) for name in ("source_ip", "domain")}
    del fields["arrival"], fields["warnings"]
    return {
        "kind": "failure",
        "file": file,
        **first,
        "arrival": None if report.arrival is None else _iso(report.arrival),
        **fields,
        "warnings": list(report.warnings),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
