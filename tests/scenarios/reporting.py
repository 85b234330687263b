"""Who reports: other names, other domains, and reports that cannot be taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dmarckit.demo.flows import Reporter
from dmarckit.demo.mails import GeneratedMail, mails
from dmarckit.demo.reporters import GATEWAY, INBOX, NEXT_MAIL
from dmarckit.demo.traffic import GeneratedReport
from tests.scenarios.harness import SEED
from tests.scenarios.people import FIVE, office, service
from tests.scenarios.scenario import UNTOLD, Absent, Expect, before_end, scenario

Change = Callable[[list[GeneratedReport]], Sequence[GeneratedReport]]
QUIET = ("reporter_silent", "ingest_broken", "reporter_odd")


def rewritten(of: Reporter, days: int, **fields: str) -> Change:
    """The last reports of a reporter say something else of it."""

    def change(made: list[GeneratedReport]) -> list[GeneratedReport]:
        since = before_end(days)
        return [
            replace(g, report=replace(g.report, **fields))
            if g.reporter.org_name == of.org_name and g.report.begin.date() >= since
            else g
            for g in made
        ]

    return change


def four_spellings(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """A reporter that writes its name in four ways, by the day."""
    name = INBOX.org_name
    names = (name, name.upper(), f"{name}.", f"{name} Inc.")
    return [
        replace(g, report=replace(g.report, reporter=names[g.report.begin.day % 4]))
        if g.reporter.org_name == name
        else g
        for g in made
    ]


def two_gateways(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """A reporter whose two hosts write in their own names, by the day."""
    found = []
    for g in made:
        if g.reporter.org_name == GATEWAY.org_name:
            host = f"gw{g.report.begin.day % 2 + 1}.{GATEWAY.host}"
            g = replace(g, report=replace(g.report, reporter=host, contact=f"dmarc@{host}"))
        found.append(g)
    return found


def again(made: list[GeneratedReport]) -> list[GeneratedMail]:
    """Each report of one reporter in the last twelve days once more, under another id."""
    chosen = [
        replace(g, report=replace(g.report, report_id=f"{g.report.report_id}0"))
        for g in made
        if g.reporter.org_name == INBOX.org_name and g.report.begin.date() >= before_end(12)
    ]
    return list(mails(chosen, SEED))


def own_policy_domain(made: list[GeneratedReport]) -> list[GeneratedReport]:
    """One reporter names the author's domain as policy domain in place of the one above it."""
    found = []
    for g in made:
        if g.reporter.org_name == NEXT_MAIL.org_name:
            policy = replace(g.report.policy, domain="news.example.com")
            pairs = [
                pair
                for pair in zip(g.report.records, g.truth, strict=True)
                if pair[0].header_from == "news.example.com"
            ]
            report = replace(
                g.report,
                policy=policy,
                records=tuple(record for record, _ in pairs),
                record_count=len(pairs),
                message_count=sum(record.messages for record, _ in pairs),
            )
            g = replace(g, report=report, truth=tuple(truth for _, truth in pairs))
        found.append(g)
    return found


def contradicting(least: int) -> Change:
    """One reporter fails mail of which it says that its own domain signed it validly.

    Only records of at least `least` messages, so that few or many are concerned.
    """

    def change(made: list[GeneratedReport]) -> list[GeneratedReport]:
        found = []
        for g in made:
            if g.reporter.org_name == NEXT_MAIL.org_name:
                records, truths = [], []
                for record, truth in zip(g.report.records, g.truth, strict=True):
                    signed = any(d.result == "pass" for d in record.dkim)
                    if signed and record.dkim_aligned and record.messages >= least:
                        record = replace(record, dkim_aligned=False, spf_aligned=False)
                        truth = replace(truth, expected="unaligned_sender")
                    records.append(record)
                    truths.append(truth)
                report = replace(g.report, records=tuple(records))
                g = replace(g, report=report, truth=tuple(truths))
            found.append(g)
        return found

    return change


newsletter = office(
    name="newsletter",
    header_from="news.example.com",
    dkim=(replace(office().dkim[0], domain="news.example.com"),),
    messages=200,
    expected=UNTOLD,
)

REPORTING = (
    scenario(
        "a reporter renames itself",
        "another name, the same addresses: nobody is silent",
        office(),
        reporters=FIVE,
        change=rewritten(INBOX, 8, reporter="Inbox International"),
        absent=QUIET,
        whole_way=True,
        days=35,
    ),
    scenario(
        "a reporter with four spellings",
        "each of them comes every fourth day: one reporter, and a regular one",
        office(),
        reporters=FIVE,
        change=four_spellings,
        absent=QUIET,
        whole_way=True,
        days=35,
    ),
    scenario(
        "a reporter with two gateways",
        "hosts of one organisation are one reporter",
        office(),
        reporters=(*FIVE, GATEWAY),
        change=two_gateways,
        absent=QUIET,
        whole_way=True,
        days=35,
    ),
    scenario(
        "a reporter writes from a new domain",
        "the same name from elsewhere: asked about, and not silent",
        office(),
        reporters=FIVE,
        change=rewritten(INBOX, 6, contact="dmarc@inbox-mail.example"),
        expected=[
            Expect(
                "reporter_odd", INBOX.org_name, "warning", domain=None, says="inbox-mail.example"
            )
        ],
        absent=["reporter_silent", "ingest_broken"],
        whole_way=True,
        days=35,
    ),
    scenario(
        "a reporter whose new domain the settings know",
        "what was decided is not asked again",
        office(),
        reporters=FIVE,
        change=rewritten(INBOX, 6, contact="dmarc@inbox-mail.example"),
        settings={"reporters": {INBOX.org_name: ["inbox.example", "inbox-mail.example"]}},
        absent=QUIET,
        whole_way=True,
        days=35,
    ),
    scenario(
        "a reporter sends everything twice",
        "under another id: each report counts once",
        office(),
        service(),
        reporters=FIVE,
        mails=again,
        expected=[Expect("reporter_odd", INBOX.org_name, "info", domain=None, says="twice")],
        absent=["reporter_silent"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a reporter names the wrong policy domain",
        "others quote the domain above it for the same author: its mail belongs there",
        office(),
        newsletter,
        reporters=FIVE,
        change=own_policy_domain,
        expected=[
            Expect("reporter_odd", NEXT_MAIL.org_name, "info", says="news.example.com as policy")
        ],
        absent=["reporter_silent"],
        days=30,
    ),
    scenario(
        "a reporter contradicts itself",
        "valid signatures of the author's own domain that it calls failed are no strangers",
        office(messages=900),
        reporters=FIVE,
        change=contradicting(1),
        expected=[
            Expect("reporter_odd", NEXT_MAIL.org_name, "info", says="contradicts itself"),
        ],
        absent=["spoofing", "subdomain_exposed"],
        allowed=[Absent("unaligned_sender")],
        days=30,
    ),
    scenario(
        "a reporter contradicts itself hardly ever",
        "no message that is concerned: nothing to say",
        office(messages=900),
        reporters=FIVE,
        change=contradicting(1_000_000),
        absent=["spoofing", *QUIET],
        days=30,
    ),
)
