"""Many pages at once, only where something changed: a fleet's domains, what a page links to."""

from __future__ import annotations

import ast
import atexit
import contextlib
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dmarckit import core
from dmarckit.core import Cluster, Settings, Window, one_line
from dmarckit.lake import Lake
from dmarckit.pages.build import (
    SharedKernel,
    check_parameters,
    find_notebook,
    known_parameters,
    unusual,
)
from dmarckit.pages.inputs import page_manifest, table_states
from dmarckit.pages.links import newest_days, page_key, page_place, read_target, targets_of
from dmarckit.pages.publish import (
    link_pages,
    link_to,
    load_page,
    open_pages,
    refresh_index,
    store_notebook,
)

MOST_WORKERS = 4  # pages built at once unless more are asked for: each has a kernel of some 300 MB
MANIFEST = ".manifest.json"
MOST_LINKED = 60  # pages built for one to link to, in its order; it links to older ones of the rest

Outcome = Literal["built", "unchanged", "failed"]


@dataclass(frozen=True)
class FleetPage:
    """What became of one page."""

    domain: str  # empty: it is about all
    key: str
    outcome: Outcome
    link: str  # how to open it; of a failed one the page of an earlier run, if there is one
    error: str = ""  # of a failed one: what happened and where the notebook is kept, in one line
    seconds: float = 0.0


@dataclass(frozen=True)
class _Task:
    """A page to build, as it goes to a worker process or to another machine."""

    settings: Settings
    notebook: str
    parameters: Mapping[str, Any]
    now: datetime
    page: FleetPage
    manifest: Mapping[str, Any]
    # of the notebook, for a machine that has not the user's; `notebook` is its file name then
    content: bytes | None = field(default=None, repr=False)


def fleet_domains(settings: Settings, window: Window) -> list[str]:
    """Return the domains of the settings, else those with reports in two windows, busiest first."""
    if settings.domain_names:
        return list(settings.domain_names)
    seen = Lake(settings.lake_url).sql(
        "SELECT domain FROM reports WHERE begin >= $start AND begin < $end "
        "GROUP BY domain ORDER BY sum(messages) DESC, domain",
        start=window.before.start,
        end=window.end,
    )
    return list(seen["domain"])


def fleet_window(notebook: str, parameters: Mapping[str, Any], now: datetime) -> Window:
    """Return the days that the pages are about (`days` and `end`; 30 days else)."""
    about = known_parameters(find_notebook(notebook)).get("days", {"default": "30"})
    days = parameters.get("days", ast.literal_eval(about["default"]))
    return core.last_days(days, str(parameters.get("end", "")), today=now.date())


def publish_fleet(
    settings: Settings,
    domains: Sequence[str],
    *,
    notebook: str = "domain",
    parameters: Mapping[str, Any] | None = None,
    now: datetime | None = None,
    force: bool = False,
    progress: Callable[[FleetPage], None] = lambda page: None,
    cluster: Cluster | None = None,
) -> list[FleetPage]:
    """Build and store one page for each domain, then the index; one entry a domain, in order.

    `parameters` are the notebook's beside `domain`. A page that would be the same as the
    stored one is left, unless `force` says otherwise. A page that fails stops no other and
    leaves an older one as it is. Processes at once: `workers`, at most four.
    `progress` is called with each finished page. The workers of a `cluster` do the building.

    Raises:
        PageError: the notebook or a parameter is not known.
        StorageError: the pages cannot be reached.
        LakeError: the lake cannot be read.
    """
    now = now or datetime.now(UTC)
    path = find_notebook(notebook)
    given = dict(parameters or {})
    check_parameters(path.stem, given | {"domain": ""}, known_parameters(path))
    wanted = [(notebook, given | {"domain": domain}) for domain in dict.fromkeys(domains)]
    tables = table_states(Lake(settings.lake_url))
    planned = list(_plan(settings, wanted, now, tables, is_lasting=False))
    current = [task.page for task, is_current in planned if is_current and not force]
    todo = [task for task, is_current in planned if force or not is_current]
    done: dict[str, FleetPage] = {}
    for page in itertools.chain(current, _built(todo, settings.workers, cluster)):
        done[page.domain] = page
        progress(page)
    if built := [page.key for page in done.values() if page.outcome == "built"]:
        link_pages(settings, built)
        refresh_index(settings)
    return [done[domain] for domain in dict.fromkeys(domains)]


def publish_linked(
    settings: Settings,
    target: str,
    *,
    job: str,
    now: datetime,
    cluster: Cluster | None = None,
) -> list[FleetPage]:
    """Build the pages that a stored page (`target`: its key) links to, then set its links.

    Pages of domains and senders are built where what they show has changed since the newest one
    there is, those of TLS reports and Postmaster Tools where there is any data; at most
    `MOST_LINKED`. Raises as `publish_fleet`.
    """
    storage, tables = open_pages(settings), table_states(Lake(settings.lake_url))
    filled = {name for states in tables.values() for name in states}
    known = filled & {"tls", "postmaster"} | {"domain", "sender"}
    links = map(read_target, targets_of(load_page(storage, target)))
    wanted = []
    for notebook, given in links:
        if notebook in known:
            has_job = "job" in known_parameters(find_notebook(notebook))
            wanted.append((notebook, given | {"job": job} if has_job else given))
    planned = _plan(settings, wanted[:MOST_LINKED], now, tables, is_lasting=True)
    todo = [task for task, is_current in planned if not is_current]
    built = list(_built(todo, settings.workers, cluster))
    link_pages(settings, [target])
    return built


