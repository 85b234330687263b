"""DNS records to publish: the present one, whole, with nothing changed but what a finding asks.

Reports do not show rua, ruf, fo or tags that only the publisher knows, so a record is only made
of the one that `dmarckit dns check` has found. Without it the change is said in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dmarckit.checks import tag_list
from dmarckit.core import _
from dmarckit.findings.context import Context
from dmarckit.findings.model import Finding, Record, join_sentences, safe

Changes = Mapping[str, str | None]
"""Tag of a DMARC record → its new value; None: it goes."""

_ORDER = ("v", "p", "sp", "np", "t")


def edit_dmarc(record: str, changes: Changes) -> str:
    """Return a DMARC record with some tags changed, and all else to the letter.

    New tags stand behind p, sp and np. A tag that comes twice counts the first time
    (`tag_list`); of one that changes, the others go.

    >>> edit_dmarc("v=DMARC1;P=none; rua=mailto:d@example.com;pct=50; x=1;", {"p": "reject"})
    'v=DMARC1;P=reject; rua=mailto:d@example.com;pct=50; x=1;'
    >>> edit_dmarc("v=DMARC1; p=none; fo=1", {"p": "quarantine", "t": "y", "fo": None})
    'v=DMARC1; p=quarantine; t=y'
    """
    parts: list[tuple[str, str]] = []
    waiting = {tag: value for tag, value in changes.items() if value is not None}
    for text in record.split(";"):
        spelt, equals, value = text.partition("=")
        tag = spelt.strip().lower()
        new = waiting.pop(tag, None)
        if new is not None and new != value.strip().lower():
            at = len(value) - len(value.lstrip())
            text = f"{spelt}{equals}{value[:at]}{new}"
        elif new is None and tag in changes:
            continue
        parts.append((tag, text))
    second = parts[1][1] if len(parts) > 1 else " "
    space = second[: len(second) - len(second.lstrip())]
    for tag, new in sorted(waiting.items(), key=lambda item: _place(item[0])):
        before = [n for n, (name, _text) in enumerate(parts) if _place(name) < _place(tag)]
        parts.insert(before[-1] + 1 if before else 1, (tag, f"{space}{tag}={new}"))
    return ";".join(text for _tag, text in parts)


def _place(tag: str) -> int:
    return _ORDER.index(tag) if tag in _ORDER else len(_ORDER)


def propose_dmarc(
    domain: str, changes: Changes, context: Context
) -> tuple[str, tuple[Record, ...]]:
    """Return what to do in words, and the record when the present one is known.

    The words name the change only, so that they are true whatever else the record holds.
    """
    name = f"_dmarc.{domain}"
    present = _present(domain, context)
    wanted = dict(changes)
    if present:  # what is not there need not go
        wanted = {t: v for t, v in changes.items() if v is not None or t in tag_list(present)}
        value = edit_dmarc(present, wanted)
        if value == present:
            text = _("DNS has it so already: the record {name} needs no change.")
            return text.format(name=safe(name, 300)), ()
    tags = "; ".join(f"{tag}={value}" for tag, value in wanted.items() if value is not None)
    gone = ", ".join(tag for tag, value in wanted.items() if value is None)
    text = (
        _("DNS admin: in the TXT record {name} set {tags} and take out {gone}; leave the rest.")
        if gone and tags
        else _("DNS admin: in the TXT record {name} take out {gone}; leave the rest.")
        if gone
        else _("DNS admin: in the TXT record {name} set {tags}; leave the rest.")
    ).format(name=safe(name, 300), tags=tags, gone=gone)
    if present:
        return text, (Record(name, "TXT", value, present),)
    unknown = _("To see the whole record here, ask DNS for the present one: dmarckit dns check")
    return join_sentences(text, unknown), ()


def _present(domain: str, context: Context) -> str:
    """Return the DMARC record in DNS; empty when it is not known, damaged, or too long to keep."""
    text = context.published.get(f"_dmarc.{domain}", "")
    is_whole = tag_list(text).get("v", "").upper() == "DMARC1" and not text.endswith("…")
    return text if is_whole else ""


def tags_in_dns(domain: str, context: Context) -> dict[str, str]:
    """Return what holds by the record in DNS, defaults filled in; empty when it is not known."""
    present = {tag: value.lower() for tag, value in tag_list(_present(domain, context)).items()}
    if not present:
        return {}
    p = present.get("p", "none")
    sp = present.get("sp", p)
    usual = {"p": p, "sp": sp, "np": sp, "t": "n", "pct": "100", "adkim": "r", "aspf": "r"}
    return usual | present


def in_dns(domain: str, tags: Mapping[str, str], context: Context) -> bool:
    """Return True unless DNS is known to show other values of the tags than these."""
    known = tags_in_dns(domain, context)
    return not known or all(known[tag] == value for tag, value in tags.items())


def merge_records(found: Iterable[Finding], published: Mapping[str, str]) -> list[Finding]:
    """Let the findings that propose a record of one DNS name propose the same one.

    Of DMARC records it has the changes of all, where two change one tag those of the more
    urgent finding, made to the record that is `published` now; of others it is that of the most
    urgent finding. Muted findings change nothing of what others propose.
    """
    findings = list(found)
    proposed: dict[tuple[str, str], list[Record]] = {}
    for finding in sorted(findings, key=lambda finding: finding.rank):
        for record in finding.record:
            key = (record.name, record.type)
            if not finding.muted or key not in proposed:
                proposed.setdefault(key, []).append(record)
    merged = {}
    for key, records in proposed.items():
        merged[key] = first = records[0]
        if all(map(_is_dmarc, records)):
            changes: dict[str, str | None] = {}
            for record in records:
                changes = _changes_of(record) | changes
            present = published.get(first.name, first.replaces or "")
            value = edit_dmarc(present, changes)
            merged[key] = replace(first, value=value, replaces=present)
    return [
        _with_records(finding, [merged[r.name, r.type] for r in finding.record])
        if finding.record
        else finding
        for finding in findings
    ]


def _is_dmarc(record: Record) -> bool:
    return tag_list(record.value).get("v", "").upper() == "DMARC1" and record.replaces is not None


def _changes_of(record: Record) -> dict[str, str | None]:
    old, new = tag_list(record.replaces or ""), tag_list(record.value)
    return {tag: new.get(tag) for tag in [*new, *old] if new.get(tag) != old.get(tag)}


def _with_records(finding: Finding, records: Sequence[Record]) -> Finding:
    """Return the finding with merged records; its action says what others have changed."""
    more = [
        f"{tag}={value}"
        for own, whole in zip(finding.record, records, strict=True)
        if _is_dmarc(own) and _is_dmarc(whole)
        for tag, value in _changes_of(whole).items()
        if tag not in _changes_of(own) and value is not None
    ]
    note = _("The record also has {tags}, which another finding asks for.")
    return replace(
        finding,
        record=tuple(record for record in records if record.value != record.replaces),
        action=join_sentences(finding.action, note.format(tags="; ".join(more)) if more else ""),
    )
