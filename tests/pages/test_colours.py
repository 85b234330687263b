"""The colours of all charts: seen on their ground, and told apart by every eye."""

from __future__ import annotations

from itertools import combinations

import pytest
from coloraide import Color

from dmarckit.pages import charts
from dmarckit.pages.marks import COLOURS, LIGHT

GROUND = {"light": "#ffffff", "dark": "#171c24"}
"""`--page` of the style sheet"""
TOGETHER = {
    "classes of messages": ["authenticated", "indirect", "failing", "forged"],
    "what receivers did": ["authenticated", "failing", "quarantined", "rejected", "unknown"],
    "share that passes": ["authenticated", "mostly", "partly", "failing"],
    "policies": ["unknown", "quarantined", "rejected"],
    "rates at Gmail": ["unknown", "rejected", "authenticated"],
}
EYES = ("protan", "deutan", "tritan")


def seen(colour: str, eye: str) -> Color:
    """A colour as that eye sees it: Machado, Oliveira and Fernandes 2009, severity 1."""
    found = Color(colour)
    return found.filter(eye, method="machado").clip("srgb") if eye in EYES else found


@pytest.mark.parametrize("theme", GROUND)
def test_every_mark_has_contrast(theme: str) -> None:
    """WCAG 2, 1.4.11: 3 to 1 for what is not text."""
    place = list(GROUND).index(theme)
    ratios = {
        name: Color(pair[place]).contrast(GROUND[theme], method="wcag21")
        for name, pair in COLOURS.items()
    }
    assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}


@pytest.mark.parametrize("theme", GROUND)
@pytest.mark.parametrize("eye", ["usual", *EYES])
@pytest.mark.parametrize("chart", TOGETHER)
def test_colours_of_a_chart_are_told_apart(chart: str, eye: str, theme: str) -> None:
    """CIEDE2000 of at least 15 between any two of them, neighbours or not."""
    place = list(GROUND).index(theme)
    found = {name: seen(COLOURS[name][place], eye) for name in TOGETHER[chart]}
    distances = {
        (a, b): found[a].delta_e(found[b], method="2000") for a, b in combinations(found, 2)
    }
    assert {pair: n for pair, n in distances.items() if n < 15} == {}


def test_charts_have_no_other_colours() -> None:
    assert {colour for _label, colour in charts.OUTCOMES.values()} <= set(LIGHT)
    assert list(charts.GROUPS) == TOGETHER["classes of messages"]
    assert {group for _label, group in charts.CLASSES.values()} == set(charts.GROUPS)
