"""Several things at once, fleets, odd spellings, and looks at the past."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from dmarckit.demo.flows import DemoSender, block, spf
from dmarckit.demo.reporters import INBOX, NEXT_MAIL
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.reports.model import DkimResult
from tests.scenarios.coverage import DROPS, SILENCE, mail_of, stops
from tests.scenarios.people import (
    DECLARED_SALESDESK,
    FIVE,
    FOUR,
    failed,
    forwarded,
    office,
    sales,
    service,
    spoofed,
)
from tests.scenarios.scenario import Expect, before_end, domain, scenario

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
FLEET = tuple(f"brand{i}.example" for i in range(12))


def shouting(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """One reporter writes domains in capitals."""
    return [_shouted(g) if g.reporter.org_name == INBOX.org_name else g for g in made]


def _shouted(made: GeneratedReport) -> GeneratedReport:
    def loud(dkim: DkimResult) -> DkimResult:
        return replace(dkim, domain=(dkim.domain or "").upper())

    records = tuple(
        replace(
            r,
            header_from=(r.header_from or "").upper(),
            dkim=tuple(map(loud, r.dkim)),
            spf=tuple(replace(s, domain=(s.domain or "").upper()) for s in r.spf),
        )
        for r in made.report.records
    )
    return replace(made, report=replace(made.report, records=records))


def respelled(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """One reporter writes its own name in another way since a week."""
    return [
        replace(g, report=replace(g.report, reporter="INBOX Example"))
        if g.reporter.org_name == INBOX.org_name and g.report.begin.date() >= before_end(7)
        else g
        for g in made
    ]


def _thrice_a_week(day: date) -> float:
    return 1.0 if day.weekday() in (0, 2, 4) else 0.0


COMBINED = (
    scenario(
        "a bad week",
        "an unaligned service, a broken signer, an attack and a silent reporter, each told once",
        office(messages=200),
        sales(),
        service(
            messages=90,
            broken=lambda day: 0.5 if day >= before_end(4) else 0.0,
            expected_broken="broken_dkim",
        ),
        spoofed(name="background", messages=6, noise=0.3),
        spoofed(since=before_end(4), until=before_end(2), noise=0.05),
        reporters=stops(INBOX, 5),
        settings={"senders": [DECLARED_SALESDESK]},
        expected=[
            Expect("unaligned_sender", "Salesdesk", "alert"),
            Expect("broken_dkim", "example.com/pw1", "alert"),
            Expect("spoofing", "example.com", "alert"),
            Expect("reporter_silent", INBOX.org_name),
        ],
        absent=["policy_ready", "new_sender", "sender_stopped", "ingest_broken"],
        whole_way=True,
        days=40,
    ),
    scenario(
        "a healthy fleet",
        "a dozen domains, and not one alert",
        *(mail_of(name) for name in FLEET),
        domains=[domain(name, p="reject") for name in FLEET],
        absent=[*DROPS, *SILENCE, "policy_ready", "spoofing", "policy_changed"],
        days=30,
    ),
    scenario(
        "one of a fleet has trouble",
        "the finding names its domain",
        *(mail_of(name) for name in FLEET),
        sales(header_from=FLEET[3]),
        domains=[domain(name, p="reject") for name in FLEET],
        settings={"senders": [DECLARED_SALESDESK]},
        expected=[Expect("unaligned_sender", "Salesdesk", "alert", domain=FLEET[3])],
        absent=[*DROPS, *SILENCE],
        days=30,
    ),
    scenario(
        "a look at the past",
        "everything is in the lake, also the attack that came later",
        office(),
        spoofed(name="background", messages=6, noise=0.3),
        spoofed(since=before_end(4), until=before_end(2)),
        sales(since=before_end(5)),
        now=datetime(2026, 11, 12, 9, tzinfo=UTC),
        absent=["spoofing", "unaligned_sender", *DROPS, *SILENCE],
        settings={"senders": [DECLARED_SALESDESK]},
        days=60,
        all_arrived=True,
    ),
    scenario(
        "a reporter in capitals",
        "domains are the same in capitals: no second sender, no second author",
        office(),
        service(),
        forwarded(),
        change=shouting,
        absent=[*DROPS, "unaligned_sender", "subdomain_exposed"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "a reporter changes its spelling",
        "the old spelling is not a reporter that fell silent",
        office(),
        change=respelled,
        reporters=FIVE,
        absent=SILENCE,
    ),
    scenario(
        "three mails a week, on a Monday",
        "no mail since Saturday morning is what Mondays are like here",
        office(messages=_thrice_a_week, noise=0.0),
        now=MONDAY,
        absent=[*DROPS, *SILENCE],
        days=90,
    ),
    scenario(
        "no mail for two days",
        "50 hours without any mail, where four came every day",
        office(until=before_end(2)),
        expected=[Expect("ingest_broken", "", "alert", domain="")],
        absent=["reporter_silent", *DROPS],
        reporters=FOUR,
    ),
    scenario(
        "spoofers with a signature that looks like ours",
        "it does not verify, from networks that are not ours: not our key",
        office(),
        spoofed(
            messages=40,
            noise=0.0,
            since=before_end(4),
            dkim=(failed("example.com", "s1"),),
            expected="modified",
        ),
        absent=["broken_dkim", "unaligned_sender", "sender_stopped"],
    ),
    scenario(
        "a declared host without any authentication",
        "our own mail fails: not ready, however well the rest does",
        office(),
        office(
            name="old printer",
            sender=DemoSender("Printers", "own"),
            addresses=block("198.51.100.0/24", 240, 1),
            messages=25,
            dkim=(),
            spf=spf("example.com", "fail"),
            expected="unauthenticated",
        ),
        settings={"senders": [{"name": "Printers", "networks": ["198.51.100.240/28"]}]},
        absent=["policy_ready", "spoofing", *DROPS],
    ),
    scenario(
        "the policy is taken back",
        "from p=reject to p=none, and alignment from relaxed to strict",
        office(),
        domains=[
            domain(
                "example.com",
                (before_end(5), {"p": "none", "sp": "none", "adkim": "s"}),
                p="reject",
                sp="none",
            )
        ],
        expected=[Expect("policy_changed", "p"), Expect("policy_changed", "adkim")],
        days=30,
    ),
    scenario(
        "one reporter lags behind a policy change",
        "it quotes the old record for two days longer",
        office(),
        change=lambda made: [_lagging(g) for g in made],
        domains=[domain("example.com", (before_end(6), {"p": "quarantine"}), p="none", sp="none")],
        expected=[Expect("policy_changed", "p")],
        days=30,
    ),
)


def _lagging(made: GeneratedReport) -> GeneratedReport:
    if made.reporter is not NEXT_MAIL or made.report.begin.date() >= before_end(4):
        return made
    return replace(made, report=replace(made.report, policy=replace(made.report.policy, p="none")))
