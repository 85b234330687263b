"""Classes, owners of signatures, and the inventory, from rows written by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dmarckit.facts.classify import CLASSES, ROW, classify, inventory, owners

OWN, OTHER, SUB = ("example.com", "s1"), ("example.com", "n1"), "news.example.com"

BASE: dict[str, Any] = {
    "domain": "example.com",
    "sender": "office",
    "sender_kind": "own",
    "header_from": "example.com",
    "da": False,
    "sa": False,
    "passing": (),
    "broken": False,
    "foreign_pass": False,
    "contradicts": False,
    "forward_reason": False,
}
OWNERS = pd.DataFrame(
    [("example.com", "s1", "office"), ("example.com", "n1", "newsletter")],
    columns=["dkim_domain", "selector", "sender"],
)
INVENTORY = pd.DataFrame({"domain": "example.com", "sender": ["office", "newsletter"]})
UNIDENTIFIED = pd.DataFrame({"domain": "example.com", "sender": ["192.0.2.128/25", "office"]})
DENIED = pd.DataFrame({"domain": "example.com", "sender": ["mass mailer"]})
NOBODY = INVENTORY.iloc[:0]
STRANGER = {"sender": "192.0.2.0/24", "sender_kind": "unknown"}
STEADY = STRANGER | {"sender": "192.0.2.128/25"}
SERVICE = {"sender": "desk", "sender_kind": "ticketing"}


def rows(*changes: dict[str, Any]) -> pd.DataFrame:
    """Rows for `classify`; what is not said is that of a failing message of the office."""
    frame = pd.DataFrame([BASE | change for change in changes], columns=list(ROW))
    return frame.astype({c: bool for c, v in BASE.items() if isinstance(v, bool)})


def class_of(**change: Any) -> str:
    passed = pd.Series(["example.com", SUB])
    found = classify(rows(change), INVENTORY, OWNERS, passed, UNIDENTIFIED, DENIED)
    return str(found.iloc[0])


@pytest.mark.parametrize(
    ("expected", "change"),
    [
        ("aligned", {"da": True, "sa": True, "passing": (OWN,)}),
        ("dkim_only", {"da": True, "passing": (OWN,)}),
        ("dkim_only", {"da": True, "passing": (OTHER, OWN)}),
        ("forwarded", {"da": True, "passing": (OTHER,)}),
        ("forwarded", STRANGER | {"da": True, "passing": (OWN,)}),
        ("spf_only", {"sa": True, "broken": True}),
        ("spf_only", {"sa": True, "forward_reason": True}),
        ("forwarded", {"forward_reason": True, "broken": True}),
        ("broken_dkim", {"broken": True}),
        ("modified", STRANGER | {"broken": True}),
        ("unaligned_sender", SERVICE | {"broken": True, "foreign_pass": True}),
        ("unaligned_sender", SERVICE | {"foreign_pass": True, "sender_kind": "email service"}),
        ("unaligned_sender", SERVICE | {"foreign_pass": True, "sender_kind": "own"}),
        ("unaligned_sender", {"foreign_pass": True, "sender_kind": "mailbox provider"}),
        ("unaligned_sender", {"foreign_pass": True, "sender_kind": "hosting"}),
        ("unauthenticated", SERVICE | {"foreign_pass": True, "sender_kind": "mailbox provider"}),
        ("unauthenticated", SERVICE | {"foreign_pass": True, "sender_kind": "security gateway"}),
        ("unauthenticated", SERVICE | {"foreign_pass": True, "sender": "mass mailer"}),
        ("modified", SERVICE | {"broken": True, "sender_kind": "mailing list"}),
        ("unidentified", STEADY),
        ("unidentified", STEADY | {"foreign_pass": True, "header_from": "x.example.com"}),
        ("modified", STEADY | {"broken": True}),
        ("forwarded", STEADY | {"forward_reason": True}),
        ("unauthenticated", STEADY | {"domain": "other.example", "header_from": "other.example"}),
        ("unauthenticated", {}),
        ("unaligned_sender", SERVICE | {"foreign_pass": True}),
        ("unaligned_sender", STRANGER | {"contradicts": True}),
        ("unaligned_sender", SERVICE | {"foreign_pass": True, "header_from": "x.example.com"}),
        ("unauthenticated", SERVICE),
        ("unauthenticated", STRANGER | {"foreign_pass": True}),
        ("unauthenticated", SERVICE | {"foreign_pass": True, "sender_kind": "hosting"}),
        ("spoofed_subdomain", STRANGER | {"header_from": "x.example.com"}),
        ("unauthenticated", STRANGER | {"header_from": SUB}),
        ("unauthenticated", STRANGER | {"header_from": "notexample.com"}),
        ("unauthenticated", STRANGER),
    ],
)
def test_the_first_class_that_fits(expected: str, change: dict[str, Any]) -> None:
    assert class_of(**change) == expected


def test_a_reporter_without_selectors_tells_enough_to_know_the_owner() -> None:
    unnamed = (("example.com", ""),)
    assert class_of(da=True, passing=unnamed) == "dkim_only"
    assert class_of(**STRANGER, da=True, passing=unnamed) == "forwarded"


def test_a_reporter_without_signatures_leaves_it_to_the_inventory() -> None:
    assert class_of(da=True) == "dkim_only"
    assert class_of(**STRANGER, da=True) == "forwarded"


def test_a_sender_is_in_the_inventory_of_its_own_domains_only() -> None:
    assert class_of(broken=True, domain="other.example", header_from="other.example") == "modified"


def test_nothing_is_classified_as_nothing() -> None:
    found = classify(rows(), INVENTORY, OWNERS, pd.Series([], dtype="str"), NOBODY, NOBODY)
    assert found.empty
    assert found.dtype == "str"


def test_every_row_gets_a_class_by_its_own_index() -> None:
    table = rows({"da": True, "sa": True}, STRANGER).set_index(pd.Index([7, 3]))
    passed = pd.Series([], dtype="str")
    found = classify(table, NOBODY, OWNERS.iloc[:0], passed, NOBODY, NOBODY)
    assert found.to_dict() == {7: "aligned", 3: "unauthenticated"}
    assert set(found) <= set(CLASSES)


def passing(*votes: tuple[str, int, bool], selector: str = "s1") -> pd.DataFrame:
    """Who passes a signature with how many messages, and whether SPF was aligned on some."""
    frame = pd.DataFrame(votes, columns=["sender", "messages", "sa"])
    return frame.assign(domain="example.com", dkim_domain="example.com", selector=selector)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([("office", 10, True), ("forwarder", 500, False)], "office"),
        ([("service", 500, False), ("forwarder", 20, False)], "service"),
        ([("office", 10, True), ("branch", 20, True)], "branch"),
        ([("b", 10, False), ("a", 10, False)], "a"),
        ([("office", 3, False), ("office", 4, True), ("forwarder", 9, False)], "office"),
        ([("a", 3, False), ("b", 5, False), ("a", 4, False)], "a"),
    ],
)
def test_the_owner_of_a_signature(votes: list[tuple[str, int, bool]], expected: str) -> None:
    found = owners(passing(*votes))
    assert found.to_dict("records") == [
        {"dkim_domain": "example.com", "selector": "s1", "sender": expected}
    ]


def seen(*senders: tuple[str, bool, int], denied: tuple[str, ...] = ()) -> pd.DataFrame:
    """Senders of example.com: declared or not, messages with aligned SPF."""
    frame = pd.DataFrame(senders, columns=["sender", "declared", "sa_messages"])
    return frame.assign(domain="example.com", denied=frame["sender"].isin(denied))


def test_the_inventory_is_declared_or_aligned_or_owns_a_signature() -> None:
    votes = pd.concat(
        [
            passing(("newsletter", 9, False), ("forwarder", 2, False), selector="n2"),
            passing(("newsletter", 9, False), selector="n1"),
        ]
    )
    senders = seen(
        ("declared", True, 0),
        ("office", False, 5),
        ("newsletter", False, 0),
        ("forwarder", False, 0),
        ("mass mailer", False, 7),
        denied=("mass mailer",),
    )
    found = inventory(senders, votes, owners(votes))
    assert dict(zip(found["sender"], found["owns"], strict=True)) == {
        "declared": (),
        "office": (),
        "newsletter": (("example.com", "n1"), ("example.com", "n2")),
    }


def test_what_is_owned_elsewhere_counts_where_it_is_used() -> None:
    """A selector is one key: who signs most with it for all domains owns it for each."""
    votes = pd.concat(
        [
            passing(("office", 90, True)),
            passing(("forwarder", 5, False)).assign(domain="sub.example.com"),
        ]
    )
    senders = seen(("office", False, 90), ("forwarder", False, 0)).assign(
        domain=["example.com", "sub.example.com"]
    )
    assert inventory(senders, votes, owners(votes))["sender"].tolist() == ["office"]


def test_no_signatures_and_no_senders() -> None:
    nobody = passing().astype({"sa": bool})
    assert owners(nobody).empty
    assert inventory(seen(("office", False, 0)), nobody, owners(nobody)).empty
    assert inventory(
        seen().astype({"declared": bool, "denied": bool}), nobody, owners(nobody)
    ).empty


def test_no_input_is_changed() -> None:
    table = rows({"da": True, "passing": (OWN,)}, STRANGER)
    votes = passing(("office", 9, True), ("forwarder", 2, False))
    senders = seen(("office", False, 9))
    before = [f.copy(deep=True) for f in (table, votes, senders, INVENTORY, OWNERS)]
    classify(table, INVENTORY, OWNERS, pd.Series(["example.com"]), UNIDENTIFIED, DENIED)
    inventory(senders, votes, owners(votes))
    for old, new in zip(before, (table, votes, senders, INVENTORY, OWNERS), strict=True):
        pd.testing.assert_frame_equal(old, new)
