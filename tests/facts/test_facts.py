"""Records of a lake → the frames of the analysis."""

from __future__ import annotations

import random
import tomllib
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.errors import LakeError
from dmarckit.core.settings import DeclaredSender, Settings
from dmarckit.demo.company import demo_domains, demo_flows, demo_settings
from dmarckit.demo.flows import Domain, Flow, Reporter
from dmarckit.demo.traffic import reports as generated
from dmarckit.facts import sql
from dmarckit.facts.frames import COLUMNS, Facts, empty_facts
from dmarckit.facts.load import load_facts
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import (
    AggregateReport,
    DkimResult,
    Reason,
    SpfResult,
    TlsFailure,
    TlsPolicy,
    TlsReport,
)
from tests.support.lakes import NOW, day, lake_of, report
from tests.support.model_builders import make_failing, make_record
from tests.support.reporters import REPORTERS


def facts_of(lake: Lake, now: Any = NOW, settings: Settings | None = None, **more: Any) -> Facts:
    return load_facts(lake, now, settings=settings or Settings(), **more)


def frames(facts: Facts) -> dict[str, pd.DataFrame]:
    return {f.name: getattr(facts, f.name) for f in fields(facts) if f.name in COLUMNS}


def assert_same(one: Facts, other: Facts) -> None:
    """Compare every frame; rows are in no order."""
    for name, frame in frames(one).items():
        pd.testing.assert_frame_equal(ordered(frame), ordered(getattr(other, name)), obj=name)


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    texts = frame.astype(object).map(str)
    order = texts.sort_values(list(texts), kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def by(frame: pd.DataFrame, *keys: str) -> dict[Any, float]:
    """Messages by some columns, as a plain dict."""
    plain = frame.astype({k: "str" for k in keys if frame[k].dtype == "category"})
    sums: dict[Any, float] = plain.groupby(list(keys))["messages"].sum().to_dict()
    return {k[0] if len(keys) == 1 and isinstance(k, tuple) else k: n for k, n in sums.items()}


def test_a_lake_without_tables_gives_empty_frames_of_the_right_types(tmp_path: Path) -> None:
    facts = facts_of(lake_of(tmp_path))
    nothing = empty_facts(facts.now, facts.start)
    for name, frame in frames(facts).items():
        assert frame.empty
        assert list(frame.columns) == list(COLUMNS[name])
        assert (
            frame.dtypes.astype(str).to_dict()
            == getattr(nothing, name).dtypes.astype(str).to_dict()
        )


def test_messages_are_counted_by_what_was_reported(tmp_path: Path) -> None:
    lake = lake_of(
        tmp_path,
        report(
            make_record(messages=7), make_record("192.0.2.9", 5), make_failing("203.0.113.5", 2)
        ),
    )
    expected = pd.DataFrame(
        {
            "domain": ["example.com"] * 2,
            "day": [day(1)] * 2,
            "reporter": ["Example Mail"] * 2,
            "provider": [""] * 2,
            "sender": ["203.0.113.0/24", "example.com"],
            "sender_kind": ["unknown", "own"],
            "header_from": ["example.com"] * 2,
            "class": ["modified", "aligned"],
            "disposition": ["none"] * 2,
            "da": [False, True],
            "sa": [False, True],
            "in_inventory": [False, True],
            "ours": [False, True],
            "messages": [2, 12],
        }
    )
    found = facts_of(lake).messages.astype(dict.fromkeys(COLUMNS["messages"], "str"))
    found = found.sort_values("sender", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected.astype(dict.fromkeys(expected, "str")))


@pytest.mark.s3
def test_a_lake_on_s3_gives_the_same(tmp_path: Path, bucket: str) -> None:
    made = (report(make_record(messages=7), make_failing("203.0.113.5", 2)), report(days_ago=200))
    here, there = (facts_of(lake_of(home, *made)) for home in (tmp_path, f"{bucket}/home"))
    assert_same(here, there)


def test_patterns_whose_hash_is_the_same_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [make_record(messages=4), make_failing(messages=2), make_failing(None, 3)]
    lake = lake_of(tmp_path, report(*records))
    usual = facts_of(lake)
    monkeypatch.setattr(sql, "KEYS", ("hash(1)", sql.KEYS[-1]))
    found = facts_of(lake)
    assert found.messages["messages"].sum() == 9
    assert_same(found, usual)


def test_counts_of_0_are_no_messages(tmp_path: Path) -> None:
    facts = facts_of(lake_of(tmp_path, report(make_record(messages=0))))
    assert len(facts.reports) == 1
    assert facts.messages.empty
    assert facts.inventory.empty


def test_what_a_receiver_did_not_say_did_not_pass(tmp_path: Path) -> None:
    record = make_record(dkim_aligned=None, spf_aligned=None, dkim=(), spf=(), disposition=None)
    found = facts_of(lake_of(tmp_path, report(record))).messages
    assert found[["da", "sa", "disposition"]].values.tolist() == [[False, False, ""]]


def test_a_record_without_reporter_author_or_address_still_counts(tmp_path: Path) -> None:
    record = make_failing(None, 3, header_from=None, dkim=(), spf=())
    found = facts_of(lake_of(tmp_path, report(record, reporter=None))).messages
    assert found[["reporter", "header_from", "messages"]].values.tolist() == [
        ["", "example.com", 3]
    ]


def test_names_are_compared_without_case_and_final_dot(tmp_path: Path) -> None:
    record = make_record(
        header_from="Example.COM.",
        dkim=(DkimResult("EXAMPLE.com", "S1", "Pass"),),
        spf=(SpfResult("example.com.", "MFROM", "PASS"),),
    )
    facts = facts_of(lake_of(tmp_path, report(record)))
    assert by(facts.messages, "header_from", "sender", "class") == {
        ("example.com", "example.com", "aligned"): 1
    }
    assert by(facts.signatures, "dkim_domain", "selector") == {("example.com", "s1"): 1}


class TestDays:
    """Which day a message belongs to."""

    @pytest.mark.parametrize(
        ("begins", "hours", "belongs"),
        [(1, 24, 1), (1 + 9 / 24, 24, 1), (2 - 15 / 24, 24, 1), (2, 12, 2), (1.5, 0, 2)],
    )
    def test_a_report_of_a_day_at_most_belongs_to_the_day_of_its_middle(
        self, tmp_path: Path, begins: float, hours: float, belongs: int
    ) -> None:
        lake = lake_of(tmp_path, report(make_record(), days_ago=begins, days=hours / 24))
        assert facts_of(lake).messages["day"].tolist() == [day(belongs)]

    def test_a_week_is_spread_in_proportion(self, tmp_path: Path) -> None:
        lake = lake_of(tmp_path, report(make_record(messages=70), days_ago=8.5, days=7))
        found = by(facts_of(lake).messages, "day")
        assert found == pytest.approx({day(9): 5, **{day(d): 10 for d in range(3, 9)}, day(2): 5})

    def test_only_the_days_in_the_window_count(self, tmp_path: Path) -> None:
        lake = lake_of(tmp_path, report(make_record(messages=70), days_ago=94, days=7))
        found = by(facts_of(lake).messages, "day")
        assert found == {day(90): 10, day(89): 10, day(88): 10}

    def test_a_report_of_years_counts_as_its_last_366_days(self, tmp_path: Path) -> None:
        lake = lake_of(tmp_path, report(make_record(messages=3660), days_ago=450, days=450))
        found = by(facts_of(lake).messages, "day")
        assert len(found) == 90
        assert set(found.values()) == {10}

    def test_counts_stay_whole_where_nothing_is_spread(self, tmp_path: Path) -> None:
        whole = facts_of(lake_of(tmp_path, report(make_record())))
        assert {str(f["messages"].dtype) for f in frames(whole).values() if "messages" in f} == {
            "int64"
        }

    def test_what_begins_at_now_or_later_is_not_known_yet(self, tmp_path: Path) -> None:
        lake = lake_of(
            tmp_path,
            report(make_record("192.0.2.1", 4), days_ago=11),
            report(make_record("192.0.2.2", 8), days_ago=10, report_id="2"),
            report(make_record("192.0.2.3", 16), days_ago=1, report_id="3"),
        )
        facts = facts_of(lake, now=day(10))
        assert facts.messages["messages"].tolist() == [4]
        assert facts.inventory["messages"].tolist() == [4]
        assert len(facts.reports) == 1

    def test_a_day_that_begins_after_now_is_left_out(self, tmp_path: Path) -> None:
        lake = lake_of(tmp_path, report(make_record(), days_ago=1 - 15 / 24))
        assert facts_of(lake, now=day(0)).messages.empty

    def test_the_end_of_a_report_before_it_begins_does_no_harm(self, tmp_path: Path) -> None:
        lake = lake_of(tmp_path, report(make_record(), days_ago=2, days=-0.5))
        assert facts_of(lake).messages["day"].tolist() == [day(2)]

    @pytest.mark.parametrize(("days", "messages"), [(0, 0), (1, 1), (10, 3), (1000, 7)])
    def test_a_window_of_any_length(self, tmp_path: Path, days: int, messages: int) -> None:
        made = [
            report(make_record(messages=n), days_ago=ago, report_id=str(n))
            for n, ago in ((1, 1), (2, 10), (4, 900))
        ]
        found = facts_of(lake_of(tmp_path, *made), days=days).messages
        assert found["messages"].sum() == messages

    def test_a_time_without_zone_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LakeError, match="no time zone"):
            facts_of(lake_of(tmp_path), now=NOW.replace(tzinfo=None))


