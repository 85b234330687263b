"""DKIM keys of the signatures that reports show."""

from __future__ import annotations

import base64
import json
from datetime import date
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dmarckit.checks.dkim import Key, check_dkim
from dmarckit.checks.record import DnsRow, problem_texts
from dmarckit.core.language import speaking
from tests.support.dns_server import asker, serving

NAME = "s1._domainkey.example.com"
KEY = Key("example.com", "s1", 1200, date(2026, 11, 23))


def rsa(bits: int) -> str:
    """A public key of that length (nobody has the private one)."""
    numbers = RSAPublicNumbers(65537, (1 << (bits - 1)) + 1)
    der = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def ed25519() -> str:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def checked(zone: dict[str, Any]) -> DnsRow:
    with serving({"example.com A": ["192.0.2.1"]} | zone) as server:
        return check_dkim(asker(server), KEY)


@pytest.mark.parametrize(
    ("text", "state", "codes"),
    [
        (f"v=DKIM1; k=rsa; p={rsa(2048)}", "ok", []),
        (f"p={rsa(4096)}", "ok", []),
        (f"v=DKIM1; p={rsa(1024)}", "weak", ["weak_key"]),
        (f"v=DKIM1; p={rsa(768)}", "invalid", ["short"]),
        (f"v=DKIM1; k=ed25519; p={ed25519()}", "ok", []),
        ("v=DKIM1; k=ed25519; p=YWJj", "invalid", ["syntax"]),
        (f"v=DKIM1; t=y:s; p={rsa(2048)}", "weak", ["testing"]),
        ("v=DKIM1; p=", "invalid", ["revoked"]),
        ("v=DKIM1; p=$$$", "invalid", ["syntax"]),
        ("v=DKIM1; p=YWJj", "invalid", ["syntax"]),
        ("v=DKIM1; k=dsa; p=YWJj", "invalid", ["syntax"]),
        (f"v=DKIM2; p={rsa(2048)}", "invalid", ["syntax"]),
        ("something else", "invalid", ["syntax"]),
    ],
)
def test_a_key_is_read(text: str, state: str, codes: list[str]) -> None:
    row = checked({f"{NAME} TXT": [text]})
    assert (row.record, row.name, row.state) == ("dkim", NAME, state)
    assert row.values["faults"] == codes
    assert (row.values["messages"], row.values["last_day"]) == (1200, "2026-11-23")


def test_the_length_of_an_rsa_key_is_kept() -> None:
    assert checked({f"{NAME} TXT": [f"p={rsa(1024)}"]}).values["bits"] == 1024


def test_several_keys_at_one_name() -> None:
    row = checked({f"{NAME} TXT": [f"p={rsa(2048)}", "v=DKIM1; p="]})
    assert (row.state, row.values["faults"], len(row.found)) == ("invalid", ["several"], 2)


def test_a_missing_key_says_how_much_it_is_used() -> None:
    row = checked({})
    assert (row.state, row.values["faults"]) == ("missing", ["missing"])
    assert "1,200 messages" in row.problems[0]
    assert "2026-11-23" in row.problems[0]


def test_a_cname_that_leads_nowhere_is_named() -> None:
    row = checked({f"{NAME} CNAME": ["s1.dkim.service.example"], "service.example A": []})
    assert (row.state, row.values["faults"]) == ("missing", ["dangling"])
    assert "s1.dkim.service.example" in row.problems[0]


def test_a_cname_that_leads_to_a_key_is_in_order() -> None:
    target = "s1.dkim.service.example"
    row = checked({f"{NAME} CNAME": [target], f"{target} TXT": [f"p={rsa(2048)}"]})
    assert row.state == "ok"


@pytest.mark.parametrize("fault", ["SERVFAIL", "silence", "loop"])
def test_no_answer_is_unknown(fault: str) -> None:
    loop = {f"{NAME} CNAME": ["b.example.com"], "b.example.com CNAME": [NAME]}
    row = checked(loop if fault == "loop" else {f"{NAME} TXT": fault})
    assert (row.state, row.found) == ("unknown", ())


def test_a_fault_is_read_in_the_language_in_use_whatever_the_check_spoke() -> None:
    row = checked({f"{NAME} TXT": ["v=DKIM1; k=dsa; p=YWJj"]})
    stored = json.loads(json.dumps(row.values))
    assert problem_texts(row.problems, stored) == row.problems
    with speaking("ja"):
        (said,) = problem_texts(row.problems, stored)
    assert NAME in said
    assert "読み取れません" in said
    assert "rsa でも ed25519 でもありません" in said
    assert problem_texts(row.problems, {}) == row.problems, "a row of an older version"
    assert problem_texts(row.problems, {"phrases": [["{name.x}", {}]]}) == row.problems
