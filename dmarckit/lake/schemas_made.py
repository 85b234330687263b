"""Tables of what dmarckit itself finds, asks and does."""

from __future__ import annotations

import pyarrow as pa

from dmarckit.core.language import later
from dmarckit.lake.schema_types import TEXT, TEXTS, TIME, WHOLE, Table, schema

ALERTS = Table(
    "alerts",
    later("message to Slack about one thing, so that nothing is told twice"),
    ("subject",),
    ("subject",),
    schema(
        ("subject", TEXT, "what it was about: report:<report_uid>, run:<run>, failure:<job>:…, …"),
        ("told", TIME, "when"),
        ("channel", TEXT, "Slack channel; null: shown in the terminal"),
        ("run", TEXT, "id of the run that told it"),
        ("month", TEXT, "month of `told`, YYYY-MM"),
    ),
)

RUNS = Table(
    "runs",
    later("run of a job that has ended, well or not"),
    ("run",),
    ("run",),
    schema(
        ("run", TEXT, "id of the run, on every line of its log"),
        ("job", TEXT, "name of the schedule"),
        ("slot", TIME, "time the schedule asked for; null: started by hand"),
        ("started", TIME, "when it began"),
        ("ended", TIME, "when it ended, or was found dead"),
        ("result", TEXT, "ok, problems, failed or interrupted"),
        ("page", TEXT, "key of its page below the pages; null: it made none"),
        ("mails", WHOLE, "mails that were read"),
        ("stored", WHOLE, "of them stored"),
        ("duplicate", WHOLE, "of them known already"),
        ("untrusted", WHOLE, "of them refused by `trust`"),
        ("not_a_report", WHOLE, "of them without a report"),
        ("unreadable", WHOLE, "of them unreadable"),
        ("findings", WHOLE, "open findings that are critical or warnings, muted ones apart"),
        ("told", WHOLE, "messages that went to Slack"),
        ("waiting", WHOLE, "messages still in the outbox at its end"),
        ("warnings", TEXTS, "what a person should know of the run, a sentence each"),
        ("error", TEXT, "why it failed; null: it did not"),
        ("notebook", TEXT, "where the failed notebook is kept; null: none failed"),
        ("host", TEXT, "machine it ran on"),
        ("month", TEXT, "month of `started`, YYYY-MM"),
    ),
)

DEAD_LETTERS = Table(
    "dead_letters",
    later("message of the queue of arrivals that could not be taken, when it was first seen"),
    ("message",),
    ("message",),
    schema(
        ("message", TEXT, "SQS's id of the message, the same at each delivery"),
        ("queue", TEXT, "name of the queue"),
        ("seen", TIME, "when it was first received"),
        ("reason", TEXT, "why it could not be taken"),
        ("month", TEXT, "month of `seen`, YYYY-MM"),
    ),
)

OUTBOX = Table(
    "outbox",
    later(
        "message for Slack, written down before it goes out; "
        "delivered once `alerts` has its subject"
    ),
    ("subject",),
    ("subject",),
    schema(
        ("subject", TEXT, "what it is about, as in `alerts`"),
        ("made", TIME, "when it was due; messages go out in this order"),
        ("position", WHOLE, "order of those made at the same time, from 0"),
        ("channel", TEXT, "Slack channel it is for; null: it is shown and saved"),
        (
            "message",
            TEXT,
            "it, as JSON, without links to our files; null: a digest of the run tells it",
        ),
        ("run", TEXT, "id of the run that made it"),
        ("month", TEXT, "month of `made`, YYYY-MM"),
    ),
)

PTR = Table(
    "ptr",
    later("answer of DNS about an address: its confirmed host name, or that it has none"),
    ("address", "run"),
    ("address", "run"),
    schema(
        ("address", TEXT, "address that sent messages"),
        ("name", TEXT, "host name that leads back to the address; null: it has none"),
        ("resolved", TIME, "when DNS was asked"),
        ("run", TEXT, "id of the run that asked"),
        ("month", TEXT, "month of `resolved`, YYYY-MM"),
    ),
)

