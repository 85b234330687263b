"""Bombs, for real: each ends within seconds, unreadable with a reason, in bounded memory.

Every bomb is read in a process of its own, whose peak memory is measured against what it
held before it read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dmarckit.reports.read import MAX_FAILURES
from tests.support.builders import make_record, make_report, record_xml, report_xml

MEMORY = 250_000_000
"""bytes that reading may take beyond the idle process"""
SECONDS = 20
"""of the processor's time; the worst takes three"""

READER = """
import json, sys, time
from dmarckit.core import Limits, UnreadableReport
from dmarckit.reports import Unreadable, read_object, read_reports
from tests.support import bombs
from tests.support.bombs import memory_peak, reset_memory_peak

class Count:
    added = largest = 0
    def start(self): self.added = 0
    def add(self, records):
        self.added += len(records)
        self.largest = max(self.largest, len(records))

raw = getattr(bombs, sys.argv[1])()
reset_memory_peak()
before, sink, outcomes, began = memory_peak(), Count(), [], time.process_time()
try:
    # two million records take as long to make as all other bombs together
    limits = Limits(records=200_000)
    for each in read_reports(read_object(raw, "bomb"), limits, sink):
        if isinstance(each, Unreadable):
            outcomes.append(["unreadable", each.reason])
        else:
            outcomes.append([type(each).__name__, each.record_count, each.message_count])
except UnreadableReport as error:
    outcomes.append(["unreadable", str(error)])
seconds = time.process_time() - began
print(json.dumps([outcomes, memory_peak() - before, sink.added, sink.largest, seconds]))
"""


def read_apart(bomb: str) -> tuple[list[list[object]], int, int, int]:
    """Outcomes, bytes of memory taken, records added to the sink and the largest batch."""
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-c", READER, bomb],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes, memory, added, largest, seconds = json.loads(done.stdout)
    assert seconds < SECONDS
    return outcomes, memory, added, largest


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        ("gzip_of_zeros", "limit 'ratio'"),
        ("gzip_of_gzip_of_zeros", "limit 'ratio'"),
        ("zip_of_zeros", "limit 'ratio'"),
        ("zip_with_overlapping_members", "limit 'document_bytes'"),
        ("zip_with_a_lying_size", "directory says 1,000 bytes"),
        ("zip_of_a_million_members", "limit 'members'"),
        ("billion_laughs", "declares entities"),
        ("external_entity", "declares entities"),
        ("one_endless_text", "larger than 1,000,000 bytes"),
        ("one_endless_record", "larger than 1,000,000 bytes"),
        ("deep_xml", "nested deeper"),
        ("deep_record", "nested deeper"),
        ("deep_json", "nested too deep"),
        ("large_json", "more than 8,000,000"),
        ("too_many_records", "limit 'records'"),
        ("hundred_thousand_attachments", "limit 'parts'"),
        ("mail_of_60_megabytes", "limit 'mail_bytes'"),
        ("deep_multiparts", "nested deeper than 20"),
        ("deep_mails", "limit 'nesting'"),
        ("header_of_10_megabytes", "header block is larger"),
        ("million_header_lines", "header block is larger"),
        ("million_part_headers", "limit 'parts'|headers are larger|header block is larger"),
        ("many_parameters", "no report|neither"),
        ("broken_20_megabytes", "not repaired"),
        ("blank_continuations", "header block is larger"),
        ("nothing_but_padding", "neither"),
        ("distinct_names", "different names"),
        ("comments_never_closed", "larger than 1,000,000 bytes"),
        ("nothing_but_ampersands", "larger than 1,000,000 bytes"),
        ("a_thousand_packed_bombs", "limit 'document_bytes'"),
    ],
)
def test_a_bomb_is_unreadable_with_a_reason(bomb: str, reason: str) -> None:
    outcomes, memory, _, _ = read_apart(bomb)
    assert 1 <= len(outcomes) <= MAX_FAILURES + 1
    assert {outcome[0] for outcome in outcomes} == {"unreadable"}
    assert any(part in str(outcomes[0][1]) for part in reason.split("|")), outcomes
    assert memory < MEMORY


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_a_large_report_streams_in_batches() -> None:
    outcomes, memory, added, largest = read_apart("a_hundred_thousand_records")
    assert outcomes == [["AggregateReport", 100_000, 300_000]]
    assert (added, largest) == (100_000, 10_000)
    assert memory < 60_000_000


def test_the_generated_records_are_real_ones() -> None:
    record = make_record(messages=3)
    assert record_xml(record).encode() in report_xml(make_report(record))
