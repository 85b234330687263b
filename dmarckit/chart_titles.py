"""What a chart of results says, as its title: the finding rather than the axes."""

from __future__ import annotations

import pandas as pd

from dmarckit.language import _
from dmarckit.words import count, long_day, n_messages, percent


def failing_title(failing: int, delivered: int) -> str:
    """How many messages failed, and how many of them were delivered."""
    if not delivered:
        text = _("{messages} failed DMARC; none was delivered all the same")
    elif delivered == failing:
        text = _("{messages} failed DMARC; all of them were delivered all the same")
    else:
        text = _("{messages} failed DMARC; {share} were delivered all the same")
    return text.format(messages=n_messages(failing), share=percent(delivered / failing))


def results_title(daily: pd.DataFrame, messages: int, failing: int) -> str:
    """How many messages pass, and the day with by far the most failures if there is one."""
    if not failing:
        return _("All {messages} pass DMARC").format(messages=n_messages(messages))
    passing = {"share": percent(1 - failing / messages), "messages": n_messages(messages)}
    worst = daily.iloc[daily["fail"].to_numpy().argmax()]
    if worst["fail"] >= 10 and worst["fail"] >= 3 * daily["fail"].median():
        return _("{share} of {messages} pass DMARC; most failures on {day} ({n})").format(
            **passing, day=long_day(worst["day"]), n=count(worst["fail"])
        )
    return _("{share} of {messages} pass DMARC; {n} fail").format(**passing, n=count(failing))
