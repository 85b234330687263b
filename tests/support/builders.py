"""Builders for what arrives: reports as XML, packed, attached to mails as SES stores them.

make_mail(gz(report_xml(make_report(make_record(messages=3)))), "report.xml.gz")
"""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterable
from xml.sax.saxutils import escape

from dmarckit.core.thresholds import Limits
from dmarckit.reports.model import AggregateReport, DkimResult, Record, Report, SpfResult
from dmarckit.reports.read import RecordSink, read_object, read_reports
from tests.support.model_builders import make_record as make_record, make_report as make_report

NAMESPACES = {
    "rfc7489": "",
    "rfc9990": ' xmlns="urn:ietf:params:xml:ns:dmarc-2.0"',
    "draft": ' xmlns="http://dmarc.org/dmarc-xml/0.1"',
}
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def read(raw: bytes, name: str = "report.xml", limits: Limits | None = None) -> list[object]:
    """Everything that reading `raw` yields: reports and Unreadable."""
    limits = limits or Limits()
    return list(read_reports(read_object(raw, name, limits), limits))


def read_one(raw: bytes, name: str = "report.xml", sink: RecordSink | None = None) -> Report:
    """The one report in `raw`; anything else fails the test."""
    (report,) = read_reports(read_object(raw, name), sink=sink)
    assert isinstance(report, Report), report
    return report


def report_xml(
    report: AggregateReport, schema: str = "rfc7489", *, prefix: str = "", declaration: str = ""
) -> bytes:
    """`report` as its reporter would write it."""
    metadata = element(
        "report_metadata",
        element("org_name", report.reporter),
        element("email", report.contact),
        element("extra_contact_info", report.extra_contact),
        element("report_id", report.report_id),
        element(
            "date_range",
            element("begin", int(report.begin.timestamp())),
            element("end", int(report.end.timestamp())),
        ),
        *(element("error", error) for error in report.errors),
        element("generator", report.generator),
    )
    names = ["domain", "adkim", "aspf", "p", "sp", "np", "pct", "testing", "fo", "discovery_method"]
    published = element(
        "policy_published", *(element(name, getattr(report.policy, name)) for name in names)
    )
    root: str = element(
        "feedback",
        element("version", report.version),
        metadata,
        published,
        *map(record_xml, report.records),
    )
    if prefix:
        root = root.replace("</", "\0").replace("<", f"<{prefix}:").replace("\0", f"</{prefix}:")
    tag = f"<{prefix}:feedback" if prefix else "<feedback"
    namespace = NAMESPACES[schema].replace("xmlns=", f"xmlns:{prefix}=" if prefix else "xmlns=")
    return ((declaration or DECLARATION) + root.replace(tag, tag + namespace, 1)).encode()


def record_xml(record: Record) -> Element:
    """One record as XML text."""
    words = {True: "pass", False: "fail", None: None}
    evaluated = element(
        "policy_evaluated",
        element("disposition", record.disposition),
        element("dkim", words[record.dkim_aligned]),
        element("spf", words[record.spf_aligned]),
        *(
            element("reason", element("type", each.type), element("comment", each.comment))
            for each in record.reasons
        ),
    )
    row = element(
        "row", element("source_ip", record.source_ip), element("count", record.messages), evaluated
    )
    identifiers = element(
        "identifiers",
        element("envelope_to", record.envelope_to),
        element("envelope_from", record.envelope_from),
        element("header_from", record.header_from),
    )
    return element("record", row, identifiers, _auth_results(record))


def _auth_results(record: Record) -> Element:
    def written(kind: str, result: DkimResult | SpfResult, names: Iterable[str]) -> Element:
        return element(kind, *(element(name, getattr(result, name)) for name in names))

    return element(
        "auth_results",
        *(written("dkim", each, DkimResult.__slots__) for each in record.dkim),
        *(written("spf", each, SpfResult.__slots__) for each in record.spf),
    )


class Element(str):
    """XML text that is markup already."""


