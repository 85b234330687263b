"""Rows of a frame count as the frame does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from dmarckit.findings import counts
from dmarckit.findings.context import DomainParts
from dmarckit.findings.rows import Rows

FIRST = pd.Timestamp(datetime(2026, 11, 2, tzinfo=UTC))  # a Monday


@pytest.fixture
def frame() -> pd.DataFrame:
    made = np.random.default_rng(7)
    n = 400
    return pd.DataFrame(
        {
            "domain": pd.Categorical(made.choice(["a.example", "b.example", "c.example"], n)),
            "day": [FIRST + timedelta(days=int(d)) for d in made.integers(0, 20, n)],
            "sender": pd.Categorical(made.choice([f"Sender {i}" for i in range(30)], n)),
            "text": pd.Series(made.choice(["", "x", "y"], n), dtype="str"),
            "messages": made.integers(1, 50, n),
        }
    )


def test_rows_are_those_of_the_frame(frame: pd.DataFrame) -> None:
    rows = Rows.of(frame)
    late = FIRST + timedelta(days=9)
    some = rows[(rows["day"] >= late) & (rows["text"] == "x") & (rows["sender"] != "Sender 3")]
    same = frame[(frame["day"] >= late) & (frame["text"] == "x") & (frame["sender"] != "Sender 3")]
    pd.testing.assert_frame_equal(
        some.frame(*frame).astype({"sender": "str", "domain": "str", "text": "str"}),
        same.reset_index(drop=True).astype({"sender": "str", "domain": "str"}),
        check_dtype=False,
    )
    assert some["day"].max() == same["day"].max()
    assert some["day"].nunique() == same["day"].nunique()
    assert some["sender"].unique() == list(same["sender"].unique())
    assert some["day"].day_of_week.tolist() == same["day"].dt.day_of_week.tolist()


def test_a_row_without_a_name_has_none_of_those_asked_for() -> None:
    rows = Rows.of(pd.DataFrame({"sender": pd.Categorical(["a", None, "b"])}))
    assert (rows["sender"] == "a").tolist() == [True, False, False]
    assert (rows["sender"] == "unknown").tolist() == [False, False, False]
    assert (rows["sender"] != "b").tolist() == [True, True, False]
    assert rows["sender"].isin(["b", "unknown"]).tolist() == [False, False, True]


def test_sums_and_groups_are_those_of_the_frame(frame: pd.DataFrame) -> None:
    rows = Rows.of(frame)
    for column in ("sender", "day", "text"):
        expected = frame.groupby(column, observed=True)["messages"].sum()
        assert counts.sums(rows, column) == expected.to_dict()
    expected = frame.sort_values("day", kind="stable")
    for sender, part in counts.groups(Rows.of(expected), "sender"):
        same = expected[expected["sender"] == sender]
        assert part["messages"].tolist() == same["messages"].tolist()
        assert list(part["day"]) == list(same["day"])


def test_a_domain_has_its_own_names_alone(frame: pd.DataFrame) -> None:
    parts = DomainParts(frame[(frame["domain"] != "b.example") | (frame["sender"] == "Sender 5")])
    rows = parts.cut("b.example")
    assert list(rows["sender"].known) == ["Sender 5"]
    assert rows["day"].values.tolist() == sorted(rows["day"].values.tolist())
    assert len(parts.cut("d.example")["sender"]) == 0


def test_no_rows_have_no_sums(frame: pd.DataFrame) -> None:
    rows = Rows.of(frame)[:0]
    assert counts.sums(rows, "sender") == counts.sums(rows, "day") == {}
    assert not list(counts.groups(rows, "sender"))
    assert counts.total(rows) == 0
    assert counts.day_span(rows) == (None, None)
