"""One page a domain for a whole fleet: several at once, and only where something changed.

What a domain's page is made of, as a hash: equal hashes mean that the page would be equal.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dmarckit.core import (
    POOL,
    Cluster,
    DmarckitError,
    MissingObject,
    Settings,
    Storage,
    Window,
    last_days,
    one_line,
    open_storage,
    secret_names,
    without_secrets,
)
from dmarckit.facts import organisation
from dmarckit.lake import Lake
from dmarckit.pages.build import check_parameters, find_notebook, known_parameters, unusual
from dmarckit.pages.links import page_folder, page_key
from dmarckit.pages.publish import link_to, refresh_index, store_notebook
from dmarckit.pages.render import versions

_NOT_SHOWN = {
    *secret_names(),
    *("home", "mail", "lake", "pages", "exports", "exports_to", "workers"),
    *("slack_channel", "slack_url", "presign_key_id", "presign_expires"),
}
"""settings that no page depends on"""
_TABLES = {
    # whole rows never change, so that the keys stand for them
    "reports": "SELECT domain, count(*), bit_xor(hash(report_uid)) FROM reports GROUP BY ALL",
    "tls": """
        SELECT policy_domain, count(*), bit_xor(hash(report_uid, position)) FROM tls GROUP BY ALL
    """,
    "failures": "SELECT domain, count(*), bit_xor(hash(report_uid)) FROM failures GROUP BY ALL",
    # a run that finds the same again changes nothing
    "findings": """
        SELECT domain, count(*), bit_xor(hash(made)) FROM (
            SELECT DISTINCT domain, (fingerprint, severity, status, messages, mute_reason) AS made
            FROM findings
        ) GROUP BY domain
    """,
    "postmaster": """
        SELECT domain, count(*), bit_xor(hash("day", metric, detail, pulled)) FROM postmaster
        GROUP BY ALL
    """,
    "dns": "SELECT domain, count(*), bit_xor(hash(day, record, name)) FROM dns GROUP BY ALL",
    # host names say who a sender is, whatever the domain
    "ptr": "SELECT '', count(*), bit_xor(hash(address, name)) FROM ptr",
}
_CODE = {".py", ".j2", ".js", ".css", ".csv", ".json", ".mo"}


def inputs(lake: Lake) -> dict[str, dict[str, list[str]]]:
    """Domain → table → number of rows and a hash of their keys; ``""`` holds what all share."""
    found: dict[str, dict[str, list[str]]] = {}
    for table, query in _TABLES.items():
        columns = [column.to_pylist() for column in lake.arrow(query).columns]
        for domain, rows, keys in zip(*columns, strict=True):
            found.setdefault(domain or "", {})[table] = [str(rows), str(keys)]
    return found


def manifest(
    notebook: Path,
    parameters: Mapping[str, Any],
    settings: Settings,
    window: Window,
    tables: Mapping[str, Mapping[str, list[str]]],
) -> dict[str, Any]:
    """Everything that decides what the page of ``parameters["domain"]`` shows, and its hash.

    `tables` comes from `inputs`. Secrets are no part of it.
    """
    domain = str(parameters.get("domain", "")).lower()
    parts: dict[str, Any] = {
        "notebook": hashlib.sha256(notebook.read_bytes()).hexdigest(),
        "parameters": dict(parameters),
        "window": [f"{window.start:%Y-%m-%d}", f"{window.last_day:%Y-%m-%d}"],
        "tables": {
            **tables.get("", {}),
            # Postmaster Tools of the organisation speaks for a domain below it
            **{k: v for k, v in tables.get(organisation(domain), {}).items() if k == "postmaster"},
            **tables.get(domain, {}),
        },
        "settings": _hash(settings.model_dump(mode="json", exclude=_NOT_SHOWN)),
        "mmdb": _file_state(settings.mmdb),
        "code": code_hash(),
        "versions": versions(),
    }
    return {"hash": _hash(parts), **parts}


@cache
def code_hash() -> str:
    """A hash of dmarckit itself: an edited file makes new pages without a new version."""
    package = Path(__file__).parent.parent
    state = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _CODE and "demo" not in path.parts and path.is_file():
            state.update(path.relative_to(package).as_posix().encode() + b"\0")
            state.update(path.read_bytes())
    return state.hexdigest()


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _file_state(path: Path | None) -> list[int]:
    if path is None or not path.is_file():
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


MOST_WORKERS = 4
"""pages built at once unless more are asked for: each has a kernel of some 300 MB"""
MANIFEST = ".manifest.json"

Outcome = Literal["built", "unchanged", "failed"]


@dataclass(frozen=True)
class FleetPage:
    """What became of one domain's page."""

    domain: str
    key: str
    outcome: Outcome
    link: str
    """how to open it; of a failed one the page of an earlier run, if there is one"""
    error: str = ""
    """of a failed one: what happened and where the executed notebook is kept, in one line"""
    seconds: float = 0.0


@dataclass(frozen=True)
class _Task:
    """A page to build, as it goes to a worker process."""

    settings: Settings
    notebook: str
    parameters: Mapping[str, Any]
    now: datetime
    page: FleetPage
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class _Sent:
    """A page to build, as it goes to another machine."""

    task: _Task
    name: str
    """the notebook's file name"""
    content: bytes = field(repr=False)


