"""Charts as PNG for Slack, drawn without a browser and without pyplot's global state."""

from __future__ import annotations

import io
import logging
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from dmarckit.core import _, count, later, percent, period
from dmarckit.pages import LIGHT, parts
from dmarckit.reports import AggregateReport, Record, any_pass

if TYPE_CHECKING:
    import pandas as pd

# Only what is installed is used; DejaVu comes with matplotlib, the others know Japanese.
_FAMILIES = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "IPAexGothic", "IPAGothic"),
    *("TakaoGothic", "VL Gothic", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic"),
)
_SAMPLE = {"en": "", "ja": "合否あアー〜"}  # characters without which a language cannot be written


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
    manager = font_manager.fontManager
    if not {font.name for font in manager.ttflist}.intersection(_FAMILIES[1:]):
        # matplotlib keeps its list of fonts: one that was installed later is not in it
        for path in set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}:
            with suppress(OSError, RuntimeError, ValueError):  # a file that is no font
                manager.addfont(path)
    installed = {font.name for font in manager.ttflist}
    return [family for family in _FAMILIES if family in installed]


@cache
def _characters() -> frozenset[int]:
    """Return the code points that the fonts in use can draw."""
    paths = [font_manager.findfont(family) for family in font_families()]
    return frozenset(c for path in paths for c in font_manager.get_font(path).get_charmap())


# The colours of the pages: blue against vermilion, which every kind of eye tells apart;
# the darker text shades keep 4.5:1 on the background.
PASS, FAIL = LIGHT["authenticated"], LIGHT["failing"]
PASS_TEXT, FAIL_TEXT = "#005A8E", "#A84300"
BACKGROUND, INK, QUIET, GRID = "#FFFFFF", "#1D2733", "#5B6673", "#E3E7EC"

_WIDTH, _DPI = 7.5, 160

_BARS: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    ("DMARC", lambda record: record.passes),
    (later("SPF aligned"), lambda record: bool(record.spf_aligned)),
    ("SPF", lambda record: any_pass(record.spf)),
    (later("DKIM aligned"), lambda record: bool(record.dkim_aligned)),
    ("DKIM", lambda record: any_pass(record.dkim)),
)


@drawable_language()
def alert_chart(found: Sequence[AggregateReport]) -> bytes:
    """Draw reports about one domain as PNG: a bar for DMARC, and for each result that it rests on.

    SPF and DKIM are the raw results; aligned are those that count for DMARC (RFC 7489 section
    3.1). Grey is what did not pass, but needed not, since the message passes DMARC. Reports
    without messages give empty bars that say so.
    """
    one, records = found[0], [record for report in found for record in report.records]
    domain = drawable(core.show_domain(one.policy.domain or "") or _("unknown domain"), 60)
    reporter = drawable(one.reporter or _("unknown reporter"), 50)
    if (n := len({report.reporter for report in found})) > 1:
        reporter = core.n_reporters(n)
    total = sum(record.messages for record in records)
    days = period(min(r.begin for r in found), max(r.end for r in found))
    figure = _figure(4.5, domain, f"{reporter}  ·  {days}  ·  {core.n_messages(total)}")
    axes = figure.add_axes((0.04, 0.03, 0.92, 0.78))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, len(_BARS))
    for bottom, (label, passes) in zip(reversed(range(len(_BARS))), _BARS, strict=True):
        # a bar over the full width, with its name and its numbers above it
        passing = sum(record.messages for record in records if passes(record))
        spare = sum(r.messages for r in records if r.passes and not passes(r))
        failing = total - passing - spare
        _words(axes, 0, bottom + 0.62, _(label), size=11, weight="bold")
        axes.barh(bottom + 0.28, 1, height=0.4, color=GRID)
        if not total:
            _words(axes, 0.2, bottom + 0.62, _("no messages"), size=10.5, color=QUIET)
            continue
        passed, failed = _results(passing, failing, total, _("{n} pass ({share})"))
        _words(axes, 0.2, bottom + 0.62, passed, size=10.5, color=PASS_TEXT)
        if spare:
            text = _("{n} fail, no effect").format(n=count(spare))
            _words(axes, 0.73, bottom + 0.62, text, size=10.5, color=QUIET, ha="right")
        _words(axes, 1, bottom + 0.62, failed, size=10.5, color=FAIL_TEXT, ha="right")
        numbers = {"authenticated": passing, "unknown": spare, "failing": failing}
        for name, left, width in parts(numbers):  # as the bars of pages
            axes.barh(bottom + 0.28, width, height=0.4, left=left, color=LIGHT[name])
    return _png(figure)


@drawable_language()
def daily_chart(days: pd.DataFrame) -> bytes:
    """Draw passing and failing messages per day as PNG, stacked.

    `days` has one row a day with the columns day (UTC), passing and failing (messages).
    An empty frame, or one without messages, gives a chart that says so.
    """
    import pandas as pd

    days = days.assign(day=pd.to_datetime(days["day"], utc=True))
    passing, failing = int(days["passing"].sum()), int(days["failing"].sum())
    if passing + failing == 0:
        figure = _figure(3.4, _("Messages per day"))
        _words(figure, 0.5, 0.45, _("No messages in this period"), ha="center", color=QUIET)
        return _png(figure)
    first, last = days["day"].min(), days["day"].max()
    days_shown = core.short_days(first, last)
    figure = _figure(3.4, _("Messages per day, {days}").format(days=days_shown))
    passed, failed = _results(passing, failing, passing + failing, _("{n} pass DMARC ({share})"))
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


def _results(passing: int, failing: int, total: int, text: str) -> tuple[str, str]:
    """Return how many of `total` pass, as the text says it, and how many fail."""
    fail = _("{n} fail ({share})").format(n=count(failing), share=percent(failing / total))
    return text.format(n=count(passing), share=percent(passing / total)), fail


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
