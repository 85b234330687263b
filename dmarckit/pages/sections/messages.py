"""Messages and reports by day: charts, and tables of one cell a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd

from dmarckit.core import Window, _, later, ngettext, show_domain, text as words
from dmarckit.facts import classes_by_day, days_of, in_window, pass_shares
from dmarckit.findings import is_open
from dmarckit.pages import charts
from dmarckit.pages.html import Html, render_part
from dmarckit.pages.sections.base import (
    PageData,
    Section,
    marks,
    ordered,
    outcome_key,
    rows_of,
    table_section,
    usual,
    whole,
)

INDIRECT = ("forwarded", "modified")  # classes
FORGED = ("unauthenticated", "spoofed_subdomain")
ROWS = 40  # names of a matrix, which is taller than the page at 100; the rest is only counted
FEW = 20  # domains of which all are shown
CHANGE = 5  # points by which a day is apart from the window, from which a domain is shown
LEAST = 10  # messages of such a day
THIN = 45  # days from which cells are slim, and the months are named

_BOUNDS = {"c-authenticated": 0.99, "c-mostly": 0.95, "c-partly": 0.80, "c-failing": 0.0}
_SHARES = {
    "c-authenticated": later("99% or more pass"),
    "c-mostly": later("95% or more"),
    "c-partly": later("80% or more"),
    "c-failing": later("less"),
    "c-unknown": later("reports are still missing"),
    "none": later("no messages"),
}


class MessageSections(PageData):
    """What was sent, day by day."""

    def classes_by_day(self) -> Section:
        """Draw the messages of each day, own mail that passes, and what happened when.

        `.data`: one row a day of the window: `day` (UTC), `messages`, the messages of each
        class (`aligned`, `dkim_only`, …, `unauthenticated`), `complete` (False: too many
        reports of the day are still missing), and `own_share` [0-1] (that passes, of own mail).
        """
        daily = classes_by_day(self.facts.messages, self._complete, self.window)
        rows = in_window(self.facts.messages, self.window)
        rows = rows[is_own(rows)]
        passing = rows["messages"].where(rows["da"] | rows["sa"], 0)
        sums = rows.assign(passing=passing).groupby("day")[["passing", "messages"]].sum()
        share = (sums["passing"] / sums["messages"]).reindex(daily["day"])
        daily = daily.assign(own_share=share.to_numpy())
        return Section(daily, figure=charts.class_chart(daily, self._events()))

    def _events(self) -> list[tuple[date, str, str]]:
        """Return days of the window on which the policy or DNS changed, or a finding began."""
        found = []
        quoted = self._mine(self.facts.policies)
        quoted = quoted.assign(day=quoted["begin"].dt.floor("D"), p=quoted["p"].replace("", "none"))
        votes = quoted.groupby(["domain", "day", "p"]).size().sort_values().reset_index()
        most = votes.drop_duplicates(["domain", "day"], keep="last").sort_values("day")
        most = most.assign(before=most.groupby("domain")["p"].shift())
        for row in rows_of(most[most["before"].notna() & (most["before"] != most["p"])]):
            found.append((row.day, _("Policy"), f"p={row.before} → p={row.p}", row.domain))
        for row in rows_of(self.analysis.outside.changes):
            found.append((row.day, "DNS", row.record, row.domain))
        for item in filter(is_open, self.analysis.findings):
            one = item.finding
            if day := one.since or one.first_day:
                found.append((pd.Timestamp(day, tz="UTC"), _("Findings"), one.title, one.domain))
        return [
            (day.date(), lane, text if self.domain else f"{text} · {show_domain(domain)}")
            for day, lane, text, domain in found
            if self.window.start <= day < self.window.end
        ]

    def pass_rates(self) -> Section:
        """Show the share of own mail that passes DMARC by domain and day; incomplete days are grey.

        Of more than `FEW` domains only those with a change are shown, and the others counted.

        `.data`: one row per domain and day with own mail: `domain`, `day` (UTC), `messages`,
        `passing` (messages), `pass_share` [0-1], `complete`.
        """
        rows = self.facts.messages
        own = replace(self.facts, messages=rows[is_own(rows)])
        shares = pass_shares(own, self._complete, self.window)
        levels, texts = [], []
        for row in rows_of(shares):
            level = next(name for name, bound in _BOUNDS.items() if row.pass_share >= bound)
            text = _("{share} of {messages} pass")
            if not row.complete:
                level, text = (
                    "c-unknown",
                    _("{share} of {messages} pass; reports are still missing"),
                )
            levels.append(level)
            share, messages = words.percent(row.pass_share), words.n_messages(row.messages)
            texts.append(text.format(share=share, messages=messages))
        cells = shares.assign(name=shares["domain"].map(show_domain), level=levels, text=texts)
        caption = _("Share of own mail that passes DMARC, by domain and day")
        changed = _changed(shares)
        shown = matrix(cells[changed], self.window, caption, _("Domain"), _SHARES)
        if more := shares.loc[~changed, "domain"].nunique():
            text = ngettext(
                "{n} other domain was within {points} of its usual share on every day.",
                "{n} other domains were within {points} of their usual share on every day.",
                more,
            )
            points = ngettext("{n} point", "{n} points", CHANGE).format(n=CHANGE)
            text = text.format(n=words.count(more), points=points)
            shown = (shown if changed.any() else Html()) + render_part("note", text)
        return Section(shares, shown)

    def reporter_days(self) -> Section:
        """Show what each reporter saw, and the days that it reported on unless that is all.

        `.data`: one row per reporter and day with messages: `reporter`, `day` (UTC), `messages`.
        """
        rows = in_window(self._mine(self.facts.messages), self.window)
        rows = rows.astype({"reporter": "str"})
        sums = rows.groupby(["reporter", "day"])["messages"].sum()
        frame = sums.round().astype("int64").reset_index()
        shown = rows.assign(passing=rows["messages"].where(rows["da"] | rows["sa"], 0))
        shown = shown.groupby("reporter", as_index=False)[["messages", "passing"]].sum()
        shown = shown.assign(pass_share=shown["passing"] / shown["messages"].where(lambda n: n > 0))
        shown = ordered(whole(shown, "messages"), "-messages", "reporter")
        table = (
            table_section(
                shown,
                *usual("reporter", "messages", "pass_share"),
                *marks(shown, rows, self.window, "reporter"),
                caption=_("Reporters, those with the most messages first"),
                empty=_("No reporter has reported in this period."),
            ).html
            or Html()
        )
        if len(frame) == len(shown) * self.window.days:
            return Section(frame, table + outcome_key())
        text = [words.n_messages(n) for n in frame["messages"]]
        cells = frame.assign(name=frame["reporter"], level="c-mostly", text=text)
        key = {"c-mostly": later("reported"), "none": later("no report")}
        caption = _("Reporters and the days that they reported on")
        days = matrix(cells, self.window, caption, _("Reporter"), key)
        fold = render_part("fold", caption, days) if len(frame) else Html()
        return Section(frame, table + outcome_key() + fold)


def is_own(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return where rows are neither forged nor changed by forwarders so that they fail."""
    passing, classes = rows["da"] | rows["sa"], rows["class"]
    return ~classes.isin(FORGED) & (passing | ~classes.isin(INDIRECT))


