"""A notebook run with an installation's settings, its page stored; of a failed run, why."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dmarckit.core import (
    CONFIG_VARIABLE,
    LakeError,
    NotebookFailed,
    Settings,
    Storage,
    StorageError,
    open_storage,
    redacted,
    secrets_of,
    use,
)
from dmarckit.lake import Lake
from dmarckit.pages.build import BuiltPage, build_page, find_notebook, store_index, store_page
from dmarckit.pages.links import page_key
from dmarckit.pages.render import Input, page_inputs

FAILED = "failed"
NOTEBOOK_TYPE = "application/x-ipynb+json"


@dataclass(frozen=True)
class Published:
    """A page that is stored, and how to open it."""

    page: BuiltPage
    key: str
    link: str


def publish_notebook(
    settings: Settings, notebook: str, parameters: Mapping[str, Any], now: datetime | None = None
) -> Published:
    """Run a notebook with these settings, store its page and the new index.

    Raises what `store_notebook` raises; the page of an earlier run stays as it was.
    """
    published = store_notebook(settings, notebook, parameters, now)
    refresh_index(settings)
    return published


def refresh_index(settings: Settings) -> None:
    """The index of all pages and runs, as they are now.

    The folder of the pages is made if there is none yet: a job that makes no page has runs
    all the same. Raises StorageError or LakeError.
    """
    storage = open_storage(settings.pages_url)
    if not storage.remote:
        with contextlib.suppress(OSError):  # listing says what is wrong with it
            Path(settings.pages_url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
    store_index(storage, Lake(settings.lake_url))


def store_notebook(
    settings: Settings, notebook: str, parameters: Mapping[str, Any], now: datetime | None = None
) -> Published:
    """`publish_notebook` without the index, for many pages at once.

    Raises PageError. When a cell raised it is NotebookFailed, and the executed notebook
    with the traceback, without secrets, is kept below ``failed/`` beside the pages.
    """
    use(settings.language)  # a worker process has not loaded them itself
    now = now or datetime.now(UTC)
    storage = open_storage(settings.pages_url, settings.presign_keys())
    secrets = secrets_of(settings)
    try:
        page = build_page(
            find_notebook(notebook),
            parameters,
            config=os.environ.get(CONFIG_VARIABLE),
            now=now,
            secrets=secrets,
            inputs=lambda values: _inputs(settings, values, now),
        )
    except NotebookFailed as error:
        given = redacted(dict(parameters), secrets)
        key = f"{FAILED}/{page_key(Path(notebook).stem, given, now.date())}"
        raise _kept_in(storage, key.removesuffix(".html") + ".ipynb", error) from error
    store_page(storage, page.key, page.html)
    return Published(page, page.key, link_to(settings, storage, page.key))


def _inputs(settings: Settings, parameters: Mapping[str, Any], now: datetime) -> tuple[Input, ...]:
    """What the page rests on; nothing where the lake cannot be read, which the notebook tells."""
    with contextlib.suppress(LakeError):
        return page_inputs(Lake(settings.lake_url), parameters, now)
    return ()


def link_to(settings: Settings, storage: Storage, key: str) -> str:
    """The address that opens a stored page."""
    if settings.page_base_url:
        return f"{settings.page_base_url.rstrip('/')}/{key}"
    return storage.link(key, settings.presign_expires)


def _kept_in(storage: Storage, key: str, error: NotebookFailed) -> NotebookFailed:
    """The error with the notebook in the storage; where that fails, it stays where it is."""
    with contextlib.suppress(StorageError):
        kept = Path(error.kept)
        storage.put(key, kept.read_bytes(), content_type=NOTEBOOK_TYPE)
        shutil.rmtree(kept.parent)
        return NotebookFailed(error.reason, f"{storage.url.rstrip('/')}/{key}")
    return error
