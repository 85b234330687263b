"""Made-up traffic as receivers report it: flows in, reports with their truth out.

The same seed gives the same reports, byte for byte, and what a flow gives does not
depend on the other flows. No message is lost: over a window, the records of a flow sum
to its messages (`messages_on`), unless a reporter has stopped reporting.

What a receiver makes of a message: DMARC evaluation and the disposition.

The rules are those of RFC 7489 section 6.6 and RFC 9989: an identifier is aligned when
it passes and belongs to the author's domain; what fails is treated as the policy asks.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from publicsuffixlist import PublicSuffixList

from dmarckit.demo.flows import Domain, Flow, Reporter, days, on
from dmarckit.demo.reporters import (
    file_name,
    packed,
    period_end,
    policy_shown,
    record_shown,
    to_xml,
)
from dmarckit.reports import AggregateReport, DkimResult, Policy, Reason, Record

_WEAKER = {"reject": "quarantine", "quarantine": "none", "none": "none"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a share of a flow's messages ends at one receiver on one day."""

    share: float
    record: Record
    """without address, ``envelope_to`` and count"""
    expected: str
    """true class"""


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=10_000)
def organisation(domain: str) -> str:
    """The organisational domain.

    >>> organisation("news.shop.example.co.uk")
    'example.co.uk'
    """
    return str(_suffixes().privatesuffix(domain.lower()) or domain.lower())


def aligned(identifier: str | None, author: str, mode: str | None) -> bool:
    """Strict (``s``) asks for the same domain, relaxed for the same organisation."""
    if identifier is None:
        return False
    if mode == "s":
        return identifier.lower() == author.lower()
    return organisation(identifier) == organisation(author)


def governing(domains: Sequence[Domain], author: str) -> Domain:
    """The domain whose DMARC record holds for `author`: its own, or the nearest above."""
    by_name = {d.name: d for d in domains}
    labels = author.lower().split(".")
    for i in range(len(labels)):
        if (found := by_name.get(".".join(labels[i:]))) is not None:
            return found
    raise ValueError(f"no domain has a DMARC record for {author}")


def outcomes(flow: Flow, domain: Domain, reporter: Reporter, day: date) -> list[Outcome]:
    """All ways in which the messages of `flow` end at `reporter`; the shares sum to 1."""
    intact = 1.0 - on(flow.broken, day)
    seen_intact = intact * (1.0 - on(reporter.dkim_broken, day))
    policy = domain.policy(day)
    found = []
    if seen_intact > 0:
        found += _evaluated(flow, flow.dkim, flow.expected, seen_intact, domain, policy, reporter)
    if seen_intact < 1:
        broken = tuple(_broken(signature, flow.broken_result) for signature in flow.dkim)
        expected = flow.expected_broken or flow.expected
        found += _evaluated(flow, broken, expected, 1 - seen_intact, domain, policy, reporter)
    return found


def _broken(signature: DkimResult, result: str) -> DkimResult:
    return replace(signature, result=result) if signature.result == "pass" else signature


def _evaluated(
    flow: Flow,
    dkim: tuple[DkimResult, ...],
    expected: str,
    share: float,
    domain: Domain,
    policy: Policy,
    reporter: Reporter,
) -> list[Outcome]:
    dkim_ok = any(
        s.result == "pass" and aligned(s.domain, flow.header_from, policy.adkim) for s in dkim
    )
    spf_ok = (
        flow.spf is not None
        and flow.spf.result == "pass"
        and flow.spf.scope != "helo"
        and aligned(flow.spf.domain, flow.header_from, policy.aspf)
    )
    passes = dkim_ok or spf_ok
    envelope = flow.envelope_from or (flow.spf.domain if flow.spf else None)
    record = Record(
        source_ip=None,
        messages=0,
        disposition=None,
        dkim_aligned=dkim_ok,
        spf_aligned=spf_ok,
        reasons=flow.reasons,
        header_from=flow.header_from,
        envelope_from=envelope,
        envelope_to=None,
        dkim=dkim,
        spf=(flow.spf,) if flow.spf else (),
    )
    wanted = requested(flow.header_from, domain, policy, np=reporter.style.rfc9990)
    if passes or flow.disposition or flow.reasons:
        enforced = passes and reporter.style.rfc9990 and wanted != "none"
        disposition = flow.disposition or ("pass" if enforced else "none")
        return [Outcome(share, replace(record, disposition=disposition), expected)]
    return [
        Outcome(share * part, replace(record, disposition=action, reasons=why), expected)
        for part, action, why in _applied(wanted, policy, reporter)
    ]


