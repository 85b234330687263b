"""What a receiver makes of a message: DMARC evaluation and the disposition.

The rules are those of RFC 7489 section 6.6 and RFC 9989: an identifier is aligned when
it passes and belongs to the author's domain; what fails is treated as the policy asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

from publicsuffixlist import PublicSuffixList

from dmarckit.demo.flows import Domain, Flow, Reporter, on
from dmarckit.reports.models import DkimResult, Policy, Reason, Record

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