def element(name: str, *content: object) -> Element:
    """``<name>…</name>``: text is escaped, elements are not; nothing at all for None."""
    if content == (None,):
        return Element()
    pieces = [
        f"\n {each}" if isinstance(each, Element) else escape(str(each))
        for each in content
        if each != ""
    ]
    return Element(f"<{name}>{''.join(pieces)}</{name}>\n")


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of (name, content) members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return packed.getvalue()


def gz(content: bytes) -> bytes:
    """`content` gzipped."""
    return gzip.compress(content, mtime=0)


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gz,
    "gzip in gzip": lambda content: gz(gz(content)),
    "gzip in two members": lambda content: gz(content[:100]) + gz(content[100:]),
    "gzip and garbage": lambda content: gz(content) + b"\r\n-- \r\nA list footer\r\n",
    "zip": lambda content: zipped(("report.xml", content)),
    "zip, stored": lambda content: zipped(("report.xml", content), method=zipfile.ZIP_STORED),
    "zip with a folder and no name": lambda content: zipped(("reports/", b""), ("", content)),
    "zip made on a Mac": lambda content: zipped(("r.xml", content), ("__MACOSX/._r.xml", b"Mac")),
    "gzip in zip": lambda content: zipped(("report.xml.gz", gz(content))),
    "zip in zip": lambda content: zipped(("report.zip", zipped(("report.xml", content)))),
    "zlib": zlib.compress,
    "base64": base64.b64encode,
    "base64 of gzip in lines": lambda content: base64.encodebytes(gz(content)),
    "base64 of zip": lambda content: base64.b64encode(zipped(("report.xml", content))),
}
"""ways in which reporters pack a document"""


def make_mail(
    attachment: bytes,
    name: str | None = "report.xml.gz",
    content_type: str = "application/gzip",
    *,
    dmarc: str = "pass",
    authserv: str = "amazonses.com",
    from_: str = "Example Mail <noreply@mail.example>",
    results: str | None = None,
    below: str = "",
    body: str = "This is an aggregate report.",
    line: int = 76,
) -> bytes:
    """A mail as SES stores it, with one attachment in base64.

    `results` replaces the whole Authentication-Results header, `below` is put under SES's
    own headers; `line` is the length of the base64 lines (0: all in one).
    """
    encoded = base64.b64encode(attachment).decode()
    lines = [encoded[i : i + line] for i in range(0, len(encoded), line)] if line else [encoded]
    disposition = f'; filename="{name}"' if name else ""
    default = (
        f"{authserv}; spf=pass (spfCheck: domain of mail.example designates 192.0.2.9 as "
        "permitted sender) client-ip=192.0.2.9; envelope-from=noreply@mail.example; "
        f"helo=mx.mail.example; dkim=pass header.i=@mail.example; dmarc={dmarc} "
        "header.from=mail.example;"
    )
    results = default if results is None else results
    head = [
        "Return-Path: <noreply@mail.example>",
        "Received: from mx.mail.example (mx.mail.example [192.0.2.9])",
        " by inbound-smtp.eu-west-1.amazonaws.com with SMTP id s0me1d",
        " for dmarc@example.com; Mon, 02 Nov 2026 05:00:00 +0000 (UTC)",
        "X-SES-Spam-Verdict: PASS",
        "X-SES-Virus-Verdict: PASS",
        *([f"Authentication-Results: {results}"] if results else []),
        *below.splitlines(),
        f"From: {from_}",
        "To: dmarc@example.com",
        "Subject: Report domain: example.com Submitter: mail.example Report-ID: <r-1>",
        "Date: Mon, 02 Nov 2026 05:00:00 +0000",
        "Message-ID: <r-1@mail.example>",
        "MIME-Version: 1.0",
        'Content-Type: multipart/mixed; boundary="=_report"',
    ]
    parts = [
        "--=_report",
        "Content-Type: text/plain; charset=utf-8",
        "",
        body,
        "--=_report",
        f"Content-Type: {content_type}",
        f"Content-Disposition: attachment{disposition}",
        "Content-Transfer-Encoding: base64",
        "",
        *lines,
        "--=_report--",
        "",
    ]
    return "\r\n".join([*head, "", *parts]).encode()
