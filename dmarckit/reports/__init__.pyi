from .aggregate import with_domain as with_domain
from .export import (
    RECORD_COLUMNS as RECORD_COLUMNS,
    any_pass as any_pass,
    csv_cell as csv_cell,
    export_key as export_key,
    export_uid as export_uid,
    json_text as json_text,
    record_json as record_json,
    record_rows as record_rows,
    report_csv as report_csv,
    report_json as report_json,
    report_text as report_text,
    unreadable_json as unreadable_json,
)
from .mail import read_mail as read_mail
from .model import (
    AggregateReport as AggregateReport,
    DkimResult as DkimResult,
    FailureReport as FailureReport,
    Mail as Mail,
    Policy as Policy,
    Reason as Reason,
    Record as Record,
    Records as Records,
    Report as Report,
    SpfResult as SpfResult,
    TlsFailure as TlsFailure,
    TlsPolicy as TlsPolicy,
    TlsReport as TlsReport,
    Unreadable as Unreadable,
    Verdict as Verdict,
)
from .read import (
    holds_report as holds_report,
    read_object as read_object,
    read_reports as read_reports,
)
from .reporters import (
    authenticated_from as authenticated_from,
    false_claim as false_claim,
    is_within as is_within,
    listed_domains as listed_domains,
    listed_reporter as listed_reporter,
    own_reporters as own_reporters,
    reporter_key as reporter_key,
)
from .verdict import without_comments as without_comments
