"""The ladder to p=reject, changes of the record, and receivers that ignore it."""

from __future__ import annotations

from typing import Any

import pytest

from dmarckit.findings.dkim import two_proportion_z
from dmarckit.findings.dmarc_policy import next_step, policy_tags, quoted_policy
from dmarckit.findings.model import wilson_upper
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
        "example.com can move to p=quarantine; t=y: of 2,568 messages in 30 days 2,408 are not "
        "from strangers, and 8 of these fail that may be legitimate (0.3%; 95% upper bound "
        "0.7%, limit 5.0%)."
    )
    assert finding.action.startswith(
        "DNS admin: in the TXT record _dmarc.example.com set p=quarantine; t=y"
    )
    assert "160 messages of spoofed mail, 0 modified" in finding.action
    assert "and 8 (Salesdesk) that may be legitimate" in finding.action
    assert "take p=quarantine as p=none" in finding.action
    assert "RFC 7489 ignore t" in finding.action
    assert "Roll back with p=none, without t." in finding.action
    assert (finding.record, finding.title) == ((), "Ready to move to p=quarantine; t=y")
    assert "dmarckit dns check" in finding.action


@pytest.mark.parametrize(
    "frames",
    [
        {"policies": policies(p="reject")},
        {"policies": policies([]), "messages": messages()},
        {"messages": messages() + messages(messages=3, **UNALIGNED)},
        {
            "messages": messages()
            + messages(messages=2, **{**STRANGER, "in_inventory": True, "ours": True})
        },
        {"messages": messages(reporters=FOUR[:1])},
        {"messages": messages(range(1, 11)), "reports": reported(range(1, 11))},
        {"policies": policies(range(6, 61)) + policies(range(1, 6), p="quarantine")},
        {
            "messages": messages()
            + messages([3], messages=2, disposition="reject", **{**UNALIGNED, "sender": "Small"})
            + messages(
                [4], messages=2, disposition="quarantine", **{**UNALIGNED, "sender": "Small"}
            )
        },
        {
            "signatures": daily(SIGNATURE, range(4, 61), FOUR)
            + daily(SIGNATURE, range(1, 4), FOUR, passed=False)
        },
    ],
    ids=[
        "the last step",
        "no policy known",
        "13% not aligned",
        "9% of our own host fail",
        "one reporter",
        "ten days",
        "changed five days ago",
        "a small sender loses all its mail",
        "an open broken key",
    ],
)
def test_not_ready(frames: dict[str, Any]) -> None:
    assert not found(facts(**{"messages": messages(), **frames}), "policy_ready")


def test_spoofing_does_not_make_a_domain_ready() -> None:
    assert not found(facts(messages=few(60) + messages(**STRANGER)), "policy_ready")


SIGNED, UNSIGNED = {"class": "dkim_only"}, {"class": "spf_only", "da": False}


@pytest.mark.parametrize(
    ("unsigned", "ready"), [(1, True), (3, False)], ids=["5% unsigned", "15% unsigned"]
)
@pytest.mark.parametrize("tags", [{"p": "quarantine"}, {"p": "reject", "testing": "y"}])
def test_before_reject_nine_of_ten_own_messages_are_signed(
    tags: dict[str, str], unsigned: int, ready: bool
) -> None:
    rows = messages(messages=20 - unsigned, **SIGNED) + messages(messages=unsigned, **UNSIGNED)
    some = facts(messages=rows, policies=policies(**tags))
    assert bool(found(some, "policy_ready")) == ready


def test_quarantine_does_not_need_signatures() -> None:
    assert only(facts(messages=messages(**UNSIGNED)), "policy_ready").subject.startswith("p=q")


def test_an_unidentified_sender_counts_as_legitimate() -> None:
    other = {**STRANGER, "class": "unidentified", "ours": True}
    assert not found(facts(messages=messages() + messages(messages=3, **other)), "policy_ready")
    denied = {**STRANGER, "class": "unaligned_sender"}
    assert found(facts(messages=messages() + messages(messages=3, **denied)), "policy_ready")


def test_a_domain_that_sends_nothing_is_closed_in_one_step() -> None:
    finding = only(facts(messages=messages(messages=1, **STRANGER)), "policy_ready")
    assert finding.subject == "p=reject; sp=reject"
    assert "none of 120 messages in 30 days is from a sender of yours" in finding.summary
    assert "set p=reject; sp=reject" in finding.action
    assert "v=spf1 -all" in finding.action
    for tags in ({"p": "reject"}, {"p": "reject", "sp": "reject", "np": "reject"}):
        some = facts(messages=messages(messages=1, **STRANGER), policies=policies(**tags))
        assert not found(some, "policy_ready")


