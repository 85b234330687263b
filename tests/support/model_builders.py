"""Builders for the models: name only what the test is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dmarckit.reports.model import AggregateReport, DkimResult, Policy, Record, SpfResult

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def make_record(
    source_ip: str | None = "192.0.2.1",
    messages: int = 1,
    *,
    dkim_aligned: bool | None = True,
    spf_aligned: bool | None = True,
    **other: Any,
) -> Record:
    """A record whose raw results agree with the aligned ones unless `other` says else."""
    record = Record(
        source_ip=source_ip,
        messages=messages,
        disposition="none",
        dkim_aligned=dkim_aligned,
        spf_aligned=spf_aligned,
        reasons=(),
        header_from="example.com",
        envelope_from="example.com",
        envelope_to=None,
        dkim=(DkimResult("example.com", "s1", "pass" if dkim_aligned else "fail"),),
        spf=(SpfResult("example.com", "mfrom", "pass" if spf_aligned else "fail"),),
    )
    return replace(record, **other)


def make_failing(source_ip: str | None = "192.0.2.1", messages: int = 1, **other: Any) -> Record:
    """A record of messages that fail DMARC."""
    return make_record(source_ip, messages, dkim_aligned=False, spf_aligned=False, **other)


def make_report(*records: Record, **other: Any) -> AggregateReport:
    """A report of one day; `other` replaces its fields. Each reporter has a contact of its own."""
    name = other.get("reporter", "Example Mail")
    host = "".join(c for c in (name or "").lower() if c.isascii() and c.isalnum())
    host = "google.com" if name == "google.com" else f"{host or 'no'}.example"
    report = AggregateReport(
        reporter="Example Mail",
        contact="dmarc@mail.example" if name == "Example Mail" else f"dmarc@{host}",
        extra_contact=None,
        report_id="r-1",
        begin=DAY,
        end=DAY + timedelta(days=1),
        policy=Policy("example.com", p="reject"),
        generator=None,
        version=None,
        records=records,
        record_count=len(records),
        message_count=sum(record.messages for record in records),
    )
    return replace(report, **other)
