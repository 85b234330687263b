"""Numbers about mail: made of an analysis, bounded, kept in the home, printed for CloudWatch."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest

from dmarckit.checks import Outside
from dmarckit.core import last_days, open_storage
from dmarckit.core.settings import Settings, load_settings
from dmarckit.facts.classify import CLASSES
from dmarckit.findings.analysis import Analysis, page_analysis
from dmarckit.findings.find import KINDS
from dmarckit.findings.ledger import LedgerEntry
from dmarckit.findings.model import Finding
from dmarckit.jobs import metrics
from dmarckit.jobs.metrics import (
    KEY,
    MOST_DOMAINS,
    MailMetrics,
    emf_lines,
    keep_metrics,
    mail_metrics,
    read_metrics,
)
from dmarckit.jobs.run import run_job
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake.lake import Lake
from dmarckit.pages.sections.overview import measure
from tests.support.finding_facts import STRANGER, day, facts, messages
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_failing, make_record
from tests.support.outside_rows import metric

RATES = ["domain", "day", "metric", "detail", "share", "text", "pulled"]


def analysed(
    rows: list[dict[str, Any]],
    tls: Sequence[dict[str, Any]] = (),
    rates: Sequence[dict[str, Any]] = (),
    found: Sequence[LedgerEntry] = (),
    domains: tuple[str, ...] = (),
) -> Analysis:
    """An analysis of rows of `Facts.messages`, `Facts.tls`, `postmaster`, and findings."""
    some = facts(messages=rows, tls=list(tls))
    outside = Outside(pd.DataFrame(rates, columns=RATES), domains=domains)
    return Analysis(NOW, 7, some, list(found), outside)


def numbers(found: MailMetrics, family: str) -> dict[Any, float]:
    """Labels → number; what is 0 is left out."""
    pairs = {labels if len(labels) > 1 else labels[0]: n for labels, n in found.of(family)}
    return {labels: n for labels, n in pairs.items() if n}


def sessions(domain: str, successful: int, failed: int, ago: int = 1) -> dict[str, Any]:
    about = {"policy_domain": domain, "begin": day(ago), "end": day(ago - 1), "reporter": "x"}
    result = {"policy_type": "sts", "result_type": "", "failed_sessions": failed, "mx_hosts": ""}
    return {**about, **result, "successful": successful, "failed": failed}


def entry(kind: str, severity: str, status: str = "SAME", **more: Any) -> LedgerEntry:
    about = {"messages": 1, "first_day": None, "last_day": None, "reporters": 1}
    finding = Finding(kind, "example.com", more.pop("subject", ""), severity, **about, **more,
                      summary="", action="")  # fmt: skip
    return LedgerEntry(finding, status, 1, severity)


def test_numbers_are_of_the_last_seven_whole_days() -> None:
    one = {"reporters": ["google.com"], "messages": 3}
    rows = messages(range(9), **one)  # today and eight days before
    rows += messages([1], **STRANGER, reporters=["google.com"], messages=50)
    blocked = {"reporters": ["google.com"], "messages": 40, "disposition": "reject"}
    rows += messages([1], **STRANGER, **blocked)
    tls = [sessions("example.com", 90, 10), sessions("example.com", 5, 5, ago=8)]
    rates = [
        metric("example.com", "spam_rate", "", 0.002, 3),
        metric("example.com", "spam_rate", "", 0.004, 2),
        metric("example.com", "spam_rate", "", 0.5, 9),
        metric("example.com", "delivery_error_rate", "", 0.07, 2),
        metric("example.com", "delivery_error_rate", "reject", 0.9, 2),
        metric("example.com", "compliance", "SPF", "COMPLIANT", 1),
        metric("stale.example", "spam_rate", "", 0.5, 9),
    ]
    found = mail_metrics(analysed(rows, tls, rates))
    assert found.as_of == NOW
    assert numbers(found, "messages") == {
        ("example.com", "aligned"): 21,
        ("example.com", "unauthenticated"): 90,
    }
    assert numbers(found, "own_mail_messages") == {"example.com": 21}
    assert numbers(found, "own_mail_passing_messages") == {"example.com": 21}
    assert numbers(found, "forged_delivered_messages") == {"example.com": 50}
    assert numbers(found, "tls_sessions") == {"example.com": 100}
    assert numbers(found, "tls_failed_sessions") == {"example.com": 10}
    assert numbers(found, "postmaster_spam_ratio") == {"example.com": 0.004}
    assert numbers(found, "postmaster_delivery_error_ratio") == {"example.com": 0.07}
    labels = [labels for labels, _n in found.of("messages")]
    assert labels == [("example.com", name) for name in CLASSES], "those that are 0 too"


def test_findings_are_counted_by_kind_while_they_are_open() -> None:
    found = mail_metrics(
        analysed(
            [],
            found=[
                entry("spoofing", "critical"),
                entry("spoofing", "critical", "NEW", subject="b"),
                entry("spoofing", "warning", "RESOLVED"),
                entry("spf_only", "warning", mute_reason="known"),
            ],
        )
    )
    assert numbers(found, "findings") == {("spoofing", "critical"): 2}
    kinds = {labels for labels, _n in found.of("findings")}
    assert kinds == {(kind.name, each) for kind in KINDS.values() for each in kind.severities}
    assert not list(found.of("messages")), "an empty lake has no domain"


def test_domains_beyond_the_largest_and_hostile_names_share_a_label() -> None:
    sizes = {f"d{n:02}.example": 100 - n for n in range(MOST_DOMAINS + 5)}
    hostile = ["other", "a\x00b.example", 'x".example', "ä.example", "Ⅷ.example", "x\n.example"]
    hostile += ["", f"{'a.' * 130}example", "<b>.example", "{{.}}.example"]
    sizes |= dict.fromkeys(hostile, 1000)
    rows = [
        row
        for domain, size in sizes.items()
        for row in messages([1], domain=domain, reporters=["google.com"], messages=size)
    ]
    strange = [
        metric("no.example", "spam_rate", "", 0.2),
        metric("d00.example", "spam_rate", "", 0),
    ]
    found = mail_metrics(analysed(rows, [sessions("", 1, 1)], strange))
    named = [f"d{n:02}.example" for n in range(MOST_DOMAINS)]
    rest = sum(sizes.values()) - sum(sizes[name] for name in named)
    own = dict(found.of("own_mail_messages"))
    assert own == {**{(name,): sizes[name] for name in named}, ("other",): rest}
    assert numbers(found, "postmaster_spam_ratio") == {"other": 0.2}, "of several the worst"
    assert numbers(found, "tls_failed_sessions") == {"other": 1}
    assert len(found.samples) < 600
    assert MailMetrics.model_validate_json(found.model_dump_json()) == found


def test_other_domains_of_an_organisation_are_not_those_of_the_settings() -> None:
    rates = [
        metric("example.com", "spam_rate", "", 0.2),
        metric("a.example.com", "spam_rate", "", 0.1),
    ]
    found = mail_metrics(analysed([], rates=rates, domains=("a.example.com",)))
    assert numbers(found, "postmaster_spam_ratio") == {"a.example.com": 0.1}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home whose lake knows a domain with its own mail, a relay's and a forger's, for 20 days."""
    own = make_record(messages=30), make_record("192.0.2.9", 5, dkim_aligned=False)
    lost = make_failing("192.0.2.1", 4, disposition="quarantine")
    forged = (
        make_failing("198.51.100.7", 9, dkim=()),
        make_failing("203.0.113.9", 2, dkim=(), disposition="reject"),
    )
    lake_of(
        tmp_path,
        *(report(*own, lost, days_ago=n, report_id=f"r{n}") for n in range(5, 21)),
        *(report(*own, lost, *forged, days_ago=n, report_id=f"r{n}") for n in range(1, 5)),
        *(report(make_record(), days_ago=n, domain="b.example", report_id="b") for n in (1, 2)),
    )
    return load_settings(home=str(tmp_path), domains=("example.com",))


