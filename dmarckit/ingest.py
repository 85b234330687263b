"""New mails into the lake, each exactly once, with an outcome for every one.

Order is what makes it safe to stop anywhere: records, then reports, then exports, then
the mails' rows in the ledger. A mail without a row there is new, and reading it again
changes nothing in what was already written. Mails are taken in key order and committed
in key order, so that two ingests at once agree on which of two equal mails came first.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, nullcontext

from dmarckit.errors import MissingObject
from dmarckit.ingest_commit import Commits, IngestResult, Progress
from dmarckit.ingest_read import Chunk, MailResult, Task, read_chunk
from dmarckit.lake import Lake
from dmarckit.models import StoredObject
from dmarckit.settings import Settings
from dmarckit.storage import Storage, open_storage

CHUNK = 50  # mails a task: enough to hide what a task costs, few enough to lose little
ALONE_BELOW = 2_000  # new mails that one process reads before others have even started


def ingest(
    settings: Settings,
    *,
    executor: Executor | None = None,
    retry: Sequence[str] = (),
    progress: Progress | None = None,
) -> IngestResult:
    """Read every object that the ledger does not know, and write what it holds.

    `executor` reads the mails; by default worker processes, or this one when there are
    few. `retry` names outcomes whose mails are taken again. `progress` is called after
    each commit and now and then between.

    Raises StorageError or LakeError when the mails or the lake cannot be reached; what
    was committed stays, and the next ingest goes on from there.
    """
    started = time.monotonic()
    lake = Lake(settings.lake_url)
    mails = open_storage(settings.mail_url)
    todo = new_objects(mails, lake, retry)
    run = Commits(lake, settings, IngestResult(uuid.uuid4().hex[:12]), len(todo), progress)
    with tempfile.TemporaryDirectory(prefix="dmarckit-") as spool:
        task = Task(
            mail_url=mails.url,  # absolute: workers may have another working directory
            limits=settings.limits,
            trust=settings.trust_level,
            authserv_id=settings.authserv_id,
            exports=settings.exports,
            salt=_salt(settings) if settings.failures else None,
            failures_content=settings.failures_content,
            spool=spool,
        )
        for chunk in _chunks(task, todo, executor, settings.workers):
            run.take(chunk)
        run.commit()
    run.result.compacted = lake.write.compact()
    run.result.seconds = time.monotonic() - started
    return run.result


def _salt(settings: Settings) -> bytes:
    """The installation's salt: the setting, else ``<home>/salt``, made on first use."""
    if settings.salt is not None:
        return settings.salt.get_secret_value().encode()
    home = open_storage(settings.home)
    try:
        return home.get("salt")
    except MissingObject:
        home.put("salt", secrets.token_hex(32).encode(), content_type="text/plain")
        return home.get("salt")  # another ingest may have put its own a moment later


def new_objects(mails: Storage, lake: Lake, retry: Sequence[str] = ()) -> list[StoredObject]:
    """The objects to read, in key order; those of the outcomes in `retry` are among them."""
    next(mails.list(), None)  # a place that is not there is said before the lake is opened
    known = lake.arrow("SELECT key, etag, outcome FROM mails").to_pydict()
    ledger = set(zip(known["key"], known["etag"], strict=True))
    again = {
        (key, etag)
        for key, etag, outcome in zip(known["key"], known["etag"], known["outcome"], strict=True)
        if outcome in retry
    }
    listed = [o for o in mails.list() if (o.key, o.etag) not in ledger - again]
    # only what is still there is taken out of the ledger
    lake.write.forget_mails([o.key for o in listed if (o.key, o.etag) in again])
    # Amazon lists in key order; some other S3 servers do so only folder by folder
    return sorted(listed, key=lambda o: o.key)


def _chunks(
    task: Task, objects: Sequence[StoredObject], executor: Executor | None, workers: int
) -> Iterator[Chunk]:
    """The objects as chunks, in order, while at most a few chunks wait in memory."""
    workers = workers or os.cpu_count() or 1
    parts = [objects[i : i + CHUNK] for i in range(0, len(objects), CHUNK)]
    own: AbstractContextManager[Executor | None]
    if executor is not None:
        own = nullcontext(executor)
    elif workers == 1 or len(objects) < ALONE_BELOW:
        own = nullcontext(None)
    else:
        own = _pool(workers)
    with own as pool:
        if pool is None:
            yield from (read_chunk(task, part) for part in parts)
            return
        waiting: deque[tuple[Future[Chunk] | None, Sequence[StoredObject]]] = deque()
        for part in parts:
            waiting.append((_submit(pool, task, part), part))
            if len(waiting) > 2 * workers:
                yield from _results(task, *waiting.popleft())
        while waiting:
            yield from _results(task, *waiting.popleft())


def _pool(workers: int) -> Executor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # fork would copy the threads' locks of Delta and Arrow in whatever state they are
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _submit(pool: Executor, task: Task, part: Sequence[StoredObject]) -> Future[Chunk] | None:
    try:
        return pool.submit(read_chunk, task, part)
    except BrokenExecutor:
        return None


def _results(
    task: Task, future: Future[Chunk] | None, part: Sequence[StoredObject]
) -> Iterator[Chunk]:
    try:
        if future is not None:
            yield future.result()
            return
    except BrokenExecutor:
        pass
    # a worker was killed, perhaps by one of these mails: each is read in a process of its own
    for item in part:
        with _pool(1) as pool:
            try:
                yield pool.submit(read_chunk, task, [item]).result()
            except BrokenExecutor:
                reason = "reading it ended the worker process (out of memory?)"
                result = MailResult(item, outcome="unreadable", error=reason)
                yield Chunk.of_one(result)
