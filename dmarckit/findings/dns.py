"""What is wrong in DNS, what changed there, and where reporters see something else.

The frames are those of `Outside.dns` and `Outside.changes`; the sentences of `problems` are in
the language in which DNS was checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd

from dmarckit.checks import Outside, problem_texts, tag_list
from dmarckit.core import _, later, n_reporters, one_line, short_day
from dmarckit.facts import Facts
from dmarckit.findings import model, queries
from dmarckit.findings.context import Context, failing_ours, reporter_tests
from dmarckit.findings.dmarc_policy import LEVELS, POLICY_TAGS, fill_policy_defaults
from dmarckit.findings.model import SEVERITIES, Family, Finding, Kind, Record, Severity, safe
from dmarckit.findings.policy import PARKED, costs_wanted_mail
from dmarckit.findings.rows import Rows

_Row = Mapping[Any, Any]  # of a frame
_UNDOING = ("several", "syntax", "p_value", "no_p", "lookups", "void_lookups", "include_missing",
            "loop", "too_long")  # fmt: skip
"""Faults of SPF and DMARC records that undo them: critical where mail is sent, else a warning.
SPF permerror fails at every receiver; an unreadable DMARC record is none."""

_SEVERITY: Mapping[tuple[str, str], Severity] = {
    ("dmarc", "p_none"): "info",
    ("dmarc", "unknown_tags"): "info",
    ("dmarc", "obsolete_tags"): "info",
    ("spf", "plus_all"): "critical",  # anybody passes SPF in the domain's name
    ("spf", "missing_unused"): "info",
    ("spf", "ptr"): "info",
    ("spf", "long"): "info",
    ("dkim", "short"): "critical",  # Google and Yahoo take the signature for none
    ("mx", "missing"): "info",
    ("mta_sts", "missing"): "info",
    ("tls_rpt", "missing"): "info",
    ("bimi", "syntax"): "info",
}
"""(record, fault) → how bad it is; what is not listed is a warning."""


def passing_messages(messages: pd.DataFrame, context: Context) -> dict[str, int]:
    """Return domain → messages of the window that pass DMARC; `messages` as in `Facts`."""
    passing = messages[(messages["da"] | messages["sa"]) & (messages["day"] >= context.start)]
    sums = passing.groupby("domain", observed=True)["messages"].sum()
    return {str(name): round(float(n)) for name, n in sums.items()}


def dns_record(
    rows: pd.DataFrame, sent: Mapping[str, int], context: Context, unsettled: Set[str] = frozenset()
) -> list[Finding]:
    """Find records that are wrong, weak or missing; `rows` as in `Outside.dns`.

    `sent` are the messages a domain sends (`passing_messages`): a broken record of a domain that
    sends nothing is less urgent. A lost DKIM key is critical while reports still show its
    signature. What DNS did not answer is no finding; nor is p=none by itself, which
    `policy_ready` watches. `unsettled` are domains of which mail of senders fails that may be
    ours: a record that says that nobody sends is not proposed to them.
    """
    found = []
    for row in rows.to_dict("records"):
        values = _values(row["values"])
        faults = values.setdefault("faults", [])
        if row["state"] in ("ok", "unknown") or faults == ["p_none"]:
            continue
        if "missing_unused" in faults and row["domain"] in unsettled:
            row["proposal"] = None
        found.append(_record(row, values, sent, context))
    return found


def _record(row: _Row, values: _Row, sent: Mapping[str, int], context: Context) -> Finding:
    faults = [str(code) for code in values["faults"]]
    record, name, domain = str(row["record"]), str(row["name"]), str(row["domain"])
    own = record in ("dkim", "ptr")
    messages = int(values.get("messages", 0)) if own else sent.get(domain, 0)
    last_day = values.get("last_day")  # on which its signature was seen
    since = context.today - pd.Timedelta(days=context.thresholds.dns_key_days)
    recent = isinstance(last_day, str) and date.fromisoformat(last_day) >= since.date()
    worst = min((_severity(record, f, messages, recent) for f in faults), key=SEVERITIES.index)
    value, present = row["proposal"], list(row["found"])
    to_publish: tuple[Record, ...] = ()
    if isinstance(value, str) and record in _TYPES:
        knows_rua = any("rua" in tag_list(text) for text in present)  # else only people know it
        if knows_rua or "rua" not in tag_list(value):
            old = present[0] if len(present) == 1 else None
            to_publish = (Record(name, _TYPES[record], value, old),)
    return Finding(
        kind="dns_record",
        domain=domain,
        subject=f"{record} {name}",
        severity=worst,
        messages=messages,
        first_day=_day(row["since"]) or _day(row["day"]),
        last_day=_day(row["day"]),
        reporters=0,
        summary=model.join_sentences(
            *(safe(text, 600) for text in problem_texts(row["problems"], values))
        ),
        action=_action(record, name, to_publish),
        record=to_publish,
        evidence={
            "found": [safe(text, 2000) for text in row["found"]],
            "faults": faults,
            "checked": f"{row['checked']:%Y-%m-%d %H:%M}",
        },
    )


def _severity(record: str, fault: str, messages: int, recent: bool) -> Severity:
    if record in ("spf", "dmarc") and fault in _UNDOING:
        return "critical" if messages else "warning"
    if record == "dkim" and fault in ("missing", "dangling", "revoked", "syntax"):
        return "critical" if recent else "info"
    return _SEVERITY.get((record, fault), "warning")


_TXT = ("dmarc", "spf", "mta_sts", "tls_rpt", "bimi", "report_authorisation")
_TYPES = dict.fromkeys(_TXT, "TXT") | {"mx": "MX"}
"""Record → its type in DNS, of those that are proposed whole: a DKIM key may be a CNAME."""


def _action(record: str, name: str, to_publish: tuple[Record, ...]) -> str:
    if record == "ptr":
        return _(
            "Mail admin: ask the provider of {name} for a PTR record, or send from another address."
        ).format(name=safe(name))
    if to_publish:
        text = _("DNS admin: publish at {name} ({type}) the record that is shown here.")
        return text.format(name=safe(name, 300), type=to_publish[0].type)
    text = _("DNS admin: fix the record at {name} as described, then run dmarckit dns check.")
    return text.format(name=safe(name, 300))


def dns_changed(changed: pd.DataFrame, messages: pd.DataFrame, context: Context) -> list[Finding]:
    """Find records that changed; `changed` as in `Outside.changes`, a finding a name.

    Of several changes of a name the last counts. warning when protection went: the record is
    gone, in a worse state, or asks for a lower policy; else info. `messages` as in `Facts`: a
    policy that would block wanted mail is not to be put back.
    """
    last = changed.groupby(["domain", "record", "name"], sort=True).tail(1)
    return [_changed(row, messages, context) for row in last.to_dict("records")]


def _changed(row: _Row, messages: pd.DataFrame, context: Context) -> Finding:
    record, name, domain = str(row["record"]), str(row["name"]), str(row["domain"])
    before, after = list(row["before"]), list(row["after"])
    weaker = _weaker(row)
    first, last = _day(row["day_before"]), _day(row["day"])
    text = _("The record at {name} ({kind}) changed between {first} and {last}: {change}")
    change = _("before {before}, now {after}.").format(before=_shown(before), after=_shown(after))
    action = _("DNS admin: confirm the change was intended. If it was, no action is needed.")
    to_publish: tuple[Record, ...] = ()
    if weaker:
        text = _("The record at {name} ({kind}) was weakened between {first} and {last}: {change}")
        action = _(
            "DNS admin: if this was not intended, restore {before} and find out who can change DNS."
        ).format(before=_shown(before))
        rows = messages[messages["domain"] == domain]
        if record == "dmarc" and costs_wanted_mail(Rows.of(rows), context, _policy_of(before)):
            action = _(
                "DNS admin: if this was not intended, find out who can change DNS. Fix your "
                "senders that fail before you restore the old record: it would block their mail."
            )
        elif record in _TYPES and len(before) == 1 and len(after) <= 1:
            present = after[0] if after else None
            to_publish = (Record(name, _TYPES[record], before[0], present),)
    return Finding(
        kind="dns_changed",
        domain=domain,
        subject=f"{record} {name}",
        severity="warning" if weaker else "info",
        messages=0,
        first_day=last,
        last_day=last,
        reporters=0,
        summary=text.format(
            name=safe(name, 300),
            kind=record,
            first=short_day(first),
            last=short_day(last),
            change=change,
        ),
        action=action,
        record=to_publish,
        evidence={
            "before": [safe(text, 2000) for text in before],
            "after": [safe(text, 2000) for text in after],
        },
    )


_ORDER = ("invalid", "missing", "weak", "ok")


def _weaker(row: _Row) -> bool:
    if len(row["before"]) and not len(row["after"]):
        return True
    if _ORDER.index(row["state_after"]) < _ORDER.index(row["state_before"]):
        return True
    levels = (
        [LEVELS.get(_policy_of(records, tag), 0) for records in (row["after"], row["before"])]
        for tag in ("p", "sp", "np")
    )
    return row["record"] == "dmarc" and any(now < was for now, was in levels)


def _policy_of(records: Iterable[str], tag: str = "p") -> str:
    """Return the value of a tag; one that is not there follows the one above it."""
    tags = {name: value for record in records for name, value in tag_list(str(record)).items()}
    for name in {"p": ("p",), "sp": ("sp", "p"), "np": ("np", "sp", "p")}[tag]:
        if name in tags:
            return tags[name].lower()
    return ""


def _shown(records: Iterable[str]) -> str:
    texts = [safe(text, 300) for text in records]
    return " · ".join(texts) if texts else _("no record")


def _values(text: object) -> dict[str, Any]:
    try:
        read = json.loads(str(text))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _day(value: Any) -> date | None:
    return None if pd.isna(value) else pd.Timestamp(value).date()


def policy_differs(policies: pd.DataFrame, rows: pd.DataFrame, context: Context) -> list[Finding]:
    """Find tags that reporters quote with another value than DNS shows: `policy_changed` too.

    `policies` as in `Facts`, `rows` as in `Outside.dns`. A report counts when it
    begins a TTL and a day after the first check that found the present record: before that,
    DNS may have shown another one, or a receiver may have had it in its cache. Two reporters
    must agree. Tags that only receivers of RFC 9989 know (np, t), or only older ones (pct),
    count where they are quoted.
    """
    found = []
    recent = policies[policies["begin"] >= context.start]
    rows = rows[rows["record"] == "dmarc"]
    if rows.empty or recent.empty:
        return []
    rows = rows[rows["since"].notna()]
    published = _published(rows[rows["domain"].isin(set(recent["domain"].astype("str")))])
    # quotes in which a tag is another than DNS shows: there are few
    known = pd.DataFrame.from_dict(published, orient="index", columns=[*POLICY_TAGS, "ttl"])
    shown = known.reindex(recent["domain"].astype("str")).set_index(recent.index)
    quoted = fill_policy_defaults(recent)
    same = pd.DataFrame({column: quoted[column] == shown[column] for column in POLICY_TAGS})
    others = recent.loc[shown["p"].notna() & ~same.all(axis=1), "domain"].astype("str").unique()
    recent = recent[recent["domain"].isin(others)]
    by_domain = {str(name): part for name, part in recent.groupby("domain", observed=True)}
    for row in rows[rows["domain"].isin(others)].to_dict("records"):
        shown_here, mine = published[str(row["domain"])], by_domain[str(row["domain"])]
        hours = context.thresholds.dns_differ_hours
        after = row["since"] + pd.Timedelta(hours=hours, seconds=shown_here["ttl"])
        mine = mine[mine["begin"] >= after].sort_values("begin", kind="stable")
        last = mine.assign(who=mine["reporter"].str.casefold()).groupby("who").tail(1)
        found += _differences(row, last, shown_here, context)
    return found


def _published(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return domain → column of `Facts.policies` → value in DNS, and `ttl` [s], of records."""
    found = []
    for row in rows.to_dict("records"):
        if row["state"] not in ("ok", "weak") or len(row["found"]) != 1:
            continue
        values = json.loads(str(row["values"]))
        tags = values.get("tags") or {}
        pct = str(tags.get("pct", "100"))
        read = {column: str(tags.get(tag, "")).lower() for column, tag in POLICY_TAGS.items()}
        numbers = {"pct": int(pct) if pct.isdecimal() else 100, "ttl": int(values.get("ttl") or 0)}
        found.append(read | {"domain": str(row["domain"])} | numbers)
    if not found:
        return {}
    frame = fill_policy_defaults(pd.DataFrame(found)).set_index("domain")
    indexed = frame.to_dict("index").items()
    return {str(name): {str(k): value for k, value in row.items()} for name, row in indexed}


