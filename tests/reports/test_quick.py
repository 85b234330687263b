"""The quick way through common records and the way of expat give the same report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from dmarckit.core.errors import UnreadableReport
from dmarckit.core.thresholds import Limits
from dmarckit.reports import quick
from dmarckit.reports.aggregate import looks_like_aggregate, read_xml
from dmarckit.reports.model import AggregateReport, Reason, Record, Row
from dmarckit.reports.quick import QuickCut, common_report
from dmarckit.reports.read import read_object
from dmarckit.reports.unpack import documents
from tests.reports.test_read_property import reports
from tests.support.builders import make_record, make_report, report_xml
from tests.support.model_builders import make_failing

LIMITS = Limits()
REPORT = make_report(
    make_record(messages=3),
    make_failing("2001:db8::1", 5, reasons=(Reason("local_policy", "arc=pass"),)),
    make_record("198.51.100.9", 7, header_from="Sub.Example.com"),
)
CORPUS = os.environ.get("DMARCKIT_CORPUS")


def outcome(xml: bytes, *, quick: bool, size: int = 1 << 20) -> AggregateReport | str:
    """The report, or why there is none."""
    pieces = [xml[i : i + size] for i in range(0, len(xml), size)]
    try:
        return read_xml(pieces, LIMITS, quick=quick)
    except UnreadableReport as error:
        return str(error)


def assert_same(xml: bytes, size: int = 1 << 20) -> None:
    assert outcome(xml, quick=True, size=size) == outcome(xml, quick=False, size=size)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The messages of the records that the quick way took out of a document for expat."""
    found: list[int] = []
    hand_over = QuickCut._hand_over

    def counting(self: QuickCut, rows: list[Row]) -> None:
        found.extend(row[1] for row in rows)
        hand_over(self, rows)

    monkeypatch.setattr(QuickCut, "_hand_over", counting)
    return found


COMMON = {
    "as it is": (b"", b""),
    "a namespace": (b"<feedback", b'<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"'),
    "several": (b"<feedback", b'<feedback xmlns:xsi="http://a.example"\n xmlns="urn:b" c="d"'),
    "a byte order mark": (b"<?xml", b"\xef\xbb\xbf<?xml"),
    "no declaration": (b'<?xml version="1.0" encoding="UTF-8"?>', b""),
    "text beyond ASCII": (b"<org_name>", "<org_name>Prüfer &amp; ".encode()),
    "an error": (b"</report_metadata>", b"<error>a</error>\n<error>b</error></report_metadata>"),
    "text around elements": (b"<policy_published>", b"between<policy_published>beside"),
    "an empty element": (b"<policy_published>", b"<policy_published><fo></fo>"),
    "elements out of order": (b"</report_metadata>", b"</report_metadata><version>1</version>"),
    "spaces around a text": (b"<org_name>", b"<org_name>  "),
    "a line break in a text": (b"<org_name>", b"<org_name>\n"),
    "metadata twice": (b"<policy_published>", b"<report_metadata></report_metadata>\\g<0>"),
}


@pytest.mark.parametrize("form", COMMON)
def test_a_report_of_the_common_form_needs_no_handler(form: str) -> None:
    xml = re.sub(re.escape(COMMON[form][0]), COMMON[form][1], report_xml(REPORT), count=1)
    common = common_report(xml)
    assert common is not None
    assert [row[1] for row in common.rows] == [3, 5, 7]
    assert b"record" not in common.head
    assert_same(xml)


