"""A place on disk for the records of a report that has too many of them for memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dmarckit.models import Record
from dmarckit.rows import OWN_SCHEMA, failing_messages, own_columns, with_shared


@dataclass(frozen=True)
class LongReport:
    """A report whose records wait in a file."""

    uid: str
    shared: dict[str, Any]
    """the columns that its records have in common"""
    path: str

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows of `records`, read anew at each call."""
        with pa.OSFile(self.path) as file, pa.ipc.open_file(file) as reader:
            for i in range(reader.num_record_batches):
                yield with_shared(reader.get_batch(i), self.shared)


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
