"""Which days a page is about."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from dmarckit.core.errors import SettingsError
from dmarckit.core.window import Window, last_days


def test_window_ends_yesterday_unless_told() -> None:
    found = last_days(7, today=date(2026, 11, 24))
    assert found == Window(datetime(2026, 11, 17, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))
    assert found.before.end == found.start
    assert found.before.days == 7


@pytest.mark.parametrize(("days", "end"), [(0, ""), (True, "x"), (7, "24.11.2026"), (7, "soon")])
def test_window_that_is_none(days: int, end: str) -> None:
    with pytest.raises(SettingsError, match=r"days|YYYY-MM-DD"):
        last_days(days, end)
