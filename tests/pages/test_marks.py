"""Small charts: what they draw, what they say without being seen, and that text stays text."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from dmarckit.pages.marks import bar, flow, parts, spark


def test_a_spark_has_a_bar_a_day_and_a_gap_where_there_is_nothing() -> None:
    days = ["2026-11-21", "2026-11-22", "2026-11-23"]
    drawn = spark({"2026-11-21": 5, "2026-11-23": 10}, "Messages <per day>", days)
    (path,) = re.findall(r' d="([^"]*)"', drawn)
    assert re.findall(r"M(\d+) 24v-(\d+)h3", path) == [("0", "11"), ("8", "22")]
    assert 'aria-label="Messages &lt;per day&gt;"' in drawn
    assert spark({}, "x") == spark({"2026-11-21": 0}, "x") == ""


@pytest.mark.parametrize("one", [1, 10, 999_999])
def test_one_in_a_million_is_still_seen(one: int) -> None:
    found = list(parts({"authenticated": 1_000_000 - one, "failing": one, "rejected": 0}))
    assert [name for name, _left, _width in found] == ["authenticated", "failing"]
    assert min(width for _name, _left, width in found) > 0.01
    assert sum(width for _name, _left, width in found) == pytest.approx(1)
    for (_name, left, width), (_next, then, _width) in pairwise(found):
        assert left + width == pytest.approx(then)


def test_a_bar_says_its_shares() -> None:
    drawn = bar({"authenticated": 3, "failing": 1}, {"authenticated": "pass", "failing": "<fail>"})
    assert 'aria-label="pass 75.0%, &lt;fail&gt; 25.0%"' in drawn
    assert bar({"failing": 0}, {"failing": "fail"}) == ""


def test_a_flow_is_as_thick_at_both_ends_and_escapes_names() -> None:
    rows = [("authenticated", ("A", "both", "delivered"), 30.0)]
    rows.append(("forged", ("<b>" + "x" * 100, "none", "rejected"), 10.0))
    drawn = flow(rows, "Flow")
    image = ElementTree.fromstring(drawn)
    assert [node.text for node in image.iter("text")][:1] == ["A 30"]
    assert "&lt;b&gt;x" in drawn
    assert max(len(node.text or "") for node in image.iter("text")) < 45
    tall = {
        node.get("class"): {float(n) for n in re.findall(r"v([\d.]+)C", node.get("d") or "")}
        for node in image.iter("path")
    }
    assert max(tall["c-authenticated"]) / max(tall["c-forged"]) == pytest.approx(3, rel=0.01)
