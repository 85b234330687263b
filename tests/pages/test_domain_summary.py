"""Facts of one domain → the frames and tables of its page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.errors import SettingsError
from dmarckit.core.window import last_days
from dmarckit.facts.frames import Facts, empty_facts
from dmarckit.findings.whatif import what_if
from dmarckit.pages.sections import domain, explore, policy as proposal
from dmarckit.reports.model import Policy
from tests.pages.test_tables import HOSTILE, text
from tests.support.finding_facts import MESSAGES, SIGNATURE

DAY = datetime(2026, 11, 23, tzinfo=UTC)
WINDOW = last_days(3, "2026-11-23")
BEFORE = DAY - timedelta(days=4)
OTHER = {"sender": "Example Mail", "sender_kind": "email service", "in_inventory": False}
FAILS = {"class": "unauthenticated", "da": False, "sa": False}
QUOTED: dict[str, Any] = {
    "domain": "example.com",
    "reporter": "Receiver One",
    "begin": DAY,
    "end": DAY + timedelta(days=1),
    "pct": None,
    **dict.fromkeys(["p", "sp", "np", "testing", "adkim", "aspf"], ""),
}
REPORT = {"domain": "example.com", "reporter": "Receiver One", "begin": DAY, "end": WINDOW.end}


def frame(base: dict[str, Any], rows: tuple[dict[str, Any], ...]) -> pd.DataFrame:
    return pd.DataFrame([base | row for row in rows], columns=list(base))


def messages(*rows: dict[str, Any], **frames: pd.DataFrame) -> Facts:
    """Facts with these messages; what is not said is that of `MESSAGES`."""
    base = MESSAGES | {"day": DAY, "reporter": "Receiver One"}
    return empty_facts(WINDOW.end, BEFORE, messages=frame(base, rows), **frames)


def test_headline_compares_with_the_window_before() -> None:
    reports = frame(REPORT | {"received": None}, ({}, {"reporter": "Two"}, {"begin": BEFORE}))
    made = messages(
        {"messages": 30}, FAILS | {"messages": 10}, {"day": BEFORE, "messages": 5}, reports=reports
    )
    found = domain.headline(made, WINDOW).set_index("measure")
    assert found["value"].to_dict() == {
        "messages": 40,
        "pass_share": 0.75,
        "failing": 10,
        "reports": 2,
        "reporters": 2,
        "domains": 1,
    }
    assert found["before"]["pass_share"] == 1


def test_spf_by_dkim() -> None:
    made = messages({"messages": 7}, {"sa": False, "messages": 2}, FAILS | {"messages": 1})
    found = domain.checks_frame(made.messages)
    assert found.to_dict("list") == {
        "check": ["DKIM passes", "DKIM fails"],
        "spf_passes": [7, 0],
        "spf_fails": [2, 1],
    }
    assert "70.0 %" in text(domain.checks(found))


def test_senders_with_what_they_are_and_were_before() -> None:
    sources = frame(
        {"domain": "example.com", "sender": "example.com", "source_ip": "192.0.2.1"}
        | {"messages": 5, "first_day": DAY, "last_day": DAY},
        ({}, {"source_ip": "8.8.8.8", "messages": 9}),
    )
    made = messages(
        {"messages": 60},
        {"messages": 20, "day": BEFORE},
        OTHER | FAILS | {"messages": 3, "disposition": "reject"},
        OTHER | FAILS | {"messages": 1, "class": "broken_dkim"},
        {"domain": "other.example", "messages": 99},
        sources=sources,
    )
    found = domain.senders_frame(made, "Example.com", WINDOW)
    expected = pd.DataFrame(
        {
            "sender": ["example.com", "Example Mail"],
            "sender_kind": ["own", "email service"],
            "in_inventory": [True, False],
            "messages": [60, 4],
            "before": [20, 0],
            "dkim_share": [1.0, 0.0],
            "spf_share": [1.0, 0.0],
            "classes": [{"aligned": 60}, {"unauthenticated": 3, "broken_dkim": 1}],
            "blocked": [0, 3],
            "first_seen": [pd.Timestamp(BEFORE), pd.Timestamp(DAY)],
            "last_seen": [pd.Timestamp(DAY), pd.Timestamp(DAY)],
            "countries": ["US", float("nan")],
        }
    )
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    shown = text(domain.senders(found))
    assert "proves nothing 3, own mail, DKIM breaks 1" in shown
    assert "email service, not known as a sender of yours" in shown


def test_selectors_name_who_signs() -> None:
    base = SIGNATURE | {"day": DAY, "reporter": "Receiver One"}
    rows = ({"messages": 30}, {"sender": "Relay", "messages": 10, "passed": False})
    made = messages(signatures=frame(base, rows))
    found = domain.selectors_frame(made, "example.com", WINDOW)
    assert found.to_dict("records") == [
        {
            "dkim_domain": "example.com",
            "selector": "s1",
            "aligned": True,
            "messages": 40,
            "pass_share": 0.75,
            "senders": 2,
            "sender": "example.com",
        }
    ]
    assert "and 1 other" in text(domain.selectors(found))


def test_forwarders_with_what_became_of_the_signature() -> None:
    relay = OTHER | {"sender": "Relay", "sa": False}
    made = messages(
        relay | {"class": "forwarded", "messages": 8},
        relay | FAILS | {"class": "modified", "messages": 2, "disposition": "quarantine"},
        {"messages": 50},
    )
    found = domain.forwarders_frame(made, "example.com", WINDOW)
    assert found.to_dict("records") == [
        {
            "sender": "Relay",
            "sender_kind": "email service",
            "messages": 10,
            "survived": 8,
            "modified": 2,
            "blocked": 2,
            "reporters": 1,
        }
    ]


def test_policies_as_they_were_quoted() -> None:
    older = {"p": "none", "begin": BEFORE}
    made = messages(policies=frame(QUOTED, (older, {"p": "reject", "sp": "none", "adkim": "s"})))
    found = domain.policy_history(made, "example.com")
    assert found[["p", "sp", "reports"]].to_numpy().tolist() == [
        ["reject", "none", 1],
        ["none", "none", 1],
    ]
    assert "adkim=s" in text(domain.policies(found))
    assert proposal.present(made, "example.com").p == "reject"


def test_without_facts_every_table_says_so() -> None:
    made = messages()
    found = [
        domain.checks(domain.checks_frame(made.messages)),
        domain.senders(domain.senders_frame(made, "example.com", WINDOW)),
        domain.selectors(domain.selectors_frame(made, "example.com", WINDOW)),
        domain.forwarders(domain.forwarders_frame(made, "example.com", WINDOW)),
        domain.policies(domain.policy_history(made, "example.com")),
    ]
    assert all("dk-empty" in part.markup for part in found)
    assert domain.headline(made, WINDOW)["value"].fillna(0).sum() == 0


def test_the_proposal_is_the_next_step_unless_one_is_written() -> None:
    made = messages(policies=frame(QUOTED, ({"p": "quarantine"},)))
    assert proposal.proposed(made, "example.com") == Policy("example.com", "reject", testing="y")
    assert proposal.proposed(made, "example.com", "p=none").p == "none"
    assert proposal.proposed(messages(), "example.com").p == "reject"
    with pytest.raises(SettingsError):
        proposal.proposed(made, "example.com", "p=perhaps")


def test_what_if_warns_of_mail_that_would_be_lost() -> None:
    base = {"domain": "example.com", "day": DAY, "sender": "<b>Mail", "header_from": "example.com"}
    base |= {"class": "broken_dkim", "in_inventory": True, "messages": 4}
    base |= dict.fromkeys(
        ["da", "sa", "dkim_relaxed", "dkim_strict", "spf_relaxed", "spf_strict"], False
    )
    made = messages(alignments=frame(base, ({},)))
    policy = Policy("example.com", p="reject")
    shown = proposal.whatif(what_if(made, "example.com", policy), Policy("example.com", "none"), 3)
    assert "would have stopped 4 of 4 messages in 3 days" in text(shown)
    assert "set up these senders first" in shown.markup
    assert "v=DMARC1; p=reject; rua=" in shown.markup
    assert "<b>Mail" not in shown.markup


@pytest.mark.parametrize("evil", HOSTILE)
def test_outside_text_is_escaped_in_every_table(evil: str) -> None:
    names = dict.fromkeys(["sender", "sender_kind", "reporter"], evil)
    base = SIGNATURE | {"day": DAY, "reporter": evil, "dkim_domain": evil, "selector": evil}
    made = messages(
        names | {"class": "forwarded"},
        signatures=frame(base, ({},)),
        policies=frame(QUOTED, (dict.fromkeys(["p", "sp", "np"], evil),)),
    )
    parts = [
        domain.senders(domain.senders_frame(made, "example.com", WINDOW)),
        domain.selectors(domain.selectors_frame(made, "example.com", WINDOW)),
        domain.forwarders(domain.forwarders_frame(made, "example.com", WINDOW)),
        domain.policies(domain.policy_history(made, "example.com")),
        explore.show(pd.DataFrame({evil: [evil, [evil]]})),
        explore.show(explore.pivot(made.messages, "sender", "class")),
    ]
    markup = "".join(part.markup for part in parts)
    for unsafe in ("<script", "<img", "\u202e", "\x1b"):
        assert unsafe not in markup


def test_pivot_and_the_largest_domain() -> None:
    made = messages({"messages": 5}, OTHER | {"messages": 9}, FAILS | {"messages": 2})
    assert explore.pivot(made.messages, "sender", "class").to_dict("list") == {
        "sender": ["Example Mail", "example.com"],
        "messages": [9, 7],
        "aligned": [9, 5],
        "unauthenticated": [0, 2],
    }
    assert explore.largest_domain(made) == explore.largest_domain(messages()) == "example.com"


def test_numbers_of_a_query_are_written_as_numbers() -> None:
    result = pd.DataFrame({"n": [Decimal(12345), None], "share": [0.123456, 1.0], "at": [DAY, DAY]})
    shown = text(explore.show(result))
    assert "12,345" in shown
    assert "0.1235" in shown
    assert "2026-11-23 00:00" in shown


def test_requirements_by_sender_with_what_the_code_means() -> None:
    """4xx is a delay, 5xx a refusal, of the same rule."""
    usual = {"domain": "example.com", "day": DAY, "reporter": "google.com", "messages": 5}
    usual |= {"sender": "Example Mail", "code": "4.7.30", "smtp": "421"}
    rows = frame(
        usual,
        ({}, {"code": "5.7.30", "smtp": "550", "messages": 9}, {"day": BEFORE, "messages": 70}),
    )
    found = domain.requirements_frame(messages(requirements=rows), "example.com", WINDOW)
    columns = ["code", "sender", "in_inventory", "messages", "refused", "reporters"]
    assert found[columns].values.tolist() == [
        ["5.7.30", "Example Mail", False, 9, 9, 1],
        ["4.7.30", "Example Mail", False, 5, 0, 1],
    ]
    shown = text(domain.requirements(found))
    assert "5.7.30|DKIM does not pass|9|9|no|1|2026-11-23|" in shown.replace("||", "|")
    nothing = domain.requirements_frame(messages(), "example.com", WINDOW)
    assert list(nothing.columns) == list(found.columns)
    assert "No receiver says that a requirement is missed." in text(domain.requirements(nothing))
