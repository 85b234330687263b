"""The company of the demo: its domains, who sends for them, who abuses them, and its mails.

example.com is the company, shop.example its web shop, example.net a parked domain. All names
and addresses are those that the RFCs set aside for documentation.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from dmarckit.demo import flows, mails
from dmarckit.demo.flows import DemoSender, Domain, Flow, block, scattered, spf, valid
from dmarckit.demo.reporters import INBOX, MAIL, REPORTERS
from dmarckit.demo.traffic import GeneratedReport, reports
from dmarckit.reports import DkimResult, Policy, Reason, TlsFailure, TlsPolicy


def _service(name: str, kind: str, network: str) -> DemoSender:
    domains = (f"{name.lower()}.example",)
    return DemoSender(name, kind, (network,), domains, domains)


COMPANY = DemoSender("example.com", "own")
SHOP = DemoSender("shop.example", "own")
POSTWAGON = _service("Postwagon", "marketing", "198.51.100.16/28")
MAILCOURIER = _service("Mailcourier", "email service", "198.51.100.128/26")
SALESDESK = _service("Salesdesk", "crm", "198.51.100.64/28")
HELPDESK = _service("Helpdesk", "ticketing", "198.51.100.80/28")
SURVEYFORM = replace(_service("Surveyform", "marketing", "198.51.100.96/28"), spf_domains=())
INVOICER = replace(_service("Invoicer", "email service", "198.51.100.112/28"), spf_domains=())
ALUMNI = DemoSender("alumni.example", "forwarder")
LISTS = DemoSender("lists.example", "mailing list")
SPOOFER = DemoSender("nobody knows", "unknown")

DECLARED = (POSTWAGON, MAILCOURIER, SALESDESK, HELPDESK, SURVEYFORM, INVOICER)
"""The services that the company would declare in its settings."""

_ANYWHERE = ("192.0.2.128/25", "203.0.113.128/25", "2001:db8:4000::/36", "2001:db8:9000::/36")


def demo_domains(end: date) -> tuple[Domain, ...]:
    """Return three domains; the company went from p=none to p=quarantine a month ago."""
    long_ago, month_ago = end - timedelta(3650), end - timedelta(33)
    monitored = Policy("example.com", p="none", sp="none", adkim="r", aspf="r", fo="1")
    policies = ((long_ago, monitored), (month_ago, replace(monitored, p="quarantine")))
    return (
        Domain("example.com", policies, existing=("support.example.com",)),
        Domain("shop.example", ((long_ago, Policy("shop.example", p="none")),)),
        Domain("example.net", ((long_ago, Policy("example.net", p="none")),)),
    )


def demo_flows(end: date) -> tuple[Flow, ...]:
    """Return all traffic of the three domains: the company, its shop, and those who abuse them."""
    own = valid("example.com", "s2026")
    office = partial(Flow, header_from="example.com", week=flows.OFFICE_WEEK)
    shop = partial(Flow, header_from="shop.example")
    spoofing = partial(Flow, sender=SPOOFER, noise=0.3, expected="unauthenticated")
    discussion = office(
        name="discussion list",
        sender=LISTS,
        addresses=block("203.0.113.0/24", 40, 1),
        messages=25,
        expected="modified",
        dkim=(DkimResult("example.com", "s2026", "fail"),),
        spf=spf("lists.example"),
    )
    return (
        office(
            name="office mail",
            sender=COMPANY,
            addresses=(*block("192.0.2.0/24", 10, 3), "2001:db8:10::25"),
            messages=1800,
            expected="aligned",
            dkim=(own,),
            spf=spf("example.com"),
        ),
        office(
            name="company newsletter",
            sender=POSTWAGON,
            addresses=block("198.51.100.0/24", 17, 4),
            messages=900,
            week=(0.0, 1.0, 0.05, 0.6, 0.05, 0.0, 0.0),
            expected="dkim_only",
            dkim=(valid("example.com", "pw1"), valid("postwagon.example", "k1")),
            spf=spf("bounce.postwagon.example"),
        ),
        office(
            name="sales mail",
            sender=SALESDESK,
            addresses=block("198.51.100.0/24", 65, 2),
            messages=70,
            expected="unaligned_sender",
            dkim=(valid("salesdesk.example", "sd"),),
            spf=spf("bounces.salesdesk.example"),
        ),
        office(
            name="support tickets",
            header_from="support.example.com",
            sender=HELPDESK,
            addresses=block("198.51.100.0/24", 81, 2),
            messages=140,
            expected="aligned",
            dkim=(valid("support.example.com", "hd1"), valid("helpdesk.example", "m1")),
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
            dkim=(valid("example.com", "inv"), valid("invoicer.example", "a")),
            spf=spf("bounce.example.com"),
        ),
        office(
            name="forwarded to alumni",
            sender=ALUMNI,
            addresses=(*block("203.0.113.0/24", 20, 3), "2001:db8:20::1"),
            messages=45,
            expected="forwarded",
            dkim=(own,),
            spf=spf("srs.alumni.example"),
        ),
        discussion,
        replace(
            discussion,
            name="discussion list, with ARC",
            messages=14,
            expected="forwarded",
            reasons=(Reason("local_policy", "arc=pass"),),
            reporters={MAIL.org_name: 1.0},
        ),
        shop(
            name="order mail",
            sender=MAILCOURIER,
            addresses=scattered(("198.51.100.128/26",), 6),
            messages=1300,
            week=flows.SHOP_WEEK,
            expected="aligned",
            dkim=(valid("shop.example", "mc1"), valid("mailcourier.example", "mc")),
            spf=spf("rp.shop.example"),
        ),
        shop(
            name="stock alerts",
            sender=SHOP,
            addresses=block("192.0.2.0/24", 40, 1),
            messages=120,
            week=flows.SHOP_WEEK,
            expected="spf_only",
            spf=spf("shop.example"),
        ),
        shop(
            name="shop newsletter",
            sender=POSTWAGON,
            addresses=block("198.51.100.0/24", 17, 6),
            messages=1100,
            week=(0.5, 0.5, 0.6, 2.2, 1.0, 0.4, 0.4),
            expected="dkim_only",
            dkim=(valid("shop.example", "pw2"), valid("postwagon.example", "k1")),
            spf=spf("bounce.postwagon.example"),
            # The key of both signatures is fine; the service signs a part of the mails wrongly.
            broken=flows.between(end - timedelta(4), end, 0.6, otherwise=0.004),
            expected_broken="broken_dkim",
        ),
        shop(
            name="customer survey",
            sender=SURVEYFORM,
            addresses=block("198.51.100.0/24", 97, 1),
            messages=60,
            since=end - timedelta(6),
            expected="aligned",
            dkim=(valid("shop.example", "sf"), valid("surveyform.example", "sf")),
            spf=spf("survey.shop.example"),
        ),
        shop(
            name="forwarded orders",
            sender=ALUMNI,
            addresses=block("203.0.113.0/24", 20, 2),
            messages=30,
            expected="forwarded",
            dkim=(valid("shop.example", "mc1"), valid("mailcourier.example", "mc")),
            spf=spf("srs.alumni.example"),
        ),
        *(
            spoofing(
                name=f"background spoofing of {domain}",
                header_from=domain,
                addresses=scattered(_ANYWHERE, 5),
                messages=rate,
                noise=0.4,
                spf=spf(domain, "softfail"),
            )
            for domain, rate in (("example.com", 7.0), ("shop.example", 4.0), ("example.net", 6.0))
        ),
        spoofing(
            name="spoofing wave",
            header_from="example.com",
            addresses=scattered(_ANYWHERE, 60),
            messages=950,
            since=end - timedelta(16),
            until=end - timedelta(12),
            spf=spf("example.com", "fail"),
        ),
        spoofing(
            name="fake bills from a subdomain",
            header_from="billing.example.com",
            addresses=scattered(_ANYWHERE, 8),
            messages=18,
            since=end - timedelta(20),
            expected="spoofed_subdomain",
            spf=spf("billing.example.com", "none"),
        ),
    )


def demo_mails(end: date, days: int = 60, seed: int = 7) -> list[mails.GeneratedMail]:
    """Return the objects in the demo's bucket, by time of arrival.

    The reports cover the `days` days before `end`, and what had arrived by 09:00 UTC on
    `end`: the report of a reporter that is always a day late is not there yet.
    """
    start = end - timedelta(days)
    made = reports(demo_domains(end), demo_flows(end), REPORTERS, start, days, seed)
    now = datetime.combine(end, time(9, tzinfo=UTC))
    arrived = [r for r in made if r.sent < now]
    found = [*_with_trouble(arrived, end, seed), *_tls(start, end, seed)]
    return sorted((m for m in found if m.received < now), key=lambda m: (m.received, m.key))


def demo_settings() -> str:
    """Return the company's part of ``dmarckit.toml``: the services that it knows it uses."""
    text = ""
    for sender in DECLARED:
        # A JSON string or list of strings is the same in TOML.
        values = (f"{name} = {json.dumps(value)}\n" for name, value in asdict(sender).items())
        text += "".join(["[[senders]]\n", *values])
    return text


