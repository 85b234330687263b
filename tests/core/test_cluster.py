"""Work on a Dask cluster gives what one process gives, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest

from dmarckit.cli.doctor import command, services
from dmarckit.core import cluster
from dmarckit.core.cluster import connected, without_secrets
from dmarckit.core.errors import ClusterError, MissingExtra
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.demo.mails import GeneratedMail
from dmarckit.findings.analysis import analyse
from dmarckit.ingest.distributed import (
    PACKAGES,
    Installation,
    _difference,
    check_versions,
    cluster_of,
    inspect_installation,
)
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from dmarckit.pages.fleet import publish_fleet
from tests.benchmarks.data import write_long_mail
from tests.ingest.test_ingest import assert_same, fill, sample, tables  # noqa: F401
from tests.support.dask_cluster import dask_processes
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_failing
from tests.support.page_notebooks import write_notebook

DOMAINS = ("example.com", "example.net")
CELL = "assert domain != 'bad.example', 'no data'; print('Mail of', domain, days)"
PARAMETERS = 'domain: str = "example.com"  # of this domain\ndays: int = 30  # days'
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


@pytest.fixture
def settings_without_mails(tmp_path: Path) -> Settings:
    """An installation with the setting `dask` where nothing listens."""
    return load_settings(home=str(tmp_path), dask="tcp://127.0.0.1:9")


def with_a_result(workers: cluster.Cluster) -> str:
    """The address of a worker that has results which were not fetched yet."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for address, results in workers.client.has_what().items():
            if results:
                return str(address)
        time.sleep(0.05)
    raise AssertionError("no worker has a result that was not fetched yet")


def alone(settings: Settings) -> Settings:
    """The same mails read by this process, into a lake of its own."""
    other = settings.model_copy(update={"lake": f"{settings.home}/alone", "exports": "none"})
    ingest_mails(other)
    return other


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_lost_worker_loses_and_doubles_nothing(
    how: signal.Signals, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == signal.SIGSTOP:  # only silence tells of it; a busy machine is silent for a while
        monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "8s")  # five minutes else
    monkeypatch.setattr("dmarckit.ingest.ingest.CHUNK", 4)
    monkeypatch.setattr("dmarckit.ingest.commit.BATCH_MAILS", 20)
    with dask_processes(tmp_path) as processes:
        with cluster_of(settings, "mail", processes.address) as cluster:
            cluster.client.wait_for_workers(2, timeout=60)
            lost: list[str] = []

            def kill(done: int, total: int, outcomes: Counter[str]) -> None:
                if done >= 20 and not lost:
                    assert done < total / 2
                    lost.append(with_a_result(cluster))
                    os.kill(cluster.client.run(os.getpid, workers=lost)[lost[0]], how)

            result = ingest_mails(settings, executor=cluster, progress=kill)
            assert lost
            assert lost[0] not in cluster.client.nthreads()
        assert result.outcomes.total() == len(list(open_storage(settings.mail_url).list()))
        with connected(processes.address) as cluster:
            assert ingest_mails(settings, executor=cluster).outcomes.total() == 0
    assert_same(tables(settings), tables(alone(settings)))
    assert Lake(settings.lake_url).sql("SELECT max(records) AS n FROM reports").loc[0, "n"] == LONG


@pytest.mark.s3
@pytest.mark.slow
def test_without_the_scheduler_the_work_stops_and_the_next_run_goes_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.ingest.ingest.CHUNK", 4)
    monkeypatch.setattr("dmarckit.ingest.commit.BATCH_MAILS", 20)
    with dask_processes(tmp_path, workers=1) as processes:

        def kill(done: int, total: int, outcomes: Counter[str]) -> None:
            if outcomes:
                processes.scheduler.kill()

        with (
            pytest.raises(ClusterError, match=r"the scheduler was lost .* goes on from there"),
            cluster_of(settings, "mail", processes.address) as cluster,
        ):
            ingest_mails(settings, executor=cluster, progress=kill)
    kept = len(Lake(settings.lake_url).mails())
    total = len(list(open_storage(settings.mail_url).list()))
    assert 0 < kept < total
    assert ingest_mails(settings).outcomes.total() == total - kept
    assert_same(tables(settings), tables(alone(settings)))


@pytest.mark.slow
def test_findings_and_pages_are_made_by_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = str(tmp_path / "home"), tmp_path / "elsewhere"
    monkeypatch.setenv("DMARCKIT_HOME", home)
    monkeypatch.setenv("DMARCKIT_DOMAINS", ",".join([*DOMAINS, "bad.example"]))
    made = load_settings(slack_token="xoxb-only-the-caller-has-it")
    lake = lake_of(home, *(report(make_failing(messages=90), domain=d) for d in DOMAINS))
    write_notebook(Path("notebooks/domain.ipynb"), CELL, parameters=PARAMETERS)
    elsewhere.mkdir()  # the workers have no ./notebooks
    with dask_processes(elsewhere) as processes:
        with cluster_of(made, "lake", processes.address) as cluster:
            seen = analyse(made, lake, now=NOW, cluster=cluster)
        with cluster_of(made, "settings", processes.address) as cluster:
            pages = publish_fleet(made, [*DOMAINS, "bad.example"], now=NOW, cluster=cluster)
        open_storage(made.mail_url).put("a", b"mail", content_type="message/rfc822")
        asked = command.CheckContext(made.model_copy(update={"dask": processes.address}))
        assert services.cluster(asked).message.startswith("2 tasks at once on the workers")
        other = made.model_copy(update={"language": "ja"})
        with (
            pytest.raises(ClusterError, match=r"worker tcp:.*setting language is en, and .* ja"),
            cluster_of(other, "settings", processes.address),
        ):
            pass
        other = made.model_copy(update={"lake": lake_of(tmp_path / "other", report()).location.url})
        with (
            pytest.raises(ClusterError, match=r"worker tcp:.*its setting lake is"),
            cluster_of(other, "settings", processes.address),
        ):
            pass
    assert [f.finding for f in seen.findings] == [
        f.finding for f in analyse(made, lake, now=NOW).findings
    ]
    assert [page.outcome for page in pages] == ["built", "built", "failed"]
    assert "AssertionError: no data (kept: " in pages[2].error
    storage = open_storage(made.pages_url)
    for domain, page in zip(DOMAINS, pages, strict=False):
        assert f"Mail of {domain} 30".encode() in storage.get(page.key)
    assert publish_fleet(made, DOMAINS, now=NOW)[0].outcome == "unchanged"
    logs = "".join(path.read_text() for path in elsewhere.glob("*.log"))
    assert "xoxb" not in logs


