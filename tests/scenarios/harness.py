"""Runs a scenario: mails → `ingest` → lake → classes and findings; says what differs."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from dmarckit.core.settings import Settings, load_settings
from dmarckit.demo.mails import GeneratedMail, mails
from dmarckit.demo.traffic import GeneratedReport, reports
from dmarckit.findings import analysis
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import failing_messages, month_of, records_table, report_row, report_uid
from dmarckit.lake.schema import MAILS, REPORTS
from dmarckit.reports.model import AggregateReport
from tests.scenarios.analysis import Analysis, analyse
from tests.scenarios.scenario import ALERTS, END, UNTOLD, Absent, Expect, Run, Scenario

SEED = 7
CLASSES_OVER = timedelta(days=60)
"""classes are compared over the last days only: ownership looks back further"""
SPREAD_TOLERANCE = 2.0
"""messages of a key that rounding may move when long reports are spread"""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that the analysis gets wrong."""

    run: int
    what: str
    """``missing``, ``false alarm``, ``status``, ``class`` or ``sender``"""
    detail: str

    def __str__(self) -> str:
        return f"run {self.run}: {self.what}: {self.detail}"


@dataclass(slots=True)
class Score:
    """Counts over all runs of a scenario, and each mismatch."""

    name: str
    right: int = 0
    missing: int = 0
    alarms: int = 0
    messages: float = 0
    """messages whose class the truth knows"""
    misclassified: float = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    analysis: analysis.Analysis | None = None
    """that of the last run"""


def settings_of(scenario: Scenario, folder: Path) -> Settings:
    """The settings that a scenario runs with in a folder."""
    return load_settings(
        home=str(folder), trust="pass", workers=1, exports="none", **scenario.settings
    )


def written(scenario: Scenario, seed: int = SEED) -> list[GeneratedReport]:
    """All that reporters write in a scenario, before anything happens to it on its way."""
    first = END - timedelta(scenario.days)
    return reports(scenario.domains, scenario.flows, scenario.reporters, first, scenario.days, seed)


def play(scenario: Scenario, folder: Path, made: Sequence[GeneratedReport] | None = None) -> Score:
    """Run the scenario in an empty folder, with what is `written` in it."""
    settings = settings_of(scenario, folder)
    (folder / "mail").mkdir(parents=True, exist_ok=True)
    scenario.outside(Lake(settings.lake_url))
    made = written(scenario) if made is None else made
    kept = list(scenario.change(list(made)))
    others = scenario.mails(list(made))
    score = Score(scenario.name)
    since = datetime(1970, 1, 1, tzinfo=UTC)
    for number, look in enumerate(scenario.runs, 1):
        until = datetime(9999, 1, 1, tzinfo=UTC) if scenario.all_arrived else look.now
        arrived = [g for g in kept if since <= g.sent < until]
        _deliver(scenario, settings, arrived, [m for m in others if since <= m.received < until])
        since = until
        seen = analyse(settings, now=look.now, days=scenario.window)
        score.analysis = seen.whole
        compare_findings(score, number, look, seen)
        known = [g for g in kept if g.sent < until and g.report.begin < look.now]
        compare_classes(score, number, scenario, look, known, seen)
    return score


def _deliver(
    scenario: Scenario,
    settings: Settings,
    arrived: Sequence[GeneratedReport],
    others: Sequence[GeneratedMail],
) -> None:
    posted = list(others)
    if scenario.whole_way:
        posted += mails(arrived, SEED)
    else:
        straight_into(Lake(settings.lake_url), arrived)
    for mail in posted:
        path = Path(settings.mail_url) / mail.key
        path.write_bytes(mail.raw)
        os.utime(path, ((scenario.file_time or mail.received).timestamp(),) * 2)
    if posted:
        result = ingest_mails(settings)
        wanted = Counter(m.outcome for m in posted)
        if Counter(result.outcomes) != wanted:
            raise AssertionError(f"{scenario.name}: {result.outcomes} instead of {wanted}")


def straight_into(lake: Lake, made: Sequence[GeneratedReport]) -> None:
    """What `ingest` would write for these reports, without the mails."""
    if not made:
        return
    pairs = [(report_uid(g.report), g.report) for g in made]
    rows = [report_row(r, uid, f"m/{uid}", failing_messages(r.records)) for uid, r in pairs]
    lake.write.append_new("records", records_table(pairs))
    lake.write.append_new("reports", pa.Table.from_pylist(rows, schema=REPORTS.schema))
    ledger = [
        {
            "key": f"m/{uid}",
            "etag": "1",
            "size": 1,
            "received": g.sent,
            "from_domain": g.reporter.host,
            "dmarc": "pass",
            "outcome": "stored",
            "reports": 1,
            "run": "made",
            "month": month_of(g.sent),
        }
        for (uid, _), g in zip(pairs, made, strict=True)
    ]
    lake.write.append_new("mails", pa.Table.from_pylist(ledger, schema=MAILS.schema))


