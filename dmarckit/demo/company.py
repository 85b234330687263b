"""The company of the demo: its domains, who sends for them, and who abuses them.

example.com is the company, shop.example its web shop, example.net a parked domain. All
names and addresses are those that the RFCs set aside for documentation.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from dmarckit.demo.flows import (
    OFFICE_WEEK,
    SHOP_WEEK,
    Domain,
    Flow,
    Sender,
    between,
    block,
    passing,
    scattered,
    spf,
)
from dmarckit.demo.reporters import MAIL
from dmarckit.reports.models import DkimResult, Policy, Reason

COMPANY = Sender("example.com", "own")
SHOP = Sender("shop.example", "own")
POSTWAGON = Sender(
    "Postwagon", "marketing", ("198.51.100.16/28",), ("postwagon.example",), ("postwagon.example",)
)
MAILCOURIER = Sender(
    "Mailcourier",
    "email service",
    ("198.51.100.128/26",),
    ("mailcourier.example",),
    ("mailcourier.example",),
)
SALESDESK = Sender(
    "Salesdesk", "crm", ("198.51.100.64/28",), ("salesdesk.example",), ("salesdesk.example",)
)
HELPDESK = Sender(
    "Helpdesk", "ticketing", ("198.51.100.80/28",), ("helpdesk.example",), ("helpdesk.example",)
)
SURVEYFORM = Sender("Surveyform", "marketing", ("198.51.100.96/28",), ("surveyform.example",), ())
INVOICER = Sender("Invoicer", "email service", ("198.51.100.112/28",), ("invoicer.example",), ())
ALUMNI = Sender("alumni.example", "forwarder")
LISTS = Sender("lists.example", "mailing list")
SPOOFER = Sender("nobody knows", "unknown")

DECLARED = (POSTWAGON, MAILCOURIER, SALESDESK, HELPDESK, SURVEYFORM, INVOICER)
"""The services that the company would declare in its settings."""

_ANYWHERE = ("192.0.2.128/25", "203.0.113.128/25", "2001:db8:4000::/36", "2001:db8:9000::/36")


def demo_domains(end: date) -> tuple[Domain, ...]:
    """Three domains; the company went from p=none to p=quarantine a month ago."""
    long_ago, month_ago = end - timedelta(3650), end - timedelta(33)
    monitored = Policy("example.com", p="none", sp="none", adkim="r", aspf="r", fo="1")
    return (
        Domain(
            "example.com",
            ((long_ago, monitored), (month_ago, replace(monitored, p="quarantine"))),
            existing=("support.example.com",),
        ),
        Domain("shop.example", ((long_ago, Policy("shop.example", p="none")),)),
        Domain("example.net", ((long_ago, Policy("example.net", p="none")),)),
    )


def demo_flows(end: date) -> tuple[Flow, ...]:
    """All traffic of the three domains."""
    return (*_company(end), *_shop(end), *_attacks(end))


def _company(end: date) -> tuple[Flow, ...]:
    own = passing("example.com", "s2026")
    return (
        Flow(
            name="office mail",
            header_from="example.com",
            sender=COMPANY,
            addresses=(*block("192.0.2.0/24", 10, 3), "2001:db8:10::25"),
            messages=1800,
            week=OFFICE_WEEK,
            expected="aligned",
            dkim=(own,),
            spf=spf("example.com"),
        ),
        Flow(
            name="company newsletter",
            header_from="example.com",
            sender=POSTWAGON,
            addresses=block("198.51.100.0/24", 17, 4),
            messages=900,
            week=(0.0, 1.0, 0.05, 0.6, 0.05, 0.0, 0.0),
            expected="dkim_only",
            dkim=(passing("example.com", "pw1"), passing("postwagon.example", "k1")),
            spf=spf("bounce.postwagon.example"),
        ),
        Flow(
            name="sales mail",
            header_from="example.com",
            sender=SALESDESK,
            addresses=block("198.51.100.0/24", 65, 2),
            messages=70,
            week=OFFICE_WEEK,
            expected="unaligned_sender",
            dkim=(passing("salesdesk.example", "sd"),),
            spf=spf("bounces.salesdesk.example"),
        ),
        Flow(
            name="support tickets",
            header_from="support.example.com",
            sender=HELPDESK,
            addresses=block("198.51.100.0/24", 81, 2),
            messages=140,
            week=OFFICE_WEEK,
            expected="aligned",
            dkim=(passing("support.example.com", "hd1"), passing("helpdesk.example", "m1")),
            spf=spf("support.example.com"),
        ),
        Flow(
            name="invoices",
            header_from="example.com",
            sender=INVOICER,
            addresses=block("198.51.100.0/24", 113, 1),
            messages=80,
            until=end - timedelta(6),
            expected="aligned",
            dkim=(passing("example.com", "inv"), passing("invoicer.example", "a")),
            spf=spf("bounce.example.com"),
        ),
        Flow(
            name="forwarded to alumni",
            header_from="example.com",
            sender=ALUMNI,
            addresses=(*block("203.0.113.0/24", 20, 3), "2001:db8:20::1"),
            messages=45,
            week=OFFICE_WEEK,
            expected="forwarded",
            dkim=(own,),
            spf=spf("srs.alumni.example"),
        ),
        Flow(
            name="discussion list",
            header_from="example.com",
            sender=LISTS,
            addresses=block("203.0.113.0/24", 40, 1),
            messages=25,
            week=OFFICE_WEEK,
            expected="modified",
            dkim=(DkimResult("example.com", "s2026", "fail"),),
            spf=spf("lists.example"),
        ),
        Flow(
            name="discussion list, with ARC",
            header_from="example.com",
            sender=LISTS,
            addresses=block("203.0.113.0/24", 40, 1),
            messages=14,
            week=OFFICE_WEEK,
            expected="forwarded",
            dkim=(DkimResult("example.com", "s2026", "fail"),),
            spf=spf("lists.example"),
            reasons=(Reason("local_policy", "arc=pass"),),
            reporters={MAIL.org_name: 1.0},
        ),
    )


def _shop(end: date) -> tuple[Flow, ...]:
    return (
        Flow(
            name="order mail",
            header_from="shop.example",
            sender=MAILCOURIER,
            addresses=scattered(("198.51.100.128/26",), 6),
            messages=1300,
            week=SHOP_WEEK,
            expected="aligned",
            dkim=(passing("shop.example", "mc1"), passing("mailcourier.example", "mc")),
            spf=spf("rp.shop.example"),
        ),
        Flow(
            name="stock alerts",
            header_from="shop.example",
            sender=SHOP,
            addresses=block("192.0.2.0/24", 40, 1),
            messages=120,
            week=SHOP_WEEK,
            expected="spf_only",
            spf=spf("shop.example"),
        ),
        Flow(
            name="shop newsletter",
            header_from="shop.example",
            sender=POSTWAGON,
            addresses=block("198.51.100.0/24", 17, 6),
            messages=1100,
            week=(0.5, 0.5, 0.6, 2.2, 1.0, 0.4, 0.4),
            expected="dkim_only",
            dkim=(passing("shop.example", "pw2"), passing("postwagon.example", "k1")),
            spf=spf("bounce.postwagon.example"),
            # The key of both signatures is fine; the service signs a part of the mails wrongly.
            broken=between(end - timedelta(4), end, 0.6, otherwise=0.004),
            expected_broken="broken_dkim",
        ),
        Flow(
            name="customer survey",
            header_from="shop.example",
            sender=SURVEYFORM,
            addresses=block("198.51.100.0/24", 97, 1),
            messages=60,
            since=end - timedelta(6),
            expected="aligned",
            dkim=(passing("shop.example", "sf"), passing("surveyform.example", "sf")),
            spf=spf("survey.shop.example"),
        ),
        Flow(
            name="forwarded orders",
            header_from="shop.example",
            sender=ALUMNI,
            addresses=block("203.0.113.0/24", 20, 2),
            messages=30,
            expected="forwarded",
            dkim=(passing("shop.example", "mc1"), passing("mailcourier.example", "mc")),
            spf=spf("srs.alumni.example"),
        ),
    )


def _attacks(end: date) -> tuple[Flow, ...]:
    background = {"example.com": 7.0, "shop.example": 4.0, "example.net": 6.0}
    return (
        *(
            Flow(
                name=f"background spoofing of {domain}",
                header_from=domain,
                sender=SPOOFER,
                addresses=scattered(_ANYWHERE, 5),
                messages=rate,
                noise=0.4,
                expected="unauthenticated",
                spf=spf(domain, "softfail"),
            )
            for domain, rate in background.items()
        ),
        Flow(
            name="spoofing wave",
            header_from="example.com",
            sender=SPOOFER,
            addresses=scattered(_ANYWHERE, 60),
            messages=950,
            noise=0.3,
            since=end - timedelta(16),
            until=end - timedelta(12),
            expected="unauthenticated",
            spf=spf("example.com", "fail"),
        ),
        Flow(
            name="fake bills from a subdomain",
            header_from="billing.example.com",
            sender=SPOOFER,
            addresses=scattered(_ANYWHERE, 8),
            messages=18,
            noise=0.3,
            since=end - timedelta(20),
            expected="spoofed_subdomain",
            spf=spf("billing.example.com", "none"),
        ),
    )
