"""Findings as cards: what a reader sees of each, and what is folded away."""

from __future__ import annotations

import re
import tomllib
from datetime import date, timedelta
from html import unescape
from typing import Any

import pandas as pd

from dmarckit.core.language import use
from dmarckit.findings.ledger import LedgerEntry
from dmarckit.findings.model import Record
from dmarckit.pages.html import Html
from dmarckit.pages.links import targets_of
from dmarckit.pages.sections import findings
from dmarckit.pages.sections.findings import amount, by_cause, findings_html as cards, issues_html
from tests.pages.test_answer import judged
from tests.support.pages import BEFORE, DAY, HOSTILE, REPORT, frame, page_about, text


def findings_html(items: list[LedgerEntry], **given: Any) -> Html:
    seen = given.pop("reports", page_about().facts.reports)
    return cards(items, date(2026, 12, 24), seen, **given)


def test_a_card_says_what_is_wrong_and_what_to_do() -> None:
    shown = text(findings_html([judged("WORSE", summary="9 came.", action="Look.")]))
    for part in ("warning", "WORSE", "example.com", "New sender: Example Mail", "9 came."):
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
    assert "Publish _dmarc.example.com, TXT" in shown
    assert "Roll back with" in shown
    assert "Publish example.com, MX" in shown


def test_a_card_leads_to_domain_and_sender_and_says_how_to_mute_it() -> None:
    markup = findings_html([judged()]).markup
    sender = "sender?domain=example.com&sender=Example+Mail"
    assert targets_of(markup) == ["domain?domain=example.com", sender]
    assert targets_of(findings_html([judged()], here="example.com").markup) == [sender]
    block = re.search(r"<code[^>]*>(\[\[mute.*?)</code>", markup, re.DOTALL)
    assert block is not None
    (mute,) = tomllib.loads(unescape(block[1]))["mute"]
    assert mute["fingerprint"] == "new_sender|example.com|Example Mail"
    assert mute["until"] == date(2026, 12, 24)


def test_what_is_to_be_copied_reads_well_and_hides_nothing() -> None:
    def copied(subject: str) -> str:
        markup = findings_html([judged(subject=subject)]).markup
        block = re.search(r"<code[^>]*>(\[\[mute.*?)</code>", markup, re.DOTALL)
        assert block is not None
        return unescape(block[1])

    use("ja")
    assert 'fingerprint = "new_sender|example.com|配送"\nreason = "理由"' in copied("配送")
    backwards = copied("a\u202eb\x7f")
    assert "\\u202e" in backwards
    assert tomllib.loads(backwards)["mute"][0]["fingerprint"].endswith("|a\u202eb\x7f")


def test_a_card_leads_to_the_reports_it_comes_from_where_they_are_few() -> None:
    one = {"kind": "spoofing", "first_day": DAY.date(), "last_day": DAY.date()}
    one |= {"evidence": {"reporters": {"Receiver One": 9}}}
    seen = frame(
        REPORT,
        (
            {"report_uid": "mine"},
            {"report_uid": "of the day before", "begin": BEFORE, "end": DAY},
            {"report_uid": "of another domain", "domain": "other.example"},
            {"report_uid": "of another receiver", "reporter": "Receiver Two"},
        ),
    )

    def leads_to(reports: pd.DataFrame = seen, **other: Any) -> list[str]:
        found = findings_html([judged(**one | other)], reports=reports, here="example.com")
        return targets_of(found.markup)

    assert leads_to() == ["report?report_uid=mine"]
    assert leads_to(first_day=DAY.date() - timedelta(days=1))[1:] == [
        "report?report_uid=of+the+day+before"
    ]
    assert leads_to(reporters=4) == []
    assert leads_to(kind="tls_failures") == [], "its reports are those of TLS"
    assert leads_to(first_day=None) == []
    assert leads_to(first_day=DAY.date() - timedelta(days=3)) == []
    assert leads_to(pd.concat([seen] * 4)) == []
    same = [judged(**one | {"cause": "one", "domain": name}) for name in ("a.example", "b.example")]
    assert not [t for t in targets_of(findings_html(same, reports=seen).markup) if "uid" in t]


def test_the_commands_that_decide_are_to_copy() -> None:
    declare = "dmarckit senders declare Mail --domain example.com"
    item = judged(kind="unidentified_sender", evidence={"declare": declare, "deny": "no"})
    markup = findings_html([item]).markup
    assert f'<code tabindex="0">{declare}</code>' in markup
    assert markup.index(declare) < markup.index("<details")


def test_the_days_are_a_chart_and_the_query_comes_last() -> None:
    days = {"2026-11-20": 3, "2026-11-22": 5}
    evidence = {"messages_a_day": days, "query": "SELECT 1", "zeal": 1, "thresholds": {"n": 9}}
    markup = findings_html([judged(evidence=evidence)]).markup
    assert 'aria-label="2026-11-20 – 2026-11-22, at most 5 per day"' in markup
    assert markup.index("Zeal") < markup.index("Thresholds") < markup.index("SELECT 1")


