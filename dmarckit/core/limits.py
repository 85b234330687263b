"""How much one mail may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one mail may cost; beyond it the mail is unreadable, with the limit named."""

    mail_bytes: int = 50_000_000
    """size of a mail or file as it was received"""
    document_bytes: int = 1_000_000_000
    """inflated size of one document (one XML or JSON)"""
    ratio: int = 100
    """inflated size ÷ packed size, looked at beyond `ratio_from` bytes"""
    ratio_from: int = 10_000_000
    """inflated bytes below which the ratio does not matter"""
    members: int = 100
    """members of one archive"""
    nesting: int = 3
    """archives within archives, and mails within mails"""
    records: int = 2_000_000
    """records of one report"""
    parts: int = 1_000
    """MIME parts of one mail"""
