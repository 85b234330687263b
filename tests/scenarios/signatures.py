"""Keys, signers and receivers that break DKIM; SPF records that break; mail without DKIM."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, between, block, valid
from dmarckit.demo.reporters import INBOX
from tests.scenarios.people import (
    FOUR,
    forwarded,
    office,
    service,
)
from tests.scenarios.scenario import END, Expect, before_end, scenario
from tests.support.reporters import OPEN_RELAY_REPORTS

GATEWAY = DemoSender("Gateway", "own")
HQ = DemoSender("HQ", "own")
DECLARED = {
    "senders": [
        {"name": "Gateway", "networks": ["198.51.100.0/28"]},
        {"name": "HQ", "networks": ["192.0.2.0/25"]},
    ]
}
RECENT = between(before_end(3), END, 0.6)


def gateway(**changes: Any) -> Flow:
    """A second host of the company that signs with the same key as the office."""
    usual: dict[str, Any] = {
        "name": "gateway",
        "sender": GATEWAY,
        "addresses": block("198.51.100.0/28", 3, 1),
    }
    return office(**{**usual, "messages": 80, **changes})


SIGNATURES = (
    scenario(
        "a key broken at all senders",
        "both hosts sign with s1, and since three days neither verifies",
        office(sender=HQ, broken=RECENT, expected_broken="spf_only"),
        gateway(broken=RECENT, expected_broken="spf_only"),
        service(),
        settings=DECLARED,
        expected=[Expect("broken_dkim", "example.com/s1", "alert", says="key")],
        absent=["sender_stopped", "new_sender", "spf_only"],
        whole_way=True,
        days=40,
    ),
    scenario(
        "one signer breaks",
        "two hosts sign with s1, one of them wrongly since three days",
        office(sender=HQ),
        gateway(broken=RECENT, expected_broken="spf_only"),
        settings=DECLARED,
        expected=[Expect("broken_dkim", "example.com/s1", "alert", says="signer")],
        absent=["new_sender", "spf_only"],
    ),
    scenario(
        "one receiver finds good signatures broken",
        "the key and the signers are fine; one reporter evaluates wrongly",
        office(expected_broken="spf_only", messages=400),
        reporters=[
            replace(r, dkim_broken=between(before_end(4), END, 0.9)) if r is INBOX else r
            for r in FOUR
        ],
        expected=[Expect("broken_dkim", "example.com/s1", says="reporter")],
        whole_way=True,
        days=40,
    ),
    scenario(
        "a service's signatures break",
        "its mail passed by DKIM alone, so it fails DMARC now",
        office(),
        service(broken=between(before_end(4), END, 0.5), expected_broken="broken_dkim"),
        expected=[Expect("broken_dkim", "example.com/pw1", "alert")],
        absent=["sender_stopped", "unaligned_sender"],
        whole_way=True,
        days=40,
    ),
    scenario(
        "a service's signatures break, and a reporter names no selectors",
        "what it says belongs to some selector: no second finding, no forwarded mail",
        office(),
        service(broken=between(before_end(4), END, 0.5), expected_broken="broken_dkim"),
        reporters=(*FOUR, replace(OPEN_RELAY_REPORTS, share=30)),
        expected=[Expect("broken_dkim", "example.com/pw1", "alert")],
        absent=["sender_stopped", "unaligned_sender", "new_sender"],
        whole_way=True,
        days=40,
    ),
    scenario(
        "the key is gone from DNS",
        "permerror and not fail: it does not verify either",
        office(),
        service(
            broken=between(before_end(3), END, 1.0),
            broken_result="permerror",
            expected_broken="broken_dkim",
        ),
        expected=[Expect("broken_dkim", "example.com/pw1", "alert")],
    ),
    scenario(
        "three points more broken signatures",
        "less than five points are no break, however many messages",
        office(messages=4000, broken=between(before_end(3), END, 0.03), expected_broken="spf_only"),
        absent=["broken_dkim"],
    ),
    scenario(
        "36 messages of a broken service",
        "below 50 messages in three days it may be chance",
        office(),
        service(
            messages=12,
            noise=0.0,
            broken=between(before_end(3), END, 0.4),
            expected_broken="broken_dkim",
        ),
        absent=["broken_dkim"],
    ),
    scenario(
        "always a few broken signatures",
        "a tenth has been broken all the time: nothing has changed",
        office(broken=0.1, expected_broken="spf_only", messages=500),
        absent=["broken_dkim"],
    ),
    scenario(
        "a selector is rotated",
        "s2 takes over from s1: no break, no news, no end",
        office(until=before_end(10)),
        office(name="office, s2", dkim=(valid("example.com", "s2"),), since=before_end(10)),
        absent=["broken_dkim", "new_sender", "sender_stopped"],
    ),
    scenario(
        "only relayed signatures break",
        "forwarders outside the inventory change messages: not our key",
        office(),
        forwarded(messages=60),
        forwarded(
            name="changed on the way",
            messages=60,
            since=before_end(4),
            dkim=(replace(valid("example.com", "s1"), result="fail"),),
            expected="modified",
        ),
        absent=["broken_dkim", "unaligned_sender"],
    ),
    scenario(
        "broken on a day that is incomplete",
        "yesterday is not complete, and the days before were fine",
        office(messages=200, broken=between(before_end(1), END, 0.6), expected_broken="spf_only"),
        reporters=[replace(FOUR[0]), *(replace(r, delivered=26.0) for r in FOUR[1:])],
        absent=["broken_dkim"],
    ),
)
