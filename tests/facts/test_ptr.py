"""ptr: host names by DNS, asked once, kept in the lake. A small DNS server stands on loopback."""

from __future__ import annotations

import builtins
import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dmarckit.core.errors import MissingExtra, SettingsError
from dmarckit.facts.ptr import BATCH, NoAnswer, ResolveResult, dns_lookup, host_names, resolve
from dmarckit.lake.lake import Lake

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)

ZONE = {
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["mail.example.com."],
    ("mail.example.com.", "A"): ["192.0.2.1", "192.0.2.9"],
    ("2.2.0.192.in-addr.arpa.", "PTR"): ["mail.bank.example."],  # which knows nothing of it
    ("mail.bank.example.", "A"): ["198.51.100.1"],
    ("3.2.0.192.in-addr.arpa.", "PTR"): ["bad\\010name.example.com."],
    ("4.2.0.192.in-addr.arpa.", "PTR"): ["gone.example.com.", "Back.Example.com."],
    ("back.example.com.", "A"): ["192.0.2.4"],
    ("5.2.0.192.in-addr.arpa.", "PTR"): "SERVFAIL",
    ("6.2.0.192.in-addr.arpa.", "PTR"): "silence",
    (f"1.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa.", "PTR"): ["six.example.com."],
    ("six.example.com.", "AAAA"): ["2001:db8::1"],
}


