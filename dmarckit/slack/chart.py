"""Charts as PNG for Slack, drawn without a browser and without pyplot's global state."""

from __future__ import annotations

import io
import logging
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dmarckit import core
from dmarckit.core import _, count, percent, period
from dmarckit.reports import AggregateReport

if TYPE_CHECKING:
    import pandas as pd


# Only what is installed is used; DejaVu comes with matplotlib, the others know Japanese.
_FAMILIES = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic"),
    *("TakaoGothic", "VL Gothic", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic"),
)
_SAMPLE = {"en": "", "ja": "合否あアー～"}  # characters without which a language cannot be written


@contextmanager
def drawable_language() -> Iterator[None]:
    """Use the language in use if an installed font can draw it, else English, which can be read."""
    with core.speaking(
        core.current_language() if can_draw(_SAMPLE[core.current_language()]) else "en"
    ):
        yield


def drawable(text: str, limit: int) -> str:
    """Return outside text on one line, cut, with a box for what no font here can draw."""
    known = _characters()
    shown = core.one_line(unicodedata.normalize("NFC", text), limit)
    return "".join(c if ord(c) in known else "□" for c in shown)


def can_draw(text: str) -> bool:
    """Return True if an installed font knows each character of the text."""
    return all(ord(c) in _characters() for c in text)


@cache
def font_families() -> list[str]:
    """Return the installed families, in the order in which a character is looked for."""
    # that a Japanese font has no bold letters is nothing to tell anybody
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [family for family in _FAMILIES if family in installed]


@cache
def _characters() -> frozenset[int]:
    """Return the code points that the fonts in use can draw."""
    paths = [font_manager.findfont(family) for family in font_families()]
    return frozenset(c for path in paths for c in font_manager.get_font(path).get_charmap())


# The colours of the pages: blue against vermilion, which every kind of eye tells apart;
# the darker text shades keep 4.5:1 on the background.
PASS, FAIL = "#0068A8", "#D55E00"
PASS_TEXT, FAIL_TEXT = "#005A8E", "#A84300"
BACKGROUND, INK, QUIET, GRID = "#FFFFFF", "#1D2733", "#5B6673", "#E3E7EC"

_WIDTH, _DPI = 7.5, 160


@drawable_language()
def alert_chart(report: AggregateReport) -> bytes:
    """Draw one report as PNG: bars of passing and failing messages by DMARC, DKIM and SPF.

    DKIM and SPF are the aligned results, those that count for DMARC (RFC 7489 section 3.1). A
    report without messages gives empty bars that say so.
    """
    provider = drawable(report.reporter or _("unknown provider"), 80)
    domain = drawable(core.show_domain(report.policy.domain or "") or _("unknown domain"), 50)
    total = sum(record.messages for record in report.records)
    about = f"{domain}  ·  {period(report.begin, report.end)}  ·  {core.n_messages(total)}"
    figure = _figure(3.7, provider, about)
    axes = figure.add_axes((0.04, 0.03, 0.92, 0.74))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 3)
    bars = ((2, "DMARC", "passes"), (1, "DKIM", "dkim_aligned"), (0, "SPF", "spf_aligned"))
    for bottom, label, field in bars:
        # a bar over the full width, with its name and both numbers above it
        passing = sum(r.messages for r in report.records if getattr(r, field))
        share = passing / total if total else 0.0
        _words(axes, 0, bottom + 0.62, label, size=12, weight="bold")
        axes.barh(bottom + 0.28, 1, height=0.4, color=GRID)
        if not total:
            _words(axes, 0.14, bottom + 0.62, _("no messages"), size=11, color=QUIET)
            continue
        # One failure in a million is still seen: neither part is thinner than a few pixels.
        edge = min(max(share, 0.006), 0.994) if 0 < share < 1 else share
        axes.barh(bottom + 0.28, edge, height=0.4, color=PASS)
        axes.barh(bottom + 0.28, 1 - edge, left=edge, height=0.4, color=FAIL)
        if edge == share and 0 < share < 1:
            axes.plot([edge, edge], [bottom + 0.08, bottom + 0.48], color=BACKGROUND, lw=1.5)
        passed, failed = _results(passing, total - passing, _("{n} pass ({share})"))
        _words(axes, 0.14, bottom + 0.62, passed, size=11, color=PASS_TEXT)
        _words(axes, 1, bottom + 0.62, failed, size=11, color=FAIL_TEXT, ha="right")
    return _png(figure)


