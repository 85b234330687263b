"""Pages and their index in the storage, made with an installation's settings."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dmarckit import core
from dmarckit.core import (
    FolderStorage,
    LakeError,
    MissingObject,
    NotebookFailed,
    Settings,
    Storage,
    open_storage,
)
from dmarckit.lake import Lake
from dmarckit.pages.index import index_page
from dmarckit.pages.inputs import Input, page_inputs
from dmarckit.pages.links import INDEX, newest_days, newest_key, page_key, with_links

if TYPE_CHECKING:
    from dmarckit.findings import Analysis
    from dmarckit.pages.build import BuiltPage, SharedKernel

SIGNED = 1000  # presigned links of the index, to the newest pages: each costs time and room
CONTENT_TYPE = "text/html; charset=utf-8"


@dataclass(frozen=True)
class StoredPage:
    """A page that is stored, and how to open it."""

    page: BuiltPage
    key: str
    link: str


def publish_notebook(
    settings: Settings, notebook: str, parameters: Mapping[str, Any], now: datetime | None = None
) -> StoredPage:
    """Run a notebook with these settings, store its page with its links, and the new index.

    Of a run that fails the page of an earlier one stays as it was. Raises as `store_notebook`.
    """
    published = store_notebook(settings, notebook, parameters, now)
    link_pages(settings, [published.key])
    refresh_index(settings)
    return published


def open_pages(settings: Settings) -> Storage:
    """Return the storage of the pages, its folder made if there is none, or raise StorageError."""
    storage = open_storage(settings.pages_url, settings.presign_keys())
    if isinstance(storage, FolderStorage):
        with contextlib.suppress(OSError):  # listing says what is wrong with it
            storage.root.mkdir(parents=True, exist_ok=True)
    return storage


def link_pages(settings: Settings, keys: Iterable[str]) -> None:
    """Set the links of these pages, and of all that they lead to, to the newest pages stored now.

    So links lead in both directions, and presigned ones last as long as one to the first page.

    Raises:
        StorageError: the pages cannot be listed, read or stored.
    """
    storage = open_pages(settings)
    days = newest_days(stored.key for stored in storage.list())

    def link(key: str) -> set[str]:
        """Store the page with its links; return the keys of the pages that it leads to."""
        led: set[str] = set()

        def address(target: str) -> str | None:
            if found := newest_key(target, days):
                led.add(found)
                return _address(settings, storage, found, key)
            return None

        with contextlib.suppress(MissingObject):  # it went meanwhile
            page = load_page(storage, key)
            linked = with_links(page, address)
            if linked != page:
                store_page(storage, key, linked.encode())
        return led - {INDEX}

    seen: set[str] = set()
    todo = set(keys)
    while todo:
        seen |= todo
        with ThreadPoolExecutor(core.POOL // 4) as pool:
            todo = set().union(*pool.map(link, sorted(todo))) - seen


def _address(settings: Settings, storage: Storage, key: str, seen_from: str) -> str:
    if storage.remote:
        return link_to(settings, storage, key)
    return "../" * seen_from.count("/") + quote(key)


def refresh_index(settings: Settings) -> None:
    """Store the index of all pages and runs, as they are now: a job without a page has runs too.

    Raises:
        StorageError: the pages cannot be listed or the index not be stored.
        LakeError: the runs cannot be read.
    """
    storage = open_pages(settings)
    query = "SELECT * FROM runs ORDER BY started DESC, run LIMIT 5000"
    objects, runs = list(storage.list()), Lake(settings.lake_url).rows(query)
    linked = SIGNED if storage.remote and not settings.page_base_url else None
    page = index_page(objects, runs, lambda key: _address(settings, storage, key, INDEX), linked)
    store_page(storage, INDEX, page)


def store_page(storage: Storage, key: str, page: bytes) -> None:
    """Store one page, compressed where readers understand that."""
    if storage.compresses:
        storage.put(key, _packed(page), content_type=CONTENT_TYPE, content_encoding="gzip")
    else:
        storage.put(key, page, content_type=CONTENT_TYPE)


def _packed(page: bytes) -> bytes:
    """Return the page as gzip has it; plotly.js, most of it, is compressed once for all pages."""
    head, mark, rest = page.partition(b'id="plotly">')
    script, end, foot = rest.partition(b"</script>")
    start, sums = b"\x1f\x8b\x08" + bytes(7), struct.pack("<II", zlib.crc32(page), len(page))
    return (
        start + _deflated(head + mark) + _of_all(script) + _deflated(end + foot, last=True) + sums
    )


def _deflated(part: bytes, *, last: bool = False) -> bytes:
    """Return a part that others can follow, or the last one."""
    packer = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    return packer.compress(part) + packer.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)


_of_all = lru_cache(4)(_deflated)


def load_page(storage: Storage, key: str) -> str:
    """Return a stored page; raises as `Storage.get`."""
    page = storage.get(key)
    return (gzip.decompress(page) if page.startswith(b"\x1f\x8b") else page).decode("utf-8")


def store_notebook(
    settings: Settings,
    notebook: str,
    parameters: Mapping[str, Any],
    now: datetime | None = None,
    analysis: Callable[[], Analysis] | None = None,
    kernel: SharedKernel | None = None,
) -> StoredPage:
    """Do as `publish_notebook`, but leave links and index, for many pages at once.

    `analysis` returns what the run has found, which the notebook then need not find again. A
    notebook that ships with dmarckit runs on the `kernel`, if there is one, others on their own.

    Raises:
        PageError: there is no such notebook or parameter.
        NotebookFailed: a cell raised; the executed notebook with the traceback, without
            secrets, is kept below ``failed/`` beside the pages.
    """
    from dmarckit.pages.build import build_page, find_notebook  # they load papermill

    core.use(settings.language)  # a worker process has not loaded them itself
    now = now or datetime.now(UTC)

    def inputs(values: Mapping[str, Any]) -> tuple[Input, ...]:
        lake = Lake(settings.lake_url)
        _check_names(settings, lake, values)
        with contextlib.suppress(LakeError):  # the notebook fails then
            return page_inputs(lake, values, now)
        return ()

    storage = open_pages(settings)
    secrets, config = core.secrets_of(settings), os.environ.get(core.CONFIG_VARIABLE)
    path, shipped = find_notebook(notebook), core.shipped_files("notebooks", "*.ipynb", own=False)
    try:
        page = build_page(
            path,
            parameters,
            config=config,
            now=now,
            secrets=secrets,
            inputs=inputs,
            analysis=analysis,
            kernel=kernel if path in shipped.values() else None,
        )
    except NotebookFailed as error:
        with contextlib.suppress(core.StorageError):
            kept, given = Path(error.kept), core.redacted(dict(parameters), secrets)
            key = f"failed/{page_key(path.stem, given, now.date()).removesuffix('.html')}.ipynb"
            storage.put(key, kept.read_bytes(), content_type="application/x-ipynb+json")
            shutil.rmtree(kept.parent)
            error = NotebookFailed(error.reason, f"{storage.url.rstrip('/')}/{key}")
        raise error
    store_page(storage, page.key, page.html)
    return StoredPage(page, page.key, link_to(settings, storage, page.key))


def _check_names(settings: Settings, lake: Lake, values: Mapping[str, Any]) -> None:
    """Check the names that a page is about: an empty page would say that all is well."""
    from dmarckit.findings import check_domains

    names = values.get("domains") or []
    names = [*([names] if isinstance(names, str) else names), values.get("domain")]
    with contextlib.suppress(LakeError):  # the notebook fails then
        check_domains(settings, lake, [str(name) for name in names if name])
        if uid := str(values.get("report_uid") or ""):
            query = "SELECT report_uid FROM reports ORDER BY report_uid <> $uid, begin DESC"
            uids = lake.arrow(f"{query} LIMIT 1000", uid=uid)["report_uid"].to_pylist()
            if uids and uids[0] != uid:
                raise core.PageError(f"the report {core.unknown_name(uid, uids)}")


def link_to(settings: Settings, storage: Storage, key: str) -> str:
    """Return the address that opens a stored page."""
    if settings.page_base_url:
        return f"{settings.page_base_url.rstrip('/')}/{key}"
    return storage.link(key, settings.presign_expires)
