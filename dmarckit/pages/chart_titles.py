"""What a chart of results says, as its title: the finding rather than the axes."""

from __future__ import annotations

from dmarckit.core.language import _
from dmarckit.core.words import n_messages, percent


def failing_title(failing: int, delivered: int) -> str:
    """How many messages failed, and how many of them were delivered."""
    if not delivered:
        text = _("{messages} failed DMARC; none was delivered all the same")
    elif delivered == failing:
        text = _("{messages} failed DMARC; all of them were delivered all the same")
    else:
        text = _("{messages} failed DMARC; {share} were delivered all the same")
    return text.format(messages=n_messages(failing), share=percent(delivered / failing))
