"""How findings say things: names, lists, days and counts, in the language in use.

Each of these is one part of a sentence. A sentence is formatted once, with its parts as
values, so that braces in outside names stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from dmarckit.core.errors import one_line
from dmarckit.core.language import _, ngettext
from dmarckit.core.words import count


def clean(name: object, limit: int = 80) -> str:
    """An outside name, fit for a sentence.

    >>> clean("Mail\\x1b[2J")
    'Mail\\\\x1b[2J'
    """
    return one_line(name, limit)


def listed(names: Sequence[str], at_most: int = 3) -> str:
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


def sentences(*texts: str) -> str:
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
