"""SPF records that break, mail without DKIM, and what receivers say in their reasons."""

from __future__ import annotations

from dataclasses import replace

from dmarckit.demo.flows import block, spf, valid
from dmarckit.demo.reporters import MAIL
from dmarckit.reports.model import Reason
from tests.scenarios.people import (
    DECLARED_SALESDESK,
    forwarded,
    office,
    sales,
    service,
)
from tests.scenarios.scenario import Expect, before_end, scenario
from tests.scenarios.signatures import DECLARED, GATEWAY, HQ, gateway

WITHOUT_DKIM = (
    scenario(
        "the SPF record has a mistake",
        "permerror for all mail of the declared hosts; DKIM still passes",
        office(sender=HQ, until=before_end(4)),
        office(
            name="office, permerror",
            sender=HQ,
            since=before_end(4),
            spf=spf("example.com", "permerror"),
            expected="dkim_only",
        ),
        settings=DECLARED,
        expected=[Expect("spf_errors", "example.com", "alert")],
        absent=["sender_stopped", "new_sender", "broken_dkim"],
        whole_way=True,
        days=40,
    ),
    scenario(
        "the SPF record has a mistake, hosts undeclared",
        "the same addresses go on sending: nobody has stopped, nobody is new",
        office(until=before_end(5)),
        office(
            name="office, permerror",
            since=before_end(5),
            spf=spf("example.com", "permerror"),
            expected="dkim_only",
        ),
        expected=[Expect("spf_errors", "example.com", "alert")],
    ),
    scenario(
        "SPF lookups time out now and then",
        "half a percent of temperror is the weather",
        office(sender=HQ, messages=995, noise=0.0),
        office(
            name="office, temperror",
            sender=HQ,
            messages=5,
            noise=0.0,
            spf=spf("example.com", "temperror"),
            expected="dkim_only",
        ),
        settings=DECLARED,
        absent=["spf_errors", "new_sender"],
    ),
    scenario(
        "SPF errors in few messages",
        "28 messages of one host with permerror: fewer than 50",
        office(),
        service(),
        office(
            name="host with a broken record",
            header_from="lab.example.com",
            sender=HQ,
            addresses=block("192.0.2.0/25", 90, 1),
            messages=4,
            noise=0.0,
            dkim=(valid("example.com", "lab"),),
            spf=spf("lab.example.com", "permerror"),
            expected="dkim_only",
        ),
        settings={"senders": [{"name": "HQ", "networks": ["192.0.2.64/26"]}]},
        absent=["spf_errors"],
    ),
    scenario(
        "a host without DKIM",
        "the shop's own server passes by SPF alone, which forwarding breaks",
        office(sender=HQ),
        office(
            name="alerts",
            header_from="alerts.example.com",
            sender=GATEWAY,
            addresses=block("198.51.100.0/28", 5, 1),
            messages=20,
            dkim=(),
            spf=spf("alerts.example.com"),
            expected="spf_only",
        ),
        settings=DECLARED,
        expected=[Expect("spf_only", "Gateway / alerts.example.com")],
        absent=["new_sender"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a host without DKIM, 35 messages a week",
        "fewer than 50 messages do not ask for work",
        office(sender=HQ),
        office(
            name="alerts",
            header_from="alerts.example.com",
            sender=GATEWAY,
            addresses=block("198.51.100.0/28", 5, 1),
            messages=5,
            noise=0.0,
            dkim=(),
            spf=spf("alerts.example.com"),
            expected="spf_only",
        ),
        settings=DECLARED,
        absent=["spf_only"],
    ),
    scenario(
        "nine of ten without DKIM",
        "less than 95 %: DKIM is there, something else is going on",
        office(sender=HQ),
        gateway(messages=90, dkim=(), expected="spf_only"),
        gateway(name="gateway, signed", messages=10),
        settings=DECLARED,
        absent=["spf_only", "broken_dkim"],
    ),
    scenario(
        "Gmail asks for DKIM",
        "the requirement code stands in a local_policy reason: that is not forwarding",
        office(sender=HQ),
        gateway(
            messages=30,
            dkim=(),
            expected="spf_only",
            reporters={MAIL.org_name: 1.0},
            reasons=(Reason("local_policy", "Sender requirement failed: 550-5.7.30"),),
        ),
        settings=DECLARED,
        expected=[
            Expect("gmail_requirement", "5.7.30", says="Gateway"),
            Expect("spf_only", "Gateway / example.com"),
        ],
        whole_way=True,
        days=30,
    ),
    scenario(
        "Gmail rejects an unaligned service",
        "it fails DMARC, and local_policy does not excuse it",
        office(),
        sales(
            reporters={MAIL.org_name: 1.0},
            reasons=(Reason("local_policy", "Sender requirement failed: 421 4.7.32"),),
            disposition="reject",
        ),
        settings={"senders": [DECLARED_SALESDESK]},
        expected=[
            Expect("gmail_requirement", "4.7.32", says="Salesdesk"),
            Expect("unaligned_sender", "Salesdesk", "alert"),
        ],
    ),
    scenario(
        "a local policy without a code",
        "some receiver's own words are no requirement of Gmail",
        office(),
        forwarded(reasons=(Reason("local_policy", "sender is on the partner list"),)),
        absent=["gmail_requirement"],
    ),
    scenario(
        "a list with ARC, a trusted forwarder, a mailing list",
        "the receiver says itself that the message was forwarded",
        office(),
        *(
            forwarded(
                name=f"reason {reason.type}",
                dkim=(replace(valid("example.com", "s1"), result="fail"),),
                reasons=(reason,),
                messages=6,
            )
            for reason in (
                Reason("local_policy", "arc=pass as[1].d=lists.example"),
                Reason("trusted_forwarder"),
                Reason("mailing_list", "looks like a list"),
                Reason("forwarded"),
            )
        ),
        absent=["unaligned_sender", "broken_dkim", "new_sender"],
        whole_way=True,
        days=30,
    ),
)
