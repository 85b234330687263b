"""Ingest and findings on a Dask cluster of this machine, beside the process pool."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import boto3

from dmarckit.analysis import analyse
from dmarckit.cluster_check import cluster_of
from dmarckit.demo.server import s3_server
from dmarckit.ingest import ingest
from dmarckit.settings import Settings, load_settings
from dmarckit.storage import open_storage
from tests.benchmarks.data import mails
from tests.benchmarks.measure import table
from tests.dask_cluster import dask_processes

MAILS, RECORDS = 6_000, 8
NOW = datetime(2026, 10, 31, tzinfo=UTC)  # after the last of the mails


def run() -> None:
    """The same mails on S3, read by one process, by a pool, and by one and two workers."""
    rows = []
    with s3_server() as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment())
        boto3.session.Session().client("s3").create_bucket(Bucket="dask")
        storage = open_storage("s3://dask/mail")
        for key, raw in mails(MAILS, RECORDS):
            storage.put(key, raw, content_type="message/rfc822")
        for processes in (1, 2):
            name = f"{processes} process(es), no Dask"
            rows.append(_measured(name, f"alone-{processes}", processes, ""))
        for workers in (1, 2):
            own = Path(folder) / f"{workers}"
            own.mkdir()
            with dask_processes(own, workers) as cluster:
                name = f"Dask, {workers} worker process(es)"
                rows.append(_measured(name, f"dask-{workers}", 1, cluster.address, workers))
    columns = ["", "ingest, s", "mails/s", "findings, s"]
    table(f"{MAILS:,} mails of {RECORDS} records from S3 on this machine", columns, rows)


def _measured(name: str, home: str, processes: int, address: str, workers: int = 0) -> list[str]:
    settings = load_settings(
        home=f"s3://dask/{home}",
        mail="s3://dask/mail",
        trust="any",
        workers=processes,
        exports="none",
    )
    read = _ingest(settings, address, workers)
    started = time.monotonic()
    with cluster_of(settings, "lake", address) if address else nullcontext() as cluster:
        analyse(settings, now=NOW, days=30, cluster=cluster)
    found = time.monotonic() - started
    return [name, f"{read:.1f}", f"{MAILS / read:,.0f}", f"{found:.1f}"]


def _ingest(settings: Settings, address: str, workers: int) -> float:
    with cluster_of(settings, "mail", address) as cluster:
        if cluster is not None:
            cluster.client.wait_for_workers(workers, timeout=60)
            cluster.threads = workers
        return ingest(settings, executor=cluster).seconds
