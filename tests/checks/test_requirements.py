"""The matrix of sender requirements: three views, one verdict, nothing guessed."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from dmarckit.checks.dns import Outside
from dmarckit.checks.requirements import COLUMNS, requirement_matrix
from dmarckit.checks.rules import PROVIDERS, RULES, provider_of, wording
from dmarckit.facts.frames import Facts
from dmarckit.lake.schema import DNS, POSTMASTER
from tests.support.finding_facts import (
    MESSAGES,
    SIGNATURE,
    SPF,
    STRANGER,
    daily,
    day,
    facts,
    reported,
)

GOOGLE, OUTLOOK = "google.com", "Outlook.com"
INVENTORY = {
    "domain": "example.com",
    "sender": "example.com",
    "sender_kind": "own",
    "declared": True,
    "sa_messages": 100,
    "owns": (),
    "messages": 100,
    "first_day": day(30),
    "last_day": day(1),
}


def mail(reporters: tuple[str, ...] = (GOOGLE,), **fields: Any) -> list[dict[str, Any]]:
    return daily(MESSAGES, range(1, 11), reporters, **fields)


def healthy(**frames: Any) -> Facts:
    """Ten days of mail to Gmail that passes SPF and DKIM."""
    frames.setdefault("messages", mail())
    frames.setdefault("spf", daily(SPF, range(1, 11), [GOOGLE]))
    frames.setdefault("signatures", daily(SIGNATURE, range(1, 11), [GOOGLE]))
    frames.setdefault("reports", reported(range(1, 11), [GOOGLE]))
    return facts(inventory=[INVENTORY], **frames)


def outside(
    postmaster: list[dict[str, Any]] | None = None, dns: list[dict[str, Any]] | None = None
) -> Outside:
    """Rows of both tables; what is not given is null."""
    tables = {
        "postmaster": (POSTMASTER, postmaster or []),
        "dns": (DNS, dns or []),
    }
    built = {
        name: pd.DataFrame(
            [dict.fromkeys(table.columns) | {"domain": "example.com"} | row for row in rows],
            columns=list(table.columns),
        )
        for name, (table, rows) in tables.items()
    }
    return Outside(**built)


def compliance(requirement: str, state: str, ago: int = 1) -> dict[str, Any]:
    at = pd.Timestamp(day(ago))
    return {"metric": "compliance", "detail": requirement, "text": state, "day": at}


def spam(rate: float, ago: int) -> dict[str, Any]:
    return {"metric": "spam_rate", "detail": "", "share": rate, "day": pd.Timestamp(day(ago))}


def record(kind: str, state: str, name: str = "", **values: Any) -> dict[str, Any]:
    problems = [f"{kind} is {state}"] if state not in ("ok", "unknown") else []
    return {
        "record": kind,
        "state": state,
        "name": name or kind,
        "problems": problems,
        "values": json.dumps(values),
    }


def cell(seen: Facts, out: Outside, rule: str, provider: str = "Google") -> dict[str, Any]:
    table = requirement_matrix(seen, out, ["example.com"])
    chosen = table[(table["rule"] == rule) & (table["provider"] == provider)]
    return dict(chosen.iloc[0])


def verdict(seen: Facts, out: Outside, rule: str, provider: str = "Google") -> str:
    return str(cell(seen, out, rule, provider)["verdict"])


def test_one_row_per_domain_provider_and_rule_in_that_order() -> None:
    table = requirement_matrix(healthy(), outside())
    assert list(table.columns) == COLUMNS
    assert len(table) == sum(len(providers) for providers in RULES.values())
    assert set(table["provider"]) == set(PROVIDERS)
    assert not table.duplicated(["domain", "provider", "rule"]).any()


def test_without_any_report_there_is_no_row_but_an_asked_domain_is_unknown_throughout() -> None:
    nothing = facts(reports=[], policies=[])
    assert requirement_matrix(nothing, outside()).empty
    asked = requirement_matrix(nothing, outside(), ["Example.com."])
    assert set(asked["domain"]) == {"example.com"}
    assert set(asked["verdict"]) == {"unknown"}


@pytest.mark.parametrize("rule", ["spf", "dkim", "alignment", "dmarc_record"])
def test_reports_alone_show_what_mail_does(rule: str) -> None:
    assert verdict(healthy(), outside(), rule) == "met"


@pytest.mark.parametrize("rule", ["spam_rate", "ptr", "tls", "one_click_unsubscribe"])
def test_what_no_source_tells_is_unknown_and_never_guessed(rule: str) -> None:
    found = cell(healthy(), outside(), rule)
    assert found["verdict"] == "unknown"
    assert "nothing tells" in found["why"]


def test_a_provider_that_reports_nothing_says_nothing() -> None:
    found = cell(healthy(), outside(), "spf", "Microsoft")
    assert found["verdict"] == "unknown"
    assert found["reports"] is None
    assert found["bulk"] is None


def test_own_mail_without_spf_is_not_met_and_says_how_much() -> None:
    failing = healthy(spf=daily(SPF, range(1, 11), [GOOGLE], result="softfail"))
    found = cell(failing, outside(), "spf")
    assert found["verdict"] == "not met"
    assert "0% of 200 own messages" in found["why"]


def test_mail_of_strangers_does_not_count() -> None:
    spoofed = healthy(messages=mail() + mail(messages=5000, **STRANGER))
    assert verdict(spoofed, outside(), "alignment") == "met"


def test_a_foreign_signature_that_passes_is_dkim_all_the_same() -> None:
    foreign = {"dkim_domain": "service.example", "aligned": False}
    seen = healthy(
        messages=mail(da=False, **{"class": "spf_only"}),
        signatures=daily(SIGNATURE, range(1, 11), [GOOGLE], **foreign),
    )
    assert verdict(seen, outside(), "dkim") == "met"


def test_two_half_signatures_may_or_may_not_cover_all_mail() -> None:
    halves = [
        row
        for name in ("one.example", "two.example")
        for row in daily(
            SIGNATURE, range(1, 11), [GOOGLE], dkim_domain=name, aligned=False, messages=10
        )
    ]
    seen = healthy(messages=mail(da=False, **{"class": "spf_only"}), signatures=halves)
    found = cell(seen, outside(), "dkim")
    assert found["verdict"] == "unknown"
    assert "between 50.0% and 100%" in found["why"]


def test_a_handful_of_messages_is_no_evidence() -> None:
    few = healthy(messages=mail(messages=1), spf=daily(SPF, range(1, 11), [GOOGLE], messages=1))
    found = cell(few, outside(), "spf")
    assert found["verdict"] == "unknown"
    assert "only 10 messages" in found["why"]


def test_a_code_of_gmail_is_enough_to_say_not_met() -> None:
    base = {"domain": "example.com", "sender": "example.com", "messages": 3}
    marked = daily(base, [1], [GOOGLE], code="5.7.30", smtp="550")
    found = cell(healthy(requirements=marked), outside(), "dkim")
    assert found["verdict"] == "not met"
    assert "3 messages" in found["why"]


def test_views_that_disagree_say_so_and_the_worse_one_counts() -> None:
    out = outside([compliance("SPF", "NEEDS_WORK")])
    found = cell(healthy(), out, "spf")
    assert (found["reports"], found["postmaster"]) == ("met", "not met")
    assert found["verdict"] == "not met"
    assert found["disagree"]
    assert "Postmaster Tools: needs work" in found["why"]


def test_the_newest_compliance_state_counts() -> None:
    out = outside(
        [compliance("ENCRYPTION", "NEEDS_WORK", 9), compliance("ENCRYPTION", "COMPLIANT")]
    )
    assert verdict(healthy(), out, "tls") == "met"


def test_postmaster_of_the_organisation_serves_its_subdomains() -> None:
    table = requirement_matrix(
        healthy(), outside([compliance("ENCRYPTION", "COMPLIANT")]), ["a.example.com"]
    )
    tls = table[table["rule"] == "tls"]
    assert list(tls["verdict"]) == ["met"]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.0002] * 7, "met"),
        ([0.0002] * 6 + [0.002], "met"),
        ([0.0002] * 5 + [0.002, 0.002], "not met"),
        ([0.0002] * 6 + [0.003], "not met"),
    ],
    ids=["low", "one day above the target", "two days above it", "once at 0.30%"],
)
def test_the_spam_rate_has_a_target_and_a_line(rates: list[float], expected: str) -> None:
    out = outside([spam(rate, 7 - i) for i, rate in enumerate(rates)])
    assert verdict(healthy(), out, "spam_rate") == expected
    assert verdict(healthy(), out, "spam_rate", "Yahoo") == "unknown"


def test_dns_shows_what_is_missing_but_not_that_mail_passes() -> None:
    nothing = facts(reports=[], policies=[])
    fine = outside(dns=[record("spf", "ok", lookups=4), record("dkim", "ok", bits=2048)])
    assert verdict(nothing, fine, "spf") == "unknown"
    assert verdict(nothing, fine, "dkim") == "unknown"
    assert verdict(nothing, fine, "spf_lookups") == "met"
    assert verdict(nothing, fine, "dkim_key") == "met"
    gone = outside(dns=[record("spf", "missing"), record("dmarc", "missing")])
    assert verdict(nothing, gone, "spf") == "not met"
    assert verdict(nothing, gone, "dmarc_record") == "not met"


def test_short_keys_and_too_many_lookups() -> None:
    out = outside(
        dns=[
            record("spf", "invalid", lookups=12),
            record("dkim", "ok", "s1._domainkey.example.com", bits=2048),
            record("dkim", "invalid", "old._domainkey.example.com", bits=512),
        ]
    )
    lookups = cell(healthy(), out, "spf_lookups", "Microsoft")
    assert (lookups["verdict"], lookups["dns_why"]) == ("not met", "spf needs 12 lookups")
    key = cell(healthy(), out, "dkim_key")
    assert key["verdict"] == "not met"
    assert "old._domainkey.example.com has 512 bits" in key["why"]


def test_dns_that_does_not_answer_is_unknown() -> None:
    found = cell(facts(reports=[], policies=[]), outside(dns=[record("spf", "unknown")]), "spf")
    assert (found["verdict"], found["dns"]) == ("unknown", "unknown")


@pytest.mark.parametrize(("messages", "bulk"), [(5000, True), (4999, False)])
def test_the_bulk_line_is_a_days_messages_at_the_provider(messages: int, bulk: bool) -> None:
    seen = healthy(messages=mail(messages=messages))
    assert cell(seen, outside(), "spf")["bulk"] is bulk
    assert cell(seen, outside(), "spf", "Yahoo")["bulk"] is None


def test_old_mail_is_not_looked_at() -> None:
    old = healthy(
        messages=daily(MESSAGES, range(40, 50), [GOOGLE]),
        spf=daily(SPF, range(40, 50), [GOOGLE]),
        reports=reported(range(40, 50), [GOOGLE]),
    )
    assert verdict(old, outside(), "spf") == "unknown"


def test_every_rule_is_worded_and_every_large_provider_known() -> None:
    for rule in RULES:
        assert all(vars(wording(rule)).values())
    known = ("Microsoft", "Yahoo", "AOL", "La Poste")
    assert [provider_of(name) for name in known] == ["Microsoft", "Yahoo", "Yahoo", "La Poste"]
    for other in ("Enterprise Outlook", "Yahoo! JAPAN", "", "Comcast"):
        assert provider_of(other) is None
