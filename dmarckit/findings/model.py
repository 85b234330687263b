"""What a finding is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

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