@pytest.mark.parametrize(
    "rows", [messages([40], messages=1), messages([80], messages=1, **UNALIGNED)]
)
def test_what_sent_once_in_three_months_is_not_parked(rows: list[dict[str, Any]]) -> None:
    days = range(1, 85)
    some = facts(messages=messages(days, **STRANGER) + rows, reports=reported(days))
    assert not found(some, "policy_ready")


def changed(old: dict[str, Any], new: dict[str, Any], reporters: Any = FOUR) -> Any:
    before = policies(range(4, 61), FOUR, **old) + policies(
        range(1, 4), [r for r in FOUR if r not in reporters], **old
    )
    return facts(messages=messages(), policies=before + policies(range(1, 4), reporters, **new))


def test_a_change_of_the_policy_is_one_finding() -> None:
    finding = only(changed({"p": "none"}, {"p": "quarantine"}), "policy_changed")
    assert (finding.subject, finding.severity, finding.messages) == ("p", "info", 0)
    assert finding.summary == (
        "4 reporters quote p=quarantine for example.com since 21 Nov; before it was p=none."
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


STRICT = {
    "sender": "Newsdesk",
    "class": "unaligned_sender",
    "da": False,
    "sa": False,
    "header_from": "example.com",
}


def strict_since(ago: int, blocked: str, **fields: Any) -> Any:
    """adkim=s since some days, and a sender of ours that fails since."""
    quoted = policies(range(ago, 61), p="reject") + policies(range(1, ago), p="reject", adkim="s")
    before = messages(range(ago, 61), sender="Newsdesk", messages=5)
    since = messages(range(1, ago), messages=5, disposition=blocked, **{**STRICT, **fields})
    return facts(messages=messages() + before + since, policies=quoted)


def test_a_change_that_loses_wanted_mail_is_critical_whatever_its_direction() -> None:
    finding = only(strict_since(4, "reject"), "policy_changed")
    assert (finding.subject, finding.severity, finding.lost) == ("adkim", "critical", 60)
    assert "60 messages of Newsdesk fail" in finding.summary
    assert "0 delivered, 0 quarantined, 60 rejected" in finding.summary
    assert "adkim=s" in finding.action
    assert f"{finding.since}" == "2026-11-21"


def test_it_stays_open_while_mail_is_lost() -> None:
    finding = only(strict_since(20, "quarantine"), "policy_changed")
    assert (finding.severity, f"{finding.since}") == ("critical", "2026-11-05")
    assert not found(strict_since(20, "none"), "policy_changed")


@pytest.mark.parametrize(
    ("some", "severity"),
    [
        (strict_since(4, "none"), "warning"),
        (strict_since(4, "reject", ours=False), "info"),
        (strict_since(4, "reject", sender="Newcomer"), "info"),
    ],
    ids=["delivered anyway", "spoofed", "not seen before"],
)
def test_what_else_a_strict_change_may_do(some: Any, severity: str) -> None:
    assert only(some, "policy_changed").severity == severity


def test_a_stricter_p_that_loses_mail_names_the_sender() -> None:
    quoted = policies(range(4, 61)) + policies(range(1, 4), p="quarantine")
    rows = messages(range(4, 61), messages=5, **UNALIGNED)
    rows += messages(range(1, 4), messages=5, disposition="quarantine", **UNALIGNED)
    finding = only(facts(messages=messages() + rows, policies=quoted), "policy_changed")
    assert (finding.subject, finding.severity) == ("p", "critical")
    assert "60 messages of Salesdesk that fail are no longer delivered" in finding.summary


def test_a_policy_that_would_block_wanted_mail_is_not_to_be_put_back() -> None:
    quoted = policies(range(4, 61), p="reject") + policies(range(1, 4))
    rows = messages() + messages(messages=2, **UNALIGNED)
    finding = only(facts(messages=rows, policies=quoted), "policy_changed")
    assert "before you put p=reject back" in finding.action
    assert finding.record == ()


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


def test_a_step_keeps_what_it_does_not_concern() -> None:
    policy = Policy("example.com", p="none", sp="reject", np="reject", pct=100, adkim="s", aspf="r")
    assert policy_tags(policy) == "p=none; sp=reject; adkim=s"
    step = next_step(policy)
    assert step is not None
    assert policy_tags(step) == "p=quarantine; sp=reject; t=y; adkim=s"


def test_statistics_of_nothing() -> None:
    assert wilson_upper(0, 0) == 1
    assert two_proportion_z(1, 0, 1, 0) == 0
    assert two_proportion_z(5, 5, 5, 5) == 0