def test_months_before_the_window_are_not_read(tmp_path: Path) -> None:
    lake = lake_of(
        tmp_path,
        report(make_record(), days_ago=1),
        report(make_record(), days_ago=300, report_id="old"),
    )
    for file in (tmp_path / "lake/records").glob("month=2026-0[12]/*.parquet"):
        file.write_bytes(b"no longer readable")
    assert facts_of(lake).messages["messages"].tolist() == [1]


def test_only_the_domains_that_are_asked_for(tmp_path: Path) -> None:
    policy = TlsPolicy("sts", "other.example", (), (), 5, 0, ())
    lake = lake_of(
        tmp_path,
        report(make_record()),
        report(make_record(header_from="other.example"), domain="other.example"),
        tls=(TlsReport("Mail", None, "1", day(1), day(0), (policy,)),),
    )
    facts = facts_of(lake, domains=["Example.com"])
    assert facts.messages["domain"].tolist() == ["example.com"]
    assert facts.reports["domain"].tolist() == ["example.com"]
    assert facts.tls.empty
    assert facts_of(lake, domains=[]).messages.empty
    assert len(facts_of(lake).messages) == 2


def test_a_signature_counts_its_messages_once(tmp_path: Path) -> None:
    record = make_record(
        messages=6,
        dkim=(
            DkimResult("example.com", "s1", "fail"),
            DkimResult("example.com", "s1", "pass"),
            DkimResult("mail.example", "k", "pass"),
            DkimResult("example.com", None, "none"),  # no signature at all
            DkimResult(None, "s9", "pass"),
        ),
    )
    found = facts_of(lake_of(tmp_path, report(record))).signatures
    keys = ("dkim_domain", "selector", "passed", "aligned")
    assert by(found, *keys) == {
        ("example.com", "s1", True, True): 6,
        ("mail.example", "k", True, False): 6,
    }


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([("a.example", "mfrom", "permerror"), ("b.example", "helo", "pass")], "permerror"),
        ([("b.example", "helo", "temperror")], "temperror"),
        ([("a.example", None, "fail")], "fail"),
        ([("a.example", "mfrom", None)], ""),
        ([], None),
    ],
)
def test_the_spf_result_of_mail_from_else_of_helo(
    tmp_path: Path, results: list[tuple[str, str, str]], expected: str | None
) -> None:
    record = make_record(spf=tuple(SpfResult(*r) for r in results))
    found = facts_of(lake_of(tmp_path, report(record))).spf
    assert found["result"].tolist() == ([] if expected is None else [expected])


