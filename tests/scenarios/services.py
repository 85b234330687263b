"""Well-known services, as the table that comes with the package names them."""

from __future__ import annotations

from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, block, scattered, spf, valid
from dmarckit.facts.senders import load_table
from tests.scenarios.people import failed, office, spoofed
from tests.scenarios.scenario import Expect, before_end, scenario


def known(domain: str) -> DemoSender:
    """The service that a domain belongs to."""
    found = load_table().lookup(domain)
    if found is None:
        raise LookupError(f"data/senders.csv has no suffix of {domain}")
    return DemoSender(found.name, found.kind)


SENDGRID, SES = known("sendgrid.net"), known("amazonses.com")
ZENDESK, MAILCHIMP = known("zendesk.com"), known("mcsv.net")
MICROSOFT = known("onmicrosoft.com")
NEWS = ("new_sender", "sender_stopped")


def sent_by(sender: DemoSender, **changes: Any) -> Flow:
    """Mail for example.com by a service."""
    usual: dict[str, Any] = {
        "name": f"mail by {sender.name}",
        "sender": sender,
        "addresses": block("198.51.100.0/24", 150, 3),
        "messages": 40,
    }
    return office(**{**usual, **changes})


SERVICES = (
    scenario(
        "SendGrid with a domain of its own set up",
        "our own return path and selector; only SendGrid's second signature names it",
        office(),
        sent_by(
            SENDGRID,
            dkim=(valid("example.com", "sg1"), valid("sendgrid.net", "smtpapi")),
            spf=spf("em123.example.com"),
        ),
        absent=[*NEWS, "unaligned_sender"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "SendGrid out of the box",
        "return path and signature are SendGrid's: every message fails",
        office(),
        sent_by(
            SENDGRID,
            dkim=(valid("sendgrid.net", "smtpapi"),),
            spf=spf("u9.wl.sendgrid.net"),
            expected="unaligned_sender",
        ),
        expected=[Expect("unaligned_sender", SENDGRID.name, "alert")],
        absent=[*NEWS, "spoofing", "policy_ready"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "Amazon SES with DKIM only",
        "the default return path, addresses that change every day",
        office(),
        sent_by(
            SES,
            addresses=scattered(("198.51.100.0/24", "203.0.113.0/25"), 8),
            dkim=(valid("example.com", "abc"), valid("amazonses.com", "224i4y")),
            spf=spf("eu-west-1.amazonses.com"),
            expected="dkim_only",
        ),
        absent=[*NEWS, "unaligned_sender", "broken_dkim"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "Amazon SES relayed",
        "two signatures survive, SPF does not: the network delivered it",
        office(),
        sent_by(
            SES,
            dkim=(valid("example.com", "abc"), valid("amazonses.com", "224i4y")),
            spf=spf("eu-west-1.amazonses.com"),
            expected="dkim_only",
        ),
        sent_by(
            DemoSender("203.0.113.0/24", "unknown"),
            name="relayed",
            addresses=block("203.0.113.0/24", 77, 2),
            messages=6,
            dkim=(valid("example.com", "abc"), valid("amazonses.com", "224i4y")),
            spf=spf("eu-west-1.amazonses.com", "softfail"),
            expected="forwarded",
        ),
        absent=[*NEWS, "unaligned_sender", "spf_errors"],
    ),
    scenario(
        "a help desk that somebody connected last week",
        "Zendesk sends as itself in our name: new, and failing",
        office(),
        sent_by(
            ZENDESK,
            messages=15,
            since=before_end(5),
            dkim=(valid("zendesk.com", "zendesk1"),),
            spf=spf("mail.zendesk.com"),
            expected="unaligned_sender",
        ),
        expected=[
            Expect("new_sender", ZENDESK.name),
            Expect("unaligned_sender", ZENDESK.name, "alert"),
        ],
    ),
    scenario(
        "Mailchimp twice a week",
        "authenticated by DKIM, on Tuesdays and Thursdays",
        office(),
        sent_by(
            MAILCHIMP,
            messages=1500,
            week=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0),
            dkim=(valid("example.com", "k2"), valid("mcsv.net", "k1")),
            spf=spf("mail22.atl11.rsgsv.net"),
            expected="dkim_only",
        ),
        absent=[*NEWS, "unaligned_sender"],
    ),
    scenario(
        "Microsoft 365 as the company's own mail",
        "the tenant's default signature beside our own",
        sent_by(
            MICROSOFT,
            messages=150,
            dkim=(
                valid("example.com", "selector1"),
                valid("contoso.onmicrosoft.com", "selector1-contoso-onmicrosoft-com"),
            ),
            spf=spf("example.com"),
        ),
        sent_by(
            DemoSender("203.0.113.0/24", "unknown"),
            name="changed by a gateway",
            addresses=block("203.0.113.0/24", 30, 2),
            messages=5,
            dkim=(failed("example.com", "selector1"),),
            spf=spf("example.com", "fail"),
            expected="modified",
        ),
        absent=[*NEWS, "unaligned_sender", "broken_dkim", "spoofing"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "spoofed from a rented server",
        "it authenticates as itself every day: a hoster is no service, but its customer may be us",
        office(),
        spoofed(
            messages=25,
            addresses=block("203.0.113.0/24", 90, 4),
            spf=spf("vps7.ovh.net"),
            expected="unidentified",
        ),
        expected=[Expect("unidentified_sender", "OVHcloud", "warning", says="vps7.ovh.net")],
        absent=[*NEWS, "unaligned_sender", "spoofing"],
    ),
    scenario(
        "a new rented server",
        "the same, since five days: it authenticates as itself, and may be ours",
        office(),
        spoofed(
            messages=25,
            noise=0.0,
            since=before_end(5),
            addresses=block("203.0.113.0/24", 90, 4),
            spf=spf("vps7.ovh.net"),
        ),
        expected=[Expect("new_sender", "OVHcloud", "info")],
        absent=["unaligned_sender", "spoofing"],
    ),
)
