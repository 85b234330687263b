"""A chart as an SVG image, for viewers that cannot draw plotly figures (plain nbconvert)."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dmarckit.core import count, current_language, one_line, rate_text
from dmarckit.pages.html import templates

# edges of the plot; the names of the colours are at its right
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 72, 730, 306
# height of a row of a chart with a bar a name, and the right edge of the names
_ROW, _NAMES = 28, 260


def chart_svg(figure: Mapping[str, Any]) -> str:
    """Return a figure of `charts`, given as plotly's JSON, as an SVG of some kilobytes.

    Stacked bars by day or name, lines, limits and the grey ground of incomplete days; a
    figure without traces is its title and subtitle.
    """
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
        {"y": top + 13, "name": name, "end": left + 6, "sum": count(number)}
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
        number = rate_text if self._is_share else count
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
        """Return a trace as one path up to its top in the stack; `sums` are those below it.

        It reaches down to the axis: what is below it is painted after it.
        """
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
