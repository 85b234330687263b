"""New mails into the lake, each exactly once, with an outcome for every one.

Mails are taken and committed in key order, so that two ingests at once agree on which of two
equal mails came first. They are read by this process, by worker processes, or by a given
executor; chunks come back in the order of the objects, and only a few wait in memory.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import secrets
import socket
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from dmarckit import core
from dmarckit.core import Settings, Storage, StorageError, StoredObject, one_line, open_storage
from dmarckit.ingest.commit import BATCH_BYTES, Commits, IngestResult, Progress
from dmarckit.ingest.read import (
    Chunk,
    MailResult,
    Task,
    begin_worker,
    read_chunk,
    unreadable,
)
from dmarckit.lake import Lake, month_of, table_of_json
from dmarckit.reports import own_reporters

CHUNK = 200  # mails a task: enough to hide what a task costs, few enough to lose little
ALONE_BELOW = 3_000  # new mails that this process has read before another has started
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
EVERYTHING = 20  # mails refused alike, after which all others would be
IN_A_ROW = 50  # that must be refused where others could be read, unless a chunk has fewer
APART_BYTES = 600_000_000  # memory for reading mails that may have ended a run
READING = "reading"  # folder in the lake's, of notes of what is being read
NOTED_AHEAD = 500  # mails that a note is about beyond those that are read now
LISTED = 50_000  # objects of a listing that are held as such at once

log = logging.getLogger("dmarckit")

_Part = Sequence[StoredObject]


@dataclass(frozen=True)
class Selection:
    """Which objects an ingest lists: by key, and by when they came, in [since, until)."""

    prefix: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def list(self, mails: Storage) -> Iterator[StoredObject]:
        """Yield the objects; StorageError if there is none with the prefix."""
        found = False
        for item in mails.list(self.prefix):
            found = True
            late = self.until is not None and item.modified >= self.until
            if not late and (self.since is None or item.modified >= self.since):
                yield item
        if self.prefix and not found:
            raise StorageError(f"no object in {mails.url} has a key that begins with {self.prefix}")


EVERY = Selection()


def ingest_mails(
    settings: Settings,
    *,
    executor: Executor | None = None,
    retry: Sequence[str] = (),
    progress: Progress | None = None,
    run: str | None = None,
    objects: Sequence[StoredObject] | None = None,
    lake: Lake | None = None,
    selection: Selection = EVERY,
) -> IngestResult:
    """Read every object that the ledger does not know, and write what it holds to the lake.

    `executor` reads the mails; by default worker processes, or this one when there are
    few. `retry` names outcomes whose mails are taken again. `progress` is called after
    each commit and now and then between. `run` is the id to go by (else a new one).
    Of `objects`, where given, each that the ledger does not know is read, and nothing is
    listed or compacted. A process that ingests often gives the `lake` that it has open.
    Only what `selection` takes is listed. What is larger than `largest_mail` is left.

    Raises LakeError, and StorageError when the mails or the exports cannot be reached, or all
    mails are refused alike; what was committed stays, and the next ingest goes on from there.
    """
    started = time.monotonic()
    lake = lake or Lake(settings.lake_url)
    mails = open_storage(settings.mail_url)
    if objects is None:
        todo = new_objects(mails, lake, retry, selection)
    else:
        todo = not_in_ledger(lake, objects)
    result = IngestResult(run or uuid.uuid4().hex[:12])
    if not todo and objects is None:
        _check_place(mails, lake)
    if most := settings.largest_mail:
        result.left = [item for item in todo if item.size > most]
        todo = [item for item in todo if item.size <= most]
    again = _in_ledger(lake, todo, "outcome = 'unreachable'")  # before this ingest
    commits = Commits(lake, settings, result, len(todo), progress, again)
    refusals = _Refusals(lake, mails.url, again)
    with tempfile.TemporaryDirectory(prefix="dmarckit-") as spool:
        task = Task(
            mail_url=mails.url,  # absolute: workers may have another working directory
            limits=settings.limits,
            trust=settings.trust_level,
            authserv_id=settings.authserv_id,
            reporters=own_reporters(settings.reporters),
            exports=settings.exports,
            domains=frozenset(settings.domain_names),
            salt=_salt(settings),
            failures_content=settings.failures_content,
            spool=spool if executor is None else "",  # another's workers may be elsewhere
        )
        workers = getattr(executor, "threads", 0) or settings.workers or os.cpu_count() or 1
        notes = _Notes(settings.lake_url, result.run, todo, 6 * workers * CHUNK)
        try:
            for chunk in read_in_order(task, todo, executor, workers, notes):
                refusals.check(chunk)
                commits.add(chunk)
        except BaseException:  # the run is being ended, too: what was read is not read again
            with contextlib.suppress(core.DmarckitError):
                commits.commit()
            raise
        finally:
            notes.remove()
        refusals.check_all()
        commits.commit()
    if result.outcomes and objects is None:  # to look at every table for nothing costs more
        result.compacted = lake.write.compact()
    result.seconds = time.monotonic() - started
    return result


def _salt(settings: Settings) -> bytes | None:
    """Return the installation's salt: the setting, else ``<home>/salt``, made on first use."""
    if not settings.failures:
        return None
    if settings.salt is not None:
        return settings.salt.get_secret_value().encode()
    home = open_storage(settings.home)
    try:
        return home.get("salt")
    except core.MissingObject:
        new = secrets.token_hex(32).encode()
        home.put_new("salt", new, content_type="text/plain", private=True)
        return home.get("salt")  # another ingest may have put its own a moment before


