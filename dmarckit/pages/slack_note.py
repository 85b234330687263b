"""What a notebook adds to the Slack message of its run: made by `Page.tell`, read by the job.

A `SlackNote` is an output of its cell, with a MIME type of its own. papermill keeps it in the
executed notebook, where `slack_notes` finds it; pages leave it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nbformat

from dmarckit.core import _, count, one_line
from dmarckit.pages.html import Html, render_part

SLACK_MIMETYPE = "application/vnd.dmarckit.slack.v1+json"
MOST_NUMBERS = 10
"""as many as a Slack message shows as fields"""
MOST_NOTES = 5
"""notes of one run; more would bury its findings"""


@dataclass(frozen=True)
class SlackNote:
    """A headline, numbers and a chart; plain text, not yet escaped for Slack."""

    headline: str = ""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """label → value"""
    chart: Mapping[str, Any] | None = None
    """a plotly figure as JSON: `data` and `layout`"""

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        numbers = dict(self.numbers)
        note = {"headline": self.headline, "numbers": numbers, "chart": self.chart}
        return {SLACK_MIMETYPE: note, "text/html": self._preview()._repr_html_()}

    def _preview(self) -> Html:
        shown = render_part("note", _("In the Slack message of the run:"))
        if self.headline:
            shown += render_part("paragraphs", [self.headline])
        return shown + render_part("facts", list(self.numbers.items()))


def slack_note(headline: str, numbers: Mapping[Any, object], chart: Any = None) -> SlackNote:
    """Return a note with its texts bounded; `chart` is a plotly figure."""
    shown = {one_line(name, 60): _value(n) for name, n in list(numbers.items())[:MOST_NUMBERS]}
    figure = None if chart is None else chart.to_plotly_json()
    return SlackNote(one_line(headline, 300), shown, figure)


def _value(number: object) -> str:
    """Return a number with thousands separators, anything else as text on one line."""
    if hasattr(number, "item"):  # of numpy
        number = number.item()
    if isinstance(number, int) and not isinstance(number, bool):
        return count(number)
    return one_line(f"{number:.4g}" if isinstance(number, float) else number, 80)


def slack_notes(notebook: nbformat.NotebookNode) -> list[SlackNote]:
    """Return the notes in the outputs of an executed notebook, in their order."""
    notes = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            said = output.get("data", {}).get(SLACK_MIMETYPE)
            if isinstance(said, Mapping):
                numbers = said.get("numbers") or {}
                chart = said.get("chart")
                notes.append(SlackNote(str(said.get("headline") or ""), dict(numbers), chart))
    return notes[:MOST_NOTES]
