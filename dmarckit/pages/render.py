"""An executed notebook → one self-contained HTML file, with nbconvert and the own template.

Headings, paragraphs and helps of the English notebooks are shown in the language in use.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

import nbformat
from nbconvert.exporters.templateexporter import TemplateExporter
from traitlets.config import Config

from dmarckit.core import _, current_language, ngettext, one_line
from dmarckit.pages import html
from dmarckit.pages.html import FIGURE_MIMETYPE, plain, script_json, script_source
from dmarckit.pages.inputs import Input, page_versions
from dmarckit.pages.marks import COLOURS, DARK
from dmarckit.pages.slack_note import SLACK_MIMETYPE

# the help of a parameter, behind its default
_HELP = re.compile(r"^\w+\s*(?::[^=]+)?=.*?\s{2}#\s*(.+)$", re.MULTILINE)
_PLOT_TOP = 10  # pixels above the plot on a page, where title and legend are text above it
_ASSETS = Path(__file__).parent / "assets"
_BUNDLES = {"basic": {"bar", "pie", "scatter"}}  # of plotly.js, the smallest first → trace types
_BUNDLES["cartesian"] = _BUNDLES["basic"] | {
    *("box", "contour", "heatmap", "histogram", "histogram2d", "histogram2dcontour"),
    *("image", "scatterternary", "violin"),
}
_KINDS = {  # of outputs that a page can hold, the richest form first
    html.MIMETYPE: "own",
    "text/html": "html",
    "image/png": "image",
    "text/markdown": "markdown",
    "text/plain": "text",
}


def translated(markdown: str) -> str:
    r"""Return a markdown cell in the language in use, paragraph by paragraph.

    >>> translated("## Findings\n\nWhat is wrong.")
    '## Findings\n\nWhat is wrong.'
    """
    parts = _parts(markdown)
    return "\n\n".join(f"{mark} {_(text)}".lstrip() if text else "" for mark, text in parts)


def extract_notebook(
    file: IO[bytes], keywords: Collection[str], tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, None, str, list[str]]]:
    """Yield the texts of an ``.ipynb`` file as Babel wants them from an extraction method."""
    for cell in json.load(file)["cells"]:
        source, texts = "".join(cell["source"]), []
        if cell["cell_type"] == "markdown":
            texts = [text for _mark, text in _parts(source)]
        elif "parameters" in cell["metadata"].get("tags", []):
            texts = _HELP.findall(source)
        yield from ((1, None, text, []) for text in texts if text)


def _parts(markdown: str) -> Iterator[tuple[str, str]]:
    """Yield each heading as its marks and text, each paragraph as ``""`` and its text."""
    for block in re.split(r"\n\s*\n", markdown.strip()):
        first, _sep, rest = block.partition("\n")
        if heading := re.fullmatch(r"(#{1,6})\s+(.+)", first.strip()):
            yield heading[1], heading[2].strip()
            if rest.strip():
                yield "", rest.strip()
        else:
            yield "", block.strip()


def render_page(
    notebook: nbformat.NotebookNode,
    *,
    name: str,
    parameters: Mapping[str, tuple[str, str]],
    built: datetime,
    inputs: Sequence[Input] = (),
) -> bytes:
    """Return the page of an executed notebook, UTF-8.

    `parameters`: name → (value as text, help), for the footer; `inputs`: what it was made from.
    The same input gives the same bytes. Its links have no addresses yet (`links.with_links`).
    """
    sections = _chapters(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    charts = [p for s in sections for p in s["parts"] if p["kind"] == "figure"]
    types = frozenset(name for part in charts for name in part["types"])
    scripts = _scripts(types, current_language())
    exporter: Any = TemplateExporter(  # type: ignore[no-untyped-call]
        config=Config({"TemplateExporter": {"template_name": "dmarckit"}}),
        extra_template_basedirs=[str(html.TEMPLATES.parent)],
        file_extension=".html",
    )
    exporter.environment.autoescape = True
    exporter.environment.bytecode_cache = html.CompiledTemplates("page")
    exporter.environment.globals.update(_=_, ngettext=ngettext, language=current_language())
    exporter.environment.globals.update(colours=COLOURS)
    resources = {
        "title": title_of(notebook, name),
        "lead": sections[0],
        "sections": sections[1:],
        "code": [source for source in code if source.strip()],
        "parameters": [(key, value, _(text)) for key, (value, text) in parameters.items()],
        "versions": page_versions(),
        "inputs": inputs,
        "built": built,
        "scripts": [html.script_hash(script) for script in scripts],
    }
    # all that the template shows is in these: nbconvert checks and copies a notebook ten times
    empty = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    page, _resources = exporter.from_notebook_node(empty, resources={"page": resources})
    # not template variables: a megabyte of script needs neither escaping nor copying by Jinja.
    # plotly is text until `charts.js` runs it, so that all else is there before it
    plotly = "".join(f'<script type="text/plain" id="plotly">{s}</script>' for s in scripts[1:])
    elements = f"{plotly}<script>{scripts[0]}</script>"
    return str(page).replace("<!--scripts-->", elements, 1).encode("utf-8")


def title_of(notebook: nbformat.NotebookNode, name: str) -> str:
    """Return what a cell says the page is about, else the first heading, else the name."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if title := output.get("data", {}).get(html.TITLE_MIMETYPE):
            return one_line(title, 300)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.match(r"#\s+(.+)", cell.source)):
            return _(found[1].strip())
    return html.notebook_word(name)


