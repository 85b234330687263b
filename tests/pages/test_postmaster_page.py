"""The page and the commands of Postmaster Tools: what was pulled, as people and programs see it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import dmarckit
from dmarckit.checks.postmaster import latest_metrics
from dmarckit.cli import main
from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import POSTMASTER
from dmarckit.pages.build import build_page
from dmarckit.pages.page import Page
from dmarckit.pages.sections.base import Section
from tests.support.lakes import NOW, day
from tests.support.pages import markup, page_about
from tests.support.postmaster_server import postmaster_server, service_account

NOTEBOOK = Path(dmarckit.__file__).parent.parent / "notebooks" / "postmaster.ipynb"
WINDOW = last_days(5, "2026-11-23")

Row = tuple[Any, ...]


def row(
    metric: str, detail: str, value: Any, days_ago: int = 2, domain: str = "example.com"
) -> Row:
    return domain, day(days_ago), metric, detail, value


ROWS = (
    row("spam_rate", "", 0.001, 3),
    row("spam_rate", "", 0.0005, 2),
    row("spam_rate", "", 0.0041, 3, "shop.example"),
    row("auth_success_rate", "spf", 0.98),
    row("auth_success_rate", "dkim", 0.999),
    row("auth_success_rate", "dmarc", 0.97),
    row("tls_encryption_rate", "inbound", 1.0),
    row("delivery_error_rate", "", 0.02),
    row("delivery_error_rate", "reject", 0.02),
    row("delivery_error_rate", "reject/<b>low", 0.02),
    row("delivery_error_count", "reject/<b>low", 40),
    row("compliance", "SPF", "NEEDS_WORK", 3),
    row("compliance", "SPF", "COMPLIANT", 1),
    row("compliance", "SPF", "COMPLIANT", 0),
    row("compliance", "ONE_CLICK_UNSUBSCRIBE", "NEEDS_WORK", 0),
    row("compliance_reason", "ONE_CLICK_UNSUBSCRIBE", "NO_UNSUB_GENERAL", 0),
    row("feedback_loop_ids", "from_header", '["spring/<i>", "autumn"]'),
    row("feedback_loop_rate", "from_header/spring/<i>", 0.02),
)


def fill(home: Path, *rows: Row) -> Lake:
    """A lake whose table `postmaster` has these rows."""
    lake = Lake(f"{home}/lake")
    made = []
    for domain, at, metric, detail, value in rows:
        column = {float: "share", int: "number", str: "text"}[type(value)]
        made.append(
            {"domain": domain, "day": at, "metric": metric, "detail": detail, column: value}
            | {"pulled": NOW, "run": "r", "month": f"{at:%Y-%m}"}
        )
    table = pa.Table.from_pylist(made, schema=POSTMASTER.schema)
    lake.write.append_new("postmaster", table)
    return lake


About = Callable[..., Page]


@pytest.fixture
def about(tmp_path: Path) -> About:
    """Makes a page about the rows above, of one domain or of all."""
    lake = fill(tmp_path, *ROWS)

    def make(domain: str = "") -> Page:
        metrics = latest_metrics(lake, [domain] if domain else ())
        return page_about(domain=domain, window=WINDOW, _metrics=metrics)

    return make


# sections


def test_a_domain_s_newest_rates_the_worst_domain_first(about: About) -> None:
    frame = about().postmaster_domains().data.set_index("domain")
    assert list(frame.index) == ["shop.example", "example.com"]
    assert frame.loc["example.com", "spam_worst"] == 0.001
    assert frame.loc["example.com", "spam_rate"] == 0.0005
    assert frame.loc["example.com", "needs_work"] == 1
    assert frame.loc["shop.example", ["spf", "needs_work"]].isna().all()


def test_the_worst_of_several_domains_a_day_and_gaps_where_there_is_no_data(about: About) -> None:
    spam = about().postmaster_spam().data
    assert spam["day"].tolist() == [day(n) for n in (5, 4, 3, 2, 1)]
    assert spam["all"].fillna(-1).tolist() == [-1, -1, 0.0041, 0.0005, -1]
    least = about()._worst_by_day("spam_rate", ["all"], "min")
    assert least["all"].min() == 0.0005


def test_since_when_a_requirement_is_met(about: About) -> None:
    rows = about().postmaster_compliance().data.to_dict("records")
    assert [tuple(r.values()) for r in rows] == [
        ("example.com", "ONE_CLICK_UNSUBSCRIBE", "NEEDS_WORK", "NO_UNSUB_GENERAL", day(0), day(0)),
        ("example.com", "SPF", "COMPLIANT", "", day(1), day(0)),
    ]


def test_refusals_and_feedback_loops(about: About) -> None:
    kinds = about().postmaster_refusals().data.set_index("kind")
    assert list(kinds.index) == ["reject/<b>low"]  # the reason, and not the whole of it too
    assert kinds.loc["reject/<b>low", ["worst", "days", "messages"]].tolist() == [0.02, 1, 40]
    loops = about().postmaster_loops().data.set_index("loop")
    assert loops.loc["spring/<i>", "worst"] == 0.02
    assert pd.isna(loops.loc["autumn", "worst"])


def test_without_data_the_frames_are_empty_and_the_charts_say_so(tmp_path: Path) -> None:
    page = page_about(lake=Lake(f"{tmp_path}/lake"), window=WINDOW)
    for section in (
        page.postmaster_domains(),
        page.postmaster_compliance(),
        page.postmaster_refusals(),
        page.postmaster_loops(),
    ):
        assert section.data.empty
    for section in charts(page):
        assert section.figure is not None
        assert section.figure.data == ()
        subtitle = section.figure.layout.title.subtitle.text
        assert subtitle == "Postmaster Tools has no data for this period."


def charts(page: Page) -> list[Section]:
    return [
        page.postmaster_spam(),
        page.postmaster_authentication(),
        page.postmaster_encryption(),
        page.postmaster_errors(),
    ]


def test_a_chart_says_which_limit_was_reached(about: About) -> None:
    chart = about().postmaster_spam().figure
    assert chart is not None
    assert chart.layout.title.text == "0.41% on 21 Nov: Google requires never to reach 0.30%"
    assert "The highest of all domains." in chart.layout.title.subtitle.text
    assert [shape.y0 for shape in chart.layout.shapes] == [0.001, 0.003]
    (line,) = chart.data
    assert list(line.y) == [None, None, 0.0041, 0.0005, None]
    assert list(line.customdata) == ["no data", "no data", "0.41%", "0.05%", "no data"]
    one = about("example.com")
    assert title(one) == "0.10% on 21 Nov: Google requires under 0.10%"
    one._metrics = one._metrics[one._metrics["day"] == day(2)]
    assert title(one) == "At most 0.05% of the mail was marked as spam"


def title(page: Page) -> str:
    figure = page.postmaster_spam().figure
    return str(figure.layout.title.text) if figure else ""


def test_the_other_charts_state_the_worst_day(about: About) -> None:
    titles = [section.figure.layout.title.text for section in charts(about())[1:] if section.figure]
    assert titles == [
        "Lowest day: SPF 98.00% · DKIM 99.90% · DMARC 97.00%",
        "All mail to Gmail was encrypted",
        "Highest day: Gmail rejected or deferred 2.00% of the mail",
    ]


# the page


def page(home: Path) -> str:
    settings = home / "dmarckit.toml"
    settings.write_text(f'home = "{home.as_posix()}"\n', encoding="utf-8")
    made = build_page(NOTEBOOK, {"days": 5, "end": "2026-11-23"}, config=str(settings))
    assert made.warnings == ()
    return made.html.decode().replace("\N{NO-BREAK SPACE}", " ")


def test_the_page_shows_what_google_said(tmp_path: Path) -> None:
    fill(tmp_path, *ROWS)
    html = page(tmp_path)
    for text in (
        "0.41% on 21 Nov: Google requires never to reach 0.30%",
        "Postmaster Tools checked 24 Nov 09:00 UTC; data through 22 Nov.",
        "One-click unsubscribe",
        "needs work",
        "rejected: &lt;b&gt;low",
        "spring/&lt;i&gt;",
        '<td class="count">0.05%</td>',  # the table below a chart has rates, not bare shares
    ):
        assert text in html
    assert "<b>low" not in html
    assert "not connected" not in html, "it was asked"


def test_the_page_without_a_connection_says_how_to_connect(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert "Postmaster Tools is not connected. To connect it, set google_credentials" in html
    assert "Postmaster Tools has no data for this period." in html


def test_connected_but_never_asked(tmp_path: Path) -> None:
    settings = Settings(google_credentials=tmp_path / "key.json")
    page = page_about(settings=settings, lake=Lake(f"{tmp_path}/lake"), window=WINDOW)
    shown = markup(page.postmaster())
    assert "run dmarckit postmaster pull" in shown
    assert "not connected" not in shown


# the commands


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def _run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dmarckit", "postmaster", *arguments])
        status: str | int | None = 0
        try:
            main.main()
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return int(status or 0), out, err

    return _run


def test_pull_without_credentials_says_how_to_connect(run: Any) -> None:
    status, out, err = run("pull")
    assert (status, out) == (2, "")
    assert "not connected: set google_credentials to the JSON file" in err
    assert err.count("\n") == 1


def test_show_without_credentials_says_how_to_connect(run: Any) -> None:
    status, out, _ = run("show")
    assert status == 0
    assert "not connected: set google_credentials" in out
    assert run("show", "--format", "json")[1] == "[]\n"


def test_pull_and_show(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    with postmaster_server() as google:
        google.add("example.com")
        google.add("closed.example", permission="NONE")
        google.says("example.com", yesterday, "SPAM_RATE", doubleValue=0.003)
        google.says("example.com", yesterday, "DELIVERY_ERROR_COUNT", "reject", intValue="7")
        monkeypatch.setenv("DMARCKIT_GOOGLE_CREDENTIALS", str(service_account(google, tmp_path)))
        monkeypatch.setenv("DMARCKIT_POSTMASTER_URL", google.url)
        status, out, err = run("pull", "--days", "3")
    assert status == 1
    assert out == "Asked Google about 1 domain: 2 new or revised values.\n"
    assert err == "dmarckit: closed.example: no permission in Postmaster Tools; ask its owner\n"
    assert "0.30%" in run("show")[1]
    count, rate = json.loads(run("show", "--format", "json", "--domain", "example.com")[1])
    assert (count["metric"], count["number"], count["share"]) == ("delivery_error_count", 7, None)
    assert (rate["share"], rate["text"], rate["day"]) == (0.003, None, f"{yesterday}")


def test_another_format(run: Any) -> None:
    status, _, err = run("show", "--format", "xml")
    assert (status, err) == (2, "dmarckit: --format xml: formats are table, json\n")


@pytest.mark.parametrize("command", ["pull", "show"])
def test_each_command_has_an_example(run: Any, command: str) -> None:
    assert f"Example: dmarckit postmaster {command}" in run(command, "--help")[1]
