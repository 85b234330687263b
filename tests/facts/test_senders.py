"""senders: who delivered the messages. Each test is one rule, or one way around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import DeclaredSender
from dmarckit.facts.networks import NetworkName
from dmarckit.facts.senders import Sender, SenderTable, attribute

TABLE = SenderTable(
    {
        "sendwell.example": Sender("Sendwell", "email service"),
        "newsletters.example": Sender("Newsletters", "marketing"),
        "deskful.example": Sender("Deskful", "ticketing"),
        "rackspot.example": Sender("Rackspot", "hosting"),
        "inboxes.example": Sender("Inboxes", "mailbox provider"),
    }
)
SENDWELL = ("Sendwell", "email service")
COLUMNS = ["source_ip", "domain", "header_from", "spf_pass_domain", "dkim_pass", "messages"]
OWN = ("example.com", "own")
SIGNED_BY_OWN = ("example.com", "s1")
SIGNED_BY_SENDWELL = ("sendwell.example", "sw")

Row = tuple[str | None, str | None, tuple[tuple[str, str], ...]]


def sources(
    *rows: Row,
    header_from: str | None = "example.com",
    messages: int = 10,
    domain: str = "example.com",
) -> Any:
    """One row per (address, domain whose SPF passes, signatures that pass)."""
    values = [(ip, domain, header_from, spf, dkim, messages) for ip, spf, dkim in rows]
    frame = pd.DataFrame(values, columns=COLUMNS)
    return frame.astype({"messages": "int64"})


def senders(
    frame: pd.DataFrame,
    declared: tuple[DeclaredSender, ...] = (),
    ptr: Mapping[str, str | None] | None = None,
    networks: Mapping[str, NetworkName] | None = None,
) -> list[tuple[str, str]]:
    """(sender, kind) of each row; the rows themselves must come back as they were."""
    before = frame.copy(deep=True)
    found = attribute(frame, declared=declared, table=TABLE, ptr=ptr, networks=networks)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(found.drop(columns=["sender", "sender_kind"]), before)
    return list(zip(found["sender"], found["sender_kind"], strict=True))


# 1: declared


def test_a_declared_network_comes_before_everything() -> None:
    shop = DeclaredSender(name="Shop", kind="crm", networks=("192.0.2.0/28", "2001:db8:5::/48"))
    rows = sources(
        ("192.0.2.3", "bounce.sendwell.example", (SIGNED_BY_SENDWELL,)),
        ("2001:db8:5::9", None, ()),
        ("192.0.2.16", "bounce.sendwell.example", ()),
    )
    assert senders(rows, (shop,)) == [("Shop", "crm"), ("Shop", "crm"), SENDWELL]


def test_of_two_declared_senders_the_first_wins() -> None:
    one = DeclaredSender(name="One", networks=("192.0.2.0/24",), spf_domains=("a.example",))
    two = DeclaredSender(name="Two", networks=("192.0.2.1",), spf_domains=("a.example",))
    rows = sources(("192.0.2.1", None, ()), ("198.51.100.1", "a.example", ()))
    assert senders(rows, (one, two)) == [("One", "own"), ("One", "own")]


def test_a_declared_spf_domain_counts_with_all_below_it() -> None:
    shop = DeclaredSender(name="Shop", kind="crm", spf_domains=("Bounce.Example.com",))
    rows = sources(
        ("192.0.2.1", "bounce.example.com", ()),
        ("192.0.2.1", "eu.bounce.example.com", ()),
        ("192.0.2.1", "notbounce.example.com", ()),
    )
    assert senders(rows, (shop,)) == [("Shop", "crm"), ("Shop", "crm"), OWN]


def test_a_declaration_with_a_domain_holds_there_only() -> None:
    shop = DeclaredSender(name="Shop", domain="example.com", spf_domains=("a.example",))
    depot = DeclaredSender(name="Depot", networks=("192.0.2.0/28",))
    here = sources(("192.0.2.100", "a.example", ()), ("192.0.2.3", None, ()))
    there = sources(("192.0.2.100", "a.example", ()), domain="brand.example")
    rows = pd.concat([there, here, there.assign(source_ip="192.0.2.5")], ignore_index=True)
    found = [name for name, _ in senders(rows, (shop, depot))]
    assert found == ["a.example", "Shop", "Depot", "Depot"]


def test_a_declared_network_that_is_none_is_named() -> None:
    wrong = DeclaredSender(name="Shop", networks=("shop.example",))
    with pytest.raises(SettingsError, match=r"'shop\.example' is no network"):
        senders(sources(("192.0.2.1", None, ())), (wrong,))


# 2: SPF passes for a foreign organisation


def test_a_foreign_spf_domain_names_its_service_or_stands_for_itself() -> None:
    rows = sources(
        ("192.0.2.1", "u7.bounce.sendwell.example", (("newsletters.example", "n"),)),
        ("192.0.2.1", "srs.alumni.example", (SIGNED_BY_OWN, SIGNED_BY_SENDWELL)),
        ("192.0.2.1", "a.b.uni.example.co.uk", ()),
    )
    assert senders(rows) == [SENDWELL, ("alumni.example", "unknown"), ("example.co.uk", "unknown")]


# 3: SPF passes for the author's own organisation


def test_own_spf_and_no_other_trace_is_the_author_himself() -> None:
    rows = sources(("192.0.2.1", "bounce.example.com", (SIGNED_BY_OWN,)), ("192.0.2.2", None, ()))
    assert senders(rows)[0] == OWN
    subdomain = sources(("192.0.2.1", "example.com", ()), header_from="News.Example.com")
    assert senders(subdomain) == [OWN]


def test_own_spf_with_the_signature_of_a_service_is_that_service() -> None:
    rows = sources(("192.0.2.1", "rp.example.com", (SIGNED_BY_OWN, SIGNED_BY_SENDWELL)))
    assert senders(rows) == [SENDWELL]


def test_of_two_services_that_signed_the_one_nearest_to_the_author_counts() -> None:
    both = (SIGNED_BY_SENDWELL, ("deskful.example", "d"))
    rows = sources(("192.0.2.1", "example.com", both), ("192.0.2.1", "example.com", both[::-1]))
    assert senders(rows) == [("Deskful", "ticketing")] * 2


def test_a_service_that_writes_in_its_own_name_is_not_foreign_to_itself() -> None:
    rows = sources(
        ("192.0.2.1", "sendwell.example", (SIGNED_BY_SENDWELL,)), header_from="sendwell.example"
    )
    assert senders(rows) == [("sendwell.example", "own")]


def test_own_spf_and_a_known_host_is_the_service_that_runs_it() -> None:
    rows = sources(*[(f"192.0.2.{i}", "example.com", (SIGNED_BY_OWN,)) for i in (1, 2, 3, 4)])
    ptr = {"192.0.2.1": "mta1.sendwell.example", "192.0.2.2": "mail.example.org", "192.0.2.3": None}
    networks = {
        "192.0.2.1": NetworkName("Rackspot Ltd", "rackspot.example"),
        "192.0.2.2": NetworkName("Sendwell Inc", "sendwell.example"),
        "192.0.2.3": NetworkName("Some Carrier", "carrier.example"),
    }
    assert senders(rows, ptr=ptr, networks=networks) == [SENDWELL, SENDWELL, OWN, OWN]


def test_a_declared_signature_comes_before_those_of_the_table() -> None:
    shop = DeclaredSender(name="Shop", kind="crm", dkim_domains=("shopmail.example",))
    signatures = (SIGNED_BY_SENDWELL, ("eu.shopmail.example", "x"))
    assert senders(sources(("192.0.2.1", "example.com", signatures)), (shop,)) == [("Shop", "crm")]


def test_a_declared_signature_names_a_service_with_a_return_path_of_its_own() -> None:
    news = DeclaredSender(name="News", kind="marketing", dkim_domains=("news.example.com",))
    signed = (("news.example.com", "n1"),)
    rows = sources(
        ("192.0.2.1", "mta7.unknown.example.net", signed),
        ("192.0.2.2", "bounce.sendwell.example", signed),
        ("192.0.2.3", None, (("news.example.com", "n2"),)),
        ("192.0.2.4", "bounce.sendwell.example", ()),
        ("192.0.2.5", "srs.inboxes.example", signed),  # a mailbox provider forwards
    )
    here = ("News", "marketing")
    forwarder = ("Inboxes", "mailbox provider")
    assert senders(rows, (news,)) == [here, here, here, SENDWELL, forwarder]


def test_a_declared_signature_that_is_made_elsewhere_was_relayed() -> None:
    shop = DeclaredSender(name="Shop", kind="crm", dkim_domains=("shopmail.example",))
    signed = (("shopmail.example", "x"),)
    rows = sources(
        ("192.0.2.1", "rp.example.com", signed), ("192.0.2.2", "alumni.example.org", signed)
    )
    assert senders(rows, (shop,)) == [("Shop", "crm"), ("example.org", "unknown")]


# 4: SPF does not pass


def test_without_spf_host_name_then_network_then_signature() -> None:
    rows = sources(*[(f"192.0.2.{i}", None, (SIGNED_BY_SENDWELL,)) for i in (1, 2, 3, 4)])
    ptr = {"192.0.2.1": "mx.deskful.example", "192.0.2.2": "host9.isp.example.org"}
    networks = {"192.0.2.2": NetworkName("Not asked"), "192.0.2.3": NetworkName("Some Carrier")}
    assert senders(rows, ptr=ptr, networks=networks) == [
        ("Deskful", "ticketing"),
        ("example.org", "unknown"),
        ("Some Carrier", "unknown"),
        SENDWELL,
    ]


def test_a_network_that_the_table_knows_by_its_domain_is_named_so() -> None:
    networks = {"192.0.2.1": NetworkName("RACKSPOT-AS", "rackspot.example")}
    rows = sources(("192.0.2.1", None, ()))
    assert senders(rows, networks=networks) == [("Rackspot", "hosting")]


@pytest.mark.parametrize("return_path", ["bounce.sendwell.example", "rp.example.com"])
def test_a_signature_that_was_made_elsewhere_marks_a_relay(return_path: str) -> None:
    signatures = (SIGNED_BY_OWN, SIGNED_BY_SENDWELL)
    rows = sources(("198.51.100.1", return_path, signatures), ("203.0.113.7", None, signatures))
    assert senders(rows) == [SENDWELL, ("203.0.113.0/24", "unknown")]


def test_a_service_whose_spf_never_passes_is_still_that_service() -> None:
    made = ("198.51.100.1", "bounce.sendwell.example", (("sendwell.example", "other"),))
    rows = sources(made, ("203.0.113.7", None, (SIGNED_BY_SENDWELL,)))
    assert senders(rows) == [SENDWELL, SENDWELL]


def test_what_a_service_does_for_one_author_says_nothing_about_another() -> None:
    ours = sources(("203.0.113.7", None, (SIGNED_BY_SENDWELL,)))
    theirs = sources(
        ("198.51.100.1", "bounce.sendwell.example", (SIGNED_BY_SENDWELL,)),
        header_from="example.net",
    )
    assert senders(pd.concat([ours, theirs], ignore_index=True)) == [SENDWELL, SENDWELL]


def test_a_relay_of_a_declared_service_is_not_that_service() -> None:
    shop = DeclaredSender(name="Shop", dkim_domains=("shopmail.example",), networks=("192.0.2.1",))
    signed = (("shopmail.example", "x"),)
    rows = sources(("192.0.2.1", "shopmail.example", signed), ("203.0.113.7", None, signed))
    assert senders(rows, (shop,)) == [("Shop", "own"), ("203.0.113.0/24", "unknown")]


def test_an_address_keeps_its_sender_while_spf_is_broken() -> None:
    rows = sources(
        ("192.0.2.1", "example.com", (SIGNED_BY_OWN,)),
        ("192.0.2.1", None, (SIGNED_BY_OWN,)),
        ("198.51.100.1", "rp.example.com", (SIGNED_BY_SENDWELL,)),
        ("198.51.100.1", None, (SIGNED_BY_SENDWELL,)),
        ("192.0.2.2", None, (SIGNED_BY_OWN,)),
    )
    assert senders(rows) == [OWN, OWN, SENDWELL, SENDWELL, ("192.0.2.0/24", "unknown")]


@pytest.mark.parametrize(("few", "expected"), [(10, OWN), (11, ("192.0.2.0/24", "unknown"))])
def test_an_address_that_is_nearly_always_one_senders_is_its_own(
    few: int, expected: tuple[str, str]
) -> None:
    many = sources(("192.0.2.1", "example.com", ()), messages=90)
    other = sources(("192.0.2.1", "bounce.sendwell.example", ()), messages=few)
    cron = sources(("192.0.2.1", None, ()), messages=500)
    rows = pd.concat([other, many, cron], ignore_index=True)
    assert senders(rows) == [SENDWELL, OWN, expected]


def test_an_address_of_ones_own_stays_so_at_a_landlord() -> None:
    rows = sources(
        ("192.0.2.1", "example.com", ()), ("192.0.2.1", None, ()), ("192.0.2.2", None, ())
    )
    networks = {f"192.0.2.{i}": NetworkName("RACKSPOT-AS", "rackspot.example") for i in (1, 2)}
    assert senders(rows, networks=networks) == [OWN, OWN, ("Rackspot", "hosting")]


def test_a_service_signs_on_a_borrowed_address() -> None:
    rows = sources(("192.0.2.1", "example.com", ()), ("192.0.2.1", None, (SIGNED_BY_SENDWELL,)))
    assert senders(rows) == [OWN, SENDWELL]


# 6: the network, and what is missing


def test_else_the_network() -> None:
    rows = sources(
        ("203.0.113.200", None, (SIGNED_BY_OWN,)), ("2001:db8:7:8::1", None, ()), (None, None, ())
    )
    assert senders(rows) == [
        ("203.0.113.0/24", "unknown"),
        ("2001:db8:7::/48", "unknown"),
        ("no address", "unknown"),
    ]


def test_without_an_author_a_domain_is_foreign() -> None:
    rows = sources(("192.0.2.1", "example.com", ()), header_from=None)
    assert senders(rows) == [("example.com", "unknown")]


def test_the_index_is_kept_and_order_does_not_matter() -> None:
    rows = sources(
        ("198.51.100.1", "rp.example.com", (SIGNED_BY_SENDWELL,)),
        ("203.0.113.7", None, (SIGNED_BY_SENDWELL,)),
        ("192.0.2.1", "example.com", ()),
    ).set_axis([7, 3, 5])
    forward = attribute(rows, declared=(), table=TABLE)
    backward = attribute(rows[::-1], declared=(), table=TABLE)
    assert forward.index.tolist() == [7, 3, 5]
    pd.testing.assert_frame_equal(forward, backward[::-1])


def test_nothing_gives_nothing_with_all_columns() -> None:
    empty = sources(("192.0.2.1", None, ()))[:0]
    found = attribute(empty, declared=(DeclaredSender(name="A", networks=("::/0",)),), table=TABLE)
    assert list(found.columns) == [*COLUMNS, "sender", "sender_kind"]
    assert found.empty
