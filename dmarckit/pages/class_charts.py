"""Messages by class → figures. The nine classes have the same colours and words on every page."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dmarckit.core.language import _, later
from dmarckit.core.words import n_messages, percent
from dmarckit.pages.charts import daily_bars, nothing

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
    "aligned": later("DKIM and SPF pass"),
    "dkim_only": later("only DKIM passes"),
    "spf_only": later("only SPF passes"),
    "forwarded": later("forwarded"),
    "modified": later("changed on the way"),
    "broken_dkim": later("own mail, DKIM breaks"),
    "unaligned_sender": later("known service, not set up"),
    "spoofed_subdomain": later("made-up subdomain"),
    "unauthenticated": later("proves nothing"),
}


def classes_by_day(daily: pd.DataFrame) -> go.Figure:
    """Messages a day, stacked by class. Takes `class_summary.classes_by_day`.

    Days of which reports are still missing have a grey ground.
    """
    messages = int(daily["messages"].sum())
    if not messages:
        return nothing(_("Messages a day"))
    subtitle = _("Messages a day, by what they prove.")
    if not daily["complete"].all():
        subtitle = _(
            "Messages a day, by what they prove. Grey: days of which reports are still missing."
        )
    return daily_bars(
        daily,
        COLOURS,
        LABELS,
        title=_title(daily, messages),
        subtitle=subtitle,
    )


def _title(daily: pd.DataFrame, messages: int) -> str:
    """The largest class that fails and is not known to be harmless, else that all is in order."""
    bad = ["broken_dkim", "unaligned_sender", "spoofed_subdomain", "unauthenticated"]
    sums = daily[bad].sum()
    largest = str(sums.idxmax())
    share = sums.sum() / messages
    whole = n_messages(messages)
    if not share:
        text = _("All of {messages} pass, or were forwarded or changed on the way")
        return text.format(messages=whole)
    most = {
        "broken_dkim": _("own mail whose DKIM breaks"),
        "unaligned_sender": _("known services that are not set up"),
        "spoofed_subdomain": _("made-up subdomains"),
        "unauthenticated": _("mail that proves nothing"),
    }[largest]
    text = _("{share} of {messages} are in order; of the rest most is {most}")
    return text.format(share=percent(1 - share), messages=whole, most=most)
