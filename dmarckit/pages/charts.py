"""Small frames → plotly figures with one visual language, and the words of their classes.

A colour has one meaning on every chart; text of reports goes through `outside_text`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from dmarckit.core import _, current_language, later, one_line, rate_text, text as words
from dmarckit.pages.html import plain, templates
from dmarckit.pages.marks import LIGHT, bar

# what receivers did with failing messages: label and the name of its colour
OUTCOMES = {
    "delivered": (later("delivered"), "failing"),
    "quarantined": (later("quarantined"), "quarantined"),
    "rejected": (later("rejected"), "rejected"),
    "unstated": (later("not stated"), "unknown"),
}
_FONT = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Hiragino Sans", '
    '"Yu Gothic UI", "Noto Sans CJK JP", sans-serif'
)
_DAY_MS = 86_400_000
MOST_EVENTS = 5  # of a day that a mark names
TITLE_ROOM = 104  # pixels above the plot for title, subtitle and legend
CLASSES = {  # → label and group
    "aligned": (later("DKIM and SPF pass"), "authenticated"),
    "dkim_only": (later("only DKIM passes"), "authenticated"),
    "spf_only": (later("only SPF passes"), "authenticated"),
    "forwarded": (later("forwarded"), "indirect"),
    "modified": (later("modified in transit"), "indirect"),
    "broken_dkim": (later("own mail, DKIM failing"), "failing"),
    "unaligned_sender": (later("known service, not aligned"), "failing"),
    "unidentified": (later("unidentified sender"), "failing"),
    "spoofed_subdomain": (later("spoofed subdomain"), "forged"),
    "unauthenticated": (later("unauthenticated"), "forged"),
}
GROUPS = {  # of classes, by their colour, as they are stacked
    "authenticated": later("authenticated"),
    "indirect": later("forwarded or modified"),
    "failing": later("own or unidentified, failing"),
    "forged": later("forged"),
}
# edges of the plot of an SVG image; the names of the colours are at its right
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 72, 730, 306


def outside_text(text: object, limit: int = 80) -> str:
    """Return text from a report as plotly, which reads markup in every label, shows it literally.

    >>> outside_text('<a href="javascript:x">A & B</a>')
    '&lt;a href="javascript:x"&gt;A &amp; B&lt;/a&gt;'
    """
    clean = one_line(text, limit)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def daily_bars(
    daily: pd.DataFrame, series: Mapping[str, tuple[str, str]], *, title: str, subtitle: str
) -> go.Figure:
    """Draw stacked bars a day.

    `daily` has `day` and a count for each name in `series`, which has their labels, translated
    here, and colours. A name without any count is left out, so that the legend names only what
    is there. Where `daily` has a column `complete`, days without it have a grey ground.
    """
    figure = _figure(title, subtitle, height=360)
    total = daily[list(series)].sum(axis=1)
    days = [f"{day:%Y-%m-%d}" for day in daily["day"]]
    # how much of its day a bar covers: slim when there are few, all when many
    width = 1 if len(days) > 120 else 0.25 if len(days) < 4 else 0.84
    for name, (label, colour) in series.items():
        if daily[name].any():
            shares = daily[name] / total
            figure.add_bar(
                x=days,
                y=daily[name].tolist(),
                name=_(label),
                marker={"color": colour, "line": {"width": 0}},
                width=_DAY_MS * width,
                customdata=["" if words.is_missing(n) else words.percent(n) for n in shares],
                hovertemplate="%{y:,} (%{customdata})",
            )
    half = pd.Timedelta(hours=12)
    starts = [f"{day - half:%Y-%m-%d %H:%M}" for day in daily["day"]]
    ends = [f"{day + half:%Y-%m-%d %H:%M}" for day in daily["day"]]
    grey = {"fillcolor": "rgba(125, 135, 150, 0.22)", "line": {"width": 0}}  # on white and on black
    for start, end, is_complete in zip(starts, ends, daily.get("complete", ()), strict=False):
        if not is_complete:
            at = {"x0": start, "x1": end, "y0": 0, "y1": 1, "yref": "paper"}
            figure.add_shape(type="rect", layer="below", **at, **grey)
    first, last = starts[0], ends[-1]
    is_english = current_language() == "en"
    day_form = "%-d %b" if is_english else "%-m/%-d"
    figure.update_xaxes(
        type="date",
        range=[first, last],
        hoverformat="%A, %-d %B %Y" if is_english else "%Y年%-m月%-d日(%a)",
        minallowed=first,
        maxallowed=last,
        **({"dtick": _DAY_MS} if len(days) <= 7 else {"nticks": 8}),
        tickformat=day_form if len(days) <= 45 else f"{day_form}\n%Y",
    )
    figure.update_yaxes(tickformat="~s" if total.max() >= 10_000 else ",d")
    tops = daily[[name for name in series if daily[name].any()]].cumsum(axis=1)
    middles: Any = (tops - daily[tops.columns] / 2).iloc[-1]
    named = [(*series[str(name)], float(height)) for name, height in middles.items()]
    _label_ends(figure, named, float(total.max()))
    return figure


def _label_ends(
    figure: go.Figure,
    ends: Sequence[tuple[str, str, float]],
    highest: float,
    axis: str = "y",
    top: float = math.inf,
) -> None:
    """Write the names of up to four series where they end at the right; a legend has more.

    `ends` are label, colour and height of each, the lowest first; no label is above `top`.
    """
    if len(ends) > 4:
        return
    step = highest * 0.11
    places = [height for _label, _colour, height in ends]
    for n in range(1, len(places)):
        places[n] = max(places[n], places[n - 1] + step)
    for n in reversed(range(len(places))):  # back below the top
        places[n] = min(places[n], top - step * (len(places) - 1 - n))
    for (label, colour, _height), at in zip(ends, places, strict=True):
        text = f'<span style="color:{colour}">■</span> {_(label)}'
        place = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 4, "y": at}
        figure.add_annotation(
            name="direct", text=text, showarrow=False, font={"size": 12}, yref=axis, **place
        )
    figure.update_layout(margin={"r": 200})


def _figure(title: str, subtitle: str, *, height: int) -> go.Figure:
    """Return an empty figure in the house style; the page replaces its greys in dark mode."""
    axis = {"gridcolor": "#e3e7ed", "zeroline": False, "linecolor": "#c3cad4"}
    axis |= {"fixedrange": True, "automargin": True}
    small = {"text": subtitle, "font": {"size": 13, "color": "#566173"}}
    texts = {"text": title, "font": {"size": 17}, "pad": {"l": 8, "t": 12}, "subtitle": small}
    at = {"x": 0, "xref": "container", "y": 1, "yref": "container", "yanchor": "top"}
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return go.Figure(
        layout={
            "template": "none",
            "title": texts | at,
            "height": height,
            "barmode": "stack",
            "hovermode": "x unified",
            "font": {"family": _FONT, "size": 13, "color": "#27303d"},
            "paper_bgcolor": "#ffffff",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 20, "t": TITLE_ROOM, "b": 8},
            "legend": legend | {"traceorder": "normal"},
            "showlegend": True,
            "hoverlabel": {"font": {"family": _FONT, "size": 13}, "namelength": -1},
            "dragmode": False,
            "xaxis": axis | {"showgrid": False},
            "yaxis": axis | {"rangemode": "tozero"},
        }
    )


def nothing(title: str, text: str = "") -> go.Figure:
    """Return a figure without traces that says why; the page shows only the words."""
    figure = _figure(title, text or _("There were no messages in this period."), height=180)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def class_chart(daily: pd.DataFrame, events: Sequence[tuple[date, str, str]] = ()) -> go.Figure:
    """Draw messages a day, stacked by group of classes; above them own mail, and what happened.

    Takes `facts.classes_by_day`, where it has a column `own_share`, that is a line [0-1]. An
    event is a day, a lane (policy, DNS, findings), and what happened.
    """
    messages = int(daily["messages"].sum())
    if not messages:
        return nothing(_("Messages per day"))
    subtitle = _("Messages per day by authentication result.")
    if not daily["complete"].all():
        subtitle = _("Messages per day by authentication result. Grey: reports still missing.")
    names = {g: [name for name, (_label, of) in CLASSES.items() if of == g] for g in GROUPS}
    groups = daily.assign(**{group: daily[classes].sum(axis=1) for group, classes in names.items()})
    failing, forged = int(groups["failing"].sum()), int(groups["forged"].sum())
    title = _("All {messages} pass, or were forwarded or modified in transit")
    if failing + forged:
        title = _("Failing: {failing} own or unidentified, {forged} forged, of {messages}")
    count = {"failing": words.count(failing), "forged": words.count(forged)}
    title = title.format(messages=words.n_messages(messages), **count)
    series = {name: (label, LIGHT[name]) for name, label in GROUPS.items()}
    figure = daily_bars(groups, series, title=title, subtitle=subtitle)
    shown = [name for name in CLASSES if daily[name].any()]
    figure.layout.meta = {
        "columns": [class_word(name) for name in shown],
        "rows": [
            (f"{day:%Y-%m-%d}", [words.count(n) for n in numbers])
            for day, *numbers in daily[["day", *shown]].itertuples(index=False)
        ],
    }
    if "own_share" in daily:
        _above(figure, daily, events)
    return figure


def _above(figure: go.Figure, daily: pd.DataFrame, events: Sequence[tuple[date, str, str]]) -> None:
    """Add the share of own mail that passes, and a row of marks a lane, above the bars."""
    label = _("own mail authenticated")
    lanes = list(dict.fromkeys(lane for _day, lane, _text in events))
    height = figure.layout.height + 90 + 24 * len(lanes)
    room = height - TITLE_ROOM - 30
    top = 1 - (24 * len(lanes) + 16) / room if lanes else 1.0
    low = min(0.9, float(daily["own_share"].min()) - 0.01)
    figure.add_scatter(
        x=[f"{day:%Y-%m-%d}" for day in daily["day"]],
        y=[None if words.is_missing(share) else round(share, 4) for share in daily["own_share"]],
        name=label,
        # a day between two without mail is a point
        mode="lines+markers" if daily["own_share"].hasnans else "lines",
        marker={"color": LIGHT["authenticated"], "size": 5},
        line={"color": LIGHT["authenticated"], "width": 2},
        customdata=[rate_text(share) for share in daily["own_share"]],
        hovertemplate="%{customdata}",
        yaxis="y2",
        showlegend=False,
    )
    for lane in lanes:
        own: dict[str, list[str]] = {}
        for day, of, text in events:
            if of == lane:
                own.setdefault(f"{day:%Y-%m-%d}", []).append(outside_text(text))
        figure.add_scatter(
            x=list(own),
            y=[lane] * len(own),
            name=lane,
            mode="markers",
            marker={"color": LIGHT["rejected"], "size": 10, "symbol": "diamond"},
            customdata=["<br>".join(texts[:MOST_EVENTS]) for texts in own.values()],
            hovertemplate="%{customdata}",
            yaxis="y3",
            showlegend=False,
        )
    usual = figure.layout.yaxis.to_plotly_json()
    axis = {name: usual[name] for name in ("gridcolor", "zeroline", "linecolor", "fixedrange")}
    axis |= {"automargin": True}
    share = {"domain": [1 - (24 * len(lanes) + 90) / room, top], "range": [low, 1.01], "nticks": 3}
    figure.update_layout(
        height=height,
        hoversubplots="axis",
        yaxis={"domain": [0, 1 - (24 * len(lanes) + 112) / room]},
        yaxis2=axis | share | {"tickformat": ".0%"},
    )
    if lanes:
        rows = {"type": "category", "domain": [1 - 24 * len(lanes) / room, 1], "showgrid": False}
        rows |= {"range": [len(lanes) - 0.5, -0.5]}
        figure.update_layout(yaxis3=axis | rows)
    if len(known := daily["own_share"].dropna()):
        _label_ends(figure, [(label, LIGHT["authenticated"], known.iloc[-1])], 1, "y2")


def rate_lines(
    daily: pd.DataFrame,
    series: Mapping[str, tuple[str, str]],
    *,
    title: str,
    subtitle: str,
    span: tuple[float, float],
    limits: Sequence[float] = (),
) -> go.Figure:
    """Draw a line for each name in `series`, as `daily_bars` takes them; values are shares.

    A day without data is a gap, so each day has a point of its own. `span` is what the axis
    shows; `limits` are horizontal lines.
    """
    figure = daily_bars(daily, {}, title=title, subtitle=subtitle)  # the days, no bars yet
    days = [f"{day:%Y-%m-%d}" for day in daily["day"]]
    for name, (label, colour) in series.items():
        if daily[name].notna().any():
            figure.add_scatter(
                x=days,
                y=[None if words.is_missing(share) else round(share, 6) for share in daily[name]],
                name=_(label),
                mode="lines+markers",
                marker={"color": colour, "size": 6},
                line={"color": colour, "width": 2},
                connectgaps=False,
                customdata=[rate_text(share) for share in daily[name]],
                hovertemplate="%{customdata}",
            )
    last = {name: daily[name].dropna() for name in series}
    ends = [(*series[name], float(of.iloc[-1])) for name, of in last.items() if len(of)]
    ends.sort(key=lambda end: end[2])
    _label_ends(figure, ends, span[1] - span[0], top=span[1])
    for share in limits:
        line = {"color": LIGHT["rejected"], "width": 1.5, "dash": "dash"}
        text = {"annotation_text": rate_text(share), "annotation_position": "top left"}
        figure.add_hline(y=share, line=line, **text)
    wide = span[1] - span[0]
    decimals = 2 if wide < 0.01 else 1 if wide < 0.1 else 0  # no two ticks say the same
    figure.update_yaxes(range=list(span), tickformat=f".{decimals}%")
    return figure


def outcome_bar(numbers: Mapping[str, float]) -> Markup:
    """Return a small bar of messages that pass (``passing``), and of `OUTCOMES` of the rest."""
    kinds = {"passing": (_("pass"), "authenticated")} | OUTCOMES
    named = {kinds[name][1]: number for name, number in numbers.items()}
    order = {colour: named[colour] for _label, colour in kinds.values() if colour in named}
    return bar(order, {colour: _(label) for label, colour in kinds.values()})


def class_word(name: str) -> str:
    """Return what tables and legends call a class of messages (`classify.CLASSES`)."""
    return _(CLASSES[name][0]) if name in CLASSES else name


def counted(numbers: Any, limit: int, word: Callable[[str], str]) -> str:
    """Return a dict of names and messages in words, the number of one alone left out.

    >>> counted({"aligned": 5}, 4, class_word), counted({"pass": 5, "fail": 1}, 4, str)
    ('DKIM and SPF pass', 'pass 5, fail 1')
    """
    if not isinstance(numbers, Mapping):
        return ""
    parts = [(word(name), words.count(number)) for name, number in numbers.items()]
    return parts[0][0] if len(parts) == 1 else listed(*map(" ".join, parts[:limit]))


def listed(*parts: str) -> str:
    """Join things in a cell, one after the other."""
    return _(", ").join(parts)


def chart_svg(figure: Mapping[str, Any]) -> str:
    """Return a figure of `charts`, given as plotly's JSON, as an SVG of some kilobytes."""
    layout = figure["layout"]
    traces = [trace for trace in figure["data"] if trace.get("yaxis", "y") == "y"]
    title = layout.get("title", {})
    values: dict[str, Any] = {
        "width": 960,
        "height": 340 if traces else _TOP,
        "title": plain(title.get("text", "")),
        "subtitle": plain(title.get("subtitle", {}).get("text", "")),
        "plot": {"left": _LEFT, "top": _TOP, "right": _RIGHT, "bottom": _BOTTOM},
    }
    if traces:
        values |= _Plot(layout, traces).parts()
    return templates().get_template("chart.svg.j2").render(values)


