"""Fictitious reporters that write as the big ones do, each in a dialect of its own."""

from __future__ import annotations

from dmarckit.demo.flows import Reporter, Style

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