@pytest.fixture
def server() -> Iterator[str]:
    """``127.0.0.1:port`` of a DNS server that answers from `ZONE`, else "no such name"."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(listening,))
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", listening.getsockname())
        thread.join(10)


def _serve(listening: socket.socket) -> None:
    while True:
        packet, client = listening.recvfrom(4096)
        if not packet:
            return
        query = dns.message.from_wire(packet)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        answers = ZONE.get((question.name.to_text().lower(), kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if answers == "silence":
            continue
        if answers == "SERVFAIL":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif answers is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *answers))
        listening.sendto(response.to_wire(), client)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.1", "mail.example.com"),
        ("2001:db8::1", "six.example.com"),
        ("192.0.2.2", None),  # the name leads to another address
        ("192.0.2.3", None),  # no host name
        ("192.0.2.4", "back.example.com"),  # the second of two
        ("192.0.2.77", None),  # no PTR at all
        ("no address", None),
    ],
)
def test_a_name_counts_when_it_leads_back_to_the_address(
    server: str, address: str, host: str | None
) -> None:
    assert dns_lookup([server])(address) == host


@pytest.mark.parametrize("address", ["192.0.2.5", "192.0.2.6"])
def test_an_error_and_silence_are_no_answer(server: str, address: str) -> None:
    with pytest.raises(NoAnswer):
        dns_lookup([server], seconds=0.3)(address)


@pytest.mark.parametrize("server", ["dns.example", "192.0.2.53:dns", "192.0.2.53:53:53"])
def test_a_server_must_be_an_address(server: str) -> None:
    with pytest.raises(SettingsError, match="is no address"):
        dns_lookup([server])


def test_a_server_may_have_a_port(server: str) -> None:
    host, port = server.split(":")
    unused = "[2001:db8::53]:5353"
    assert dns_lookup([f"{host}:{port}", unused, "2001:db8::54"])("192.0.2.1") == "mail.example.com"


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "dns":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'dmarckit\[dns\]'"):
        dns_lookup()


class Names:
    """A lookup that answers from a table and remembers what it was asked for."""

    def __init__(self, names: Mapping[str, str | None]) -> None:
        self.names = names
        self.asked: list[str] = []

    def __call__(self, address: str) -> str | None:
        self.asked.append(address)
        if address not in self.names:
            raise NoAnswer(address)
        return self.names[address]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


NAMES = {"192.0.2.1": "mail.example.com", "192.0.2.2": None}


def test_answers_are_kept_and_not_asked_for_again(lake: Lake) -> None:
    assert host_names(lake) == {}
    lookup = Names(NAMES)
    first = resolve(lake, ["192.0.2.2", "192.0.2.1", "192.0.2.2"], lookup=lookup, now=NOW)
    assert first == ResolveResult(named=1, nameless=1, left=0, answered=True)
    assert sorted(lookup.asked) == ["192.0.2.1", "192.0.2.2"]
    assert host_names(lake) == {"192.0.2.1": "mail.example.com"}

    again = resolve(lake, NAMES, lookup=lookup, now=NOW + timedelta(days=2))
    assert again == ResolveResult(named=0, nameless=0, left=0, answered=True)
    assert len(lookup.asked) == 2


@pytest.mark.parametrize(
    ("days", "asked"), [(2, []), (4, ["192.0.2.2"]), (31, ["192.0.2.1", "192.0.2.2"])]
)
def test_having_no_name_is_believed_for_a_shorter_time(
    lake: Lake, days: int, asked: list[str]
) -> None:
    resolve(lake, NAMES, lookup=Names(NAMES), now=NOW)
    later = Names({"192.0.2.1": None, "192.0.2.2": "new.example.com"})
    resolve(lake, NAMES, lookup=later, now=NOW + timedelta(days=days))
    assert sorted(later.asked) == asked


def test_the_latest_answer_counts_even_when_it_takes_a_name_away(lake: Lake) -> None:
    resolve(lake, ["192.0.2.1"], lookup=Names(NAMES), now=NOW)
    later = NOW + timedelta(days=40)
    resolve(lake, ["192.0.2.1"], lookup=Names({"192.0.2.1": None}), now=later)
    assert host_names(lake) == {}


def test_no_answer_among_answers_counts_as_no_name(lake: Lake) -> None:
    done = resolve(lake, ["192.0.2.1", "192.0.2.66"], lookup=Names(NAMES), now=NOW)
    assert done == ResolveResult(named=1, nameless=1, left=0, answered=True)


def test_a_resolver_that_never_answers_teaches_nothing(lake: Lake) -> None:
    addresses = [f"198.51.100.{i}" for i in range(200)] + [f"203.0.113.{i}" for i in range(200)]
    silent = Names({})
    done = resolve(lake, addresses, lookup=silent, now=NOW)
    assert done == ResolveResult(named=0, nameless=0, left=400, answered=False)
    assert len(silent.asked) == BATCH  # the first batch was enough to know
    assert lake.sql("SELECT * FROM ptr").empty


def test_when_the_time_is_up_the_rest_is_left_for_the_next_run(lake: Lake) -> None:
    addresses = [f"10.0.{i // 200}.{i % 200}" for i in range(BATCH + 100)]
    ticks = iter(range(10_000))
    lookup = Names(dict.fromkeys(addresses, "mail.example.com"))
    first = resolve(
        lake,
        addresses,
        lookup=lookup,
        now=NOW,
        seconds=40,
        workers=1,
        clock=lambda: float(next(ticks)),
    )
    assert 0 < first.named < 40
    assert first.left == len(addresses) - first.named
    assert lookup.asked == addresses[: first.named]

    second = resolve(lake, addresses, lookup=lookup, now=NOW + timedelta(minutes=1))
    assert second == ResolveResult(named=first.left, nameless=0, left=0, answered=True)
    assert len(lookup.asked) == len(set(lookup.asked))
    assert len(host_names(lake)) == len(addresses)


def test_questions_are_asked_side_by_side_but_not_too_many(lake: Lake) -> None:
    gate, under_way, seen = threading.Lock(), [0], [0]
    full = threading.Event()

    def lookup(address: str) -> str | None:
        with gate:
            under_way[0] += 1
            seen.append(under_way[0])
            if under_way[0] == 4:
                full.set()
        full.wait(10)  # nobody leaves before four are in
        with gate:
            under_way[0] -= 1
        return None

    resolve(lake, [f"192.0.2.{i}" for i in range(20)], lookup=lookup, now=NOW, workers=4)
    assert max(seen) == 4
