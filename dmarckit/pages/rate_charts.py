"""Rates a day → lines, in the visual language of `dmarckit.charts`. Shares are [0-1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from dmarckit.core.rates import rate_text
from dmarckit.core.words import is_missing
from dmarckit.pages.charts import daily_bars

WARNING, CRITICAL = "#e09f1f", "#d55e00"


def rate_lines(
    daily: pd.DataFrame,
    colours: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    title: str,
    subtitle: str,
    span: tuple[float, float],
    limits: Sequence[tuple[float, str, str]] = (),
) -> go.Figure:
    """A line for each name in `colours`; `daily` has `day` and a column of shares for each.

    A day without data is a gap, so each day has a point of its own. `span` is what the axis
    shows; `limits` are horizontal lines: share, what it means, colour.
    """
    figure = daily_bars(daily, {}, {}, title=title, subtitle=subtitle)  # the days, no bars yet
    days = [f"{day:%Y-%m-%d}" for day in daily["day"]]
    for name in colours:
        if daily[name].notna().any():
            line = {"color": colours[name], "width": 2}
            figure.add_scatter(
                x=days,
                y=[None if is_missing(share) else round(share, 6) for share in daily[name]],
                name=labels[name],
                mode="lines+markers",
                marker={"color": colours[name], "size": 6},
                line=line,
                connectgaps=False,
                customdata=[rate_text(share) for share in daily[name]],
                hovertemplate="%{customdata}",
            )
    for share, meaning, colour in limits:
        line = {"color": colour, "width": 1.5, "dash": "dash"}
        label = {"annotation_text": meaning, "annotation_position": "top right"}
        figure.add_hline(y=share, line=line, **label)
    wide = span[1] - span[0]
    decimals = 2 if wide < 0.01 else 1 if wide < 0.1 else 0  # no two ticks say the same
    figure.update_yaxes(range=list(span), tickformat=f".{decimals}%")
    return figure
