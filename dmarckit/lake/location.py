"""Where the lake lies, for the libraries that read and write it and for other engines.

Delta Lake, pyarrow and DuckDB each reach S3 in their own way; all of them get the credentials,
region and endpoint that boto3 finds. Athena, Spark and DuckDB read all but a table's place from the
Delta log.
"""

from __future__ import annotations

import contextlib
import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from dmarckit.core import (
    POOL,
    LakeError,
    SettingsError,
    Storage,
    StorageError,
    aws_errors,
    aws_session,
    code_hint,
    one_line,
    open_storage,
    with_retries,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable


ENGINES = ("athena", "spark", "duckdb")
DATABASE = "dmarckit"
ATHENA_TABLE = (
    "CREATE EXTERNAL TABLE IF NOT EXISTS {table}\nLOCATION '{place}'\n"
    "TBLPROPERTIES ('table_type' = 'DELTA')"
)
SPARK_TABLE = "CREATE TABLE IF NOT EXISTS {table}\nUSING DELTA\nLOCATION '{place}'"
DUCKDB_VIEW = "CREATE OR REPLACE VIEW {table} AS\nSELECT * FROM delta_scan('{place}')"
DUCKDB_S3 = "CREATE OR REPLACE SECRET dmarckit (TYPE s3, PROVIDER credential_chain)"
"""With its extension `aws` DuckDB finds the credentials where the AWS SDK does."""


class RowGroup(NamedTuple):
    """A row group of a data file: its bytes and rows, and what one column holds."""

    first: str  # least value of the column
    last: str
    size: int
    rows: int


HINT = "_last_checkpoint"  # names the newest checkpoint of a table's log
BROKEN_OFF = (0.1, 0.5, 1.0, 2.0)  # pauses after an answer that broke off


def broke_off(error: BaseException) -> bool:
    """Return True if an answer of the storage was cut off on its way to Delta."""
    signs = ("response body", "HTTP error", "decoding response")
    return any(sign in str(error) for sign in signs)


def file_addresses(table: DeltaTable, only: list[tuple[str, str, Any]] | None = None) -> list[str]:
    """Return the addresses of a table's data files, or of those that may hold what `only` asks.

    Delta gives URLs, in which a space is ``%20``.
    """
    return [unquote(url) for url in table.file_uris(file_pruning_predicate=only or None)]


class Location:
    """``s3://bucket/prefix`` or a folder that holds the tables.

    Raises LakeError for a name with signs that Delta takes for something else.
    """

    def __init__(self, url: str) -> None:
        self.is_s3 = url.startswith("s3://")
        self.url = url if self.is_s3 else str(Path(url).expanduser().absolute())
        signs = r"[][\\]|%[0-9A-Fa-f]{2}" + ("|[#?]" if self.is_s3 else "")
        if found := re.search(signs, self.url):
            raise LakeError(
                f"no lake can lie in {one_line(self.url)}: tables cannot be read where "
                f"{found[0]} is in the name; choose another for home, or for lake"
            )

    def table_uri(self, name: str) -> str:
        """Return the address of one table."""
        return f"{self.url}/{name}" if self.is_s3 else str(Path(self.url) / name)

    @property
    def advice(self) -> str:
        """Text: what to check when reading or writing fails."""
        if self.is_s3:
            return "check the bucket, AWS_REGION and the permissions to read, write and list it"
        return "check that the folder is there and writable"

    def options(self) -> dict[str, str]:
        """Return Delta's storage options, new each time: a role's keys change hourly."""
        if not self.is_s3:
            return {}
        with aws_errors("cannot use S3", LakeError):  # what gives them out may be down a moment
            keys = self._session.get_credentials()
            frozen = keys and keys.get_frozen_credentials()
        if frozen is None:
            raise LakeError("no AWS credentials found; set AWS_PROFILE, or use a role")
        options = {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen.token or "",
            "AWS_REGION": self._region,
            "AWS_ENDPOINT_URL": self._endpoint or "",
            "AWS_ALLOW_HTTP": "true" if (self._endpoint or "").startswith("http://") else "",
            "aws_conditional_put": "etag",
        }
        return {name: value for name, value in options.items() if value}

    def open(self, name: str) -> DeltaTable | None:
        """Return the table as its last commit left it; None when there is none yet."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        def opened() -> DeltaTable | None:
            try:
                return DeltaTable(self.table_uri(name), storage_options=self.options())
            except TableNotFoundError:
                return None

        with self.explained(name, "read"):
            try:
                return opened()
            except Exception as error:
                if HINT in str(error) and "AccessDenied" in str(error):
                    return self._open_without_hint(name, opened)
                if not broke_off(error):
                    raise
            return with_retries(opened, broke_off, BROKEN_OFF)

    def _open_without_hint(
        self, name: str, opened: Callable[[], DeltaTable | None]
    ) -> DeltaTable | None:
        """Open a table that has no checkpoint yet, and give it one.

        Delta asks for the hint to it first. Amazon calls a missing object "forbidden" where one
        may list by prefix only, which Delta takes for an end.
        """
        made = False
        if next(self.storage.list(f"{name}/_delta_log/"), None) is None:
            return None
        with contextlib.suppress(StorageError):  # who may only read sees Delta's own error
            key = f"{name}/_delta_log/{HINT}"  # an empty one counts for none
            made = self.storage.put_new(key, b"", content_type="application/json")
        table = opened()
        if made and table is not None:
            table.create_checkpoint()
        return table

    def query(self, name: str, text: str) -> list[dict[str, Any]]:
        """Return the rows of a query on one table, by Delta's own engine; of no table none.

        DuckDB takes longer to load than some commands may take altogether.
        """
        from deltalake import QueryBuilder

        table = self.open(name)
        if table is None:
            return []
        with self.explained(name, "read"):
            found = QueryBuilder().register(name, table).execute(text).read_all()
            rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
            return [dict(zip(found.schema.names, row, strict=True)) for row in rows]

    @contextlib.contextmanager
    def explained(self, name: str, doing: str) -> Iterator[None]:
        """Turn what Delta raises in the block into a LakeError of one line with advice."""
        try:
            yield
        except Exception as error:
            import pyarrow as pa
            from deltalake.exceptions import DeltaError

            if not isinstance(error, DeltaError | OSError | pa.ArrowException):
                raise
            why = f"{one_line(error, 300)}; {self.advice}"
            code = re.search(r"<Code>(\w+)</Code>", str(error))
            if code and (hint := code_hint(code[1], "to list, read and write below it")):
                why = f"{hint} ({code[1]})"
            raise LakeError(f"cannot {doing} table {name} in {self.url}: {why}") from error

    def dataset(self, files: Sequence[str], schema: pa.Schema) -> Any:
        """Return the data files as one dataset with these columns, `month` among them."""
        import pyarrow as pa
        import pyarrow.dataset

        paths, filesystem = self._paths(files)
        month = pa.schema([("month", pa.string())])
        months = pyarrow.dataset.partitioning(month, flavor="hive")
        return pyarrow.dataset.dataset(
            paths, schema=schema, format="parquet", filesystem=filesystem, partitioning=months
        )

    def read(self, files: Sequence[str], schema: pa.Schema) -> pa.Table:
        """Return the rows of a few small data files, with these columns; one that lacks is null.

        pyarrow's datasets, for more than a few, load pandas.
        """
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        paths, filesystem = self._paths(files)
        plain = pa.schema([field.remove_metadata() for field in schema])

        def rows_of(path: str) -> pa.Table:
            with ParquetFile(path, filesystem=filesystem) as file:
                rows = file.read(columns=schema.names)
            if "month" in schema.names:  # it is in the path alone
                month = unquote(path.rpartition("month=")[2].partition("/")[0]).encode()
                ends = array("i", range(0, len(month) * rows.num_rows + 1, len(month)))
                buffers = [None, pa.py_buffer(ends), pa.py_buffer(month * rows.num_rows)]
                months = pa.Array.from_buffers(pa.string(), rows.num_rows, buffers)
                rows = rows.append_column("month", months)
            # files out of which rows were deleted hold string views
            return rows.cast(pa.schema([plain.field(name) for name in rows.column_names]))

        with ThreadPoolExecutor(POOL // 2) as pool:
            found = list(pool.map(rows_of, paths))
        none = pa.Table.from_batches([], plain)
        return pa.concat_tables([none, *found], promote_options="default").select(schema.names)

    def read_through(self, file: str) -> None:
        """Read a data file to its end and keep nothing, to see that it can be read."""
        from pyarrow.parquet import ParquetFile

        (path,), filesystem = self._paths([file])
        with ParquetFile(path, filesystem=filesystem) as data:
            for _batch in data.iter_batches():
                pass

    def row_groups(self, files: Sequence[str], column: str) -> list[RowGroup]:
        """Return the row groups of the files, with what they hold of a column.

        Only the files' ends are read. A row group without statistics counts as holding all.
        """
        from pyarrow.parquet import read_metadata

        paths, filesystem = self._paths(files)
        found = []
        for path in paths:
            footer = read_metadata(path, filesystem=filesystem)
            place = [footer.schema.column(i).path for i in range(footer.num_columns)].index(column)
            for number in range(footer.num_row_groups):
                group = footer.row_group(number)
                values = group.column(place).statistics
                known = values is not None and values.has_min_max
                first, last = (values.min, values.max) if known else ("", "\U0010ffff")
                found.append(RowGroup(first, last, group.total_byte_size, group.num_rows))
        return found

    def _paths(self, files: Sequence[str]) -> tuple[list[str], Any]:
        # pyarrow's own file systems: the one that Delta offers aborts Python at exit
        from pyarrow.fs import LocalFileSystem, S3FileSystem

        if not self.is_s3:
            return list(files), LocalFileSystem()
        options = self.options()
        endpoint = urlsplit(self._endpoint or "")
        return [f.removeprefix("s3://") for f in files], S3FileSystem(
            access_key=options["AWS_ACCESS_KEY_ID"],
            secret_key=options["AWS_SECRET_ACCESS_KEY"],
            session_token=options.get("AWS_SESSION_TOKEN"),
            region=self._region,
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or "https",
            connect_timeout=10,
            request_timeout=60,
        )

    @cached_property
    def storage(self) -> Storage:
        """What lies there, as objects."""
        return open_storage(self.url)

    @cached_property
    def _session(self) -> Any:
        with aws_errors("cannot use S3", LakeError):
            return aws_session()

    @property
    def _region(self) -> str:
        return str(self._session.region_name or self._client_meta.region_name)

    @property
    def _endpoint(self) -> str | None:
        """Return the endpoint that the SDK was told to use; None for Amazon's own."""
        told, url = os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ENDPOINT_URL")
        url = told or url
        if not url or "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" in os.environ:
            url = str(self._client_meta.endpoint_url)  # its client takes 0.2 s to make
        host = urlsplit(url).hostname or ""
        own = any(host.endswith(f".{d}") for d in ("amazonaws.com", "amazonaws.com.cn", "api.aws"))
        return None if own and not told else url

    @cached_property
    def _client_meta(self) -> Any:
        return self._session.client("s3").meta


def statements(engine: str, lake_url: str, tables: Sequence[str]) -> list[str]:
    """Return the statements that make the tables known to an engine, in order.

    Those of Athena and Spark make them in `DATABASE`.

    Raises SettingsError when it is not one of `ENGINES`, or cannot reach the lake.
    """
    if engine not in ENGINES:
        raise SettingsError(f"--ddl {one_line(engine)}: engines are {', '.join(ENGINES)}")
    location = Location(lake_url)
    if engine == "athena" and not location.is_s3:
        raise SettingsError(
            f"lake {one_line(location.url)}: Athena reads S3 only; set lake to s3://bucket/…"
        )
    made, within = [f"CREATE DATABASE IF NOT EXISTS {DATABASE}"], f"{DATABASE}."
    if engine == "duckdb":
        extensions = ("delta", "httpfs", "aws") if location.is_s3 else ("delta",)
        made, within = [f"{do} {name}" for name in extensions for do in ("INSTALL", "LOAD")], ""
        made += [DUCKDB_S3] if location.is_s3 else []
    for name in tables:
        uri = location.table_uri(name)
        if engine == "athena":
            place, text = f"{uri}/", ATHENA_TABLE
        elif engine == "duckdb":
            place, text = uri, DUCKDB_VIEW
        else:  # s3a:// is the name of S3 in Spark's own (Hadoop) file systems
            place = f"s3a://{uri.removeprefix('s3://')}" if location.is_s3 else f"file://{uri}"
            text = SPARK_TABLE
        if any(c in place for c in "'\\\n\r"):
            raise SettingsError(f"lake {one_line(place)}: quotes and backslashes fit no statement")
        made.append(text.format(table=f"{within}{name}", place=place))
    return made