def test_sender_requirements_are_read_from_comments(tmp_path: Path) -> None:
    comment = "sender requirement failed:  550-5.7.30 and so on"
    reasons = (Reason("local_policy", comment), Reason("local_policy", "Sender requirement failed"))
    lake = lake_of(tmp_path, report(make_failing(messages=9, reasons=reasons)))
    assert by(facts_of(lake).requirements, "smtp", "code") == {("550", "5.7.30"): 9}


REJECT: dict[str, Any] = {"p": "reject"}


@pytest.mark.parametrize(
    ("policy", "author", "other", "counted"),
    [
        (REJECT, "example.com", {}, True),
        ({"p": "quarantine"}, "example.com", {}, False),
        (REJECT | {"testing": "y"}, "example.com", {}, False),
        (REJECT | {"pct": 50}, "example.com", {}, False),
        (REJECT | {"pct": 100}, "example.com", {}, True),
        (REJECT, "a.example.com", {}, True),
        (REJECT | {"sp": "none"}, "a.example.com", {}, False),
        (REJECT | {"sp": "none"}, "example.com", {}, True),
        ({"p": "none", "sp": "reject"}, "a.example.com", {}, True),
        (REJECT | {"np": "none"}, "a.example.com", {}, False),
        (REJECT, "example.com", {"disposition": "reject"}, False),
        (REJECT, "example.com", {"reasons": (Reason("local_policy"),)}, False),
        (REJECT, "example.com", {"reasons": (Reason(None),)}, True),
        (REJECT, "example.com", {"spf_aligned": True}, False),
    ],
)
def test_failing_under_reject_and_delivered_without_a_reason(
    tmp_path: Path, policy: dict[str, Any], author: str, other: dict[str, Any], counted: bool
) -> None:
    fails = {"dkim_aligned": False, "spf_aligned": False, "header_from": author} | other
    lake = lake_of(tmp_path, report(make_record(messages=3, **fails), policy=policy))
    assert facts_of(lake).unhonoured["messages"].tolist() == ([3] if counted else [])