UNCOMMON = {
    "an element of no RFC": (b"<policy_published>", b"<colour>red</colour><policy_published>"),
    "a misspelt element": (b"org_name>", b"orgname>"),
    "upper case": (b"org_name>", b"ORG_NAME>"),
    "a prefix": (b"org_name>", b"d:org_name>"),
    "an attribute": (b"<org_name>", b"<org_name lang='en'>"),
    "an extension": (b"<policy_published>", b"<extension><p>x</p></extension><policy_published>"),
    "a comment": (b"<policy_published>", b"<!-- <record> --><policy_published>"),
    "CDATA": (b"<org_name>", b"<org_name><![CDATA[x]]>"),
    "a DOCTYPE": (b"<feedback", b"<!DOCTYPE feedback><feedback"),
    "an element without end": (b"<org_name>", b"<org_name/><org_name>"),
    "elements after the records": (b"</feedback>", b"<version>1</version></feedback>"),
    "text after the records": (b"</feedback>", b"x</feedback>"),
    "something after the end": (b"</feedback>", b"</feedback><x/>"),
    "no end": (b"</feedback>", b""),
    "deep elements": (b"<policy_published>", b"<p>" * 60 + b"</p>" * 60 + b"<policy_published>"),
    "a long head": (b"<org_name>", b"<org_name>" + b"x" * 20_000),
    "records before the head": (b"<feedback>", b"<feedback><record></record>"),
}


@pytest.mark.parametrize("form", UNCOMMON)
def test_what_is_not_of_the_common_form_goes_on_to_expat(form: str) -> None:
    found, put = UNCOMMON[form]
    xml = report_xml(REPORT).replace(b"</policy_published>", b"</policy_published>\n")
    assert found in xml
    assert common_report(xml.replace(found, put)) is None
    assert_same(xml.replace(found, put))


WRONG = {
    "an undeclared entity": (b"<org_name>", b"<org_name>&nbsp;"),
    "an attribute twice": (b"<feedback", b'<feedback a="1" a="2"'),
    "a wrong end": (b"</org_name>", b"</email>"),
    "an end too few": (b"</policy_published>", b""),
    "the end of CDATA": (b"<org_name>", b"<org_name>]]>"),
    "bytes that are no UTF-8": (b"<org_name>", b"<org_name>\xff"),
    "an odd declaration": (b'version="1.0"', b'version="0"'),
    "a form feed between elements": (b"<org_name>", b"\x0c<org_name>"),
    "a digit that begins a name": (b"<feedback", b'<feedback 1="a"'),
    "an end too many": (b"</report_metadata>", b"</report_metadata></report_metadata>"),
}


@pytest.mark.parametrize("form", WRONG)
def test_a_head_that_is_not_well_formed_is_refused_the_same(form: str) -> None:
    found, put = WRONG[form]
    xml = report_xml(REPORT)
    assert found in xml
    assert common_report(xml.replace(found, put, 1)) is not None
    assert_same(xml.replace(found, put, 1))


def test_common_records_go_the_quick_way(taken: list[int]) -> None:
    result = outcome(report_xml(REPORT), quick=True, size=500)
    assert isinstance(result, AggregateReport)
    assert taken == [3, 5, 7]
    assert [record.messages for record in result.records] == [3, 5, 7]


ODDITIES = {
    "a comment in a record": (b"<count>5", b"<!-- <record> --><count>5"),
    "a comment between records": (b"</record>\n\n <record>", b"</record><!-- </x> --><record>"),
    "a comment around a record": (b"</record>", b"</record><!-- <record></record> -->"),
    "a record in another element": (b"</policy_published>", b"</policy_published><extension>"),
    "an attribute": (b"<count>5", b"<count unit='mails'>5"),
    "an entity": (b"arc=pass", b"arc=pass &amp; more"),
    "an undeclared entity": (b"arc=pass", b"arc=pass &nbsp;"),
    "CDATA": (b"arc=pass", b"<![CDATA[arc=pass]]>"),
    "an upper-case result": (b"<dkim>fail</dkim>", b"<dkim>FAIL</dkim>"),
    "an unknown element": (b"<row>", b"<row><colour>red</colour>"),
    "an empty element": (b"<envelope_from>example.com</envelope_from>", b"<envelope_from/>"),
    "an empty pair": (b"<selector>s1</selector>", b"<selector></selector>"),
    "white space around values": (b"<count>5</count>", b"<count> 5\n</count>"),
    "no count": (b"<count>5</count>", b""),
    "a count that is none": (b"<count>5</count>", b"<count>five</count>"),
    "an address that is none": (b"2001:db8::1", b"not-an-address"),
    "two of one kind": (b"<disposition>", b"<disposition>none</disposition><disposition>"),
    "letters beyond ASCII": (b"arc=pass", "arc=pass grün".encode()),
    "bytes that are no UTF-8": (b"arc=pass", b"arc=pass \xff"),
    "a control character": (b"arc=pass", b"arc=pass \x01"),
    "an end tag too few": (b"</identifiers>", b""),
    "a wrong end tag": (b"</identifiers>", b"</identifier>"),
    "text between records": (b"</record>", b"</record> text "),
    "other elements between records": (b"</record>", b"</record><note>x</note>"),
    "a cut": (b"</feedback>", b""),
    "a cut in a record": (b"<auth_results>", b""),
    "carriage returns": (b"\n", b"\r\n"),
    "a root of another kind": (b"feedback", b"feedforward"),
    "a DOCTYPE": (b"<feedback>", b"<!DOCTYPE feedback><feedback>"),
    "an old dialect": (b"identifiers>", b"identities>"),
}


