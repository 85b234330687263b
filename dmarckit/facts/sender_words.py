"""The kinds of senders, as people read them."""

from __future__ import annotations

from dmarckit.core.language import _, later

_KINDS = {
    "mailbox provider": later("mailbox provider"),
    "email service": later("email service"),
    "marketing": later("marketing"),
    "crm": later("crm"),
    "ticketing": later("ticketing"),
    "security gateway": later("security gateway"),
    "mailing list": later("mailing list"),
    "forwarder": later("forwarder"),
    "hosting": later("hosting"),
    "own": later("own"),
    "unknown": later("unknown"),
}


def kind_word(kind: object) -> str:
    """The kind of a sender; one of the user's own settings as it stands there.

    >>> kind_word("mailing list")
    'mailing list'
    """
    return _(_KINDS[str(kind)]) if str(kind) in _KINDS else str(kind)
