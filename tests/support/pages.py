"""Pages with facts made by hand, and what a reader sees of a section."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.checks.dns import Outside
from dmarckit.core.settings import Settings
from dmarckit.core.window import Window, last_days
from dmarckit.facts.frames import Facts, empty_facts
from dmarckit.findings.analysis import Analysis
from dmarckit.findings.ledger import LedgerEntry
from dmarckit.lake.lake import Lake
from dmarckit.pages.html import Html
from dmarckit.pages.page import Page
from dmarckit.pages.sections.base import Section
from tests.support.finding_facts import MESSAGES

DAY = datetime(2026, 11, 23, tzinfo=UTC)
WINDOW = last_days(3, "2026-11-23")
BEFORE = DAY - timedelta(days=4)
OTHER = {"sender": "Example Mail", "sender_kind": "email service", "in_inventory": False}
FAILS = {"class": "unauthenticated", "da": False, "sa": False}
QUOTED: dict[str, Any] = {
    "domain": "example.com",
    "reporter": "Receiver One",
    "begin": DAY,
    "end": DAY + timedelta(days=1),
    "pct": None,
    **dict.fromkeys(["p", "sp", "np", "testing", "adkim", "aspf"], ""),
    **dict.fromkeys(["spelling", "contact", "sent_by"], ""),
}
REPORT = {
    "domain": "example.com",
    "reporter": "Receiver One",
    "begin": DAY,
    "end": WINDOW.end,
    "received": None,
    **dict.fromkeys(["spelling", "contact", "sent_by", "provider", "oddity", "report_uid"], ""),
}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "=cmd()|' /C calc'!A0",
    "a\u202ebc",
    "line\nbreak\x1b[31m",
]
UNSAFE = ("<script", "<img", "\u202e", "\x1b")


def frame(base: dict[str, Any], rows: tuple[dict[str, Any], ...]) -> pd.DataFrame:
    return pd.DataFrame([base | row for row in rows], columns=list(base))


def messages(*rows: dict[str, Any], **frames: pd.DataFrame) -> Facts:
    """Facts with these messages; what is not said is that of `MESSAGES`."""
    base = MESSAGES | {"day": DAY, "reporter": "Receiver One", "ours": True}
    return empty_facts(WINDOW.end, BEFORE, messages=frame(base, rows), **frames)


def page_about(
    facts: Facts | None = None,
    domain: str = "",
    window: Window = WINDOW,
    *,
    findings: tuple[LedgerEntry, ...] = (),
    outside: Outside | None = None,
    settings: Settings | None = None,
    lake: Lake | None = None,
    **parts: Any,
) -> Page:
    """A page that has read these facts; `parts` are what it has read besides."""
    settings, lake = settings or Settings(home="unused"), lake or Lake("unused")
    page = Page(settings, lake, window, domain=domain)
    facts = messages() if facts is None else facts
    page.analysis = Analysis(facts.now, 7, facts, list(findings), outside or Outside())
    for name, part in parts.items():
        setattr(page, name, part)
    return page


def markup(*sections: Section) -> str:
    """What sections are as HTML."""
    return "".join(section.html.markup for section in sections if section.html)


def text(found: Section | Html) -> str:
    """What a reader sees, cells apart by a bar."""
    html = found.html if isinstance(found, Section) else found
    apart = re.sub(r"</(td|th|li|dd|dt|p|small)>", "|", html.markup if html else "")
    return re.sub(r"<[^>]*>", "", apart).replace("\N{NO-BREAK SPACE}", " ")
