"""Relays, forwarders and spoofers: who did not send it, although it looks so."""

from __future__ import annotations

from dmarckit.demo.flows import DemoSender, block, scattered, spf, valid
from tests.scenarios.people import (
    FIVE,
    MAILCOURIER,
    forwarded,
    office,
    service,
    spoofed,
)
from tests.scenarios.scenario import Expect, before_end, scenario
from tests.scenarios.senders import KNOWS_BOTH, NEW_OR_GONE

RELAYS = (
    scenario(
        "a signature survives a relay",
        "the service signed it, an unknown network delivered it",
        office(),
        service(
            sender=MAILCOURIER,
            dkim=(valid("example.com", "mc1"), valid("mailcourier.example", "mc")),
            spf=spf("bounce.mailcourier.example"),
        ),
        service(
            name="relayed",
            sender=DemoSender("203.0.113.0/24", "unknown"),
            addresses=block("203.0.113.0/24", 60, 1),
            messages=6,
            dkim=(valid("example.com", "mc1"), valid("mailcourier.example", "mc")),
            spf=spf("bounce.mailcourier.example", "fail"),
            expected="forwarded",
        ),
        settings=KNOWS_BOTH,
        absent=NEW_OR_GONE,
        whole_way=True,
        days=30,
    ),
    scenario(
        "a service that only signs as the domain",
        "DKIM aligned, SPF its own: it looks like a forwarder, but owns the selector",
        office(),
        service(dkim=(valid("example.com", "pw1"),)),
        absent=NEW_OR_GONE,
        expected=[Expect("policy_ready", "p=quarantine; t=y", "quiet")],
    ),
    scenario(
        "a forwarder is all that is left",
        "our own mail ended; what arrives still carries our signature",
        office(until=before_end(6)),
        forwarded(messages=40),
        expected=[Expect("sender_stopped", "example.com", "alert")],
        absent=["new_sender"],
    ),
    scenario(
        "a forwarder alone for a month",
        "the selector's owner is 40 days gone, the forwarder does not inherit it",
        office(until=before_end(40)),
        forwarded(messages=20),
        expected=[Expect("sender_stopped", "example.com", says="since 14 Oct")],
        absent=["new_sender"],
        days=85,
        reporters=FIVE,
    ),
    scenario(
        "a new forwarder",
        "re-sent mail with our own signature is no alert",
        office(),
        forwarded(since=before_end(5), messages=10),
        absent=["unaligned_sender", "broken_dkim", "sender_stopped"],
    ),
    scenario(
        "spoofers with SPF of their own",
        "a passing return path makes nobody a sender of ours",
        office(),
        spoofed(messages=20, spf=spf("cheap-pills.example"), since=before_end(5)),
        absent=[*NEW_OR_GONE, "unaligned_sender", "spoofing"],
    ),
    scenario(
        "a pool of spoofers in one country",
        "other addresses every day, at a steady rate: neither new senders nor a wave",
        office(),
        spoofed(messages=30, addresses=scattered(("203.0.113.0/24",), 40), noise=0.05),
        absent=[*NEW_OR_GONE, "spoofing"],
        domains=None,
    ),
    scenario(
        "without names of hosts",
        "no SPF, no cached host name: the network is the sender, and nothing is resolved",
        office(),
        forwarded(
            sender=DemoSender("203.0.113.0/24", "unknown"), spf=spf("example.com", "softfail")
        ),
        forwarded(
            name="forwarded by IPv6",
            sender=DemoSender("2001:db8:77::/48", "unknown"),
            addresses=("2001:db8:77::25",),
            spf=spf("example.com", "neutral"),
        ),
        absent=NEW_OR_GONE,
    ),
)
