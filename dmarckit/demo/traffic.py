"""Made-up traffic as receivers report it: flows in, reports with their truth out.

The same seed gives the same reports, byte for byte, and what a flow gives does not depend on
the other flows. No message is lost, unless a reporter has stopped reporting. What a receiver
makes of a message follows RFC 7489 section 6.6 and RFC 9989.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from dmarckit.core import normalize_domain
from dmarckit.demo.flows import Domain, Flow, Reporter, on
from dmarckit.demo.reporters import packed, policy_shown, record_shown, to_xml
from dmarckit.facts import organisation
from dmarckit.reports import AggregateReport, Policy, Reason, Record

_HOUR = timedelta(hours=1)


def aligned(identifier: str | None, author: str, mode: str | None) -> bool:
    """Return True if the domain is the author's (strict, ``s``) or of its organisation."""
    if identifier is None:
        return False
    if mode == "s":
        return normalize_domain(identifier) == normalize_domain(author)
    return organisation(identifier) == organisation(author)


def outcomes(
    flow: Flow, domain: Domain, reporter: Reporter, day: date
) -> Iterator[tuple[float, Record, str]]:
    """Yield all ways in which the messages of `flow` end at `reporter` on one day.

    Each is a share of the messages (they sum to 1), its record without address, ``envelope_to``
    and count, and its true class.
    """
    intact = (1.0 - on(flow.broken, day)) * (1.0 - on(reporter.dkim_broken, day))
    policy, author, spf = domain.policy(day), flow.header_from, flow.spf
    sent_by = spf.domain if spf and spf.result == "pass" and spf.scope != "helo" else None
    unsigned = Record(
        source_ip=None,
        messages=0,
        disposition=None,
        dkim_aligned=False,
        spf_aligned=aligned(sent_by, author, policy.aspf),
        reasons=flow.reasons,
        header_from=author,
        envelope_from=flow.envelope_from or (spf.domain if spf else None),
        envelope_to=None,
        dkim=(),
        spf=(spf,) if spf else (),
    )
    passing = [s for s in flow.dkim if s.result == "pass"]
    broken = tuple(replace(s, result=flow.broken_result) if s in passing else s for s in flow.dkim)
    for share, dkim, expected in (
        (intact, flow.dkim, flow.expected),
        (1 - intact, broken, flow.expected_broken or flow.expected),
    ):
        good = [s.domain for s in dkim if s.result == "pass"]
        found = any(aligned(signer, author, policy.adkim) for signer in good)
        record = replace(unsigned, dkim_aligned=found, dkim=dkim)
        if share > 0:
            for part, action, why in _treated(record, flow, domain, policy, reporter):
                yield share * part, replace(record, disposition=action, reasons=why), expected


def _treated(
    record: Record, flow: Flow, domain: Domain, policy: Policy, reporter: Reporter
) -> list[tuple[float, str, tuple[Reason, ...]]]:
    modern, wanted = reporter.style.rfc9990, policy.p or "none"
    if flow.header_from != domain.name:  # RFC 9989: np, sp, p
        missing = modern and flow.header_from not in domain.existing
        wanted = (policy.np if missing else None) or policy.sp or wanted
    if record.passes or flow.disposition or flow.reasons:
        enforced = record.passes and modern and wanted != "none"
        return [(1.0, flow.disposition or ("pass" if enforced else "none"), record.reasons)]
    weaker = {"reject": "quarantine", "quarantine": "none", "none": "none"}[wanted]
    if modern and policy.testing == "y" and weaker != wanted:
        return [(1.0, weaker, (Reason("policy_test_mode"),))]
    applied = 1.0 if modern or policy.pct is None else policy.pct / 100
    if applied >= 1 or weaker == wanted:
        return [(1.0, wanted, ())]
    spared = (1 - applied, weaker, (Reason("sampled_out"),))
    return [spared] if applied <= 0 else [(applied, wanted, ()), spared]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is really behind one record."""

    flow: str
    sender: str
    kind: str
    expected: str  # class of design section "What it means"
    messages: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedReport:
    """A report as the reporter writes it, and what is behind each of its records."""

    reporter: Reporter
    report: AggregateReport  # what a reader of the XML should find
    truth: tuple[Truth, ...]  # one for each record, in the same order
    sent: datetime  # when the reporter mails it, UTC

    def xml(self) -> bytes:
        """Return the document."""
        return to_xml(self.report, self.reporter.style)

    def name(self) -> str:
        """Return the attachment's file name."""
        style = self.reporter.style
        return style.file_name.format(
            host=self.reporter.host,
            domain=self.report.policy.domain,
            begin=int(self.report.begin.timestamp()),
            end=int(self.report.end.timestamp()),
            ext={"gz": "xml.gz", "zip": "zip", "xml": "xml"}[style.packing],
            report_id=self.report.report_id,
        )

    def attachment(self) -> bytes:
        """Return the document packed as the reporter packs it."""
        return packed(self.xml(), self.name(), self.reporter.style.packing)


