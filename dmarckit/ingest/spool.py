"""A place on disk for the records of a report that has too many of them for memory.

A worker on another machine has another disk: what it spooled travels packed, as `content`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dmarckit.lake.rows import OWN_SCHEMA, failing_messages, own_columns, with_shared
from dmarckit.reports.models import Record


@dataclass(frozen=True)
class LongReport:
    """A report whose records wait in a file, or packed in memory."""

    uid: str
    shared: dict[str, Any]
    """the columns that its records have in common"""
    path: str = ""
    """its file; empty: `content` has what the file had"""
    content: bytes = field(default=b"", repr=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows of `records`, read anew at each call."""
        source = pa.OSFile(self.path) if self.path else pa.BufferReader(self.content)
        with source as file, pa.ipc.open_file(file) as reader:
            for i in range(reader.num_record_batches):
                yield with_shared(reader.get_batch(i), self.shared)

    def packed(self) -> LongReport:
        """The same without its file, which is removed."""
        content = Path(self.path).read_bytes()
        self.forget()
        return replace(self, path="", content=content)

    def forget(self) -> None:
        """Remove its file."""
        if self.path:
            with contextlib.suppress(FileNotFoundError):
                Path(self.path).unlink()


class Spool:
    """Takes the records of a long report (it is a `RecordSink`) and keeps them in a file."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        self._path: str | None = None
        self._writer: Any = None
        self._position = 0
        self.failing = 0
        """messages that fail DMARC in what was added"""

    def start(self) -> None:
        """A report begins, or begins again."""
        self.discard()

    def add(self, records: list[Record]) -> None:
        """The next records of the report."""
        if self._writer is None:
            handle, self._path = tempfile.mkstemp(dir=self._folder, suffix=".arrow")
            os.close(handle)
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            self._writer = pa.ipc.new_file(self._path, OWN_SCHEMA, options=options)
        places = np.arange(self._position, self._position + len(records))
        self._writer.write_table(own_columns(records, places))
        self._position += len(records)
        self.failing += failing_messages(records)

    def finished(self) -> str | None:
        """The file of the report that was just read; None when it was a short one."""
        if self._writer is None:
            return None
        self._writer.close()
        path, self._path, self._writer = self._path, None, None
        return path

    def discard(self) -> None:
        """Forget what was added since the last `finished`."""
        if self._writer is not None:
            self._writer.close()
            Path(str(self._path)).unlink(missing_ok=True)
        self._reset()