@drawable_language()
def daily_chart(days: pd.DataFrame) -> bytes:
    """Draw passing and failing messages a day as PNG, stacked.

    `days` has one row a day with the columns day (UTC), passing and failing (messages).
    An empty frame, or one without messages, gives a chart that says so.
    """
    import pandas as pd

    days = days.assign(day=pd.to_datetime(days["day"], utc=True))
    passing, failing = int(days["passing"].sum()), int(days["failing"].sum())
    if passing + failing == 0:
        figure = _figure(3.4, _("Messages a day"))
        _words(figure, 0.5, 0.45, _("No messages in this period"), ha="center", color=QUIET)
        return _png(figure)
    first, last = days["day"].min(), days["day"].max()
    days_shown = period(first, last + timedelta(days=1))
    figure = _figure(3.4, _("Messages a day, {period}").format(period=days_shown))
    passed, failed = _results(passing, failing, _("{n} pass DMARC ({share})"))
    _words(figure, 0.04, 0.81, f"■ {passed}", size=10.5, color=PASS_TEXT)
    _words(figure, 0.42, 0.81, f"■ {failed}", size=10.5, color=FAIL_TEXT)
    axes = figure.add_axes((0.09, 0.12, 0.87, 0.62))
    axes.bar(days["day"], days["failing"], width=0.86, color=FAIL)
    axes.bar(days["day"], days["passing"], width=0.86, color=PASS, bottom=days["failing"])
    # A short window keeps bars of the usual width, and its axis counts in days, not hours.
    margin = timedelta(days=max(0.6, (10 - len(days)) / 2))
    axes.set_xlim(first - margin, last + margin)
    _style_days(axes)
    return _png(figure)


@drawable_language()
def note_chart(chart: Mapping[str, Any]) -> bytes:
    """Draw a chart that a notebook adds (`SlackNote.chart`) as PNG, its bars stacked.

    Labels that are days (``2026-11-23``) make an axis of days, others one of names.
    """
    figure = _figure(3.4, drawable(chart["title"], 80), drawable(chart["about"], 110))
    lying = any(series["lying"] for series in chart["series"])
    axes = figure.add_axes((0.26, 0.08, 0.7, 0.62) if lying else (0.09, 0.12, 0.87, 0.6))
    labels = list(dict.fromkeys(x for series in chart["series"] for x in series["x"]))
    is_days = all(re.fullmatch(r"\d{4}-\d\d-\d\d", label) for label in labels)
    at: dict[str, Any] = {
        label: datetime.fromisoformat(label) if is_days else drawable(label, 24) for label in labels
    }
    base = dict.fromkeys(labels, 0.0)
    for series in chart["series"]:
        places = [at[x] for x in series["x"]]
        style = {"label": drawable(series["name"], 40), "color": series["colour"]}
        if series["kind"] == "line":
            axes.plot(places, [math.nan if y is None else y for y in series["y"]], **style)
            continue
        heights, below = [y or 0.0 for y in series["y"]], [base[x] for x in series["x"]]
        if lying:
            axes.barh(places, heights, left=below, **style)
        else:
            axes.bar(places, heights, bottom=below, **style)
        base |= {x: base[x] + y for x, y in zip(series["x"], heights, strict=True)}
    if lying:
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
    elif is_days and labels:
        _style_days(axes)
    if any(series["name"] for series in chart["series"]):
        font = {"family": font_families(), "size": 9}
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, prop=font)
    return _png(figure)


def _results(passing: int, failing: int, text: str) -> tuple[str, str]:
    """Return how many pass, as the text says it, and how many fail, of one message or more."""
    passed, failed = (percent(number / (passing + failing)) for number in (passing, failing))
    fail = _("{n} fail ({share})").format(n=count(failing), share=failed)
    return text.format(n=count(passing), share=passed), fail


def _style_days(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formats = {}
    if core.current_language() != "en":  # dates without the names of months
        formats["formats"] = ["%Y", "%m/%d", "%m/%d", "%H:%M", "%H:%M", "%S.%f"]
        formats["zero_formats"] = ["", "%Y", "%m/%d", "%m/%d", "%H:%M", "%H:%M"]
    formatter = ConciseDateFormatter(locator, show_offset=False, **formats)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.tick_params(colors=QUIET, labelsize=9.5, length=0)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)


def _short(value: float, _position: int | None = None) -> str:
    """Return 12,000,000 as 12M: the axis has room for six characters."""
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / size:g}{unit}"
    return count(value)


def _figure(height: float, title: str, about: str = "") -> Figure:
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    _words(figure, 0.04, 1 - 0.36 / height, title, size=14, weight="bold")
    _words(figure, 0.04, 1 - 0.65 / height, about, size=10.5, color=QUIET)
    return figure


def _png(figure: Figure) -> bytes:
    for axes in figure.axes:
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_fontfamily(font_families())
    out = io.BytesIO()
    # A fixed dpi and no "Software" entry: the same report gives the same bytes.
    figure.savefig(out, format="png", dpi=_DPI, facecolor=BACKGROUND, metadata={"Software": None})
    return out.getvalue()


def _words(where: Figure | Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Draw a text as it is (matplotlib would read ``$…$`` as mathematics), cut to the width."""
    font = {"color": INK, "size": 11, "family": font_families(), "va": "baseline", **style}
    drawn = where.text(x, y, text, parse_math=False, usetex=False, **font)
    width = _WIDTH * _DPI * 0.92
    while len(text) > 1 and drawn.get_window_extent().width > width:
        text = text[: min(len(text) - 1, int(len(text) * width / drawn.get_window_extent().width))]
        drawn.set_text(text.rstrip() + "…")
