"""Who is unidentified: random lakes against the slow reference, and what must not matter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.settings import DeclaredSender, Settings
from dmarckit.facts.classify import find_unidentified
from dmarckit.facts.frames import Facts
from dmarckit.facts.load import load_facts
from dmarckit.reports.model import AggregateReport, DkimResult, Reason, Record, SpfResult
from tests.scenarios.reference import classified
from tests.support.lakes import NOW, day, lake_of, report
from tests.support.model_builders import make_failing, make_record

NETWORKS = ("192.0.2", "198.51.100", "203.0.113", "2001:db8:1:", "2001:db8:0:1:")
SPF = (
    "bounce.quoteworks.example",
    "mail.zendesk.com",
    "bounces.mcsv.net",
    "alumni.google.com",
    "vps7.ovh.net",
)
NAMES = ("quoteworks.example", "Zendesk", "192.0.2.0/24")


def facts_of(home: Path, reports: Sequence[AggregateReport], **settings: Any) -> Facts:
    return load_facts(lake_of(home, *reports), NOW, settings=Settings(**settings))


def address(network: str, host: int) -> str:
    return f"{network}:{host:x}" if ":" in network else f"{network}.{host}"


def flow(chance: random.Random, domain: str) -> list[tuple[int, Record]]:
    """A sender: what it is reported with, by days before today."""
    networks = chance.sample(NETWORKS, chance.choice((1, 1, 1, 2, 3, 4)))
    hosts = [
        address(n, chance.randint(1, 60))
        for n in networks
        for _ in range(chance.choice((1, 2, 4, 5)))
    ]
    shown: dict[str, Any] = {"spf": (SpfResult(domain, "mfrom", "fail"),), "dkim": ()}
    if chance.random() < 0.5:
        shown["spf"] = (SpfResult(chance.choice(SPF), "mfrom", chance.choice(("pass", "none"))),)
    if chance.random() < 0.4:
        d = chance.choice((domain, domain, "quoteworks.example"))
        selector = chance.choice(("s1", "never", "x2"))
        result = "fail" if d == domain else "pass"
        shown["dkim"] = (DkimResult(d, selector, result),)
    if chance.random() < 0.1:
        shown["reasons"] = (Reason("mailing_list", None),)
    number = chance.choice((1, 4, 5, 5, 9, 10, 10, 25))
    span = chance.choice((number, 13, 14, 29, 45))
    days = chance.sample(range(1, max(span, number) + 1), number)
    author = chance.choice((domain, domain, f"x.{domain}"))
    record = make_failing(messages=3, header_from=author, **shown)
    return [
        (d, replace(record, source_ip=chance.choice(hosts), messages=chance.randint(1, 9)))
        for d in days
    ]


def random_reports(seed: int) -> list[AggregateReport]:
    """Some senders of a domain that sends, and of one that never passed."""
    chance = random.Random(seed)
    made = []
    for domain, policy in (
        ("example.com", "none"),
        ("parked.example", chance.choice(("none", "reject"))),
    ):
        flows = [flow(chance, domain) for _ in range(chance.choice((3, 6, 9)))]
        for ago in range(1, 50):
            records = [record for each in flows for d, record in each if d == ago]
            if domain == "example.com":
                records.append(make_record("192.0.2.200", 5))
            if records:
                long = chance.random() < 0.1
                made.append(
                    report(
                        *records,
                        days_ago=ago,
                        days=min(ago, 3) if long else 1,
                        domain=domain,
                        policy={"p": policy},
                        report_id=f"{domain}-{ago}",
                    )
                )
    return made


def counted(facts: Facts) -> Counter[tuple[str, ...]]:
    keys = ["domain", "header_from", "sender", "class"]
    sums = facts.messages.groupby(keys, observed=True)["messages"].sum()
    return Counter({tuple(map(str, k)): round(v) for k, v in sums.items() if round(v)})


@pytest.mark.parametrize("seed", range(24))
def test_any_lake_has_the_classes_of_the_reference(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    reports = random_reports(seed)
    decisions = [
        {
            "name": name,
            "domain": chance.choice(("", "example.com")),
            "denied": chance.random() < 0.5,
        }
        for name in chance.sample(NAMES, chance.choice((0, 0, 1, 2)))
    ]
    want = Counter[tuple[str, ...]]()
    for row in classified(reports, decisions, NOW):
        want[row.domain, str(row.record.header_from), row.sender, row.klass] += row.record.messages
    assert counted(facts_of(tmp_path, reports, senders=decisions)) == want


@pytest.mark.parametrize("seed", range(100, 106))
def test_neither_order_nor_how_reports_are_cut_matters(seed: int, tmp_path: Path) -> None:
    reports = random_reports(seed)
    chance = random.Random(seed)
    cut = []
    for each in chance.sample(reports, len(reports)):
        rows = chance.sample(each.records, len(each.records))
        at = chance.randint(0, len(rows))
        for number, part in enumerate((rows[:at], rows[at:])):
            cut.append(replace(each, records=tuple(part), report_id=f"{each.report_id}-{number}"))
    one, other = facts_of(tmp_path / "one", reports), facts_of(tmp_path / "other", cut)
    for name in ("messages", "signatures", "unidentified", "failing_hosts", "inventory"):
        a, b = (sorted_rows(getattr(facts, name)) for facts in (one, other))
        pd.testing.assert_frame_equal(a, b)


def sorted_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order of their own; counts as fractions, which a cut may leave whole."""
    kinds: dict[str, Any] = {c: "str" for c in frame if frame[c].dtype == "category"}
    kinds |= dict.fromkeys(frame.select_dtypes("number"), float)
    rows = frame.astype(kinds)
    names = [c for c in rows if c not in frame.select_dtypes("number")]
    return rows.sort_values(names, ignore_index=True, key=lambda c: c.astype(str))