def test_tls_failures_by_type_and_each_session_counted_once(tmp_path: Path) -> None:
    details = (TlsFailure("a", 2), TlsFailure("b", 3), TlsFailure("a", 4))
    policies = (
        TlsPolicy("sts", "example.com", (), (), 90, 9, details),
        TlsPolicy("tlsa", "example.com", (), (), 50, 0, ()),
    )
    lake = lake_of(
        tmp_path,
        tls=(
            TlsReport("Mail", None, "1", day(1), day(0), policies),
            TlsReport("Mail", None, "2", day(1), day(0), ()),
        ),
    )
    found = facts_of(lake).tls
    columns = ["policy_type", "successful", "failed", "result_type", "failed_sessions"]
    assert sorted(found[columns].values.tolist()) == [
        ["", 0, 0, "", 0],
        ["sts", 0, 0, "b", 3],
        ["sts", 90, 9, "a", 6],
        ["tlsa", 50, 0, "", 0],
    ]


def test_policies_as_quoted(tmp_path: Path) -> None:
    policy = {"p": "Reject", "np": "none", "pct": 50, "testing": "y", "adkim": "s"}
    found = facts_of(lake_of(tmp_path, report(policy=policy))).policies
    tags = found[["p", "sp", "np", "pct", "testing", "adkim", "aspf"]].values.tolist()
    assert tags == [["reject", "", "none", 50, "y", "s", ""]]


def test_twenty_addresses_of_each_sender_and_how_many_there_were(tmp_path: Path) -> None:
    older = [make_record(f"192.0.2.{n}", 100 + n) for n in range(30)]
    newer = [make_record(f"192.0.2.{n}", 1) for n in range(5)]
    facts = facts_of(lake_of(tmp_path, report(*older, days_ago=9), report(*newer, days_ago=2)))
    assert len(facts.sources) == 20
    assert facts.sources["messages"].min() == 110
    assert facts.addresses[["last_day", "addresses"]].values.tolist() == [
        [pd.Timestamp(day(9)), 25],
        [pd.Timestamp(day(2)), 5],
    ]


