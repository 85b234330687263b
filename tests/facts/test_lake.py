"""The lake as an analyst opens it."""

from __future__ import annotations

import pydoc
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dmarckit
from dmarckit.core.errors import LakeError
from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.demo.company import demo_domains, demo_flows, demo_settings
from dmarckit.demo.traffic import reports as generated
from dmarckit.facts.frames import in_window
from dmarckit.facts.lake import MESSAGES, Lake
from dmarckit.facts.load import load_facts
from dmarckit.facts.ptr import host_names
from dmarckit.facts.sql import FORWARD_REASON
from dmarckit.findings.analysis import page_analysis
from dmarckit.lake.schema import TABLES
from dmarckit.reports.model import AggregateReport, DkimResult, Reason, SpfResult
from tests.support.lakes import NOW, TODAY, day, lake_of, report
from tests.support.model_builders import make_failing, make_record
from tests.support.reporters import REPORTERS

KEYS = ["domain", "reporter", "header_from", "sender", "sender_kind", "class"]
KEYS += ["disposition", "in_inventory"]


def opened(home: Path, *made: AggregateReport, **settings: Any) -> Lake:
    url = lake_of(home, *made).location.url
    return Lake(url, Settings(home=str(home), **settings), now=NOW)


def sums(frame: pd.DataFrame, *more: str) -> dict[Any, float]:
    flags = {"da": "dkim_aligned", "sa": "spf_aligned"}
    plain = frame.rename(columns=flags)
    if "share" in plain:
        plain = plain.assign(messages=plain["messages"] * plain["share"])
    keys = [*KEYS, *flags.values(), *more]
    found: dict[Any, float] = (
        plain.astype(dict.fromkeys(keys, "str")).groupby(keys)["messages"].sum().to_dict()
    )
    return found


