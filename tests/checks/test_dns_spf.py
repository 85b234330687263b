"""The SPF record: read by checkdmarc, over a real server, in a bounded time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dmarckit.checks.record import DnsRow
from dmarckit.checks.spf import check_spf
from tests.support.dns_server import asker, serving

D = "example.com TXT"


def checked(zone: dict[str, Any], *, sends: bool = True, **options: Any) -> DnsRow:
    with serving({"example.com A": ["192.0.2.1"]} | zone) as server:
        return check_spf(asker(server, **options), "example.com", sends=sends)


def codes(row: DnsRow) -> list[str]:
    return list(row.values["faults"])


def chain(length: int) -> dict[str, Any]:
    """example.com includes `length` names, one after the other."""
    terms = " ".join(f"include:s{i}.example.net" for i in range(length))
    return {D: [f"v=spf1 {terms} ~all"]} | {
        f"s{i}.example.net TXT": ["v=spf1 ip4:192.0.2.0/24 -all"] for i in range(length)
    }


def test_a_record_in_order() -> None:
    row = checked(
        {
            D: ["v=spf1 a include:_spf.example.net -all", "unrelated"],
            "_spf.example.net TXT": ["v=spf1 mx:mail.example.net ip4:192.0.2.0/24 ~all"],
            "mail.example.net MX": ["10 mail.example.net"],
            "mail.example.net A": ["192.0.2.5"],
        }
    )
    assert (row.record, row.name, row.state, row.problems) == ("spf", "example.com", "ok", ())
    assert row.found == ("v=spf1 a include:_spf.example.net -all",)
    assert row.values["lookups"] == 3
    assert row.values["costs"] == {"a": 1, "include:_spf.example.net": 2}
    assert row.values["all"] == "fail"


@pytest.mark.parametrize(
    ("text", "state", "code", "proposal"),
    [
        ("v=spf1 a +all", "invalid", "plus_all", "v=spf1 a ~all"),
        ("v=spf1 a ?all", "weak", "no_all", "v=spf1 a ~all"),
        ("v=spf1 a", "weak", "no_all", "v=spf1 a ~all"),
        ("v=spf1 ptr -all", "weak", "ptr", None),
        ("v=spf1 ipv4:192.0.2.1 -all", "invalid", "syntax", None),
        ("v=spf1 include:example.com -all", "invalid", "loop", None),
        ("v=spf1 include:a.example.net -all", "invalid", "loop", None),
        ("v=spf1 redirect=b.example.net", "invalid", "loop", None),
        ("v=spf1 include:none.example.net -all", "invalid", "include_missing", None),
        ("v=spf1 a:x1.example.org a:x2.example.org a:x3.example.org -all", "invalid",
         "void_lookups", None),
        (f"v=spf1 a {'ip4:192.0.2.1 ' * 40}-all", "weak", "long", None),
        (f"v=spf1 {'ip4:192.0.2.1 ' * 400}-all", "invalid", "too_long", None),
        ("v=spf10 -all", "invalid", "syntax", None),
    ],
)  # fmt: skip
def test_a_fault_is_named(text: str, state: str, code: str, proposal: str | None) -> None:
    row = checked(
        {
            D: [text],
            "a.example.net TXT": ["v=spf1 include:example.com -all"],
            "b.example.net TXT": ["v=spf1 redirect=b.example.net"],
            "none.example.net TXT": ["unrelated"],
            "example.org A": ["192.0.2.1"],
        }
    )
    assert (row.state, codes(row), row.proposal) == (state, [code], proposal)


def test_several_records_are_an_error() -> None:
    row = checked({D: ["v=spf1 -all", "v=spf1 a -all"]})
    assert (row.state, codes(row), len(row.found)) == ("invalid", ["several"], 2)


@pytest.mark.parametrize(
    ("lookups", "state", "code"),
    [(7, "ok", []), (8, "weak", ["lookups_many"]), (10, "weak", ["lookups_many"]),
     (11, "invalid", ["lookups"]), (23, "invalid", ["lookups"])],
)  # fmt: skip
def test_lookups_are_counted_to_the_end(lookups: int, state: str, code: list[str]) -> None:
    row = checked(chain(lookups))
    said = [c for c in codes(row) if c != "long"]
    assert (row.state, said, row.values["lookups"]) == (state, code, lookups)


def test_the_terms_that_cost_most_are_named() -> None:
    deep = " ".join(f"a:h{i}.example.net" for i in range(9))
    row = checked({D: ["v=spf1 a mx include:big.example.net -all"],
                   "big.example.net TXT": [f"v=spf1 {deep} ~all"]})  # fmt: skip
    assert row.values["costs"] == {"a": 1, "mx": 1, "include:big.example.net": 10}
    assert "include:big.example.net (10)" in " ".join(row.problems)


def test_a_missing_record_is_proposed_only_where_nothing_is_sent() -> None:
    sending = checked({})
    assert (sending.state, codes(sending), sending.proposal) == ("missing", ["missing"], None)
    parked = checked({}, sends=False)
    assert (parked.state, parked.proposal) == ("missing", "v=spf1 -all")


@pytest.mark.parametrize("fault", ["SERVFAIL", "REFUSED", "silence"])
@pytest.mark.parametrize("where", ["example.com", "_spf.example.net", "mail.example.net"])
def test_what_does_not_answer_is_unknown(fault: str, where: str) -> None:
    zone: dict[str, Any] = {
        D: ["v=spf1 include:_spf.example.net -all"],
        "_spf.example.net TXT": ["v=spf1 a:mail.example.net -all"],
        "mail.example.net A": ["192.0.2.5"],
    }
    row = checked(zone | {f"{where} {'A' if 'mail' in where else 'TXT'}": fault})
    assert (row.state, codes(row)) == ("unknown", ["unanswered"])
    assert where in row.problems[0]


def test_what_was_not_answered_is_not_asked_for_again() -> None:
    zone = {D: ["v=spf1 include:_spf.example.net -all"], "_spf.example.net TXT": "SERVFAIL"}
    with serving(zone) as server:
        check_spf(asker(server), "example.com", sends=True)
        assert server.asked.count(("_spf.example.net", "TXT", "udp")) == 1


def test_silence_costs_one_time_out_and_no_more_than_the_whole_time() -> None:
    terms = " ".join(f"a:h{i}.example.net" for i in range(10))
    zone: dict[str, Any] = {D: [f"v=spf1 {terms} -all"]}
    zone |= {f"h{i}.example.net": "silence" for i in range(10)}
    with serving({"example.com A": ["192.0.2.1"]} | zone) as server:
        row = check_spf(asker(server, timeout=0.6, seconds=1.6), "example.com", sends=True)
    assert row.state == "unknown"
    silent = {name for name, _, _ in server.asked if name.startswith("h")}
    assert 0 < len(silent) <= 3  # each takes 0.6 s: with a fourth the time would be over


def test_explanations_are_asked_for_at_the_same_servers() -> None:
    zone = {D: ["v=spf1 -all exp=why.example.net"], "why.example.net TXT": ["because"]}
    with serving(zone) as server:
        check_spf(asker(server), "example.com", sends=True)
        assert ("why.example.net", "TXT", "udp") in server.asked


def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    texts = ["v=spf1 -all", *(f"verification-{i}={'x' * 100}" for i in range(20))]
    with serving({D: texts}, udp_bytes=512) as server:
        row = check_spf(asker(server), "example.com", sends=True)
        assert ("example.com", "TXT", "tcp") in server.asked
    assert row.state == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "v=spf1 include:" + "x" * 80 + ".example.net -all",
        "v=spf1 include:\x00.example.net -all",
        "v=spf1 include:%{i}.example.net exists:%{ -all",
        "v=spf1 a/99//999 -all",
        "v=spf1 include:.. redirect= -all",
        "v=spf1 \udcff\udcfe -all",
        "v=spf1 " + "include:s0.example.net " * 120,
        "v=spf1 a:\u202eexample.net all all all exp=",
    ],
)
def test_hostile_records_are_judged_in_time_and_shown_cleaned(text: str) -> None:
    start = time.process_time()
    row = checked({D: [text], "s0.example.net TXT": [text]})
    assert time.process_time() - start < 2
    assert row.state in ("invalid", "weak", "unknown")
    assert all(t.isprintable() for t in (*row.found, *row.problems))
