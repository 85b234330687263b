"""The same tables in other engines: a Polars LazyFrame, a Dask DataFrame.

Both read the data files themselves, with the credentials, region and endpoint that boto3
finds; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dmarckit.core.errors import LakeError
from dmarckit.lake.lake_location import Location
from dmarckit.lake.schemas import TABLES

if TYPE_CHECKING:
    import pandas as pd


def polars_frame(location: Location, name: str) -> Any:
    """A table as a `polars.LazyFrame`; without rows while there is no such table yet."""
    try:
        import polars as library
    except ImportError as error:
        raise LakeError("Polars is not installed; pip install polars") from error
    polars: Any = library
    table = location.open(name)
    if table is None:
        return polars.from_arrow(TABLES[name].schema.empty_table()).lazy()
    return polars.scan_delta(table, storage_options=location.options() or None)


def dask_frame(location: Location, name: str) -> Any:
    """A table as a `dask.dataframe.DataFrame`, one partition a data file.

    Each worker reads its files itself, so the lake must have an address that it can reach.
    Columns that nobody asks for are not read.
    """
    try:
        from dask import dataframe as library
    except ImportError as error:
        raise LakeError("Dask is not installed; pip install 'dask[dataframe]'") from error
    dataframe: Any = library
    empty = TABLES[name].schema.empty_table().to_pandas()
    table = location.open(name)
    files = table.file_uris() if table is not None else []
    if not files:
        return dataframe.from_pandas(empty, npartitions=1)
    read = _ReadFile(location.url, name)
    return dataframe.from_map(read, files, meta=empty, enforce_metadata=False)


class _ReadFile:
    """Reads a data file on whatever machine it runs; Dask narrows `columns`."""

    def __init__(self, url: str, name: str, columns: Sequence[str] | None = None) -> None:
        self._url = url
        self._name = name
        self.columns = columns

    def __call__(self, file: str) -> pd.DataFrame:
        data = Location(self._url).dataset([file], TABLES[self._name].schema)
        frame: pd.DataFrame = data.to_table(columns=self.columns).to_pandas()
        return frame
