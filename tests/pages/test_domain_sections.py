"""The sections about one domain: who sends as it, its policy, and questions of one's own."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest

from dmarckit.core.errors import SettingsError
from dmarckit.pages.page import Page
from tests.support.finding_facts import SIGNATURE
from tests.support.pages import (
    BEFORE,
    DAY,
    FAILS,
    HOSTILE,
    OTHER,
    QUOTED,
    UNSAFE,
    frame,
    markup,
    messages,
    page_about,
    text,
)


def test_the_flow_leads_from_senders_to_outcomes() -> None:
    made = messages(
        {"messages": 7},
        {"sa": False, "messages": 2},
        FAILS | {"messages": 4, "disposition": "reject", "sender": "One"},
        FAILS | {"messages": 1, "sender": "Two"},
    )
    found = page_about(made).flow()
    assert found.data.to_numpy().tolist() == [
        ["example.com", "both", "delivered", "authenticated", 7],
        ["example.com", "dkim", "delivered", "authenticated", 2],
        ["forged", "none", "delivered", "forged", 1],
        ["forged", "none", "rejected", "forged", 4],
    ]
    shown = markup(found)
    for words in ("example.com 9", "DKIM and SPF 7", "only DKIM 2", "neither 5", "rejected 4"):
        assert f">{words}</text>" in shown


def test_forged_mail_by_operator_and_country() -> None:
    made = messages(
        {"messages": 50},
        FAILS | {"messages": 4, "disposition": "reject", "sender": "One"},
        FAILS | {"messages": 3, "sender": "Two", "domain": "other.example"},
        sources=frame(
            {"domain": "example.com", "sender": "One", "source_ip": "192.0.2.1"}
            | {"messages": 4, "failed": 4, "first_day": DAY, "last_day": DAY},
            ({}, {"domain": "other.example", "sender": "Two", "source_ip": "192.0.2.9"}),
        ),
    )
    found = page_about(made).forged().data
    assert found[
        ["network", "messages", "delivered", "rejected", "domains"]
    ].to_numpy().tolist() == [["192.0.2.0/24", 7, 3, 4, 2]]
    assert "No forged mail" in text(page_about(messages({})).forged())


def test_networks_of_a_botnet_are_one_row_below_those_that_stand_out() -> None:
    addresses = {f"Bot {n}": f"2001:db8:{n:x}::7" for n in range(90)} | {"Big": "192.0.2.1"}
    rows = [FAILS | {"messages": 40 if name == "Big" else 1, "sender": name} for name in addresses]
    sent = {"domain": "example.com", "messages": 1, "failed": 1, "first_day": DAY, "last_day": DAY}
    sent |= {"sender": "", "source_ip": ""}
    sources = [{"sender": name, "source_ip": address} for name, address in addresses.items()]
    found = page_about(messages(*rows, sources=frame(sent, tuple(sources)))).forged()
    assert len(found.data) == 91
    shown = text(found)
    assert "192.0.2.0/24" in shown
    assert "90 networks with under 2% each|–|90|" in shown
    assert "2001:db8:" not in shown
    alike = messages(*rows[:9], sources=frame(sent, tuple(sources[:9])))
    assert text(page_about(alike).forged()).count("2001:db8:") == 9, "each of few stands out"


def test_all_forged_mail_is_one_sender() -> None:
    made = messages(
        {"messages": 9, "class": "forwarded", "sender": "Relay"},
        {"messages": 5},
        FAILS | {"messages": 40, "sender": "One"},
        FAILS | {"messages": 30, "sender": "Two"},
    )
    found = page_about(made, "example.com").senders()
    assert found.data["sender"].tolist() == ["One", "Two", "Relay", "example.com"]
    shown = text(found)
    assert shown.index("example.com") < shown.index("Relay") < shown.index("2 sources of forged")
    assert "2 sources of forged mail|70" in shown
    assert "One" not in shown


def test_senders_with_what_they_are_and_were_before() -> None:
    sources = frame(
        {"domain": "example.com", "sender": "example.com", "source_ip": "192.0.2.1"}
        | {"messages": 5, "failed": 0, "first_day": DAY, "last_day": DAY},
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
    found = page_about(made, "Example.com").senders()
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
    pd.testing.assert_frame_equal(found.data, expected, check_dtype=False)
    shown = text(found)
    assert "unauthenticated 3, own mail, DKIM failing 1" in shown
    assert "1 source of forged mail" in shown


def test_selectors_name_who_signs() -> None:
    base = SIGNATURE | {"day": DAY, "reporter": "Receiver One"}
    rows = ({"messages": 30}, {"sender": "Relay", "messages": 10, "passed": False})
    made = messages(signatures=frame(base, rows))
    found = page_about(made, "example.com").selectors()
    assert found.data.to_dict("records") == [
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
    assert "and 1 other" in text(found)


def test_forwarders_with_what_became_of_the_signature() -> None:
    relay = OTHER | {"sender": "Relay", "sa": False}
    made = messages(
        relay | {"class": "forwarded", "messages": 8},
        relay | FAILS | {"class": "modified", "messages": 1, "disposition": "quarantine"},
        # as a receiver says of it, and no signature proves it
        relay | FAILS | {"class": "forwarded", "messages": 1, "disposition": "quarantine"},
        {"messages": 50},
    )
    found = page_about(made, "example.com").forwarders().data
    assert found.to_dict("records") == [
        {
            "sender": "Relay",
            "sender_kind": "email service",
            "messages": 10,
            "survived": 8,
            "broken": 2,
            "blocked": 2,
            "reporters": 1,
        }
    ]


def test_the_road_names_who_is_missing_for_the_next_step() -> None:
    made = messages(
        alignments=frame(ALIGNMENT, ({},)), policies=frame(QUOTED, ({"p": "quarantine"},))
    )
    found = page_about(made, "example.com").road()
    assert found.data["state"].tolist() == ["done", "done", "now", "next", "later"]
    assert found.data["policy"].tolist()[2:] == ["p=quarantine", "p=reject; t=y", "p=reject"]
    assert "&lt;b&gt;Mail: 4 messages that may be legitimate" in markup(found)


@pytest.mark.parametrize(("p", "said"), [("reject", "its last step"), ("", "No policy was quoted")])
def test_the_road_has_an_end_and_a_beginning(p: str, said: str) -> None:
    made = messages({"messages": 9}, policies=frame(QUOTED, ({"p": p},)))
    assert said in text(page_about(made, "example.com").road())


def test_without_facts_every_table_says_so() -> None:
    page = page_about(domain="example.com")
    for found in (
        page.flow(),
        page.senders(),
        page.forged(),
        page.selectors(),
        page.forwarders(),
        page.reporter_days(),
        page.what_if(),
    ):
        assert "dk-empty" in markup(found)
        assert len(found.data.columns) >= 3
    assert page.headline().data["value"].fillna(0).sum() == 0


def what_if(page: Page, policy: str = "") -> str:
    return text(page.what_if(policy))


def test_the_proposal_is_the_next_step_unless_one_is_written() -> None:
    made = messages(
        alignments=frame(ALIGNMENT, ({},)), policies=frame(QUOTED, ({"p": "quarantine"},))
    )
    page = page_about(made, "example.com")
    assert "p=reject would have stopped" in what_if(page)  # what t=y is a test of
    assert "p=reject; t=y would have stopped" in what_if(page, "p=reject; t=y")
    assert "p=none would have stopped" in what_if(page, "p=none")
    unknown = page_about(messages(alignments=frame(ALIGNMENT, ({},))), "example.com")
    assert "p=reject would have stopped" in what_if(unknown)
    with pytest.raises(SettingsError):
        page.what_if("p=perhaps")


ALIGNMENT = {
    "domain": "example.com",
    "day": DAY,
    "sender": "<b>Mail",
    "header_from": "example.com",
    "class": "broken_dkim",
    "in_inventory": True,
    "messages": 4,
    **dict.fromkeys(
        ["da", "sa", "dkim_relaxed", "dkim_strict", "spf_relaxed", "spf_strict"], False
    ),
}


def test_what_if_warns_of_mail_that_would_be_lost() -> None:
    policies = frame(QUOTED, ({"p": "none"},))
    made = messages(alignments=frame(ALIGNMENT, ({},)), policies=policies)
    shown = page_about(made, "example.com").what_if("p=reject")
    assert "would have stopped 4 of 4 messages in 3 days" in text(shown)
    assert "Fix these senders first" in markup(shown)
    assert "dk-record" not in markup(shown)
    assert "<b>Mail" not in markup(shown)


@pytest.mark.parametrize("evil", HOSTILE)
def test_outside_text_is_escaped_in_every_table(evil: str) -> None:
    names = dict.fromkeys(["sender", "sender_kind", "reporter"], evil)
    base = SIGNATURE | {"day": DAY, "reporter": evil, "dkim_domain": evil, "selector": evil}
    made = messages(
        names | {"class": "forwarded"},
        signatures=frame(base, ({},)),
        policies=frame(QUOTED, (dict.fromkeys(["p", "sp", "np"], evil),)),
    )
    page = page_about(made, "example.com")
    shown = markup(
        page.senders(),
        page.selectors(),
        page.forwarders(),
        page.flow(),
        page.road(),
        page.table(pd.DataFrame({evil: [evil, [evil]]})),
        page.pivot(),
    )
    for unsafe in UNSAFE:
        assert unsafe not in shown


def test_pivot() -> None:
    made = messages({"messages": 5}, OTHER | {"messages": 9}, FAILS | {"messages": 2})
    assert page_about(made).pivot("sender", "class").data.to_dict("list") == {
        "sender": ["Example Mail", "example.com"],
        "messages": [9, 7],
        "aligned": [9, 5],
        "unauthenticated": [0, 2],
    }


def test_a_page_about_all_domains_shows_the_senders_of_all() -> None:
    made = messages({"messages": 5}, {"domain": "big.example", "messages": 9, "sender": "Big"})
    page = page_about(made)
    assert page.senders().data["sender"].tolist() == ["Big", "example.com"]
    assert "Nobody sent as big.example" in text(page.what_if())
    assert "Nobody sent as example.com" in text(page_about().what_if())


def test_numbers_of_a_query_are_written_as_numbers() -> None:
    result = pd.DataFrame({"n": [Decimal(12345), None], "share": [0.123456, 1.0], "at": [DAY, DAY]})
    shown = text(page_about().table(result))
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
    section = page_about(messages(requirements=rows), "example.com").gmail_requirements()
    found = section.data
    columns = ["code", "sender", "in_inventory", "messages", "refused", "reporters"]
    assert found[columns].values.tolist() == [
        ["5.7.30", "Example Mail", False, 9, 9, 1],
        ["4.7.30", "Example Mail", False, 5, 0, 1],
    ]
    shown = text(section)
    assert "5.7.30|DKIM does not pass|9|9|no|1|2026-11-23|" in shown.replace("||", "|")
    nothing = page_about(domain="example.com").gmail_requirements()
    assert list(nothing.data.columns) == list(found.columns)
    assert "No receiver says that a requirement is missed." in text(nothing)