class _Plot:
    """The scales of a figure by day, and its parts in pixels."""

    def __init__(self, layout: Mapping[str, Any], traces: list[Mapping[str, Any]]) -> None:
        self._layout, self._traces = layout, traces
        self._start, self._end = map(datetime.fromisoformat, layout["xaxis"]["range"])
        sums: Counter[str] = Counter()
        for trace in traces:
            values = (value or 0 for value in trace["y"])
            sums.update(dict(zip(trace["x"], values, strict=True)))
        highest = max(sums.values(), default=0) or 1
        self._low, self._high = map(float, layout["yaxis"].get("range") or (0, highest * 1.05))
        self._is_share = "%" in layout["yaxis"].get("tickformat", "")

    def parts(self) -> dict[str, Any]:
        """Return the values of the template ``chart.svg.j2``."""
        shapes, notes = self._layout.get("shapes", []), self._layout.get("annotations", [])
        notes = [note for note in notes if note.get("name") != "direct"]
        grey = [(self._x(s["x0"]), self._x(s["x1"])) for s in shapes if s["type"] == "rect"]
        lines = [shape for shape in shapes if shape["type"] == "line"]
        sums: Counter[str] = Counter()
        days = (self._end - self._start).days
        form = "%-d %b" if current_language() == "en" else "%-m/%-d"
        every = range(0, days, math.ceil(days / 8))
        noons = [self._start + timedelta(days=number, hours=12) for number in every]
        rough = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step for step in (1, 2, 5, 10) if step * power >= rough) * power
        step = step if self._is_share else max(step, 1)
        numbers = range(math.ceil(self._low / step), math.floor(self._high / step) + 1)
        number = rate_text if self._is_share else words.count
        return {
            "series": [
                self._bars(trace, sums) if trace["type"] == "bar" else self._line(trace)
                for trace in self._traces
            ],
            "grey": [(left, right - left) for left, right in grey],
            "limits": [(self._y(line["y0"]), line["line"]["color"]) for line in lines],
            "labels": [(self._y(note["y"]), plain(note["text"])) for note in notes],
            "ticks": [(self._y(n * step), number(n * step)) for n in numbers],
            "dates": [(self._x(noon.isoformat()), noon.strftime(form)) for noon in noons],
        }

    def _x(self, moment: str) -> float:
        share = (datetime.fromisoformat(moment) - self._start) / (self._end - self._start)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)

    def _bars(self, trace: Mapping[str, Any], sums: Counter[str]) -> dict[str, Any]:
        """Return a trace as a path from the axis to its top in the stack; `sums` are below it."""
        share = trace["width"] / (timedelta(days=1) / timedelta(milliseconds=1))
        width = (_RIGHT - _LEFT) * share / ((self._end - self._start) / timedelta(days=1))
        path = []
        for day, value in zip(trace["x"], trace["y"], strict=True):
            sums[day] += value
            left, top = self._x(day) - width / 2, self._y(sums[day])
            if share == 1:  # bars that touch are one outline, which is shorter
                path.append(f"V{top:.0f}H{left + width:.1f}")
            elif sums[day]:
                path.append(f"M{left:.1f} {_BOTTOM}V{top:g}h{width:.1f}V{_BOTTOM}z")
        fill = "".join(path)
        fill = f"M{_LEFT} {_BOTTOM}{fill}V{_BOTTOM}z" if share == 1 else fill
        return {"name": plain(trace["name"]), "colour": trace["marker"]["color"], "fill": fill}

    def _line(self, trace: Mapping[str, Any]) -> dict[str, Any]:
        """Return a trace as a path that is broken at days without a value."""
        path, is_down = [], False
        for day, value in zip(trace["x"], trace["y"], strict=True):
            if value is not None:
                # of a day between gaps there is a dot, the round end of a line without length
                step = "L" if is_down else "M"
                path.append(f"{step}{self._x(day):g} {self._y(value):g}{'' if is_down else 'h0'}")
            is_down = value is not None
        colour = trace["line"]["color"]
        return {"name": plain(trace["name"]), "colour": colour, "stroke": "".join(path)}