def _plan(
    settings: Settings,
    wanted: Sequence[tuple[str, Mapping[str, Any]]],
    now: datetime,
    tables: Mapping[str, Mapping[str, list[str]]],
    *,
    is_lasting: bool,
) -> Iterator[tuple[_Task, bool]]:
    """Yield each page as it would be when nothing is to do, and whether that is so.

    `tables` are those of `table_states`. `is_lasting`: the newest page will do, of whatever day,
    as long as it would show the same.
    """
    storage = open_pages(settings)
    paths = {notebook: find_notebook(notebook) for notebook, _given in wanted}
    known = {notebook: known_parameters(path) for notebook, path in paths.items()}
    folders = {page_place(path.stem, {})[0] for path in paths.values()}
    stored = {found.key for folder in folders for found in storage.list(f"{folder}/")}
    days = newest_days(stored)

    def is_current(key: str, name: str, value: str) -> bool:
        with contextlib.suppress(core.MissingObject, ValueError, KeyError, TypeError):
            return key in stored and json.loads(storage.get(key + MANIFEST))[name] == value
        return False

    def task(page: tuple[str, Mapping[str, Any]]) -> tuple[_Task, bool]:
        notebook, given = page
        path, about = paths[notebook], unusual(given, known[notebook])
        place, key = page_place(path.stem, about), page_key(path.stem, about, now.date())
        made = page_manifest(path, given, settings, fleet_window(notebook, given, now), tables)
        if is_lasting and place in days:
            old = f"{place[0]}/{days[place]}{place[1]}"
            key, is_same = (old, True) if is_current(old, "state", made["state"]) else (key, False)
        else:
            is_same = is_current(key, "hash", made["hash"])
        link = link_to(settings, storage, key) if key in stored else ""
        found = FleetPage(str(given.get("domain", "")), key, "unchanged", link)
        return _Task(settings, notebook, given, now, found, made), is_same

    with ThreadPoolExecutor(core.POOL) as pool:
        yield from pool.map(task, wanted)


def _built(tasks: Sequence[_Task], workers: int, cluster: Cluster | None) -> Iterator[FleetPage]:
    workers = min(workers or os.cpu_count() or 1, MOST_WORKERS)
    if cluster:
        yield from _built_by(cluster, tasks)
    elif len(tasks) <= 1 or workers == 1:
        try:
            yield from map(_build, tasks)
        finally:
            _kernel().close()
    else:
        # a worker's kernels take over its environment, which only a spawned process has as it is
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context)
        try:
            futures = {pool.submit(_build, task): task for task in tasks}
            for future in as_completed(futures):
                error = future.exception()  # the worker was killed
                yield _failed(futures[future], error) if error else future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _built_by(cluster: Cluster, tasks: Sequence[_Task]) -> Iterator[FleetPage]:
    """Yield the pages that the workers of a cluster build, who have no notebooks of the user's."""
    if not tasks:
        return
    settings = tasks[0].settings
    storage, bare = open_pages(settings), core.without_secrets(settings)
    sources = {task.notebook: find_notebook(task.notebook) for task in tasks}
    content = {name: path.read_bytes() for name, path in sources.items()}

    def sent(task: _Task) -> _Task:
        name = task.notebook
        return replace(task, notebook=sources[name].name, content=content[name], settings=bare)

    for task, page in cluster.each(_build, map(sent, tasks)):
        if isinstance(page, Exception):
            yield _failed(task, page)
        elif page.outcome == "built":  # links are signed here, not with the workers' keys
            yield replace(page, link=link_to(settings, storage, page.key))
        else:
            yield page


def _failed(task: _Task, error: BaseException) -> FleetPage:
    reason = one_line(str(error) or type(error).__name__)
    return replace(task.page, outcome="failed", error=reason)


@cache
def _kernel() -> SharedKernel:
    """Return the kernel of the pages that this process builds."""
    kernel = SharedKernel()
    atexit.register(kernel.close)  # of a worker process
    return kernel


def _build(task: _Task) -> FleetPage:
    """Store one page and, after it, its manifest: a crash between them means building it again."""
    if task.content is not None:
        with tempfile.TemporaryDirectory(prefix="dmarckit-") as folder:
            notebook = Path(folder) / task.notebook
            notebook.write_bytes(task.content)
            return _build(replace(task, notebook=str(notebook), content=None))
    started = time.monotonic()
    storage = open_pages(task.settings)
    try:
        published = store_notebook(
            task.settings, task.notebook, task.parameters, task.now, kernel=_kernel()
        )
        made = json.dumps(task.manifest, sort_keys=True, default=str).encode()
        storage.put(published.key + MANIFEST, made, content_type="application/json")
        page = replace(task.page, outcome="built", link=published.link)
    except core.DmarckitError as error:
        page = replace(task.page, outcome="failed", error=str(error))
    return replace(page, seconds=time.monotonic() - started)
