"""Waves of spoofing, and subdomains that invite it."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest

from tests.support.finding_facts import (
    ALL,
    FOUR,
    STRANGER,
    facts,
    found,
    messages,
    only,
    policies,
    reported,
)

BACKGROUND = messages(ALL, **STRANGER, messages=2)
SUBDOMAIN = {**STRANGER, "class": "spoofed_subdomain", "header_from": "billing.example.com"}


def wave(days: Any = (2, 3), **fields: Any) -> list[dict[str, Any]]:
    return messages(days, **{**STRANGER, "messages": 50, **fields})


def attacked(*rows: list[dict[str, Any]], **frames: Any) -> Any:
    return facts(messages=[*messages(), *BACKGROUND, *chain.from_iterable(rows)], **frames)


def test_a_wave_says_how_much_was_delivered() -> None:
    some = attacked(wave(), wave(messages=20, disposition="quarantine"))
    finding = only(some, "spoofing")
    assert (finding.subject, finding.severity) == ("example.com", "warning")
    assert finding.summary == (
        "A wave of 576 messages from 1 network used the name example.com without proof from "
        "2026-11-21 to 2026-11-22 (usual: 8 a day): 160 blocked, 416 delivered; 4 reporters."
    )


@pytest.mark.parametrize(
    ("tags", "messages_a_row", "severity"),
    [
        ({"p": "none"}, 50, "warning"),
        ({"p": "none"}, 500, "critical"),
        ({"p": "quarantine"}, 500, "warning"),
        ({"p": "reject"}, 500, "info"),
        ({"p": "reject", "testing": "y"}, 500, "warning"),
    ],
)
def test_the_policy_decides_how_bad_a_wave_is(
    tags: dict[str, str], messages_a_row: int, severity: str
) -> None:
    some = attacked(wave(messages=messages_a_row), policies=policies(**tags))
    assert only(some, "spoofing").severity == severity


@pytest.mark.parametrize(
    "rows",
    [
        wave(messages=10),
        wave(messages=300, reporters=FOUR[:1], days=[2]),
        wave(in_inventory=True, sender="Printers"),
        wave([20, 21]),
        wave(ALL),
    ],
    ids=["48 a day", "one reporter", "our own host", "before the window", "every day"],
)
def test_no_wave(rows: list[dict[str, Any]]) -> None:
    assert not found(facts(messages=messages() + rows), "spoofing")


def test_a_new_installation_knows_no_usual() -> None:
    young = range(1, 11)
    some = facts(messages=messages(young) + wave(), reports=reported(young))
    assert not found(some, "spoofing")


def test_the_second_wave_counts_as_well() -> None:
    finding = only(attacked(wave([12, 13]), wave([1, 2])), "spoofing")
    assert f"{finding.first_day}" == "2026-11-22"


def test_a_subdomain_that_strangers_use() -> None:
    finding = only(attacked(messages([1, 2], **SUBDOMAIN, messages=3)), "subdomain_exposed")
    assert (finding.subject, finding.severity) == ("billing.example.com", "warning")
    assert "24 messages as billing.example.com" in finding.summary
    assert "v=DMARC1; p=none; sp=reject; rua=" in finding.action
    assert finding.evidence["record_back"].startswith("v=DMARC1; p=none; rua=")


def test_sp_is_not_proposed_while_subdomains_fail_legitimately() -> None:
    failing = messages(
        [1, 2], header_from="crm.example.com", da=False, sa=False, **{"class": "broken_dkim"}
    )
    finding = only(attacked(messages([1, 2], **SUBDOMAIN), failing), "subdomain_exposed")
    assert "v=DMARC1; p=none; np=reject; rua=" in finding.action
    assert "sp=reject would hit 160 messages" in finding.action


@pytest.mark.parametrize(
    ("tags", "severity"),
    [
        ({"p": "quarantine"}, "info"),
        ({"p": "reject", "sp": "none"}, "warning"),
        ({"p": "reject", "sp": "reject", "np": "none"}, "warning"),
        ({"p": "reject", "sp": "none", "np": "reject"}, "info"),
    ],
)
def test_exposed_is_what_the_policy_for_subdomains_lets_through(
    tags: dict[str, str], severity: str
) -> None:
    some = attacked(messages([1, 2], **SUBDOMAIN), policies=policies(**tags))
    assert only(some, "subdomain_exposed").severity == severity


def test_nothing_is_due_at_reject() -> None:
    some = attacked(messages([1, 2], **SUBDOMAIN), policies=policies(p="reject"))
    finding = only(some, "subdomain_exposed")
    assert finding.severity == "info"
    assert finding.action.startswith("Nothing is due")


def test_nine_messages_expose_nothing() -> None:
    rows = messages([1], **SUBDOMAIN, messages=3, reporters=FOUR[:3])
    assert not found(attacked(rows), "subdomain_exposed")