# limits, one by one


def steady(
    days: Sequence[int],
    *hosts: str,
    spf: str | None = None,
    domain: str = "example.com",
    **other: Any,
) -> list[AggregateReport]:
    """Own mail every day, and on some days something that fails, from all of the hosts."""
    result = SpfResult(spf or domain, "mfrom", "pass" if spf else "fail")
    failing = [make_failing(host, 2, dkim=(), spf=(result,), **other) for host in hosts]
    return [
        report(make_record("192.0.2.200", 5), *(failing if ago in days else ()), days_ago=ago)
        for ago in range(1, 41)
    ]


def class_of(home: Path, reports: Sequence[AggregateReport], **settings: Any) -> set[str]:
    """The classes of what fails."""
    rows = facts_of(home, reports, **settings).messages
    return set(rows.loc[~rows["sa"], "class"])


ONE = ("198.51.100.7",)
FOUR = tuple(f"198.51.100.{n}" for n in range(1, 5))
QUOTES = "bounce.quoteworks.example"
FIVE_NETWORKS = [address(n, 9) for n in NETWORKS]


@pytest.mark.parametrize(
    ("expected", "days", "hosts", "spf"),
    [
        ("unidentified", range(1, 11), ONE, None),
        ("unauthenticated", range(1, 10), ONE, None),
        ("unidentified", (1, 4, 8, 11, 14), ONE, None),
        ("unauthenticated", (1, 4, 8, 11, 13), ONE, None),
        ("unauthenticated", (1, 4, 8, 14), ONE, None),
        ("unidentified", range(21, 31), ONE, None),
        ("unauthenticated", range(22, 41), ONE, None),
        ("unidentified", range(1, 11), FOUR, None),
        ("unauthenticated", range(1, 11), (*FOUR, "198.51.100.5"), None),
        ("unidentified", range(1, 11), (*FOUR, "198.51.100.5"), QUOTES),
        ("unidentified", range(1, 11), FIVE_NETWORKS[:3], QUOTES),
        ("unauthenticated", range(1, 11), FIVE_NETWORKS[:4], QUOTES),
        ("unidentified", range(1, 11), ("2001:db8::1", "2001:db8:0:9::1"), QUOTES),
    ],
)
def test_limits(
    expected: str, days: Sequence[int], hosts: Sequence[str], spf: str | None, tmp_path: Path
) -> None:
    assert class_of(tmp_path, steady(days, *hosts, spf=spf)) == {expected}


@pytest.mark.parametrize(("number", "expected"), [(20, "unidentified"), (21, "unauthenticated")])
def test_more_than_twenty_that_prove_nothing_are_a_botnet(
    number: int, expected: str, tmp_path: Path
) -> None:
    hosts = [f"2001:db8:{n:x}::5" for n in range(1, number + 1)]
    known = make_failing("203.0.113.9", 2, dkim=(), spf=(SpfResult(QUOTES, "mfrom", "pass"),))
    reports = [
        replace(each, records=(*each.records, known)) for each in steady(range(1, 41), *hosts)
    ]
    rows = facts_of(tmp_path, reports).messages
    rows = rows[~rows["sa"]].astype({"sender": "str", "class": "str"})
    proven = rows["sender"] == "quoteworks.example"
    assert set(rows.loc[proven, "class"]) == {"unidentified"}
    assert set(rows.loc[~proven, "class"]) == {expected}


