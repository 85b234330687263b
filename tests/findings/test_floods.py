"""Whoever may report may name any number of things: what is looked at is bounded, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmarckit.core.settings import Settings
from dmarckit.facts import load, sql
from dmarckit.findings.analysis import Analysis, analyse, left_out, too_many
from dmarckit.lake.lake import Lake
from tests.support import floods
from tests.support.lakes import NOW, day, lake_of, report
from tests.support.model_builders import make_failing

BOUNDED = {
    "selectors": "signatures",
    "SPF errors": "spf",
    "requirements": "requirements",
    "signing domains": "signatures",
}


def looked_at(home: Path, *reports: object, domains: tuple[str, ...] = ()) -> Analysis:
    settings = Settings(home=str(home), domains=domains)
    lake = lake_of(home, *reports)  # type: ignore[arg-type]
    return analyse(settings, lake, now=NOW)


@pytest.mark.parametrize("name", floods.RECORDS)
def test_of_a_flood_of_names_the_largest_are_looked_at(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MOST_SUBJECTS", 20)
    seen = looked_at(tmp_path, *floods.usual(), *floods.of_records(name, 60))
    beyond = seen.facts.beyond
    if name in BOUNDED:
        frame = getattr(seen.facts, BOUNDED[name])
        subject = sql.BOUNDED[BOUNDED[name]][1].removesuffix("_id")
        columns = ["dkim_domain", "selector"] if subject == "signature" else [subject]
        assert len(frame[columns].drop_duplicates()) == 20
        row = beyond[beyond["what"] == subject].iloc[0]
        assert row["domain"] == "example.com"
        assert row["names"] >= 40
        assert "at example.com are not looked at" in too_many(beyond)
    # the domain's own signature is never crowded out
    own = seen.facts.signatures
    assert own.loc[own["selector"] == "s1", "messages"].sum() >= 8_000
    assert seen.facts.messages["messages"].sum() == 8_000 + sum(
        r.message_count for r in floods.of_records(name, 60)
    )
    assert len(seen.findings) < 40, [f.finding.fingerprint for f in seen.findings]
    assert max(len(f.finding.summary) for f in seen.findings) < 2_000


def test_a_domain_with_as_many_names_as_are_looked_at_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MOST_SUBJECTS", 20)
    reports = floods.of_records("selectors", 19)  # and the one of every day
    seen = looked_at(tmp_path, *floods.usual(), *reports)
    assert seen.facts.beyond.empty
    assert too_many(seen.facts.beyond) == ""


def test_of_a_flood_of_domains_those_with_the_most_messages_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MOST_DOMAINS", 5)
    reports = [*floods.domains(12), report(make_failing(messages=90), domain="big.example")]
    seen = looked_at(tmp_path, *reports)
    assert seen.facts.reports["domain"].nunique() == 5
    assert "big.example" in set(seen.facts.messages["domain"])
    settings, lake = Settings(home=str(tmp_path)), Lake(f"{tmp_path}/lake")
    said = left_out(settings, lake, seen.facts, day(7), NOW)
    left = sum(1 + i % 7 for i in range(12)) + 90 - seen.facts.messages["messages"].sum()
    assert said == (
        f"8 more domains with {left} messages are not looked at: name yours in the setting domains."
    )
    named = analyse(Settings(home=str(tmp_path), domains=[f"d{i}.example" for i in range(12)]),
                    lake, now=NOW)  # fmt: skip
    assert named.facts.reports["domain"].nunique() == 12
    assert named.facts.beyond.empty
