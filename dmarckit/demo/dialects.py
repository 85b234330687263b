"""A report in the words of its reporter: which fields it shows, its XML, its file."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from html import escape

from dmarckit.demo.flows import Reporter, Style
from dmarckit.reports.models import AggregateReport, DkimResult, Policy, Reason, Record, SpfResult

_NAMESPACE = 'xmlns="urn:ietf:params:xml:ns:dmarc-2.0"'
_DKIM_NOTES = {"fail": "body hash did not verify", "temperror": "key lookup timed out"}
_DEFAULTS = {"adkim": "r", "aspf": "r", "pct": "100"}


def policy_shown(policy: Policy, style: Style) -> Policy:
    """The policy as this dialect quotes it: only its elements, maybe with defaults."""
    values = {tag: _tag(policy, tag, style) for tag in style.policy}
    pct = values.get("pct")
    return Policy(
        domain=policy.domain,
        p=values.get("p"),
        sp=values.get("sp"),
        np=values.get("np"),
        pct=None if pct is None else int(pct),
        testing=values.get("testing"),
        adkim=values.get("adkim"),
        aspf=values.get("aspf"),
        fo=values.get("fo"),
        discovery_method=values.get("discovery_method"),
    )


def _tag(policy: Policy, tag: str, style: Style) -> str | None:
    value = getattr(policy, tag)
    if value is None and style.fills_defaults:
        value = policy.p if tag == "sp" else _DEFAULTS.get(tag)
    return None if value is None else str(value)


def record_shown(record: Record, style: Style) -> Record:
    """The record with only the fields that this dialect has."""
    return replace(
        record,
        envelope_from=record.envelope_from if style.envelope_from else None,
        envelope_to=record.envelope_to if style.envelope_to else None,
        dkim=tuple(_dkim_shown(d, style) for d in record.dkim),
        spf=tuple(_spf_shown(s, style) for s in record.spf),
    )


def _dkim_shown(dkim: DkimResult, style: Style) -> DkimResult:
    note = dkim.human_result or _DKIM_NOTES.get(dkim.result or "")
    return replace(
        dkim,
        selector=dkim.selector if style.selector else None,
        human_result=note if style.human_result else None,
    )


def _spf_shown(spf: SpfResult, style: Style) -> SpfResult:
    return replace(
        spf,
        scope=spf.scope if style.scope else None,
        human_result=spf.human_result if style.human_result else None,
    )


def to_xml(report: AggregateReport, style: Style) -> bytes:
    """The report's XML. `report` holds only what the dialect shows."""
    lines = [style.declaration] if style.declaration else []
    attributes = f" {_NAMESPACE}" if style.rfc9990 else f" {style.root}" if style.root else ""
    lines.append(f"<feedback{attributes}>")
    for depth, text in _body(report, style):
        lines.append(style.indent * depth + text)
    lines.append("</feedback>")
    newline = style.newline if style.indent else ""
    return (newline.join(lines) + newline).encode()


Line = tuple[int, str]


def _body(report: AggregateReport, style: Style) -> Iterator[Line]:
    if report.version is not None:
        yield 1, _element("version", report.version)
    yield from _group("report_metadata", _metadata(report))
    yield from _group("policy_published", _policy(report.policy, style))
    for record in report.records:
        yield from _group("record", _record(record, style))


def _metadata(report: AggregateReport) -> Iterator[Line]:
    yield 0, _element("org_name", report.reporter)
    yield 0, _element("email", report.contact)
    if report.extra_contact is not None:
        yield 0, _element("extra_contact_info", report.extra_contact)
    yield 0, _element("report_id", report.report_id)
    dates = [("begin", report.begin), ("end", report.end)]
    yield from _group(
        "date_range", ((0, _element(n, int(at.timestamp()))) for n, at in dates), depth=0
    )
    for error in report.errors:
        yield 0, _element("error", error)
    if report.generator is not None:
        yield 0, _element("generator", report.generator)


def _policy(policy: Policy, style: Style) -> Iterator[Line]:
    yield 0, _element("domain", policy.domain)
    for tag in style.policy:
        value = getattr(policy, tag)
        if value is not None or style.empty_elements:
            yield 0, _element(tag, value)


def _record(record: Record, style: Style) -> Iterator[Line]:
    yield 0, "<row>"
    yield 1, _element("source_ip", record.source_ip)
    yield 1, _element("count", record.messages)
    yield 1, "<policy_evaluated>"
    yield 2, _element("disposition", record.disposition)
    yield 2, _element("dkim", "pass" if record.dkim_aligned else "fail")
    yield 2, _element("spf", "pass" if record.spf_aligned else "fail")
    for reason in record.reasons:
        yield from _reason(reason)
    yield 1, "</policy_evaluated>"
    yield 0, "</row>"
    yield 0, "<identifiers>"
    for tag in ("envelope_to", "envelope_from", "header_from"):
        value = getattr(record, tag)
        if value is not None or style.empty_elements:
            yield 1, _element(tag, value)
    yield 0, "</identifiers>"
    yield 0, "<auth_results>"
    for dkim in record.dkim:
        fields = [("domain", dkim.domain), ("selector", dkim.selector), ("result", dkim.result)]
        yield from _result("dkim", fields, dkim.human_result)
    for spf in record.spf:
        fields = [("domain", spf.domain), ("scope", spf.scope), ("result", spf.result)]
        yield from _result("spf", fields, spf.human_result)
    yield 0, "</auth_results>"


def _reason(reason: Reason) -> Iterator[Line]:
    yield 2, "<reason>"
    yield 3, _element("type", reason.type)
    if reason.comment is not None:
        yield 3, _element("comment", reason.comment)
    yield 2, "</reason>"


def _result(name: str, fields: list[tuple[str, str | None]], note: str | None) -> Iterator[Line]:
    yield 1, f"<{name}>"
    for tag, value in [*fields, ("human_result", note)]:
        if value is not None:
            yield 2, _element(tag, value)
    yield 1, f"</{name}>"


def _group(name: str, lines: Iterable[Line], depth: int = 1) -> Iterator[Line]:
    yield depth, f"<{name}>"
    for inner, text in lines:
        yield depth + 1 + inner, text
    yield depth, f"</{name}>"


def _element(name: str, value: object) -> str:
    return f"<{name}>{'' if value is None else escape(str(value), quote=False)}</{name}>"


def file_name(report: AggregateReport, reporter: Reporter) -> str:
    """The attachment's name, by the reporter's convention."""
    return reporter.style.file_name.format(
        host=reporter.host,
        domain=report.policy.domain,
        begin=int(report.begin.timestamp()),
        end=int(report.end.timestamp()),
        ext={"gz": "xml.gz", "zip": "zip", "xml": "xml"}[reporter.style.packing],
        report_id=report.report_id,
    )


def packed(document: bytes, name: str, packing: str) -> bytes:
    """The document as gzip, as zip, or as it is; the same bytes every time."""
    if packing == "gz":
        return gzip.compress(document, mtime=0)
    if packing == "xml":
        return document
    member = zipfile.ZipInfo(name.removesuffix(".zip") + ".xml", (1980, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, document)
    return buffer.getvalue()


def period_end(end: datetime, style: Style) -> datetime:
    """The end as the dialect writes it."""
    return end - timedelta(seconds=1) if style.last_second else end
