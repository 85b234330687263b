"""Facts made on a Dask cluster: each task reduces the records of some organisations.

Who owns a signature is said by all domains of an organisation together, and by no other:
domains of one organisation stay together, so that the facts are those of one process. What is
small as it is (reports, policies, TLS, mails) is read by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import pandas as pd
from pandas.api.types import union_categoricals

from dmarckit.cluster import Cluster, without_secrets
from dmarckit.facts import COLUMNS, Facts, load, load_lists
from dmarckit.facts_frames import empty_facts, typed
from dmarckit.lake import Lake
from dmarckit.organisation import organisation
from dmarckit.ptr import host_names
from dmarckit.settings import Settings

LISTS = ("policies", "reports", "tls", "mails")
TASKS = 3  # a worker's thread: small enough that none waits long for the last
MOST_DOMAINS = 100
"""of a task: the lake leaves out files that hold none of so many"""


@dataclass(frozen=True)
class _Part:
    """The domains of one task, as it goes to a worker."""

    settings: Settings
    lake_url: str
    now: datetime
    days: int
    domains: tuple[str, ...]


def load_on(
    cluster: Cluster,
    lake: Lake,
    now: datetime,
    days: int = 90,
    domains: Sequence[str] | None = None,
    *,
    settings: Settings,
) -> Facts:
    """`facts.load` with the records read by the workers of a cluster.

    Raises what `load` raises, and ClusterError when the cluster is lost.
    """
    lists = load_lists(lake, now, days, domains)
    told, url = without_secrets(settings), lake.location.url
    groups = domain_groups(lists.reports["domain"], TASKS * cluster.threads)
    parts = [_Part(told, url, now, days, group) for group in groups]
    found: dict[tuple[str, ...], Facts] = {}
    for part, facts in cluster.each(_load, parts):
        if isinstance(facts, Exception):
            raise facts
        found[part.domains] = facts
    return _joined(lists, [found[group] for group in groups])


def domain_groups(reported: pd.Series[Any], tasks: int) -> list[tuple[str, ...]]:
    """The domains that reports are about (one value a report) in groups of about equal reports.

    Organisations stay whole. Neighbours by name are together, since the lake keeps them so.

    >>> domain_groups(pd.Series(["b.example", "a.example", "x.a.example", "b.example"]), 2)
    [('a.example', 'x.a.example'), ('b.example',)]
    """
    reports = reported.value_counts()
    members: dict[str, list[str]] = {}
    for name in sorted(str(name) for name in reports.index):
        members.setdefault(organisation(name), []).append(name)
    share = max(reports.sum() / max(tasks, 1), 1)
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    weight = 0
    for names in members.values():
        group += names
        weight += int(reports[names].sum())
        if weight >= share or len(group) >= MOST_DOMAINS:
            groups.append(tuple(group))
            group, weight = [], 0
    return [*groups, tuple(group)] if group else groups


def _load(part: _Part) -> Facts:
    """On a worker: the facts of its domains, without the lists."""
    lake = Lake(part.lake_url)
    hosts = host_names(lake)
    facts = load(lake, part.now, part.days, part.domains, settings=part.settings, hosts=hosts)
    return replace(facts, **{name: getattr(facts, name).iloc[:0] for name in LISTS})


def _joined(lists: Facts, parts: Sequence[Facts]) -> Facts:
    if not parts:
        return lists
    names = [f.name for f in fields(Facts) if f.name in COLUMNS and f.name not in LISTS]
    frames = {name: _rows(name, [getattr(part, name) for part in parts]) for name in names}
    given = {name: getattr(lists, name) for name in LISTS}
    return empty_facts(lists.now, lists.start, **given, **frames)


def _rows(name: str, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all; categoricals with the names of all, which `concat` makes plain texts."""
    columns: dict[str, Any] = {}
    for column, kind in COLUMNS[name].items():
        values = [part[column] for part in parts]
        if kind == "category":
            columns[column] = union_categoricals(values, sort_categories=True)
        else:
            columns[column] = pd.concat(values, ignore_index=True)
    return typed(name, pd.DataFrame(columns))
