"""Any report, packed and mailed in any way, reads back as it was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import xmltodict
from hypothesis import HealthCheck, given, settings, strategies as st

from dmarckit.core.thresholds import Limits
from dmarckit.reports.aggregate import read_xml
from dmarckit.reports.model import AggregateReport, DkimResult, Policy, Reason, Record, SpfResult
from dmarckit.reports.records import RecordMaker
from dmarckit.reports.values import Warnings
from tests.support.builders import NAMESPACES, WRAPPINGS, make_mail, read_one, report_xml

T = TypeVar("T")
# hypothesis runs few cases here, since every test run pays for them; the fuzzer runs many
brisk = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

# what XML can hold, without white space at the ends: that is never meant
text = (
    st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" <>&'\"]"), min_size=1)
    .map(str.strip)
    .filter(bool)
)
domains = st.from_regex(r"\A[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5}){1,3}\Z")
# an IPv4 address mapped into IPv6 is read as IPv4
addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).filter(
    lambda ip: getattr(ip, "ipv4_mapped", None) is None
).map(str)
results = st.sampled_from(["none", "pass", "fail", "neutral", "softfail", "temperror", "permerror"])


def maybe(values: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | values


def several(values: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(values, max_size=3).map(tuple)


reasons = st.builds(
    Reason, st.sampled_from(["forwarded", "mailing_list", "local_policy"]), maybe(text)
)
dkim = st.builds(DkimResult, domains, maybe(text), results, maybe(text))
spf = st.builds(SpfResult, domains, maybe(st.sampled_from(["helo", "mfrom"])), results, maybe(text))
records = st.builds(
    Record,
    source_ip=maybe(addresses),
    messages=st.integers(0, 2**40),
    disposition=maybe(st.sampled_from(["none", "quarantine", "reject", "pass"])),
    dkim_aligned=maybe(st.booleans()),
    spf_aligned=maybe(st.booleans()),
    reasons=several(reasons),
    header_from=domains,
    envelope_from=maybe(domains),
    envelope_to=maybe(domains),
    dkim=several(dkim),
    spf=several(spf),
)
policies = st.builds(
    Policy,
    domain=domains,
    p=st.sampled_from(["none", "quarantine", "reject"]),
    sp=maybe(st.just("none")),
    np=maybe(st.just("reject")),
    pct=maybe(st.integers(0, 100)),
    testing=maybe(st.sampled_from(["y", "n"])),
    adkim=maybe(st.sampled_from(["r", "s"])),
    aspf=maybe(st.sampled_from(["r", "s"])),
    fo=maybe(st.just("1:d")),
    discovery_method=maybe(st.sampled_from(["psl", "treewalk"])),
)


@st.composite
def reports(draw: st.DrawFn) -> AggregateReport:
    begin = datetime.fromtimestamp(draw(st.integers(0, 9_000_000_000)), UTC)
    held = draw(several(records))
    return AggregateReport(
        reporter=draw(text),
        contact=draw(maybe(text)),
        extra_contact=draw(maybe(text)),
        report_id=draw(text),
        begin=begin,
        end=begin + timedelta(seconds=86_399),
        policy=draw(policies),
        generator=draw(maybe(text)),
        version=draw(maybe(st.just("1.0"))),
        records=held,
        record_count=len(held),
        message_count=sum(record.messages for record in held),
        errors=draw(several(text)),
    )


@brisk
@given(reports(), st.sampled_from(sorted(WRAPPINGS)), st.sampled_from(sorted(NAMESPACES)))
def test_a_bare_report_reads_back(report: AggregateReport, wrapping: str, schema: str) -> None:
    assert read_one(WRAPPINGS[wrapping](report_xml(report, schema))) == report


@brisk
@given(reports(), st.sampled_from(sorted(NAMESPACES)))
def test_records_are_what_plain_xmltodict_makes_of_them(
    report: AggregateReport, schema: str
) -> None:
    xml = report_xml(report, schema)
    plain = xmltodict.parse(xml, xml_attribs=False, force_list=("record",))["feedback"]
    maker = RecordMaker(Warnings())
    assert read_xml([xml], Limits()).records == tuple(map(maker.make, plain.get("record", [])))


@brisk
@given(
    reports(),
    st.sampled_from(sorted(WRAPPINGS)),
    st.sampled_from(["", "ns0"]),
    maybe(text),
    st.integers(1, 1_000),
)
def test_a_mailed_report_reads_back(
    report: AggregateReport, wrapping: str, prefix: str, name: str | None, line: int
) -> None:
    attachment = WRAPPINGS[wrapping](report_xml(report, "rfc9990", prefix=prefix))
    name = name and name.replace('"', "")
    assert read_one(make_mail(attachment, name, line=line)) == report


@brisk
@given(reports(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]))
def test_a_report_in_any_unicode_encoding_reads_back(
    report: AggregateReport, encoding: str
) -> None:
    xml = report_xml(report, declaration="<?xml version='1.0'?>").decode().encode(encoding)
    found = read_one(xml)
    assert isinstance(found, AggregateReport)
    assert replace(found, warnings=()) == report


@brisk
@given(reports(), st.data())
def test_a_report_with_bare_ampersands_and_brackets_reads_back(
    report: AggregateReport, data: st.DataObject
) -> None:
    """The repair gives what was meant, as long as the text is no markup itself."""
    name = (
        data.draw(st.text("ab &;.@", min_size=1).map(str.strip).filter(bool)) + " & <a@b.example>"
    )
    xml = report_xml(replace(report, reporter="\N{SNOWMAN}-here")).decode()
    found = read_one(xml.replace("\N{SNOWMAN}-here", name).encode())
    assert isinstance(found, AggregateReport)
    assert found.reporter == name
    assert found.records == report.records
    assert found.warnings
