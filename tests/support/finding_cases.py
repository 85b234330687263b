"""Facts in which each kind of finding is found, in each of the ways it is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from dmarckit.facts.frames import Facts
from tests.support.finding_facts import (
    ALL,
    FOUR,
    MESSAGES,
    NOW,
    SERVICE,
    SIGNATURE,
    SPF,
    STRANGER,
    UNALIGNED,
    daily,
    day,
    facts,
    messages,
    policies,
    reported,
)

OLD = range(6, 61)
SUBDOMAIN = {**STRANGER, "class": "spoofed_subdomain", "header_from": "billing.example.com"}
ALONE = {"class": "spf_only", "da": False, "sender": "Gateway", "header_from": "a.example.com"}


def signatures(**fields: Any) -> list[dict[str, Any]]:
    """Signatures that verify, and none of them on the last three days."""
    broken = daily({**SIGNATURE, "passed": False, **fields}, range(1, 4))
    return daily({**SIGNATURE, **fields}, range(4, 61)) + broken


def owned(sender: str, *selectors: str) -> dict[str, Any]:
    owns = tuple(("example.com", selector) for selector in selectors)
    return {"domain": "example.com", "sender": sender, "declared": False, "owns": owns}


def mails(*outcomes: str, sender: str = "inbox.example") -> list[dict[str, Any]]:
    mail = {"from_domain": sender, "error": "cut off"}
    return [mail | {"outcome": o, "received": NOW - timedelta(days=1)} for o in outcomes]


def dead_letters(*reasons: str, days: float = 1) -> list[dict[str, Any]]:
    """Messages of a queue that could not be taken, first seen some days ago."""
    seen = NOW - timedelta(days=days)
    return [{"seen": seen, "queue": "arrivals", "reason": reason} for reason in reasons]


def failing_tls(result: str, domain: str = "example.com") -> Facts:
    row = {"policy_domain": domain, "policy_type": "sts", "reporter": FOUR[0], "begin": day(1)}
    row |= {"result_type": result, "end": day(0), "successful": 900}
    return facts(tls=[row | {"failed": 30, "failed_sessions": 30}])


def required(code: str, sender: str = "Gateway") -> Facts:
    base = {"domain": "example.com", "sender": sender, "messages": 8, "smtp": "550", "code": code}
    own = {**MESSAGES, "sender_kind": "own"}
    return facts(
        messages=messages() + daily({**own, "sender": "Gateway"}, [1]),
        requirements=daily(base, [1, 2], ["google.com", "Receiver Two"]),
        inventory=[owned("Gateway")],
    )


def unhonoured(reporter: str = FOUR[0]) -> Facts:
    rows = daily({"domain": "example.com", "messages": 3}, range(1, 6), [reporter])
    return facts(messages=messages(), unhonoured=rows, policies=policies(p="reject"))


def changed(old: str, new: str) -> Facts:
    quoted = policies(range(4, 61), p=old) + policies(range(1, 4), p=new)
    return facts(messages=messages(), policies=quoted)


def with_rows(*rows: list[dict[str, Any]], **frames: Any) -> Facts:
    return facts(messages=[*messages(), *(row for part in rows for row in part)], **frames)


def spf(result: str, name: str = "example.com") -> list[dict[str, Any]]:
    bad = daily({**SPF, "result": result, "messages": 5, "spf_domain": name}, [1, 2])
    return bad + daily({**SPF, "messages": 5, "spf_domain": name}, [1, 2])


TLS_RESULTS = (
    "certificate-expired",
    "certificate-host-mismatch",
    "certificate-not-trusted",
    "starttls-not-supported",
    "validation-failure",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "unspecified",
)
CASES: dict[str, list[Callable[[], Facts]]] = {
    "new_sender": [
        lambda: with_rows(messages(range(1, 4), **SERVICE)),
        lambda: with_rows(messages(range(1, 4), **SERVICE | {"class": "spf_only"})),
    ],
    "sender_stopped": [
        lambda: with_rows(messages(range(5, 61), **SERVICE), inventory=[owned("Postwagon", "p1")]),
        lambda: with_rows(messages(range(5, 61), **SERVICE)),
    ],
    "unaligned_sender": [
        lambda: with_rows(messages([1, 2], **UNALIGNED)),
        lambda: with_rows(
            messages([1, 2], **UNALIGNED | {"in_inventory": True, "disposition": "reject"})
        ),
        lambda: with_rows(messages([1], **UNALIGNED | {"sender_kind": "mailing list"})),
    ],
    "broken_dkim": [
        lambda: with_rows(signatures=signatures()),
        lambda: with_rows(signatures=daily(SIGNATURE) + signatures(sender="Gateway")),
        lambda: with_rows(
            messages([1], disposition="reject", da=False, sa=False, **{"class": "broken_dkim"}),
            signatures=daily(SIGNATURE, reporters=FOUR[1:])
            + [row for row in signatures() if row["reporter"] == FOUR[0]],
        ),
    ],
    "spf_errors": [
        lambda: with_rows(spf=spf("permerror")),
        lambda: with_rows(spf=spf("temperror")),
    ],
    "spf_only": [
        lambda: with_rows(messages([1, 2], **ALONE)),
        lambda: with_rows(messages([1, 2], **ALONE), policies=policies(p="quarantine")),
    ],
    "spoofing": [
        lambda: with_rows(messages([2, 3], **STRANGER | {"messages": 50})),
        lambda: with_rows(messages([2], **STRANGER), policies=policies(p="reject")),
    ],
    "subdomain_exposed": [
        lambda: with_rows(messages([1, 2], **SUBDOMAIN)),
        lambda: with_rows(messages([1, 2], **SUBDOMAIN), policies=policies(p="reject")),
        lambda: with_rows(
            messages([1, 2], **SUBDOMAIN),
            messages([1, 2], **UNALIGNED | {"header_from": "shop.example.com"}),
        ),
    ],
    "policy_ready": [
        lambda: with_rows(),
        lambda: facts(
            messages=messages(**STRANGER), policies=policies(p="quarantine", testing="y")
        ),
    ],
    "policy_changed": [lambda: changed("none", "quarantine"), lambda: changed("reject", "none")],
    "policy_not_honoured": [unhonoured],
    "reporter_silent": [
        lambda: with_rows(reports=reported(ALL, FOUR[1:]) + reported(OLD, FOUR[:1])),
        lambda: with_rows(
            reports=[
                report
                for n in range(4)
                for report in reported(ALL, FOUR[1:], f"brand{n}.example")
                + reported(OLD, FOUR[:1], f"brand{n}.example")
            ]
        ),
    ],
    "ingest_broken": [
        lambda: with_rows(reports=reported(range(3, 61))),
        lambda: with_rows(reports=reported(ALL, FOUR[2:]) + reported(OLD, FOUR[:2])),
        lambda: with_rows(
            reports=reported()
            + [r for name in "abc" for r in reported(OLD, domain=f"{name}.example")]
        ),
    ],
    "gmail_requirement": [
        *(partial(required, f"5.7.{n}") for n in (23, 24, 25, 26, 27, 29, 30, 31, 32, 99)),
        partial(required, "5.7.30", "203.0.113.0/24"),
    ],
    "tls_failures": [
        *(partial(failing_tls, result) for result in TLS_RESULTS),
    ],
    "untrusted_reports": [
        lambda: facts(mails=mails("untrusted")),
        lambda: facts(
            mails=[
                *mails("untrusted", "untrusted"),
                mails("stored")[0] | {"received": NOW - timedelta(days=20)},
            ]
        ),
    ],
    "unreadable_reports": [
        lambda: facts(mails=mails("unreadable", "stored", "stored")),
        lambda: facts(mails=mails(*["unreadable"] * 6, sender="")),
    ],
    "dead_letters": [
        lambda: facts(dead_letters=dead_letters("cut off")),
        lambda: facts(dead_letters=dead_letters("cut off", "cut off twice")),
    ],
}
