"""Findings as cards: what a reader sees of each, and what is folded away."""

from __future__ import annotations

import re
from typing import Any

from dmarckit.findings.model import Record
from dmarckit.pages.sections import findings
from dmarckit.pages.sections.findings import findings_html
from tests.pages.test_answer import judged
from tests.support.pages import HOSTILE, page_about, text


def test_a_card_says_what_is_wrong_and_what_to_do() -> None:
    shown = text(findings_html([judged("WORSE", summary="9 came.", action="Look.")]))
    for part in ("warning", "WORSE", "example.com", "Example Mail is a new sender", "9 came."):
        assert part in shown
    assert "To do: Look." in shown


def test_a_proposed_record_can_be_copied_with_the_one_to_go_back_to() -> None:
    both = "v=DMARC1; p=reject", "v=DMARC1; p=none"
    markup = findings_html([judged(record=(Record("_dmarc.example.com", "TXT", *both),))]).markup
    assert tuple(re.findall(r"<code[^>]*>(v=.*?)</code>", markup)) == both


def test_of_several_records_each_says_where_it_goes() -> None:
    records = (
        Record("_dmarc.example.com", "TXT", "v=DMARC1; p=reject", "v=DMARC1; p=none"),
        Record("example.com", "MX", "0 ."),
    )
    shown = text(findings_html([judged(record=records)]))
    assert "Record to publish: _dmarc.example.com TXT" in shown
    assert "Record to publish: example.com MX" in shown


def test_evidence_is_folded_and_names_the_query() -> None:
    evidence = {"number": 1234, "query": "SELECT 1", "reporters": {"One": 3}, "upper": 0.123456}
    markup = findings_html([judged(evidence=evidence)]).markup
    folded = markup[markup.index("<details>") :]
    for part in ("1,234", "SELECT 1", "<bdi>One</bdi> 3", "0.1235"):
        assert part in folded


def test_muted_and_resolved_ones_are_apart() -> None:
    found = findings_html(
        [judged(mute_reason="a test", subject="Quiet"), judged("RESOLVED", subject="Gone")]
    )
    assert "Nothing was found that is open." in found.markup
    assert "dk-finding " not in found.markup
    shown = text(found)
    assert "1 muted" in shown
    assert "muted: a test" in shown
    assert "1 resolved since the last run" in shown


def test_a_fleet_s_many_findings_do_not_flood_the_page() -> None:
    many = [judged(subject=f"Sender {n}") for n in range(findings.CARDS + 7)]
    markup = findings_html(many).markup
    assert markup.count("<li class=") == findings.CARDS
    assert "7 more findings, less urgent" in markup


def test_outside_text_is_escaped_everywhere() -> None:
    for evil in HOSTILE:
        names: dict[str, Any] = dict.fromkeys(["domain", "subject", "summary", "action"], evil)
        keys = {"query": evil, evil: {evil: [evil]}}
        records = (Record(evil, evil, evil, evil),)
        items = [
            judged(**names, evidence=keys, record=records),
            judged("RESOLVED", **names),
            judged(**names, mute_reason=evil),
        ]
        markup = findings_html(items).markup
        assert "<script" not in markup
        assert "<img" not in markup
        assert "\u202e" not in markup
        assert "\x1b" not in markup


def test_a_section_of_some_kinds_has_a_frame_of_them() -> None:
    items = (judged(kind="tls_failures", subject="x"), judged("WORSE"))
    page = page_about(findings=items)
    assert page.findings().data["status"].tolist() == ["NEW", "WORSE"]
    found = page.findings("tls_failures")
    assert found.data[["kind", "domain", "severity", "action"]].values.tolist() == [
        ["tls_failures", "example.com", "warning", "A."]
    ]
    assert "Example Mail" not in text(found)
    nothing = page.findings("policy_ready")
    assert nothing.data.empty
    assert list(nothing.data.columns) == list(found.data.columns)
