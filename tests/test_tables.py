"""Tables and the headline: words, numbers, and every value escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from unittest.mock import Mock

import pandas as pd
import pytest

from dmarckit import summary, tables
from dmarckit.answer import Answer
from dmarckit.markup import MIMETYPE, Column, Html, table
from dmarckit.window import last_days
from tests.frames import FAILS, mails, records, reports

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "=cmd()|' /C calc'!A0",
    "a\u202ebc",
    "line\nbreak\x1b[31m",
]


def text(found: Html) -> str:
    """What a reader sees, cells apart by a bar."""
    apart = re.sub(r"</(td|th|li|dd|dt|p|small)>", "|", found.markup)
    return re.sub(r"<[^>]*>", "", apart)


def test_sources_say_what_failed_in_words() -> None:
    frame = summary.failing_sources(
        records(
            FAILS | {"source_ip": "203.0.113.5", "messages": 1200},
            FAILS | {"source_ip": "203.0.113.6", "messages": 30, "disposition": "reject"},
        )
    )
    assert text(tables.failing_sources(frame)).endswith(
        "203.0.113.0/242 addresses||1,230|example.com|No DKIM signature; SPF fails|"
        "1,200 delivered, 30 rejected|1|2026-11-23|2026-11-23|"
    )


def test_the_small_sources_are_counted_not_listed() -> None:
    rows = [FAILS | {"source_ip": f"10.0.{n}.1", "messages": 100 - n} for n in range(5)]
    shown = text(tables.failing_sources(summary.failing_sources(records(*rows)), limit=3))
    assert "10.0.2.1" in shown
    assert "10.0.3.1" not in shown
    assert shown.endswith("And 2 smaller sources with 193 failing messages in all.|")


def test_domains() -> None:
    frame = summary.by_domain(
        records({"messages": 90}, FAILS | {"messages": 10}),
        reports({"p": "reject"}, {"domain": "quiet.example", "p": None}),
        records({}),
    )
    shown = text(tables.domains(frame))
    assert "example.com|100|90.0 %−10.0 points||10|10|reject|1|2026-11-24 00:00|" in shown
    assert "quiet.example|0|no data|0|0|–|1|" in shown


def test_reports_show_their_period_in_days() -> None:
    frame = summary.newest_reports(reports({"failing": 1}))
    assert "Receiver One1||example.com|2026-11-23|10|1|90.0 %|" in text(tables.reports(frame))


def test_refused_mails() -> None:
    frame = summary.refused_mails(mails({"outcome": "not_a_report", "error": "no XML"}))
    assert "no report|one.example|no XMLnewest: mail/1||1|2026-11-24 03:00|" in text(
        tables.refused(frame)
    )


def test_inputs_in_a_sentence() -> None:
    found = tables.inputs(summary.inputs(records({}, {}), reports({}), mails({})))
    assert text(found) == (
        "Made from 1 mail with 1 report and 2 records; "
        "the newest mail came on 2026-11-24 03:00 UTC.|"
    )


def test_headline_shows_changes_and_whether_they_are_good() -> None:
    measures = summary.headline(
        records({"messages": 90}, FAILS | {"messages": 10}),
        reports({}),
        records({"messages": 50}),
        reports({}),
    )
    answer = Answer("warning", "<b> needs a look.", ("why & how",))
    found = tables.headline(answer, measures, last_days(7, "2026-11-23"))
    shown = text(found)
    assert "&lt;b&gt; needs a look.|why &amp; how|" in shown
    assert "pass DMARC|90.0 %|−10.0 points|failing messages|10|+10|messages|100|+100 %|" in shown
    assert "reporters|1|unchanged|" in shown
    assert "17 November 2026 to 23 November 2026 (UTC), compared with the 7 days before." in shown
    assert found.markup.count("dk-change bad") == 2


def test_headline_without_data_says_what_to_do() -> None:
    measures = summary.headline(records(), reports(), records(), reports())
    shown = text(tables.headline(Answer("none", "No.", ()), measures, last_days(1, "2026-11-23")))
    assert "pass DMARC|no data|" in shown
    assert "dmarckit ingest" in shown
    assert "%" not in shown


@pytest.mark.parametrize(
    "found",
    [
        tables.failing_sources(summary.failing_sources(records())),
        tables.domains(summary.by_domain(records(), reports(), records())),
        tables.reports(summary.newest_reports(reports())),
        tables.refused(summary.refused_mails(mails())),
    ],
)
def test_an_empty_table_is_a_sentence(found: Html) -> None:
    assert re.fullmatch(r'<p class="dk-empty">[A-Z][^<]+\.</p>', found.markup)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_outside_text_never_becomes_markup(hostile: str) -> None:
    tags = "div table caption thead tbody tr th td bdi small span i"
    attributes = "class role aria-label tabindex scope data-sort style"
    for found in all_tables(hostile):
        parsed = HTMLParser()
        parsed.handle_starttag = Mock()  # type: ignore[method-assign]
        parsed.feed(found.markup)
        starts = [call.args for call in parsed.handle_starttag.call_args_list]
        assert {tag for tag, _ in starts} <= set(tags.split())
        assert {name for _, given in starts for name, _ in given} <= set(attributes.split())
        assert not re.search("[\x00-\x1f\u202e]", found.markup)


def all_tables(hostile: str) -> list[Html]:
    rows = records(FAILS | dict.fromkeys(["source_ip", "domain", "reporter"], hostile))
    heads = reports(dict.fromkeys(["domain", "reporter", "report_id", "p"], hostile))
    posts = mails(
        {"outcome": "unreadable"} | dict.fromkeys(["from_domain", "error", "key"], hostile)
    )
    return [
        tables.failing_sources(summary.failing_sources(rows)),
        tables.domains(summary.by_domain(rows, heads, rows)),
        tables.reports(summary.newest_reports(heads)),
        tables.refused(summary.refused_mails(posts)),
    ]


def test_markup_of_a_small_table() -> None:
    frame = pd.DataFrame({"name": ["a & b"], "number": [1234]})
    columns = [Column("name", "Name"), Column("number", "Number", "count")]
    found = table(frame, columns, caption="All", empty="None.")
    assert found.markup == (
        '<div class="dk-scroll" role="region" aria-label="All" tabindex="0">'
        '<table class="dk-table"><caption>All</caption>'
        '<thead><tr><th scope="col" class="text">Name</th>'
        '<th scope="col" class="count">Number</th></tr></thead>'
        '<tbody><tr><th scope="row" class="text"><bdi>a &amp; b</bdi></th>'
        '<td class="count" data-sort="1234">1,234</td></tr></tbody></table></div>'
    )


def test_notebooks_get_the_style_and_pages_do_not() -> None:
    bundle = Html("<p>x</p>")._repr_mimebundle_()
    assert bundle[MIMETYPE] == "<p>x</p>"
    assert bundle["text/html"].startswith("<style>")
    assert bundle["text/html"].endswith('<div class="dk"><p>x</p></div>')
