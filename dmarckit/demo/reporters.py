"""Fictitious reporters, each with a dialect as the big ones: its fields, its XML, its file."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html import escape
from typing import Any, TypeVar

from dmarckit.demo.flows import Reporter, Style
from dmarckit.reports import AggregateReport, DkimResult, Policy, Record, SpfResult

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
        envelope_from=True,
        report_id="{hex}",
        content_type="application/octet-stream",
        subject="Dmarc Aggregate Report Domain: {{{domain}}}  Submitter: {{{host}}}",
    ),
    delivered=1,
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
        envelope_from=True,
        packing="zip",
        content_type="application/x-zip-compressed",
        report_id="{day}-{digits}",
    ),
    delivered=26,  # always a day late
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
    ),
    offset=15,  # midnight in Tokyo
    delivered=4,
)

REPORTERS = (MAIL, ENTERPRISE_POST, INBOX, NEXT_MAIL, CLOUD_SENDING, GATEWAY, LATE_POST, MOBILE)
"""those that report about the demo's company"""

Shown = TypeVar("Shown", Record, DkimResult, SpfResult)

_DKIM_NOTES = {"fail": "body hash did not verify", "temperror": "key lookup timed out"}


def policy_shown(policy: Policy, style: Style) -> Policy:
    """Return the policy as this dialect quotes it: only its elements, maybe with defaults."""
    values = {tag: getattr(policy, tag) for tag in style.policy}
    if style.fills_defaults:
        defaults = {"adkim": "r", "aspf": "r", "pct": 100, "sp": policy.p}
        values = {t: defaults.get(t) if v is None else v for t, v in values.items()}
    return Policy(policy.domain, **values)


def record_shown(record: Record, style: Style) -> Record:
    """Return the record with only the fields that this dialect has."""
    dkim = (
        replace(result, human_result=result.human_result or _DKIM_NOTES.get(result.result or ""))
        for result in record.dkim
    )
    notes = style.human_result
    return replace(
        _only(record, envelope_from=style.envelope_from, envelope_to=style.envelope_to),
        dkim=tuple(_only(d, selector=style.selector, human_result=notes) for d in dkim),
        spf=tuple(_only(s, scope=style.scope, human_result=notes) for s in record.spf),
    )


def _only(value: Shown, **is_shown: bool) -> Shown:
    hidden: Any = {name: None for name, shown in is_shown.items() if not shown}
    return replace(value, **hidden)


_Content = str | int | None | list["_Element"]
_Element = tuple[str, _Content]  # name of an element, and its text or the elements in it


def to_xml(report: AggregateReport, style: Style) -> bytes:
    """Return the report's XML. `report` holds only what the dialect shows."""
    lines = [style.declaration] if style.declaration else []
    root = 'xmlns="urn:ietf:params:xml:ns:dmarc-2.0"' if style.rfc9990 else style.root
    lines.append(f"<feedback {root}>" if root else "<feedback>")
    lines += _lines(_feedback(report, style), style.indent, 1)
    lines.append("</feedback>")
    newline = style.newline if style.indent else ""
    return (newline.join(lines) + newline).encode()


def _lines(elements: Iterable[_Element], indent: str, depth: int) -> Iterator[str]:
    for name, content in elements:
        if isinstance(content, list):
            yield f"{indent * depth}<{name}>"
            yield from _lines(content, indent, depth + 1)
            yield f"{indent * depth}</{name}>"
        else:
            text = "" if content is None else escape(str(content), quote=False)
            yield f"{indent * depth}<{name}>{text}</{name}>"


def _stated(of: object, *names: str, empty: bool = False) -> list[_Element]:
    """Return elements named as fields, with their values; with `empty` also for None."""
    found = [(name, getattr(of, name)) for name in names]
    return [(name, value) for name, value in found if value is not None or empty]


def _feedback(report: AggregateReport, style: Style) -> Iterator[_Element]:
    yield from _stated(report, "version")
    metadata: list[_Element] = [("org_name", report.reporter), ("email", report.contact)]
    if report.extra_contact is not None:
        metadata.append(("extra_contact_info", report.extra_contact))
    begin, end = (int(at.timestamp()) for at in (report.begin, report.end))
    metadata += [
        ("report_id", report.report_id),
        ("date_range", [("begin", begin), ("end", end)]),
        *(("error", error) for error in report.errors),
        *_stated(report, "generator"),
    ]
    yield "report_metadata", metadata
    tags = _stated(report.policy, *style.policy, empty=style.empty_elements)
    yield "policy_published", [("domain", report.policy.domain), *tags]
    for record in report.records:
        yield "record", _record(record, style)


def _record(record: Record, style: Style) -> list[_Element]:
    reasons = (("reason", [("type", r.type), *_stated(r, "comment")]) for r in record.reasons)
    evaluated: list[_Element] = [
        ("disposition", record.disposition),
        ("dkim", "pass" if record.dkim_aligned else "fail"),
        ("spf", "pass" if record.spf_aligned else "fail"),
        *reasons,
    ]
    row: list[_Element] = [
        ("source_ip", record.source_ip),
        ("count", record.messages),
        ("policy_evaluated", evaluated),
    ]
    tags = ("envelope_to", "envelope_from", "header_from")
    shown = ("result", "human_result")
    dkim = [("dkim", _stated(found, "domain", "selector", *shown)) for found in record.dkim]
    spf = [("spf", _stated(found, "domain", "scope", *shown)) for found in record.spf]
    return [
        ("row", row),
        ("identifiers", _stated(record, *tags, empty=style.empty_elements)),
        ("auth_results", [*dkim, *spf]),
    ]


def packed(document: bytes, name: str, packing: str) -> bytes:
    """Return the document as gzip, as zip, or as it is; the same bytes every time."""
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
