"""Advice about policy, records, SPF and forgery that must be right, and true of the numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dmarckit.demo.flows import DemoSender, Flow, block, scattered, spf, valid
from dmarckit.demo.reporters import INBOX, MAIL
from dmarckit.lake.lake import Lake
from tests.scenarios.people import ANYWHERE, failed, forwarded, office, sales, service, spoofed
from tests.scenarios.scenario import (
    UNTOLD,
    Absent,
    Expect,
    Scenario,
    before_end,
    domain,
    scenario,
)
from tests.support.outside_rows import entry, keep

HERE = "example.com"
PLACEHOLDERS = ("=<", "as in your present", "rua=…")
RUA = "rua=mailto:dmarc@example.com,mailto:x@vendor.example!5m"
ALIGNMENT_EFFECTS = ("unaligned_sender", "broken_dkim", "mail_lost")
"""kinds that the change of alignment takes in; they are no alerts of their own"""


def published(text: str, **others: Any) -> Callable[[Lake], None]:
    """Keep what DNS shows for the domain: its DMARC record, and others (record → found)."""
    rows = [entry(HERE, "dmarc", f"_dmarc.{HERE}") | {"found": [text]}]
    for record, found in others.items():
        row = entry(HERE, record, HERE, "ok" if found else "missing", "" if found else "None.")
        rows.append(row | {"found": list(found)})
    return lambda lake: keep(lake, entries=rows)


def below(**changes: Any) -> Flow:
    """A service that signs, and has its return path, below the domain: relaxed alignment."""
    usual: dict[str, Any] = {
        "name": "tickets",
        "sender": DemoSender("news.postwagon.example", "unknown"),
        "messages": 40,
        "dkim": (valid("mail.example.com", "tk1"), valid("postwagon.example", "k1")),
        "expected": UNTOLD,
    }
    return service(**{**usual, **changes})


def strict(name: str, why: str, severity: str, p: str, tag: str = "adkim", **more: Any) -> Scenario:
    """A change to strict alignment five days ago."""
    flow = more.pop("flow", below())
    return scenario(
        name,
        why,
        office(),
        flow,
        domains=[domain(HERE, (before_end(5), {tag: "s"}), p=p, sp=p)],
        expected=[Expect("policy_changed", tag, severity, says=f"{tag}=s", **more)],
        absent=[*ALIGNMENT_EFFECTS, *(["policy_ready"] if severity == "critical" else [])],
        senders=False,
    )


_STRICT = (
    strict(
        "adkim=s and a service with a return path of its own",
        "its signature no longer counts: one cause, one finding, one advice",
        "critical",
        "reject",
        flow=below(spf=spf("bounce.postwagon.example")),
        never=("no action is needed", "or owner of"),
    ),
    strict(
        "adkim=s blocks a service that signs below the domain",
        "a stricter tag is no news to be glad of when it loses 40 messages a day",
        "critical",
        "reject",
        never=("No action needed",),
    ),
    strict(
        "adkim=s at p=none",
        "nothing is lost yet, but everything of the service fails",
        "warning",
        "none",
    ),
    strict(
        "aspf=s and a return path below the domain",
        "unsigned mail of a host whose return path is bounce.example.com",
        "critical",
        "quarantine",
        tag="aspf",
        flow=office(
            name="gateway",
            messages=30,
            addresses=block("198.51.100.0/24", 40, 2),
            dkim=(),
            spf=spf("bounce.example.com"),
            expected=UNTOLD,
        ),
    ),
    strict(
        "adkim=s where everybody signs as the domain itself",
        "nothing fails: the change is worth knowing",
        "info",
        "reject",
        flow=service(expected=UNTOLD),
        never=("Since then",),
    ),
    scenario(
        "strict alignment for years",
        "all sign as the domain itself; nothing changed",
        office(),
        service(),
        domains=[domain(p="quarantine", adkim="s", aspf="s")],
        absent=["policy_changed", *ALIGNMENT_EFFECTS],
    ),
    scenario(
        "p=quarantine before a service was set up",
        "a step up that loses wanted mail is a mistake as well",
        office(),
        sales(),
        domains=[domain(HERE, (before_end(4), {"p": "quarantine"}), p="none")],
        settings={"senders": [{"name": "Salesdesk", "kind": "crm",
                               "spf_domains": ["salesdesk.example"]}]},
        expected=[Expect("policy_changed", "p", "critical", says="quarantined")],
        absent=["policy_ready"],
        allowed=ALIGNMENT_EFFECTS,
    ),
)  # fmt: skip

BOTNET = scattered(ANYWHERE, 12)
OLD_SHOP: dict[str, Any] = {
    "name": "old shop",
    "header_from": "old-shop.example.com",
    "sender": DemoSender("?", "unknown"),
    "addresses": BOTNET,
    "messages": 60,
    "since": before_end(4),
    "dkim": (),
    "spf": spf("old-shop.example.com"),
    "expected": UNTOLD,
}

UNDECIDED = sales(
    sender=DemoSender("crm-cloud.example", "unknown"),
    expected="unidentified",
    dkim=(valid("crm-cloud.example", "k1"),),
    spf=spf("bounce.crm-cloud.example"),
)

_PASSING = (
    *(
        scenario(
            f"a step to quarantine over a service that nobody decided about, {days} days ago",
            "whether the change does what it should is not known before somebody decides",
            office(),
            UNDECIDED,
            domains=[domain(HERE, (before_end(days), {"p": "quarantine"}))],
            expected=[
                Expect(
                    "unidentified_sender",
                    "crm-cloud.example",
                    "warning",
                    says="senders declare crm-cloud.example",
                )
            ],
            absent=ALIGNMENT_EFFECTS,
        )
        for days in (4, 20)
    ),
    scenario(
        "a policy that rejects what nobody has decided about, since four days",
        "the change is shown, and does not say that no action is needed",
        office(),
        UNDECIDED,
        domains=[domain(HERE, (before_end(4), {"p": "reject"}))],
        expected=[
            Expect("unidentified_sender", "crm-cloud.example", "warning"),
            Expect("policy_changed", "p", "info", says="decide now", never=("no action",)),
        ],
    ),
    scenario(
        "a subdomain that was taken over",
        "a forgotten CNAME: others publish SPF below it, and their mail passes",
        office(),
        replace(office(), **OLD_SHOP),
        expected=[Expect("passing_abuse", "old-shop.example.com", "alert", says="CNAME")],
        absent=["new_sender", "spf_only"],
        senders=False,
    ),
    scenario(
        "a new subdomain of our own",
        "the office begins to send as support.example.com, from its own hosts",
        office(),
        office(
            name="support", header_from="support.example.com", since=before_end(4),
            spf=spf("support.example.com"),
        ),
        absent=["passing_abuse"],
    ),
    scenario(
        "a new subdomain at a new service",
        "one new network passes as a name that never sent: somebody's project",
        office(),
        service(header_from="events.example.com", since=before_end(4), expected=UNTOLD,
                dkim=(valid("events.example.com", "ev1"),)),
        absent=["passing_abuse"],
        senders=False,
    ),
    scenario(
        "a key that was stolen",
        "a selector never seen, from everywhere, and SPF passes for none of it",
        office(),
        office(
            name="stolen", addresses=BOTNET, messages=80, since=before_end(4),
            sender=DemoSender("?", "unknown"), dkim=(valid(HERE, "x9"),),
            spf=spf("example.com", "fail"), expected=UNTOLD,
        ),
        expected=[Expect("passing_abuse", "example.com/x9", "alert")],
        allowed=["new_sender"],
        senders=False,
    ),
    scenario(
        "a new selector of a new service",
        "its own return path passes: it is somebody's service",
        office(),
        service(since=before_end(4)),
        absent=["passing_abuse"],
    ),
    scenario(
        "a signed message is sent again and again",
        "replay: ten times the mail of the office, with its signature, from elsewhere",
        office(),
        forwarded(messages=4),
        forwarded(name="replay", messages=900, since=before_end(4), noise=0.0,
                  sender=DemoSender("pills.example", "unknown"), spf=spf("bounce.pills.example")),
        expected=[Expect("passing_abuse", "example.com/s1", "critical", says="pills.example")],
        absent=["new_sender"],
    ),
    scenario(
        "the mail of a service is sent again, more often than it ever was",
        "who replays it has most messages of the signature by now, and does not own it",
        office(),
        service(expected=UNTOLD),
        forwarded(name="replay", messages=1500, since=before_end(4), noise=0.0, expected=UNTOLD,
                  addresses=scattered(ANYWHERE, 40), sender=DemoSender("pills.example", "unknown"),
                  dkim=(valid(HERE, "pw1"),), spf=spf("bounce.pills.example")),
        expected=[Expect("passing_abuse", "example.com/pw1", "critical", says="pills.example")],
        absent=["new_sender", "sender_stopped"],
        senders=False,
    ),
    scenario(
        "a service that sends from a second place",
        "one new network with the selector of old, and not twice the mail of before: no abuse",
        office(),
        service(),
        service(name="second", messages=100, since=before_end(4), expected=UNTOLD,
                addresses=("203.0.113.40", "203.0.113.41"),
                sender=DemoSender("postwagon.net.example", "unknown"),
                spf=spf("bounce.second-postwagon.example")),
        absent=["passing_abuse"],
        senders=False,
    ),
    scenario(
        "a step towards p=quarantine, and a payroll that comes every Friday",
        "four days in a month make no sender of ours, and are worth a look before the step",
        office(),
        sales(
            name="payroll", sender=DemoSender("payroll.example", "unknown"), expected=UNTOLD,
            week=(0, 0, 0, 0, 1, 0, 0), noise=0.0, dkim=(valid("payroll.example", "k"),),
            spf=spf("bounce.payroll.example"),
        ),
        expected=[Expect("policy_ready", severity="good", says="none is yours")],
    ),
    scenario(
        "a step towards p=quarantine, and spammers of three days",
        "they authenticate as themselves, and do not come back",
        office(),
        spoofed(messages=40, spf=spf("cheap.example"), since=before_end(24), until=before_end(21),
                addresses=block("203.0.113.0/24", 90, 2)),
        expected=[Expect("policy_ready", severity="good", never=("none is yours",))],
        senders=False,
    ),
    scenario(
        "mail that many forward, as ever",
        "most of a small office's mail is forwarded, for months",
        office(messages=20),
        forwarded(messages=60, noise=0.05),
        absent=["passing_abuse"],
    ),
)  # fmt: skip

_READY = {"kind": "policy_ready", "severity": "good", "never": PLACEHOLDERS}
_CLOSED = "p=reject; sp=reject"


def parked(name: str, why: str, *, ready: bool, **shown: Any) -> Scenario:
    """A domain of which reports show forged mail only; DNS shows what is given."""
    return scenario(
        name,
        why,
        spoofed(messages=4, noise=0.0, spf=spf(HERE, "fail")),
        outside=published(f"v=DMARC1; p=none; {RUA}", **shown),
        expected=[Expect(subject=_CLOSED, says="v=spf1 -all", **_READY)] if ready else [],
        absent=[] if ready else ["policy_ready"],
        allowed=["dns_record", "requirement_not_met"],
        reporters=(MAIL, INBOX),
    )


_RECORDS = (
    scenario(
        "a step, and the present record is known",
        "all that reports do not show stays: addresses, fo, an unknown tag",
        office(),
        service(),
        outside=published(f"v=DMARC1; p=none; {RUA}; fo=1:d; x=Y"),
        expected=[Expect(says=f"v=DMARC1; p=quarantine; t=y; {RUA}; fo=1:d; x=Y", **_READY)],
        allowed=["requirement_not_met"],
    ),
    scenario(
        "a step, and the present record is not known",
        "the change in words, and the command that asks DNS; no record",
        office(),
        service(),
        expected=[
            Expect(says="dmarckit dns check", **{**_READY, "never": (*PLACEHOLDERS, "v=DMARC1")})
        ],
    ),
    scenario(
        "a step and an exposed subdomain",
        "both change one record, and neither undoes the other",
        office(),
        service(),
        spoofed(name="fake bills", header_from="billing.example.com", messages=5, noise=0.0,
                expected="spoofed_subdomain", spf=spf("billing.example.com", "none")),
        outside=published(f"v=DMARC1; p=none; {RUA}"),
        expected=[
            Expect(says=f"v=DMARC1; p=quarantine; sp=reject; t=y; {RUA}", **_READY),
            Expect("subdomain_exposed", "billing.example.com", never=PLACEHOLDERS,
                   says=f"v=DMARC1; p=quarantine; sp=reject; t=y; {RUA}"),
        ],
        allowed=["requirement_not_met"],
    ),
    scenario(
        "a step, and the record in DNS is damaged",
        "there is no record to change",
        office(),
        service(),
        outside=published("v=DMARC; p=none"),
        expected=[Expect(**{**_READY, "never": (*PLACEHOLDERS, "v=DMARC1")})],
        allowed=["requirement_not_met", "dns_record"],
    ),
    scenario(
        "a step that DNS has taken since yesterday",
        "reporters quote p=none still; the step on top of it must wait",
        office(),
        service(),
        outside=published("v=DMARC1; p=quarantine; t=y"),
        absent=["policy_ready"],
        allowed=["requirement_not_met", "policy_changed"],
    ),
    parked("a parked domain, by reports and DNS", "one step closes it", ready=True, spf=[], mx=[]),
    parked(
        "a parked domain whose SPF names a service",
        "DNS says that it sends, at least now and then",
        ready=False,
        spf=["v=spf1 include:_spf.postwagon.example -all"],
    ),
    scenario(
        "a policy that was taken back, with its record",
        "the way back keeps the addresses of the present record",
        office(),
        service(),
        domains=[domain(HERE, (before_end(4), {"p": "none"}), p="reject")],
        outside=published(f"v=DMARC1; p=none; {RUA}"),
        expected=[
            Expect("policy_changed", "p", "warning", says=f"v=DMARC1; p=reject; {RUA}",
                   never=PLACEHOLDERS)
        ],
        allowed=["requirement_not_met"],
    ),
)  # fmt: skip

MICROSOFT = {"name": "Microsoft 365", "kind": "mailbox provider",
             "networks": ["198.51.100.0/24"]}  # fmt: skip


def unsigned(**changes: Any) -> Flow:
    """Mail of Microsoft 365 that passes SPF of the domain and is not signed as it."""
    usual: dict[str, Any] = {
        "name": "staff", "sender": DemoSender("Microsoft 365", "mailbox provider"),
        "addresses": block("198.51.100.0/24", 8, 3), "dkim": (), "expected": "spf_only",
    }  # fmt: skip
    return office(**{**usual, **changes})


_TRUE = (
    scenario(
        "t=y is no wish for reports",
        "RFC 9989 lowers the policy by one step; older receivers ignore t",
        office(),
        service(),
        domains=[domain(p="quarantine")],
        expected=[Expect("policy_ready", "p=reject; t=y", says="p=reject as p=quarantine",
                         never=("only to report",))],
    ),
    scenario(
        "a wave that is quarantined",
        "it went to spam folders: not blocked, and not delivered",
        office(),
        spoofed(since=before_end(4), until=before_end(2), noise=0.05),
        domains=[domain(p="quarantine")],
        expected=[Expect("spoofing", HERE, "quiet", says="0 delivered, ", never=("blocked",))],
    ),
    scenario(
        "a wave at p=reject that one receiver delivers",
        "no stricter policy is left",
        office(),
        spoofed(since=before_end(4), until=before_end(2), noise=0.05, disposition="none"),
        domains=[domain(p="reject")],
        expected=[Expect("spoofing", HERE, "alert", never=("stricter policy",))],
    ),
    scenario(
        "a wave in its fourth week",
        "what lasts does not become usual",
        office(),
        spoofed(name="background", messages=6, noise=0.3),
        spoofed(since=before_end(26), noise=0.05),
        expected=[Expect("spoofing", HERE, "alert", says="going on since")],
        days=60,
    ),
    scenario(
        "names made up for each message",
        "sixty names, one finding",
        office(),
        *(
            spoofed(name=f"name {n}", header_from=f"n{n}.example.com", messages=2, noise=0.0,
                    since=before_end(3), until=before_end(2), expected="spoofed_subdomain",
                    spf=spf(HERE, "fail"))
            for n in range(60)
        ),
        expected=[Expect("subdomain_exposed", "*.example.com", messages=(60, 140))],
        absent=[Absent("subdomain_exposed", "n1.example.com")],
        allowed=["spoofing"],
    ),
    scenario(
        "Microsoft 365 without DKIM",
        "it wants two CNAME records, and no key in a TXT record",
        unsigned(),
        settings={"senders": [MICROSOFT]},
        domains=[domain(p="quarantine")],
        expected=[
            Expect("spf_only", "Microsoft 365 / example.com", "alert",
                   says="selector1._domainkey", never=("TXT",))
        ],
    ),
    scenario(
        "signed, but no signature verifies",
        "who signs is not told to sign",
        unsigned(dkim=(failed(HERE, "selector1"),)),
        settings={"senders": [MICROSOFT]},
        domains=[domain(p="quarantine")],
        expected=[
            Expect("broken_dkim", "example.com/selector1", "alert",
                   never=("have it sign", "sign with DKIM"))
        ],
        absent=["policy_ready"],
    ),
    scenario(
        "one receiver cannot reach the nameservers for a day",
        "nobody else saw it: it is that receiver's trouble",
        office(),
        office(name="no answer", messages=60, since=before_end(3), until=before_end(2),
               noise=0.0, spf=spf(HERE, "temperror"), reporters={INBOX.org_name: 1.0},
               expected="dkim_only"),
        expected=[
            Expect("spf_errors", HERE, "quiet", says=f"Only {INBOX.org_name} reports it",
                   never=("nameservers", "did not answer"))
        ],
        senders=False,
    ),
    scenario(
        "half of the own mail rests on SPF",
        "all of it passes, and p=reject would lose what is forwarded",
        office(),
        unsigned(messages=100),
        settings={"senders": [MICROSOFT]},
        domains=[domain(p="quarantine")],
        expected=[Expect("spf_only", "Microsoft 365 / example.com", "alert")],
        absent=["policy_ready"],
    ),
)  # fmt: skip

ADVICE = (*_STRICT, *_PASSING, *_RECORDS, *_TRUE)
