"""The tables of the lake: columns, types, and what each column means.

All times are UTC. Counts are messages (a report's ``count``), never rows, unless the
column says otherwise. `month` (``YYYY-MM``, UTC) is what tables are partitioned by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from dmarckit.core import later

TEXT = pa.string()
WHOLE = pa.int64()
YES_NO = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.list_(pa.string())


def _texts_by_name(*names: str) -> pa.ListType:
    return pa.list_(pa.struct([(name, TEXT) for name in names]))


REASONS = _texts_by_name("type", "comment")
DKIM = _texts_by_name("domain", "selector", "result", "human_result")
SPF = _texts_by_name("domain", "scope", "result", "human_result")
_OF_FAILURE = (
    "sending_mta_ip", "receiving_mx_hostname", "receiving_mx_helo", "receiving_ip",
    "additional_information", "failure_reason_code",
)  # fmt: skip
TLS_FAILURES = pa.list_(
    pa.struct([("result_type", TEXT), ("sessions", WHOLE), *((n, TEXT) for n in _OF_FAILURE)])
)


@dataclass(frozen=True)
class Table:
    """One table. `key` names the columns that make a row unique.

    `unit` names those whose rows are written together or not at all.
    """

    name: str
    row: str
    key: tuple[str, ...]
    unit: tuple[str, ...]
    time: str  # column that says when a row was; its month is what the table is partitioned by
    schema: pa.Schema

    @property
    def columns(self) -> dict[str, str]:
        """Return column → what it means."""
        return {f.name: f.metadata[b"comment"].decode() for f in self.schema}


def _table(
    name: str,
    row: str,
    key: tuple[str, ...],
    *columns: tuple[str, pa.DataType, str],
    month: str,
    unit: tuple[str, ...] = (),
) -> Table:
    partition = ("month", TEXT, f"month of `{month}`, YYYY-MM")
    # Delta keeps a column's description under "comment"; other engines show it.
    fields = [pa.field(n, t, metadata={"comment": text}) for n, t, text in (*columns, partition)]
    return Table(name, row, key, unit or key, month, pa.schema(fields))


RIVAL_OF = (
    "rival_of", TEXT,
    "report_uid of the first report with this identity, if it says something else; else null",
)  # fmt: skip

MAILS = _table(
    "mails",
    later("object that was received, with what became of it"),
    ("key", "etag"),
    ("key", TEXT, "the object's key below the mail location"),
    ("etag", TEXT, "its ETag (S3), or size and time of change (folder)"),
    ("size", WHOLE, "bytes"),
    ("received", TIME, "when the object was stored"),
    ("from_domain", TEXT, "domain of the mail's From header; null for a bare file"),
    ("dmarc", TEXT, "DMARC result in the trusted Authentication-Results header"),
    ("spam", TEXT, "spam verdict of SES"),
    ("virus", TEXT, "virus verdict of SES"),
    ("outcome", TEXT, "stored, duplicate, untrusted, not_a_report, unreadable or unreachable"),
    ("error", TEXT, "why it (or a part of it) could not be read or trusted"),
    ("reports", WHOLE, "reports found in it"),
    ("run", TEXT, "id of the ingest that read it"),
    month="received",
)

REPORTS = _table(
    "reports",
    later("aggregate report"),
    ("report_uid",),
    ("report_uid", TEXT, "hash of reporter, domain, report_id, begin, end; a rival's is its own"),
    ("reporter", TEXT, "org_name of the report, as sent"),
    ("contact", TEXT, "email of the report's metadata"),
    ("extra_contact", TEXT, "extra_contact_info of the report's metadata"),
    ("report_id", TEXT, "report_id, as sent; not unique across reporters"),
    ("begin", TIME, "start of the period"),
    ("end", TIME, "end of the period"),
    ("domain", TEXT, "domain of the published policy, lower case"),
    ("p", TEXT, "policy for the domain: none, quarantine or reject"),
    ("sp", TEXT, "policy for subdomains"),
    ("np", TEXT, "policy for subdomains that do not exist (RFC 9989)"),
    ("pct", WHOLE, "percentage of messages the policy applies to (RFC 7489)"),
    ("testing", TEXT, "y: the t tag asks not to apply the policy (RFC 9989)"),
    ("adkim", TEXT, "DKIM alignment: r relaxed, s strict"),
    ("aspf", TEXT, "SPF alignment: r relaxed, s strict"),
    ("fo", TEXT, "failure reporting options"),
    ("discovery_method", TEXT, "how the policy was found: psl or treewalk (RFC 9990)"),
    ("generator", TEXT, "software that made the report (RFC 9990)"),
    ("version", TEXT, "schema version the report claims"),
    ("namespace", TEXT, "XML namespace: urn:ietf:params:xml:ns:dmarc-2.0 is RFC 9990; null: none"),
    ("warnings", TEXTS, "what had to be repaired to read it"),
    ("errors", TEXTS, "errors that the reporter itself mentions"),
    RIVAL_OF,
    ("authenticated_from", TEXT, "From domain of that mail, if it passed DMARC; null: it did not"),
    ("mail_key", TEXT, "key of the mail it came in first"),
    ("records", WHOLE, "records in it"),
    ("messages", WHOLE, "messages in it"),
    ("failing", WHOLE, "messages that fail DMARC: neither DKIM nor SPF aligned"),
    month="begin",
)

RECORDS = _table(
    "records",
    later("record of an aggregate report: messages of one address with the same results"),
    ("report_uid", "position"),
    ("report_uid", TEXT, "the report it belongs to"),
    ("position", WHOLE, "place in the report, from 0"),
    ("begin", TIME, "start of the report's period"),
    ("end", TIME, "end of the report's period"),
    ("domain", TEXT, "domain of the published policy, lower case"),
    ("reporter", TEXT, "org_name of the report, as sent"),
    ("source_ip", TEXT, "address that sent the messages, in its shortest form"),
    ("messages", WHOLE, "number of messages"),
    ("disposition", TEXT, "what the receiver did: none, quarantine, reject or pass"),
    ("dkim_aligned", YES_NO, "evaluated DKIM is pass (aligned); null: not said"),
    ("spf_aligned", YES_NO, "evaluated SPF is pass (aligned); null: not said"),
    ("reasons", REASONS, "why the receiver departed from the policy"),
    ("header_from", TEXT, "domain of the From header"),
    ("envelope_from", TEXT, "domain of the return path (MAIL FROM)"),
    ("envelope_to", TEXT, "domain of the recipient"),
    ("dkim", DKIM, "raw result of each DKIM signature"),
    ("spf", SPF, "raw SPF results"),
    unit=("report_uid",),
    month="begin",
)

TLS = _table(
    "tls",
    later("policy of an SMTP TLS report, with its failures"),
    ("report_uid", "position"),
    ("report_uid", TEXT, "hash of reporter, report_id, begin and end; a rival's is its own"),
    ("position", WHOLE, "place of the policy in the report, from 0"),
    ("reporter", TEXT, "organization-name of the report, as sent"),
    ("contact", TEXT, "contact-info"),
    ("report_id", TEXT, "report-id, as sent"),
    ("begin", TIME, "start of the period"),
    ("end", TIME, "end of the period"),
    ("policy_type", TEXT, "sts, tlsa or no-policy-found; null: a report without policies"),
    ("policy_domain", TEXT, "domain the policy is for"),
    ("policy_string", TEXTS, "the policy as the reporter saw it"),
    ("mx_host", TEXTS, "patterns of MX hosts in an STS policy"),
    ("successful", WHOLE, "sessions that succeeded"),
    ("failed", WHOLE, "sessions that failed"),
    ("details", TLS_FAILURES, "failed sessions by result type, address and host"),
    ("warnings", TEXTS, "what had to be repaired to read it"),
    RIVAL_OF,
    ("mail_key", TEXT, "key of the mail it came in first"),
    unit=("report_uid",),
    month="begin",
)

FAILURES = _table(
    "failures",
    later("failure (ruf) report, redacted; only with the setting `failures`"),
    ("report_uid",),
    ("report_uid", TEXT, "hash of what identifies the report"),
    ("reporter", TEXT, "User-Agent of the report, else the domain that sent it"),
    ("arrival", TIME, "when the message came in at the receiver"),
    ("domain", TEXT, "domain that failed"),
    ("source_ip", TEXT, "address that sent the message"),
    ("auth_failure", TEXT, "what failed: dkim, spf, dmarc, bodyhash, …"),
    ("delivery_result", TEXT, "delivered, spam, policy, reject or other"),
    ("identity_alignment", TEXT, "identities that were aligned"),
    ("dkim_domain", TEXT, "d= of the signature"),
    ("dkim_selector", TEXT, "s= of the signature"),
    ("original_mail_from", TEXT, "return path, its local part hashed"),
    ("original_rcpt_to", TEXT, "recipient, its local part hashed"),
    ("authentication_results", TEXT, "the receiver's results, local parts hashed"),
    ("header_from", TEXT, "From header of the message, local part hashed"),
    ("subject", TEXT, "only with the setting `failures_content`"),
    ("message_id", TEXT, "Message-ID, its left part hashed"),
    ("body", TEXT, "only with the setting `failures_content`"),
    ("warnings", TEXTS, "what had to be repaired to read it"),
    ("mail_key", TEXT, "key of the mail it came in first"),
    month="arrival",
)

FINDINGS = _table(
    "findings",
    later("finding and run, with what became of it since the run before"),
    ("run", "fingerprint"),
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
    ("since", TIME, "first day of what lasts; null: not known"),
    ("lost", WHOLE, "messages of own senders that were quarantined or rejected in 7 days"),
    ("cause", TEXT, "the same for findings with the same cause"),
    ("record", TEXT, "DNS records to publish, as JSON"),
    ("mute_reason", TEXT, "why it is muted; null: it is not"),
    ("status", TEXT, "NEW, WORSE, SAME or RESOLVED against the job's run before"),
    ("high_water", WHOLE, "most messages while it has been open"),
    ("high_severity", TEXT, "worst severity while it has been open"),
    ("run", TEXT, "id of the run"),
    ("job", TEXT, "name of the schedule; empty: the command line"),
    ("at", TIME, "the moment the run looks back from"),
    unit=("run",),
    month="at",
)

POSTMASTER = _table(
    "postmaster",
    later("metric of Google Postmaster Tools for a domain and day, "
          "as it was when it was asked for"),
    ("domain", "day", "metric", "detail", "pulled"),
    ("domain", TEXT, "domain as Postmaster Tools names it, lower case"),
    ("day", TIME, "day the metric is about; for a state (compliance) the day it was asked"),
    ("metric", TEXT, "spam_rate, auth_success_rate, tls_encryption_rate, compliance, …"),
    ("detail", TEXT, "what of it: spf, inbound, reject/low_ip_reputation, SPF; empty: all"),
    ("share", pa.float64(), "a rate, as a share from 0 to 1; null: not a rate"),
    ("number", WHOLE, "a count; null: not a count"),
    ("text", TEXT, "a state or a list: COMPLIANT, NEEDS_WORK, …; null: a number"),
    ("pulled", TIME, "when it was asked for; of several the newest counts"),
    ("run", TEXT, "id of the run that asked"),
    unit=("domain", "metric", "run"),
    month="day",
)  # fmt: skip

DNS = _table(
    "dns",
    later("DNS record a domain should have, as it was found on a day"),
    ("domain", "day", "record", "name"),
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
    unit=("domain", "day"),
    month="day",
)

PTR = _table(
    "ptr",
    later("answer of DNS about an address: its confirmed host name, or that it has none"),
    ("address", "run"),
    ("address", TEXT, "address that sent messages"),
    ("name", TEXT, "host name that leads back to the address; null: it has none"),
    ("resolved", TIME, "when DNS was asked"),
    ("run", TEXT, "id of the run that asked"),
    month="resolved",
)

SENDERS = _table(
    "senders",
    later("decision about a sender at a domain; of several the newest holds"),
    ("domain", "name", "at"),
    ("domain", TEXT, "policy domain; empty: every domain"),
    ("name", TEXT, "name of the sender, as findings write it"),
    ("decision", TEXT, "declared, denied or forgotten"),
    ("kind", TEXT, "kind of sender; null: not declared"),
    ("networks", TEXTS, "networks that it sends from"),
    ("dkim_domains", TEXTS, "domains that it signs for (d=)"),
    ("spf_domains", TEXTS, "domains of its return paths"),
    ("by", TEXT, "user who decided"),
    ("at", TIME, "when"),
    month="at",
)

ALERTS = _table(
    "alerts",
    later("message about one thing that was sent, so that nothing is told twice"),
    ("subject",),
    ("subject", TEXT, "what it was about: report:<report_uid>, run:<run>, failure:<job>:…, …"),
    ("told", TIME, "when"),
    ("channel", TEXT, "Slack channel, @mail or @webhook; null: shown in the terminal"),
    ("run", TEXT, "id of the run that told it"),
    month="told",
)

OUTBOX = _table(
    "outbox",
    later("message to a channel, written down before it goes out; "
          "delivered once `alerts` has its subject"),
    ("subject",),
    ("subject", TEXT, "what it is about, as in `alerts`"),
    ("made", TIME, "when it was due; messages go out in this order"),
    ("position", WHOLE, "order of those made at the same time, from 0"),
    ("channel", TEXT, "Slack channel it is for, @mail or @webhook; null: it is shown and saved"),
    ("message", TEXT,
     "it, as JSON, without links to our files; null: a digest of the run tells it"),
    ("run", TEXT, "id of the run that made it"),
    month="made",
)  # fmt: skip

RUNS = _table(
    "runs",
    later("run of a job that has ended, well or not"),
    ("run",),
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
    ("unreachable", WHOLE, "of them refused by the storage, to be tried again"),
    ("findings", WHOLE, "open findings that are critical or warnings, muted ones apart"),
    ("told", WHOLE, "messages that were sent"),
    ("waiting", WHOLE, "messages still in the outbox at its end"),
    ("warnings", TEXTS, "what a person should know of the run, a sentence each"),
    ("error", TEXT, "why it failed; null: it did not"),
    ("notebook", TEXT, "where the failed notebook is kept; null: none failed"),
    ("host", TEXT, "machine it ran on"),
    month="started",
)

DEAD_LETTERS = _table(
    "dead_letters",
    later("message of the queue of arrivals that could not be taken, when it was first seen"),
    ("message",),
    ("message", TEXT, "SQS's id of the message, the same at each delivery"),
    ("queue", TEXT, "name of the queue"),
    ("seen", TIME, "when it was first received"),
    ("reason", TEXT, "why it could not be taken"),
    month="seen",
)

TABLES = {
    t.name: t
    for t in (
        MAILS, REPORTS, RECORDS, TLS, FAILURES, FINDINGS, POSTMASTER, DNS, PTR,
        SENDERS, ALERTS, OUTBOX, RUNS, DEAD_LETTERS,
    )
}  # fmt: skip


def _of_records(*names: str) -> Iterator[tuple[str, pa.DataType, str]]:
    return ((n, RECORDS.schema.field(n).type, RECORDS.columns[n]) for n in names)


MESSAGES = _table(
    "messages",
    "record of an aggregate report and day of it, with sender and class; made by `maintain`",
    ("report_uid", "position", "day"),
    ("day", TIME, "day of the middle of the report; of one of more than 24 hours "
     "its first day (in the table: a row for each of its days, or, beyond a week, months)"),
    *_of_records("domain"),
    ("header_from", TEXT, "domain of the From header, lower case"),
    ("sender", TEXT, "service or organisation that delivered the messages"),
    ("sender_kind", TEXT, "own, email service, mailbox provider, hosting, …, unknown"),
    ("class", TEXT, "what the messages mean: aligned, dkim_only, forwarded, spf_only, …"),
    ("in_inventory", YES_NO, "the sender is one of the domain's own"),
    *_of_records("messages"),
    ("share", pa.float64(), "share of them on the asked days (in the table: on those of the row); "
     "1 for a report of 24 hours or less"),
    *_of_records("disposition"),
    ("dkim_aligned", YES_NO, "evaluated DKIM is pass (aligned)"),
    ("spf_aligned", YES_NO, "evaluated SPF is pass (aligned)"),
    *_of_records("source_ip"),
    ("country", TEXT, "country of the address, two letters; null: not known"),
    ("network", TEXT, "who runs the network of the address, else its range"),
    ("host", TEXT, "confirmed host name of the address; null: none, or never asked for"),
    *_of_records("reporter", "reasons"),
    ("dkim", _texts_by_name("domain", "selector", "result"), "raw result of each DKIM signature"),
    ("spf", _texts_by_name("domain", "scope", "result"), "raw SPF results"),
    *_of_records("envelope_from", "begin", "end", "report_uid", "position"),
    unit=("report_uid",),
    month="day",
)  # fmt: skip
"""Not read by dmarckit itself, to which `messages` is what the records give at the moment."""

ALL_TABLES = TABLES | {"messages": MESSAGES}
"""all that is kept in the lake; `TABLES` are those that are not made from others"""

REPORT_TABLES = ("reports", "tls", "failures")
"""tables with a `report_uid` and the `mail_key` of the mail in which the report came first"""