@pytest.mark.parametrize(("proven", "expected"), [(5, "bounce.quoteworks.example"), (4, "")])
def test_who_authenticates_now_and_then_proves_nothing(
    proven: int, expected: str, tmp_path: Path
) -> None:
    passing = steady(range(1, proven + 1), *ONE, spf=QUOTES)
    other = make_failing(
        "198.51.100.7", 2, dkim=(), spf=(SpfResult("example.com", "mfrom", "fail"),)
    )
    reports = [
        replace(each, records=(*each.records, other) if proven < ago <= 10 else each.records)
        for ago, each in enumerate(passing, 1)
    ]
    (row,) = facts_of(tmp_path, reports).unidentified.to_dict("records")
    assert (row["sender"], row["proves"]) == ("quoteworks.example", expected)


def test_a_fraction_of_a_long_report_is_no_sign_of_a_day(tmp_path: Path) -> None:
    short, long = steady(range(1, 10), *ONE), steady(range(20, 24), *ONE)
    weekly = replace(long[22], begin=day(23), end=day(16))
    assert class_of(tmp_path, [*short, weekly]) == {"unauthenticated"}


def test_what_was_denied_is_not_ours(tmp_path: Path) -> None:
    reports = steady(range(1, 11), *ONE)
    no = DeclaredSender(name="198.51.100.0/24", denied=True)
    elsewhere = no.model_copy(update={"domain": "brand.example"})
    assert class_of(tmp_path / "no", reports, senders=[no]) == {"unauthenticated"}
    assert class_of(tmp_path / "elsewhere", reports, senders=[elsewhere]) == {"unidentified"}


def test_the_frame_says_why(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, steady(range(1, 41), *FIVE_NETWORKS[1:3], spf=QUOTES))
    (row,) = facts.unidentified.to_dict("records")
    assert row == {
        "domain": "example.com",
        "sender": "quoteworks.example",
        "sender_kind": "unknown",
        "proves": "bounce.quoteworks.example",
        "days": 30,
        "networks": 2,
        "addresses": 2,
        "messages": 120,
        "first_day": day(40),
        "last_day": day(1),
    }
    mine = facts.messages[facts.messages["class"] == "unidentified"]
    assert mine["ours"].all()
    assert not mine["in_inventory"].any()


# signatures


def carrying(*results: DkimResult, host: str = "192.0.2.200", passes: bool = False) -> Record:
    return make_record(host, 4, dkim=results, dkim_aligned=passes)


def test_a_signature_lives_once_it_passed_and_another_may_cover_it(tmp_path: Path) -> None:
    good, bad = DkimResult("example.com", "s1", "pass"), DkimResult("example.com", "s1", "fail")
    dead = DkimResult("example.com", "ed1", "neutral")
    unnamed = DkimResult("example.com", None, "fail")
    lake = [report(carrying(good, dead, passes=True), carrying(bad), carrying(unnamed))]
    rows = facts_of(tmp_path, lake).signatures
    found = {(str(r.selector), r.passed): (r.living, r.covered, r.ours) for r in rows.itertuples()}
    assert found == {
        ("s1", True): (True, False, True),
        ("s1", False): (True, False, True),
        ("ed1", False): (False, True, True),
        ("", False): (True, False, True),
    }


def test_hosts_that_fail_stand_beside_those_that_do_not(tmp_path: Path) -> None:
    good, bad = DkimResult("example.com", "s1", "pass"), DkimResult("example.com", "s1", "fail")
    well = [carrying(good, host=f"192.0.2.{n}", passes=True) for n in (1, 2)]
    ill = [carrying(bad, host="192.0.2.2"), carrying(bad, host="192.0.2.3")]
    other = carrying(DkimResult("example.com", "s9", "pass"), host="192.0.2.9", passes=True)
    old = report(carrying(bad, host="192.0.2.4"), days_ago=9)
    facts = facts_of(tmp_path, [report(*well, *ill, other), old])
    rows = facts.failing_hosts.astype({"source_ip": "str", "selector": "str"})
    shown = rows[["selector", "source_ip", "failed", "passed", "hosts"]]
    assert sorted(shown.itertuples(index=False, name=None)) == [
        ("s1", "192.0.2.1", 0, 4, 3),
        ("s1", "192.0.2.2", 4, 4, 3),
        ("s1", "192.0.2.3", 4, 0, 3),
    ]


def test_nobody_is_nobody() -> None:
    columns = ["domain", "sender", "days", "span", "messages", "networks", "addresses"]
    nothing = pd.DataFrame(columns=[*columns, "bare", "parked"]).astype(
        {"bare": bool, "parked": bool}
    )
    proofs = pd.DataFrame(columns=["domain", "sender", "proves", "messages"])
    assert find_unidentified(nothing, proofs).empty
