"""The one place of the scenarios that calls the analysis, as the commands do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dmarckit import facts
from dmarckit.completeness import complete_days
from dmarckit.findings import find
from dmarckit.findings_ledger import record
from dmarckit.lake import Lake
from dmarckit.settings import Settings


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the analysis says at one time."""

    messages: list[dict[str, Any]]
    """day, domain, header_from, sender, class, messages"""
    findings: list[dict[str, Any]]
    """fields of each finding, with its status"""


def analyse(settings: Settings, *, now: datetime, days: int) -> Analysis:
    """Classes and findings at `now`; the findings are recorded, as each run does."""
    lake = Lake(settings.lake_url)
    known = facts.load(lake, now, domains=settings.domain_names or None, settings=settings)
    found = find(known, now=now, days=days, mute=settings.mute, complete=complete_days(known))
    judged = record(lake, found, run=now.isoformat(), job="", now=now)
    return Analysis(
        known.messages.to_dict("records"),
        [{**as_dict(item.finding), "status": item.status} for item in judged],
    )


def as_dict(finding: Any) -> dict[str, Any]:
    """What the scenarios compare of a finding."""
    names = ("kind", "domain", "subject", "severity", "messages", "summary", "action")
    return {
        **{name: getattr(finding, name) for name in names},
        "evidence": dict(finding.evidence),
        "muted": finding.muted,
    }
