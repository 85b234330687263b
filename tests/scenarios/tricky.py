"""Traps at the edges: odd hours, other people's mistakes, old stories, tiny and huge numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dmarckit.demo.flows import DemoSender, between, block, scattered, spf, valid
from dmarckit.demo.mails import GeneratedMail, forged, tls_mail
from dmarckit.demo.reporters import INBOX, LATE_POST, MAIL
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.reports.model import Reason, TlsFailure, TlsPolicy
from tests.scenarios.attacks import fake_bills
from tests.scenarios.coverage import DROPS, SILENCE, stops
from tests.scenarios.harness import SEED
from tests.scenarios.people import (
    ANYWHERE,
    FIVE,
    FOUR,
    SPOOFERS,
    failed,
    forwarded,
    office,
    service,
    spoofed,
)
from tests.scenarios.scenario import END, Expect, Scenario, before_end, domain, scenario

NOISE = (*DROPS, *SILENCE, "spoofing", "policy_changed", "unaligned_sender")


def at(hour: int, minute: int = 0) -> Scenario:
    """A healthy company, looked at whenever."""
    return scenario(
        f"healthy at {hour:02}:{minute:02}",
        "yesterday's reports are on their way, or all there",
        office(),
        service(),
        forwarded(),
        spoofed(messages=5, noise=0.4),
        reporters=(*FIVE, LATE_POST),
        now=datetime(2026, 11, 23, hour, minute, tzinfo=UTC),
        absent=NOISE,
    )


def old_lies(made: list[GeneratedReport]) -> Sequence[GeneratedMail]:
    """A forged report of three weeks ago."""
    real = next(g for g in made if g.reporter is MAIL and g.report.begin.date() >= before_end(22))
    return [forged(replace(real, report=replace(real.report, report_id="31337")), SEED)]


def expired_long_ago(_: list[GeneratedReport]) -> Sequence[GeneratedMail]:
    """A certificate that had expired three weeks ago, and was renewed."""
    bad = TlsFailure("certificate-expired", 40, "203.0.113.9", "mx2.example.com")
    policy = TlsPolicy("sts", "example.com", (), ("*.example.com",), 900, 40, (bad,))
    good = replace(policy, failed=0, details=())
    return [tls_mail(MAIL, before_end(n), (policy if n > 20 else good,), SEED) for n in (22, 21, 3)]


def claims_a_year(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """One reporter's last report claims to be about a whole year."""
    last = [g for g in made if g.reporter is INBOX][-1]
    year = replace(last.report, begin=last.report.end - timedelta(days=365))
    return [replace(g, report=year) if g is last else g for g in made]


