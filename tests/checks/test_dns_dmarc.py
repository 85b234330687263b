"""The DMARC record: found at a real server, read, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from dmarckit.checks.dmarc import check_dmarc
from dmarckit.checks.record import DnsRow
from tests.support.dns_server import asker, serving

GOOD = "v=DMARC1; p=reject; rua=mailto:d@example.com"
MAIL = {"example.com MX": ["10 mail.example.com"], "mail.example.com A": ["192.0.2.1"]}


def checked(zone: dict[str, Any], domain: str = "example.com", **options: Any) -> list[DnsRow]:
    with serving(MAIL | zone) as server:
        return check_dmarc(asker(server, **options), domain)


def record(text: str, **more: Any) -> DnsRow:
    return checked({"_dmarc.example.com TXT": [text]} | more)[0]


def codes(row: DnsRow) -> list[str]:
    return list(row.values["faults"])


def test_a_record_in_order() -> None:
    (row,) = checked({"_dmarc.example.com TXT": [GOOD, "unrelated"]})
    assert (row.record, row.name, row.state) == ("dmarc", "_dmarc.example.com", "ok")
    assert (row.found, row.problems, row.proposal) == ((GOOD,), (), None)
    assert row.values["policy"] == "reject"
    assert row.values["ttl"] == 60
    assert row.values["tags"] == {"v": "DMARC1", "p": "reject", "rua": "mailto:d@example.com"}


@pytest.mark.parametrize(
    ("text", "state", "code", "proposal"),
    [
        ("v=DMARC1; p=none; rua=mailto:d@example.com", "weak", "p_none", None),
        ("v=DMARC1; p=reject", "weak", "no_rua", None),
        ("v=DMARC1; p=rejct; rua=mailto:d@example.com", "invalid", "p_value", None),
        (
            "v=DMARC1; rua=mailto:d@example.com",
            "invalid",
            "no_p",
            "v=DMARC1; p=none; rua=mailto:d@example.com",
        ),
        (
            f"{GOOD}; pct=50; ri=3600",
            "weak",
            "obsolete_tags",
            "v=DMARC1; p=reject; rua=mailto:d@example.com; t=y",
        ),
        (f"{GOOD}; policy=x", "weak", "unknown_tags", GOOD),
        (f"{GOOD}; adkim=strict", "weak", "adkim_value", None),
        ("v=DMARC1; p=reject; rua=d@example.com", "weak", "rua_address", None),
        ("v=DMARC1; p=reject; rua=mailto:d@no-mail.example.com", "weak", "rua_host", None),
    ],
)
def test_a_fault_is_named_with_the_record_that_mends_it(
    text: str, state: str, code: str, proposal: str | None
) -> None:
    row = record(text)
    assert (row.state, codes(row), row.proposal) == (state, [code], proposal)
    assert len(row.problems) == 1


def test_several_records_count_as_none() -> None:
    (row,) = checked({"_dmarc.example.com TXT": [GOOD, "v=DMARC1; p=none"]})
    assert (row.state, codes(row)) == ("invalid", ["several"])
    assert len(row.found) == 2


@pytest.mark.parametrize("text", [" v=DMARC1; p=none", "v=dmarc1; p=none", "v=DMARC1 p=none"])
def test_a_record_that_receivers_do_not_see(text: str) -> None:
    row = record(text)
    assert (row.state, codes(row)) == ("invalid", ["syntax"])
    assert row.proposal == "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.com"


def test_no_record_at_all() -> None:
    (row,) = checked({})
    assert (row.state, codes(row), row.found) == ("missing", ["missing"], ())
    assert row.proposal == "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.com"


@pytest.mark.parametrize("fault", ["SERVFAIL", "REFUSED", "silence"])
def test_what_does_not_answer_is_unknown_and_never_missing(fault: str) -> None:
    (row,) = checked({"_dmarc.example.com TXT": fault})
    assert (row.state, row.found) == ("unknown", ())
    (above,) = checked({"news.example.com A": ["192.0.2.9"], "_dmarc.example.com TXT": fault},
                       "news.example.com")  # fmt: skip
    assert above.state == "unknown"


def test_the_record_of_the_organisation_applies_to_a_subdomain() -> None:
    zone = {"_dmarc.example.com TXT": [f"{GOOD}; sp=quarantine"]}
    (row,) = checked(zone, "news.example.com")
    assert (row.state, row.found, row.values["policy"]) == ("ok", (), "quarantine")
    assert row.values["applies"]["tree_walk"]["location"] == "example.com"


def test_both_ways_to_find_the_policy_are_shown_when_they_differ() -> None:
    """A tree walk meets mail.example.com; older receivers go straight to example.com."""
    zone = {"_dmarc.mail.example.com TXT": ["v=DMARC1; p=reject; psd=n"]}
    (row,) = checked(zone, "a.mail.example.com")
    assert (row.state, codes(row)) == ("weak", ["two_policies"])
    assert row.values["applies"] == {
        "tree_walk": {
            "organisation": "mail.example.com",
            "location": "mail.example.com",
            "policy": "reject",
        },
        "public_suffix": {"organisation": "example.com", "location": None, "policy": None},
    }
    zone |= {"_dmarc.example.com TXT": [GOOD]}
    (own,) = checked(zone | {"_dmarc.a.mail.example.com TXT": [GOOD]}, "a.mail.example.com")
    assert (own.state, codes(own)) == ("ok", ["two_organisations"])


def test_a_public_suffix_that_says_so_is_above_the_organisation() -> None:
    zone = {
        "_dmarc.com TXT": ["v=DMARC1; p=reject; psd=y"],
        "_dmarc.example.com TXT": ["v=DMARC1; p=quarantine; rua=mailto:d@example.com"],
    }
    (row,) = checked(zone, "a.b.example.com")
    assert row.values["applies"]["tree_walk"] == {
        "organisation": "example.com",
        "location": "example.com",
        "policy": "quarantine",
    }


def test_a_long_name_costs_eight_questions_at_most() -> None:
    with serving({"_dmarc.example.com TXT": [GOOD]}) as server:
        check_dmarc(asker(server), "a.b.c.d.e.f.g.h.i.j.example.com")
        asked = {name for name, kind, _ in server.asked if kind == "TXT"}
    assert len(asked) == 8
    assert "_dmarc.example.com" in asked
    assert "_dmarc.j.example.com" in asked
    assert "_dmarc.b.c.d.e.f.g.h.i.j.example.com" not in asked


def test_a_host_outside_must_agree_to_take_reports() -> None:
    name = "example.com._report._dmarc.reports.example"
    zone = {
        "_dmarc.example.com TXT": [
            "v=DMARC1; p=reject; rua=mailto:d@example.com,mailto:x@reports.example!10m"
        ],
        "reports.example MX": ["10 mail.example.com"],
    }
    _row, outside = checked(zone)
    assert (outside.record, outside.name) == ("report_authorisation", name)
    assert (outside.state, outside.proposal) == ("missing", "v=DMARC1")
    _row, outside = checked(zone | {f"{name} TXT": ["v=DMARC1"]})
    assert outside.state == "ok"
    _row, outside = checked(zone | {f"{name} TXT": "SERVFAIL"})
    assert outside.state == "unknown"


def test_a_hostile_record_is_cleaned_and_bounded() -> None:
    (row,) = checked(
        {"_dmarc.example.com TXT": [f"v=DMARC1; p=none\x1b[2J; {'x=1;' * 900}; rua=mailto:\u202e"]}
    )
    assert row.state == "invalid"
    assert all(text.isprintable() for text in (*row.found, *row.problems))
    assert max(map(len, row.found)) <= 2004
    assert "\\x1b[2J" in row.found[0]
    assert row.values["policy"] == "none"
    many = [f"v=DMARC1; p=none; rua=mailto:{i}@example.com" for i in range(300)]
    (row,) = checked({"_dmarc.example.com TXT": many})
    assert (row.state, len(row.found)) == ("invalid", 20)
    (row,) = checked({"_dmarc.example.com TXT": ["x" * 30_000]})
    assert row.state == "unknown"