def fleet_domains(settings: Settings, window: Window) -> list[str]:
    """The domains to make pages for: those of the settings, else all that reports of the
    window and of the one before speak of, the busiest first."""
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
    """The days that the notebook's pages are about (its `days` and `end`; 30 days else)."""
    about = known_parameters(find_notebook(notebook)).get("days", {"default": "30"})
    days = parameters.get("days", ast.literal_eval(about["default"]))
    return last_days(days, str(parameters.get("end", "")), today=now.date())


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
    `progress` hears of each page when it is done. With a `cluster` its workers build and
    store the pages.

    Raises PageError for an unknown notebook or parameter, StorageError or LakeError when
    pages or lake cannot be reached.
    """
    now = now or datetime.now(UTC)
    storage = open_storage(settings.pages_url, settings.presign_keys())
    planned = _plan(settings, storage, domains, notebook, parameters or {}, now)
    done: dict[str, FleetPage] = {}
    todo: list[_Task] = []
    for task, is_current in planned:
        if is_current and not force:
            done[task.page.domain] = task.page
            progress(task.page)
        else:
            todo.append(task)
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    for page in _built_by(cluster, todo) if cluster else _built(todo, workers):
        done[page.domain] = page
        progress(page)
    if any(page.outcome == "built" for page in done.values()):
        refresh_index(settings)
    return [done[domain] for domain in dict.fromkeys(domains)]


def _plan(
    settings: Settings,
    storage: Storage,
    domains: Sequence[str],
    notebook: str,
    parameters: Mapping[str, Any],
    now: datetime,
) -> Iterator[tuple[_Task, bool]]:
    """Each page as it would be when nothing is to do, and whether that is so."""
    path = find_notebook(notebook)
    known = known_parameters(path)
    check_parameters(path.stem, {**parameters, "domain": ""}, known)
    window = fleet_window(notebook, parameters, now)
    tables = inputs(Lake(settings.lake_url))
    given = {domain: {**parameters, "domain": domain} for domain in domains}
    keys = {d: page_key(path.stem, unusual(g, known), now.date()) for d, g in given.items()}
    with ThreadPoolExecutor(POOL) as pool:
        hashes = list(pool.map(lambda key: _stored_hash(storage, key), keys.values()))
    is_first = not any(hashes)  # then there may be no folder to list
    stored = set() if is_first else {o.key for o in storage.list(f"{page_folder(path.stem)}/")}
    for (domain, key), stored_hash in zip(keys.items(), hashes, strict=True):
        made = manifest(path, given[domain], settings, window, tables)
        link = link_to(settings, storage, key) if key in stored else ""
        page = FleetPage(domain, key, "unchanged", link)
        is_current = key in stored and stored_hash == made["hash"]
        yield _Task(settings, notebook, given[domain], now, page, made), is_current


def _stored_hash(storage: Storage, key: str) -> str | None:
    with contextlib.suppress(MissingObject, ValueError, KeyError, TypeError):
        return str(json.loads(storage.get(key + MANIFEST))["hash"])
    return None


def _built(tasks: Sequence[_Task], workers: int) -> Iterator[FleetPage]:
    if len(tasks) == 1 or workers == 1:
        yield from map(_build, tasks)
        return
    if not tasks:
        return
    # A worker's kernels take over its environment, which only a spawned process has as ours
    # is now.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context)
    try:
        futures = {pool.submit(_build, task): task for task in tasks}
        for future in as_completed(futures):
            yield _result(future, futures[future])
    finally:
        pool.shutdown(cancel_futures=True)


def _built_by(cluster: Cluster, tasks: Sequence[_Task]) -> Iterator[FleetPage]:
    """The same by the workers of a cluster, who have no notebooks of the user's."""
    if not tasks:
        return
    settings = tasks[0].settings
    storage = open_storage(settings.pages_url, settings.presign_keys())
    source = find_notebook(tasks[0].notebook)
    told, content = without_secrets(settings), source.read_bytes()
    sent = (_Sent(replace(task, settings=told), source.name, content) for task in tasks)
    for each, page in cluster.each(_build_sent, sent):
        if isinstance(page, Exception):
            yield _failed(each.task, page)
        elif page.outcome == "built":  # links are signed here, not with the workers' keys
            yield replace(page, link=link_to(settings, storage, page.key))
        else:
            yield page


def _result(future: Future[FleetPage], task: _Task) -> FleetPage:
    if error := future.exception():  # the worker was killed
        return _failed(task, error)
    return future.result()


def _failed(task: _Task, error: BaseException) -> FleetPage:
    reason = one_line(str(error) or type(error).__name__)
    return replace(task.page, outcome="failed", error=reason)


def _build_sent(sent: _Sent) -> FleetPage:
    """On a worker of a cluster: the page of a notebook that came with the task."""
    with tempfile.TemporaryDirectory(prefix="dmarckit-") as folder:
        notebook = Path(folder) / sent.name
        notebook.write_bytes(sent.content)
        return _build(replace(sent.task, notebook=str(notebook)))


def _build(task: _Task) -> FleetPage:
    """One page and, after it, its manifest: a crash between them means building it again."""
    started = time.monotonic()
    storage = open_storage(task.settings.pages_url)
    try:
        published = store_notebook(task.settings, task.notebook, task.parameters, task.now)
        made = json.dumps(task.manifest, sort_keys=True, default=str).encode()
        storage.put(published.key + MANIFEST, made, content_type="application/json")
    except DmarckitError as error:
        return replace(
            task.page, outcome="failed", error=str(error), seconds=time.monotonic() - started
        )
    return replace(
        task.page, outcome="built", link=published.link, seconds=time.monotonic() - started
    )
