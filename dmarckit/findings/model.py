"""What a finding is.

How findings say things: names, lists, days and counts, in the language in use.

Each of these is one part of a sentence. A sentence is formatted once, with its parts as
values, so that braces in outside names stay what they are.

The few statistics that findings need, in plain arithmetic. No function divides by zero.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from dmarckit.core import _, count, ngettext, one_line

Severity = Literal["critical", "warning", "info", "good"]

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info", "good")
"""Worst first. critical and warning: a person must act. info: worth knowing, nothing is due.
good: a step forward is open."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, has changed, or can be done, about one domain.

    The text is cleaned: outside names in it hold no control characters (they still have to
    be escaped where HTML or Slack markup is written).
    """

    kind: str
    domain: str
    """the policy domain; empty when it concerns all"""
    subject: str
    """what it is about within its kind and domain; raw, so that the fingerprint is stable"""
    severity: Severity
    messages: int
    """messages concerned (sessions for TLS, mails for refused mails); 0 where none are counted"""
    first_day: date | None
    last_day: date | None
    reporters: int
    """how many reporters saw it; their names are in the evidence"""
    summary: str
    """one plain sentence with its numbers"""
    action: str
    """exactly what to do, and by whom"""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """what a sceptic needs, fit for JSON; `query` recomputes `number`, which is in the summary"""
    mute_reason: str | None = None
    """why it is muted; None: it is not"""

    @property
    def fingerprint(self) -> str:
        """What makes it the same finding tomorrow."""
        return f"{self.kind}|{self.domain}|{self.subject}"

    @property
    def muted(self) -> bool:
        """Known and accepted by the settings: shown apart, told to nobody."""
        return self.mute_reason is not None

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Sorts the most urgent first; muted ones last."""
        return self.muted, SEVERITIES.index(self.severity), -self.messages, self.fingerprint


def clean(name: object, limit: int = 80) -> str:
    """An outside name, fit for a sentence.

    >>> clean("Mail\\x1b[2J")
    'Mail\\\\x1b[2J'
    """
    return one_line(name, limit)


def join_names(names: Sequence[str], at_most: int = 3) -> str:
    """Names in a sentence.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    parts = [clean(name) for name in names[:at_most]]
    rest = len(names) - len(parts)
    if rest:
        parts.append(_("{n} more").format(n=count(rest)))
    text = parts[0] if parts else ""
    for name in parts[1:-1]:
        text = _("{names}, {name}").format(names=text, name=name)
    return _("{names} and {name}").format(names=text, name=parts[-1]) if len(parts) > 1 else text


def on_days(first: date | None, last: date | None) -> str:
    """When, in a sentence.

    >>> on_days(date(2026, 11, 3), date(2026, 11, 5)), on_days(None, None)
    ('from 2026-11-03 to 2026-11-05', '')
    """
    if first is None or last is None:
        return ""
    if first == last:
        return _("on {day}").format(day=first)
    return _("from {first} to {last}").format(first=first, last=last)


def join_sentences(*texts: str) -> str:
    """Whole sentences one after the other; empty ones are left out."""
    told = ""
    for text in filter(None, texts):
        told = _("{sentences} {sentence}").format(sentences=told, sentence=text) if told else text
    return told


def n_reporters(n: float) -> str:
    """How many reporters."""
    return ngettext("{n} reporter", "{n} reporters", n).format(n=count(n))


def n_domains(n: float) -> str:
    """How many domains."""
    return ngettext("{n} domain", "{n} domains", n).format(n=count(n))


def share(part: float, whole: float) -> float:
    """`part` ÷ `whole` [0–1]; 0 when there is nothing to take a share of."""
    return part / whole if whole else 0.0


def wilson_upper(part: float, whole: float, z: float = 1.96) -> float:
    """Upper end of Wilson's interval for a share; 1 when nothing was counted.

    With no failure at all it is z² ÷ (n + z²), so a few messages prove little.

    >>> round(wilson_upper(0, 60), 3), round(wilson_upper(0, 73), 3), wilson_upper(0, 0)
    (0.06, 0.05, 1.0)
    """
    if whole <= 0:
        return 1.0
    p, zz = part / whole, z * z
    middle = p + zz / (2 * whole)
    spread = z * math.sqrt(max(p * (1 - p), 0.0) / whole + zz / (4 * whole * whole))
    return min((middle + spread) / (1 + zz / whole), 1.0)


def two_proportion_z(part: float, whole: float, part_before: float, whole_before: float) -> float:
    """How many standard errors the share rose by; 0 when one side is empty or nothing varies.

    >>> round(two_proportion_z(60, 100, 2, 1000), 1)
    24.7
    """
    if not whole or not whole_before:
        return 0.0
    pooled = (part + part_before) / (whole + whole_before)
    variance = pooled * (1 - pooled) * (1 / whole + 1 / whole_before)
    if variance <= 0:
        return 0.0
    return (part / whole - part_before / whole_before) / math.sqrt(variance)


def median(values: Sequence[float]) -> float:
    """The middle value; 0 of none."""
    return float(statistics.median(values)) if values else 0.0


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation from the median: spread that outliers do not move.

    >>> mad([5, 6, 7, 6, 900])
    1.0
    """
    middle = median(values)
    return median([abs(value - middle) for value in values])
