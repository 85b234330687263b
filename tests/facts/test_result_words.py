"""facts: what older RFCs called a result counts as what it is called today."""

from __future__ import annotations

import duckdb
import pytest

from dmarckit.facts.sql import result_meaning


@pytest.mark.parametrize(
    ("sent", "meaning"),
    [
        ("unknown", "temperror"),
        (" Unknown ", "temperror"),
        ("error", "permerror"),
        ("invalid", "permerror"),
        ("HardFail", "fail"),
        ("softfail", "softfail"),
        ("pass", "pass"),
        ("something else", "something else"),
        (None, None),
    ],
)
def test_a_result_is_counted_as_what_it_means(sent: str | None, meaning: str | None) -> None:
    query = f"SELECT {result_meaning('$sent::VARCHAR')}"
    assert duckdb.execute(query, {"sent": sent}).fetchall() == [(meaning,)]
