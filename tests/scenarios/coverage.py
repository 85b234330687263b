"""Reporters that fall silent, days that are not complete, reports with odd identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from dmarckit.demo.flows import Flow, Reporter, spf
from dmarckit.demo.mails import GeneratedMail, duplicate, mails
from dmarckit.demo.reporters import ENTERPRISE_POST, INBOX, MAIL, MOBILE, NEXT_MAIL
from dmarckit.demo.traffic import GeneratedReport
from tests.scenarios.harness import SEED
from tests.scenarios.people import FIVE, FOUR, office, service
from tests.scenarios.scenario import Expect, before_end, domain, scenario
from tests.support.reporters import FREE_MAIL, WEEKLY

SILENCE = ("reporter_silent", "ingest_broken")
DROPS = ("sender_stopped", "broken_dkim", "new_sender")
THREE = [domain(), domain("shop.example"), domain("example.net"), domain("example.org")]


def stops(reporter: Reporter, days: int) -> list[Reporter]:
    """FIVE, of whom one sends nothing about the last `days` days."""
    return [replace(r, until=before_end(days)) if r is reporter else r for r in FIVE]


def same_ids(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """All reports of a day have the same report_id."""
    return [
        replace(g, report=replace(g.report, report_id=f"{g.report.begin:%Y%m%d}")) for g in made
    ]


def _twice(made: list[GeneratedReport]) -> Sequence[GeneratedMail]:
    copies = mails(made[-12:-6], SEED)
    return [duplicate(mail, SEED, later=timedelta(minutes=20)) for mail in copies]


def mail_of(name: str, **changes: Any) -> Flow:
    """The office's mail of another domain."""
    signature = replace(office().dkim[0], domain=name)
    return office(
        name=f"office of {name}",
        header_from=name,
        dkim=(signature,),
        spf=spf(name),
        sender=replace(office().sender, name=name),
        messages=40,
        **changes,
    )


def losing_day_reports(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """The two largest reporters have not delivered yesterday and the day before."""
    large = (MAIL.org_name, ENTERPRISE_POST.org_name)
    return [
        g for g in made if g.reporter.org_name not in large or g.report.begin.date() < before_end(2)
    ]


COVERAGE = (
    scenario(
        "a reporter falls silent",
        "five days without its daily report, the other four go on",
        office(),
        service(),
        reporters=stops(INBOX, 5),
        expected=[Expect("reporter_silent", INBOX.org_name)],
        absent=["ingest_broken", *DROPS],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a reporter is two days behind",
        "57 hours are less than 72",
        office(),
        service(),
        reporters=stops(INBOX, 2),
        absent=[*SILENCE, *DROPS],
    ),
    scenario(
        "a weekly reporter",
        "eight days without a report are its rhythm",
        office(),
        reporters=(*FIVE, WEEKLY),
        absent=SILENCE,
        days=60,
    ),
    scenario(
        "a rare reporter",
        "fewer than ten reports in 30 days: nothing to expect from it",
        office(),
        reporters=[
            *FIVE,
            replace(MOBILE, offset=0, since=before_end(20), until=before_end(13)),
        ],
        absent=SILENCE,
    ),
    scenario(
        "nothing arrives any more",
        "all reporters silent for five days: one finding, and it is about us",
        office(until=before_end(5)),
        service(until=before_end(5)),
        expected=[Expect("ingest_broken", "", "alert", domain="")],
        absent=["reporter_silent", *DROPS],
        whole_way=True,
        days=40,
    ),
    scenario(
        "most reporters fall silent",
        "three of five at once: not three findings",
        office(),
        reporters=[
            replace(r, until=before_end(5)) if r in (MAIL, INBOX, NEXT_MAIL) else r for r in FIVE
        ],
        expected=[Expect("ingest_broken", "", "alert", domain=None)],
        absent=["reporter_silent", *DROPS],
    ),
    scenario(
        "two of five reporters fall silent",
        "less than half: each is told, and it is not about us",
        office(),
        reporters=[replace(r, until=before_end(5)) if r in (INBOX, NEXT_MAIL) else r for r in FIVE],
        expected=[
            Expect("reporter_silent", INBOX.org_name),
            Expect("reporter_silent", NEXT_MAIL.org_name),
        ],
        absent=["ingest_broken", *DROPS],
    ),
    scenario(
        "three of four domains fall silent",
        "their reports end on the same day: one finding instead of twelve",
        mail_of("example.com", until=before_end(5)),
        mail_of("shop.example", until=before_end(5)),
        mail_of("example.net", until=before_end(5)),
        mail_of("example.org"),
        domains=THREE,
        expected=[Expect("ingest_broken", "", "alert", domain=None)],
        absent=["reporter_silent", *DROPS],
    ),
    scenario(
        "the last two days are incomplete",
        "the largest reporters have not delivered; a service was last seen just before",
        office(),
        service(until=before_end(3), reporters={MAIL.org_name: 3.0, ENTERPRISE_POST.org_name: 1.0}),
        change=losing_day_reports,
        absent=[*DROPS, *SILENCE],
    ),
    scenario(
        "the last day has one report",
        "one of four reporters has delivered so far: no drop of anything",
        office(messages=500),
        service(),
        change=lambda made: [
            g
            for g in made
            if g.report.begin.date() < before_end(1) or g.reporter.org_name == NEXT_MAIL.org_name
        ],
        absent=[*DROPS, *SILENCE],
        whole_way=True,
        days=30,
    ),
    scenario(
        "two reporters with the same report_id",
        "an id is not unique: both reports count",
        office(),
        service(),
        change=same_ids,
        absent=[*DROPS, *SILENCE],
        whole_way=True,
        days=25,
    ),
    scenario(
        "mails that come twice",
        "the same report again is no second report",
        office(),
        reporters=(*FOUR, FREE_MAIL),
        mails=_twice,
        absent=[*DROPS, *SILENCE],
        whole_way=True,
        days=20,
    ),
    scenario(
        "a report over seven days",
        "its messages belong to seven days, and none is lost",
        office(),
        service(),
        reporters=(*FIVE, replace(WEEKLY, share=60)),
        absent=[*DROPS, *SILENCE, "spoofing"],
        whole_way=True,
        days=43,
    ),
    scenario(
        "only one domain is asked for",
        "what other domains do does not matter",
        office(),
        mail_of("shop.example", until=before_end(5)),
        domains=[domain(p="reject"), domain("shop.example")],
        settings={"domains": ["example.com"]},
        senders=False,
        absent=[*DROPS, *SILENCE],
    ),
)
