"""What a page looks at: facts and findings as of the end of its window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from dmarckit.core.settings import Settings
from dmarckit.core.window import Window
from dmarckit.findings import find
from dmarckit.findings.analysis import USUAL_DAYS, Analysis, read_facts, read_outside
from dmarckit.findings.findings_ledger import judge, last_run
from dmarckit.lake.lake import Lake


def as_of(window: Window, end: str, now: datetime | None = None) -> datetime:
    """The moment a page is about: now, or for a page with an `end` the end of that day."""
    return window.end if end else now or datetime.now(UTC)


def page_analysis(
    settings: Settings,
    lake: Lake,
    window: Window,
    end: str = "",
    *,
    domains: Sequence[str] = (),
    job: str = "",
    now: datetime | None = None,
) -> Analysis:
    """Facts that cover the window and the one before it, and the findings of the last week.

    Findings are those that ``dmarckit findings`` shows, whatever the length of the window,
    and their status is that against the last recorded run of `job`. A page of some domains is
    compared with what that run said of these domains, so that it tells the same as the page
    of all. Nothing is recorded. Raises LakeError when the lake cannot be read.
    """
    moment = as_of(window, end, now)
    facts = read_facts(settings, lake, moment, 2 * window.days, domains)
    outside = read_outside(settings, lake, moment, USUAL_DAYS, domains)
    found = find(
        facts,
        now=moment,
        days=USUAL_DAYS,
        thresholds=settings.thresholds,
        mute=settings.mute,
        outside=outside,
    )
    last = last_run(lake, job, moment)
    if domains:
        chosen = [name.lower().rstrip(".") for name in domains]
        # what concerns all can be found from some domains, but not be said to be resolved
        about_all = (last["domain"] == "") & last["fingerprint"].isin(
            [f.fingerprint for f in found]
        )
        last = last[last["domain"].isin(chosen) | about_all]
    return Analysis(moment, USUAL_DAYS, facts, judge(found, last), outside)
