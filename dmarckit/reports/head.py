"""The head of an aggregate report: its metadata and the policy that it quotes.

xmltodict made dicts of it; here they become the fields of an `AggregateReport`. What is
absent is None; of an element that may stand only once the first one is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dmarckit.core.errors import NotAReport
from dmarckit.reports.feed import Tree
from dmarckit.reports.models import AggregateReport, Policy, Record
from dmarckit.reports.values import Warnings, domain, moment, quoted

PARTS = frozenset({"report_metadata", "policy_published"})
"""what a DMARC report has at least one of, or records"""


def report_of(
    head: Any, records: Sequence[Record], record_count: int, message_count: int, warnings: Warnings
) -> AggregateReport:
    """The report whose head (everything but its records) xmltodict gave as `head`.

    Raises `UnreadableReport` when it does not say its period, `NotAReport` when it has
    nothing of a DMARC report but the name of its root.
    """
    if not records and not (isinstance(head, dict) and head.keys() & PARTS):
        raise NotAReport("<feedback> without metadata, policy and records")
    fields = _Fields(head, "feedback", warnings)
    metadata = fields.inner("report_metadata")
    period = metadata.inner("date_range")
    if not period and "begin" in metadata:
        period = metadata
    begin = moment(period.text("begin"), "date_range/begin", warnings)
    end = moment(period.text("end"), "date_range/end", warnings)
    if end < begin:
        warnings.add("date_range ends before it begins, kept as sent")
    generator = metadata.text("generator") or fields.text("generator")
    return AggregateReport(
        reporter=metadata.wanted("org_name"),
        contact=metadata.text("email"),
        extra_contact=metadata.text("extra_contact_info"),
        report_id=metadata.wanted("report_id"),
        begin=begin,
        end=end,
        policy=_policy(fields.inner("policy_published"), warnings),
        generator=generator,
        version=fields.text("version"),
        errors=metadata.texts("error"),
        records=records,
        record_count=record_count,
        message_count=message_count,
        warnings=warnings.lines(),
    )


def _policy(published: _Fields, warnings: Warnings) -> Policy:
    name = published.wanted("domain")
    pct = published.text("pct")
    return Policy(
        domain=domain(name) if name else None,
        p=published.lower("p"),
        sp=published.lower("sp"),
        np=published.lower("np"),
        pct=_percent(pct, warnings) if pct else None,
        testing=published.lower("testing"),
        adkim=published.lower("adkim"),
        aspf=published.lower("aspf"),
        fo=published.text("fo"),
        discovery_method=published.lower("discovery_method"),
    )


def _percent(text: str, warnings: Warnings) -> int | None:
    if text.isdecimal() and text.isascii() and int(text[:5]) <= 100:
        return int(text)
    whole = text.rstrip("%").strip().partition(".")
    taken = None
    if whole[0].isdecimal() and whole[0].isascii() and not whole[2].strip("0"):
        taken = int(whole[0]) if int(whole[0][:5]) <= 100 else None
    warnings.changed("policy_published/pct", text, taken)
    return taken


class _Fields:
    """The elements of one element of the head, which xmltodict parsed."""

    def __init__(self, tree: Any, name: str, warnings: Warnings) -> None:
        self._tree: Tree = tree if isinstance(tree, dict) else {}
        self._name = name
        self._warnings = warnings

    def __contains__(self, name: str) -> bool:
        return name in self._tree

    def __bool__(self) -> bool:
        return bool(self._tree)

    def inner(self, name: str) -> _Fields:
        return _Fields(self._first(name, dict), name, self._warnings)

    def text(self, name: str) -> str | None:
        found: str | None = self._first(name, str)
        return found

    def wanted(self, name: str) -> str | None:
        """The text of an element that the RFC requires; its absence is warned of."""
        found = self.text(name)
        if found is None:
            self._warnings.add(f"{self._name}/{name} is missing")
        return found

    def lower(self, name: str) -> str | None:
        """The text of an element that holds a keyword, in lower case."""
        found = self.text(name)
        if found is not None and not found.islower() and found.lower() != found:
            self._warnings.changed(f"{self._name}/{name}", found, found.lower())
        return found.lower() if found else None

    def texts(self, name: str) -> tuple[str, ...]:
        found = self._tree.get(name)
        return tuple(
            each
            for each in (found if isinstance(found, list) else [found])
            if isinstance(each, str)
        )

    def _first(self, name: str, kind: type) -> Any:
        found = self._tree.get(name)
        if found is None or isinstance(found, kind):
            return found
        if isinstance(found, list):
            self._warnings.add(f"{self._name}/{name} stands {len(found)} times, first taken")
            return next((each for each in found if isinstance(each, kind)), None)
        self._warnings.add(f"{self._name}/{name}: {quoted(type(found).__name__)} passed over")
        return None
