"""The one place of the scenarios that calls the analysis, as the commands do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dmarckit.cli.analysis import finding_json
from dmarckit.core.settings import Settings
from dmarckit.findings import analysis


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the analysis says at one time."""

    messages: list[dict[Any, Any]]
    """day, domain, header_from, sender, class, messages, …"""
    findings: list[dict[str, Any]]
    """the JSON of ``dmarckit findings``"""
    whole: analysis.Analysis | None = None
    """what pages are made of"""


def analyse(settings: Settings, *, now: datetime, days: int) -> Analysis:
    """Classes and findings at `now`; the findings are recorded, as each run does."""
    seen = analysis.analyse(settings, now=now, days=days, recorded=True)
    rows = seen.facts.messages.to_dict("records")
    return Analysis(rows, [finding_json(item) for item in seen.findings], seen)