@cache
def _scripts(types: frozenset[str], language: str) -> tuple[str, ...]:
    """Return the only scripts of a page; plotly.js comes only with a chart.

    `types` are those of its charts' traces; `language` is a parameter for the cache's sake.
    """
    texts = html.text_script()
    if not types:
        return (texts + script_source("tables.js", "copy.js", "links.js"),)
    colours = f"const DARK = {script_json(DARK)};\n"
    own = texts + colours + script_source("tables.js", "copy.js", "links.js", "charts.js")
    for name, known in _BUNDLES.items():
        if types <= known:
            return own, (_ASSETS / f"plotly-{name}.min.js").read_text(encoding="utf-8")
    from plotly.offline import get_plotlyjs

    return own, get_plotlyjs().replace("\r\n", "\n")


def _chapters(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """Return title, anchor and parts of each chapter, those without parts left out.

    What stands before the first ``##`` heading is the first, without a title.
    """
    chapters: list[dict[str, Any]] = [{"title": "", "anchor": "", "parts": []}]
    charts = itertools.count(1)
    for cell in notebook.cells:
        parts = [part for output in cell.get("outputs", []) if (part := _part(output))]
        if cell.cell_type == "markdown":
            text = translated(cell.source).strip()
            heading = ""
            if re.match(r"#{1,2}\s", text):
                heading, _line, text = text.partition("\n")
            if heading.startswith("##"):
                anchor = f"section-{len(chapters)}"
                chapters.append({"title": heading.lstrip("# "), "anchor": anchor, "parts": []})
            parts = [{"kind": "markdown", "content": text.strip()}] if text.strip() else []
        for part in parts:
            if part["kind"] == "figure":
                part["id"] = f"chart-{next(charts)}"
        chapters[-1]["parts"] += parts
    return [chapters[0], *(chapter for chapter in chapters[1:] if chapter["parts"])]


def _part(output: nbformat.NotebookNode) -> dict[str, Any] | None:
    """Return an output as the template shows it, in the richest form that a page can hold."""
    if output.output_type == "stream":
        return {"kind": "text", "content": output.text} if output.name == "stdout" else None
    data = output.get("data", {})
    if FIGURE_MIMETYPE in data:
        return _figure(data[FIGURE_MIMETYPE])
    found = (mimetype for mimetype in _KINDS if mimetype in data and SLACK_MIMETYPE not in data)
    mimetype = next(found, None)
    return {"kind": _KINDS[mimetype], "content": data[mimetype]} if mimetype else None


def _figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chart: title as text, data as JSON for the script and as a table to read."""
    layout = dict(figure["layout"])
    title, numbers = layout.pop("title", {}), layout.pop("meta", None)
    if title and "height" in layout:
        margin = layout.get("margin", {})
        layout["height"] -= margin.get("t", _PLOT_TOP) - _PLOT_TOP
        layout["margin"] = margin | {"t": _PLOT_TOP}
    data, legend = figure["data"], []
    named = [trace for trace in data if trace.get("showlegend", True)]
    colours = [trace.get("marker", {}).get("color") for trace in named]
    if data and all(isinstance(c, str) and re.fullmatch(r"#[0-9a-f]{6}", c) for c in colours):
        names = [plain(trace.get("name", "")) for trace in named]
        legend = [(n, c, DARK.get(c, c)) for n, c in zip(names, colours, strict=True)]
        layout["showlegend"] = False
    return {
        "kind": "figure",
        # a line must not begin with the percent sign of a number on the line before
        "title": plain(title.get("text", "")).replace(" %", "\N{NO-BREAK SPACE}%"),
        "subtitle": plain(title.get("subtitle", {}).get("text", "")),
        "height": layout.get("height", 400),
        "legend": legend,
        "labelled": any(note.get("name") == "direct" for note in layout.get("annotations", ())),
        "types": {trace.get("type", "scatter") for trace in data},
        "json": script_json({"data": data, "layout": layout}),
        "table": numbers if isinstance(numbers, dict) else _figure_table(data),
    }


def _figure_table(data: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the values of a chart whose traces share their labels; None for other charts."""
    columns = []
    labels: list[Any] | None = None
    for trace in data:
        is_row = trace.get("orientation") == "h"
        own = trace.get("y" if is_row else "x")
        # of lines and rows the custom data has the values as people read them
        values = trace.get("customdata" if is_row or trace.get("type") == "scatter" else "y")
        if not isinstance(own, list) or not isinstance(values, list) or labels not in (None, own):
            return None
        labels = own
        columns.append((plain(trace.get("name", "")), values))
    if not labels:
        return None
    rows = [
        (plain(label), [f"{n:,}" if isinstance(n, int) else plain(n) for n in numbers])
        for label, *numbers in zip(labels, *(values for _name, values in columns), strict=False)
    ]
    return {"columns": [name for name, _values in columns], "rows": rows}
