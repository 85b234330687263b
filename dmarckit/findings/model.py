"""A finding, its kinds, and the parts of its sentences.

A sentence is formatted once, with its parts as values, so that braces in outside names stay
what they are.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from dmarckit.core import _, count, later, ngettext, one_line, short_days

if TYPE_CHECKING:
    from dmarckit.checks import Outside
    from dmarckit.facts import Facts
    from dmarckit.findings.context import Context, DomainFacts

HANDED = "DMARCKIT_ANALYSIS"
"""environment variable of a page's kernel: the file in which its run leaves the analysis"""
Severity = Literal["critical", "warning", "info", "good"]

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info", "good")
"""Worst first. critical and warning: a person must act. info: worth knowing, nothing is due.
good: a step forward is open."""
URGENT = SEVERITIES[:2]


@dataclass(frozen=True)
class Record:
    """A DNS record to publish, whole."""

    name: str
    type: str
    """TXT, CNAME or MX"""
    value: str
    replaces: str | None = None
    """the present record, to the letter, and so the way back; None: there is none"""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, has changed, or can be done, about one domain.

    The text is cleaned: outside names in it hold no control characters (they still have to
    be escaped where HTML or Slack markup is written).
    """

    kind: str
    """the name of a `Kind`"""
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
    """number of reporters that saw it; their names are in the evidence"""
    summary: str
    """one plain sentence with its numbers"""
    action: str
    """exactly what to do, and by whom"""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """what a sceptic needs, fit for JSON; `query` recomputes `number`, which is in the summary"""
    since: date | None = None
    """first day of what lasts; None: not known, or it is no state"""
    lost: int = 0
    """messages of senders of ours that were quarantined or rejected in the last 7 days"""
    cause: str = ""
    """findings with the same text have the same cause, at whatever domains"""
    title: str = ""
    """in plain text; `find` fills it in"""
    record: tuple[Record, ...] = ()
    """what to publish; empty: nothing, or the present record is not known"""
    mute_reason: str | None = None
    """why it is muted; None: it is not"""

    def __post_init__(self) -> None:
        """Make the evidence plain values: rules compute with numpy's, which compare otherwise."""
        object.__setattr__(self, "evidence", _plain(self.evidence))

    @property
    def fingerprint(self) -> str:
        """Identify the same finding in another run."""
        return f"{self.kind}|{self.domain}|{self.subject}"

    @property
    def muted(self) -> bool:
        """Return True if the settings mute it: it is shown apart and sent to nobody."""
        return self.mute_reason is not None

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Return the sort key that puts the most urgent first and muted ones last."""
        return self.muted, SEVERITIES.index(self.severity), -self.messages, self.fingerprint


_PLAIN = {str, int, float, bool, type(None)}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: dicts, lists, and numbers of Python's own.

    >>> import numpy
    >>> _plain({"share": numpy.float64(0.5), "days": (1, numpy.array([2]))})
    {'share': 0.5, 'days': [1, [2]]}
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass(frozen=True)
class Kind:
    """A kind of finding: all that ranks, titles, shows, suppresses and resolves its findings."""

    name: str
    title: str
    """English, marked with `later`, with the placeholder ``{subject}``"""
    severities: tuple[Severity, ...]
    """those that its findings can have"""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """part of the evidence → its label, in English; ``part.key`` labels a key of a part. Parts
    that all kinds have are in `titles.EVIDENCE_ORDER`"""
    hidden_by: tuple[str, ...] = ()
    """kinds whose finding about the same domain, or about all domains, leaves this one out"""
    rules: Callable[[str], tuple[str, ...]] = lambda subject: ()
    """subject → the providers' rules (`checks.RULES`) that a finding already reports as broken,
    so that `requirement_not_met` does not; ``DNS spf`` as far as DNS shows it"""
    topic: str = ""
    """what selects it together with others of its topic: ``requirements`` or ``tls``"""
    subject_name: Callable[[str], str] = lambda subject: one_line(subject, 80)
    """subject → its name in a title"""
    resolved: str = later("No action needed: it was not found any more.")
    """the action of a finding that ended without `ended`: RESOLVED when a run does not find it"""
    ended: Callable[[Finding, DomainFacts, Context], str] | None = None
    """finding of the last run → how it ended, empty while it goes on, whatever the thresholds of
    the window say; None: it is no state, and ends when it is not found"""


@dataclass(frozen=True)
class Family:
    """The kinds that one module finds, and its rules. All rules leave the frames unchanged."""

    kinds: tuple[Kind, ...]
    of_domain: tuple[Callable[[DomainFacts, Context], list[Finding]], ...] = ()
    of_all: tuple[Callable[[Facts, Context], list[Finding]], ...] = ()
    of_outside: tuple[Callable[[Facts, Outside, Context], list[Finding]], ...] = ()


def safe(name: object, limit: int = 80) -> str:
    r"""Return an outside name fit for a sentence.

    >>> safe("Mail\x1b[2J")
    'Mail\\x1b[2J'
    """
    return one_line(name, limit)


def reporter_name(name: str) -> str:
    """Return the name of a reporter fit for a sentence, also of one that gives none."""
    return safe(name) or _("an unnamed reporter")


def join_names(names: Sequence[str], at_most: int = 3) -> str:
    """Join names in a sentence; of more than `at_most` the rest is counted.

    >>> join_names(["a", "b"]), join_names(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    parts = [safe(name) for name in names[:at_most]]
    rest = len(names) - len(parts)
    if rest:
        parts.append(_("{n} more").format(n=count(rest)))
    text = parts[0] if parts else ""
    for name in parts[1:-1]:
        text = _("{names}, {name}").format(names=text, name=name)
    return _("{names} and {name}").format(names=text, name=parts[-1]) if len(parts) > 1 else text


def on_days(first: date | None, last: date | None) -> str:
    """Return a period in words; empty without days.

    >>> on_days(date(2026, 11, 3), date(2026, 11, 5)), on_days(None, None)
    ('on 3–5 Nov', '')
    """
    if first is None or last is None:
        return ""
    return _("on {days}").format(days=short_days(first, last))


def join_sentences(*texts: str) -> str:
    """Join sentences; empty ones are left out, and a command at an end gets its full stop.

    >>> join_sentences("If not: dmarckit senders deny a.example", "The same goes for the others.")
    'If not: dmarckit senders deny a.example. The same goes for the others.'
    """
    joined = ""
    for text in filter(None, texts):
        if joined and joined[-1] not in _ENDS:
            joined = _("{sentence}.").format(sentence=joined)
        both = _("{sentences} {sentence}").format(sentences=joined, sentence=text)
        joined = both if joined else text
    return joined


_ENDS = ".!?:。！？："


def n_domains(n: float) -> str:
    """Return a number of domains in words."""
    return ngettext("{n} domain", "{n} domains", n).format(n=count(n))


def share(part: float, whole: float) -> float:
    """Return `part` ÷ `whole` [0–1]; 0 when there is nothing to take a share of."""
    return part / whole if whole else 0.0


def wilson_upper(part: float, whole: float, z: float = 1.96) -> float:
    """Return the upper end of Wilson's interval for a share; 1 when nothing was counted.

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


def median(values: Sequence[float]) -> float:
    """Return the median; 0 of none."""
    return float(statistics.median(values)) if values else 0.0


def mad(values: Sequence[float]) -> float:
    """Return the median absolute deviation: a spread that outliers do not move.

    >>> mad([5, 6, 7, 6, 900])
    1.0
    """
    middle = median(values)
    return median([abs(value - middle) for value in values])