def test_counts_beyond_all_reason_do_not_break_the_sums(tmp_path: Path) -> None:
    records = [make_record(f"192.0.2.{n}", 2**60) for n in range(4)]
    assert facts_of(lake_of(tmp_path, report(*records))).messages["messages"].sum() == 4 * 10**12


def test_a_domain_is_one_in_whichever_form_its_labels_were_stored(tmp_path: Path) -> None:
    u, a = "b\u00fccher.example", "xn--bcher-kva.example"
    made = [
        report(make_record(messages=n, header_from=f"mail.{name}"), domain=name, days_ago=n)
        for n, name in ((1, u), (2, a))
    ]
    hostile = [
        report(make_record(messages=5), domain=name, days_ago=n)
        for n, name in enumerate(["\u0130" * 70, "xn--\u00fc", "\ud7ff..\u3002", "xn--a"], 3)
    ]
    lake = lake_of(tmp_path, *made, *hostile)
    for asked in ([a], [u.upper()], [f"{u}."]):
        facts = load_facts(lake, NOW, domains=asked, settings=Settings())
        assert set(facts.messages["domain"]) == {a}
        assert set(facts.messages["header_from"]) == {f"mail.{a}"}
        assert facts.messages["messages"].sum() == 3
        assert list(facts.reports["domain"]) == list(facts.policies["domain"]) == [a, a]
    assert facts_of(lake).messages["messages"].sum() == 23


def test_whatever_reports_say_is_only_text(tmp_path: Path) -> None:
    """No outside text ends a statement, splits a list or makes a sum come out wrong."""
    rng = random.Random(5)
    odd = [
        "",
        " ",
        ".",
        "a\x1eb",
        "c\x1fd",
        "'; DROP TABLE records; --",
        "%s",
        "{sum}",
        "ünï.example",
    ]
    odd += [
        "x" * 5000,
        "example.com",
        "*.example.com",
        "192.0.2.1",
        "a b",
        "\u202egpj.example",
        "com",
    ]

    def text() -> str | None:
        return rng.choice([None, *odd])

    def results(made: Any, count: int) -> tuple[Any, ...]:
        state = rng.choice([None, "pass", "fail", "none", "hardfail", ""])
        return tuple(made(text(), text(), state) for _ in range(rng.randrange(count)))

    records = [
        make_record(
            rng.choice([None, "192.0.2.1", "2001:db8::1", "unknown", "1.2.3"]),
            rng.randrange(4),
            dkim_aligned=rng.choice([None, True, False]),
            spf_aligned=rng.choice([None, True, False]),
            dkim=results(DkimResult, 4),
            spf=results(SpfResult, 3),
            reasons=(Reason(text(), text()),),
            **dict.fromkeys(("header_from", "envelope_from", "disposition"), text()),
        )
        for _ in range(400)
    ]
    made = [
        report(*records[n : n + 50], domain=rng.choice(odd), reporter=text(), days_ago=n / 20)
        for n in range(0, 400, 50)
    ]
    facts = facts_of(lake_of(tmp_path, *made))
    expected = sum(r.messages for r in records)
    assert facts.messages["messages"].sum() == expected
    assert facts.alignments["messages"].sum() == expected
    assert facts.messages.notna().all(axis=None)


def test_a_slip_of_a_reporter_brings_nobody_into_the_inventory(tmp_path: Path) -> None:
    """SPF "aligned" for a forwarder whose own domain passed: the raw result says otherwise."""
    relayed = make_record("203.0.113.7", 5, spf=(SpfResult("relay.example", "mfrom", "pass"),))
    facts = facts_of(lake_of(tmp_path, report(make_record(messages=50), relayed)))
    assert by(facts.messages, "sender", "in_inventory") == {
        ("example.com", True): 50,
        ("relay.example", False): 5,
    }


