"""One page a domain for a whole fleet: several at once, and only where something changed."""

from __future__ import annotations

import ast
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
from pathlib import Path
from typing import Any, Literal

from dmarckit import core
from dmarckit.core import Cluster, Settings, Window, one_line, open_storage
from dmarckit.lake import Lake
from dmarckit.pages.build import check_parameters, find_notebook, known_parameters, unusual
from dmarckit.pages.inputs import page_manifest, table_states
from dmarckit.pages.links import page_key, page_place
from dmarckit.pages.publish import link_to, refresh_index, store_notebook

MOST_WORKERS = 4  # pages built at once unless more are asked for: each has a kernel of some 300 MB
MANIFEST = ".manifest.json"

Outcome = Literal["built", "unchanged", "failed"]


@dataclass(frozen=True)
class FleetPage:
    """What became of one domain's page."""

    domain: str
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
    workers: int = 0,
    now: datetime | None = None,
    force: bool = False,
    progress: Callable[[FleetPage], None] = lambda page: None,
    cluster: Cluster | None = None,
) -> list[FleetPage]:
    """Build and store one page for each domain, then the index; one entry a domain, in order.

    `parameters` are the notebook's beside `domain`. A page that would be the same as the
    stored one is left, unless `force` says otherwise. A page that fails stops no other and
    leaves an older one as it is. `workers` processes at once; 0: one a core, at most four.
    `progress` is called with each finished page. The workers of a `cluster` do the building.

    Raises:
        PageError: the notebook or a parameter is not known.
        StorageError: the pages cannot be reached.
        LakeError: the lake cannot be read.
    """
    now = now or datetime.now(UTC)
    storage = open_storage(settings.pages_url, settings.presign_keys())
    planned = list(_plan(settings, storage, domains, notebook, parameters or {}, now))
    current = [task.page for task, is_current in planned if is_current and not force]
    todo = [task for task, is_current in planned if force or not is_current]
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    built = _built_by(cluster, todo) if cluster else _built(todo, workers)
    done: dict[str, FleetPage] = {}
    for page in itertools.chain(current, built):
        done[page.domain] = page
        progress(page)
    if any(page.outcome == "built" for page in done.values()):
        refresh_index(settings)
    return [done[domain] for domain in dict.fromkeys(domains)]


def _plan(
    settings: Settings,
    storage: core.Storage,
    domains: Sequence[str],
    notebook: str,
    parameters: Mapping[str, Any],
    now: datetime,
) -> Iterator[tuple[_Task, bool]]:
    """Yield each page as it would be when nothing is to do, and whether that is so."""
    path = find_notebook(notebook)
    known = known_parameters(path)
    check_parameters(path.stem, {**parameters, "domain": ""}, known)
    window = fleet_window(notebook, parameters, now)
    tables = table_states(Lake(settings.lake_url))
    given = {domain: {**parameters, "domain": domain} for domain in domains}
    keys = {d: page_key(path.stem, unusual(g, known), now.date()) for d, g in given.items()}

    def stored_hash(key: str) -> str | None:
        with contextlib.suppress(core.MissingObject, ValueError, KeyError, TypeError):
            return str(json.loads(storage.get(key + MANIFEST))["hash"])
        return None

    with ThreadPoolExecutor(core.POOL) as pool:
        hashes = list(pool.map(stored_hash, keys.values()))
    is_first = not any(hashes)  # then there may be no folder to list
    folder = page_place(path.stem, {})[0]
    stored = set() if is_first else {found.key for found in storage.list(f"{folder}/")}
    for (domain, key), known_hash in zip(keys.items(), hashes, strict=True):
        made = page_manifest(path, given[domain], settings, window, tables)
        link = link_to(settings, storage, key) if key in stored else ""
        page = FleetPage(domain, key, "unchanged", link)
        task = _Task(settings, notebook, given[domain], now, page, made)
        yield task, key in stored and known_hash == made["hash"]


def _built(tasks: Sequence[_Task], workers: int) -> Iterator[FleetPage]:
    if len(tasks) <= 1 or workers == 1:
        yield from map(_build, tasks)
        return
    # a worker's kernels take over its environment, which only a spawned process has as it is now
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
    settings, source = tasks[0].settings, find_notebook(tasks[0].notebook)
    storage = open_storage(settings.pages_url, settings.presign_keys())
    sent: dict[str, Any] = {"notebook": source.name, "content": source.read_bytes()}
    sent["settings"] = core.without_secrets(settings)
    for task, page in cluster.each(_build, (replace(task, **sent) for task in tasks)):
        if isinstance(page, Exception):
            yield _failed(task, page)
        elif page.outcome == "built":  # links are signed here, not with the workers' keys
            yield replace(page, link=link_to(settings, storage, page.key))
        else:
            yield page


def _failed(task: _Task, error: BaseException) -> FleetPage:
    reason = one_line(str(error) or type(error).__name__)
    return replace(task.page, outcome="failed", error=reason)


def _build(task: _Task) -> FleetPage:
    """Store one page and, after it, its manifest: a crash between them means building it again."""
    if task.content is not None:
        with tempfile.TemporaryDirectory(prefix="dmarckit-") as folder:
            notebook = Path(folder) / task.notebook
            notebook.write_bytes(task.content)
            return _build(replace(task, notebook=str(notebook), content=None))
    started = time.monotonic()
    storage = open_storage(task.settings.pages_url)
    try:
        published = store_notebook(task.settings, task.notebook, task.parameters, task.now)
        made = json.dumps(task.manifest, sort_keys=True, default=str).encode()
        storage.put(published.key + MANIFEST, made, content_type="application/json")
        page = replace(task.page, outcome="built", link=published.link)
    except core.DmarckitError as error:
        page = replace(task.page, outcome="failed", error=str(error))
    return replace(page, seconds=time.monotonic() - started)
