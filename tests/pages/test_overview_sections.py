"""The headline and the sections about all domains: frames, words, and every value escaped."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.facts.frames import Facts
from dmarckit.pages.page import Page
from dmarckit.pages.sections.base import Section
from dmarckit.pages.sections.findings import Answer
from dmarckit.pages.sections.messages import matrix
from dmarckit.pages.sections.overview import dns_columns, headline_html, measure
from tests.support import frames
from tests.support.pages import (
    BEFORE,
    DAY,
    FAILS,
    HOSTILE,
    QUOTED,
    REPORT,
    WINDOW,
    frame,
    markup,
    messages,
    page_about,
    text,
)


def stored(reports: pd.DataFrame | None = None, mails: pd.DataFrame | None = None) -> Page:
    """A page with these rows of the lake."""
    heads = frames.reports() if reports is None else reports
    posts = frames.mails() if mails is None else mails
    return page_about(_stored_reports=heads, _stored_mails=posts)


def some_domains(*names: str, **policy: str) -> Facts:
    """Facts with a report about each domain, and 9 of 10 messages that pass."""
    rows = [{"domain": name, "messages": 9} for name in names]
    rows += [FAILS | {"domain": name, "messages": 1} for name in names]
    rows += [{"domain": name, "messages": 5, "day": BEFORE} for name in names]
    quoted = tuple({"domain": name} | policy for name in names)
    reports = frame(REPORT, tuple({"domain": name} for name in names))
    return messages(*rows, reports=reports, policies=frame(QUOTED, quoted if policy else ()))


# headline


def measures(**values: tuple[float, float]) -> pd.DataFrame:
    """As `measure`: name → (now, before)."""
    names = ["messages", "pass_share", "failing", "reports", "reporters", "domains"]
    pairs = [values.get(name, (1, 1)) for name in names]
    return pd.DataFrame({"measure": names}).assign(
        value=[now for now, _ in pairs], before=[before for _, before in pairs]
    )


def test_headline_shows_changes_and_whether_they_are_good() -> None:
    found = measures(messages=(100, 50), pass_share=(0.9, 1), failing=(10, 0))
    answer = Answer("warning", "<b> needs a look.", ("why & how",))
    shown_all = headline_html(answer, found, last_days(7, "2026-11-23"))
    shown = text(shown_all)
    assert "&lt;b&gt; needs a look.|why &amp; how|" in shown
    assert "pass DMARC|90.0%|−10.0 points|failing messages|10|+10|messages|100|+100%|" in shown
    assert "reporters|1|unchanged|" in shown
    assert "17–23 Nov 2026 (UTC), compared with the 7 days before." in shown
    assert shown_all.markup.count("dk-change bad") == 2


def test_an_empty_lake_shows_the_steps_to_the_first_page() -> None:
    page = page_about(settings=Settings(home="s3://reports"))
    shown = text(page.headline())
    assert "No reports for this period." in shown
    for step in (
        "rua=mailto:…",
        "s3://reports/mail",
        "dmarckit ingest",
        "0 emails",
        "dmarckit doctor",
    ):
        assert step in shown
    assert "of own mail" not in shown
    assert "%" not in shown


def test_the_headline_of_one_domain_is_named_after_it_and_counts_no_domains() -> None:
    shown = page_about(messages({}), "example.com").headline()
    assert shown.html is not None
    assert shown.html.title == "DMARC of example.com"
    assert "domains" not in text(shown)
    everywhere = messages({}, reports=frame(REPORT, ({},)))
    assert "|domains|" in text(page_about(everywhere).headline())


def test_measures_compare_with_the_window_before() -> None:
    reports = frame(REPORT, ({}, {"reporter": "Two"}, {"begin": BEFORE}))
    made = messages(
        {"messages": 30}, FAILS | {"messages": 10}, {"day": BEFORE, "messages": 5}, reports=reports
    )
    found = measure(made, WINDOW).set_index("measure")
    assert found["value"].to_dict() == {
        "messages": 40,
        "pass_share": 0.75,
        "failing": 10,
        "own_share": 1,
        "forged": 10,
        "stopped": 0,
        "reports": 2,
        "reporters": 2,
        "domains": 1,
    }
    assert found["before"]["pass_share"] == 1
    assert_frame_equal(page_about(made).headline().data, found.reset_index())


def test_own_mail_is_apart_from_forged_mail() -> None:
    made = messages(
        {"messages": 90},
        FAILS | {"messages": 10, "class": "broken_dkim"},
        FAILS | {"messages": 50, "class": "modified"},
        FAILS | {"messages": 300},
        FAILS | {"messages": 100, "disposition": "reject"},
        reports=frame(REPORT, ({},)),
    )
    shown = text(page_about(made, _is_first=False).headline())
    assert "of own mail authenticated|90.0%|" in shown
    assert "forged messages|400|25.0% stopped, " in shown


# domains


def test_domains_with_their_change_and_policy() -> None:
    reports = frame(REPORT, ({}, {"domain": "quiet.example"}, {"reporter": "Two"}))
    made = messages(
        {"messages": 8},
        FAILS | {"messages": 2},
        {"messages": 5, "day": BEFORE},
        reports=reports,
        policies=frame(QUOTED, ({"p": "reject"},)),
    )
    found = page_about(made).domains()
    expected = pd.DataFrame(
        {
            "domain": ["example.com", "quiet.example"],
            "messages": [10, 0],
            "failing": [2, 0],
            "delivered": [2, 0],
            "pass_share": [0.8, float("nan")],
            "before": [1.0, float("nan")],
            "forged": [2, 0],
            "forged_delivered": [2, 0],
            "own_share": [1.0, float("nan")],
            "policy": ["reject", None],
            "dkim_bits": [float("nan")] * 2,
            "spf_lookups": [float("nan")] * 2,
            "mta_sts": [float("nan")] * 2,
            "tls_rpt": [float("nan")] * 2,
            "not_met": [float("nan")] * 2,
            "reporters": [2, 1],
            "last_end": [pd.Timestamp(DAY + timedelta(days=1))] * 2,
        }
    )
    assert_frame_equal(found.data[list(expected)], expected, check_dtype=False)
    shown = text(found)
    assert "quiet.example|0|–|no data|0|–|–|–|–|–|–|" in shown


def test_the_matrix_of_domains_says_what_dns_holds() -> None:
    values = {"dkim": {"bits": 1024}, "spf": {"lookups": 7}, "mta_sts": {}, "tls_rpt": {}}
    rows = [
        {"domain": "example.com", "record": record, "values": json.dumps(value)}
        | {"state": "missing" if record == "tls_rpt" else "ok"}
        for record, value in values.items()
    ]
    rows.append(rows[0] | {"values": json.dumps({"bits": 2048})})
    found = dns_columns(pd.DataFrame(rows)).loc["example.com"]
    assert found.to_list() == [1024, 7, "ok", "missing"], "the shortest key counts"


def test_a_row_names_the_page_about_it() -> None:
    shown = markup(page_about(some_domains("example.com")).domains())
    assert '<a data-page="domain?domain=example.com"><bdi>example.com</bdi></a>' in shown


def test_newest_reports_first() -> None:
    heads = frames.reports(
        {"report_id": "old", "end": DAY},
        {"report_id": "new", "messages": 8, "failing": 2},
        {"report_id": "null", "messages": 0, "reporter": "Zeta"},
    )
    found = stored(heads).newest_reports(limit=2).data
    assert found[["report_id", "pass_share"]].values.tolist()[0] == ["new", 0.75]
    assert found["report_id"].tolist() == ["new", "null"]
    assert pd.isna(found["pass_share"][1])


def test_reports_show_their_period_in_days() -> None:
    shown = text(stored(frames.reports({"failing": 1})).newest_reports())
    assert "Receiver One|example.com|2026-11-23|10|1|90.0%|" in shown


def test_refused_mails_by_kind_with_a_key_to_look_at() -> None:
    later = DAY + timedelta(days=2)
    broken = {"outcome": "unreadable", "error": "cut off"}
    posts = frames.mails(
        {},
        {"outcome": "duplicate"},
        broken | {"key": "a"},
        broken | {"key": "b", "received": later},
        {"outcome": "untrusted", "error": "dmarc=fail", "key": "c", "from_domain": None},
    )
    found = stored(mails=posts).refused_mails().data
    assert found[["outcome", "reason", "mails", "key"]].values.tolist() == [
        ["untrusted", "dmarc=fail", 1, "c"],
        ["unreadable", "cut off", 2, "b"],
    ]
    assert found["last"][1] == later


def test_refused_mails_in_words() -> None:
    posts = frames.mails({"outcome": "not_a_report", "error": "no XML"})
    shown = text(stored(mails=posts).refused_mails())
    assert "no report|one.example|no XMLnewest: mail/1||1|2026-11-24 03:00|" in shown


def test_inputs_in_a_sentence() -> None:
    heads = frames.reports({"records": 3}, {"report_uid": "r2", "records": 4})
    found = stored(heads, frames.mails({})).inputs()
    assert found.data["number"].tolist() == [1, 2, 7]
    assert text(found) == (
        "Based on 1 email: 2 reports, 7 records; the newest arrived 2026-11-24 03:00 UTC.|"
    )


def test_what_a_page_has_read_is_not_changed() -> None:
    heads, posts = frames.reports({}), frames.mails({"outcome": "unreadable"})
    copies = [heads.copy(deep=True), posts.copy(deep=True)]
    page = stored(heads, posts)
    for section in (page.newest_reports, page.refused_mails, page.inputs):
        section()
    for found, copy in zip([heads, posts], copies, strict=True):
        assert_frame_equal(found, copy)


# nothing, and attacks


def all_tables(page: Page) -> list[Section]:
    return [
        page.domains(),
        page.newest_reports(),
        page.refused_mails(),
    ]


def test_an_empty_table_is_a_sentence() -> None:
    found = all_tables(stored())
    for section in found:
        assert re.fullmatch(r'<p class="dk-empty">[A-Z][^<]+\.</p>', markup(section))
        assert len(section.data.columns) >= 3
    said = markup(*found)
    for words in ("No domain has a report", "No report covers"):
        assert words in said
    assert stored().inputs().data["number"].sum() == 0


@pytest.mark.parametrize("hostile", HOSTILE)
def test_outside_text_never_becomes_markup(hostile: str) -> None:
    tags = "div table caption thead tbody tr th td bdi small span i a details summary code"
    tags += " svg title path ul li"
    attributes = "class role aria-label tabindex scope data-sort style data-page"
    attributes += " viewbox width height d"
    names = dict.fromkeys(["domain", "sender", "sender_kind"], hostile)
    page = page_about(
        messages(
            names | FAILS,
            reports=frame(REPORT, ({"domain": hostile},)),
            policies=frame(QUOTED, ({"domain": hostile, "p": hostile},)),
        ),
        _stored_reports=frames.reports(
            dict.fromkeys(["domain", "reporter", "report_id", "p"], hostile)
        ),
        _stored_mails=frames.mails(
            {"outcome": "unreadable"} | dict.fromkeys(["from_domain", "error", "key"], hostile)
        ),
    )
    for found in all_tables(page):
        parsed = HTMLParser()
        parsed.handle_starttag = Mock()  # type: ignore[method-assign]
        parsed.feed(markup(found))
        starts = [call.args for call in parsed.handle_starttag.call_args_list]
        assert starts
        assert {tag for tag, _ in starts} <= set(tags.split())
        assert {name for _, given in starts for name, _ in given} <= set(attributes.split())
        assert not re.search("[\x00-\x1f\u202e]", markup(found))


def test_of_many_domains_only_those_with_a_change_are_drawn() -> None:
    def of(n: int, **other: Any) -> dict[str, Any]:
        return {"domain": f"d{n:02}.example", "messages": 100} | other

    calm = [of(n, day=DAY - timedelta(days=back)) for n in range(30) for back in range(3)]
    broken = {"class": "broken_dkim", "da": False, "sa": False}
    forged = [of(n, **FAILS, messages=900) for n in range(30)]  # says nothing of a domain's own
    page = page_about(messages(*calm, *forged, of(7, **broken)))
    page._complete = pd.DataFrame(
        [{"domain": row["domain"], "day": row["day"], "complete": True} for row in calm]
    )
    shown = text(page.pass_rates())
    assert "d07.example" in shown
    assert "d08.example" not in shown
    assert "29 other domains were within 5 points of their usual share on every day." in shown
    few = page_about(messages(*calm[:60]))
    few._complete = page._complete
    assert "d08.example" in text(few.pass_rates()), "twenty are shown in any case"


def test_a_matrix_has_few_rows_and_counts_the_rest() -> None:
    window = last_days(7, end="2026-11-23")
    names = [f"brand{n:02}.example" for n in range(45)]
    cells = pd.DataFrame({"name": names, "messages": range(45, 0, -1)})
    cells = cells.assign(day=window.start, level="c-mostly", text="reported")
    shown = matrix(cells, window, "Days", "Domain", {"c-mostly": "reported", "none": "no report"})
    assert shown.markup.count("<tr>") == 1 + 40
    assert "brand39.example" in shown.markup
    assert "5 more not shown" in shown.markup