_NEW = """
    SELECT listed.key, listed.etag, listed.size, listed.modified,
        coalesce(mails.outcome <> 'unreachable', false) AS again
    FROM listed LEFT JOIN mails ON mails.key = listed.key AND mails.etag = listed.etag
    WHERE mails.key IS NULL OR mails.outcome = 'unreachable'
        OR mails.outcome IN (SELECT unnest($retry::VARCHAR[]))
    ORDER BY listed.key
"""


def new_objects(
    mails: Storage, lake: Lake, retry: Sequence[str] = (), selection: Selection = EVERY
) -> list[StoredObject]:
    """Return the objects to read, in key order, also unreachable ones and those of `retry`."""
    # all are held as Arrow's: of millions Python's objects would fill the memory
    schema = pa.schema(
        {"key": pa.string(), "etag": pa.string(), "size": pa.int64(), "modified": pa.int64()}
    )
    batches, listing = [table_of_json((), schema)], selection.list(mails)
    while items := list(itertools.islice(listing, LISTED)):
        rows = (
            f'{{"key": {json.dumps(item.key)}, "etag": {json.dumps(item.etag)}, '
            f'"size": {item.size}, "modified": {(item.modified - EPOCH) // MICROSECOND}}}'
            for item in items
        )
        batches.append(table_of_json(rows, schema))
    listed = pa.concat_tables(batches)  # a place that is not there is said before the lake's
    with lake.session("mails") as connection:
        connection.register("listed", listed)
        found = connection.execute(_NEW, {"retry": list(retry)}).fetchall()
    # only what is still there is taken out of the ledger
    lake.write.forget_mails([key for key, _, _, _, again in found if again])
    # Amazon lists in key order; some other S3 servers do so only folder by folder
    return [
        StoredObject(key, etag, size, EPOCH + modified * MICROSECOND)
        for key, etag, size, modified, _ in found
    ]


def _check_place(mails: Storage, lake: Lake) -> None:
    """Check, where no mail is and none ever was, that mails do not lie under another prefix."""
    if not isinstance(mails, core.S3Storage) or not mails.prefix:
        return
    if lake.arrow("SELECT key FROM mails LIMIT 1").num_rows or next(iter(mails.list()), None):
        return  # the ledger is asked first: to list a thousand mails again takes longer
    parent = mails.prefix.rstrip("/").rpartition("/")[0]
    parent += "/" if parent else ""
    own = urlsplit(lake.location.url)  # the lake and what else lies in its home are no mails
    home = own.path.strip("/").rpartition("/")[0] if own.netloc == mails.bucket else None
    found: Mapping[str, Any] = {}
    # who may list the mails alone cannot know
    with contextlib.suppress(StorageError), core.aws_errors("cannot look around", StorageError):
        found = mails.client.list_objects_v2(Bucket=mails.bucket, Prefix=parent, Delimiter="/")
    others = [
        f"s3://{mails.bucket}/{name}"
        for name in (str(entry["Prefix"]) for entry in found.get("CommonPrefixes", ()))
        if home is None or not f"{name}x".startswith(f"{home}/".lstrip("/"))
    ]
    if others:
        raise StorageError(f"the place of mails {core.unknown_name(f'{mails.url}/', others)}")
    log.warning("there is no object in %s; is that where the mails are?", one_line(mails.url))