class _Key(NamedTuple):
    """Messages of a flow that differ in nothing are one record."""

    address: str
    envelope_to: str
    outcome: Record
    truth: Truth  # without messages


def stream(*names: object) -> random.Random:
    """Return random numbers of their own for a seed and a purpose."""
    return random.Random("/".join(map(str, names)))  # noqa: S311 - repeatable, not secret


def messages_on(flow: Flow, day: date, seed: int) -> int:
    """Return the messages of `flow` on `day`, all receivers together."""
    if not _within(day, flow):
        return 0
    usual = on(flow.messages, day) * flow.week[day.weekday()]
    return max(0, round(stream(seed, flow.name, day).gauss(usual, usual * flow.noise)))


def _within(day: date, of: Flow | Reporter) -> bool:
    return (of.since is None or of.since <= day) and (of.until is None or day < of.until)


def split_total(total: int, weights: Sequence[float], rng: random.Random) -> list[int]:
    """Return `total` in parts about as large as `weights`; the parts sum to `total`.

    >>> sum(split_total(10, [1, 1, 5], random.Random(1)))
    10
    """
    whole = sum(weights)
    if whole <= 0:
        raise ValueError("the weights must sum to more than 0")
    parts = [int(total * w / whole) for w in weights]
    for i in rng.choices(range(len(weights)), weights, k=total - sum(parts)):
        parts[i] += 1
    return parts


def reports(
    domains: Sequence[Domain],
    flows: Sequence[Flow],
    reporters: Sequence[Reporter],
    start: date,
    days_count: int,
    seed: int,
) -> list[GeneratedReport]:
    """Return all reports about `days_count` days from `start` on, in the order they are sent.

    ValueError is raised where a flow's author domain has no DMARC record in `domains`.
    """
    counts: dict[tuple[Reporter, Domain, datetime], Counter[_Key]] = defaultdict(Counter)
    for flow in flows:
        author = f".{normalize_domain(flow.header_from)}"
        above = [d for d in domains if author.endswith(f".{d.name}")]
        if not above:
            raise ValueError(f"no domain has a DMARC record for {flow.header_from}")
        domain = max(above, key=lambda domain: len(domain.name))  # its own, or the nearest above
        for day in (start + timedelta(i) for i in range(days_count)):
            for reporter, seen in _by_reporter(flow, day, reporters, seed):
                for begin, key, n in _by_record(flow, domain, reporter, day, seen, seed):
                    counts[reporter, domain, begin][key] += n
    made = [_report(*key, rows, seed) for key, rows in counts.items()]
    return sorted(made, key=lambda g: (g.sent, g.reporter.org_name, str(g.report.policy.domain)))


def _by_reporter(
    flow: Flow, day: date, reporters: Sequence[Reporter], seed: int
) -> Iterator[tuple[Reporter, int]]:
    total = messages_on(flow, day, seed)
    if total == 0 and not (flow.keeps_zero and _within(day, flow)):
        return
    shares = [r.share for r in reporters]
    if flow.reporters is not None:
        shares = [flow.reporters.get(r.org_name, 0.0) for r in reporters]
    parts = split_total(total, shares, stream(seed, flow.name, day, "reporters"))
    for reporter, share, n in zip(reporters, shares, parts, strict=True):
        if _within(day, reporter) and share > 0 and (n > 0 or flow.keeps_zero):
            yield reporter, n


