"""How the data files of a table lie, and which months are worth to be written anew.

A month is a folder (partition). Within it rows lie by domain, so that the statistics of
files and row groups tell readers which of them one domain is not in. What ingests append
is in no order; `dmarckit maintain` puts it in order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from dmarckit.lake.lake_location import Location

if TYPE_CHECKING:
    from deltalake import DeltaTable

CLUSTERED = {"records": "domain", "reports": "domain", "tls": "policy_domain"}
"""table → column by which the rows of a month are ordered; other tables are read whole"""

TARGET_SIZE = 32_000_000
"""bytes of a data file: few enough to skip, many enough for few requests (Delta's own default,
100 MB, would hold a month of most installations in one file)"""

GROUP_ROWS = 50_000
"""rows of a row group, the least that a reader reads: about 1 MB of records"""

MIXED_GROUPS = 4
"""row groups with several domains that one domain may lie in; in a month in order it is two"""

SMALL_FILES = 4
"""files below half the target size that a month may have"""


@dataclass(frozen=True)
class File:
    """A data file of a table."""

    uri: str
    month: str
    size: int
    """bytes"""
    rows: int


@dataclass(frozen=True)
class Group:
    """A row group: the first and the last value of the ordering column, and its bytes."""

    first: str
    last: str
    size: int
    rows: int


def files_of(table: DeltaTable, uri: str) -> list[File]:
    """The data files of the table as it is; `uri` is its address."""
    actions = pa.table(table.get_add_actions(flatten=True))
    columns = ("path", "partition.month", "size_bytes", "num_records")
    if not actions.num_rows:
        return []
    rows = zip(*(actions[c].to_pylist() for c in columns), strict=True)
    return [File(f"{uri}/{path}", month, size, count) for path, month, size, count in rows]


def by_month(files: Sequence[File]) -> dict[str, list[File]]:
    """Month → its files, in order of time."""
    found: dict[str, list[File]] = defaultdict(list)
    for file in files:
        found[file.month].append(file)
    return dict(sorted(found.items()))


def wants_compaction(files: Sequence[File]) -> bool:
    """Whether a month has more small files than reading it should open."""
    return sum(file.size < TARGET_SIZE / 2 for file in files) > SMALL_FILES


def wants_order(location: Location, files: Sequence[File], column: str) -> bool:
    """Whether one domain's rows of a month lie in more places than they need to."""
    if sum(file.rows for file in files) <= MIXED_GROUPS * GROUP_ROWS:
        return False  # reading all of it costs little
    groups = location.row_groups([file.uri for file in files], column)
    return is_mixed([Group(*group) for group in groups])


def is_mixed(groups: Sequence[Group]) -> bool:
    """Whether a domain lies, on average, in more than `MIXED_GROUPS` groups' worth of bytes
    that hold other domains too.

    Late reports make small groups anywhere; they weigh what they hold, so that a large
    month is not written anew because of a few.

    >>> is_mixed([Group("a", "z", 100, GROUP_ROWS)] * 10)
    True
    >>> is_mixed([Group(name, name, 100, GROUP_ROWS) for name in "abcdefghij"])
    False
    """
    total, rows = sum(g.size for g in groups), sum(g.rows for g in groups)
    if not total or not rows:
        return False
    shared = [g for g in groups if g.first != g.last]
    read = sum(g.size * sum(s.size for s in shared if s.first <= g.first <= s.last) for g in groups)
    one_group = total * min(1.0, GROUP_ROWS / rows)
    return read / total > MIXED_GROUPS * one_group
