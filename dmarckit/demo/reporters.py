"""Fictitious reporters that write as the big ones do, each in a dialect of its own.

A report in the words of its reporter: which fields it shows, its XML, its file.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from html import escape

from dmarckit.demo.flows import Reporter, Style
from dmarckit.reports import AggregateReport, DkimResult, Policy, Reason, Record, SpfResult

MAIL = Reporter(
    org_name="mail.example",
    host="mail.example",
    contact="noreply-dmarc-support@mail.example",
    extra_contact="https://support.mail.example/answer/2466580",
    share=42,
    style=Style(
        version=None,
        policy=("adkim", "aspf", "p", "sp", "pct", "np"),
        packing="zip",
        content_type="application/zip",
        mail="single",
        subject="Report domain: {domain} Submitter: {host} Report-ID: {report_id}",
        last_second=True,
    ),
    delivered=6,
)

ENTERPRISE_POST = Reporter(
    org_name="Enterprise Post Example",
    host="post.example",
    contact="dmarcreport@post.example",
    share=26,
    style=Style(
        declaration='<?xml version="1.0"?>',
        root='xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
        policy=("adkim", "aspf", "p", "sp", "pct", "fo"),
        envelope_from=True,
        envelope_to=True,
        newline="\r\n",
        report_id="{hex}",
        subject="[Preview] Report Domain: {domain} Submitter: {host} Report-ID: {report_id}",
        file_name="enterprise.protection.{host}!{domain}!{begin}!{end}.{ext}",
    ),
    recipients=("buyer.example", "partner.example", "supplier.example"),
    delivered=5,
)

INBOX = Reporter(
    org_name="Inbox Example",
    host="inbox.example",
    contact="dmarchelp@inbox.example",
    share=11,
    style=Style(
        declaration='<?xml version="1.0"?>',
        version=None,
        policy=("adkim", "aspf", "p", "pct"),
        report_id="{end}.{micro}",
        subject="Report Domain: {domain} Submitter: {host} Report-ID: <{report_id}>",
        last_second=True,
        file_name="{host}!{domain}!{begin}!{end}_{report_id}.{ext}",
    ),
    delivered=3,
)

NEXT_MAIL = Reporter(
    org_name="Nextmail Example GmbH",
    host="nextmail.example",
    share=7,
    style=Style(
        rfc9990=True,
        policy=("discovery_method", "p", "sp", "np", "testing", "adkim", "aspf", "fo"),
        fills_defaults=False,
        envelope_from=True,
        envelope_to=True,
        human_result=True,
        generator="nextmail-reporter 4.2",
        indent="    ",
        report_id="{day}.{hex}@{host}",
    ),
    delivered=2,
)

CLOUD_SENDING = Reporter(
    org_name="CLOUD-SENDING-EXAMPLE",
    host="sending.example",
    contact="postmaster@sending.example",
    share=4,
    style=Style(
        indent="",
        policy=("adkim", "aspf", "p", "sp", "pct", "fo"),
        envelope_from=True,
        report_id="{hex}",
        content_type="application/octet-stream",
        subject="Dmarc Aggregate Report Domain: {{{domain}}}  Submitter: {{{host}}}",
    ),
    delivered=1,
)

OPEN_RELAY_REPORTS = Reporter(
    org_name="mx.university.example",
    host="university.example",
    share=3,
    style=Style(
        version="0.1",
        indent="\t",
        policy=("adkim", "aspf", "p", "sp", "pct"),
        selector=False,
        scope=False,
        packing="xml",
        content_type="text/xml",
        report_id="{domain}:{begin}",
    ),
    delivered=5,
)

GATEWAY = Reporter(
    org_name="Gateway Example Security",
    host="gateway.example",
    contact="no-reply@gateway.example",
    share=4,
    style=Style(
        envelope_from=True,
        envelope_to=True,
        empty_elements=True,
        human_result=True,
        content_type="application/x-gzip",
        report_id="{hex}",
    ),
    recipients=("clinic.example", "bank.example"),
    hours=12,
    delivered=2,
)

LATE_POST = Reporter(
    org_name="Letterbox Example K.K.",
    host="letterbox.example",
    share=8,
    style=Style(
        policy=("adkim", "aspf", "p", "sp", "pct", "fo"),
        envelope_from=True,
        packing="zip",
        content_type="application/x-zip-compressed",
        report_id="{day}-{digits}",
    ),
    delivered=26,  # always a day late
)

FREE_MAIL = Reporter(
    org_name="freemail.example",
    host="freemail.example",
    share=4,
    style=Style(
        declaration='<?xml version="1.0" encoding="utf-8"?>',
        version="1.0",
        policy=("adkim", "aspf", "p", "sp", "pct"),
        human_result=True,
        content_type="application/gzip",
        report_id="{begin}{micro}",
    ),
    delivered=7,
)

WEEKLY = Reporter(
    org_name="Village Net Example",
    host="village.example",
    share=1,
    style=Style(version=None, packing="xml", content_type="application/xml", report_id="{end}"),
    hours=168,
    delivered=12,
)

MOBILE = Reporter(
    org_name="Mobile Example Corp.",
    host="mobile.example",
    share=5,
    style=Style(
        rfc9990=True,
        version=None,
        policy=("p", "sp", "np", "testing", "adkim", "aspf", "discovery_method"),
        envelope_to=True,
        generator="mobile-rua/1.0",
        newline="\r\n",
        report_id="{hex}",
        content_type="application/gzip",
    ),
    offset=15,  # midnight in Tokyo
    delivered=4,
)

REGISTRY_CLUB = Reporter(
    org_name="club.example",
    host="club.example",
    share=1,
    style=Style(
        declaration="",
        indent="",
        policy=("p",),
        fills_defaults=False,
        scope=False,
        report_id="{digits}",
        packing="zip",
        content_type="application/octet-stream",
    ),
    delivered=8,
)

REPORTERS = (
    MAIL,
    ENTERPRISE_POST,
    INBOX,
    NEXT_MAIL,
    CLOUD_SENDING,
    OPEN_RELAY_REPORTS,
    GATEWAY,
    LATE_POST,
    FREE_MAIL,
    WEEKLY,
    MOBILE,
    REGISTRY_CLUB,
)
"""A dozen, from the largest dialects to odd small ones."""


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
