"""A lake that former versions filled: the same domain as U-label and as A-label is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dmarckit.core import Settings
from dmarckit.facts import open_lake
from tests.support.command_line import run
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_failing, make_record

U, A, OTHER = "bücher.example", "xn--bcher-kva.example", "bucher.example"
FORMS = [U, A, f"{U.upper()}."]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty days: even ones as U-label, odd ones as A-label, another domain beside them."""
    home = tmp_path_factory.mktemp("home")
    lake_of(
        home,
        *(
            report(
                make_record(messages=90, header_from=name, spf_aligned=False),
                make_failing("203.0.113.9", 10, header_from=f"mail.{name}", dkim=()),
                domain=name, days_ago=ago, reporter=reporter, report_id=f"{reporter}-{ago}",
            )
            for ago in range(1, 21) for reporter in ("google.com", "Example Mail")
            for name in (U if ago % 2 else A,)
        ),
        report(make_record(messages=7, header_from=OTHER), domain=OTHER, report_id="other"),
    )  # fmt: skip
    return home


@pytest.mark.parametrize("name", FORMS)
def test_tables_are_asked_by_either_form(home: Path, name: str) -> None:
    lake = open_lake(Settings(home=str(home)), now=NOW)
    assert len(lake.reports(name)) == 40
    assert len(lake.records([name])) == 80
    assert set(lake.records(name)["header_from"]) == {A, f"mail.{A}"}
    assert lake.messages(name)["messages"].sum() == 4000
    assert set(lake.messages(name)["domain"]) == {A}


def test_sql_sees_one_form(home: Path) -> None:
    lake = open_lake(Settings(home=str(home)), now=NOW)
    query = "SELECT domain, sum(messages)::INT AS n FROM {} GROUP BY 1 ORDER BY 2"
    for table in ("records", "reports", "messages"):
        assert lake.sql(query.format(table)).values.tolist() == [[OTHER, 7], [A, 4000]]
    with lake.duckdb() as connection:
        found = connection.sql(f"SELECT count(*) FROM reports WHERE domain = '{A}'").fetchall()
    assert found == [(40,)]


@pytest.mark.parametrize("name", FORMS)
def test_commands_take_either_form(home: Path, name: str) -> None:
    said = run("findings", "--domain", name, "--now", NOW.isoformat(), "--format", "json",
               home=str(home))  # fmt: skip
    assert said.status in (0, 1), said.err
    found = json.loads(said.out)
    assert {f["domain"] for f in found} == {A}
    for finding in found:
        assert finding["fingerprint"].startswith(f"{finding['kind']}|{A}|")
        for text in (finding["title"], finding["summary"]):
            once = text.replace(f"mail.{U} (mail.{A})", "", 1).replace(f"{U} ({A})", "", 1)
            assert A not in once
    senders = run("senders", "--domain", name, "--now", NOW.isoformat(), "--format", "json",
                  home=str(home))  # fmt: skip
    assert {s["domain"] for s in json.loads(senders.out)} == {A}


def test_settings_and_decisions_take_either_form(home: Path) -> None:
    settings = {"home": str(home), "domains": [{"name": "books", "domains": [U]}]}
    said = run("findings", "--now", NOW.isoformat(), "--format", "json", **settings)
    assert {f["domain"] for f in json.loads(said.out)} == {A}
    done = run("senders", "declare", "Books", "--domain", U, "--network", "203.0.113.9", **settings)
    assert (done.status, f"Books is declared at {U} ({A})." in done.out) == (0, True), done
    senders = run("senders", "--now", NOW.isoformat(), "--format", "json", **settings)
    assert "Books" in {s["sender"] for s in json.loads(senders.out)}


def test_a_name_that_only_looks_like_it_is_not_known(home: Path) -> None:
    said = run("findings", "--domain", "bůcher.example", "--now", NOW.isoformat(), home=str(home))
    assert said.status == 2
    assert "is not known; did you mean" in said.err