def test_aligned_spf_without_any_raw_result_is_believed(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, report(make_record(spf=(), dkim=(), dkim_aligned=False)))
    assert facts_of(lake).inventory["sender"].tolist() == ["192.0.2.0/24"]


def test_who_merely_forwards_what_another_signs_is_no_owner(tmp_path: Path) -> None:
    """Mail of a service that only signs, forwarded by one that also sends with aligned SPF."""

    def delivered(by_whom: str, selector: str, messages: int, *, sa: bool) -> Any:
        return make_record(
            None,
            messages,
            spf_aligned=sa,
            dkim=(
                DkimResult("example.com", selector, "pass"),
                DkimResult(f"{by_whom}.example", "k", "pass"),
            ),
            spf=(SpfResult("example.com" if sa else f"bounce.{by_whom}.example", "mfrom", "pass"),),
        )

    declared = tuple(
        DeclaredSender(
            name=name,
            kind="email service",
            dkim_domains=(f"{name}.example",),
            spf_domains=(f"{name}.example",),
        )
        for name in ("office", "post")
    )
    lake = lake_of(
        tmp_path,
        report(
            delivered("office", "own", 500, sa=True),
            delivered("post", "p1", 400, sa=False),
            delivered("office", "p1", 20, sa=False),
        ),
    )
    facts = facts_of(lake, settings=Settings(senders=declared))
    assert by(facts.messages, "sender", "class") == {
        ("office", "aligned"): 500,
        ("office", "forwarded"): 20,
        ("post", "dkim_only"): 400,
    }
    owns = dict(facts.inventory[["sender", "owns"]].values.tolist())
    assert owns == {"office": (("example.com", "own"),), "post": (("example.com", "p1"),)}


def _middle(made: AggregateReport) -> pd.Timestamp:
    return pd.Timestamp(made.begin + (made.end - made.begin) / 2).floor("D")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Facts, pd.DataFrame]:
    """The demo's traffic of some weeks as facts, and its truth."""
    end = date(2026, 11, 24)
    domains: tuple[Domain, ...] = demo_domains(end)
    flows: tuple[Flow, ...] = demo_flows(end)
    reporters: tuple[Reporter, ...] = REPORTERS
    made = [
        g
        for g in generated(domains, flows, reporters, end - timedelta(25), 25, 7)
        if g.report.end <= NOW and g.reporter.hours <= 24
    ]
    lake = lake_of(tmp_path_factory.mktemp("demo"), *(g.report for g in made))
    declared = tomllib.loads(demo_settings())["senders"]
    facts = facts_of(lake, settings=Settings(senders=declared))
    truth = [
        {
            "domain": g.report.policy.domain,
            "day": _middle(g.report),
            "reporter": g.report.reporter,
            "header_from": r.header_from,
            "class": t.expected,
            "messages": t.messages,
        }
        for g in made
        for r, t in zip(g.report.records, g.truth, strict=True)
    ]
    return facts, pd.DataFrame(truth)


def test_the_demo_is_classified_as_its_truth_says(demo: tuple[Facts, pd.DataFrame]) -> None:
    facts, truth = demo
    keys = ("domain", "day", "reporter", "header_from", "class")
    assert by(facts.messages, *keys) == by(truth, *keys)


def test_no_frame_loses_or_multiplies_messages(demo: tuple[Facts, pd.DataFrame]) -> None:
    facts, truth = demo
    for frame in (facts.messages, facts.alignments):
        assert by(frame, "domain") == by(truth, "domain")
    assert facts.inventory["messages"].sum() == (
        facts.messages.loc[facts.messages["in_inventory"], "messages"].sum()
    )
    once = facts.messages.duplicated([c for c in COLUMNS["messages"] if c != "messages"])
    assert not once.any()


def test_messages_are_in_the_order_of_domains_and_days(demo: tuple[Facts, pd.DataFrame]) -> None:
    facts, _ = demo
    for name in ("messages", "signatures", "spf", "alignments"):
        rows = getattr(facts, name)[["domain", "day"]].astype({"domain": "str"})
        pd.testing.assert_frame_equal(rows, rows.sort_values(["domain", "day"], kind="stable"))
