"""The analysis in one call: facts of the lake, findings, and their status.

Commands, jobs and notebooks all call these functions, so that they show the same.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from dmarckit import core
from dmarckit.checks import Outside, load_outside
from dmarckit.core import Settings, Window, _, ngettext, normalize_domain
from dmarckit.facts import Facts, history_of, host_names, load_facts
from dmarckit.findings import ledger
from dmarckit.findings.context import Context
from dmarckit.findings.distributed import analyse_on_cluster
from dmarckit.findings.find import find, how_ended, published_records
from dmarckit.findings.model import HANDED, Finding, join_names, join_sentences
from dmarckit.lake import Lake

USUAL_DAYS = 7
_READ = (
    "reports", "records", "mails", "tls", "dead_letters", "findings", "dns", "postmaster",
    "senders", "ptr",
)  # fmt: skip
"""tables that an analysis is made of"""


@dataclass(frozen=True)
class Analysis:
    """Facts, checks and findings as of one moment."""

    now: datetime
    days: int
    """days before `now` that the findings are about"""
    facts: Facts
    findings: list[ledger.LedgerEntry]
    """the most urgent first, muted and resolved ones last"""
    outside: Outside
    """what Postmaster Tools and DNS say"""
    asked: tuple[Any, ...] = ()
    """what it answers and the versions of the tables it was made of, where it is handed on"""


def read_facts(
    settings: Settings, lake: Lake, now: datetime, days: int, domains: Sequence[str] = ()
) -> Facts:
    """Read the facts of these domains, else of those in the settings, else of all.

    Raises:
        LakeError: the lake cannot be read.
    """
    chosen = _chosen(settings, domains) or None
    return load_facts(
        lake, now, history_of(days), chosen, settings=settings, hosts=host_names(lake)
    )


def _chosen(settings: Settings, domains: Sequence[str]) -> list[str]:
    return [normalize_domain(name) for name in domains] or list(settings.domain_names)


def read_outside(
    settings: Settings, lake: Lake, now: datetime, days: int, domains: Sequence[str] = ()
) -> Outside:
    """Read what Postmaster Tools and DNS say about the domains that `read_facts` reads.

    Raises:
        LakeError: the lake cannot be read.
    """
    return load_outside(lake, _chosen(settings, domains), now, days)


def _find(
    settings: Settings,
    facts: Facts,
    outside: Outside,
    now: datetime,
    days: int,
    last: pd.DataFrame,
    of_domains: Sequence[Finding] | None = None,
) -> list[Finding]:
    return find(
        facts,
        now=now,
        days=days,
        thresholds=settings.thresholds,
        mute=settings.mute,
        outside=outside,
        of_domains=of_domains,
        before=ledger.open_before(last),
    )


def analyse(
    settings: Settings | None = None,
    lake: Lake | None = None,
    *,
    now: datetime | None = None,
    days: int = USUAL_DAYS,
    domains: Sequence[str] = (),
    job: str = "",
    run: str | None = None,
    recorded: bool = False,
    cluster: core.Cluster | None = None,
) -> Analysis:
    """Return facts and findings as of `now`, compared with the last run of the same job.

    Runs are compared with runs of the same job, days and domains only, or an analysis of one
    domain would resolve the findings of all others. With `recorded` this run is written to
    the ledger, and the next is compared with it; `run` names it (a schedule's id), without
    which the same analysis at the same moment is the same run. The workers of a `cluster`
    share the domains between them.
    """
    settings = settings or core.load_settings()
    lake = lake or Lake(settings.lake_url)
    now = now or datetime.now(UTC)
    outside = read_outside(settings, lake, now, days, domains)
    of_domains = None
    if cluster is None:
        facts = read_facts(settings, lake, now, days, domains)
    else:
        chosen = _chosen(settings, domains) or None
        context = Context(now, days, settings.thresholds, published_records(outside.dns))
        facts, of_domains = analyse_on_cluster(
            cluster, lake, settings, context, history_of(days), chosen
        )
    scope = job
    if domains or days != USUAL_DAYS:
        scope = f"{job} days={days} domains={','.join(sorted(domains))}".strip()
    last = ledger.last_run(lake, scope, now)
    found = _find(settings, facts, outside, now, days, last, of_domains)
    ended = how_ended(facts, Context(now, days, settings.thresholds))
    if recorded:
        name = run or f"{scope}@{now.isoformat()}"
        entries = ledger.record_findings(lake, found, run=name, job=scope, now=now, ended=ended)
    else:
        entries = ledger.assign_status(found, last, ended)
    return Analysis(now, days, facts, entries, outside)


_LEFT_OUT = """
    SELECT domain, count(*) AS reports, sum(messages) AS messages FROM (
        SELECT domain, messages, begin, "end" FROM reports
        UNION ALL SELECT policy_domain, 0, begin, "end" FROM tls
    ) WHERE begin < $end AND "end" > $start GROUP BY domain
"""


def left_out(settings: Settings, lake: Lake, facts: Facts, start: datetime, end: datetime) -> str:
    """Return in words which reports of [start, end) no finding rests on; empty: none.

    They are about domains that the settings do not name, or name no domain; or there are too many
    domains, or too many names in one.

    Raises:
        LakeError: the lake cannot be read.
    """
    rows = lake.arrow(_LEFT_OUT, start=start, end=end).to_pylist()
    names = set(settings.domain_names)
    others = [r for r in rows if r["domain"] and normalize_domain(r["domain"]) not in names]
    about = _("{reports} with {messages} about domains that the settings do not name.")
    nameless = _("{reports} with {messages} name no domain.")
    return join_sentences(
        too_many(facts.beyond),
        *(
            text.format(
                reports=core.n_reports(sum(row["reports"] for row in some)),
                messages=core.n_messages(sum(row["messages"] or 0 for row in some)),
            )
            for text, some in (
                (about, others if names else []),
                (nameless, [row for row in rows if not row["domain"]]),
            )
            if some
        ),
    )


def too_many(beyond: pd.DataFrame) -> str:
    """Return in words the domains, and the names within domains, of `Facts.beyond`; empty: none."""
    domains, names = beyond[beyond["what"] == "domain"], beyond[beyond["what"] != "domain"]
    of_domains = ngettext(
        "{n} more domain with {messages} is not looked at: name yours in the setting domains.",
        "{n} more domains with {messages} are not looked at: name yours in the setting domains.",
        int(domains["names"].sum()),
    )
    within = ngettext(
        "{n} more name (of signatures, SPF domains, reporters or errors) with {messages} at "
        "{domains} is not looked at: only the largest of each kind are.",
        "{n} more names (of signatures, SPF domains, reporters or errors) with {messages} at "
        "{domains} are not looked at: only the largest of each kind are.",
        int(names["names"].sum()),
    )
    most = names.sort_values("names", ascending=False)["domain"].unique()
    return join_sentences(
        _counted(of_domains, domains), _counted(within, names, domains=join_names(list(most)))
    )


def _counted(text: str, rows: pd.DataFrame, **words: str) -> str:
    if rows.empty:
        return ""
    n, messages = (int(rows[name].sum()) for name in ("names", "messages"))
    return text.format(n=core.count(n), messages=core.n_messages(messages), **words)


def as_of(window: Window, end: str, now: datetime | None = None) -> datetime:
    """Return the moment of a page: now, or for a page with an `end` the end of that day."""
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
    hand_on: bool = False,
) -> Analysis:
    """Return facts that cover the window and the one before it, and findings of the last week.

    Findings are those that ``dmarckit findings`` shows, whatever the length of the window,
    and their status is that against the last recorded run of `job`. A page of some domains is
    compared with that run's findings of these domains, so that it shows the same as the page
    of all. Nothing is recorded.

    The kernel of a run's page takes over what the run has made, to `hand_on`: when it asks the
    same and no table has changed. Compared with another `job` it finds anew, in the same facts.

    Raises:
        LakeError: the lake cannot be read.
    """
    left = Path(os.environ.get(HANDED, ""))
    asked: tuple[Any, ...] = ()
    if hand_on or left.is_file():
        opened = {name: lake.location.open(name) for name in _READ}
        versions = {name: table and table.version() for name, table in opened.items()}
        asked = (core.without_secrets(settings), core.current_language(), lake.location.url)
        asked = (*asked, versions, window, end, tuple(domains), job)
    found: Analysis | None = None
    if not hand_on and left.is_file():
        found = pickle.loads(left.read_bytes())  # noqa: S301 (the run wrote it)
        if found.asked == asked:
            return found
    if found and found.asked[:-1] == asked[:-1]:  # it differs in the job alone
        moment, facts, outside = found.now, found.facts, found.outside
    else:
        moment = as_of(window, end, now)
        facts = read_facts(settings, lake, moment, 2 * window.days, domains)
        outside = read_outside(settings, lake, moment, USUAL_DAYS, domains)
    last = ledger.last_run(lake, job, now or moment)
    mine = last["domain"].isin(_chosen(settings, domains)) | (not domains)
    listed = _find(settings, facts, outside, moment, USUAL_DAYS, last[mine])
    # what concerns all can be found from some domains, but not be said to be resolved
    fingerprints = [f.fingerprint for f in listed]
    last = last[mine | ((last["domain"] == "") & last["fingerprint"].isin(fingerprints))]
    ended = how_ended(facts, Context(moment, USUAL_DAYS, settings.thresholds))
    entries = ledger.assign_status(listed, last, ended)
    return Analysis(moment, USUAL_DAYS, facts, entries, outside, asked)