def _changed(shares: pd.DataFrame) -> pd.Series:
    """Return whether a row is of a domain to show: all of a few, of many those with a change."""
    domain = shares["domain"]
    sums: Any = shares.groupby("domain")[["passing", "messages"]].transform("sum")
    apart = (shares["pass_share"] - sums["passing"] / sums["messages"]).abs() >= CHANGE / 100
    apart &= shares["complete"] & (shares["messages"] >= LEAST)
    changed: pd.Series = apart.groupby(domain).transform("any") | (domain.nunique() <= FEW)
    return changed


def matrix(
    cells: pd.DataFrame, window: Window, caption: str, first: str, key: dict[str, str]
) -> Html:
    """Return a table with a row a `name` and a column a day.

    `cells` has `name`, `day`, `level` (the colour), `text` and `messages`, by which the rows are
    sorted; other days are of the level ``none``. `key` explains the levels, translated here.
    """
    if cells.empty:
        return render_part("empty", _("There is nothing to show for this period."))
    order = cells.groupby("name")["messages"].sum().sort_values(ascending=False, kind="stable")
    days = days_of(window)
    found = {(str(row.name), row.day): (row.level, row.text) for row in rows_of(cells)}
    rows, none, form = [], ("none", _(key["none"])), _("{day}: {text}")
    for name in map(str, order.index[:ROWS]):
        cells_of = [(day, *found.get((name, day), none)) for day in days]
        row = [(level, form.format(day=words.day(day), text=text)) for day, level, text in cells_of]
        rows.append((name, row))
    # the day of the month; one a week when there are many, the date of one in two
    step = 1 if len(days) <= 14 else 7 if len(days) <= THIN else 14
    head = words.short_day if len(days) > THIN else lambda day: str(day.day)
    heads = [
        (f"{day:%Y-%m-%d}", "" if left % step else head(day))
        for left, day in zip(reversed(range(len(days))), days, strict=True)
    ]
    legend = [(level, _(text)) for level, text in key.items()]
    shown = render_part("days", caption, first, heads, rows, legend, thin=len(days) > THIN)
    more = len(order) - ROWS
    rest = _("{n} more not shown").format(n=words.count(more))
    return shown + render_part("note", rest) if more > 0 else shown
