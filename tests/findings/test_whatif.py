"""What a policy would have done to a domain's messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.settings import DeclaredSender, Settings
from dmarckit.facts.frames import Facts, empty_facts
from dmarckit.facts.load import load_facts
from dmarckit.findings.whatif import COLUMNS, what_if
from dmarckit.reports.model import DkimResult, Policy, SpfResult
from tests.support.lakes import NOW, day, lake_of, report
from tests.support.model_builders import make_failing, make_record

DESK = DeclaredSender(name="desk", kind="ticketing", spf_domains=("desk.example",))


def spf(domain: str, result: str = "pass") -> tuple[SpfResult, ...]:
    return (SpfResult(domain, "mfrom", result),)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Office mail, a newsletter from a subdomain, a ticketing service, a list, spoofers."""
    below = (DkimResult("news.example.com", "n", "pass"),)
    lake = lake_of(
        tmp_path_factory.mktemp("lake"),
        report(
            make_record("192.0.2.1", 1000),
            make_record("192.0.2.2", 200, dkim=below, spf=spf("news.example.com")),
            make_failing("198.51.100.1", 30, dkim=(), spf=spf("bounce.desk.example")),
            make_failing("198.51.100.9", 20, spf=spf("lists.example")),
            make_failing("203.0.113.1", 10, dkim=(), spf=()),
            make_failing("203.0.113.2", 7, dkim=(), spf=(), header_from="fake.example.com"),
            make_record("192.0.2.3", 4, header_from="news.example.com", dkim=below),
        ),
        report(make_failing("203.0.113.1", 500, dkim=(), spf=()), days_ago=40),
    )
    return load_facts(lake, NOW, settings=Settings(senders=(DESK,)))


def numbers(facts: Facts, *, days: int | None = 30, **policy: Any) -> dict[str, int]:
    found = what_if(facts, "example.com", Policy("example.com", **policy), days)
    names = ("quarantined", "rejected", "legitimate", "indirect", "unwanted")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


def test_p_none_stops_nothing(facts: Facts) -> None:
    found = what_if(facts, "Example.com", Policy("example.com", p="none"), 30)
    assert (found.messages, found.passing) == (1271, 1204)
    assert numbers(facts, p="none") == {}
    assert found.senders.empty


def test_reject_stops_what_fails_and_says_what_was_wanted(facts: Facts) -> None:
    found = what_if(facts, "example.com", Policy("example.com", p="reject"), 30)
    assert numbers(facts, p="reject") == {
        "rejected": 67,
        "legitimate": 30,
        "indirect": 20,
        "unwanted": 17,
    }
    assert found.senders.values.tolist() == [
        ["desk", "example.com", "unaligned_sender", "reject", "legitimate", 30],
        ["lists.example", "example.com", "modified", "reject", "indirect", 20],
        ["203.0.113.0/24", "example.com", "unauthenticated", "reject", "unwanted", 10],
        ["203.0.113.0/24", "fake.example.com", "spoofed_subdomain", "reject", "unwanted", 7],
    ]


@pytest.mark.parametrize(
    ("policy", "quarantined", "rejected"),
    [
        ({"p": "quarantine"}, 67, 0),
        ({"p": "none", "sp": "reject"}, 0, 7),
        ({"p": "none", "np": "reject"}, 0, 7),
        ({"p": "reject", "sp": "quarantine", "np": "none"}, 0, 60),
        ({"p": None}, 0, 0),
    ],
)
def test_subdomains_have_their_own_tags(
    facts: Facts, policy: dict[str, Any], quarantined: int, rejected: int
) -> None:
    found = what_if(facts, "example.com", Policy("example.com", **policy), 30)
    assert (found.quarantined, found.rejected) == (quarantined, rejected)


@pytest.mark.parametrize(
    ("policy", "quarantined", "rejected"),
    [
        ({"p": "reject", "testing": "y"}, 67, 0),
        ({"p": "quarantine", "testing": "y"}, 0, 0),
        ({"p": "none", "sp": "reject", "testing": "y"}, 7, 0),
        ({"p": "reject", "testing": "n", "pct": 100}, 0, 67),
        ({"p": "reject", "pct": 0}, 67, 0),
        ({"p": "quarantine", "pct": 50}, 34, 0),
        ({"p": "reject", "testing": "y", "pct": 0}, 0, 0),
    ],
)
def test_a_test_counts_a_step_lower_and_pct_a_share(
    facts: Facts, policy: dict[str, Any], quarantined: int, rejected: int
) -> None:
    found = what_if(facts, "example.com", Policy("example.com", **policy), 30)
    assert (found.quarantined, found.rejected) == (quarantined, rejected)


def test_of_pct_the_rest_gets_the_policy_below(facts: Facts) -> None:
    found = what_if(facts, "example.com", Policy("example.com", p="reject", pct=10), 30)
    assert (found.quarantined, found.rejected, found.legitimate) == (60, 7, 30)
    assert found.senders[["sender", "action", "messages"]].values.tolist()[:2] == [
        ["desk", "quarantine", 27],
        ["desk", "reject", 3],
    ]


def test_strict_alignment_stops_what_another_domain_of_the_organisation_signed(
    facts: Facts,
) -> None:
    assert numbers(facts, p="reject", adkim="s")["legitimate"] == 30
    assert numbers(facts, p="reject", aspf="s")["legitimate"] == 30
    assert numbers(facts, p="reject", adkim="s", aspf="s")["legitimate"] == 230


def test_where_no_raw_result_is_shown_the_evaluated_one_is_kept(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, report(make_record(messages=5, dkim=(), spf=())))
    found = load_facts(lake, NOW, settings=Settings())
    strict = Policy("example.com", p="reject", adkim="s", aspf="s")
    assert what_if(found, "example.com", strict).passing == 5


def test_relaxed_alignment_lets_through_what_strict_alignment_stops_today(tmp_path: Path) -> None:
    lake = lake_of(
        tmp_path,
        report(
            make_failing(
                messages=5,
                dkim=(DkimResult("mail.example.com", "s", "pass"),),
                spf=spf("mail.example.com"),
            ),
            policy={"adkim": "s", "aspf": "s"},
        ),
    )
    found = load_facts(lake, NOW, settings=Settings())
    assert what_if(found, "example.com", Policy("example.com", p="reject")).rejected == 0
    assert what_if(found, "example.com", Policy("example.com", p="reject", adkim="s")).rejected == 0
    both = Policy("example.com", p="reject", adkim="s", aspf="s")
    assert what_if(found, "example.com", both).rejected == 5


def test_all_days_of_the_facts_count_unless_fewer_are_asked_for(facts: Facts) -> None:
    assert numbers(facts, days=None, p="reject")["unwanted"] == 517


def test_a_domain_that_was_not_seen(facts: Facts) -> None:
    for known in (facts, empty_facts(NOW, day(90))):
        found = what_if(known, "unseen.example", Policy("unseen.example", p="reject"))
        assert (found.messages, found.rejected) == (0, 0)
        assert found.senders.dtypes.astype(str).to_dict() == dict(COLUMNS)


def test_facts_are_not_changed(facts: Facts) -> None:
    before = facts.alignments.copy(deep=True)
    what_if(facts, "example.com", Policy("example.com", p="reject", adkim="s"))
    pd.testing.assert_frame_equal(before, facts.alignments)