def not_in_ledger(lake: Lake, objects: Sequence[StoredObject]) -> list[StoredObject]:
    """Return those that the ledger does not know, or as unreachable, in key order, each once."""
    keys = [item.key for item in objects]
    known = "key IN (SELECT unnest($keys)) AND outcome <> 'unreachable'"
    ledger = _in_ledger(lake, objects, known, keys=keys)
    new = {item.key: item for item in objects if (item.key, item.etag) not in ledger}
    return [new[key] for key in sorted(new)]


def _in_ledger(
    lake: Lake, objects: Sequence[StoredObject], condition: str, **values: Any
) -> set[tuple[str, str]]:
    """Return key and etag of rows in the months from the oldest object's on: its row's own."""
    if not objects:
        return set()
    first = min(month_of(item.modified) for item in objects)
    with lake.session("mails", first_month=first) as connection:
        query = f"SELECT key, etag FROM mails WHERE {condition}"  # noqa: S608  our own texts
        return set(connection.execute(query, values or None).fetchall())


class _Refusals:
    """Ends an ingest when the storage refuses all its mails for the same reason.

    Mails that were refused before say nothing, and archived ones only when there are no others:
    of an old bucket most mails are archived.
    """

    def __init__(self, lake: Lake, url: str, again: set[tuple[str, str]]) -> None:
        self._lake = lake
        self._url = url
        self._again = again
        self._first: list[MailResult] = []
        self._codes: set[str] = set()
        self._mails = 0

    def check(self, chunk: Chunk) -> None:
        """Raise StorageError when the first mails, or the last of a chunk, are refused alike."""
        new = [m for m in chunk.mails if (m.object.key, m.object.etag) not in self._again]
        self._mails += len(new)
        self._codes.update(mail.refusal for mail in new)
        first = len(self._first) < EVERYTHING
        self._first += new[: EVERYTHING - len(self._first)]
        for mails in (self._first if first else [], new[-IN_A_ROW:]):
            codes = {mail.refusal for mail in mails}
            if len(mails) >= EVERYTHING and len(codes) == 1 and not codes & {"", core.ARCHIVED}:
                self._end(mails[0])

    def check_all(self) -> None:
        """Raise StorageError when there were but few mails, and all are refused alike."""
        if len(self._codes) != 1 or "" in self._codes:
            return
        # one forbidden mail, or some archived ones, among others that could be read before
        if self._codes == {core.ARCHIVED} or self._mails == 1:
            with self._lake.session("mails") as connection:
                query = "SELECT 1 FROM mails WHERE outcome <> 'unreachable' LIMIT 1"
                if connection.execute(query).fetchone():
                    return
        self._end(self._first[0])

    def _end(self, mail: MailResult) -> None:
        key = one_line(mail.object.key)
        raise StorageError(f"cannot read {self._url}/{key} and all others: {mail.error}")