FINDINGS = Table(
    "findings",
    later("finding and run, with what became of it since the run before"),
    ("run", "fingerprint"),
    ("run",),
    schema(
        ("fingerprint", TEXT, "kind, domain and subject: the same finding tomorrow"),
        ("kind", TEXT, "what kind of finding"),
        ("domain", TEXT, "policy domain; empty: it concerns all"),
        ("subject", TEXT, "what it is about within its kind and domain"),
        ("severity", TEXT, "critical, warning, info or good"),
        ("messages", WHOLE, "messages (TLS: sessions, mails: objects); 0: none are counted"),
        ("first_day", TIME, "first day on which it was seen"),
        ("last_day", TIME, "last day on which it was seen"),
        ("reporters", WHOLE, "reporters that saw it"),
        ("summary", TEXT, "one sentence"),
        ("action", TEXT, "what to do, and by whom"),
        ("evidence", TEXT, "numbers, names and the query behind it, as JSON"),
        ("mute_reason", TEXT, "why it is muted; null: it is not"),
        ("status", TEXT, "NEW, WORSE, SAME or RESOLVED against the job's run before"),
        ("high_water", WHOLE, "most messages while it has been open"),
        ("high_severity", TEXT, "worst severity while it has been open"),
        ("run", TEXT, "id of the run"),
        ("job", TEXT, "name of the schedule; empty: the command line"),
        ("at", TIME, "the moment the run looks back from"),
        ("month", TEXT, "month of `at`, YYYY-MM"),
    ),
)

POSTMASTER = Table(
    "postmaster",
    later(
        "metric of Google Postmaster Tools for a domain and day, as it was when it was asked for"
    ),
    ("domain", "day", "metric", "detail", "pulled"),
    ("domain", "metric", "run"),
    schema(
        ("domain", TEXT, "domain as Postmaster Tools names it, lower case"),
        ("day", TIME, "day the metric is about; for a state (compliance) the day it was asked"),
        ("metric", TEXT, "spam_rate, auth_success_rate, tls_encryption_rate, compliance, …"),
        ("detail", TEXT, "what of it: spf, inbound, reject/low_ip_reputation, SPF; empty: all"),
        ("share", pa.float64(), "a rate, as a share from 0 to 1; null: not a rate"),
        ("number", WHOLE, "a count; null: not a count"),
        ("text", TEXT, "a state or a list: COMPLIANT, NEEDS_WORK, …; null: a number"),
        ("pulled", TIME, "when it was asked for; of several the newest counts"),
        ("run", TEXT, "id of the run that asked"),
        ("month", TEXT, "month of `day`, YYYY-MM"),
    ),
)

DNS = Table(
    "dns",
    later("DNS record a domain should have, as it was found on a day"),
    ("domain", "day", "record", "name"),
    ("domain", "day"),
    schema(
        ("domain", TEXT, "domain that was checked, lower case"),
        ("day", TIME, "day of the check; the first check of a day counts"),
        ("record", TEXT, "dmarc, spf, dkim, mx, mta_sts, tls_rpt, bimi, report_authorisation, ptr"),
        ("name", TEXT, "name that was asked, such as _dmarc.example.com; of ptr the address"),
        ("state", TEXT, "ok, missing, invalid, weak, or unknown (DNS did not answer)"),
        ("found", TEXTS, "the records, as published; empty: none"),
        ("problems", TEXTS, "what is wrong, a sentence each"),
        ("proposal", TEXT, "record to publish instead; null: none"),
        ("values", TEXT, "what was read out of it (tags, key length, lookups), as JSON"),
        ("checked", TIME, "when DNS was asked"),
        ("run", TEXT, "id of the run that asked"),
        ("month", TEXT, "month of `day`, YYYY-MM"),
    ),
)
