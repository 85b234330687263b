"""Ingest and findings on a Dask cluster of this machine, beside the process pool."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import boto3

from dmarckit.core.cluster import Cluster, connected
from dmarckit.core.settings import load_settings
from dmarckit.core.storage import open_storage
from dmarckit.demo.server import s3_server
from dmarckit.findings.analysis import analyse
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from tests.benchmarks.analysis import SIZES, filled
from tests.benchmarks.analysis_data import DECLARED, DOMAINS, END
from tests.benchmarks.data import mails
from tests.benchmarks.measure import table
from tests.support.dask_cluster import dask_processes

MAILS, RECORDS = 6_000, 8
WORKERS = (1, 2)


def run() -> None:
    """6,000 mails on S3, and the findings of a million records: alone, by a pool, by workers."""
    lake = Lake(str(filled(SIZES[0]) / "lake"))
    took: dict[str, list[str]] = {}
    with s3_server() as server:
        os.environ.update(server.environment())
        boto3.session.Session().client("s3").create_bucket(Bucket="dask")
        storage = open_storage("s3://dask/mail")
        for key, raw in mails(MAILS, RECORDS):
            storage.put(key, raw, content_type="message/rfc822")
        for processes in WORKERS:
            name = f"no Dask, {processes} process(es)"
            took[name] = [*_ingest(f"alone-{processes}", processes, None), _findings(lake, None)]
        for workers in WORKERS:
            with _cluster(workers) as cluster:
                name = f"Dask, {workers} worker process(es) and the caller"
                # a second time: what workers import and connect to is there
                _findings(lake, cluster)
                took[name] = [*_ingest(f"dask-{workers}", 1, cluster), _findings(lake, cluster)]
    table(
        f"{MAILS:,} mails of {RECORDS} records from S3; findings of {SIZES[0]:,} records of "
        f"{DOMAINS} domains from a folder",
        ["", "ingest, s", "mails/s", "findings, s"],
        [[name, *figures] for name, figures in took.items()],
    )


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder, dask_processes(Path(folder), workers) as running:
        with connected(running.address) as cluster:
            cluster.client.wait_for_workers(workers, timeout=60)
        with connected(running.address) as cluster:
            yield cluster


def _ingest(home: str, processes: int, cluster: Cluster | None) -> tuple[str, str]:
    settings = load_settings(
        home=f"s3://dask/{home}",
        mail="s3://dask/mail",
        trust="any",
        workers=processes,
        exports="none",
    )
    seconds = ingest_mails(settings, executor=cluster).seconds
    return f"{seconds:.1f}", f"{MAILS / seconds:,.0f}"


def _findings(lake: Lake, cluster: Cluster | None) -> str:
    settings = load_settings(senders=DECLARED)
    started = time.monotonic()
    analyse(settings, lake, now=END, cluster=cluster)
    return f"{time.monotonic() - started:.1f}"
