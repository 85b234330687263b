"""The page of the sender requirements: matrix, what is not met, what is not connected."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dmarckit.checks.dns import Outside
from dmarckit.checks.rules import RULES
from dmarckit.core.settings import Settings
from dmarckit.facts.frames import Facts
from dmarckit.pages.page import Page
from tests.checks.test_requirements import compliance, facts, healthy, outside
from tests.support.command_line import run
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_record
from tests.support.outside_rows import entry, faulty, keep, metric
from tests.support.pages import markup, page_about


def about(out: Outside, *domains: str, domain: str = "", seen: Facts | None = None) -> Page:
    asked = replace(out, domains=domains or ("example.com",))
    return page_about(seen or healthy(), domain, outside=asked)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_answer_names_what_binds_the_domain_first() -> None:
    out = outside(
        [compliance("ONE_CLICK_UNSUBSCRIBE", "NEEDS_WORK"), compliance("ENCRYPTION", "NEEDS_WORK")]
    )
    html = markup(about(out).requirements_answer())
    assert "1 domain misses a requirement." in html
    assert html.index("example.com: TLS (Google).") < html.index("One-click unsubscribe (Google).")
    assert 'class="dk-answer warning"' in html


def test_an_answer_without_a_fault_or_without_any_source() -> None:
    assert "All known requirements are met." in markup(about(outside()).requirements_answer())
    nothing = about(outside(), seen=facts(reports=[], policies=[]))
    assert "No data yet." in markup(nothing.requirements_answer())


@pytest.mark.parametrize("number", [1, 200])
def test_one_row_a_domain_the_one_with_most_faults_first(number: int) -> None:
    names = [f"d{n}.example" for n in range(number)]
    bad = compliance("ENCRYPTION", "NEEDS_WORK") | {"domain": names[-1]}
    html = markup(about(outside([bad]), *names).requirements())
    rows = html.split("<tbody>")[1].split("</tr>")[:-1]
    assert len(rows) == number
    assert names[-1] in rows[0]
    assert 'dk-pill bad">not met' in rows[0]
    assert all(row.count("dk-pill") == len(RULES) for row in rows)


def test_providers_that_differ_are_named_in_the_cell() -> None:
    html = markup(about(outside()).requirements())
    assert html.count("<small>Google</small>") > 1, "it alone has a view; all others say nothing"


def test_what_is_not_met_has_action_source_and_disagreement() -> None:
    html = markup(about(outside([compliance("SPF", "NEEDS_WORK")])).requirements_not_met())
    for text in (
        "<h3>SPF passes</h3>",
        "use a return path whose SPF record lists the sending addresses.",
        "Google: https://support.google.com/a/answer/81126",
        "Postmaster Tools: needs work, as of 23 Nov",
        "The views disagree: reports met, Postmaster Tools not met",
        "bulk senders only",
    ):
        assert text in html
    assert "Yahoo:" not in html
    assert "<a " not in html
    nothing = markup(about(outside()).requirements_not_met())
    assert "All known requirements are met." in nothing


def test_a_domain_s_table_names_rules_without_evidence() -> None:
    html = plain(markup(about(outside(), domain="Example.com").requirements()))
    assert "reports: 100% of 200 own messages" in html
    assert "No evidence yet for: Spam rate, PTR record, TLS" in html
    unknown = about(outside(), domain="x.example", seen=facts(reports=[], policies=[]))
    assert "No data yet." in markup(unknown.requirements())
    assert "No data yet." in markup(unknown.requirements_not_met())


def test_what_is_not_connected_says_how(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path))  # type: ignore[call-arg]
    html = markup(page_about(settings=settings).requirements_sources())
    assert "Postmaster Tools is not connected. To connect it, set google_credentials" in html
    assert "run dmarckit dns check" in html


@pytest.fixture
def home(tmp_path: Path) -> str:
    home = tmp_path / "home"
    mail = make_record("192.0.2.1", 40)
    lake = lake_of(home, *(report(mail, days_ago=n, reporter="google.com") for n in range(1, 9)))
    keep(lake, *faulty("example.com"))
    keep(lake, [metric("b.example", "compliance", "SPF", "COMPLIANT")], [])
    keep(lake, [], [entry("c.example", "dmarc", "_dmarc.c.example")])
    return str(home)


def command(home: str, *options: str) -> str:
    status, out, _ = run("requirements", "--now", NOW.isoformat(), *options, home=home)
    assert status == 1, "a rule is not met"
    return plain(out)


def test_the_command_prints_all_that_is_known(home: str) -> None:
    said = command(home)
    assert "spf_lookups            Google not met, Yahoo not met, Microsoft not met" in said
    assert "DNS: example.com needs 14 lookups" in said
    assert "Google met, Yahoo unknown, Microsoft unknown" in said
    assert "3 domains, 5 rules not met." in said


def test_the_command_as_json(home: str) -> None:
    rows = json.loads(command(home, "--format", "json", "--domain", "example.com"))
    assert {row["domain"] for row in rows} == {"example.com"}
    (ptr,) = (r for r in rows if (r["rule"], r["provider"]) == ("ptr", "Google"))
    fields = "domain provider rule applies bulk verdict why disagree reports postmaster dns"
    assert list(ptr) == fields.split()
    assert (ptr["verdict"], ptr["disagree"], ptr["reports"]) == ("not met", True, None)
    assert (ptr["postmaster"], ptr["dns"], ptr["bulk"]) == ("met", "not met", False)


def test_the_command_without_anything_says_what_to_do(tmp_path: Path) -> None:
    status, out, _ = run("requirements", home=str(tmp_path / "home"))
    assert status == 0
    assert "There is no domain" in out
    assert "Postmaster Tools is not connected" in out
    assert "run dmarckit dns check" in out


def test_a_wrong_format_is_named(home: str) -> None:
    status, _, err = run("requirements", "--format", "xml", home=home)
    assert (status, "formats are table, json" in err) == (2, True)
