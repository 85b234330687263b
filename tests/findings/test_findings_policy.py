"""The ladder to p=reject, changes of the record, and receivers that ignore it."""

from __future__ import annotations

from typing import Any

import pytest

from dmarckit.findings.dmarc_policy import next_step, quoted_policy, tags_of, txt_record
from dmarckit.findings.model import two_proportion_z, wilson_upper
from dmarckit.reports.model import Policy
from tests.support.finding_facts import (
    FOUR,
    SIGNATURE,
    STRANGER,
    UNALIGNED,
    daily,
    facts,
    found,
    messages,
    only,
    policies,
    reported,
)

LADDER = [
    ({"p": "none"}, "p=quarantine; t=y", 73),
    ({"p": "quarantine", "testing": "y"}, "p=quarantine", 189),
    ({"p": "quarantine", "pct": 50}, "p=quarantine", 189),
    ({"p": "quarantine"}, "p=reject; t=y", 381),
    ({"p": "reject", "testing": "y"}, "p=reject", 765),
]


def few(number: int) -> list[dict[str, Any]]:
    """That many messages in the last 30 days, at two reporters."""
    half = number // 2
    return messages([5], messages=half, reporters=FOUR[:1]) + messages(
        [6], messages=number - half, reporters=FOUR[1:2]
    )


@pytest.mark.parametrize(("tags", "step", "least"), LADDER)
def test_each_step_needs_its_number_of_good_messages(
    tags: dict[str, Any], step: str, least: int
) -> None:
    quoted = policies(**tags)
    assert only(facts(messages=few(least), policies=quoted), "policy_ready").subject == step
    assert not found(facts(messages=few(least - 1), policies=quoted), "policy_ready")


def test_what_a_ready_domain_is_told() -> None:
    rows = messages() + messages([1, 2], **STRANGER) + messages([3], messages=2, **UNALIGNED)
    finding = only(facts(messages=rows), "policy_ready")
    assert finding.severity == "good"
    assert finding.summary == (
        "example.com is ready for p=quarantine; t=y: of 2,408 messages in 30 days 8 fail that may "
        "be legitimate (0.3 %; with 95 % certainty below 0.7 %, allowed are 5.0 %)."
    )
    assert "publish at _dmarc.example.com: v=DMARC1; p=quarantine; t=y; rua=" in finding.action
    assert "would have hit 160 messages of strangers, 0 that" in finding.action
    assert "RFC 7489 ignore t" in finding.action
    assert "To go back: v=DMARC1; p=none; rua=" in finding.action


@pytest.mark.parametrize(
    "frames",
    [
        {"policies": policies(p="reject")},
        {"policies": policies([]), "messages": messages()},
        {"messages": messages() + messages(messages=3, **UNALIGNED)},
        {"messages": messages() + messages(messages=2, **{**STRANGER, "in_inventory": True})},
        {"messages": messages(reporters=FOUR[:1])},
        {"messages": messages(range(1, 11)), "reports": reported(range(1, 11))},
        {"policies": policies(range(6, 61)) + policies(range(1, 6), p="quarantine")},
        {
            "signatures": daily(SIGNATURE, range(4, 61), FOUR)
            + daily(SIGNATURE, range(1, 4), FOUR, passed=False)
        },
    ],
    ids=[
        "the last step",
        "no policy known",
        "13 % not aligned",
        "9 % of our own host fail",
        "one reporter",
        "ten days",
        "changed five days ago",
        "an open broken key",
    ],
)
def test_not_ready(frames: dict[str, Any]) -> None:
    assert not found(facts(**{"messages": messages(), **frames}), "policy_ready")


def test_spoofing_does_not_make_a_domain_ready() -> None:
    assert not found(facts(messages=few(60) + messages(**STRANGER)), "policy_ready")


def test_a_parked_domain_is_ready_when_only_strangers_use_it() -> None:
    finding = only(facts(messages=messages(**STRANGER)), "policy_ready")
    assert "none came from a known sender" in finding.summary


def changed(old: dict[str, Any], new: dict[str, Any], reporters: Any = FOUR) -> Any:
    before = policies(range(4, 61), FOUR, **old) + policies(
        range(1, 4), [r for r in FOUR if r not in reporters], **old
    )
    return facts(messages=messages(), policies=before + policies(range(1, 4), reporters, **new))


