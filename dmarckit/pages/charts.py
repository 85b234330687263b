"""Small frames → plotly figures with one visual language, and the words of their classes.

A colour has one meaning on every chart; text of reports goes through `outside_text`.
"""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from dmarckit.core import _, current_language, later, one_line, rate_text, text as words
from dmarckit.pages.html import templates

FIGURE_MIMETYPE = "application/vnd.plotly.v1+json"
# what receivers did with failing messages: label and colour. The hues are of Okabe and Ito's
# palette, told apart with every kind of colour blindness, on white and on black
OUTCOMES = {
    "delivered": (later("delivered"), "#d55e00"),
    "quarantined": (later("sent to spam"), "#e09f1f"),
    "rejected": (later("rejected"), "#0f9d76"),
    "unstated": (later("not said"), "#8a94a3"),
}
DARK = {  # the same colours on a dark page
    "#0068a8": "#4da3e0",
    "#4fa8dc": "#a9d6f5",
    "#a8639b": "#cf8fc2",
    "#d55e00": "#f0803c",
    "#e09f1f": "#f0bd55",
    "#8a94a3": "#98a3b3",
    "#0f9d76": "#3cc79b",
    "#7a4a21": "#b98a5e",
    "#b3195f": "#e0307f",
    "#56606c": "#dfe4ea",
}
_FONT = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Hiragino Sans", '
    '"Yu Gothic UI", "Noto Sans CJK JP", sans-serif'
)
_DAY_MS = 86_400_000
TITLE_ROOM = 104  # pixels above the plot for title, subtitle and legend
CLASSES = {  # label and colour: cool passes or left in order, warm fails; as they are stacked
    "aligned": (later("DKIM and SPF pass"), "#0068a8"),
    "dkim_only": (later("only DKIM passes"), "#4fa8dc"),
    "spf_only": (later("only SPF passes"), "#a8639b"),
    "forwarded": (later("forwarded"), "#0f9d76"),
    "modified": (later("changed on the way"), "#56606c"),
    "broken_dkim": (later("own mail, DKIM breaks"), "#e09f1f"),
    "unaligned_sender": (later("known service, not set up"), "#7a4a21"),
    "unidentified": (later("unidentified sender"), "#964bf0"),
    "spoofed_subdomain": (later("made-up subdomain"), "#b3195f"),
    "unauthenticated": (later("proves nothing"), "#d55e00"),
}
_HARMFUL = {
    "broken_dkim": later("own mail whose DKIM breaks"),
    "unaligned_sender": later("known services that are not set up"),
    "unidentified": later("unidentified senders"),
    "spoofed_subdomain": later("made-up subdomains"),
    "unauthenticated": later("mail that proves nothing"),
}
WARNING, CRITICAL = "#e09f1f", "#d55e00"
_DONE = {  # what receivers did with all of them, with some
    "delivered": (later("all delivered"), later("{n} delivered")),
    "quarantined": (later("all sent to spam"), later("{n} sent to spam")),
    "rejected": (later("all rejected"), later("{n} rejected")),
    "unstated": (later("all not said"), later("{n} not said")),
}
# edges of the plot of an SVG image; the names of the colours are at its right
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 72, 730, 306
# height of a row of a chart with a bar a name, and the right edge of the names
_ROW, _NAMES = 28, 260


def failing_title(failing: int, delivered: int) -> str:
    """Return how many messages failed, and how many of them were delivered."""
    if not delivered:
        text = _("{messages} failed DMARC; none was delivered all the same")
    elif delivered == failing:
        text = _("{messages} failed DMARC; all of them were delivered all the same")
    else:
        text = _("{messages} failed DMARC; {share} were delivered all the same")
    share = words.percent(delivered / failing)
    return text.format(messages=words.n_messages(failing), share=share)


def outside_text(text: object, limit: int = 80) -> str:
    """Return text from a report as plotly, which reads markup in every label, shows it literally.

    >>> outside_text('<a href="javascript:x">A & B</a>')
    '&lt;a href="javascript:x"&gt;A &amp; B&lt;/a&gt;'
    """
    clean = one_line(text, limit)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def failing_by_day(daily: pd.DataFrame) -> go.Figure:
    """Draw failing messages a day, by what receivers did. Takes `Page.failing_by_day().data`."""
    failing = int(daily["fail"].sum())
    if not daily["messages"].any():
        return nothing(_("Failing messages a day"))
    if not failing:
        return nothing(_("Failing messages a day"), _("No message failed DMARC on these days."))
    title = failing_title(failing, int(daily["delivered"].sum()))
    subtitle = _("Failing messages a day, by what the receivers did with them.")
    return daily_bars(daily, OUTCOMES, title=title, subtitle=subtitle)