def _by_record(
    flow: Flow, domain: Domain, reporter: Reporter, day: date, total: int, seed: int
) -> Iterator[tuple[datetime, _Key, int]]:
    rng = stream(seed, flow.name, day, reporter.org_name)
    addresses = flow.addresses
    if callable(addresses):  # all receivers see the same sources
        found = addresses(day, stream(seed, flow.name, day, "addresses"))
        addresses = tuple(dict.fromkeys(found))
    weights = [1 / (i + 2) for i in range(len(addresses))]
    rng.shuffle(weights)
    ends = list(outcomes(flow, domain, reporter, day))
    recipients = reporter.recipients or (reporter.host,)
    periods = _periods(reporter, day)
    for address, n in zip(addresses, split_total(total, weights, rng), strict=True):
        recipient = rng.choice(recipients)
        for begin, m in zip(periods, split_total(n, list(periods.values()), rng), strict=True):
            parts = split_total(m, [share for share, *_ in ends], rng)
            for (_, record, expected), k in zip(ends, parts, strict=True):
                if k > 0 or (flow.keeps_zero and total == 0):
                    truth = Truth(flow.name, flow.sender.name, flow.sender.kind, expected)
                    yield begin, _Key(address, recipient, record, truth), k


def _periods(reporter: Reporter, day: date) -> dict[datetime, float]:
    """Return the begin of each of the reporter's periods of the day → hours of the day in it."""
    length = reporter.hours * _HOUR
    midnight = datetime.combine(day, time(), UTC)
    # Periods are counted from a Monday, so that weekly ones are calendar weeks.
    origin = datetime(2020, 1, 6, tzinfo=UTC) + reporter.offset * _HOUR
    begin = origin + (midnight - origin) // length * length
    found = {}
    while begin < (end := midnight + 24 * _HOUR):
        found[begin] = (min(begin + length, end) - max(begin, midnight)) / _HOUR
        begin += length
    return found


def _report(
    reporter: Reporter, domain: Domain, begin: datetime, rows: dict[_Key, int], seed: int
) -> GeneratedReport:
    style = reporter.style
    end = begin + reporter.hours * _HOUR
    rng = stream(seed, reporter.org_name, domain.name, begin)
    ordered = sorted(rows.items(), key=lambda item: (-item[1], item[0].address, item[0].truth.flow))
    records = []
    for key, n in ordered:
        record = replace(key.outcome, source_ip=key.address, messages=n)
        record = replace(record, envelope_to=key.envelope_to)
        records.append(record_shown(record, style))
    policy = replace(domain.policy((end - _HOUR).date()), domain=domain.name)
    report = AggregateReport(
        reporter=reporter.org_name,
        contact=reporter.contact or f"dmarc-reports@{reporter.host}",
        extra_contact=reporter.extra_contact,
        report_id=style.report_id.format(
            digits=rng.randrange(10**18, 10**19),
            hex=f"{rng.getrandbits(128):032x}",
            micro=rng.randrange(10**5, 10**6),
            begin=int(begin.timestamp()),
            end=int(end.timestamp()),
            day=f"{begin:%Y%m%d}",
            domain=domain.name,
            host=reporter.host,
        ),
        begin=begin,
        end=end - timedelta(seconds=style.last_second),
        policy=policy_shown(policy, style),
        generator=style.generator,
        version=style.version or None,
        records=tuple(records),
        record_count=len(records),
        message_count=sum(rows.values()),
    )
    delay = reporter.delivered * rng.uniform(0.75, 1.25)
    truth = tuple(replace(key.truth, messages=n) for key, n in ordered)
    sent = end + timedelta(seconds=round(delay * 3600))
    return GeneratedReport(reporter, report, truth, sent)
