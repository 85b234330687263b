"""Sections for questions of one's own: any frame as a table, a pivot, what the lake holds."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from dmarckit.core import _
from dmarckit.facts import in_window
from dmarckit.lake import TABLES
from dmarckit.pages.html import Column
from dmarckit.pages.sections.base import PageData, Section, table_section

SHOWN = 200  # rows of a frame; more belongs into a file (``frame.to_csv``)


class ExploreSections(PageData):
    """Tables of what you ask for."""

    def tables(self) -> Section:
        """Show the tables of the lake, what a row of each is, and how many there are.

        `.data`: one row a table: `name`, `row` (what it is), `rows` (number).
        """
        rows = []
        for name, about in TABLES.items():
            (n,) = self.lake.sql(f"SELECT count(*) AS n FROM {name}")["n"]  # noqa: S608
            rows.append({"name": name, "row": _(about.row), "rows": int(n)})
        return table_section(
            pd.DataFrame(rows),
            Column("name", _("Table")),
            Column("rows", _("Rows"), "count"),
            Column("row", _("One row is")),
            caption=_("Tables of the lake"),
            empty="",
        )

    def table(self, frame: pd.DataFrame) -> Section:
        """Show any frame as a table whose outside text is escaped, which pandas does not do.

        At most 200 rows; lists and dicts as text; times to the minute, UTC. `.data` is it.
        """
        shown = frame.head(SHOWN)
        names = {f"c{place}": str(name) for place, name in enumerate(shown.columns)}
        plain = shown.set_axis(list(names), axis=1).apply(_numbers)
        columns = []
        for key, name in names.items():
            is_number = is_numeric_dtype(plain[key]) and not is_bool_dtype(plain[key])
            kind = "minute" if is_datetime64_any_dtype(plain[key]) else "text"
            columns.append(Column(key, name, "count" if is_number else kind))
        return table_section(
            frame, *columns, caption=_("Result"), empty=_("There are no rows."), shown=plain
        )

    def pivot(self, rows: str = "sender", columns: str = "class") -> Section:
        """Show the messages of the window by two columns of `facts.messages`, as `table`.

        `.data`: the column `rows` (its 20 largest values are shown), `messages` (all of the
        row), then one for each value of `columns` (messages).
        """
        messages = in_window(self._mine(self.facts.messages), self.window)
        plain = messages.astype({rows: "str", columns: "str"})
        sums = plain.groupby([rows, columns])["messages"].sum().unstack(columns, fill_value=0)
        frame = sums.round().astype("int64").rename_axis(columns=None)
        frame.insert(0, "messages", frame.sum(axis=1))
        frame = frame.sort_values("messages", ascending=False, kind="stable").reset_index()
        return Section(frame, self.table(frame.head(20)).html)


def _numbers(values: pd.Series) -> pd.Series:
    """Return decimals, which sums of SQL are, as numbers; fractions with four digits."""
    known = values.dropna()
    if len(known) and isinstance(known.iloc[0], Decimal):
        values = values.astype("float64")
    if is_numeric_dtype(values) and not is_bool_dtype(values) and (values.dropna() % 1 != 0).any():
        return values.map(lambda x: f"{x:.4g}", na_action="ignore").astype(object)
    return values
