"""What cells of tables say of senders and their messages, in words of the language in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dmarckit.core.language import _, later
from dmarckit.core.words import count
from dmarckit.pages.class_charts import LABELS

_ALL = {
    "delivered": later("all delivered"),
    "quarantined": later("all sent to spam"),
    "rejected": later("all rejected"),
    "unstated": later("all not said"),
}
_SOME = {
    "delivered": later("{n} delivered"),
    "quarantined": later("{n} sent to spam"),
    "rejected": later("{n} rejected"),
    "unstated": later("{n} not said"),
}


def class_words(found: Any) -> str:
    """A dict class → messages, the largest first, in words.

    >>> class_words({"aligned": 5}), class_words({"aligned": 5, "modified": 1})
    ('DKIM and SPF pass', 'DKIM and SPF pass 5, changed on the way 1')
    """
    if not isinstance(found, Mapping):
        return ""
    parts = [(class_word(name), number) for name, number in found.items()]
    if len(parts) == 1:
        return parts[0][0]
    return listed(*(f"{name} {count(number)}" for name, number in parts[:4]))


def class_word(name: str) -> str:
    """A class of messages (`classify.CLASSES`) as tables and legends call it."""
    return _(LABELS[name]) if name in LABELS else name


def listed(*parts: str) -> str:
    """Things in a cell, one after the other."""
    return _(", ").join(parts)


def what_was_done(row: Any) -> str:
    """What receivers did with failing messages (`summary.OUTCOMES`, columns of `row`)."""
    some = {name: getattr(row, name) for name in _SOME if getattr(row, name)}
    if len(some) == 1:
        return _(_ALL[next(iter(some))])
    return listed(*(_(_SOME[name]).format(n=count(number)) for name, number in some.items()))
