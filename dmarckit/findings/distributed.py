"""The analysis on a Dask cluster: each task finds what concerns the domains of some organisations.

The owner of a signature follows from all domains of an organisation, and from no other: they
stay together, so that the facts are those of one process. Small tables (reports, policies, TLS,
mails) are read by the caller, who also finds what concerns all domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pandas as pd
from pandas.api.types import union_categoricals

from dmarckit import facts
from dmarckit.core import Cluster, Settings, speaking, without_secrets
from dmarckit.facts import COLUMNS, LISTS, Facts
from dmarckit.findings.context import Context
from dmarckit.findings.find import find_by_domain
from dmarckit.findings.model import Finding
from dmarckit.lake import Lake

_TASKS = 3  # a worker's thread: small enough that none waits long for the last
_MOST_DOMAINS = 100  # of a task: the lake leaves out files that hold none of so many


@dataclass(frozen=True)
class _Task:
    """The domains of one task, as it goes to a worker."""

    settings: Settings
    lake_url: str
    back: int  # days of facts
    context: Context
    domains: tuple[str, ...]
    complete: pd.DataFrame = field(repr=False)  # their complete days, as all reports show them


def analyse_on_cluster(
    cluster: Cluster,
    lake: Lake,
    settings: Settings,
    context: Context,
    back: int,
    domains: Sequence[str] | None = None,
) -> tuple[Facts, list[Finding]]:
    """Load facts of `back` days, and find by domain in the window of `context`, on a cluster.

    Raises:
        ClusterError: the cluster is lost.
        LakeError: the lake cannot be read.
    """
    lists = facts.load_lists(lake, context.now, back, domains, settings=settings)
    complete = facts.complete_days(lists)
    task_settings, url = without_secrets(settings), lake.location.url
    groups = domain_groups(lists.reports["domain"], _TASKS * cluster.threads)
    parts = (
        _Task(task_settings, url, back, context, group, complete[complete["domain"].isin(group)])
        for group in groups
    )
    done: dict[tuple[str, ...], tuple[Facts, list[Finding]]] = {}
    for part, result in cluster.each(_analyse, parts):
        if isinstance(result, Exception):
            raise result
        done[part.domains] = result
    joined = _joined(lists, [done[group][0] for group in groups])
    return joined, [finding for group in groups for finding in done[group][1]]


def domain_groups(reported: pd.Series[Any], tasks: int) -> list[tuple[str, ...]]:
    """Return the domains of reports (one value a report) in groups of about equal reports.

    Organisations stay whole. Neighbours by name are together, since the lake keeps them so.

    >>> domain_groups(pd.Series(["b.example", "a.example", "x.a.example", "b.example"]), 2)
    [('a.example', 'x.a.example'), ('b.example',)]
    """
    reports = reported.value_counts()
    members: dict[str, list[str]] = {}
    for name in sorted(str(name) for name in reports.index):
        members.setdefault(facts.organisation(name), []).append(name)
    share = max(reports.sum() / max(tasks, 1), 1)
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    weight = 0
    for names in members.values():
        group += names
        weight += int(reports[names].sum())
        if weight >= share or len(group) >= _MOST_DOMAINS:
            groups.append(tuple(group))
            group, weight = [], 0
    return [*groups, tuple(group)] if group else groups


def _analyse(part: _Task) -> tuple[Facts, list[Finding]]:
    """Return the facts of a task's domains, without the lists, and what is found there."""
    lake, now = Lake(part.lake_url), part.context.now
    hosts = facts.host_names(lake)
    loaded = facts.load_facts(
        lake, now, part.back, part.domains, settings=part.settings, hosts=hosts
    )
    with speaking(part.settings.language):
        found = find_by_domain(loaded, part.context, part.complete)
    return replace(loaded, **{name: getattr(loaded, name).iloc[:0] for name in LISTS}), found


def _joined(lists: Facts, parts: Sequence[Facts]) -> Facts:
    if not parts:
        return lists
    names = [f.name for f in fields(Facts) if f.name in COLUMNS and f.name not in LISTS]
    frames = {name: _rows(name, [getattr(part, name) for part in parts]) for name in names}
    frames["beyond"] = _rows("beyond", [lists.beyond, frames["beyond"]])
    given = {name: getattr(lists, name) for name in LISTS}
    return facts.empty_facts(lists.now, lists.start, **given, **frames)


def _rows(name: str, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all; `concat` alone would make plain texts of categoricals."""
    columns: dict[str, Any] = {}
    for column, kind in COLUMNS[name].items():
        values = [part[column] for part in parts]
        if kind == "category":
            columns[column] = union_categoricals(values, sort_categories=True)
        else:
            columns[column] = pd.concat(values, ignore_index=True)
    return facts.typed(name, pd.DataFrame(columns))