def _with_trouble(made: list[GeneratedReport], end: date, seed: int) -> list[mails.GeneratedMail]:
    """Return honest mails, and among them: one cut off, two forged, one twice, one no report."""

    def last(reporter: str, domain: str, days_ago: int) -> GeneratedReport | None:
        before = datetime.combine(end - timedelta(days_ago), time(), UTC)
        wanted = reporter, domain
        for found in reversed(made):
            names = found.reporter.org_name, found.report.policy.domain
            if names == wanted and found.report.begin < before:
                return found
        return None

    cut = last(INBOX.org_name, "example.com", 3)
    twice = last(MAIL.org_name, "shop.example", 2)
    result = []
    for mail in mails.mails((r for r in made if r is not cut), seed):
        result.append(mail)
        if mail.truth is twice:
            result.append(mails.duplicate(mail, seed, later=timedelta(hours=2)))
    if cut:
        result.append(mails.broken(cut, seed))
    for days_ago, claims_pass in ((5, False), (9, True)):
        if genuine := last(MAIL.org_name, "example.com", days_ago):
            report = replace(genuine.report, report_id=f"{genuine.report.report_id}0")
            fake = replace(genuine, report=report)
            result.append(mails.forged(fake, seed, claims_pass=claims_pass))
    noon = datetime.combine(end - timedelta(6), time(12, 17, tzinfo=UTC))
    return [*result, mails.newsletter(noon, seed)]


def _tls(start: date, end: date, seed: int) -> list[mails.GeneratedMail]:
    """Return TLS reports of the last two weeks; a server's certificate has just expired."""
    expired = TlsFailure(
        result_type="certificate-expired",
        sessions=21,
        sending_mta_ip="203.0.113.9",
        receiving_mx_hostname="mx2.example.com",
        receiving_ip="192.0.2.22",
    )
    policy = TlsPolicy(
        policy_type="sts",
        policy_domain="example.com",
        policy_string=("version: STSv1", "mode: testing", "mx: *.example.com", "max_age: 604800"),
        mx_host=("*.example.com",),
        successful=0,
        failed=0,
        details=(),
    )
    found = []
    for days_ago in range(1, min(14, (end - start).days) + 1):
        details = (expired,) if days_ago <= 2 else ()
        successful, failed = 640 - 13 * days_ago, sum(detail.sessions for detail in details)
        seen = replace(policy, successful=successful, failed=failed, details=details)
        found.append(mails.tls_mail(MAIL, end - timedelta(days_ago), (seen,), seed))
    return found
