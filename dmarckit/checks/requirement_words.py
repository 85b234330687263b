"""Verdicts about sender requirements, and who gives them, in words of the language in use."""

from __future__ import annotations

from typing import Any

from dmarckit.core.language import _, later

VERDICTS = {
    "not met": later("not met"),
    "met": later("met"),
    "unknown": later("unknown"),
}
"""the one that counts first: a fault, then what is known"""

VIEWS = ("reports", "postmaster", "dns")


def verdict_word(verdict: object) -> str:
    """A verdict.

    >>> verdict_word("not met")
    'not met'
    """
    return _(VERDICTS[str(verdict)])


def view_word(view: str) -> str:
    """One of `VIEWS`.

    >>> view_word("postmaster")
    'Postmaster Tools'
    """
    return {"reports": _("reports"), "postmaster": "Postmaster Tools", "dns": "DNS"}[view]


def sees(row: Any) -> str:
    """What each view says, of a row of `requirements.matrix`."""
    text = ""
    for view in VIEWS:
        if row[view] is not None:
            part = _("{view} {verdict}").format(
                view=view_word(view), verdict=verdict_word(row[view])
            )
            text = _("{parts}, {part}").format(parts=text, part=part) if text else part
    return text
