"""Pages and their index in the storage, made with an installation's settings."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmarckit import core
from dmarckit.core import LakeError, NotebookFailed, Settings, Storage, open_storage
from dmarckit.lake import Lake
from dmarckit.pages.index import INDEX, index_page
from dmarckit.pages.inputs import Input, page_inputs
from dmarckit.pages.links import page_key

if TYPE_CHECKING:
    from dmarckit.pages.build import BuiltPage

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
    """Run a notebook with these settings, store its page and the new index.

    Of a run that fails the page of an earlier one stays as it was. Raises as `store_notebook`.
    """
    published = store_notebook(settings, notebook, parameters, now)
    refresh_index(settings)
    return published


def refresh_index(settings: Settings) -> None:
    """Store the index of all pages and runs, as they are now.

    The folder of the pages is made if there is none: a job that makes no page has runs too.

    Raises:
        StorageError: the pages cannot be listed or the index not be stored.
        LakeError: the runs cannot be read.
    """
    storage = open_storage(settings.pages_url)
    if not storage.remote:
        with contextlib.suppress(OSError):  # listing says what is wrong with it
            Path(settings.pages_url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
    store_index(storage, Lake(settings.lake_url))


def store_index(storage: Storage, lake: Lake | None = None) -> None:
    """Store the index of all pages, with the runs of a `lake`; raises as `refresh_index`."""
    query = "SELECT * FROM runs ORDER BY started DESC, run LIMIT 5000"
    runs = lake.sql(query) if lake is not None else None
    store_page(storage, INDEX, index_page(storage.list(), runs))


def store_page(storage: Storage, key: str, page: bytes) -> None:
    """Store one page, compressed where readers understand that."""
    if storage.compresses:
        packed = gzip.compress(page, compresslevel=6, mtime=0)
        storage.put(key, packed, content_type=CONTENT_TYPE, content_encoding="gzip")
    else:
        storage.put(key, page, content_type=CONTENT_TYPE)


def store_notebook(
    settings: Settings, notebook: str, parameters: Mapping[str, Any], now: datetime | None = None
) -> StoredPage:
    """Do as `publish_notebook`, but leave the index, for many pages at once.

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

    storage = open_storage(settings.pages_url, settings.presign_keys())
    secrets, config = core.secrets_of(settings), os.environ.get(core.CONFIG_VARIABLE)
    path = find_notebook(notebook)
    try:
        page = build_page(path, parameters, config=config, now=now, secrets=secrets, inputs=inputs)
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
