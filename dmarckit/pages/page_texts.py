"""What pages say besides their notebooks: texts of their scripts, names of the notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from dmarckit.core.language import _, language, later

_NOTEBOOKS = {
    "overview": later("Overview"),
    "domain": later("Domains"),
    "sender": later("Senders"),
    "report": later("Reports"),
    "tls": later("TLS reports"),
    "explore": later("Explore"),
}


def notebook_word(name: str) -> str:
    """How a list of pages calls a notebook; one of the user's own by its file name.

    >>> notebook_word("overview"), notebook_word("my_own")
    ('Overview', 'My own')
    """
    return _(_NOTEBOOKS[name]) if name in _NOTEBOOKS else name.replace("_", " ").capitalize()


def text_script() -> str:
    """The script that the others need: ``TEXTS`` in the language in use, and how to fill them."""
    say = Path(__file__).parent / "template/dmarckit/texts.js"
    return f"const TEXTS = {script_json(_texts())};\n{say.read_text(encoding='utf-8')}"


def script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _texts() -> dict[str, Any]:
    return {
        "filter": _("Filter"),
        "filter_of": _("Filter: {table}"),
        "some": _("{n} of {all}"),
        "copy": _("Copy"),
        "copied": _("Copied"),
        "selected": _("Selected: copy it now"),
        "find": _("Find a domain"),
        "domains": _("{n} domains"),
        "calendar": _calendar(),
    }


Width = Literal["wide", "abbreviated"]


def _calendar() -> dict[str, Any] | None:
    """Names of days and months as plotly takes them; None for English, which it knows."""
    if language() == "en":
        return None
    from babel.dates import get_day_names, get_month_names

    def days(width: Width) -> list[str]:
        names = get_day_names(width, locale=language())
        return [names[(place - 1) % 7] for place in range(7)]  # from Sunday on

    def months(width: Width) -> list[str]:
        names = get_month_names(width, locale=language())
        return [names[number] for number in range(1, 13)]

    return {
        "days": days("wide"),
        "shortDays": days("abbreviated"),
        "months": months("wide"),
        "shortMonths": months("abbreviated"),
    }
