"""Fictitious reporters, each with a dialect as the big ones: its fields, its XML, its file."""

from __future__ import annotations

import gzip
import io
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html import escape
from importlib.resources import files
from typing import Any, TypeVar

from dmarckit.demo.flows import Reporter, Style
from dmarckit.reports import AggregateReport, DkimResult, Policy, Record, SpfResult


def _reporters() -> Iterator[Reporter]:
    text = files("dmarckit.demo").joinpath("data/reporters.toml").read_text("utf-8")
    for values in tomllib.loads(text)["reporters"]:
        style = values.pop("style")
        for table in (values, style):
            table |= {k: tuple(v) for k, v in table.items() if isinstance(v, list)}
        yield Reporter(**values, style=Style(**style))


# those that report about the demo's company
REPORTERS = tuple(_reporters())
MAIL, ENTERPRISE_POST, INBOX, NEXT_MAIL, CLOUD_SENDING, GATEWAY, LATE_POST, MOBILE = REPORTERS

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
