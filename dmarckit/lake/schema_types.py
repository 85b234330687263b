"""What a table of the lake is, and the types its columns have."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT = pa.string()
WHOLE = pa.int64()
YES_NO = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.list_(pa.string())
REASONS = pa.list_(pa.struct([("type", TEXT), ("comment", TEXT)]))
DKIM = pa.list_(
    pa.struct([("domain", TEXT), ("selector", TEXT), ("result", TEXT), ("human_result", TEXT)])
)
SPF = pa.list_(
    pa.struct([("domain", TEXT), ("scope", TEXT), ("result", TEXT), ("human_result", TEXT)])
)

TLS_FAILURES = pa.list_(
    pa.struct(
        [
            ("result_type", TEXT),
            ("sessions", WHOLE),
            ("sending_mta_ip", TEXT),
            ("receiving_mx_hostname", TEXT),
            ("receiving_mx_helo", TEXT),
            ("receiving_ip", TEXT),
            ("additional_information", TEXT),
            ("failure_reason_code", TEXT),
        ]
    )
)


@dataclass(frozen=True)
class Table:
    """One table. `key` names the columns that make a row unique.

    `unit` names those whose rows are written together or not at all: all records of a
    report, one report, one mail.
    """

    name: str
    row: str
    key: tuple[str, ...]
    unit: tuple[str, ...]
    schema: pa.Schema

    @property
    def columns(self) -> dict[str, str]:
        """Column → what it means."""
        return {f.name: f.metadata[b"comment"].decode() for f in self.schema}


def schema(*columns: tuple[str, pa.DataType, str]) -> pa.Schema:
    # Delta keeps a column's description under "comment"; other engines show it.
    return pa.schema([pa.field(n, t, metadata={"comment": text}) for n, t, text in columns])