def _differences(
    row: _Row, last: pd.DataFrame, published: dict[str, Any], context: Context
) -> list[Finding]:
    found = []
    quoted = fill_policy_defaults(last)
    for column, tag in POLICY_TAGS.items():
        other = quoted[quoted[column] != published[column]]
        written = last.loc[other.index, column]
        if column in ("np", "testing", "pct"):
            other = other[written.notna() & (written != "")]
        if other.empty:
            continue
        ours = {published[name] for name in ("p", "sp", "np")}
        theirs = (other["sp"] == other["p"]) & (other["np"] == other["p"])
        if tag in ("sp", "np") and theirs.all() and len(ours) == 1:
            continue  # they follow p on both sides: no difference of their own
        seen = other[other[column] == other[column].mode().iloc[0]]
        if len(seen) >= context.thresholds.dns_differ_reporters:
            found.append(_differs(row, column, published[column], seen, context))
    return found


def _differs(
    row: _Row, column: str, shown: object, seen: pd.DataFrame, context: Context
) -> Finding:
    names = sorted(str(name) for name in seen["reporter"].unique())
    domain, tag, value = str(row["domain"]), POLICY_TAGS[column], seen[column].iloc[0]
    text = _(
        "{reporters} quote {tag}={value} for {domain}, but DNS has shown {tag}={shown} since {day}."
    )
    action = _(
        "DNS admin: ask each name server of {domain} for _dmarc.{domain}: one may still have an "
        "old record, or show another to the outside. This is what was found: {record}"
    )
    begin = seen["begin"].min()
    return Finding(
        kind="policy_changed",
        domain=domain,
        subject=tag,
        severity="warning",
        messages=0,
        first_day=begin.date(),
        last_day=seen["begin"].max().date(),
        reporters=len(names),
        summary=text.format(
            reporters=n_reporters(len(names)),
            tag=tag,
            value=safe(value),
            domain=safe(domain),
            shown=safe(shown),
            day=short_day(row["since"]),
        ),
        action=action.format(domain=safe(domain), record=safe(row["found"][0], 2000)),
        evidence={
            "reporters": [model.reporter_name(name) for name in names],
            "old": str(value),
            "new": str(shown),
            "found": safe(row["found"][0], 2000),
            "thresholds": {"reporters": context.thresholds.dns_differ_reporters},
            "number": len(names),
            "query": queries.quoting(
                domain, column, str(value), begin, context.now, reporter_tests(seen, names)
            ),
        },
    )


