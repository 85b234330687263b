"""Who reads which mails of an ingest: this process, worker processes, or a given executor.

Chunks come back in the order of the objects, and only a few wait in memory.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any

from dmarckit.core.objects import StoredObject
from dmarckit.ingest.ingest_chunk import Chunk, MailResult, Task
from dmarckit.ingest.ingest_read import read_chunk

CHUNK = 50  # mails a task: enough to hide what a task costs, few enough to lose little
ALONE_BELOW = 3_000  # new mails that this process has read before another has started

_Part = Sequence[StoredObject]
_Waiting = deque[tuple["Future[Chunk] | None", _Part]]


def read_in_order(
    task: Task, objects: Sequence[StoredObject], executor: Executor | None, workers: int
) -> Iterator[Chunk]:
    """The objects as chunks. `workers` counts this process; 0 is one a core. An executor
    that says how much it does at once (`threads`) is kept busy accordingly.

    A worker that is killed takes nothing down with it: its mails are read one by one, and
    the one that kills again is unreadable. Raises what `read_chunk` raises.
    """
    workers = getattr(executor, "threads", 0) or workers or os.cpu_count() or 1
    parts = deque(objects[i : i + CHUNK] for i in range(0, len(objects), CHUNK))
    if executor is not None:
        yield from _shared(task, parts, executor, workers, helping=False)
    elif workers == 1 or len(objects) < ALONE_BELOW:
        while parts:
            chunk = read_chunk(task, parts.popleft())
            yield chunk
            if chunk.left:
                parts.appendleft(chunk.left)
    else:
        with _pool(workers - 1) as pool:
            yield from _shared(task, parts, pool, workers, helping=True)


def _shared(
    task: Task, parts: deque[_Part], pool: Executor, workers: int, *, helping: bool
) -> Iterator[Chunk]:
    """Read by the pool, and while `helping` by this process whenever it would only wait."""
    waiting: _Waiting = deque()
    while parts or waiting:
        running = sum(future is not None and not future.done() for future, _ in waiting)
        while parts and running < 2 * workers and len(waiting) < 6 * workers:
            part = parts.popleft()
            waiting.append((_submit(pool, task, part), part))
            running += 1
        future, part = waiting[0]
        idle = future is not None and not future.done()
        if helping and idle and parts and len(waiting) < 6 * workers:
            mine = parts.popleft()
            done: Future[Chunk] = Future()
            done.set_result(read_chunk(task, mine))
            waiting.append((done, mine))
        else:
            waiting.popleft()
            yield from _results(task, pool, future, part)


def _pool(workers: int) -> Executor:
    # A plain fork would copy the locks of Delta's and Arrow's threads in whatever state they
    # are; a fork server has imported what workers need, and has no threads.
    try:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dmarckit.ingest.ingest_read"])
    except ValueError:
        context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context)


def _submit(pool: Executor, task: Task, part: _Part) -> Future[Chunk] | None:
    try:
        return pool.submit(read_chunk, task, part)
    except BrokenExecutor:
        return None


def _results(
    task: Task, pool: Executor, future: Future[Chunk] | None, part: _Part
) -> Iterator[Chunk]:
    try:
        chunk = future.result() if future is not None else None
    except BrokenExecutor:
        chunk = None
    if chunk is not None:
        yield chunk
        if chunk.left:
            yield from _results(task, pool, _submit(pool, task, chunk.left), chunk.left)
        return
    # a worker was killed, perhaps by one of these mails: each is read in a process of its own
    for item in part:
        with _pool(1) as single:
            try:
                yield single.submit(read_chunk, task, [item]).result()
            except BrokenExecutor:
                reason = "reading it ended the worker process (out of memory?)"
                yield Chunk.of_one(MailResult(item, outcome="unreadable", error=reason))