@pytest.mark.s3
@pytest.mark.slow
def test_a_worker_that_cannot_read_the_mails_is_named_before_any_work(
    settings: Settings, tmp_path: Path
) -> None:
    with dask_processes(tmp_path, workers=0) as processes:
        processes.add_worker(AWS_SECRET_ACCESS_KEY="wrong")
        with (
            pytest.raises(ClusterError, match=r"worker tcp://\S+: .*the secret key is wrong"),
            cluster_of(settings, "mail", processes.address),
        ):
            pass


def test_another_lake_or_another_mail_is_a_difference(tmp_path: Path) -> None:
    here, there = (lake_of(tmp_path / name, report()).location.url for name in "ab")
    places = {"mail_url": str(tmp_path), "lake_url": here}
    own = inspect_installation(None, need="lake", **places)
    assert _difference(own, own, None, places) == ""
    other = inspect_installation(None, need="lake", mail_url="", lake_url=there)
    assert _difference(own, other, None, places) == f"it sees another table reports in {here}"
    assert "no table reports" in _difference(own, Installation(), None, places)
    assert _difference(Installation("1"), Installation(None), "key", places) == (
        f"it sees other mails in {tmp_path}: not key"
    )


def versions(**worker: str) -> dict[str, Any]:
    """What `Client.get_versions` gives when one worker has other versions."""
    same = dict.fromkeys(PACKAGES, "1.0") | {"python": "3.13.5.final.0"}
    return {
        "client": {"packages": same},
        "scheduler": {"packages": {**same, "pandas": None, "python": "3.12.1.final.0"}},
        "workers": {"tcp://192.0.2.1:1": {"packages": {**same, **worker}}},
    }


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        ({"pandas": "2.0"}, "has pandas 2.0, and this process 1.0; install the same versions"),
        ({"dmarckit": None}, "has dmarckit not at all, and this process 1.0"),
        ({"python": "3.11.2.final.0"}, "has Python 3.11, and this process 3.13"),
    ],
)
def test_a_worker_with_other_versions_is_named(worker: dict[str, str], said: str) -> None:
    check_versions("dask here", versions(python="3.13.9.final.0"))
    with pytest.raises(ClusterError) as caught:
        check_versions("dask here", versions(**worker))
    assert str(caught.value).startswith(f"dask here, worker tcp://192.0.2.1:1 {said}")


def test_without_an_address_there_is_no_cluster_and_dask_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from dmarckit.core import load_settings\n"
        "from dmarckit.findings import analysis; from dmarckit.cli import pages\n"
        "from dmarckit.jobs import run; from dmarckit.ingest import cluster_of\n"
        "with cluster_of(load_settings(), 'mail') as cluster: assert cluster is None\n"
        "assert not {'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_scheduler_that_does_not_answer_is_said_in_one_line(
    settings_without_mails: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 0.2)
    with (
        pytest.raises(ClusterError, match=r"dask tcp://127\.0\.0\.1:9: no scheduler answers"),
        cluster_of(settings_without_mails, "mail", "tcp://127.0.0.1:9"),
    ):
        pass


def test_the_doctor_tells_of_the_cluster(settings_without_mails: Settings, tmp_path: Path) -> None:
    here = command.CheckContext(load_settings(home=str(tmp_path)))
    assert services.cluster(here).status == "skip"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "CONNECT", 0.2)
        found = services.cluster(command.CheckContext(settings_without_mails))
    assert (found.status, "no scheduler answers there" in found.message) == ("fail", True)


def test_the_missing_library_is_named_with_how_to_install_it(
    settings_without_mails: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with (
        pytest.raises(MissingExtra, match=r'pip install "dmarckit\[dask\]"'),
        cluster_of(settings_without_mails, "mail"),
    ):
        pass


def test_what_workers_are_told_holds_no_secret() -> None:
    told = without_secrets(load_settings(slack_token="xoxb-1", salt="pepper", language="ja"))
    assert (told.slack_token, told.salt, told.language) == (None, None, "ja")


@pytest.mark.slow
def test_a_task_that_ends_its_worker_ends_alone_and_no_worker_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")  # three else
    monkeypatch.setattr(cluster, "POLL", 0.2)
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with dask_processes(tmp_path) as processes, connected(processes.address) as workers:
        workers.client.wait_for_workers(2, timeout=60)
        with pytest.raises(BrokenExecutor, match="workers that it ended: 1"):
            workers.submit(os._exit, 1).result()
        assert dict(workers.each(len, ["a", "bb", "ccc"])) == {"a": 1, "bb": 2, "ccc": 3}
        for process in processes.workers:
            process.kill()
        while workers.client.nthreads():
            time.sleep(0.05)
        with pytest.raises(ClusterError, match="no worker is left"):
            workers.submit(len, "a").result()
        with pytest.raises(ClusterError, match="no worker is left"):
            list(workers.each(len, ["a"]))
