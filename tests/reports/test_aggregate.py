"""Aggregate reports: every schema, every fault of real reporters, nothing invented."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import pytest
import xmltodict

from dmarckit.core.thresholds import Limits
from dmarckit.reports.aggregate import read_xml, with_domain
from dmarckit.reports.model import (
    AggregateReport,
    DkimResult,
    Policy,
    Reason,
    Record,
    SpfResult,
    Unreadable,
)
from dmarckit.reports.records import RecordMaker
from dmarckit.reports.values import MAX_WARNINGS, Warnings
from tests.support.builders import DECLARATION, make_record, make_report, read, read_one, report_xml

REPORT = make_report(
    make_record("192.0.2.1", 3),
    make_record("2001:db8::1", 5, dkim_aligned=False, spf_aligned=None),
    reporter="Müller & Söhne",
)


def read_aggregate(xml: bytes | str) -> AggregateReport:
    report = read_one(xml if isinstance(xml, bytes) else xml.encode())
    assert isinstance(report, AggregateReport)
    return report


def unreadable(xml: bytes | str) -> Unreadable:
    (found,) = read(xml if isinstance(xml, bytes) else xml.encode())
    assert isinstance(found, Unreadable), found
    return found


def with_value(element: str, value: str, report: AggregateReport = REPORT) -> str:
    """The XML of `report` with the first `element` replaced by `value` (XML text)."""
    xml = report_xml(report).decode()
    changed, times = re.subn(
        rf"<{element}>.*?</{element}>", lambda _: value, xml, count=1, flags=re.DOTALL
    )
    assert times == 1
    return changed


# --- schemas -------------------------------------------------------------------------


def test_a_report_of_rfc_7489_is_read_whole() -> None:
    report = make_report(
        make_record(
            reasons=(Reason("mailing_list", "arc=pass"), Reason("other")),
            envelope_to="recipient.example",
            dkim=(
                DkimResult("example.com", "s1", "pass", "2048-bit key"),
                DkimResult("mail.example", None, "permerror"),
            ),
            spf=(
                SpfResult("example.com", "mfrom", "pass"),
                SpfResult("mx.example", "helo", "none"),
            ),
        ),
        extra_contact="https://mail.example/dmarc",
        report_id="<an.id!with#any&character@mail.example>",
        version="1.0",
        policy=Policy("example.com", "quarantine", "reject", pct=50, adkim="r", aspf="s", fo="1"),
        errors=("no MX", "timeout"),
    )
    assert read_aggregate(report_xml(report)) == report


@pytest.mark.parametrize("prefix", ["", "ns0"])
@pytest.mark.parametrize("schema", ["rfc9990", "draft"])
def test_a_report_in_a_namespace_is_read_whole(schema: str, prefix: str) -> None:
    report = make_report(
        make_record(disposition="pass", reasons=(Reason("policy_test_mode", None),)),
        policy=Policy(
            "example.com", "none", "none", "reject", testing="y", discovery_method="treewalk"
        ),
        generator="Example Reporter 2.0",
    )
    assert read_aggregate(report_xml(report, schema, prefix=prefix)) == report


def test_attributes_and_unknown_elements_change_nothing() -> None:
    xml = report_xml(REPORT).decode()
    xml = xml.replace("<org_name>", '<org_name xml:lang="de">').replace(
        "</record>", "<extension><dkim><domain>x.example</domain></dkim></extension></record>"
    )
    xml = xml.replace(
        "</feedback>", '<extension xmlns="urn:x"><record>7</record></extension></feedback>'
    )
    assert read_aggregate(xml) == REPORT


def test_a_report_without_records_is_a_report() -> None:
    assert read_aggregate(report_xml(make_report())) == make_report()


def test_what_is_absent_is_none_and_a_required_one_is_warned_of() -> None:
    xml = """<feedback><report_metadata><date_range><begin>1793491200</begin>
        <end>1793577600</end></date_range></report_metadata>
        <record><row><source_ip/><count>0</count></row></record></feedback>"""
    report = read_aggregate(xml)
    nothing = Record(None, 0, None, None, None, (), None, None, None, (), ())
    assert report.records == (nothing,)
    assert (report.reporter, report.report_id, report.policy) == (None, None, Policy(None))
    assert report.warnings == (
        "report_metadata/org_name is missing",
        "report_metadata/report_id is missing",
        "policy_published/domain is missing",
    )


def test_a_report_id_and_a_name_are_exactly_as_sent() -> None:
    report = make_report(report_id="a/b\\c!<d>@ü&é", reporter="Yahoo! Inc. <x>")
    assert read_aggregate(report_xml(report)) == report


def test_domains_are_lower_case_without_root_dot() -> None:
    report = read_aggregate(with_value("domain", "<domain>Example.COM.</domain>"))
    assert report.policy.domain == "example.com"


# --- values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("element", "found", "field", "taken"),
    [
        ("disposition", "Reject", "disposition", "reject"),
        ("disposition", "unheard-of", "disposition", "unheard-of"),
        ("disposition", "", "disposition", None),
        ("dkim", "PASS", "dkim_aligned", True),
        ("dkim", "none", "dkim_aligned", False),
        ("dkim", "perhaps", "dkim_aligned", None),
        ("spf", "hardfail", "spf_aligned", False),
        ("count", "1,234", "messages", 1234),
        ("count", "7.0", "messages", 7),
        ("count", "\n 12 \t", "messages", 12),
        ("source_ip", "2001:DB8:0:0::1", "source_ip", "2001:db8::1"),
        ("source_ip", "::ffff:192.0.2.7", "source_ip", "192.0.2.7"),
        ("source_ip", "[192.0.2.7]", "source_ip", "192.0.2.7"),
        ("source_ip", "not-an-address", "source_ip", "not-an-address"),
        ("header_from", "Sub.Example.COM.", "header_from", "sub.example.com"),
    ],
)  # fmt: skip
def test_a_value_is_read_as(element: str, found: str, field: str, taken: object) -> None:
    record = read_aggregate(with_value(element, f"<{element}>{found}</{element}>")).records[0]
    assert getattr(record, field) == taken


@pytest.mark.parametrize(
    ("sent", "taken"),
    [("0" * 5000 + "50", None), ("9" * 5000, None), ("000001000", None), ("100%", 100)],
)
def test_a_pct_of_any_length_is_a_percentage_or_none(sent: str, taken: int | None) -> None:
    report = read_aggregate(with_value("p", f"<p>reject</p><pct>{sent}</pct>"))
    assert report.policy.pct == taken
    assert report.warnings[0].startswith("policy_published/pct: ")


def test_counts_that_fit_one_by_one_but_not_together_are_refused() -> None:
    most = make_record(messages=2**63 - 1)
    assert read_aggregate(report_xml(make_report(most))).message_count == 2**63 - 1
    found = unreadable(report_xml(make_report(most, make_record(messages=1))))
    assert found.reason == "row/count: more than 9,223,372,036,854,775,807 in all records together"


@pytest.mark.parametrize(
    ("sent", "second"),
    [
        ("1793491200.7", 0),
        ("1793491200000", 0),
        ("2026-11-01T00:00:00Z", 0),
        ("2026-11-01 01:00:00+01:00", 0),
        ("2026-11-01", 0),
        ("Sun, 01 Nov 2026 00:00:05 +0000", 5),
    ],
)
def test_a_date_in_another_form_is_read_with_a_warning(sent: str, second: int) -> None:
    report = read_aggregate(with_value("begin", f"<begin> {sent} </begin>"))
    assert report.begin == datetime(2026, 11, 1, 0, 0, second, tzinfo=UTC)
    assert report.warnings == (f"date_range/begin: '{sent}' read as '{report.begin.isoformat()}'",)


@pytest.mark.parametrize(
    ("element", "sent", "reason"),
    [
        ("begin", "", "date_range/begin is missing"),
        ("begin", "yesterday", "date_range/begin is not a time: 'yesterday'"),
        ("end", "-1", "date_range/end is not a time: '-1'"),
        ("end", "9999999999", "date_range/end is outside 1970 to 2261: '9999999999'"),
    ],
)
def test_what_cannot_be_read_makes_it_unreadable(element: str, sent: str, reason: str) -> None:
    assert unreadable(with_value(element, f"<{element}>{sent}</{element}>")).reason == reason


@pytest.mark.parametrize(
    ("element", "sent", "reason"),
    [
        ("count", "", "record 1: row/count is missing"),
        ("count", "-1", "record 1: row/count is not a whole number: '-1'"),
        ("count", "1.5", "record 1: row/count is not a whole number: '1.5'"),
        ("count", "many", "record 1: row/count is not a whole number: 'many'"),
        ("count", "9" * 40, "record 1: row/count is not a whole number: '" + "9" * 40 + "'"),
    ],
)
def test_what_cannot_be_read_in_a_record_costs_that_record(
    element: str, sent: str, reason: str
) -> None:
    report = read_aggregate(with_value(element, f"<{element}>{sent}</{element}>"))
    assert report.records == REPORT.records[1:]
    assert (report.record_count, report.message_count) == (1, 5)
    assert report.warnings == (f"1 of 2 records unreadable: {reason}",)


@pytest.mark.parametrize(
    "empty", ["<record/>", "<record></record>", "<record><row><source_ip/><count/></row></record>"]
)
def test_an_empty_record_is_left_out(empty: str) -> None:
    whole = report_xml(REPORT).decode()
    report = read_aggregate(whole.replace("</feedback>", f"{empty}</feedback>"))
    assert report.records == REPORT.records
    assert report.warnings == ("1 of 3 records unreadable: record 3: row/count is missing",)
    alone = report_xml(make_report()).decode().replace("</feedback>", f"{empty}</feedback>")
    report = read_aggregate(alone)
    assert (report.records, report.record_count) == ((), 0)
    assert report.warnings == ("1 of 1 record unreadable: record 1: row/count is missing",)


def test_a_report_of_which_only_damage_is_left_is_unreadable() -> None:
    one = report_xml(make_report(make_record(messages=3))).decode()
    assert "row/count is missing" in unreadable(one.replace("<count>3</count>", "")).reason


def test_records_that_are_lost_count_as_records_do() -> None:
    whole = report_xml(make_report()).decode().replace("</feedback>", "<record/>" * 40)
    (found,) = read(f"{whole}</feedback>".encode(), limits=Limits(records=30))
    assert isinstance(found, Unreadable)
    assert "limit 'records'" in found.reason


def with_evaluated(inside: str) -> Record:
    """The record of a report whose evaluation holds this besides."""
    xml = report_xml(make_report(make_record())).decode()
    return read_aggregate(
        xml.replace("</policy_evaluated>", f"{inside}</policy_evaluated>")
    ).records[0]


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ("<reason>forwarded</reason>", Reason("forwarded")),
        ("<reason> Mailing-List </reason>", Reason("mailing_list")),
        ("<reason>arc=pass</reason>", Reason(None, "arc=pass")),
        (
            "<reason>forwarded<comment>a list</comment></reason>",
            Reason("forwarded", "a list"),
        ),
        (
            "<reason><comment>a list</comment>forwarded</reason>",
            Reason("forwarded", "a list"),
        ),
        ("<reason>why: <type>other</type></reason>", Reason("other")),
        ("<reason><type><b>sampled_out</b></type></reason>", Reason("sampled_out")),
        ("<reason><kind>local_policy</kind></reason>", Reason("local_policy")),
    ],
)
def test_text_in_place_of_the_reasons_elements_is_read(sent: str, read_as: Reason) -> None:
    assert with_evaluated(sent).reasons == (read_as,)


@pytest.mark.parametrize(
    "sent", ["", "<reason/>", "<reason> </reason>", "<reason><type/></reason>"]
)
def test_a_reason_that_says_nothing_is_none(sent: str) -> None:
    assert with_evaluated(sent).reasons == ()


def test_text_in_place_of_a_result_is_the_result() -> None:
    xml = report_xml(make_report(make_record())).decode()
    text = "<auth_results><dkim>pass</dkim><spf>SoftFail</spf></auth_results>"
    xml = re.sub(r"<auth_results>.*</auth_results>", text, xml, flags=re.DOTALL)
    report = read_aggregate(xml)
    assert report.records[0].dkim == (DkimResult(None, None, "pass"),)
    assert report.records[0].spf == (SpfResult(None, None, "softfail"),)
    assert len(report.warnings) == 2


def test_the_namespace_is_kept_and_unknown_elements_are_noted() -> None:
    urn = "urn:ietf:params:xml:ns:dmarc-2.0"
    assert read_aggregate(report_xml(make_report(), "rfc9990")).namespace == urn
    assert read_aggregate(report_xml(make_report(), "rfc9990", prefix="ns0")).namespace == urn
    assert read_aggregate(report_xml(make_report())).namespace is None
    damaged = report_xml(make_report(), "rfc9990", prefix="d").decode() + "junk"
    assert read_aggregate(damaged).namespace == urn
    newer = report_xml(make_report(make_record())).decode()
    newer = newer.replace("</auth_results>", "<dkim2><chain>3</chain></dkim2></auth_results>")
    assert read_aggregate(newer).warnings == ("unknown elements passed over: 'chain', 'dkim2'",)
    extended = newer.replace("<dkim2><chain>3</chain></dkim2>", "").replace(
        "<record>", "<extension><any><thing/></any></extension><record>", 1
    )
    assert read_aggregate(extended).warnings == ()


def test_a_domain_that_is_missing_is_taken_from_where_it_stands_too() -> None:
    record = make_record(header_from="news.shop.example.co.uk")
    nameless = re.sub(
        r"<policy_published>.*</policy_published>|<org_name>.*</org_name>",
        "",
        report_xml(make_report(record)).decode(),
        flags=re.DOTALL,
    )
    report = with_domain(read_aggregate(nameless))
    assert (report.policy.domain, report.reporter) == ("example.co.uk", None)
    assert with_domain(report) == report
    (named,) = read(nameless.encode(), "mail.example!shop.example!1793750400!1793836799.xml")
    assert isinstance(named, AggregateReport)
    assert (named.policy.domain, named.reporter) == ("shop.example", "mail.example")
    several = nameless.replace("</feedback>", "")
    other = re.search(r"<record>.*</record>", nameless, re.DOTALL)
    assert other
    several += other[0].replace("news.shop.example.co.uk", "example.net") + "</feedback>"
    assert with_domain(read_aggregate(several)).policy.domain is None


def test_a_changed_value_leaves_a_warning_that_names_place_found_and_taken() -> None:
    report = read_aggregate(report_xml(REPORT).decode().replace("<result>pass", "<result>Pass"))
    assert report.records == REPORT.records
    assert report.warnings == (
        "record 1: dkim/result: 'Pass' read as 'pass'",
        "record 1: spf/result: 'Pass' read as 'pass'",
    )


def test_warnings_are_bounded_and_safe_to_print() -> None:
    records = [make_record(source_ip=f"host-{number}\n\x7f") for number in range(200)]
    warnings = read_aggregate(report_xml(make_report(*records))).warnings
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1] == f"… and {200 - MAX_WARNINGS} more"
    assert all(line.isprintable() for line in warnings)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("data_range", "date_range"),
        ("identities", "identifiers"),
        ("Source-IP", "source_ip"),
        ("PolicyPublished", "policy_published"),
        ("RECORD", "record"),
    ],
)
def test_a_misspelt_element_is_read_with_a_warning(written: str, read_as: str) -> None:
    xml = report_xml(REPORT).decode()
    xml = xml.replace(f"<{read_as}>", f"<{written}>").replace(f"</{read_as}>", f"</{written}>")
    warned = (f"element '{written}' read as '{read_as}'",)
    assert read_aggregate(xml) == replace(REPORT, warnings=warned)


def test_results_in_several_elements_are_all_taken() -> None:
    xml = (
        report_xml(REPORT)
        .decode()
        .replace("</dkim>\n\n <spf>\n", "</dkim></auth_results><auth_results><spf>")
    )
    assert xml.count("<auth_results>") == 4
    report = read_aggregate(xml)
    assert report.records == REPORT.records
    assert report.warnings == ("record 1: record/auth_results stands 2 times, all taken",)


def test_an_empty_reason_or_result_is_none() -> None:
    xml = with_value("disposition", "<reason/><reason><type/></reason>").replace(
        "<auth_results>", "<auth_results><dkim/><spf></spf>"
    )
    first = replace(REPORT.records[0], disposition=None)
    assert read_aggregate(xml).records == (first, REPORT.records[1])


def test_of_a_repeated_element_the_first_is_taken() -> None:
    report = read_aggregate(with_value("p", "<p>reject</p><p>none</p>"))
    assert report.policy.p == "reject"
    assert report.warnings == ("policy_published/p stands 2 times, first taken",)


def test_a_period_that_ends_before_it_begins_is_kept_with_a_warning() -> None:
    backwards = replace(REPORT, begin=REPORT.end, end=REPORT.begin)
    report = read_aggregate(report_xml(backwards))
    assert (report.begin, report.end) == (REPORT.end, REPORT.begin)
    assert report.warnings == ("date_range ends before it begins, kept as sent",)


# --- encodings -----------------------------------------------------------------------

BODY = report_xml(REPORT).decode().removeprefix(DECLARATION)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("UTF-8", "utf-8"),
        ("UTF-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("ISO-8859-1", "latin-1"),
        ("windows-1252", "cp1252"),
        ("iso-8859-15", "iso8859-15"),
        ("shift_jis", None),
        # declared wrongly or not at all
        ("UTF-8", "utf-16"),
        ("UTF-8", "utf-16-le"),
        ("UTF-8", "utf-16-be"),
        ("UTF-16", "utf-8"),
        ("UTF-8", "cp1252"),
        ("us-ascii", "cp1252"),
        ("us-ascii", "utf-8"),
        ("ISO-8859-1", "utf-8"),
        ("no-such-encoding", "utf-8"),
        ("punycode", "utf-8"),
        ("", "utf-8"),
        ("", "cp1252"),
        ("", "utf-16"),
    ],
)
def test_any_encoding_is_read(declared: str, encoding: str | None) -> None:
    report = REPORT if encoding else replace(REPORT, reporter="例え")
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else "\n"
    text = report_xml(report).decode().removeprefix(DECLARATION)
    found = read_aggregate((declaration + text).encode(encoding or declared))
    assert found.reporter == report.reporter
    assert found.records == report.records


def test_single_wrong_bytes_in_utf_8_are_windows_characters() -> None:
    xml = report_xml(replace(REPORT, reporter="Müller – XX")).replace(b"XX", b"\x96\xfc")
    assert read_aggregate(xml).reporter == "Müller – –ü"


# --- damage --------------------------------------------------------------------------

FAULTS: dict[str, Callable[[str], str]] = {
    "white space before": lambda xml: "\r\n\r\n " + xml,
    "junk before": lambda xml: "HTTP/1.1 200 OK\r\n\r\n" + xml,
    "junk after": lambda xml: xml + "\n-- \nsent by <a gateway>",
    "zero bytes after": lambda xml: xml + "\0" * 20,
    "a half tag after": lambda xml: xml + "</feed",
    "the declaration twice": lambda xml: DECLARATION + xml,
    "a declaration within": lambda xml: xml.replace("<record>", "<?xml version='1.0'?><record>", 1),
    "a schema before": lambda xml: xml.replace(
        "<feedback", '<xs:schema xmlns:xs="urn:x"><xs:element name="y"/></xs:schema><feedback'
    ),
    "a root around": lambda xml: xml.replace("<feedback", "<dmarc><feedback") + "</dmarc>",
    "a doctype": lambda xml: xml.replace("<feedback", "<!DOCTYPE feedback><feedback"),
    "a remote doctype": lambda xml: xml.replace(
        "<feedback", '<!DOCTYPE feedback SYSTEM "http://192.0.2.1/dmarc.dtd"><feedback'
    ),
    "a bare ampersand": lambda xml: xml.replace("&amp;", "&"),
    "an ampersand at the end": lambda xml: xml.replace("&amp; Söhne", "&amp; Söhne<!-- R&D -->"),
    "an HTML entity": lambda xml: xml.replace("ü", "&uuml;"),
    "a control character": lambda xml: xml.replace("Söhne", "S\x08öhne\x1b"),
    "a forbidden reference": lambda xml: xml.replace("Söhne", "S&#8;öhne&#x0;"),
    "an undeclared prefix": lambda xml: xml.replace("<record>", "<x:record>").replace(
        "</record>", "</x:record>"
    ),
    "an entity of a remote doctype": lambda xml: xml.replace(
        "<feedback", '<!DOCTYPE feedback SYSTEM "http://192.0.2.1/dmarc.dtd"><feedback'
    ).replace("ü", "&uuml;"),
    "a bare attribute": lambda xml: xml.replace("<feedback", "<feedback version=1.0"),
    "an attribute twice": lambda xml: xml.replace("<feedback", '<feedback a="1" a="1"'),
    "a wrong end tag": lambda xml: xml.replace("</email>", "</e-mail>"),
    "no bracket before an end": lambda xml: xml.replace("r-1</report_id>", "r-1/report_id>"),
    "no bracket after an end": lambda xml: xml.replace("r-1</report_id>", "r-1</report_id"),
    "a comment before": lambda xml: "<!-- by hand -->\n" + xml,
    "an end tag in other case": lambda xml: xml.replace("</count>", "</Count>"),
    "a text element not closed": lambda xml: xml.replace("</org_name>", "", 1),
    "an end tag too many": lambda xml: xml.replace("<record>", "</record><record>", 1),
    "a broken comment": lambda xml: xml.replace("<record>", "<!-- a -- b --><record>", 1),
    "a tag with a blank": lambda xml: xml.replace("<row>", "< row>").replace("</row>", "</ row >"),
    "quoted-printable": lambda xml: xml.replace("=", "=3D").replace("<count>", "<cou=\nnt>"),
    "HTML escaping": escape,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_report_is_read_right(fault: str) -> None:
    xml = FAULTS[fault](report_xml(REPORT).decode())
    report = read_aggregate(xml)
    assert replace(report, warnings=()) == REPORT
    harmless = {"a doctype", "a remote doctype", "an ampersand at the end",
                "an undeclared prefix"}  # fmt: skip
    assert bool(report.warnings) == (fault not in harmless)


@pytest.mark.parametrize("text", ["<postmaster@mail.example>", "a < b", "<none>", "x<y.example>"])
def test_markup_that_is_meant_as_text_is_text(text: str) -> None:
    report = read_aggregate(with_value("email", f"<email>{text}</email>"))
    assert report.contact == text
    assert report.records == REPORT.records


def test_two_reports_in_one_document_are_two() -> None:
    other = replace(REPORT, report_id="r-2")
    first, second = read(report_xml(REPORT) + report_xml(other))
    assert isinstance(first, AggregateReport)
    assert isinstance(second, AggregateReport)
    assert (first.report_id, second.report_id) == ("r-1", "r-2")
    assert first.records == second.records == REPORT.records


@pytest.mark.parametrize(
    ("cut", "whole"), [("</feedback>", 2), ("</record>", 0), ("<report_metadata>", 0)]
)
def test_a_report_that_is_cut_off_is_unreadable(cut: str, whole: int) -> None:
    found = unreadable(report_xml(REPORT).decode().partition(cut)[0])
    assert re.fullmatch(rf"cut off at line \d+, after {whole} whole records", found.reason)
    assert found.is_report


def test_an_element_that_holds_others_and_is_not_closed_is_unreadable() -> None:
    xml = report_xml(REPORT).decode().replace("</row>", "", 1)
    assert unreadable(xml).reason == "element <row> is not closed before </record>"


@pytest.mark.parametrize(
    "declaration",
    [
        "<!DOCTYPE feedback [<!ENTITY a 'b'>]>",
        "<!DOCTYPE feedback [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE feedback [<!ENTITY % a SYSTEM 'http://192.0.2.1/'> %a;]>",
    ],
)
def test_a_document_that_declares_entities_is_unreadable(declaration: str) -> None:
    xml = report_xml(REPORT).decode().replace("<feedback", f"{declaration}<feedback")
    assert "entities" in unreadable(xml.replace("Söhne", "&a;")).reason


@pytest.mark.parametrize(
    "xml", ["", "<html><p>feedback</p></html>", "<a/>", "no XML", "<feedbacks/>"]
)
def test_what_is_no_report_is_not_taken_for_one(xml: str) -> None:
    assert not unreadable(xml).is_report


# --- the lean handler and xmltodict agree ---------------------------------------------


def test_records_are_what_plain_xmltodict_makes_of_them() -> None:
    odd = (
        report_xml(REPORT)
        .decode()
        .replace("<row>", "<row>litter<!-- c -->")
        .replace("<count>3", "<count><![CDATA[3]]>")
    )
    both = with_value("count", "<count>3</count><count/>")
    for xml in (report_xml(REPORT).decode(), odd, both, report_xml(make_report()).decode()):
        plain = xmltodict.parse(xml, xml_attribs=False)["feedback"]
        trees = plain.get("record", [])
        maker = RecordMaker(Warnings())
        expected = tuple(map(maker.make, trees if isinstance(trees, list) else [trees]))
        assert read_xml([xml.encode()], Limits()).records == expected
