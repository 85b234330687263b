"""Helpers of the notebook `explore`: any frame as a table, a pivot, what the lake holds."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

from dmarckit.core import _
from dmarckit.facts import Facts
from dmarckit.lake import TABLES, Lake
from dmarckit.pages.html import Column, Html, table

SHOWN = 200
"""rows of a frame; more belongs into a file (``frame.to_csv``)"""


def tables(lake: Lake) -> Html:
    """The tables of the lake, what a row is, and how many there are."""
    rows = [
        {
            "name": name,
            "row": _(about.row),
            "rows": int(lake.sql(f"SELECT count(*) AS n FROM {name}")["n"].iloc[0]),  # noqa: S608
        }
        for name, about in TABLES.items()
    ]
    columns = [
        Column("name", _("Table")),
        Column("rows", _("Rows"), "count"),
        Column("row", _("One row is")),
    ]
    return table(pd.DataFrame(rows), columns, caption=_("Tables of the lake"), empty="")


def show(frame: pd.DataFrame) -> Html:
    """A frame as a table whose outside text is escaped, which pandas leaves to the reader.

    At most `SHOWN` rows; lists and dicts as text. Times are to the minute, in UTC.
    """
    shown = frame.head(SHOWN)
    names = {f"c{place}": str(name) for place, name in enumerate(shown.columns)}
    plain = shown.set_axis(list(names), axis=1).apply(_numbers)
    columns = [Column(key, name, _kind(plain[key])) for key, name in names.items()]
    return table(plain, columns, caption=_("Result"), empty=_("There are no rows."))


def _numbers(values: pd.Series) -> pd.Series:
    """Decimals, which sums of SQL are, as numbers; fractions with four digits."""
    known = values.dropna()
    if len(known) and isinstance(known.iloc[0], Decimal):
        values = values.astype("float64")
    if is_numeric_dtype(values) and not is_bool_dtype(values) and (values.dropna() % 1 != 0).any():
        return values.map(lambda x: f"{x:.4g}", na_action="ignore").astype(object)
    return values


def _kind(values: pd.Series) -> str:
    if is_datetime64_any_dtype(values):
        return "minute"
    return "count" if is_numeric_dtype(values) and not is_bool_dtype(values) else "text"


def pivot(messages: pd.DataFrame, rows: str, columns: str) -> pd.DataFrame:
    """Messages by two columns of `Facts.messages`, the largest rows first.

    Columns: `rows`, `messages` (all of the row), then one for each value of `columns`.
    """
    plain = messages.astype({rows: "str", columns: "str"})
    sums = plain.groupby([rows, columns])["messages"].sum().unstack(columns, fill_value=0)
    sums = sums.round().astype("int64")
    sums.columns.name = None
    sums.insert(0, "messages", sums.sum(axis=1))
    return sums.sort_values("messages", ascending=False, kind="stable").reset_index()


def largest_domain(facts: Facts) -> str:
    """The domain with the most messages; ``example.com`` when there are none."""
    sums = facts.messages.groupby("domain", observed=True)["messages"].sum()
    return str(sums.idxmax()) if len(sums) else "example.com"