TRICKY = (
    at(0, 20),
    at(3),
    at(12),
    at(23, 55),
    scenario(
        "other people's SPF records have mistakes",
        "forwarders and spoofers with broken records of their own are not ours to mend",
        office(),
        forwarded(messages=30, sender=SPOOFERS, spf=spf("srs.alumni.example", "permerror")),
        spoofed(messages=40, noise=0.1, spf=spf("junk.example", "permerror")),
        absent=["spf_errors", *NOISE],
    ),
    scenario(
        "only SPF, since ever",
        "a company without any DKIM",
        office(dkim=(), expected="spf_only"),
        expected=[Expect("spf_only", "example.com / example.com")],
        absent=["broken_dkim"],
    ),
    scenario(
        "a subdomain that is rejected already",
        "fake bills that sp=reject stops: nobody has to act",
        office(),
        fake_bills(),
        domains=[domain(p="reject", sp="reject")],
        expected=[Expect("subdomain_exposed", "billing.example.com", "quiet")],
    ),
    scenario(
        "a service stops, its addresses go on",
        "two services share their addresses, as those of one platform do",
        office(),
        service(),
        service(
            name="surveys",
            sender=DemoSender("surveys.example", "unknown"),
            dkim=(valid("example.com", "sv1"),),
            spf=spf("bounce.surveys.example"),
            until=before_end(5),
        ),
        expected=[Expect("sender_stopped", "surveys.example", "alert")],
        absent=["new_sender", *SILENCE],
    ),
    scenario(
        "a wave from a subdomain",
        "an attack under a name that does not exist",
        office(),
        fake_bills(messages=300, since=before_end(4), until=before_end(2)),
        expected=[
            Expect("spoofing", "example.com", "alert"),
            Expect("subdomain_exposed", "billing.example.com"),
        ],
        absent=DROPS,
    ),
    scenario(
        "a wave of three weeks ago",
        "it is not this week's news",
        office(),
        spoofed(name="background", messages=6, noise=0.3),
        spoofed(since=before_end(21), until=before_end(19)),
        absent=["spoofing"],
    ),
    scenario(
        "a wave of three weeks ago, in a month's look",
        "the same with a window of 30 days: worth knowing, and over",
        office(),
        spoofed(name="background", messages=6, noise=0.3),
        spoofed(since=before_end(21), until=before_end(19)),
        window=30,
        expected=[Expect("spoofing", "example.com", "quiet", says="It is over")],
        days=80,
    ),
    scenario(
        "a second wave",
        "one three weeks ago does not make the next one usual",
        office(),
        spoofed(name="background", messages=6, noise=0.3),
        spoofed(name="first", since=before_end(21), until=before_end(19)),
        spoofed(name="second", since=before_end(4), until=before_end(2), noise=0.0),
        expected=[Expect("spoofing", "example.com", "alert", messages=(400, 720))],
    ),
    scenario(
        "broken since yesterday",
        "all signatures of one day: a third of the last three",
        office(),
        service(broken=between(before_end(1), END, 1.0), expected_broken="broken_dkim"),
        expected=[Expect("broken_dkim", "example.com/pw1", "alert")],
    ),
    scenario(
        "broken for a week",
        "the baseline has broken days in it by now",
        office(),
        service(broken=between(before_end(8), END, 0.8), expected_broken="broken_dkim"),
        expected=[Expect("broken_dkim", "example.com/pw1", "alert")],
        days=60,
    ),
    scenario(
        "broken last week, mended since",
        "four good days: no break any more",
        office(),
        service(broken=between(before_end(7), before_end(4), 0.8), expected_broken="broken_dkim"),
        absent=["broken_dkim"],
    ),
    scenario(
        "a second signature that few receivers know",
        "ed25519 beside RSA since ever, unknown to two reporters: nothing has changed",
        office(
            dkim=(valid("example.com", "s1"), valid("example.com", "ed1")),
            reporters={r.org_name: r.share for r in FOUR[:2]},
        ),
        office(
            name="office, ed25519 unknown",
            dkim=(valid("example.com", "s1"), failed("example.com", "ed1", "neutral")),
            reporters={r.org_name: r.share for r in FOUR[2:]},
        ),
        absent=["broken_dkim", *NOISE],
    ),
    scenario(
        "silent for 81 hours",
        "a daily reporter is missed after four times its gap, 96 hours",
        office(),
        reporters=stops(INBOX, 3),
        absent=["ingest_broken", "reporter_silent", *DROPS],
    ),
    scenario(
        "silent for 105 hours",
        "four days and nine hours after a prompt reporter's last report",
        office(),
        reporters=stops(INBOX, 4),
        expected=[Expect("reporter_silent", INBOX.org_name)],
        absent=["ingest_broken", *DROPS],
    ),
    scenario(
        "old refused mails",
        "a forged report of three weeks ago is no news",
        office(),
        mails=old_lies,
        absent=["untrusted_reports"],
        days=30,
    ),
    scenario(
        "a certificate renewed three weeks ago",
        "what was mended is no finding",
        office(),
        mails=expired_long_ago,
        absent=["tls_failures"],
        days=30,
    ),
    scenario(
        "spoofers and Gmail's requirements",
        "Gmail's codes on forged mail ask nothing of us",
        office(),
        spoofed(
            messages=10,
            noise=0.0,
            reporters={MAIL.org_name: 1.0},
            reasons=(Reason("local_policy", "Sender requirement failed: 550-5.7.26"),),
            disposition="reject",
        ),
    ),
    scenario(
        "a report about a year",
        "its messages are spread thin, and nothing else moves",
        office(messages=400),
        change=claims_a_year,
        absent=[*DROPS, "spoofing"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "millions of messages",
        "large numbers are no problem in themselves",
        office(messages=3_000_000),
        service(messages=400_000),
        spoofed(messages=2000, noise=0.1, addresses=scattered(ANYWHERE, 30)),
        domains=[domain(p="reject", sp="reject")],
        absent=NOISE,
    ),
    scenario(
        "the office moves to other addresses",
        "the same SPF domain and key from a new network",
        office(until=before_end(5)),
        office(name="moved", addresses=block("198.51.100.0/24", 200, 3), since=before_end(5)),
        absent=NOISE,
    ),
    scenario(
        "sixteen days of data",
        "just enough history: a service that came on the last days is new",
        office(),
        service(since=before_end(2)),
        expected=[Expect("new_sender", "postwagon.example")],
        absent=["sender_stopped", "spoofing", *SILENCE],
        days=22,
    ),
    scenario(
        "growth",
        "twice as much mail each month is no finding",
        office(messages=lambda day: 50.0 + 4 * (day - before_end(60)).days),
        service(messages=lambda day: 20.0 + 2 * (day - before_end(60)).days),
        absent=NOISE,
        days=60,
    ),
)
