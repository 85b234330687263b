"""Messages by class → figures. The nine classes have the same colours and words on every page."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dmarckit.charts import daily_bars, nothing
from dmarckit.words import percent, plural

COLOURS = {
    "aligned": "#0068a8",
    "dkim_only": "#4fa8dc",
    "spf_only": "#a8639b",
    "forwarded": "#0f9d76",
    "modified": "#56606c",
    "broken_dkim": "#e09f1f",
    "unaligned_sender": "#7a4a21",
    "spoofed_subdomain": "#b3195f",
    "unauthenticated": "#d55e00",
}
"""cool: passes or left in order; warm: fails. In the order in which they are stacked"""

LABELS = {
    "aligned": "DKIM and SPF pass",
    "dkim_only": "only DKIM passes",
    "spf_only": "only SPF passes",
    "forwarded": "forwarded",
    "modified": "changed on the way",
    "broken_dkim": "own mail, DKIM breaks",
    "unaligned_sender": "known service, not set up",
    "spoofed_subdomain": "made-up subdomain",
    "unauthenticated": "proves nothing",
}


def classes_by_day(daily: pd.DataFrame) -> go.Figure:
    """Messages a day, stacked by class. Takes `class_summary.classes_by_day`.

    Days of which reports are still missing have a grey ground.
    """
    messages = int(daily["messages"].sum())
    if not messages:
        return nothing("Messages a day")
    grey = "" if daily["complete"].all() else " Grey: days of which reports are still missing."
    return daily_bars(
        daily,
        COLOURS,
        LABELS,
        title=_title(daily, messages),
        subtitle=f"Messages a day, by what they prove.{grey}",
    )


def _title(daily: pd.DataFrame, messages: int) -> str:
    """The largest class that fails and is not known to be harmless, else that all is in order."""
    bad = ["broken_dkim", "unaligned_sender", "spoofed_subdomain", "unauthenticated"]
    sums = daily[bad].sum()
    largest = str(sums.idxmax())
    share = sums.sum() / messages
    whole = plural(messages, "message")
    if not share:
        return f"All of {whole} pass, or were forwarded or changed on the way"
    most = {
        "broken_dkim": "own mail whose DKIM breaks",
        "unaligned_sender": "known services that are not set up",
        "spoofed_subdomain": "made-up subdomains",
        "unauthenticated": "mail that proves nothing",
    }[largest]
    return f"{percent(1 - share)} of {whole} are in order; of the rest most is {most}"
