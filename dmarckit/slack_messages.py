"""What dmarckit says in Slack: the summary of a run, and the alert about one report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dmarckit.models import AggregateReport, Policy, Record
from dmarckit.periods import period
from dmarckit.slack_text import (
    Block,
    Message,
    code,
    escape,
    escape_with_records,
    fields,
    header,
    image,
    lines,
    links,
    message,
    section,
)
from dmarckit.window import Window
from dmarckit.words import change, count, percent, plural, points

if TYPE_CHECKING:
    import pandas as pd

TOP_SOURCES = 5
_DELIVERED = ("none", "pass")
_STOPPED = ("quarantine", "reject")


def summary_message(
    headline: pd.DataFrame,
    window: Window,
    page_url: str | None,
    chart_url: str | None = None,
    findings: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    still_open: int = 0,
) -> Message:
    """The message about a run: headline, findings, notes, link to the page, chart.

    `headline` has one row a measure, as `summary.headline` gives it: messages, pass_share,
    failing, reports, reporters. `findings` are plain lines about what is new or worse;
    None means that nobody looked for any, and failing messages are then the news.
    `notes` are plain lines about mails that could not be read or trusted. A quiet run,
    without news and notes, is one line and the link; `still_open` findings that ask for
    something, but were told before, are counted in it.
    """
    value = dict(zip(headline["measure"], headline["value"], strict=True))
    before = dict(zip(headline["measure"], headline["before"], strict=True))
    said = _said(value)
    news = bool(findings) or bool(notes) or (findings is None and value["failing"] > 0)
    if not news:
        quiet = "All quiet: " if value["reports"] else ""
        if still_open:
            verb = "still needs" if still_open == 1 else "still need"
            quiet = f"Nothing new, {plural(still_open, 'finding')} {verb} doing: "
        text = f"DMARC, {window}: {quiet}{said}"
        return message(text, [section(text), *links([("Open the page", page_url)])])
    blocks: list[Block] = [
        header(f"DMARC, {window}"),
        section(f"*{said}*"),
        fields(_headline_fields(value, before)),
    ]
    if findings:
        blocks.append(section(f"*New or worse*\n{_list(findings)}"))
    if notes:
        blocks.append(section(f"*Please look*\n{_list(notes)}"))
    blocks += links([("Open the page", page_url)])
    blocks += image(chart_url, f"Passing and failing messages a day: {said}")
    return message(f"DMARC, {window}: {said}", blocks)


def _said(value: dict[str, float]) -> str:
    if not value["reports"]:
        return "no reports came in"
    if not value["messages"]:
        return f"{plural(value['reports'], 'report')} without any message"
    passing = f"{percent(value['pass_share'])} of {plural(value['messages'], 'message')} pass"
    failing = f", {count(value['failing'])} fail" if value["failing"] else ""
    sources = f"{plural(value['reports'], 'report')} by {plural(value['reporters'], 'reporter')}"
    return f"{passing}{failing} ({sources})"


def _headline_fields(value: dict[str, float], before: dict[str, float]) -> list[tuple[str, str]]:
    shown = [("Pass rate", percent(value["pass_share"]), _difference(value, before))]
    for label, measure in (
        ("Failing messages", "failing"),
        ("Messages", "messages"),
        ("Reports", "reports"),
        ("Reporters", "reporters"),
    ):
        moved = change(value[measure], before[measure]) if before["reports"] else ""
        shown.append((label, count(value[measure]), moved))
    return [(label, f"{now} ({moved})" if moved else now) for label, now, moved in shown]


def _difference(value: dict[str, float], before: dict[str, float]) -> str:
    return points(value["pass_share"] - before["pass_share"])


def _list(plain: Sequence[str]) -> str:
    return lines([escape_with_records(line, 600) for line in plain], limit=2900)


def report_alert(
    report: AggregateReport,
    json_url: str | None,
    csv_url: str | None,
    chart_url: str | None,
    failing: int | None = None,
) -> Message:
    """The message about one report with failing messages.

    Provider, period, domain and policy, messages and failing messages, the addresses with
    the most failing messages, links to the report as JSON and CSV, and the chart. For a
    report whose records were too many to load, `failing` is the number of its failing
    messages; else it is counted from the records.
    """
    records = [record for record in report.records if not record.passes and record.messages]
    failed = sum(record.messages for record in records) if failing is None else failing
    total = report.message_count
    provider = report.reporter or "an unnamed provider"
    domain = report.policy.domain or "an unnamed domain"
    said = _failures(failed, total)
    blocks = [
        header(f"{_short(domain, 70)}: {plural(failed, 'message')} failing DMARC"),
        section(f"*{said}*{_delivered(records)}"),
        fields(
            [
                ("Provider", escape(provider)),
                ("Period", period(report.begin, report.end)),
                ("Domain", code(domain)),
                ("Policy", code(_policy(report.policy))),
            ]
        ),
    ]
    if records:
        blocks.append(section(f"*Top failing sources*\n{_sources(records)}"))
    blocks += links([("Report as JSON", json_url), ("Report as CSV", csv_url)])
    blocks += image(chart_url, f"DMARC, DKIM and SPF results: {said}")
    return message(f"{escape(domain)}: {said}, says {escape(provider)}", blocks)


def _failures(failed: int, total: int) -> str:
    if not total:
        return "the report holds no messages"
    return f"{count(failed)} of {plural(total, 'message')} fail DMARC ({percent(failed / total)})"


def _delivered(failing: Sequence[Record]) -> str:
    """Whether the failing messages arrived all the same: the first thing people ask."""
    by_disposition: Counter[str] = Counter()
    for record in failing:
        by_disposition[(record.disposition or "").lower()] += record.messages
    failed = by_disposition.total()
    delivered = sum(by_disposition[name] for name in _DELIVERED)
    if delivered:
        share = "All" if delivered == failed else count(delivered)
        return f"\n{share} of them delivered all the same."
    if failed and failed == sum(by_disposition[name] for name in _STOPPED):
        return "\nNone of them was delivered as usual."
    return ""


def _policy(policy: Policy) -> str:
    tags = (("p", policy.p), ("sp", policy.sp), ("np", policy.np), ("t", policy.testing))
    return "; ".join(f"{tag}={value}" for tag, value in tags if value) or "none quoted"


def _sources(failing: Sequence[Record]) -> str:
    sources: Counter[str] = Counter()
    for record in failing:
        sources[record.source_ip or "no address"] += record.messages
    top = sorted(sources.items(), key=lambda source: (-source[1], source[0]))
    shown = [f"{code(address)} {plural(n, 'message')}" for address, n in top[:TOP_SOURCES]]
    more = len(top) - len(shown)
    return lines(shown) + (
        f"\nand {plural(more, 'more address', 'more addresses')}" if more else ""
    )


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