class _Notes:
    """Notes below the lake what is about to be read, and knows what runs that died have noted.

    A note is of two keys: from which one on, and up to which, mails may be being read.
    """

    def __init__(self, url: str, run: str, objects: Sequence[StoredObject], ahead: int) -> None:
        self._storage = open_storage(url)
        self._objects, self._ahead = objects, max(ahead, NOTED_AHEAD)
        self._key, self._until = f"{READING}/{run}.json", ""
        self._noted: dict[str, tuple[str, str]] = {}  # key of another's note → what it says
        with contextlib.suppress(StorageError):  # there is no lake yet
            for item in self._storage.list(f"{READING}/") if objects else ():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    note = json.loads(self._storage.get(item.key))
                    if not _is_running(item.key, str(note["host"]), int(note["process"])):
                        self._noted[item.key] = str(note["first"]), str(note["last"])
        _own_notes.add(self._key)

    def is_suspect(self, part: _Part) -> bool:
        """Return True if a run died while it may have been reading one of these."""
        return any(a <= item.key <= z for a, z in self._noted.values() for item in part)

    def note(self, part: _Part) -> None:
        """Note that these are about to be read, with many behind them."""
        if part[-1].key <= self._until:
            return
        at = bisect.bisect_left(self._objects, part[-1].key, key=lambda item: item.key)
        first = self._objects[max(at - self._ahead, 0)].key
        last = self._objects[min(at + self._ahead, len(self._objects) - 1)].key
        note = {"first": first, "last": last, "host": socket.gethostname(), "process": os.getpid()}
        self._until = last
        with contextlib.suppress(StorageError):  # where nothing can be written, the lake says so
            content = json.dumps(note).encode()
            self._storage.put(self._key, content, content_type="application/json")

    def remove(self) -> None:
        """Remove the notes of this run and of those that died: all was read, or is read again."""
        _own_notes.discard(self._key)
        with contextlib.suppress(StorageError):
            for key in (*self._noted, *([self._key] if self._until else [])):
                self._storage.delete(key)


_own_notes: set[str] = set()  # of the ingests of this process


def _is_running(key: str, host: str, process: int) -> bool:
    """Return True if the ingest that wrote a note runs on this machine."""
    if host != socket.gethostname() or os.name != "posix":
        return False
    return key in _own_notes if process == os.getpid() else core.process_runs(process)


def read_in_order(
    task: Task,
    objects: Sequence[StoredObject],
    executor: Executor | None,
    workers: int,
    notes: _Notes,
) -> Iterator[Chunk]:
    """Yield the objects as chunks. Raises what `read_chunk` raises.

    `workers` counts this process. Mails of a worker or a run that was killed are read apart; the
    one that kills again is unreadable.
    """
    all_parts = [objects[i : i + CHUNK] for i in range(0, len(objects), CHUNK)]
    for is_suspect, group in itertools.groupby(all_parts, notes.is_suspect):
        if is_suspect:
            for part in group:
                yield from _read_apart(task, part)
        else:
            yield from _read_parts(task, deque(group), executor, workers, notes)


def _read_parts(
    task: Task, parts: deque[_Part], executor: Executor | None, workers: int, notes: _Notes
) -> Iterator[Chunk]:
    if executor is not None:
        yield from _read_by_pool(task, parts, executor, workers, notes, helping=False)
    elif workers == 1 or len(parts) * CHUNK < ALONE_BELOW:
        while parts:
            part = parts.popleft()
            notes.note(part)
            try:
                chunk = read_chunk(task, part)
            except MemoryError:
                yield from _read_apart(task, part)
                continue
            yield chunk
            if chunk.left:
                parts.appendleft(chunk.left)
    else:
        with _pool(workers - 1) as pool:
            yield from _read_by_pool(task, parts, pool, workers, notes, helping=True)


def _read_by_pool(
    task: Task, parts: deque[_Part], pool: Executor, workers: int, notes: _Notes, *, helping: bool
) -> Iterator[Chunk]:
    """Read by the pool, and while `helping` by this process whenever it would only wait."""
    waiting: deque[tuple[Future[Chunk], _Part]] = deque()
    while parts or waiting:
        read = [future for future, _ in waiting if future.done()]
        running = len(waiting) - len(read)
        # the results of a cluster stay there until they are asked for
        size = sum(f.result().size for f in read if not f.exception()) if helping else 0
        most = 6 * workers if size < BATCH_BYTES else 0  # chunks that wait
        while parts and running < 2 * workers and len(waiting) < most:
            if helping and running >= len(parts):  # the pool has enough to do until all are read
                break
            part = parts.popleft()
            notes.note(part)
            waiting.append((_submit(pool, task, part), part))
            running += 1
        future, part = waiting[0]
        if helping and not future.done() and parts and len(waiting) < most:
            mine = parts.popleft()
            notes.note(mine)
            done: Future[Chunk] = Future()
            try:
                done.set_result(read_chunk(task, mine))
            except MemoryError as error:
                done.set_exception(error)
            waiting.append((done, mine))
        else:
            waiting.popleft()
            yield from _results(task, pool, future, part)


