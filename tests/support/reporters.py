"""More reporters for tests: small ones with odd dialects, and all dozen together."""

from __future__ import annotations

from dmarckit.demo.flows import Reporter, Style
from dmarckit.demo.reporters import (
    CLOUD_SENDING,
    ENTERPRISE_POST,
    GATEWAY,
    INBOX,
    LATE_POST,
    MAIL,
    MOBILE,
    NEXT_MAIL,
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

FREE_MAIL = Reporter(
    org_name="freemail.example",
    host="freemail.example",
    share=4,
    style=Style(
        declaration='<?xml version="1.0" encoding="utf-8"?>',
        policy=("adkim", "aspf", "p", "sp", "pct"),
        human_result=True,
        report_id="{begin}{micro}",
    ),
    delivered=7,
)

WEEKLY = Reporter(
    org_name="Village Net Example",
    host="village.example",
    share=1,
    style=Style(version="", packing="xml", content_type="application/xml", report_id="{end}"),
    hours=168,
    delivered=12,
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
