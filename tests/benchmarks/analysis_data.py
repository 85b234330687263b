"""A lake of millions of records, made by DuckDB: the same size gives the same records.

200 domains, 90 days, 12 reporters. Each domain has its own servers, six services with pools
of addresses (four of them only sign), forwarders that break SPF, lists that break DKIM,
and spoofers from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from dmarckit.core.settings import DeclaredSender
from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import TABLES

DOMAINS, DAYS, REPORTERS, SERVICES = 200, 90, 12, 20
END = datetime(2026, 11, 24, tzinfo=UTC)
START = END - timedelta(days=DAYS)

DECLARED = tuple(
    DeclaredSender(
        name=f"Service {n}",
        kind="email service",
        spf_domains=(f"service{n}.example",),
        dkim_domains=(f"service{n}.example",),
    )
    for n in range(0, SERVICES, 2)
)
"""Half of the services are known to the installation."""

_REPORTS = f"""
CREATE TABLE reports_made AS
SELECT
    r, 'uid' || r AS report_uid, 'id' || r AS report_id,
    'reporter' || (r // {DOMAINS} % {REPORTERS}) || '.example' AS reporter,
    'dmarc@' || reporter AS contact,
    $start + to_days((r // {DOMAINS * REPORTERS})::INTEGER) AS begin, begin + to_days(1) AS "end",
    'brand' || (r % {DOMAINS}) || '.example' AS domain,
    ['none', 'quarantine', 'reject'][1 + r % 3] AS p, 100 AS pct, 'r' AS adkim, 'r' AS aspf,
    'mail' || r AS mail_key, strftime(begin, '%Y-%m') AS month
FROM range({DOMAINS * DAYS * REPORTERS}) AS made(r)
"""

_RECORDS = f"""
WITH numbered AS (
    SELECT i, i * {DOMAINS * DAYS * REPORTERS} // $records AS r, hash(i) AS h
    FROM range($first::BIGINT, $after::BIGINT) AS made(i)
), flows AS (
    SELECT *, r % {DOMAINS} AS d, (h // 3 % 100)::INTEGER AS f, (h // 1009 % 6)::INTEGER AS n,
        (d * 7 + n * 3) % {SERVICES} AS service,
        CASE WHEN f < 10 THEN 'own' WHEN f < 55 THEN 'service' WHEN f < 70 THEN 'forwarder'
             WHEN f < 75 THEN 'list' ELSE 'spoofer' END AS flow,
        flow = 'own' OR flow = 'service' AND h // 7 % 50 > 0 OR flow = 'forwarder' AS signed,
        flow = 'own' OR flow = 'service' AND n < 2 AS returns
    FROM numbered
)
SELECT report_uid, i - ceil(r * $records / {DOMAINS * DAYS * REPORTERS})::BIGINT AS position,
    begin, "end", domain, reporter,
    CASE flow WHEN 'own' THEN '192.0.2.' || (1 + h % 20)
        WHEN 'service' THEN format('2001:db8:{{:x}}::{{:x}}', 16 + service, h // 11 % 900)
        WHEN 'forwarder' THEN format('2001:db8:1{{:03x}}::{{:x}}', h // 11 % 60, h // 13 % 9)
        WHEN 'list' THEN '203.0.113.' || (1 + h % 40)
        ELSE format('2001:db8:{{:x}}:{{:x}}::{{:x}}',
            8192 + h // 11 % 3000, h // 17 % 16, h // 19 % 40)
    END AS source_ip,
    1 + CASE flow WHEN 'own' THEN h // 23 % 60 WHEN 'service' THEN h // 23 % 25 ELSE h // 23 % 4 END
        AS messages,
    CASE WHEN signed OR returns THEN 'none' ELSE p END AS disposition,
    signed AS dkim_aligned, returns AS spf_aligned,
    CASE WHEN flow = 'list' AND h // 29 % 3 = 0 THEN
        [{{'type': 'local_policy', 'comment': 'arc=pass'}}] ELSE [] END AS reasons,
    CASE WHEN flow = 'spoofer' AND h // 29 % 4 = 0 THEN 'x' || h // 31 % 50 || '.' || domain
        ELSE domain END AS header_from,
    NULL AS envelope_from, NULL AS envelope_to,
    CASE WHEN flow = 'spoofer' THEN [] WHEN flow = 'service' THEN [
            {{'domain': domain, 'selector': 's' || n,
              'result': CASE WHEN signed THEN 'pass' ELSE 'fail' END, 'human_result': NULL}},
            {{'domain': 'service' || service || '.example', 'selector': 'k1',
              'result': 'pass', 'human_result': NULL}}]
        WHEN flow = 'forwarder' THEN [{{'domain': domain, 'selector': 's' || n,
             'result': 'pass', 'human_result': NULL}}]
        ELSE [{{'domain': domain, 'selector': 'own',
             'result': CASE WHEN signed THEN 'pass' ELSE 'fail' END, 'human_result': NULL}}]
    END AS dkim,
    [{{'domain': CASE flow WHEN 'own' THEN domain
            WHEN 'service' THEN CASE WHEN returns THEN 'rp' || n || '.' || domain
                ELSE 'bounce.service' || service || '.example' END
            WHEN 'forwarder' THEN CASE WHEN h // 37 % 2 = 0 THEN domain
                ELSE 'srs.forwarder' || h // 11 % 60 || '.example' END
            WHEN 'list' THEN 'lists' || h % 40 || '.example' ELSE domain END,
       'scope': 'mfrom',
       'result': CASE WHEN flow = 'spoofer' OR flow = 'forwarder' AND h // 37 % 2 = 0
           THEN 'fail' ELSE 'pass' END,
       'human_result': NULL}}] AS spf,
    month
FROM flows JOIN reports_made USING (r) WHERE month = $month
"""


def fill(home: Path, records: int) -> Lake:
    """A lake below `home` with so many records."""
    lake = Lake(str(home / "lake"))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_REPORTS, {"start": START})
        made = connection.sql(
            "SELECT *, $n AS records, 0 AS messages, 0 AS failing FROM reports_made",
            params={"n": records // (DOMAINS * DAYS * REPORTERS)},
        ).to_arrow_table()
        lake.write.append_new("reports", _as(made, "reports"))
        months = connection.sql(
            "SELECT month, min(r), max(r) + 1 FROM reports_made GROUP BY month ORDER BY month"
        ).fetchall()
        for month, first, after in months:
            lake.write.append_stream(
                "records",
                {month: month},
                lambda m, a=first, z=after: _batches(connection, records, m, a, z),
            )
    return lake


def _batches(
    connection: duckdb.DuckDBPyConnection, records: int, month: str, first: int, after: int
) -> Iterator[pa.RecordBatch]:
    per_report = records / (DOMAINS * DAYS * REPORTERS)
    start, stop = int(first * per_report) - 1, int(after * per_report) + 1
    step = 500_000
    for begin in range(max(start, 0), min(stop, records), step):
        values = {"records": records, "first": begin, "month": month}
        values["after"] = min(begin + step, stop, records)
        yield from _as(
            connection.sql(_RECORDS, params=values).to_arrow_table(), "records"
        ).to_batches()


def _as(table: pa.Table, name: str) -> pa.Table:
    schema = TABLES[name].schema
    columns = [
        table.column(f.name).cast(f.type)
        if f.name in table.column_names
        else pa.nulls(table.num_rows, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
