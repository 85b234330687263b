"""What sections work with (`PageData`) and what they return (`Section`).

A section is a method of a class of this folder, from which `Page` inherits it. Counts are rounded
messages, shares fractions [0-1], NaN of nothing. Without facts a frame has its columns, no rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from dmarckit.core import Settings, Window, _, later, ngettext, normalize_domain, text as words
from dmarckit.facts import (
    Coverage,
    Facts,
    Trace,
    about_addresses,
    complete_days,
    coverage,
    days_of,
    trace_sender,
)
from dmarckit.findings import Analysis, as_of, page_analysis
from dmarckit.lake import Lake
from dmarckit.pages.charts import OUTCOMES, chart_svg, outcome_bar
from dmarckit.pages.html import FIGURE_MIMETYPE, Column, Html, plain, render_part, table
from dmarckit.pages.marks import spark

_USUAL = {
    "domain": (later("Domain"), "text"),
    "sender": (later("Sender"), "text"),
    "messages": (later("Messages"), "volume"),
    "failing": (later("Failing"), "count"),
    "blocked": (later("Blocked"), "count"),
    "reporter": (later("Reporter"), "text"),
    "reporters": (later("Reporters"), "count"),
    "reports": (later("Reports"), "count"),
    "days": (later("Days"), "count"),
    "pass_share": (later("Pass DMARC"), "share"),
    "dkim_share": ("DKIM", "share"),
    "spf_share": ("SPF", "share"),
    "first_day": (later("First day"), "day"),
    "last_day": (later("Last day"), "day"),
    "last_end": (later("Reported until"), "minute"),
}
SEEN = {
    "reporters": ("reporter", "nunique"),
    "first_day": ("day", "min"),
    "last_day": ("day", "max"),
}
TOLD = {"reporters": ("reporter", "nunique"), "last_end": ("end", "max")}


MARKED = 100  # rows of a table with small charts, each of which is half a kilobyte
DONE = {"none": "delivered", "pass": "delivered", "quarantine": "quarantined"}
DONE |= {"reject": "rejected"}  # disposition → what the receiver did with a message


@dataclass(frozen=True)
class Section:
    """A section of a page: it shows itself in a notebook and carries what it shows."""

    data: pd.DataFrame  # the frame behind it
    html: Html | None = None  # the text or table that it shows; None: the figure
    figure: go.Figure | None = None  # its chart

    def __repr__(self) -> str:
        chart = ", .figure" if self.figure is not None else ""
        columns = ", ".join(map(str, self.data.columns))
        return f"<Section: .data ({len(self.data)} rows: {columns}){chart}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        if self.html is not None:
            return self.html._repr_mimebundle_()
        if self.figure is None:
            return {}
        # pages and JupyterLab draw the JSON, others such as plain nbconvert show the image
        made = json.loads(self.figure.to_json())
        text = plain(self.figure.layout.title.text)
        return {FIGURE_MIMETYPE: made, "image/svg+xml": chart_svg(made), "text/plain": text}


class PageData:
    """The facts and findings of a window, read when they are first asked for."""

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        window: Window,
        *,
        end: str = "",
        domain: str = "",
        domains: Sequence[str] = (),
        job: str = "",
    ) -> None:
        """Take what `open_page` has found; `end` is as it was asked for."""
        self.settings, self.lake, self.window = settings, lake, window
        self.domain = normalize_domain(domain)  # that the page is about; empty: several or all
        self._domains = [self.domain] if self.domain else list(domains)
        self._end, self._job = end, job
        self._traces: dict[str, Trace] = {}

    @cached_property
    def analysis(self) -> Analysis:
        """Facts and findings as `dmarckit findings` has them. Raises LakeError."""
        return page_analysis(
            self.settings, self.lake, self.window, self._end, domains=self._domains, job=self._job
        )

    @property
    def facts(self) -> Facts:
        """Return the frames that findings and sections are made from, such as `facts.messages`."""
        return self.analysis.facts

    @cached_property
    def _is_first(self) -> bool:
        """Whether no run of the job is known with which this could be compared."""
        query = "SELECT (SELECT count(*) FROM findings) + (SELECT count(*) FROM runs) AS n"
        return not self.lake.sql(query)["n"][0]

    @cached_property
    def _stored_reports(self) -> pd.DataFrame:
        """The reports of the window as they are in the lake."""
        names = self._domains or list(self.settings.domain_names)
        return self.lake.reports(names or None, self.window.start, self.window.end)

    @cached_property
    def _stored_mails(self) -> pd.DataFrame:
        return self.lake.mails(start=self.window.start, end=self.window.end_of_arrival)

    @cached_property
    def _complete(self) -> pd.DataFrame:
        return complete_days(self.facts)

    @cached_property
    def _coverage(self) -> Coverage:
        return coverage(self.facts, self._complete, self.window)

    @cached_property
    def _one_domain(self) -> str:
        """The page's domain, else the one with the most messages, else ``example.com``."""
        if self.domain:  # a sender's page needs no facts beside those of its trace
            return self.domain
        sums = self.facts.messages.groupby("domain", observed=True)["messages"].sum()
        return str(sums.idxmax()) if len(sums) else "example.com"

    def _mine(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the page's domain, or all when it is about several."""
        return frame[frame["domain"] == self.domain] if self.domain else frame

    def _query(self, table: str, *domains: str) -> str:
        """Return the SQL that gives all of a table's rows of the window, and of `domains`."""
        names = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}'" for name in domains)
        mine = f" AND domain IN ({names})" if names else ""
        begin, end = self.window.start, self.window.end
        where = f"begin >= '{begin}' AND begin < '{end}'{mine}"
        return f"SELECT * FROM {table} WHERE {where}"  # noqa: S608 (shown, not run)

    def _with_network(self, frame: pd.DataFrame, *keys: str) -> pd.DataFrame:
        """Return the rows with `network` and `country` of the busiest address of their `keys`."""
        sources = self._mine(self.facts.sources)
        sources = sources.astype(dict.fromkeys([*keys, "source_ip"], "str"))
        sums: Any = sources.groupby([*keys, "source_ip"])["messages"].sum()
        busiest = sums.sort_values(ascending=False, kind="stable").reset_index()
        busiest = busiest.drop_duplicates(list(keys))[[*keys, "source_ip"]]
        rows = frame.merge(busiest, on=list(keys), how="left")
        about = about_addresses(rows["source_ip"].dropna(), {}, self.settings.mmdb)
        return rows.join(about[["network", "country"]])

    def _trace(self, sender: str) -> Trace:
        """Return what one sender sent as one domain, read once."""
        if sender not in self._traces:
            moment = as_of(self.window, self._end)
            self._traces[sender] = trace_sender(
                self.settings, self.lake, self._one_domain, sender, self.window, moment
            )
        return self._traces[sender]