def _processes() -> Any:
    # A plain fork would copy the locks of Delta's and Arrow's threads in whatever state they
    # are; a fork server has imported what workers need, and has no threads.
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dmarckit.ingest.read"])
        return context
    except ValueError:
        return multiprocessing.get_context("spawn")


def _pool(workers: int) -> Executor:
    # the fork server keeps the environment that it began with, which may know no credentials yet
    environment = (dict(os.environ),)
    return ProcessPoolExecutor(
        workers, mp_context=_processes(), initializer=begin_worker, initargs=environment
    )


class _OneProcess(Executor):
    """A process for each task, waited for. Unlike a pool it needs no semaphores, /dev/shm that is.

    A function of AWS Lambda has none.
    """

    def submit(self, action: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """Call the action in a process; its future is done, and broken when that has died."""
        future: Future[Any] = Future()
        context = _processes()
        reader, writer = context.Pipe(duplex=False)
        task = partial(action, *given, **named)
        process = context.Process(target=_answer, args=(writer, dict(os.environ), task))
        process.start()
        writer.close()
        try:
            result, error = reader.recv()
        except EOFError:
            result, error = None, BrokenExecutor("the process has died")
        finally:  # this run may be ended meanwhile
            process.kill()
            process.join()
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
        return future


_single = _OneProcess


def _answer(writer: Any, variables: dict[str, str], task: Callable[[], Any]) -> None:
    begin_worker(variables)
    answer: tuple[Any, Exception | None]
    try:
        answer = task(), None
    except Exception as error:
        answer = None, error
    writer.send(answer)


def _read_apart(task: Task, part: _Part) -> Iterator[Chunk]:
    """Yield the chunks of a part, read in a process of its own, bounded in memory and time.

    The mail that ends it, found by halves, is unreadable.
    """
    try:
        with _single() as single:
            chunk = single.submit(_read_bounded, task, part).result()
    except (BrokenExecutor, MemoryError):
        if len(part) == 1:
            needs = f"needs more than {APART_BYTES // 10**6} MB of memory, or than "
            needs += f"{_most_seconds(task)} s of processor time in one piece"
            yield unreadable(part[0], f"{needs}: reading it ended its process")
            return
        half = len(part) // 2
        yield from _read_apart(task, part[:half])
        yield from _read_apart(task, part[half:])
        return
    yield chunk
    if chunk.left:
        yield from _read_apart(task, chunk.left)


def _most_seconds(task: Task) -> int:
    # the limit of a mail is looked at between pieces of work; one piece (a call into C) may
    # take longer, and nothing but the system ends it
    return 2 * task.limits.seconds + 1


def _read_bounded(task: Task, part: _Part) -> Chunk:
    """Read some mails with so much memory and processor time beyond what the process has."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every system can
        import resource

        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + APART_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(time.process_time()) + _most_seconds(task), hard)
        )
    os.environ[core.WITHOUT_OBSTORE] = "1"  # it starts threads as well
    return read_chunk(replace(task, ahead=1), part)  # each thread reserves memory, used or not


def _submit(pool: Executor, task: Task, part: _Part) -> Future[Chunk]:
    try:
        return pool.submit(read_chunk, task, part)
    except BrokenExecutor as error:
        broken: Future[Chunk] = Future()
        broken.set_exception(error)
        return broken


def _results(task: Task, pool: Executor, future: Future[Chunk], part: _Part) -> Iterator[Chunk]:
    """Yield the chunks of a part: usually the future's alone."""
    try:
        chunk = future.result()
    except (BrokenExecutor, MemoryError):  # perhaps by one of these mails
        yield from _read_apart(task, part)
        return
    yield chunk
    if chunk.left:
        yield from _results(task, pool, _submit(pool, task, chunk.left), chunk.left)
