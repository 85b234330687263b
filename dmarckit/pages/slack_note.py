"""What a notebook adds to the Slack message of its run: made by `Page.tell`, read by the job.

A `SlackNote` is the output of a cell with a MIME type of its own, which pages leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dmarckit.core import _, is_missing, one_line
from dmarckit.pages.html import plain, render_part, value_text

if TYPE_CHECKING:
    import nbformat  # a kernel that makes notes needs none of its schemas

SLACK_MIMETYPE = "application/vnd.dmarckit.slack.v1+json"
# of one note: what a Slack message shows as fields, and what a small picture can show
MOST_NUMBERS, MOST_SERIES, MOST_POINTS = 10, 12, 500
MOST_NOTES = 5  # notes of one run; more would bury its findings


@dataclass(frozen=True)
class SlackNote:
    """A headline, numbers and a chart; plain text, not yet escaped for Slack."""

    headline: str = ""
    numbers: Mapping[str, str] = field(default_factory=dict)  # label → value
    chart: Mapping[str, Any] | None = None
    """`title`, `about`, and `series`: `name`, `kind` (bar or line), `lying`, `colour`, `x`, `y`"""

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        shown = render_part("note", _("In the Slack message of the run:"))
        shown += render_part("paragraphs", [self.headline] if self.headline else [])
        title = str(self.chart["title"]) if self.chart else ""
        shown += render_part("facts", [*self.numbers.items(), (_("Chart"), title)])
        return {SLACK_MIMETYPE: asdict(self), "text/html": shown._repr_html_()}


def slack_note(headline: str, number: object, figure: Any = None) -> SlackNote:
    """Return a note with its texts bounded, as `Page.tell` describes."""
    if number is not None and not isinstance(number, Mapping):
        headline = f"{headline}: {value_text(number, 80)}" if headline else value_text(number, 80)
    numbers = list(number.items()) if isinstance(number, Mapping) else []
    shown = {one_line(name, 60): value_text(value, 80) for name, value in numbers[:MOST_NUMBERS]}
    if figure is None:
        return SlackNote(one_line(headline, 300), shown)
    series = []
    known = [t for t in figure.data if t.type in ("bar", "scatter") and t.yaxis in (None, "y")]
    for trace in known[:MOST_SERIES]:
        lying = trace.type == "bar" and trace.orientation == "h"
        x, y = (trace.y, trace.x) if lying else (trace.x, trace.y)
        series.append(
            {
                "name": plain(trace.name or ""),
                "kind": "bar" if trace.type == "bar" else "line",
                "lying": lying,
                "colour": trace.marker.color if isinstance(trace.marker.color, str) else None,
                "x": [plain(label) for label in x[:MOST_POINTS]],
                "y": [None if is_missing(n) else float(n) for n in y[:MOST_POINTS]],
            }
        )
    title = figure.layout.title
    texts = {"title": plain(title.text or ""), "about": plain(title.subtitle.text or "")}
    return SlackNote(one_line(headline, 300), shown, texts | {"series": series})


def slack_notes(notebook: nbformat.NotebookNode) -> list[SlackNote]:
    """Return the notes in the outputs of an executed notebook, in their order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    found = [output.get("data", {}).get(SLACK_MIMETYPE) for output in outputs]
    return [SlackNote(**note) for note in found if note][:MOST_NOTES]
