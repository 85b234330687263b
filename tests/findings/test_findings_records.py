"""Records to publish: the present one, whole; one for each DNS name, whoever proposes it."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.checks import Outside
from dmarckit.checks.record import tag_list
from dmarckit.core.settings import load_settings
from dmarckit.core.thresholds import Thresholds
from dmarckit.facts.frames import Facts
from dmarckit.facts.load import load_facts
from dmarckit.findings.context import Context
from dmarckit.findings.dmarc_policy import POLICY_TAGS
from dmarckit.findings.find import find
from dmarckit.findings.model import Finding, Record
from dmarckit.findings.records import edit_dmarc, merge_records, propose_dmarc
from tests.support.finding_facts import (
    NOW,
    STRANGER,
    UNALIGNED,
    day,
    facts,
    messages,
    only,
    policies,
)
from tests.support.lakes import NOW as LAKE_NOW
from tests.support.random_lakes import SENSITIVE, random_lake

PRESENT = "v=DMARC1;P=none;rua=mailto:d@example.com,mailto:x@vendor.example!10m ; fo=1:d:s;x-y=Z; "
NAME = "_dmarc.example.com"


HOLD = ("broken_dkim", "unidentified_sender")
"""kinds that hold every step of the policy"""


def row(record: str, name: str, *found: str, **fields: Any) -> dict[str, Any]:
    """A row of `Outside.dns`."""
    faults = [] if found else ["missing"]
    return {
        "domain": name.removeprefix("_dmarc."),
        "day": day(0),
        "record": record,
        "name": name,
        "state": "missing" if faults else "ok",
        "found": list(found),
        "problems": ["It is missing."] * len(faults),
        "proposal": None,
        "values": json.dumps({"faults": faults}),
        "checked": NOW,
        "run": "r",
        "since": day(30),
    } | fields


def outside(*rows: dict[str, Any]) -> Outside:
    return Outside(dns=pd.DataFrame(list(rows)))


SUBDOMAIN = {**STRANGER, "class": "spoofed_subdomain", "header_from": "billing.example.com"}
FORGED = messages([1, 2], messages=2, **SUBDOMAIN)


@pytest.mark.parametrize(
    ("record", "changes", "edited"),
    [
        (PRESENT, {"p": "quarantine", "t": "y"}, PRESENT.replace("none", "quarantine;t=y")),
        (
            "v=DMARC1; p=none",
            {"sp": "reject", "np": "reject"},
            "v=DMARC1; p=none; sp=reject; np=reject",
        ),
        ("v=DMARC1; rua=mailto:d@e", {"p": "none"}, "v=DMARC1; p=none; rua=mailto:d@e"),
        (
            "v=DMARC1; p=reject; pct=2; t=y; fo=1",
            {"pct": None, "t": None},
            "v=DMARC1; p=reject; fo=1",
        ),
        ("v=DMARC1; p = Reject ; p=none", {"p": "none"}, "v=DMARC1; p = none"),
        ("v=DMARC1; p=REJECT", {"p": "reject"}, "v=DMARC1; p=REJECT"),
    ],
)
def test_nothing_but_the_change_is_changed(record: str, changes: Any, edited: str) -> None:
    assert edit_dmarc(record, changes) == edited


def context(**published: str) -> Context:
    return Context(NOW, 7, Thresholds(), {f"_dmarc.{k}.example": v for k, v in published.items()})


def test_without_the_present_record_the_change_is_said_in_words() -> None:
    text, record = propose_dmarc("a.example", {"p": "reject", "t": None}, context())
    assert record == ()
    assert "set p=reject and take out t; leave the rest" in text
    assert "dmarckit dns check" in text
    damaged = context(a="v=DMARC; p=none")
    assert propose_dmarc("a.example", {"p": "reject"}, damaged)[1] == ()
    cut = context(a="v=DMARC1; p=none; rua=mailto:d@exam…")
    assert propose_dmarc("a.example", {"p": "reject"}, cut)[1] == ()


def test_what_dns_has_already_is_not_proposed() -> None:
    known = context(a="v=DMARC1; p=reject; rua=mailto:d@a.example")
    text, record = propose_dmarc("a.example", {"p": "reject", "pct": None}, known)
    assert (record, "needs no change" in text) == ((), True)


def finding(kind: str, severity: Any, *records: Record) -> Finding:
    return Finding(
        kind, "example.com", kind, severity, 1, None, None, 1, "", "Do it.", record=records
    )


def test_proposals_for_one_name_are_one_record_and_say_so() -> None:
    present = "v=DMARC1; p=none; pct=50; rua=mailto:d@example.com"
    ready = Record(NAME, "TXT", "v=DMARC1; p=quarantine; t=y; rua=mailto:d@example.com", present)
    below = Record(NAME, "TXT", present.replace("none", "none; sp=reject"), present)
    spf = Record("example.com", "TXT", "v=spf1 -all")
    other = Record("example.com", "TXT", "v=spf1 ~all")
    first, second, third = merge_records(
        [
            finding("a", "good", ready),
            finding("b", "warning", below, spf),
            finding("c", "info", other),
        ],
        {NAME: present},
    )
    both = "v=DMARC1; p=quarantine; sp=reject; t=y; rua=mailto:d@example.com"
    assert {f.record[0].value for f in (first, second)} == {both}
    assert first.record[0].replaces == present
    assert "also has sp=reject" in first.action
    assert "also has p=quarantine; t=y" in second.action
    assert (third.record[0].value, third.action) == ("v=spf1 -all", "Do it.")


def test_a_finding_of_a_run_before_follows_what_is_published_now() -> None:
    old = "v=DMARC1; p=none"
    kept = finding("a", "warning", Record(NAME, "TXT", "v=DMARC1; p=none; sp=reject", old))
    (now,) = merge_records([kept], {NAME: "v=DMARC1; p=quarantine; fo=1"})
    changed = "v=DMARC1; p=quarantine; sp=reject; fo=1"
    assert now.record == (Record(NAME, "TXT", changed, "v=DMARC1; p=quarantine; fo=1"),)
    (done,) = merge_records([kept], {NAME: "v=DMARC1; p=none; sp=reject"})
    assert done.record == ()


def test_a_muted_finding_changes_nothing_of_what_others_propose() -> None:
    old = "v=DMARC1; p=none"
    ready = finding("a", "good", Record(NAME, "TXT", "v=DMARC1; p=quarantine", old))
    muted = finding("b", "warning", Record(NAME, "TXT", "v=DMARC1; p=none; sp=reject", old))
    both = merge_records([replace(muted, mute_reason="known"), ready], {NAME: old})
    assert {f.record[0].value for f in both} == {"v=DMARC1; p=quarantine"}


def test_a_step_and_an_exposed_subdomain_propose_the_same_record() -> None:
    some = facts(messages=messages() + FORGED)
    seen = outside(row("dmarc", NAME, PRESENT))
    found = {f.kind: f for f in find(some, now=NOW, outside=seen) if f.record}
    assert found.keys() == {"policy_ready", "subdomain_exposed"}
    edited = PRESENT.replace("none", "quarantine;sp=reject;t=y")
    for each in found.values():
        assert each.record == (Record(NAME, "TXT", edited, PRESENT),)


def test_no_step_on_top_of_a_policy_that_reporters_do_not_quote_yet() -> None:
    some = facts(messages=messages())
    seen = outside(row("dmarc", NAME, "v=DMARC1; p=quarantine"))
    assert "policy_ready" not in {f.kind for f in find(some, now=NOW, outside=seen)}


def test_t_in_dns_counts_where_reporters_do_not_know_it() -> None:
    some = facts(messages=messages(), policies=policies(p="quarantine"))
    seen = outside(row("dmarc", NAME, "v=DMARC1; p=quarantine; t=y"))
    assert only(some, "policy_ready").subject == "p=reject; t=y"
    ready = only(some, "policy_ready", outside=seen)
    assert (ready.subject, ready.record[0].value) == ("p=quarantine", "v=DMARC1; p=quarantine")


def test_a_parked_domain_gets_the_records_that_close_it() -> None:
    some = facts(messages=messages(messages=1, **STRANGER))
    dmarc, spf, mx = (
        row("dmarc", NAME, PRESENT),
        row("spf", "example.com"),
        row("mx", "example.com"),
    )
    closed = edit_dmarc(PRESENT, {"p": "reject", "sp": "reject"})
    of_all = only(some, "policy_ready", outside=outside(dmarc, spf, mx)).record
    assert [(r.name, r.type, r.value) for r in of_all] == [
        (NAME, "TXT", closed),
        ("example.com", "TXT", "v=spf1 -all"),
        ("example.com", "MX", "0 ."),
    ]
    takes_mail = row("mx", "example.com", "10 mx.example.com")
    closed_spf = row("spf", "example.com", "v=spf1 ~all")
    two = only(some, "policy_ready", outside=outside(dmarc, closed_spf, takes_mail)).record
    assert [(r.value, r.replaces) for r in two[1:]] == [("v=spf1 -all", "v=spf1 ~all")]
    assert only(some, "policy_ready", outside=outside(dmarc)).record == two[:1]


def test_a_domain_whose_spf_names_senders_is_not_parked() -> None:
    some = facts(messages=messages(messages=1, **STRANGER))
    spf = row("spf", "example.com", "v=spf1 include:_spf.postwagon.example -all")
    found = find(some, now=NOW, outside=outside(row("dmarc", NAME, PRESENT), spf))
    assert "policy_ready" not in {f.kind for f in found}


def test_nobody_sends_is_not_proposed_while_mail_fails_that_may_be_ours() -> None:
    spf = row("spf", "example.com", values=json.dumps({"faults": ["missing_unused"]}))
    spf["proposal"] = "v=spf1 -all"
    strangers = find(facts(messages=messages(**STRANGER)), now=NOW, outside=outside(spf))
    ours = find(facts(messages=messages(**UNALIGNED)), now=NOW, outside=outside(spf))
    assert [bool(f.record) for f in strangers if f.kind == "dns_record"] == [True]
    assert [bool(f.record) for f in ours if f.kind == "dns_record"] == [False]


def test_an_address_that_only_people_know_is_not_made_up() -> None:
    proposal = "v=DMARC1; p=none; rua=mailto:dmarc-reports@example.com"
    seen = outside(row("dmarc", NAME, proposal=proposal))
    (missing,) = [f for f in find(facts(), now=NOW, outside=seen) if f.kind == "dns_record"]
    assert missing.record == ()


@pytest.mark.parametrize("seed", [0, 1, 12, 13, 44, 50, 51, 52])
def test_records_of_random_data(seed: int, tmp_path: Path) -> None:
    lake = random_lake(tmp_path, seed)
    known = load_facts(lake, LAKE_NOW, settings=load_settings(home=str(tmp_path)))
    published = _published(known, random.Random(seed))
    seen = outside(*(row("dmarc", name, text) for name, text in published.items()))
    for said in (Outside(), seen):
        found = find(known, now=LAKE_NOW, days=7, thresholds=SENSITIVE, outside=said)
        proposed: dict[tuple[str, str, str], str] = {}
        for each in found:
            texts = [each.title, each.summary, each.action, *(r.value for r in each.record)]
            assert not re.search(r"<[^>]*>|=…|=\.\.\.", " ".join(texts)), each.fingerprint
            for record in each.record:
                key = (each.domain, record.name, record.type)
                assert proposed.setdefault(key, record.value) == record.value, key
                assert record.replaces == published[record.name]
                _check_kept(record)
        if said is not seen:
            assert not proposed
        held = {f.domain for f in found if f.kind in HOLD or (f.severity == "critical" and f.lost)}
        assert not held & {f.domain for f in found if f.kind == "policy_ready"}


def _published(known: Facts, rng: random.Random) -> dict[str, str]:
    """Records that say what is quoted last, in one of many spellings."""
    last = known.policies.sort_values("begin").groupby("domain").tail(1)
    found = {}
    for quoted in last.to_dict("records"):
        glue = rng.choice([";", "; ", " ; "])
        tags = [f"{tag}={quoted[name]}" for name, tag in POLICY_TAGS.items() if quoted[name]]
        tags[1:] = rng.sample(tags[1:], len(tags) - 1)
        more = ["rua=mailto:d@example.com", "ruf=mailto:f@example.com!1m", "fo=1:s", "x=Y z"]
        tags += rng.sample(more, rng.randint(0, 4))
        found[f"_dmarc.{quoted['domain']}"] = glue.join(["v=DMARC1", *tags]) + rng.choice(["", ";"])
    return found


def _check_kept(record: Record) -> None:
    """Every tag but those that decide about messages is there, to the letter and in its order."""

    def others(text: str) -> list[str]:
        parts = [part.strip() for part in text.split(";")]
        return [part for part in parts if part.partition("=")[0] not in POLICY_TAGS.values()]

    assert others(record.value) == others(record.replaces or "")
    assert tag_list(record.value)["p"] in ("none", "quarantine", "reject")
    assert record.value != record.replaces