def close_parked(found: Iterable[Finding], rows: pd.DataFrame) -> list[Finding]:
    """Add the records that close a parked domain besides DMARC, where DNS shows none like them.

    `rows` as in `Outside.dns`. SPF that names no sender, and the null MX where there is no MX.
    """
    wanted = {"spf": "v=spf1 -all", "mx": "0 ."}
    rows = rows[rows["record"].isin(list(wanted)) & (rows["state"] != "unknown")]
    closed = []
    for finding in found:
        records = list(finding.record)
        if finding.kind == "policy_ready" and finding.subject == PARKED and records:
            for row in rows[rows["name"] == finding.domain].to_dict("records"):
                record, present = str(row["record"]), list(row["found"])
                if len(present) <= (record == "spf") and wanted[record] not in present:
                    old = present[0] if present else None
                    records.append(Record(finding.domain, _TYPES[record], wanted[record], old))
        more = len(records) > len(finding.record)
        closed.append(replace(finding, record=tuple(records)) if more else finding)
    return closed


_RULES = {
    "spf": ("DNS spf", "DNS spf_lookups"),
    "dkim": ("DNS dkim", "DNS dkim_key"),
    "dmarc": ("DNS dmarc_record",),
    "ptr": ("DNS ptr",),
}


def _record_name(subject: str) -> str:
    """Return the record of a subject as people write it.

    >>> _record_name("mta_sts _mta-sts.example.com")
    'MTA-STS _mta-sts.example.com'
    """
    record, _, name = one_line(subject, 80).partition(" ")
    return f"{record.upper().replace('_', '-')} {name}"


def find_dns(facts: Facts, outside: Outside, context: Context) -> list[Finding]:
    """Find what DNS shows about the domains that were checked."""
    recent = context.last(Rows.of(facts.messages), context.thresholds.ready_days)
    unsettled = set(failing_ours(recent)["domain"].unique())
    return [
        *dns_record(outside.dns, passing_messages(facts.messages, context), context, unsettled),
        *dns_changed(outside.changes, facts.messages, context),
        *policy_differs(facts.policies, outside.dns, context),
    ]


FAMILY = Family(
    (
        Kind(
            "dns_record",
            later("DNS record needs fixing: {subject}"),
            ("critical", "warning", "info"),
            {"found": later("Found"), "faults": later("Faults"), "checked": later("Checked")},
            rules=lambda subject: _RULES.get(subject.partition(" ")[0], ()),
            topic="requirements",
            subject_name=_record_name,
        ),
        Kind(
            "dns_changed",
            later("DNS record changed: {subject}"),
            ("warning", "info"),
            {"before": later("Before"), "after": later("After")},
            topic="requirements",
            subject_name=_record_name,
        ),
    ),
    of_outside=(find_dns,),
)