def test_the_page_of_the_same_days_shows_the_same(settings: Settings) -> None:
    window = last_days(7, today=NOW.date())
    analysis = page_analysis(settings, Lake(settings.lake_url), window, now=NOW)
    found = mail_metrics(analysis)
    page = measure(analysis.facts, window).set_index("measure")["value"]
    assert {labels[0] for labels, _n in found.of("messages")} == {"example.com"}
    assert sum(numbers(found, "messages").values()) == page["messages"] == 317
    own, passing = (
        numbers(found, f"own_mail_{name}")["example.com"]
        for name in ("messages", "passing_messages")
    )
    assert passing / own == page["own_share"] < 1
    delivered = numbers(found, "forged_delivered_messages")["example.com"]
    assert delivered == page["forged"] - page["stopped"] == 36


# a run keeps them


def analysis_of(moment: datetime = NOW) -> Analysis:
    rows = messages([1], reporters=["google.com"], messages=3)
    return replace(analysed(rows, found=[entry("spoofing", "critical")]), now=moment)


def test_they_are_kept_and_read_again(home: str) -> None:
    settings, storage = load_settings(home=home), open_storage(home)
    assert read_metrics(storage) is None
    keep_metrics(settings, analysis_of(), NOW)
    assert read_metrics(storage) == mail_metrics(analysis_of())
    keep_metrics(settings, analysis_of(NOW - timedelta(hours=10)), NOW)  # the end of a week's page
    kept = read_metrics(storage)
    assert kept == mail_metrics(analysis_of()), "an analysis of another day says nothing of today"