def compare_findings(score: Score, number: int, look: Run, seen: Analysis) -> None:
    """Every expectation has its finding; every other alert, and what must be absent, is wrong."""
    left = list(seen.findings)
    for want in look.expected:
        found = next((f for f in left if _is(f, want)), None)
        if found is None:
            score.missing += 1
            near = [_short(f) for f in left if f["kind"] == want.kind]
            score.mismatches.append(
                Mismatch(number, "missing", f"{_wanted(want)}; of its kind: {near or 'none'}")
            )
        else:
            left.remove(found)
            score.right += 1
    for finding in left:
        if finding.get("status") == "RESOLVED":
            continue
        unwanted = any(_matches(finding, a) for a in look.absent)
        alert = finding["severity"] in ALERTS and not finding.get("muted")
        if unwanted or (alert and not any(_matches(finding, a) for a in look.allowed)):
            score.alarms += 1
            score.mismatches.append(
                Mismatch(number, "false alarm", f"{_short(finding)}: {finding['summary']}")
            )


def _is(finding: dict[str, Any], want: Expect) -> bool:
    severity = finding["severity"]
    alert = severity in ALERTS
    told = [finding[part] for part in ("summary", "action", "record")]
    advice = json.dumps(told, default=str).lower()
    text = advice + json.dumps(finding["evidence"], default=str).lower()
    return (
        finding["kind"] == want.kind
        and want.subject in (None, finding["subject"])
        and want.domain in (None, finding["domain"])
        and want.severity in (None, severity, "alert" if alert else "quiet")
        and want.status in (None, finding.get("status"))
        and (finding.get("status") != "RESOLVED" or want.status == "RESOLVED")
        and (want.says is None or want.says.lower() in text)
        and not any(word.lower() in advice for word in want.never)
        and bool(finding.get("muted")) == want.muted
        and (want.messages is None or want.messages[0] <= finding["messages"] <= want.messages[1])
    )


def _matches(finding: dict[str, Any], what: Absent) -> bool:
    return finding["kind"] == what.kind and what.subject in (None, finding["subject"])


def _short(finding: dict[str, Any]) -> str:
    status = f" {finding['status']}" if finding.get("status") else ""
    name = f"{finding['kind']}|{finding['domain']}|{finding['subject']}"
    return f"{name} ({finding['severity']}{status}, {finding['messages']})"


def _wanted(want: Expect) -> str:
    name = f"{want.kind}|{want.domain or '*'}|{'*' if want.subject is None else want.subject}"
    more = [
        f"{k}={v}"
        for k, v in (
            ("severity", want.severity),
            ("status", want.status),
            ("says", want.says),
            ("never", want.never),
            ("messages", want.messages),
            ("muted", want.muted),
        )
        if v
    ]
    return " ".join([name, *more])


def compare_classes(
    score: Score,
    number: int,
    scenario: Scenario,
    look: Run,
    made: Iterable[GeneratedReport],
    seen: Analysis,
) -> None:
    """Messages by author domain and class, and by sender and class, against the truth."""
    first = (look.now - CLASSES_OVER).date()
    classes, senders = defaultdict[Any, float](float), defaultdict[Any, float](float)
    untold = set[Any]()
    for g in made:
        part = _part_since(g.report, first)
        if not part:
            continue
        domain = str(g.report.policy.domain)
        if scenario.settings.get("domains", [domain]).count(domain) == 0:
            continue
        for record, truth in zip(g.report.records, g.truth, strict=True):
            author = str(record.header_from).lower()
            if truth.expected == UNTOLD:
                untold.add((domain, author))
                continue
            classes[domain, author, truth.expected] += part * truth.messages
            if truth.sender != "?":
                senders[domain, truth.sender, truth.expected] += part * truth.messages
    found = Counter[Any]()
    found_senders = Counter[Any]()
    for row in seen.messages:
        if row["day"].date() >= first:
            n = row["messages"]
            found[row["domain"], row["header_from"].lower(), row["class"]] += n
            found_senders[row["domain"], row["sender"], row["class"]] += n
    _differences(score, number, "class", classes, found, untold)
    named = {key[1] for key in senders}
    if scenario.senders and not untold:
        of_named = {k: n for k, n in found_senders.items() if k[1] in named}
        _differences(score, number, "sender", senders, of_named, set())


def _part_since(report: AggregateReport, first: date) -> float:
    """Share of the report's messages on days from `first` on."""
    length = report.end - report.begin
    if length <= timedelta(days=1):
        return float((report.begin + length / 2).date() >= first)
    start = datetime.combine(first, time(), UTC)
    return max(0.0, min(1.0, (report.end - start) / length))


def _differences(
    score: Score, number: int, what: str, want: Any, found: Any, untold: set[Any]
) -> None:
    for key in sorted(set(want) | set(found), key=str):
        difference = found.get(key, 0) - want.get(key, 0)
        if what == "class":
            score.messages += want.get(key, 0)
        if key[:2] in untold or abs(difference) < SPREAD_TOLERANCE:
            continue
        if what == "class":
            score.misclassified += max(0, -difference)
        score.mismatches.append(
            Mismatch(
                number,
                what,
                f"{' / '.join(map(str, key))}: {found.get(key, 0):.0f} instead of "
                f"{want.get(key, 0):.0f} messages",
            )
        )