def test_what_loses_wanted_mail_comes_first_and_hygiene_last() -> None:
    items = [
        judged(kind="dns_record", severity="critical", subject="ptr"),
        judged(kind="tls_failures", subject="certificate-expired"),
        judged(kind="spoofing", subject="example.com"),
        judged(kind="unaligned_sender", subject="Crm", lost=9),
        judged(kind="new_sender", severity="info", subject="x"),
    ]
    kinds = [group[0].finding.kind for group in by_cause(items)]
    assert kinds == ["unaligned_sender", "spoofing", "tls_failures", "dns_record", "new_sender"]


def test_one_cause_at_many_domains_is_one_card() -> None:
    names = [f"d{n}.example" for n in range(16)]
    items = [judged(domain=name, cause="Crm is not aligned", lost=1) for name in names]
    markup = findings_html([*items, judged(cause="other")]).markup
    assert markup.count("<li class=") == 2
    for name in names:
        assert f'<a data-page="domain?domain={name}">' in markup
    shown = text(issues_html(items))
    assert "16 domains" in shown
    assert "144 messages, 16 lost" in shown


def test_a_line_says_what_has_changed_since_the_last_run() -> None:
    items = [judged(), judged("WORSE", subject="b"), judged("SAME", subject="c")]
    items += [judged("RESOLVED", subject="d"), judged(subject="m", mute_reason="known")]
    shown = text(issues_html(items))
    assert shown.startswith("Since the last run: 1 new, 1 worse, 1 fixed · 3 open|")
    assert "NEW" in shown
    first = text(issues_html([judged()], is_first=True))
    assert first.startswith("1 open; there is no earlier run to compare with.|")
    assert "NEW" not in first


def test_a_domain_is_shown_as_people_write_it() -> None:
    shown = text(findings_html([judged(domain="xn--bcher-kva.example")]))
    assert "bücher.example (xn--bcher-kva.example)" in shown


def test_evidence_is_folded_and_names_the_query() -> None:
    evidence = {"number": 1234, "query": "SELECT 1", "reporters": {"One": 3}, "upper": 0.123456}
    markup = findings_html([judged(evidence=evidence)]).markup
    folded = markup[markup.index("<details") :]
    for part in ("1,234", "SELECT 1", "<bdi>One</bdi> 3", "0.1235"):
        assert part in folded


def test_evidence_has_words_for_classes_and_kinds_of_senders() -> None:
    evidence = {"classes": {"unidentified": 3, "of their own": 1}, "sender_kind": "crm"}
    markup = findings_html([judged(evidence=evidence)]).markup
    for shown in ("<bdi>unidentified sender</bdi> 3", "<bdi>of their own</bdi> 1", "CRM"):
        assert shown in markup
    use("ja")
    assert "unidentified" not in findings_html([judged(evidence=evidence)]).markup


def test_codes_of_faults_are_left_to_the_summary_that_has_words_for_them() -> None:
    markup = findings_html([judged(evidence={"faults": ["void_lookups"], "found": ["x"]})]).markup
    assert "void_lookups" not in markup
    assert "<bdi>x</bdi>" in markup


def test_evidence_says_shares_as_percentages_and_draws_what_is_by_day() -> None:
    days = {"2026-11-23": 0.25, "2026-11-24": 0.5}
    evidence = {"share_a_day": days, "share_now": 0.004, "thresholds": {"points": 0.05, "z": 3.5}}
    found = findings_html([judged(evidence=evidence)])
    assert found.markup.count("<svg") == 1
    shown = text(found)
    for part in (
        "2026-11-23 – 2026-11-24, at most 50.0%",
        "|Share now|0.40%|",
        "Rise of the share that fails, at least: 5.0%, Standard errors: 3.5|",
    ):
        assert part in shown


def test_muted_and_resolved_ones_are_apart() -> None:
    found = findings_html(
        [judged(mute_reason="a test", subject="Quiet"), judged("RESOLVED", subject="Gone")]
    )
    assert "No open findings." in found.markup
    assert "dk-finding " not in found.markup
    shown = text(found)
    assert "1 muted" in shown
    assert "muted: a test" in shown
    assert "1 fixed since the last run" in shown


def test_a_fleet_s_many_findings_do_not_flood_the_page() -> None:
    many = [judged(subject=f"Sender {n}", severity="info") for n in range(findings.CARDS + 7)]
    markup = findings_html(many).markup
    assert markup.count("<li class=") == findings.CARDS
    assert "7 more findings" in markup
    urgent = [judged(subject=f"Sender {n}") for n in range(findings.CARDS + 7)]
    assert findings_html(urgent).markup.count("<li class=") == len(urgent)


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


def test_tls_failures_are_sessions_and_no_messages() -> None:
    item = judged(kind="tls_failures", subject="x", messages=42)
    assert amount([item.finding]) == "42 sessions"
    assert amount([judged(messages=42).finding]) == "42 messages"
