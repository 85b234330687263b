"""Real reports against the truth about them; skipped where DMARCKIT_CORPUS is not set."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import pytest
import xmltodict

from dmarckit.core.errors import UnreadableReport
from dmarckit.core.thresholds import Limits
from dmarckit.reports.aggregate import read_xml
from dmarckit.reports.model import (
    AggregateReport,
    FailureReport,
    Record,
    Report,
    TlsReport,
    Unreadable,
)
from dmarckit.reports.read import read_object, read_reports
from dmarckit.reports.records import RecordMaker
from dmarckit.reports.unpack import documents
from dmarckit.reports.values import Names, Warnings

CORPUS = os.environ.get("DMARCKIT_CORPUS")
pytestmark = pytest.mark.skipif(not CORPUS, reason="DMARCKIT_CORPUS is not set")


def cases(*expected: str) -> list[dict[str, Any]]:
    assert CORPUS
    lines = (Path(CORPUS) / "oracle.jsonl").read_text(encoding="utf-8").splitlines()
    return [case for case in map(json.loads, lines) if case["expect"] in expected]


def read(case: dict[str, Any]) -> list[Report | Unreadable]:
    assert CORPUS
    path = Path(CORPUS) / "files" / case["path"]
    try:
        return list(read_reports(read_object(path.read_bytes(), path.name)))
    except UnreadableReport as error:
        return [Unreadable(path.name, str(error))]


def facts(report: Report) -> dict[str, Any]:
    if isinstance(report, AggregateReport):
        return aggregate_facts(report)
    if isinstance(report, TlsReport):
        return {
            "organization_name": report.reporter,
            "report_id": report.report_id,
            "begin": report.begin.timestamp(),
            "end": report.end.timestamp(),
            "policy_domains": [policy.policy_domain for policy in report.policies],
            "n_policies": len(report.policies),
            "total_successful": sum(policy.successful for policy in report.policies),
            "total_failed": sum(policy.failed for policy in report.policies),
        }
    assert isinstance(report, FailureReport)
    return {
        "arrival_epoch": report.arrival.timestamp() if report.arrival else None,
        "source_ip": report.source_ip,
        "reported_domain": report.domain,
    }


def aggregate_facts(report: AggregateReport) -> dict[str, Any]:
    dispositions = Counter[str]()
    for record in report.records:
        dispositions[record.disposition or ""] += record.messages
    named = {"none", "quarantine", "reject"}
    return {
        "org_name": report.reporter,
        "report_id": report.report_id,
        "domain": report.policy.domain,
        "begin": report.begin.timestamp(),
        "end": report.end.timestamp(),
        "p": report.policy.p,
        "n_records": report.record_count,
        "n_messages": report.message_count,
        "n_dmarc_pass": sum(record.messages for record in report.records if record.passes),
        "n_disposition_none": dispositions["none"],
        "n_disposition_quarantine": dispositions["quarantine"],
        "n_disposition_reject": dispositions["reject"],
        "n_disposition_other": {k: v for k, v in dispositions.items() if k not in named},
    }


def differences(case: dict[str, Any], found: list[Report | Unreadable]) -> list[str]:
    """What of the truth about a file was not read right; empty when all of it was."""
    reports = [each for each in found if not isinstance(each, Unreadable)]
    errors = [each.reason for each in found if isinstance(each, Unreadable)]
    truths = case.get("reports") or [case["failure"]]
    if len(reports) != len(truths):
        return [f"{len(reports)} of {len(truths)} reports; {errors}"]
    wrong = []
    for truth, report in zip(truths, reports, strict=True):
        mine = facts(report)
        for name in mine.keys() & truth.keys():
            if mine[name] != truth[name]:
                wrong.append(f"{name} is {truth[name]!r}, read as {mine[name]!r}")
    return wrong


def test_every_readable_report_is_read_right() -> None:
    misses = {case["path"]: differences(case, read(case)) for case in cases("parse")}
    assert {path: wrong for path, wrong in misses.items() if wrong} == {}


def test_a_damaged_report_is_read_right_or_refused_with_a_reason() -> None:
    misses = {}
    for case in cases("lenient"):
        found = read(case)
        refused = all(isinstance(each, Unreadable) and each.reason for each in found)
        if not refused and not all_right_or_refused(case, found):
            misses[case["path"]] = differences(case, found)
    assert misses == {}


def all_right_or_refused(case: dict[str, Any], found: list[Report | Unreadable]) -> bool:
    """Of a file with several reports each is either right or refused."""
    truths = case.get("reports") or [case["failure"]]
    if len(found) != len(truths):
        return False
    return all(
        isinstance(each, Unreadable) or not differences({"reports": [truth]}, [each])
        for truth, each in zip(truths, found, strict=True)
    )


def test_records_are_what_plain_xmltodict_makes_of_them() -> None:
    assert CORPUS
    compared = 0
    for path in sorted((Path(CORPUS) / "files").glob("*/aggregate/*")):
        for xml in documents_of(path):
            try:
                lean = read_xml([xml], Limits())
                plain = xmltodict.parse(xml, xml_attribs=False, process_namespaces=True)
            except (ExpatError, UnreadableReport):
                continue
            assert lean.records == plain_records(plain), path
            compared += 1
    assert compared > 100


def documents_of(path: Path) -> Iterator[bytes]:
    try:
        mail = read_object(path.read_bytes(), path.name)
        for attachment in mail.attachments:
            for document in documents(attachment.payload, path.name, Limits()):
                yield b"".join(document.open())
    except UnreadableReport:
        return


def plain_records(tree: Any) -> tuple[Record, ...]:
    """The records in what xmltodict made, by the names without their namespaces."""
    local = without_namespaces(tree)["feedback"] or {}
    trees = local.get("record") or []
    maker = RecordMaker(Warnings())
    return tuple(maker.make(each or {}) for each in (trees if isinstance(trees, list) else [trees]))


def without_namespaces(tree: Any) -> Any:
    if isinstance(tree, list):
        return [without_namespaces(each) for each in tree]
    if isinstance(tree, dict):
        names = Names(Warnings())
        return {names[name]: without_namespaces(each) for name, each in tree.items()}
    return tree


def test_what_is_no_report_is_refused() -> None:
    taken = {}
    for case in cases("reject"):
        found = read(case)
        if not found or not all(isinstance(each, Unreadable) for each in found):
            taken[case["path"]] = found
    assert taken == {}
