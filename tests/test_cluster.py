"""Work on a Dask cluster gives what one process gives, whatever happens to the workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dmarckit.cluster import connected
from dmarckit.cluster_check import cluster_of
from dmarckit.demo.mails import GeneratedMail
from dmarckit.errors import ClusterError
from dmarckit.ingest import ingest
from dmarckit.lake import Lake
from dmarckit.settings import Settings, load_settings
from dmarckit.storage import open_storage
from tests.benchmarks.data import write_long_mail
from tests.dask_cluster import dask_processes
from tests.test_ingest import assert_same, fill, sample, tables  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.s3]

LONG = 12_000  # records: more than a worker keeps in memory


@pytest.fixture
def settings(bucket: str, sample: list[GeneratedMail], tmp_path: Path) -> Settings:  # noqa: F811
    """A bucket with the sample's mails, and a report that is too long for memory."""
    made = load_settings(home=bucket, trust="any", workers=1)
    mails = open_storage(made.mail_url)
    fill(mails, sample)
    write_long_mail(tmp_path / "long.eml", LONG)
    raw = (tmp_path / "long.eml").read_bytes()
    mails.put("long", raw, content_type="message/rfc822")
    return made


def alone(settings: Settings) -> Settings:
    """The same mails read by this process, into a lake of its own."""
    other = settings.model_copy(update={"lake": f"{settings.home}/alone", "exports": "none"})
    ingest(other)
    return other


def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.ingest_dispatch.CHUNK", 4)
    monkeypatch.setattr("dmarckit.ingest_commit.BATCH_MAILS", 20)
    with dask_processes(tmp_path) as processes:
        with cluster_of(settings, "mail", processes.address) as cluster:
            cluster.client.wait_for_workers(2, timeout=60)
            held = []

            def kill(done: int, total: int, outcomes: Counter[str]) -> None:
                if done >= 20 and not held:
                    assert done < total / 2
                    held.append(cluster.client.has_what())
                    processes.workers[0].kill()

            result = ingest(settings, executor=cluster, progress=kill)
            assert len(cluster.client.nthreads()) == 1
        assert all(held[0].values()), "each worker had results that were not fetched yet"
        assert result.outcomes.total() == len(list(open_storage(settings.mail_url).list()))
        with connected(processes.address) as cluster:
            assert ingest(settings, executor=cluster).outcomes.total() == 0
    assert_same(tables(settings), tables(alone(settings)))
    assert Lake(settings.lake_url).sql("SELECT max(records) AS n FROM reports").loc[0, "n"] == LONG


def test_without_the_scheduler_the_work_stops_and_the_next_run_goes_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.ingest_dispatch.CHUNK", 4)
    monkeypatch.setattr("dmarckit.ingest_commit.BATCH_MAILS", 20)
    with dask_processes(tmp_path, workers=1) as processes:

        def kill(done: int, total: int, outcomes: Counter[str]) -> None:
            if outcomes:
                processes.scheduler.kill()

        with (
            pytest.raises(ClusterError, match=r"the scheduler was lost .* goes on from there"),
            cluster_of(settings, "mail", processes.address) as cluster,
        ):
            ingest(settings, executor=cluster, progress=kill)
    kept = len(Lake(settings.lake_url).mails())
    total = len(list(open_storage(settings.mail_url).list()))
    assert 0 < kept < total
    assert ingest(settings).outcomes.total() == total - kept
    assert_same(tables(settings), tables(alone(settings)))
