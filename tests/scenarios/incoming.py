"""What comes with the mails: forged, cut-off and TLS reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dmarckit.demo.mails import GeneratedMail, broken, forged, newsletter, tls_mail
from dmarckit.demo.reporters import INBOX, MAIL
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.reports.model import TlsFailure, TlsPolicy
from tests.scenarios.harness import SEED
from tests.scenarios.people import office, service
from tests.scenarios.scenario import Expect, before_end, scenario

Mails = Callable[[list[GeneratedReport]], Sequence[GeneratedMail]]


def tls(successful: int, **failures: int) -> Mails:
    """A TLS report of each of the last six days, with these failures by result type."""

    def made(_: list[GeneratedReport]) -> list[GeneratedMail]:
        details = tuple(
            TlsFailure(name.replace("_", "-"), n, "203.0.113.9", "mx2.example.com")
            for name, n in failures.items()
        )
        policy = TlsPolicy(
            policy_type="sts",
            policy_domain="example.com",
            policy_string=("version: STSv1", "mode: testing", "mx: *.example.com"),
            mx_host=("*.example.com",),
            successful=successful,
            failed=sum(failures.values()),
            details=details,
        )
        return [tls_mail(MAIL, before_end(n), (policy,), SEED) for n in range(1, 7)]

    return made


def lies(made: list[GeneratedReport]) -> list[GeneratedMail]:
    """Three reports that somebody else sent in a reporter's name."""
    real = [g for g in made if g.reporter is MAIL][-4:-1]
    fakes = [replace(g, report=replace(g.report, report_id=f"{g.report.report_id}9")) for g in real]
    return [forged(fake, SEED, claims_pass=i == 1) for i, fake in enumerate(fakes)]


def cut_off(made: list[GeneratedReport]) -> list[GeneratedMail]:
    """Reports of two days that were cut off on the way, in place of nothing."""
    real = [g for g in made if g.reporter is INBOX][-3:-1]
    others = [
        replace(g, report=replace(g.report, report_id=f"{g.report.report_id}7")) for g in real
    ]
    return [broken(each, SEED) for each in others]


def advertising(made: list[GeneratedReport]) -> list[GeneratedMail]:
    """Somebody's newsletter to the report address."""
    return [newsletter(made[-5].sent, SEED)]


INCOMING = (
    scenario(
        "forged reports",
        "mails that claim to be a reporter's, and fail DMARC",
        office(),
        mails=lies,
        expected=[Expect("untrusted_reports", "", "info", domain="")],
        absent=["unreadable_reports", "ingest_broken"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "reports cut off half-way",
        "two mails of one reporter cannot be read",
        office(),
        mails=cut_off,
        expected=[Expect("unreadable_reports", "inbox.example", domain=None)],
        absent=["untrusted_reports", "reporter_silent"],
        whole_way=True,
        days=25,
    ),
    scenario(
        "advertising at the report address",
        "not a report, and nobody's fault",
        office(),
        service(),
        mails=advertising,
        absent=["untrusted_reports", "unreadable_reports"],
        whole_way=True,
        days=20,
    ),
    scenario(
        "TLS fails",
        "one in fifty sessions without STARTTLS",
        office(),
        mails=tls(980, starttls_not_supported=20),
        expected=[Expect("tls_failures", "starttls-not-supported", "alert")],
        days=25,
    ),
    scenario(
        "TLS fails now and then",
        "half a percent is less than one percent",
        office(),
        mails=tls(995, starttls_not_supported=5),
        absent=["tls_failures"],
        days=25,
    ),
    scenario(
        "TLS fails in few sessions",
        "six of 60 sessions: a large share, but fewer than ten failures",
        office(),
        mails=tls(9, validation_failure=1),
        absent=["tls_failures"],
        days=25,
    ),
    scenario(
        "a certificate has expired",
        "a single session is enough to know",
        office(),
        mails=tls(995, certificate_expired=1),
        expected=[Expect("tls_failures", "certificate-expired", "alert")],
        days=25,
    ),
    scenario(
        "the MTA-STS policy cannot be fetched",
        "senders that ask for the policy do not get it",
        office(),
        mails=tls(995, sts_policy_fetch_error=1),
        expected=[Expect("tls_failures", "sts-policy-fetch-error", "alert")],
        days=25,
    ),
    scenario(
        "TLS is fine",
        "no failure, no finding",
        office(),
        mails=tls(1000),
        absent=["tls_failures"],
        days=25,
    ),
)