@pytest.mark.parametrize("size", [1 << 20, 64, 7, 1])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddities_come_out_the_same(oddity: str, size: int) -> None:
    found, put = ODDITIES[oddity]
    xml = report_xml(REPORT)
    assert found in xml, oddity
    assert_same(xml.replace(found, put), size)
    assert_same(xml.replace(found, put, 1), size)


def test_an_error_names_the_same_line(taken: list[int]) -> None:
    xml = report_xml(REPORT).replace(b"</feedback>", b"</feedbac>")
    assert outcome(xml, quick=True) == outcome(xml, quick=False)
    assert taken == [3, 5, 7]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmarckit.reports.quick.REMEMBERED", 3)
    for memory in (quick._evaluated, quick._identifiers, quick._results):
        memory.clear()
    many = make_report(*(make_record(messages=i, header_from=f"h{i}.example") for i in range(20)))
    assert_same(report_xml(many))
    assert max(len(memory) for memory in (quick._evaluated, quick._identifiers)) <= 3


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(reports(), st.integers(1, 3000))
def test_any_report_comes_out_the_same(report: AggregateReport, size: int) -> None:
    assert_same(report_xml(report), size)


DAMAGE = [b"", b"<", b">", b"&", b" ", b"<record>", b"x", b"\x0c", b"]]>"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_damage_comes_out_the_same(data: st.DataObject) -> None:
    xml = bytearray(report_xml(REPORT))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(xml) - 1))
        end = at + data.draw(st.integers(0, 40))
        xml[at:end] = data.draw(
            st.sampled_from([b"", b"<", b">", b"&", b" ", b"<record>", b"x", b"\x0c", b"]]>"])
        )
    assert_same(bytes(xml), data.draw(st.sampled_from([1 << 20, 100, 13])))


def corpus_documents() -> Iterator[tuple[str, bytes]]:
    assert CORPUS is not None
    folder = Path(CORPUS)
    for line in (folder / "oracle.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["kind"] != "aggregate":
            continue
        try:
            mail = read_object((folder / "files" / entry["path"]).read_bytes(), "file")
            for attachment in mail.attachments:
                for document in documents(attachment.payload, "part", LIMITS):
                    yield entry["path"], b"".join(document.open())
        except UnreadableReport:
            continue


@pytest.mark.skipif(not CORPUS, reason="DMARCKIT_CORPUS is not set: no real reports here")
def test_real_reports_come_out_the_same() -> None:
    compared = 0
    for path, xml in corpus_documents():
        if looks_like_aggregate(xml):
            for size in (1 << 20, 97):
                compared += 1
                assert outcome(xml, quick=True, size=size) == outcome(
                    xml, quick=False, size=size
                ), path
    assert compared > 100


def test_records_are_equal_to_those_that_were_written() -> None:
    records = [make_record(messages=i % 9, source_ip=f"192.0.2.{i % 250}") for i in range(500)]
    result = outcome(report_xml(make_report(*records)), quick=True, size=1000)
    assert isinstance(result, AggregateReport)
    assert [*result.records] == records
    assert all(isinstance(record, Record) for record in result.records)
