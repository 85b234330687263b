"""Tables and the headline: words, numbers, and every value escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from dmarckit.core.window import last_days
from dmarckit.pages.html import MIMETYPE, Column, Html, render_part, table
from dmarckit.pages.links import PageLinks, page_place
from dmarckit.pages.sections import overview
from dmarckit.pages.sections.findings import Answer
from tests.support.frames import DAY, mails, reports

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


def domains(*rows: dict[str, Any]) -> pd.DataFrame:
    """As `fleet_summary.domains`."""
    usual = {"domain": "example.com", "messages": 100, "failing": 10, "delivered": 10}
    usual |= {"pass_share": 0.9, "before": 1.0, "policy": "reject", "not_met": 2}
    usual |= {"reporters": 1}
    return pd.DataFrame(
        [usual | {"last_end": DAY} | row for row in rows], columns=[*usual, "last_end"]
    )


def failing(*rows: dict[str, Any]) -> pd.DataFrame:
    """As `fleet_summary.failing_senders`."""
    usual = {"domain": "example.com", "sender": "Example Mail", "sender_kind": "crm"}
    usual |= {"class": "unaligned_sender", "messages": 5, "delivered": 5, "quarantined": 0}
    usual |= {"rejected": 0, "unstated": 0, "reporters": 1, "first_day": DAY, "last_day": DAY}
    return pd.DataFrame([usual | row for row in rows], columns=list(usual))


def measures(**values: tuple[float, float]) -> pd.DataFrame:
    """As `domain_summary.headline`: name → (now, before)."""
    names = ["messages", "pass_share", "failing", "reports", "reporters", "domains"]
    pairs = [values.get(name, (1, 1)) for name in names]
    return pd.DataFrame({"measure": names}).assign(
        value=[now for now, _ in pairs], before=[before for _, before in pairs]
    )


def test_senders_say_what_they_are_and_what_was_done() -> None:
    row = {"messages": 1230, "delivered": 1200, "rejected": 30}
    assert "Example Mailcrm||1,230|example.com|known service, not set up|" in text(
        overview.failing_senders(failing(row))
    )


def test_the_small_senders_are_counted_not_listed() -> None:
    rows = [{"sender": f"Sender {n}", "messages": 100 - n} for n in range(5)]
    shown = text(overview.failing_senders(failing(*rows), limit=3))
    assert "Sender 2" in shown
    assert "Sender 3" not in shown
    assert shown.endswith("And 2 smaller senders with 193 failing messages in all.|")


def test_a_row_leads_to_its_page_or_to_the_command_that_builds_it() -> None:
    links = PageLinks({("domain/example.com", ".html"): "2026-11-24"})
    shown = overview.domains(domains({}, {"domain": "new.example"}), links).markup
    assert '<a href="../domain/example.com/2026-11-24.html"><bdi>example.com</bdi></a>' in shown
    assert ">dmarckit page domain -p domain new.example</code>" in shown


def test_domains() -> None:
    quiet = {"domain": "quiet.example", "messages": 0, "failing": 0, "delivered": 0}
    nothing = dict.fromkeys(["pass_share", "before"], float("nan")) | {"policy": None}
    shown = text(overview.domains(domains({}, quiet | nothing)))
    assert "example.com|100|90.0 %−10.0 points||10|10|reject|2|1|2026-11-23 00:00|" in shown
    assert "quiet.example|0|no data|0|0|–|2|1|" in shown


def test_reports_show_their_period_in_days() -> None:
    frame = overview.newest_reports(reports({"failing": 1}))
    assert "Receiver One1||example.com|2026-11-23|10|1|90.0 %|" in text(overview.reports(frame))


def test_refused_mails() -> None:
    frame = overview.refused_mails(mails({"outcome": "not_a_report", "error": "no XML"}))
    assert "no report|one.example|no XMLnewest: mail/1||1|2026-11-24 03:00|" in text(
        overview.refused(frame)
    )


def test_inputs_in_a_sentence() -> None:
    found = overview.inputs(overview.inputs_frame(reports({"records": 2}), mails({})))
    assert text(found) == (
        "Made from 1 mail with 1 report and 2 records; "
        "the newest mail came on 2026-11-24 03:00 UTC.|"
    )


def test_headline_shows_changes_and_whether_they_are_good() -> None:
    found = measures(messages=(100, 50), pass_share=(0.9, 1), failing=(10, 0))
    answer = Answer("warning", "<b> needs a look.", ("why & how",))
    shown_all = overview.headline(answer, found, last_days(7, "2026-11-23"))
    shown = text(shown_all)
    assert "&lt;b&gt; needs a look.|why &amp; how|" in shown
    assert "pass DMARC|90.0 %|−10.0 points|failing messages|10|+10|messages|100|+100 %|" in shown
    assert "reporters|1|unchanged|" in shown
    assert "17 November 2026 to 23 November 2026 (UTC), compared with the 7 days before." in shown
    assert shown_all.markup.count("dk-change bad") == 2


def test_headline_without_data_says_what_to_do() -> None:
    found = measures(messages=(0, 0), pass_share=(float("nan"), float("nan")), failing=(0, 0))
    shown = text(overview.headline(Answer("none", "No.", ()), found, last_days(1, "2026-11-23")))
    assert "pass DMARC|no data|" in shown
    assert "dmarckit ingest" in shown
    assert "%" not in shown


@pytest.mark.parametrize(
    "found",
    [
        overview.failing_senders(failing()),
        overview.domains(domains()),
        overview.reports(overview.newest_reports(reports())),
        overview.refused(overview.refused_mails(mails())),
    ],
)
def test_an_empty_table_is_a_sentence(found: Html) -> None:
    assert re.fullmatch(r'<p class="dk-empty">[A-Z][^<]+\.</p>', found.markup)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_outside_text_never_becomes_markup(hostile: str) -> None:
    tags = "div table caption thead tbody tr th td bdi small span i a details summary code"
    attributes = "class role aria-label tabindex scope data-sort style href"
    for found in all_tables(hostile):
        parsed = HTMLParser()
        parsed.handle_starttag = Mock()  # type: ignore[method-assign]
        parsed.feed(found.markup)
        starts = [call.args for call in parsed.handle_starttag.call_args_list]
        assert {tag for tag, _ in starts} <= set(tags.split())
        assert {name for _, given in starts for name, _ in given} <= set(attributes.split())
        assert not re.search("[\x00-\x1f\u202e]", found.markup)


def all_tables(hostile: str) -> list[Html]:
    links = PageLinks({page_place("domain", {"domain": hostile}): "2026-11-24"})
    heads = reports(dict.fromkeys(["domain", "reporter", "report_id", "p"], hostile))
    posts = mails(
        {"outcome": "unreadable"} | dict.fromkeys(["from_domain", "error", "key"], hostile)
    )
    return [
        overview.failing_senders(failing(dict.fromkeys(["sender", "domain"], hostile)), links),
        overview.domains(domains({"domain": hostile, "policy": hostile}), links),
        overview.reports(overview.newest_reports(heads), links),
        overview.refused(overview.refused_mails(posts)),
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


def test_notebooks_get_styles_inline_and_pages_none() -> None:
    bundle = Html("<p>x</p>")._repr_mimebundle_()
    assert bundle[MIMETYPE] == "<p>x</p>"
    assert re.fullmatch(r'<div><p style="[^"]+">x</p></div>', bundle["text/html"])


def test_whatever_a_macro_prints_is_escaped_on_one_line_and_bounded() -> None:
    attack = "<b>\n\u202e" + "x" * 10_000
    for shown in (
        render_part("note", attack),
        render_part("answer", "good", attack, [attack]),
        render_part("facts", [(attack, attack)]),
        render_part("record", attack, attack),
        render_part("days", attack, attack, [(attack, "1")], [(attack, [("a", attack)])], []),
    ):
        assert "<b>" not in shown.markup
        assert "\n" not in shown.markup.replace(">\n<", "><")
        assert "\u202e" not in shown.markup
        assert len(shown.markup) < 5000


def test_parts_are_put_together() -> None:
    both = render_part("note", "<1>") + render_part("fold", "2", render_part("empty", "<3>"))
    assert both.markup == (
        '<p class="dk-note">&lt;1&gt;</p><details class="dk-fold"><summary>2</summary>'
        '<p class="dk-empty">&lt;3&gt;</p></details>'
    )
