"""An analysis whose parts were made apart is that of one process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from dmarckit.core.cluster import Cluster
from dmarckit.core.errors import LakeError
from dmarckit.core.language import speaking
from dmarckit.core.settings import load_settings
from dmarckit.facts.frames import Facts
from dmarckit.facts.load import load_facts
from dmarckit.findings.analysis import analyse
from dmarckit.findings.context import Context
from dmarckit.findings.distributed import analyse_on_cluster, domain_groups
from dmarckit.reports.model import AggregateReport, DkimResult, Record
from tests.support.finished_pages import tls_report
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_failing, make_record

DOMAINS = ("example.com", "news.example.com", "example.net", "example.org", "www.example.org")


class Here:
    """Does the tasks of a cluster in this process, the last one first."""

    threads = 1

    def each(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        for task in reversed(list(tasks)):
            with speaking("en"):  # a worker's own language
                result = function(task)
            yield task, result


HERE = cast(Cluster, Here())


def sent(domain: str, rng: random.Random) -> Record:
    """Mail of a domain, signed with its organisation's key by one of three services."""
    organisation = ".".join(domain.split(".")[-2:])
    service = rng.randrange(3)
    make = make_record if rng.random() < 0.8 else make_failing
    made = make(f"192.0.2.{10 * service + rng.randrange(4)}", rng.randrange(1, 90))
    key = DkimResult(organisation, f"s{service}", "pass" if made.dkim_aligned else "fail")
    return replace(made, header_from=domain, envelope_from=f"b{service}.example", dkim=(key,))


def reports() -> list[AggregateReport]:
    rng = random.Random(7)
    made = []
    for domain in DOMAINS:
        for ago in range(1, 20):
            records = [sent(domain, rng) for _ in range(6)]
            who = rng.choice(("Example Mail", "Other Mail"))
            one = report(*records, domain=domain, days_ago=ago, reporter=who)
            made.append(replace(one, report_id=f"{ago}"))
    long = report(make_record(messages=7), domain="example.net", days_ago=4, days=3)
    return [*made, replace(long, report_id="long")]


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order that does not depend on who made them."""
    texts = frame.assign(**{c: frame[c].astype(str) for c in frame if frame[c].dtype != "float64"})
    return texts.sort_values(list(texts.columns), ignore_index=True)


@pytest.fixture
def facts(tmp_path: Path) -> tuple[Facts, Facts]:
    """The facts of one lake: of one process, and of parts."""
    settings = load_settings(home=str(tmp_path))
    lake = lake_of(tmp_path, *reports(), tls=(tls_report(2),))
    context = Context(NOW, 7, settings.thresholds)
    parts, _ = analyse_on_cluster(HERE, lake, settings, context, back=90)
    return load_facts(lake, NOW, settings=settings), parts


def test_every_frame_is_the_same(facts: tuple[Facts, Facts]) -> None:
    whole, parts = facts
    assert (whole.now, whole.start) == (parts.now, parts.start)
    for each in fields(Facts)[2:]:
        one, other = getattr(whole, each.name), getattr(parts, each.name)
        assert list(one.dtypes.astype(str)) == list(other.dtypes.astype(str)), each.name
        pd.testing.assert_frame_equal(plain(other), plain(one), obj=each.name)
    assert len(whole.messages["domain"].unique()) == len(DOMAINS)
    assert not whole.tls.empty


@pytest.mark.parametrize("days_silent", [0, 6])
def test_the_findings_are_the_same(days_silent: int, tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path), language="ja")
    lake = lake_of(tmp_path, *reports(), tls=(tls_report(2),))
    now = NOW + timedelta(days=days_silent)
    whole = analyse(settings, lake, now=now).findings
    parts = analyse(settings, lake, now=now, cluster=HERE).findings
    assert {j.finding.kind for j in whole} >= ({"ingest_broken"} if days_silent else set())
    assert len({j.finding.domain for j in whole}) > 1
    assert parts == whole


def test_an_empty_lake_gives_empty_facts(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path))
    context = Context(NOW, 7, settings.thresholds)
    made, found = analyse_on_cluster(HERE, lake_of(tmp_path), settings, context, back=90)
    assert found == []
    assert made.messages.empty
    assert made.messages["domain"].dtype == "category"


def test_what_a_worker_raises_is_raised(tmp_path: Path) -> None:
    class Failing(Here):
        def each(self, function: Any, tasks: Iterable[Any]) -> Iterator[Any]:
            yield from ((task, LakeError("no")) for task in tasks)

    lake = lake_of(tmp_path, *reports()[:1])
    with pytest.raises(LakeError, match="no"):
        analyse(load_settings(home=str(tmp_path)), lake, cluster=cast(Cluster, Failing()), now=NOW)


def test_groups_hold_whole_organisations_and_every_domain_once() -> None:
    reported = pd.Series([*DOMAINS, *DOMAINS[:2], *(f"d{i}.example" for i in range(250))])
    groups = domain_groups(reported, 2)
    assert sorted(name for group in groups for name in group) == sorted(set(reported))
    assert [g for g in groups if "example.com" in g] == [g for g in groups if DOMAINS[1] in g]
    assert max(map(len, groups)) <= 100