def same_as_the_analysis(lake: Lake, *more: str) -> None:
    """Every number of the facts, from the frame and from the view."""
    facts = load_facts(lake, NOW, settings=lake.settings, hosts=host_names(lake))
    window = last_days(30, today=NOW.date())
    frame, view = lake.messages(), lake.sql("SELECT * FROM messages")
    assert sums(frame, *more) == pytest.approx(sums(in_window(facts.messages, window), *more))
    assert sums(view, *more) == pytest.approx(sums(facts.messages, *more))
    daily = view["end"] - view["begin"] <= timedelta(days=1)  # else one row for several days
    inside = in_window(view[daily], window).reset_index(drop=True)
    mine = frame[frame["end"] - frame["begin"] <= timedelta(days=1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(inside, mine)


def test_the_demo_has_the_classes_of_the_analysis(tmp_path: Path) -> None:
    end = TODAY.date()
    domains, flows = demo_domains(end), demo_flows(end)
    made = generated(domains, flows, REPORTERS, end - timedelta(12), 12, 7)
    declared = tomllib.loads(demo_settings())["senders"]
    daily = [g.report for g in made if g.reporter.hours <= 24]
    lake = opened(tmp_path, *daily, senders=declared)
    same_as_the_analysis(lake, "day")
    assert lake.messages()["class"].nunique() > 5


def random_reports(seed: int) -> list[AggregateReport]:
    rng = np.random.default_rng(seed)

    def record() -> Any:
        ip = str(rng.choice(["192.0.2.1", "198.51.100.7", "203.0.113.5", "2001:db8::1", ""]))
        mine, other = "example.com", "mailer.example"
        signed = [
            DkimResult(
                str(rng.choice([mine, other])),
                str(rng.choice(["s1", "s2"])),
                str(rng.choice(["pass", "fail"])),
            )
            for _ in range(rng.integers(0, 3))
        ]
        checked = SpfResult(
            str(rng.choice([mine, other])), "mfrom", str(rng.choice(["pass", "fail"]))
        )
        reasons = (Reason("forwarded", None),) if rng.random() < 0.2 else ()
        return make_record(
            ip or None,
            int(rng.integers(0, 9)),
            dkim_aligned=bool(rng.integers(2)),
            spf_aligned=bool(rng.integers(2)),
            header_from=str(rng.choice([mine, "news.example.com"])),
            dkim=tuple(signed),
            spf=(checked,),
            reasons=reasons,
        )

    return [
        report(
            *(record() for _ in range(rng.integers(0, 5))),
            days_ago=int(rng.integers(1, 100)),
            days=float(rng.choice([1, 1, 1, 3])),
            domain=str(rng.choice(["example.com", "other.example"])),
            report_id=str(number),
        )
        for number in range(40)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_any_lake_has_the_classes_of_the_analysis(tmp_path: Path, seed: int) -> None:
    same_as_the_analysis(opened(tmp_path, *random_reports(seed)))


def test_a_domain_has_the_numbers_of_its_page(tmp_path: Path) -> None:
    lake = opened(tmp_path, *random_reports(7))
    window = last_days(14, "2026-11-20")
    page = page_analysis(lake.settings, lake, window, "2026-11-20", domains=["example.com"])
    of_days, of_window = (
        lake.messages("Example.com.", days=14, end=date(2026, 11, 20)),
        lake.messages(["example.com"], window=window),
    )
    pd.testing.assert_frame_equal(of_days, of_window)
    whole = of_days.assign(n=of_days["messages"] * of_days["share"])
    expected = in_window(page.facts.messages, window).groupby("class", observed=True)["messages"]
    found: dict[str, float] = whole.groupby("class")["n"].sum().to_dict()
    assert found == pytest.approx(expected.sum().to_dict())


def test_one_row_a_record_with_what_it_says(tmp_path: Path) -> None:
    failing = make_failing("8.8.8.8", 2, reasons=(Reason("local_policy", "arc=fail"),))
    lake = opened(tmp_path, report(make_record(messages=0), failing))
    (row,) = lake.messages("example.com").to_dict("records")
    assert row["day"] == day(1)
    shown = [
        "source_ip",
        "country",
        "network",
        "sender",
        "class",
        "messages",
        "position",
        "dkim_aligned",
    ]
    assert [row[name] for name in shown] == [
        *("8.8.8.8", "US", "Google (AS15169)", "Google", "unauthenticated", 2, 1, False)
    ]
    assert [dict(reason) for reason in row["reasons"]] == [
        {"type": "local_policy", "comment": "arc=fail"}
    ]


def test_a_long_report_is_one_row_with_the_share_that_was_asked_for(tmp_path: Path) -> None:
    lake = opened(tmp_path, report(make_record(messages=70), days_ago=8, days=7))
    found = lake.messages(days=2, end="2026-11-18", columns=["day", "messages", "share"])
    assert found.values.tolist() == [[day(7), 70, pytest.approx(2 / 7)]]


def test_a_lake_without_rows_has_the_columns(tmp_path: Path) -> None:
    lake = opened(tmp_path)
    assert list(lake.messages().columns) == MESSAGES.names
    assert list(lake.sql("SELECT * FROM messages").columns) == MESSAGES.names
    assert repr(lake).endswith("no rows yet")


def test_unknown_columns_and_tables_are_named(tmp_path: Path) -> None:
    lake = opened(tmp_path)
    with pytest.raises(LakeError, match="messages has no column 'sendr'"):
        lake.messages(columns=["sendr"])
    with pytest.raises(LakeError, match="no table 'message'; tables are messages, mails"):
        lake.describe("message")


@pytest.mark.parametrize(
    ("kind", "comment", "forwarded"),
    [
        ("forwarded", None, True),
        (" Mailing_List", "a list", True),
        ("trusted_forwarder", None, True),
        ("local_policy", "arc=pass", True),
        (None, "policy: ARC = Pass as[1]", True),
        ("local_policy", "arc=fail", False),
        ("other", None, False),
    ],
)
def test_evidence_calls_forwarded_what_the_class_does(
    tmp_path: Path, kind: str | None, comment: str | None, forwarded: bool
) -> None:
    reasons = (Reason("other", None), Reason(kind, comment))
    lake = opened(tmp_path, report(make_failing(reasons=reasons), make_record()))
    found = lake.messages(columns=["class"])["class"] == "forwarded"
    assert found.tolist() == [forwarded, False]
    evidence = lake.sql(f"SELECT {FORWARD_REASON} AS f FROM records ORDER BY position")
    assert evidence["f"].tolist() == [forwarded, False]


class TestSql:
    """`messages` as a view."""

    def test_it_is_made_only_when_a_query_reads_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lake = opened(tmp_path, report(make_record(messages=3)))
        monkeypatch.setattr("dmarckit.facts.lake.reduced", None)
        assert lake.sql("SELECT sum(messages) AS n FROM records")["n"].tolist() == [3]
        with pytest.raises(LakeError, match="messages"):
            lake.sql("SELECT count(*) FROM messages")

    def test_a_connection_sees_it_beside_the_tables(self, tmp_path: Path) -> None:
        lake = opened(tmp_path, report(make_record(messages=3), make_failing(messages=4)))
        query = (
            "SELECT class, m.messages FROM messages m JOIN records r USING (report_uid, position)"
        )
        with lake.duckdb() as connection:
            first, again = (connection.sql(query).fetchall() for _ in range(2))
        assert sorted(first) == [("aligned", 3), ("broken_dkim", 4)]
        assert first == again

    def test_parameters(self, tmp_path: Path) -> None:
        lake = opened(tmp_path, report(make_record(messages=3)))
        query = "SELECT sum(messages) AS n FROM messages WHERE domain = $domain"
        assert lake.sql(query, domain="example.com")["n"].tolist() == [3]

    def test_an_old_lake_shows_its_last_90_days(self, tmp_path: Path) -> None:
        made = [report(make_record(), days_ago=ago, report_id=str(ago)) for ago in (500, 480, 300)]
        lake = opened(tmp_path, *made)
        assert lake.sql("SELECT day FROM messages")["day"].tolist() == [day(300)]
        assert lake.messages().empty


class TestHelp:
    """What the object says about itself."""

    def test_its_text_says_where_and_how_much(self, tmp_path: Path) -> None:
        lake = opened(tmp_path, report(make_record(), make_failing()), report(days_ago=9))
        assert repr(lake).splitlines() == [
            f"Lake {tmp_path}/lake",
            "  reports                 2 rows  2026-11-15 to 2026-11-23",
            "  records                 2 rows  2026-11-23",
        ]

    @pytest.mark.parametrize(
        "table", ["messages", "records", "reports", "mails", "tls", "findings", "dns", "postmaster"]
    )
    def test_every_table_explains_its_columns(self, tmp_path: Path, table: str) -> None:
        lake = opened(tmp_path)
        columns = lake.describe(table)
        assert list(columns.columns) == ["column", "type", "meaning"]
        assert columns["column"].tolist() == list(getattr(lake, table)().columns)
        assert (columns != "").all(axis=None)
        text = pydoc.plain(pydoc.render_doc(getattr(lake, table)))
        for name, kind, meaning in columns.itertuples(index=False):
            assert f"{name} ({kind}): {meaning}" in text

    def test_every_table_of_the_lake_can_be_described(self, tmp_path: Path) -> None:
        for name, table in TABLES.items():
            assert opened(tmp_path).describe(name)["column"].tolist() == table.schema.names

    def test_tab_offers_what_is_asked_of_a_lake(self, tmp_path: Path) -> None:
        lake = opened(tmp_path)
        assert {"messages", "sql", "describe"} <= set(dir(lake))
        assert all(getattr(lake, name) is not None for name in dir(lake))


def test_the_front_door_opens_this_lake(tmp_path: Path) -> None:
    lake = dmarckit.open_lake(Settings(home=str(tmp_path)), now=NOW)
    assert isinstance(lake, dmarckit.Lake)
    assert dmarckit.Lake is Lake
    assert (lake.now, lake.settings.home) == (NOW, str(tmp_path))
