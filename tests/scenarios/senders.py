"""Who sends: new, gone, moved, unaligned, declared, relayed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, block, spf, valid
from dmarckit.demo.reporters import MAIL
from tests.scenarios.people import (
    DECLARED_MAILCOURIER,
    DECLARED_SALESDESK,
    FIVE,
    MAILCOURIER,
    office,
    sales,
    service,
)
from tests.scenarios.scenario import Expect, before_end, scenario
from tests.support.reporters import WEEKLY

KNOWS_SALES = {"senders": [DECLARED_SALESDESK]}
KNOWS_BOTH = {"senders": [DECLARED_SALESDESK, DECLARED_MAILCOURIER]}
BY_NETWORK = {
    "senders": [{"name": "Invoicer", "kind": "email service", "networks": ["198.51.100.112/28"]}]
}
BY_SPF = {
    "senders": [{"name": "Invoicer", "kind": "email service", "spf_domains": ["invoicer.example"]}]
}
BY_DKIM = {
    "senders": [{"name": "Invoicer", "kind": "email service", "dkim_domains": ["invoicer.example"]}]
}
INVOICER = DemoSender("Invoicer", "email service")
NEW_OR_GONE = ("new_sender", "sender_stopped")


def invoices(**changes: Any) -> Flow:
    usual: dict[str, Any] = {
        "name": "invoices",
        "sender": INVOICER,
        "addresses": block("198.51.100.0/24", 113, 2),
        "messages": 40,
    }
    return office(**{**usual, **changes})


SENDERS = (
    scenario(
        "a new service, aligned",
        "DKIM is set up well: news, not trouble",
        office(),
        service(since=before_end(5)),
        expected=[Expect("new_sender", "postwagon.example")],
        absent=["unaligned_sender", "sender_stopped", "broken_dkim"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a new service, not aligned",
        "a department bought a tool: it is new, and its mail fails",
        office(),
        sales(since=before_end(5)),
        settings=KNOWS_SALES,
        expected=[
            Expect("new_sender", "Salesdesk"),
            Expect("unaligned_sender", "Salesdesk", "alert"),
        ],
    ),
    scenario(
        "an unaligned service for months",
        "not new any more, still to be mended",
        office(),
        sales(),
        settings=KNOWS_SALES,
        expected=[Expect("unaligned_sender", "Salesdesk", "alert", messages=(90, 180))],
        absent=["new_sender", "policy_ready"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "an unaligned service, 7 messages a week",
        "below ten messages there is no finding",
        office(),
        sales(messages=1, noise=0.0),
        settings=KNOWS_SALES,
        absent=["unaligned_sender", *NEW_OR_GONE],
    ),
    scenario(
        "nine messages of a new service",
        "fewer than ten messages are no new sender",
        office(),
        service(since=before_end(4), until=before_end(1), messages=3, noise=0.0),
        absent=["new_sender"],
    ),
    scenario(
        "a new service on one day at one reporter",
        "one reporter on one day may be one mistaken test",
        office(),
        service(
            since=before_end(3),
            until=before_end(2),
            messages=40,
            noise=0.0,
            reporters={MAIL.org_name: 1.0},
        ),
        absent=["new_sender"],
    ),
    scenario(
        "a new service below a thousandth",
        "70 of 200,000 messages are noise for a large domain",
        office(messages=30000),
        service(since=before_end(5), messages=14, noise=0.0),
        absent=["new_sender"],
    ),
    scenario(
        "a monthly newsletter, on the day after",
        "once a month is neither news each month nor an end in between",
        office(),
        service(messages=lambda day: 3000 if day.day == 20 else 0, noise=0.0),
        now=datetime(2026, 11, 22, 9, tzinfo=UTC),
        absent=NEW_OR_GONE,
        days=100,
    ),
    scenario(
        "a monthly newsletter, between two issues",
        "the same, three weeks later",
        office(),
        service(messages=lambda day: 3000 if day.day == 1 else 0, noise=0.0),
        absent=NEW_OR_GONE,
        days=100,
    ),
    scenario(
        "a service stops",
        "daily for weeks, then nothing for five days",
        office(),
        service(until=before_end(5)),
        expected=[Expect("sender_stopped", "postwagon.example", "alert")],
        absent=["ingest_broken", "reporter_silent"],
        whole_way=True,
        days=40,
    ),
    scenario(
        "a service stops, a weekly report goes on",
        "a report over seven days does not say that mail came on its last day",
        office(),
        service(until=before_end(5)),
        reporters=(*FIVE, replace(WEEKLY, share=10)),
        expected=[Expect("sender_stopped", "postwagon.example", "alert", says="since 18 Nov")],
        absent=["ingest_broken", "reporter_silent"],
        days=43,
    ),
    scenario(
        "a service that only weekly reports show",
        "it goes on, but nobody tells of it day by day: silence proves nothing",
        office(),
        service(reporters={WEEKLY.org_name: 1.0}),
        reporters=(*FIVE, replace(WEEKLY, offset=24, delivered=2)),
        absent=["sender_stopped"],
        days=43,
    ),
    scenario(
        "a service pauses for two days",
        "two days are not three",
        office(),
        service(until=before_end(2)),
        absent=["sender_stopped"],
    ),
    scenario(
        "a weekend service",
        "seen on 8 of 28 days: its silence from Monday on is its rhythm",
        office(),
        service(week=(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0), messages=300),
        now=datetime(2026, 11, 20, 9, tzinfo=UTC),
        absent=NEW_OR_GONE,
        days=60,
    ),
    scenario(
        "a long weekend",
        "only on working days, and Monday was a holiday",
        office(),
        service(week=(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0), until=before_end(1)),
        absent=NEW_OR_GONE,
        days=60,
    ),
    scenario(
        "from one service to another",
        "the old one stopped on the day on which the new one started",
        office(),
        service(until=before_end(5)),
        office(
            name="orders",
            sender=MAILCOURIER,
            addresses=block("198.51.100.0/24", 130, 4),
            messages=60,
            since=before_end(5),
            dkim=(valid("example.com", "mc1"), valid("mailcourier.example", "mc")),
            spf=spf("rp.example.com"),
        ),
        settings=KNOWS_BOTH,
        expected=[
            Expect("sender_stopped", "postwagon.example", "alert", says="Mailcourier took over"),
        ],
        absent=["new_sender"],
    ),
    scenario(
        "declared by network",
        "the network wins over what SPF and DKIM say",
        office(),
        invoices(),
        settings=BY_NETWORK,
        absent=NEW_OR_GONE,
    ),
    scenario(
        "declared by SPF domain",
        "a return path below the declared domain",
        office(),
        invoices(
            dkim=(valid("example.com", "inv"),),
            spf=spf("eu.bounce.invoicer.example"),
            expected="dkim_only",
        ),
        settings=BY_SPF,
        absent=NEW_OR_GONE,
    ),
    scenario(
        "declared by DKIM domain",
        "a return path of our own; only its own signature says who it was",
        office(),
        invoices(
            dkim=(valid("example.com", "inv"), valid("invoicer.example", "a")),
            spf=spf("bounce.example.com"),
        ),
        settings=BY_DKIM,
        absent=NEW_OR_GONE,
    ),
)
