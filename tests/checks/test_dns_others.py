"""MX, MTA-STS, TLS-RPT, BIMI and PTR."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from dmarckit.checks.record import DnsRow
from dmarckit.checks.resolver import NoAnswer, fetch_policy
from dmarckit.checks.transport import check_bimi, check_mta_sts, check_mx, check_ptr, check_tls_rpt
from dmarckit.facts.ptr import dns_lookup
from tests.support.dns_server import asker, serving

MX = "example.com MX"
STS = "_mta-sts.example.com TXT"
POLICY = "version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 604800\n"


def checked(check: Any, zone: dict[str, Any], *more: Any) -> DnsRow:
    with serving({"example.com A": ["192.0.2.1"]} | zone) as server:
        row: DnsRow = check(asker(server), "example.com", *more)
        return row


def codes(row: DnsRow) -> list[str]:
    return list(row.values["faults"])


@pytest.mark.parametrize(
    ("zone", "state", "fault"),
    [
        ({MX: ["10 mail.example.com"], "mail.example.com A": ["192.0.2.5"]}, "ok", []),
        ({MX: ["10 mail.example.com"], "mail.example.com AAAA": ["2001:db8::5"]}, "ok", []),
        ({MX: ["0 ."]}, "ok", []),
        ({MX: ["0 .", "10 mail.example.com"]}, "invalid", ["null_and_more"]),
        ({MX: ["10 gone.example.com"]}, "weak", ["no_address"]),
        ({MX: ["10 192.0.2.5"]}, "invalid", ["address"]),
        ({MX: ["10 mail.example.com"], "mail.example.com": "SERVFAIL"}, "unknown", ["unanswered"]),
        ({MX: "SERVFAIL"}, "unknown", ["unanswered"]),
        ({}, "missing", ["missing"]),
    ],
)
def test_mx(zone: dict[str, Any], state: str, fault: list[str]) -> None:
    row = checked(check_mx, zone)
    assert (row.state, codes(row)) == (state, fault)


def test_the_null_mx_is_proposed_and_understood() -> None:
    assert checked(check_mx, {}).proposal == "0 ."
    assert checked(check_mx, {MX: ["0 ."]}).values["null"] is True


@pytest.mark.parametrize(
    ("zone", "state", "fault"),
    [
        ({STS: ["v=STSv1; id=20261124;"]}, "ok", []),
        ({STS: ["v=STSv1; id=20261124;", "v=STSv1; id=2;"]}, "invalid", ["syntax"]),
        ({STS: ["v=STSv1;"]}, "invalid", ["syntax"]),
        ({STS: "silence"}, "unknown", ["unanswered"]),
        ({}, "missing", ["missing"]),
    ],
)
def test_mta_sts_record(zone: dict[str, Any], state: str, fault: list[str]) -> None:
    row = checked(check_mta_sts, zone, ["mail.example.com"])
    assert (row.state, codes(row)) == (state, fault)


@pytest.mark.parametrize(
    ("policy", "state", "fault", "mode"),
    [
        (POLICY, "ok", [], "enforce"),
        (POLICY.replace("*.example", "*.other"), "invalid", ["policy_mx"], "enforce"),
        (POLICY.replace("*.", "").replace("enforce", "testing"), "weak", ["policy_mx"], "testing"),
        ("<html>", "invalid", ["policy"], None),
        (None, "unknown", ["policy"], None),
    ],
)
def test_mta_sts_policy_file(
    policy: str | None, state: str, fault: list[str], mode: str | None
) -> None:
    def fetch(host: str, seconds: float) -> str:
        assert (host, 0 < seconds <= 5) == ("mta-sts.example.com", True)
        if policy is None:
            raise NoAnswer("connection refused")
        return policy

    row = checked(check_mta_sts, {STS: ["v=STSv1; id=1;"]}, ["mail.example.com"], fetch)
    assert (row.state, codes(row), row.values["mode"]) == (state, fault, mode)


def test_a_policy_server_that_says_nothing_is_waited_for_a_short_time_only() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(NoAnswer, match="timed out"),
    ):
        fetch_policy(f"127.0.0.1:{listening.getsockname()[1]}", 0.2)


@pytest.mark.parametrize(
    ("texts", "state", "fault"),
    [
        (["v=TLSRPTv1; rua=mailto:tls@example.com"], "ok", []),
        (["v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:b@example.com"],
         "invalid", ["syntax"]),
        (["v=TLSRPTv1;"], "invalid", ["syntax"]),
        (["unrelated"], "missing", ["missing"]),
        ("SERVFAIL", "unknown", ["unanswered"]),
    ],
)  # fmt: skip
def test_tls_rpt(texts: Any, state: str, fault: list[str]) -> None:
    row = checked(check_tls_rpt, {"_smtp._tls.example.com TXT": texts})
    assert (row.state, codes(row)) == (state, fault)


def test_tls_rpt_is_proposed() -> None:
    row = checked(check_tls_rpt, {})
    assert row.proposal == "v=TLSRPTv1; rua=mailto:tls-reports@example.com"


@pytest.mark.parametrize(
    ("texts", "state"),
    [
        (["v=BIMI1; l=https://example.com/logo.svg; a="], "ok"),
        (["v=BIMI1; l=; a=;"], "ok"),  # no logo on purpose
        (["v=BIMI1; l=http://example.com/logo.svg"], "invalid"),
        (["v=BIMI1;"], "invalid"),
        (["v=BIMI1; l=;", "v=BIMI1; l=https://example.com/b.svg"], "invalid"),
        ([], "ok"),
        ("SERVFAIL", "unknown"),
    ],
)
def test_bimi_is_a_choice(texts: Any, state: str) -> None:
    row = checked(check_bimi, {"default._bimi.example.com TXT": texts})
    assert row.state == state


@pytest.mark.parametrize(
    ("zone", "state", "found"),
    [
        ({"mail.example.com A": ["192.0.2.5"]}, "ok", ("mail.example.com",)),
        ({"mail.example.com A": ["192.0.2.6"]}, "missing", ()),
        ({"mail.example.com": "SERVFAIL"}, "unknown", ()),
    ],
)
def test_ptr_must_lead_back(zone: dict[str, Any], state: str, found: tuple[str, ...]) -> None:
    with serving({"5.2.0.192.in-addr.arpa PTR": ["mail.example.com"]} | zone) as server:
        row = check_ptr("192.0.2.5", 70, dns_lookup([server.address], 5))
    assert (row.name, row.state, row.found) == ("192.0.2.5", state, found)
    assert row.values["messages"] == 70