def test_a_run_with_a_page_keeps_them_and_one_without_does_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(settings.mail_url).mkdir()
    monkeypatch.setattr("dmarckit.pages.store_notebook", page_stored)
    monkeypatch.setattr("dmarckit.pages.link_pages", lambda *_: None)
    storage = open_storage(settings.home)
    run_job(settings, Schedule(name="alerts"), now=NOW)
    assert read_metrics(storage) is None
    daily = Schedule(name="daily", notebook="overview", parameters={"days": 30})
    run_job(settings, daily, now=NOW)
    kept = read_metrics(storage)
    assert kept is not None
    assert sum(numbers(kept, "messages").values()) == 317, "of seven days, whatever the page shows"
    monkeypatch.setattr(metrics, "mail_metrics", lambda _: 1 / 0)
    result = run_job(settings, daily, now=NOW)
    assert result is not None
    assert result.run is not None
    assert result.run.result == "ok", "they end no run"
    assert read_metrics(storage) == kept


def page_stored(*_: Any, **__: Any) -> Any:
    from tests.support.telling import PAGE

    return PAGE


GOOD = mail_metrics(analysis_of()).model_dump_json()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "no json",
        "[" * 100_000,
        "null",
        '{"as_of": "2026-11-24T09:00:00Z"}',
        GOOD[:-20],
        GOOD.replace("example.com", "exa\\nmple.com"),
        GOOD.replace("example.com", "\\ud800"),
        GOOD.replace("example.com", "a" * 254),
        GOOD.replace('"example.com","dkim_only"', '"example.com","aligned"'),
        GOOD.replace('["example.com","aligned"]', '["example.com"]'),
        GOOD.replace('"own_mail_messages"', '"own_\\nmail_messages"'),
        GOOD.replace("3.0", "-3.0"),
        GOOD.replace("3.0", "NaN"),
        GOOD.replace("3.0", "1e999"),
        GOOD.replace("2026-11-24T09:00:00Z", "2026-11-24T09:00:00"),
        GOOD + " " * metrics.LARGEST,
    ],
)  # fmt: skip
def test_a_damaged_file_is_left_out_with_a_line(
    damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage(str(tmp_path))
    for body, sound in ((GOOD, True), (damaged, False)):
        storage.put(KEY, body.encode("utf-8", "surrogatepass"), content_type="application/json")
        assert (read_metrics(storage) is not None) == sound
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert "\n" not in line.getMessage()
    assert len(line.getMessage()) < 300


def test_making_them_loads_no_server() -> None:
    code = "import dmarckit.jobs.run, sys; print({'prometheus_client', 'pandas'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "set()"


# CloudWatch's embedded metric format: the rules of its specification as a JSON schema

TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}
UNITS = ["Seconds", "Count", "Percent", "Bytes", "None"]
EMF: Mapping[str, Any] = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": TEXT,
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {"type": "array", "maxItems": 30, "items": TEXT},
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {"Name": TEXT, "Unit": {"enum": UNITS}},
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def read_emf(lines: str) -> list[tuple[dict[str, str], dict[str, float]]]:
    """Dimensions and metrics of each line, as CloudWatch would take them."""
    found = []
    for line in lines.splitlines():
        document = json.loads(line)
        jsonschema.validate(document, EMF)
        assert len(line) < 10_000
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        (keys,) = directive["Dimensions"]
        dimensions = {key: document[key] for key in keys}
        for value in dimensions.values():  # what CloudWatch takes for a dimension
            assert value.isascii()
            assert 0 < len(value) <= 1024
        values = {each["Name"]: document[each["Name"]] for each in directive["Metrics"]}
        assert all(isinstance(value, float | int) for value in values.values())
        assert set(document) == {"_aws", *dimensions, *values}
        moment = document["_aws"]["Timestamp"] / 1000
        assert moment == NOW.timestamp()
        found.append((dimensions, values))
    return found