def requested(author: str, domain: Domain, policy: Policy, *, np: bool) -> str:
    """What the policy asks for failing messages of `author` (RFC 9989: np, then sp, then p)."""
    main = policy.p or "none"
    if author == domain.name:
        return main
    if np and policy.np and author not in domain.existing:
        return policy.np
    return policy.sp or main


def _applied(
    wanted: str, policy: Policy, reporter: Reporter
) -> list[tuple[float, str, tuple[Reason, ...]]]:
    """Shares of the failing messages with disposition and reason."""
    weaker = _WEAKER[wanted]
    if reporter.style.rfc9990:
        if policy.testing == "y" and weaker != wanted:
            return [(1.0, weaker, (Reason("policy_test_mode"),))]
        return [(1.0, wanted, ())]
    applied = (100 if policy.pct is None else policy.pct) / 100
    if applied >= 1 or weaker == wanted:
        return [(1.0, wanted, ())]
    spared = (1 - applied, weaker, (Reason("sampled_out"),))
    return [spared] if applied <= 0 else [(applied, wanted, ()), spared]


_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is really behind one record."""

    flow: str
    sender: str
    kind: str
    expected: str
    """class of design section "What it means" """
    messages: int


@dataclass(frozen=True, slots=True)
class GeneratedReport:
    """A report as the reporter writes it, and what is behind each of its records."""

    reporter: Reporter
    report: AggregateReport
    """what a reader of the XML should find"""
    truth: tuple[Truth, ...]
    """one for each record, in the same order"""
    sent: datetime
    """when the reporter mails it, UTC"""

    def xml(self) -> bytes:
        """The document."""
        return to_xml(self.report, self.reporter.style)

    def name(self) -> str:
        """The attachment's file name."""
        return file_name(self.report, self.reporter)

    def attachment(self) -> bytes:
        """The document packed as the reporter packs it."""
        return packed(self.xml(), self.name(), self.reporter.style.packing)


@dataclass(frozen=True, slots=True)
class _Key:
    """Messages of a flow that differ in nothing are one record."""

    address: str
    envelope_to: str
    outcome: Record
    flow: str
    sender: str
    kind: str
    expected: str


def stream(*names: object) -> random.Random:
    """Random numbers of their own for a seed and a purpose."""
    return random.Random("/".join(map(str, names)))  # noqa: S311 - repeatable, not secret


def messages_on(flow: Flow, day: date, seed: int) -> int:
    """Messages of `flow` on `day`, all receivers together."""
    if not _within(day, flow):
        return 0
    usual = on(flow.messages, day) * flow.week[day.weekday()]
    return max(0, round(stream(seed, flow.name, day).gauss(usual, usual * flow.noise)))


def _within(day: date, of: Flow | Reporter) -> bool:
    return (of.since is None or of.since <= day) and (of.until is None or day < of.until)


