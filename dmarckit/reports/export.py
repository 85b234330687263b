"""Reports as CSV and JSON: what `dmarckit parse` prints, and the files under `exports/`."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from types import NoneType
from typing import Any, Literal

from dmarckit.reports import model
from dmarckit.reports.model import AggregateReport, Record, Records, Row

CSV_COLUMNS = (
    "email_provider", "domain_policy", "source_ip", "email_volume",
    "dmarc_pass", "dmarc_fail", "dmarc_pass_rate",
    "spf_authentication_pass", "spf_authentication_fail",
    "spf_alignment_pass", "spf_alignment_fail",
    "dkim_authentication_pass", "dkim_authentication_fail",
    "dkim_alignment_pass", "dkim_alignment_fail",
)  # fmt: skip

RECORD_COLUMNS = (
    *CSV_COLUMNS, "reporter", "domain", "header_from", "begin", "end", "disposition",
)  # fmt: skip

_OF_RECORD = (
    "source_ip", "messages", "disposition", "dkim_aligned", "spf_aligned",
    "header_from", "envelope_from", "envelope_to", "reasons", "dkim", "spf",
)  # fmt: skip
_record_values = attrgetter(*_OF_RECORD)
_JSON_TYPES = {str, int, bool, NoneType}
_values: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {}  # of a model's fields

# What a spreadsheet takes for the start of a formula, ASCII and full-width (OWASP's list).
_FORMULA_STARTS = frozenset("=+-@＝＋－＠\t\r\n")
_SEPARATORS = frozenset(',;"\t\r\n')
_NAME_PART_LIMIT = 60


@dataclass(slots=True)
class _Tally:
    """Messages of one source address, by result."""

    messages: int = 0
    dmarc: int = 0
    spf: int = 0
    spf_aligned: int = 0
    dkim: int = 0
    dkim_aligned: int = 0

    def add(self, row: Row) -> None:
        _, n, evaluated, _, results = row
        found = _block(results)
        self.messages += n
        self.dmarc += n * evaluated.passes
        self.spf += n * found.spf
        self.spf_aligned += n * bool(evaluated.spf_aligned)
        self.dkim += n * found.dkim
        self.dkim_aligned += n * bool(evaluated.dkim_aligned)

    def cells(self) -> list[str]:
        rate = ""
        if self.messages > 0:  # 1, 0.25, 0.333333
            rate = f"{self.dmarc / self.messages:.6f}".rstrip("0").rstrip(".")
        cells = [str(self.messages), str(self.dmarc), str(self.messages - self.dmarc), rate]
        for passing in (self.spf, self.spf_aligned, self.dkim, self.dkim_aligned):
            cells += [str(passing), str(self.messages - passing)]
        return cells


def report_csv(report: AggregateReport) -> str:
    """Return the report as CSV (RFC 4180, `CSV_COLUMNS`): one row per source address.

    The rows are in the order in which the addresses first appear. Numbers are messages.
    ``authentication``: any raw SPF (DKIM) result is pass; ``alignment``: the receiver's
    evaluated result; a fail is whatever did not pass. dmarc_pass_rate is a decimal from 0 to 1,
    empty when there are no messages. email_provider has as much of the reporter as the file's name.
    A report without records gives the header alone.
    """
    tallies: dict[str, _Tally] = {}
    for row in Records.of(report.records).rows:
        tallies.setdefault(row[0] or "", _Tally()).add(row)
    outside = [csv_cell((t or "")[:_NAME_PART_LIMIT]) for t in (report.reporter, report.policy.p)]
    lines = ([*outside, csv_cell(source), *tally.cells()] for source, tally in tallies.items())
    return "".join(",".join(line) + "\r\n" for line in ([*CSV_COLUMNS], *lines))


def record_rows(report: AggregateReport) -> Iterator[str]:
    """Yield a CSV line (`RECORD_COLUMNS`) for each record, in the report's order.

    The numbers are those of `report_csv` for the record alone; times are ISO 8601, UTC.
    """
    for record, row in zip(report.records, Records.of(report.records).rows, strict=True):
        tally = _Tally()
        tally.add(row)
        outside = (report.reporter, report.policy.p, record.source_ip)
        where = (report.reporter, report.policy.domain, record.header_from)
        period = (f"{report.begin:%Y-%m-%dT%H:%M:%SZ}", f"{report.end:%Y-%m-%dT%H:%M:%SZ}")
        cells = [*map(csv_cell, outside), *tally.cells(), *map(csv_cell, where), *period]
        yield ",".join([*cells, csv_cell(record.disposition)]) + "\r\n"


def any_pass(results: Iterable[model.DkimResult] | Iterable[model.SpfResult]) -> bool:
    """Return True if one of the raw results is a pass."""
    return any((result.result or "").lower() == "pass" for result in results)


@dataclass(frozen=True, slots=True)
class _Block:
    """What exports say of a block that records share (`model.Row`): JSON without braces."""

    block: Record
    evaluated: str
    names: str
    reasons: str
    results: str
    spf: bool  # one of the raw results is a pass
    dkim: bool

    @property
    def size(self) -> int:
        return len(self.evaluated) + len(self.names) + len(self.reasons) + len(self.results)


_blocks: dict[int, _Block] = {}  # by identity: most reports repeat them
BLOCKS = 5_000  # that are remembered; then all are forgotten
BLOCK_CHARACTERS = 2_000  # longest that is remembered


def _block(block: Record) -> _Block:
    known = _blocks.get(id(block))
    if known and known.block is block:
        return known
    values = record_json(block)

    def said(*names: str) -> str:
        return json_text({name: values[name] for name in names})[1:-1]

    made = _Block(
        block,
        said("disposition", "dkim_aligned", "spf_aligned"),
        said("header_from", "envelope_from", "envelope_to"),
        said("reasons"),
        said("dkim", "spf"),
        any_pass(block.spf),
        any_pass(block.dkim),
    )
    if made.size <= BLOCK_CHARACTERS:
        if len(_blocks) >= BLOCKS:
            _blocks.clear()
        _blocks[id(block)] = made
    return made


def csv_cell(text: str | None) -> str:
    r"""Return outside text as a CSV cell that no spreadsheet runs.

    A formula gets an apostrophe in front. Control and bidirectional characters are shown as
    ``\uNNNN``. A semicolon is quoted too, since it may separate cells and let the rest run.
    """
    clean = text or ""
    if not clean.isprintable():
        clean = "".join(
            f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c
            for c in clean
        )
    if clean.lstrip()[:1] in _FORMULA_STARTS and clean.strip():
        clean = "'" + clean
    if _SEPARATORS.intersection(clean) or clean != clean.strip():
        return '"' + clean.replace('"', '""') + '"'
    return clean


def export_name(
    reporter: str | None, domain: str | None, begin: datetime, end: datetime, uid: str
) -> str:
    """Return ``<reporter>!<domain>!<begin>!<end>!<short uid>``, fit for files, URLs and S3 keys.

    Begin and end are seconds since 1970. The name is ASCII, of 170 characters at most; the uid
    (the lake's `report_uid`) keeps two reports from sharing it.

    >>> day = datetime(2026, 11, 1, tzinfo=UTC)
    >>> export_name("../Example Mail", "example.com", day, day, "0123456789abcdef")
    'Example-Mail!example.com!1793491200!1793491200!0123456789ab'
    """
    seconds = (str(int(begin.timestamp())), str(int(end.timestamp())))
    return "!".join((_name_part(reporter), _name_part(domain), *seconds, export_uid(uid)))


def export_uid(uid: str) -> str:
    """Return the short form of a `report_uid` in names of files."""
    return _name_part(uid, 12)


def export_key(
    reporter: str | None,
    domain: str | None,
    begin: datetime,
    end: datetime,
    uid: str,
    suffix: Literal["json", "csv", "png", ""],
) -> str:
    """Return the key of an export below the exports folder: ``YYYYMM/<export_name>.<suffix>``.

    The month is that of `begin` in UTC.
    """
    month = begin.astimezone(UTC).strftime("%Y%m")
    return f"{month}/{export_name(reporter, domain, begin, end, uid)}.{suffix}"


def _name_part(text: str | None, limit: int = _NAME_PART_LIMIT) -> str:
    """Return letters, digits, dots, dashes and underscores; not only dots, never empty."""
    plain = unicodedata.normalize("NFKC", text or "")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    return re.sub(r"\.{2,}", ".", safe).strip("-.")[:limit].rstrip("-.") or "unknown"


def report_json(report: model.Report, file: str) -> dict[str, Any]:
    """Return a report as the JSON object of `dmarckit parse`; `file` is where it was found.

    Keys: kind ("aggregate", "tls" or "failure") and file first, then the names of the models.
    Times are ISO 8601 in UTC, an absent value is null, counts are messages (TLS: sessions).
    """
    if isinstance(report, AggregateReport):
        return {
            "kind": "aggregate",
            "file": file,
            **_fields(report, "reporter report_id"),
            "domain": report.policy.domain,
            **_fields(report, "begin end policy"),
            "records": [record_json(record) for record in report.records],
            **_fields(report, "warnings contact extra_contact generator version errors"),
            "messages": report.message_count,
        }
    if isinstance(report, model.TlsReport):
        policy = "policy_type policy_domain successful failed details policy_string mx_host"
        return {
            "kind": "tls",
            "file": file,
            **_fields(report, "reporter report_id begin end"),
            "policies": [_fields(each, policy) for each in report.policies],
            **_fields(report, "warnings contact"),
        }
    first = _fields(report, "source_ip domain arrival")
    return {"kind": "failure", "file": file, **first, **_plain(report)}


def unreadable_json(unreadable: model.Unreadable, file: str) -> dict[str, Any]:
    """Return a document that is no readable report, as the JSON object of `dmarckit parse`."""
    return {
        "kind": "error",
        "file": file,
        "error": unreadable.reason,
        "outcome": "unreadable" if unreadable.is_report else "not_a_report",
        "document": unreadable.name,
    }


def json_text(value: Mapping[str, Any]) -> str:
    """Return JSON in ASCII: safe for any terminal and encoding, whatever the report says in it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def report_text(report: model.Report, file: str) -> str:
    """Return `report_json` as text, in less time: what records share is put into words once."""
    if not isinstance(report, AggregateReport) or not report.records:
        return json_text(report_json(report, file))
    records = []
    for ip, messages, *blocks in Records.of(report.records).rows:
        evaluated, names, results = map(_block, blocks)
        own = f'"source_ip": {json.dumps(ip)}, "messages": {messages}'
        said = own, evaluated.evaluated, names.names, evaluated.reasons, results.results
        records.append("{" + ", ".join(said) + "}")
    head = json_text(report_json(replace(report, records=()), file))
    return head.replace('"records": []', f'"records": [{", ".join(records)}]', 1)


def record_json(record: Record) -> dict[str, Any]:
    """Return one record as the JSON object that stands in `records`."""
    return dict(zip(_OF_RECORD, map(_plain, _record_values(record)), strict=True))


def _fields(model: Any, names: str) -> dict[str, Any]:
    """Return these fields of a model, in this order, as JSON has them."""
    return {name: _plain(getattr(model, name)) for name in names.split()}


def _plain(value: Any) -> Any:
    """Return models as dicts, tuples as lists, times as ISO 8601 in UTC, and all else as it is."""
    kind = type(value)
    if kind in _JSON_TYPES:
        return value
    if kind is tuple:
        return [_plain(each) for each in value]
    if kind is datetime:
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    values = _values.get(kind) or _values.setdefault(kind, attrgetter(*kind.__slots__))
    return dict(zip(kind.__slots__, map(_plain, values(value)), strict=True))