def failing_by_sender(frame: pd.DataFrame) -> go.Figure:
    """Draw failing messages by sender and disposition. Takes `Page.failing_senders().data`."""
    if frame.empty:
        return nothing(_("Failing messages by sender"), _("No message failed DMARC on these days."))
    sums = frame.groupby("sender", sort=False)[list(OUTCOMES)].sum().iloc[::-1]
    title = failing_title(int(frame["messages"].sum()), int(frame["delivered"].sum()))
    subtitle = _("Failing messages by sender, by what the receivers did with them.")
    figure = _figure(title, subtitle, height=TITLE_ROOM + 60 + 28 * len(sums))
    for name, (label, colour) in OUTCOMES.items():
        if sums[name].any():
            figure.add_bar(
                x=sums[name].tolist(),
                y=[outside_text(sender) for sender in sums.index],
                name=_(label),
                orientation="h",
                marker={"color": colour, "line": {"width": 0}},
                customdata=[words.count(n) for n in sums[name]],
                hovertemplate="%{customdata}",
            )
    return figure.update_layout(hovermode="y unified")


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
    return figure


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
    figure = _figure(title, text or _("There were no messages on these days."), height=180)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def class_chart(daily: pd.DataFrame) -> go.Figure:
    """Draw messages a day, stacked by class. Takes `facts.classes_by_day`."""
    messages = int(daily["messages"].sum())
    if not messages:
        return nothing(_("Messages a day"))
    subtitle = _("Messages a day, by what they prove.")
    if not daily["complete"].all():
        subtitle = _(
            "Messages a day, by what they prove. Grey: days of which reports are still missing."
        )
    # the largest class that fails and may do harm, else that all is in order
    sums = daily[list(_HARMFUL)].sum()
    title = _("All of {messages} pass, or were forwarded or changed on the way")
    if sums.any():
        title = _("{share} of {messages} are in order; of the rest most is {most}")
    share, most = words.percent(1 - sums.sum() / messages), _(_HARMFUL[str(sums.idxmax())])
    title = title.format(share=share, messages=words.n_messages(messages), most=most)
    return daily_bars(daily, CLASSES, title=title, subtitle=subtitle)


def rate_lines(
    daily: pd.DataFrame,
    series: Mapping[str, tuple[str, str]],
    *,
    title: str,
    subtitle: str,
    span: tuple[float, float],
    limits: Sequence[tuple[float, str]] = (),
) -> go.Figure:
    """Draw a line for each name in `series`, as `daily_bars` takes them; values are shares.

    A day without data is a gap, so each day has a point of its own. `span` is what the axis
    shows; `limits` are horizontal lines: share, colour.
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
    for share, colour in limits:
        line = {"color": colour, "width": 1.5, "dash": "dash"}
        text = {"annotation_text": rate_text(share), "annotation_position": "top right"}
        figure.add_hline(y=share, line=line, **text)
    wide = span[1] - span[0]
    decimals = 2 if wide < 0.01 else 1 if wide < 0.1 else 0  # no two ticks say the same
    figure.update_yaxes(range=list(span), tickformat=f".{decimals}%")
    return figure


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


def what_was_done(row: Any) -> str:
    """Say what receivers did with failing messages (`OUTCOMES`, columns of `row`)."""
    some = {name: getattr(row, name) for name in _DONE if getattr(row, name)}
    if len(some) == 1:
        return _(_DONE[next(iter(some))][0])
    return listed(*(_(_DONE[name][1]).format(n=words.count(n)) for name, n in some.items()))


def chart_svg(figure: Mapping[str, Any]) -> str:
    """Return a figure of `charts`, given as plotly's JSON, as an SVG of some kilobytes."""
    layout, traces = figure["layout"], figure["data"]
    title = layout.get("title", {})
    values: dict[str, Any] = {
        "width": 960,
        "height": 340 if traces else _TOP,
        "title": plain(title.get("text", "")),
        "subtitle": plain(title.get("subtitle", {}).get("text", "")),
        "plot": {"left": _LEFT, "top": _TOP, "right": _RIGHT, "bottom": _BOTTOM},
    }
    if traces and traces[0].get("orientation") == "h":
        values |= _rows(traces)
    elif traces:
        values |= _Plot(layout, traces).parts()
    return templates().get_template("chart.svg.j2").render(values)


def spark(by_day: Mapping[str, float], label: str) -> Markup:
    """Return a bar a day from the first to the last one as a small SVG; empty without any.

    `by_day`: day (ISO 8601) → number; `label` says what it is to those who do not see it.
    """
    if not by_day or not max(by_day.values()) > 0:
        return Markup()
    numbers = pd.Series({pd.Timestamp(day): float(n) for day, n in by_day.items()})
    numbers = numbers.asfreq("D", fill_value=0.0)
    heights = (numbers / numbers.max() * 22).clip(lower=1).where(numbers > 0, 0).round(1)
    path = "".join(f"M{4 * n} 24v-{h:g}h3v{h:g}z" for n, h in enumerate(heights) if h)
    return Markup(
        '<svg class="dk-spark" viewBox="0 0 {width} 24" width="{width}" height="24" role="img" '
        'aria-label="{label}"><path d="{path}"/></svg>'
    ).format(width=4 * len(heights), label=one_line(label), path=path)


def plain(text: object) -> str:
    """Return a plotly label as plain text: without its markup, its entities resolved."""
    return one_line(html.unescape(re.sub(r"<[^>]*>", "", str(text))), 500)


def _rows(traces: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parts of a chart with a bar for each name, the first one at the bottom."""
    names = [plain(name) for name in traces[0]["y"]]
    sums = [sum(values) for values in zip(*(trace["x"] for trace in traces), strict=True)]
    scale = (_RIGHT - _NAMES - 60) / max(sums)
    tops = [_TOP + _ROW * place for place in reversed(range(len(names)))]
    lefts = [float(_NAMES)] * len(names)
    series = []
    for trace in traces:
        path = []
        for place, value in enumerate(trace["x"]):
            width = value * scale
            if value:
                path.append(f"M{lefts[place]:.1f} {tops[place]}h{width:.1f}v18h-{width:.1f}z")
            lefts[place] += width
        colour = trace["marker"]["color"]
        series.append({"name": plain(trace["name"]), "colour": colour, "fill": "".join(path)})
    height = _TOP + max(_ROW * len(names) + 8, 20 * len(traces))
    rows = [
        {"y": top + 13, "name": name, "end": left + 6, "sum": words.count(number)}
        for top, name, left, number in zip(tops, names, lefts, sums, strict=True)
    ]
    return {"height": height, "series": series, "rows": rows, "names": _NAMES - 8}


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
