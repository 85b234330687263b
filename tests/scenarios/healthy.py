"""Nothing is wrong: companies of all sizes and rhythms that must be left in peace."""

from __future__ import annotations

from datetime import UTC, date, datetime

from dmarckit.demo.flows import OFFICE_WEEK, block, scattered, spf
from dmarckit.demo.reporters import GATEWAY, LATE_POST, MOBILE
from tests.scenarios.people import FIVE, FOUR, failed, forwarded, office, service, spoofed
from tests.scenarios.scenario import Absent, Expect, before_end, domain, scenario
from tests.support.reporters import OPEN_RELAY_REPORTS

READY = Expect("policy_ready", "p=quarantine; t=y", "quiet")
QUIET_KINDS = ("new_sender", "sender_stopped", "broken_dkim", "spoofing", "reporter_silent")


def _thrice_a_week(day: date) -> float:
    return 1.0 if day.weekday() in (0, 2, 4) else 0.0


HEALTHY = (
    scenario(
        "healthy for 100 days",
        "office mail, newsletter, forwarded mail, steady spoofing: no alert at all",
        office(),
        service(),
        forwarded(),
        spoofed(messages=5, noise=0.4),
        expected=[READY],
        absent=[*QUIET_KINDS, "policy_changed"],
        days=100,
    ),
    scenario(
        "healthy at p=reject, the whole way",
        "nothing left to do, every reporter in its own dialect",
        office(),
        service(),
        forwarded(),
        domains=[domain(p="reject", sp="reject")],
        reporters=(*FIVE, GATEWAY, MOBILE, OPEN_RELAY_REPORTS),
        absent=[*QUIET_KINDS, "policy_ready", "policy_changed"],
        days=25,
        whole_way=True,
    ),
    scenario(
        "strong weekly pattern",
        "nearly nothing on Saturday and Sunday; looked at on a Monday morning",
        office(week=(1.0, 1.05, 1.05, 1.0, 0.9, 0.01, 0.0), messages=300),
        service(week=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0), messages=900),
        spoofed(messages=6, noise=0.5, week=OFFICE_WEEK),
        now=datetime(2026, 11, 23, 9, tzinfo=UTC),
        expected=[READY],
        absent=[*QUIET_KINDS],
        days=60,
    ),
    scenario(
        "three mails a week",
        "too little to conclude anything from",
        office(messages=_thrice_a_week, noise=0.0),
        absent=[*QUIET_KINDS, "policy_ready", "ingest_broken"],
        days=90,
    ),
    scenario(
        "new installation",
        "two days of data: nobody is new or gone, but four in ten messages are forged, and get in",
        office(),
        service(),
        forwarded(),
        spoofed(messages=400),
        expected=[Expect("spoofing", "example.com", "alert", says="too little history")],
        absent=["new_sender", "sender_stopped", "broken_dkim", "reporter_silent", "policy_ready"],
        days=2,
        whole_way=True,
    ),
    scenario(
        "one report",
        "a single report is data, too",
        office(messages=3, noise=0.0),
        reporters=FOUR[:1],
        absent=[*QUIET_KINDS, "policy_ready", "ingest_broken"],
        days=1,
        whole_way=True,
    ),
    scenario(
        "no data",
        "an empty lake has no findings, and raises nothing",
        absent=[*QUIET_KINDS, "policy_ready", "policy_changed"],
        allowed=[Absent("ingest_broken")],
    ),
    scenario(
        "all counts are 0",
        "records without messages are not messages: no class, no sender, no finding",
        office(messages=0, keeps_zero=True),
        spoofed(
            name="nobody", messages=0, keeps_zero=True, addresses=block("203.0.113.0/24", 7, 2)
        ),
        absent=[*QUIET_KINDS, "policy_ready", "ingest_broken"],
        days=30,
    ),
    scenario(
        "counts of 0 among others",
        "a failing record with count 0 neither fails nor counts as a day",
        office(),
        spoofed(messages=0, keeps_zero=True, spf=spf("example.com", "softfail")),
        service(messages=0, keeps_zero=True, since=before_end(5)),
        expected=[READY],
        absent=["new_sender", "spoofing"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "IPv6 only, new addresses every day",
        "a service is no news because its addresses are",
        office(addresses=scattered(("2001:db8:10::/48",), 4)),
        service(addresses=scattered(("2001:db8:2000::/36", "198.51.100.0/24"), 6)),
        expected=[READY],
        absent=[*QUIET_KINDS],
    ),
    scenario(
        "a reporter that is always late",
        "yesterday's report of one reporter is never there: not silent, not incomplete for ever",
        office(),
        service(),
        reporters=(*FOUR, LATE_POST),
        expected=[READY],
        absent=[*QUIET_KINDS, "ingest_broken"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a mailing list breaks signatures",
        "changed in transit, by a sender that is not ours: not a broken key",
        office(),
        office(
            name="list",
            sender=forwarded().sender,
            addresses=block("203.0.113.0/24", 40, 1),
            messages=12,
            dkim=(failed("example.com", "s1"),),
            spf=spf("lists.alumni.example"),
            expected="modified",
        ),
        expected=[READY],
        absent=[*QUIET_KINDS, "unaligned_sender"],
        whole_way=True,
        days=30,
    ),
    scenario(
        "a file copy of the mails",
        "files written later than the time that is looked at: their time says nothing",
        office(),
        service(),
        expected=[READY],
        absent=[*QUIET_KINDS, "ingest_broken"],
        days=25,
        whole_way=True,
        file_time=datetime(2026, 12, 20, tzinfo=UTC),
    ),
)