def fleet() -> Analysis:
    rows = [
        row
        for n in range(30)
        for row in messages(
            [1], domain=f"d{n:02}.example", reporters=["google.com"], messages=100 - n
        )
    ]
    rates = [
        metric("d01.example", "spam_rate", "", 0.002),
        metric("d29.example", "spam_rate", "", 0.2),
    ]
    tls = [sessions("d00.example", 90, 10), sessions("d01.example", 90, 1)]
    return analysed(rows, tls, rates, [entry("spoofing", "critical"), entry("spoofing", "good")])


def test_cloudwatch_gets_few_metrics_in_valid_lines() -> None:
    found = mail_metrics(fleet())
    (totals,) = read_emf("\n".join(emf_lines(found, "s3://b/kit", domains=False)))
    assert totals == (
        {"home": "s3://b/kit"},
        {
            "findings_critical": 1,
            "findings_warning": 0,
            "messages": sum(range(71, 101)),
            "own_mail_messages": sum(range(71, 101)),
            "own_mail_passing_messages": sum(range(71, 101)),
            "forged_delivered_messages": 0,
            "tls_sessions": 191,
            "tls_failed_sessions": 11,
            "postmaster_spam_ratio": 0.2,
        },
    )
    lines = read_emf("\n".join(emf_lines(found, "s3://b/kit", domains=True)))
    assert lines[0] == totals
    assert [place["domain"] for place, _values in lines[1:]] == [f"d0{n}.example" for n in range(5)]
    assert lines[2][1] == {
        "own_mail_messages": 99,
        "own_mail_passing_messages": 99,
        "forged_delivered_messages": 0,
        "postmaster_spam_ratio": 0.002,
    }
    assert sum(len(values) for _place, values in lines) <= 10 + 5 * 4, "each costs money"


@pytest.mark.parametrize(("emf", "lines"), [(None, 0), ("totals", 1), ("domains", 6)])
def test_they_are_printed_only_where_the_setting_says_so(
    emf: str | None, lines: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {} if emf is None else {"emf": emf}
    keep_metrics(load_settings(home=str(tmp_path), **given), fleet(), NOW)
    assert len(read_emf(capsys.readouterr().out)) == lines
