"""What is wrong in DNS, what changed there, and where reporters see something else.

All three work on the frames of `dmarckit.dns`. The sentences of `problems` are in the
language in which DNS was checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import pandas as pd

from dmarckit.core.language import _
from dmarckit.findings.look import Look
from dmarckit.findings.model import SEVERITIES, Finding, Severity
from dmarckit.findings.say import clean, sentences

_SENDING: Mapping[str, Severity] = {
    "several": "critical",
    "syntax": "critical",
    "p_value": "critical",
    "no_p": "critical",
    "lookups": "critical",
    "void_lookups": "critical",
    "include_missing": "critical",
    "loop": "critical",
    "too_long": "critical",
}
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

_LOST_KEY = ("missing", "dangling", "revoked", "syntax")


def sending(messages: pd.DataFrame, look: Look) -> dict[str, int]:
    """Domain → messages of the window that pass DMARC; `messages` as in `Facts`."""
    passing = look.window(messages[messages["da"] | messages["sa"]])
    sums = passing.groupby("domain", observed=True)["messages"].sum()
    return {str(name): round(float(n)) for name, n in sums.items()}


def dns_record(rows: pd.DataFrame, sent: Mapping[str, int], look: Look) -> list[Finding]:
    """Records that are wrong, weak or missing; `rows` as `dns.snapshot` gives them.

    `sent` are the messages a domain sends (`sending`): a broken record of a domain that
    sends nothing is less urgent. A lost DKIM key is critical while reports still show its
    signature. What DNS did not answer is no finding; nor is p=none by itself, which
    `policy_ready` watches.
    """
    found = []
    for row in rows.to_dict("records"):
        values = _values(row["values"])
        faults = [str(code) for code in values.get("faults", ())]
        if row["state"] in ("ok", "unknown") or faults == ["p_none"]:
            continue
        found.append(_record(row, values, faults, sent, look))
    return found


def _record(
    row: Mapping[Any, Any],
    values: Mapping[str, Any],
    faults: list[str],
    sent: Mapping[str, int],
    look: Look,
) -> Finding:
    record, name, domain = str(row["record"]), str(row["name"]), str(row["domain"])
    own = record in ("dkim", "ptr")
    messages = int(values.get("messages", 0)) if own else sent.get(domain, 0)
    recent = _recent(values.get("last_day"), look)
    worst = min((_severity(record, f, messages, recent) for f in faults), key=SEVERITIES.index)
    proposal = row["proposal"] if isinstance(row["proposal"], str) else None
    return Finding(
        kind="dns_record",
        domain=domain,
        subject=f"{record} {name}",
        severity=worst,
        messages=messages,
        first_day=_day(row["since"]) or _day(row["day"]),
        last_day=_day(row["day"]),
        reporters=0,
        summary=sentences(*(clean(text, 600) for text in row["problems"])),
        action=_action(record, name, proposal),
        evidence={
            "record": proposal,
            "found": [clean(text, 2000) for text in row["found"]],
            "faults": faults,
            "checked": f"{row['checked']:%Y-%m-%d %H:%M}",
        },
    )


def _severity(record: str, fault: str, messages: int, recent: bool) -> Severity:
    if record in ("spf", "dmarc") and fault in _SENDING:
        return _SENDING[fault] if messages else "warning"
    if record == "dkim" and fault in _LOST_KEY:
        return "critical" if recent else "info"
    return _SEVERITY.get((record, fault), "warning")


def _recent(last_day: object, look: Look) -> bool:
    """The signature was seen in the last days that a loss is judged on."""
    if not isinstance(last_day, str):
        return False
    since = look.today - pd.Timedelta(days=look.thresholds.dns_key_days)
    return date.fromisoformat(last_day) >= since.date()


def _action(record: str, name: str, proposal: str | None) -> str:
    if record == "ptr":
        return _(
            "Mail admin: ask the provider of {name} for a PTR record, or send from another address."
        ).format(name=clean(name))
    if proposal is None:
        return _("DNS admin: correct the record at {name}; then run dmarckit dns check.").format(
            name=clean(name, 300)
        )
    kind = "MX" if record == "mx" else "TXT"
    return _("DNS admin: publish at {name} ({type}): {record}").format(
        name=clean(name, 300), type=kind, record=clean(proposal, 2000)
    )


def dns_changed(changed: pd.DataFrame) -> list[Finding]:
    """Records that changed; `changed` as `dns.changes` gives them, a finding for each name.

    Of several changes of a name the last counts. warning when protection went: the record is
    gone, in a worse state, or asks for a lower policy; else info.
    """
    last = changed.groupby(["domain", "record", "name"], sort=True).tail(1)
    return [_changed(row) for row in last.to_dict("records")]


def _changed(row: Mapping[Any, Any]) -> Finding:
    record, name, domain = str(row["record"]), str(row["name"]), str(row["domain"])
    before, after = _shown(row["before"]), _shown(row["after"])
    weaker = _weaker(row)
    first, last = _day(row["day_before"]), _day(row["day"])
    text = (
        _("The record at {name} ({kind}) lost protection between {first} and {last}: {change}")
        if weaker
        else _("The record at {name} ({kind}) changed between {first} and {last}: {change}")
    )
    change = _("before {before}, now {after}.").format(before=before, after=after)
    action = (
        _(
            "DNS admin: if this was not meant, put back {before} and find out who can change DNS."
        ).format(before=before)
        if weaker
        else _("DNS admin: check that this was meant. If it was, nothing is due.")
    )
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
            name=clean(name, 300), kind=record, first=first, last=last, change=change
        ),
        action=action,
        evidence={
            "before": [clean(text, 2000) for text in row["before"]],
            "after": [clean(text, 2000) for text in row["after"]],
            "record": before if weaker and len(row["before"]) == 1 else None,
        },
    )


_ORDER = ("invalid", "missing", "weak", "ok")
_LEVELS = {"none": 0, "quarantine": 1, "reject": 2}


def _weaker(row: Mapping[Any, Any]) -> bool:
    if len(row["before"]) and not len(row["after"]):
        return True
    if _ORDER.index(row["state_after"]) < _ORDER.index(row["state_before"]):
        return True
    return row["record"] == "dmarc" and any(
        _level(row["after"], tag) < _level(row["before"], tag) for tag in ("p", "sp", "np")
    )


def _level(records: Iterable[str], tag: str) -> int:
    """How much a DMARC record asks for; a tag that is not there follows the one above it."""
    tags = {
        part.partition("=")[0].strip().lower(): part.partition("=")[2].strip().lower()
        for record in records
        for part in str(record).split(";")
    }
    for name in {"p": ("p",), "sp": ("sp", "p"), "np": ("np", "sp", "p")}[tag]:
        if name in tags:
            return _LEVELS.get(tags[name], 0)
    return 0


def _shown(records: Iterable[str]) -> str:
    texts = [clean(text, 300) for text in records]
    return " · ".join(texts) if texts else _("no record")


def _values(text: object) -> dict[str, Any]:
    try:
        read = json.loads(str(text))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _day(value: Any) -> date | None:
    return None if pd.isna(value) else pd.Timestamp(value).date()
