"""A rate has one unit: 0.003 is 0.3%, and 0.3 is a hundred times more."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dmarckit.core.text import NotARate, Rate, rate_text
from dmarckit.core.thresholds import Thresholds


def test_0_003_is_0_3_percent() -> None:
    assert str(Rate(0.003)) == rate_text(0.003) == "0.30%"
    assert Rate(0.003) < Rate(0.3)
    assert str(Rate(0.3)) == "30.00%"


def test_google_s_limits_are_written_in_that_unit() -> None:
    limits = Thresholds()
    assert str(Rate(limits.spam_warning)) == "0.10%"
    assert str(Rate(limits.spam_critical)) == "0.30%"


@pytest.mark.parametrize("share", [1.01, 30, 99.5, -0.1, float("nan"), float("inf")])
def test_what_cannot_be_a_share_is_refused(share: float) -> None:
    with pytest.raises(NotARate, match="is it a percentage"):
        Rate(share)


def test_single_precision_may_exceed_all_by_a_hair() -> None:
    assert Rate(1.0000001) == Rate(1)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (0.00001, "<0.01%"),
        (0.0001, "0.01%"),
        (0.000999, "0.09%"),
        (0.99999, "99.99%"),
        (1, "100%"),
        (None, "no data"),
    ],
)
def test_nothing_all_and_what_is_between(share: float | None, text: str) -> None:
    assert rate_text(share) == text


@given(st.integers(0, 10_000))
def test_two_decimals_of_a_percent_come_back_as_they_were(hundredths: int) -> None:
    shown = str(Rate(hundredths / 10_000))
    assert float(shown.removesuffix("%")) == pytest.approx(hundredths / 100)