def test_a_change_of_the_policy_is_one_finding() -> None:
    finding = only(changed({"p": "none"}, {"p": "quarantine"}), "policy_changed")
    assert (finding.subject, finding.severity, finding.messages) == ("p", "info", 0)
    assert finding.summary == (
        "4 reporters quote p=quarantine for example.com since 2026-11-21; before it was p=none."
    )


@pytest.mark.parametrize(
    ("old", "new", "subject", "severity"),
    [
        ({"p": "reject"}, {"p": "none"}, "p", "warning"),
        ({"p": "reject"}, {"p": "reject", "sp": "none"}, "sp", "warning"),
        ({"p": "quarantine"}, {"p": "quarantine", "testing": "y"}, "t", "warning"),
        ({"p": "quarantine", "testing": "y"}, {"p": "quarantine"}, "t", "info"),
        ({"p": "quarantine"}, {"p": "quarantine", "pct": 20}, "pct", "warning"),
        ({"adkim": "r"}, {"adkim": "s"}, "adkim", "info"),
    ],
)
def test_weaker_is_a_warning(
    old: dict[str, Any], new: dict[str, Any], subject: str, severity: str
) -> None:
    finding = only(changed(old, new), "policy_changed")
    assert (finding.subject, finding.severity) == (subject, severity)


def test_a_step_with_t_is_not_weaker() -> None:
    some = changed({"p": "quarantine"}, {"p": "reject", "testing": "y"})
    assert {f.subject: f.severity for f in found(some, "policy_changed")} == {
        "p": "info",
        "t": "info",
    }


@pytest.mark.parametrize(
    "some",
    [
        changed(
            {"p": "none", "adkim": ""}, {"p": "none", "adkim": "r", "sp": "none", "np": "none"}
        ),
        changed({"p": "none"}, {"p": "reject"}, reporters=FOUR[:1]),
        facts(messages=messages(), policies=policies(range(1, 4))),
    ],
    ids=["defaults written out", "one of four reporters", "nothing before"],
)
def test_no_change(some: Any) -> None:
    assert not found(some, "policy_changed")


def test_a_receiver_that_delivers_what_should_be_rejected() -> None:
    rows = [
        {"domain": "example.com", "day": d["day"], "reporter": d["reporter"], "messages": 3}
        for d in messages(range(1, 6), reporters=FOUR[:1])
    ]
    some = facts(messages=messages(), unhonoured=rows, policies=policies(p="reject"))
    finding = only(some, "policy_not_honoured")
    assert (finding.subject, finding.severity, finding.messages) == (FOUR[0], "info", 15)
    assert not found(facts(messages=messages(), unhonoured=rows[:3]), "policy_not_honoured")


def test_the_policy_in_force_is_that_of_the_newest_reports() -> None:
    quoted = policies(range(5, 61), FOUR, p="none") + policies([1], FOUR[:3], p="reject")
    policy = quoted_policy("example.com", facts(policies=quoted).policies)
    assert (policy.p, policy.sp, policy.testing) == ("reject", None, None)


def test_t_is_believed_when_only_some_reporters_know_it() -> None:
    quoted = policies([1], FOUR[:3], p="reject") + policies([1], FOUR[3:], p="reject", testing="y")
    assert quoted_policy("example.com", facts(policies=quoted).policies).testing == "y"


def test_records_keep_what_must_not_get_lost() -> None:
    policy = Policy("example.com", p="none", sp="reject", np="reject", pct=100, adkim="s", aspf="r")
    assert txt_record(policy).startswith("v=DMARC1; p=none; sp=reject; adkim=s; rua=")
    step = next_step(policy)
    assert step is not None
    assert tags_of(step) == "p=quarantine; t=y"
    assert txt_record(step).startswith("v=DMARC1; p=quarantine; sp=reject; t=y; adkim=s; rua=")


def test_statistics_of_nothing() -> None:
    assert wilson_upper(0, 0) == 1
    assert two_proportion_z(1, 0, 1, 0) == 0
    assert two_proportion_z(5, 5, 5, 5) == 0