def split(total: int, weights: Sequence[float], rng: random.Random) -> list[int]:
    """`total` in parts about as large as `weights`; the parts sum to `total`.

    >>> sum(split(10, [1, 1, 5], random.Random(1)))
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
    """All reports about `days_count` days from `start` on, in the order they are sent.

    Raises ValueError for a flow whose author domain has no DMARC record in `domains`.
    """
    window = days(start, days_count)
    counts: dict[tuple[str, str, datetime], dict[_Key, int]] = defaultdict(lambda: defaultdict(int))
    for flow in flows:
        domain = governing(domains, flow.header_from)
        for day in window:
            for reporter, seen in _by_reporter(flow, day, reporters, seed):
                for begin, key, n in _by_record(flow, domain, reporter, day, seen, seed):
                    counts[reporter.org_name, domain.name, begin][key] += n
    by_org = {r.org_name: r for r in reporters}
    by_name = {d.name: d for d in domains}
    made = [
        _report(by_org[org], by_name[domain], begin, rows, seed)
        for (org, domain, begin), rows in counts.items()
    ]
    return sorted(made, key=lambda g: (g.sent, g.reporter.org_name, str(g.report.policy.domain)))


def _by_reporter(
    flow: Flow, day: date, reporters: Sequence[Reporter], seed: int
) -> Iterator[tuple[Reporter, int]]:
    """How many messages each reporter that reports on this day has seen."""
    total = messages_on(flow, day, seed)
    if total == 0 and not (flow.keeps_zero and _within(day, flow)):
        return
    shares = [
        r.share if flow.reporters is None else flow.reporters.get(r.org_name, 0.0)
        for r in reporters
    ]
    parts = split(total, shares, stream(seed, flow.name, day, "reporters"))
    for reporter, share, n in zip(reporters, shares, parts, strict=True):
        if _within(day, reporter) and share > 0 and (n > 0 or flow.keeps_zero):
            yield reporter, n


def _by_record(
    flow: Flow, domain: Domain, reporter: Reporter, day: date, total: int, seed: int
) -> Iterator[tuple[datetime, _Key, int]]:
    """The messages by period, address and outcome."""
    rng = stream(seed, flow.name, day, reporter.org_name)
    addresses = _addresses(flow, day, seed)
    weights = [1 / (i + 2) for i in range(len(addresses))]
    rng.shuffle(weights)
    ends = outcomes(flow, domain, reporter, day)
    recipients = reporter.recipients or (reporter.host,)
    periods = _periods(reporter, day)
    for address, n in zip(addresses, split(total, weights, rng), strict=True):
        recipient = rng.choice(recipients)
        for begin, m in zip(periods, split(n, list(periods.values()), rng), strict=True):
            for end, k in zip(ends, split(m, [e.share for e in ends], rng), strict=True):
                if k > 0 or (flow.keeps_zero and total == 0):
                    yield begin, _key(flow, address, recipient, end), k


def _key(flow: Flow, address: str, recipient: str, end: Outcome) -> _Key:
    sender = flow.sender
    return _Key(address, recipient, end.record, flow.name, sender.name, sender.kind, end.expected)


def _addresses(flow: Flow, day: date, seed: int) -> Sequence[str]:
    """All receivers see the same sources."""
    if callable(flow.addresses):
        found = flow.addresses(day, stream(seed, flow.name, day, "addresses"))
        return list(dict.fromkeys(found))
    return flow.addresses


def _periods(reporter: Reporter, day: date) -> dict[datetime, float]:
    """Begin of each of the reporter's periods that touch the day → hours of the day in it."""
    length = reporter.hours * _HOUR
    midnight = datetime.combine(day, time(), UTC)
    # Periods are counted from a Monday, so that weekly ones are calendar weeks.
    origin = datetime(2020, 1, 6, tzinfo=UTC) + reporter.offset * _HOUR
    begin = origin + (midnight - origin) // length * length
    found = {}
    while begin < midnight + 24 * _HOUR:
        inside = min(begin + length, midnight + 24 * _HOUR) - max(begin, midnight)
        found[begin] = inside / _HOUR
        begin += length
    return found


def _report(
    reporter: Reporter, domain: Domain, begin: datetime, rows: dict[_Key, int], seed: int
) -> GeneratedReport:
    style = reporter.style
    end = begin + reporter.hours * _HOUR
    rng = stream(seed, reporter.org_name, domain.name, begin)
    ordered = sorted(rows.items(), key=lambda item: (-item[1], item[0].address, item[0].flow))
    records = tuple(
        record_shown(
            replace(key.outcome, source_ip=key.address, messages=n, envelope_to=key.envelope_to),
            style,
        )
        for key, n in ordered
    )
    policy = domain.policy((end - _HOUR).date())
    report = AggregateReport(
        reporter=reporter.org_name,
        contact=reporter.contact or f"dmarc-reports@{reporter.host}",
        extra_contact=reporter.extra_contact,
        report_id=_report_id(reporter, domain, begin, end, rng),
        begin=begin,
        end=period_end(end, style),
        policy=policy_shown(replace(policy, domain=domain.name), style),
        generator=style.generator,
        version=style.version,
        records=records,
        record_count=len(records),
        message_count=sum(rows.values()),
    )
    delay = reporter.delivered * rng.uniform(0.75, 1.25)
    truth = tuple(Truth(key.flow, key.sender, key.kind, key.expected, n) for key, n in ordered)
    sent = end + timedelta(seconds=round(delay * 3600))
    return GeneratedReport(reporter, report, truth, sent)


def _report_id(
    reporter: Reporter, domain: Domain, begin: datetime, end: datetime, rng: random.Random
) -> str:
    return reporter.style.report_id.format(
        digits=rng.randrange(10**18, 10**19),
        hex=f"{rng.getrandbits(128):032x}",
        micro=rng.randrange(10**5, 10**6),
        begin=int(begin.timestamp()),
        end=int(end.timestamp()),
        day=f"{begin:%Y%m%d}",
        domain=domain.name,
        host=reporter.host,
    )