def table_section(
    data: pd.DataFrame,
    *columns: Column,
    caption: str,
    empty: str,
    shown: pd.DataFrame | None = None,
    note: str | Html = "",
    number: int = 0,
    query: str = "",
) -> Section:
    """Return a section that is a table of `data`, or of `shown` in its place.

    `note` stands below it; the rest is as in `html.table`.
    """
    rows = data if shown is None else shown
    html = table(rows, columns, caption=caption, empty=empty, number=number, query=query)
    below = note if isinstance(note, Html) else render_part("note", note) if note else Html()
    return Section(data, html + below)


def usual(*names: str) -> list[Column]:
    """Return columns that several tables have, with the heading and form of all of them."""
    return [Column(name, _(_USUAL[name][0]), _USUAL[name][1]) for name in names]


def marks(
    shown: pd.DataFrame, rows: pd.DataFrame, window: Window, *keys: str
) -> tuple[Column, Column]:
    """Return columns with the messages of each day, and with what became of them.

    `rows` are messages of the window, by the `keys` of `shown`, the frame of a table; rows of it
    behind the first `MARKED` have none.
    """
    title, days = _("Messages per day"), [f"{day:%Y-%m-%d}" for day in days_of(window)]

    def draw(by_day: dict[Any, float]) -> Markup:
        return spark({f"{day:%Y-%m-%d}": n for day, n in by_day.items()}, title, days)

    return _mark(title, draw, shown, rows, "day", keys), outcome_mark(shown, rows, *keys)


def outcome_mark(shown: pd.DataFrame, rows: pd.DataFrame, *keys: str) -> Column:
    """Return the column with what became of messages, as `marks` does."""
    rows = rows[rows[keys[-1]].isin(shown[keys[-1]].head(MARKED))]
    done = rows["disposition"].map(DONE).astype(object).fillna("unstated")
    rows = rows.assign(done=done.mask(rows["da"] | rows["sa"], "passing"))
    return _mark(_("Outcome"), outcome_bar, shown, rows, "done", keys)


def _mark(
    heading: str,
    draw: Callable[[dict[Any, float]], Markup],
    shown: pd.DataFrame,
    rows: pd.DataFrame,
    name: str,
    keys: Sequence[str],
) -> Column:
    rows = rows[rows[keys[-1]].isin(shown[keys[-1]].head(MARKED))]
    rows = rows.astype(dict.fromkeys(keys, "str"))
    found: dict[tuple[str, ...], dict[Any, float]] = {}
    summed: Any = rows.groupby([*keys, name], observed=True)["messages"].sum()
    for (*key, value), number in summed.items():
        found.setdefault(tuple(key), {})[value] = number

    def text(row: Any) -> Markup:
        return draw(found.get(tuple(str(getattr(row, key)) for key in keys), {}))

    return Column(keys[-1], heading, "mark", text=text)


def outcome_key() -> Html:
    """Return what the colours of `marks` mean."""
    kinds = [("c-authenticated", _("pass"))]
    kinds += [
        (f"c-{colour}", _("fail: {outcome}").format(outcome=_(label)))
        for label, colour in OUTCOMES.values()
    ]
    return render_part("key", kinds)


def sources_of_forged(number: int) -> str:
    """Return what the one row of all senders of forged mail is called."""
    text = ngettext("{n} source of forged mail", "{n} sources of forged mail", number)
    return text.format(n=words.count(number))


def sums(*names: str) -> dict[str, tuple[str, str]]:
    """Return what `agg` takes to sum these columns; beside it `SEEN` and `TOLD` stand."""
    return {name: (name, "sum") for name in names}


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """Return the rows as named tuples."""
    return list(frame.itertuples(index=False))


def ordered(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return the rows sorted by these columns; one with a minus has its largest value first."""
    ascending = [not name.startswith("-") for name in names]
    names_alone = [name.removeprefix("-") for name in names]
    return frame.sort_values(names_alone, ascending=ascending, ignore_index=True)


def largest(rows: pd.DataFrame, keys: list[str], name: str) -> pd.Series[Any]:
    """Return, indexed by `keys`, the value of `name` with the most messages."""
    sums = rows.groupby([*keys, name])["messages"].sum().sort_values(ascending=False)
    return sums.reset_index().drop_duplicates(keys).set_index(keys)[name]


def whole(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return the frame with these counts rounded, and 0 where there is none."""
    return frame.assign(**{name: frame[name].fillna(0).round().astype("int64") for name in names})


def begun_in(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return the rows whose report begins in the window."""
    return frame[(frame["begin"] >= window.start) & (frame["begin"] < window.end)]
