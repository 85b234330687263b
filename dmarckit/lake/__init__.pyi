from .lake import (
    OUTVOTED as OUTVOTED,
    Lake as Lake,
    Snapshot as Snapshot,
    column_kinds as column_kinds,
    documented as documented,
    open_lake as open_lake,
    query_failed as query_failed,
    rows_of as rows_of,
)
from .location import Location as Location, statements as statements
from .maintain import (
    VACUUM_DAYS as VACUUM_DAYS,
    MaintenanceResult as MaintenanceResult,
    Step as Step,
    kept_days as kept_days,
    maintain_lake as maintain_lake,
)
from .repair import (
    Repair as Repair,
    data_files as data_files,
    marked_tables as marked_tables,
    repair_tables as repair_tables,
)
from .rows import (
    CONTENT as CONTENT,
    OWN_SCHEMA as OWN_SCHEMA,
    add_content as add_content,
    failing_messages as failing_messages,
    failure_row as failure_row,
    identity as identity,
    month_of as month_of,
    own_columns as own_columns,
    records_table as records_table,
    report_from_lake as report_from_lake,
    report_row as report_row,
    report_uid as report_uid,
    shared_values as shared_values,
    tls_rows as tls_rows,
    with_shared as with_shared,
)
from .schema import (
    ALERTS as ALERTS,
    ALL_TABLES as ALL_TABLES,
    DEAD_LETTERS as DEAD_LETTERS,
    DNS as DNS,
    FINDINGS as FINDINGS,
    MAILS as MAILS,
    MESSAGES as MESSAGES,
    OUTBOX as OUTBOX,
    POSTMASTER as POSTMASTER,
    PTR as PTR,
    RECORDS as RECORDS,
    REPORT_TABLES as REPORT_TABLES,
    RUNS as RUNS,
    SENDERS as SENDERS,
    TABLES as TABLES,
)
from .write import JOIN as JOIN, MADE_FROM as MADE_FROM, table_of_json as table_of_json
