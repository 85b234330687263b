"""An executed notebook → one self-contained HTML file, with nbconvert and the own template.

What pages say besides their notebooks: texts of their scripts, names of the notebooks.

The texts of notebooks that people read on a page: headings, paragraphs, help of parameters.

Notebooks stay English; a page shows their texts in its language. What is a text of its own
here is also one in the catalog, because the catalog's extractor reads them the same way.

What a page is made from, for its footer: objects and reports of the lake, and their hashes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import IO, Any, Literal

import nbformat
from nbconvert.exporters.templateexporter import TemplateExporter
from plotly.offline import get_plotlyjs
from traitlets.config import Config

from dmarckit.core import _, current_language, later, ngettext, normalize_domain, one_line
from dmarckit.lake import Lake, month_of
from dmarckit.pages.charts import DARK, FIGURE_MIMETYPE
from dmarckit.pages.html import MIMETYPE as HTML_MIMETYPE, TITLE_MIMETYPE
from dmarckit.pages.svg import plain

_NOTEBOOKS = {
    "overview": later("Overview"),
    "domain": later("Domains"),
    "sender": later("Senders"),
    "report": later("Reports"),
    "tls": later("TLS reports"),
    "explore": later("Explore"),
}


def notebook_word(name: str) -> str:
    """How a list of pages calls a notebook; one of the user's own by its file name.

    >>> notebook_word("overview"), notebook_word("my_own")
    ('Overview', 'My own')
    """
    return _(_NOTEBOOKS[name]) if name in _NOTEBOOKS else name.replace("_", " ").capitalize()


def text_script() -> str:
    """The script that the others need: ``TEXTS`` in the language in use, and how to fill them."""
    say = Path(__file__).parent / "template/dmarckit/texts.js"
    return f"const TEXTS = {script_json(_texts())};\n{say.read_text(encoding='utf-8')}"


def script_json(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _texts() -> dict[str, Any]:
    return {
        "filter": _("Filter"),
        "filter_of": _("Filter: {table}"),
        "some": _("{n} of {all}"),
        "copy": _("Copy"),
        "copied": _("Copied"),
        "selected": _("Selected: copy it now"),
        "find": _("Find a domain"),
        "domains": _("{n} domains"),
        "calendar": _calendar(),
    }


Width = Literal["wide", "abbreviated"]


def _calendar() -> dict[str, Any] | None:
    """Names of days and months as plotly takes them; None for English, which it knows."""
    if current_language() == "en":
        return None
    from babel.dates import get_day_names, get_month_names

    def days(width: Width) -> list[str]:
        names = get_day_names(width, locale=current_language())
        return [names[(place - 1) % 7] for place in range(7)]  # from Sunday on

    def months(width: Width) -> list[str]:
        names = get_month_names(width, locale=current_language())
        return [names[number] for number in range(1, 13)]

    return {
        "days": days("wide"),
        "shortDays": days("abbreviated"),
        "months": months("wide"),
        "shortMonths": months("abbreviated"),
    }


_HEADING = re.compile(r"(#{1,6})\s+(.+)")
_HELP = re.compile(r"^\w+\s*(?::[^=]+)?=.*?\s{2}#\s*(.+)$", re.MULTILINE)


def translated(markdown: str) -> str:
    """A markdown cell in the language in use, paragraph by paragraph.

    >>> translated("## Findings\\n\\nWhat is wrong.")
    '## Findings\\n\\nWhat is wrong.'
    """
    parts = (
        f"{mark} {_(text)}" if mark else _(text) if text else "" for mark, text in _parts(markdown)
    )
    return "\n\n".join(parts)


def extract_notebook(
    file: IO[bytes], keywords: Collection[str], tags: Collection[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, None, str, list[str]]]:
    """The texts of an ``.ipynb`` file as Babel wants them from an extraction method."""
    for cell in json.load(file)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            texts = [text for _mark, text in _parts(source)]
        elif "parameters" in cell["metadata"].get("tags", []):
            texts = _HELP.findall(source)
        else:
            texts = []
        for text in filter(None, texts):
            yield 1, None, text, []


def _parts(markdown: str) -> Iterator[tuple[str, str]]:
    """Each heading as its marks and its text, each paragraph as ``""`` and its text."""
    for block in re.split(r"\n\s*\n", markdown.strip()):
        first, _sep, rest = block.partition("\n")
        if heading := _HEADING.fullmatch(first.strip()):
            yield heading[1], heading[2].strip()
            if rest.strip():
                yield "", rest.strip()
        else:
            yield "", block.strip()


LEAST_DAYS = 90
"""days before the end of a page that tell who a sender is, whatever its window"""
_INPUTS = """
SELECT '{mails}' AS input, mail_key AS key FROM reports WHERE {mine}
UNION SELECT '{mails}', mail_key FROM tls WHERE {mine_tls}
UNION SELECT '{reports}', report_uid FROM reports WHERE {mine}
UNION SELECT '{tls}', report_uid FROM tls WHERE {mine_tls}
"""
_HASHED = """
SELECT input, count(*) AS number, lower(hex(bit_xor(md5_number(key)))) AS hash
FROM ({inputs}) GROUP BY input ORDER BY input
"""
MAILS, REPORTS, TLS = later("mails"), later("aggregate reports"), later("TLS reports")


@dataclass(frozen=True)
class Input:
    """One kind of input: how many, and the MD5 sums of their names, combined by XOR.

    The names are keys of mails and `report_uid` of reports, so that the same lake gives the
    same hash in whatever order and files it was written.
    """

    name: str
    number: int
    hash: str


def page_inputs(lake: Lake, parameters: Mapping[str, Any], now: datetime) -> tuple[Input, ...]:
    """The mails and reports that a page with these parameters may rest on, as they are now.

    By months: from 90 days (or twice the page's `days` and four weeks) before its `end`, or
    before `now`, on; of its `domain` or `domains` alone when there are some. Raises LakeError.
    """
    days = parameters.get("days")
    back = max(LEAST_DAYS, 2 * days + 28 if isinstance(days, int) else 0)
    with contextlib.suppress(ValueError):  # none, or what the notebook will complain of
        end = datetime.fromisoformat(str(parameters.get("end"))).replace(tzinfo=UTC)
        now = min(now, end)
    names = [parameters.get("domain") or "", *(parameters.get("domains") or ())]
    names = [normalize_domain(str(name)) for name in names if name]
    mine = mine_tls = "month >= $month"
    values: dict[str, Any] = {"month": month_of(now - timedelta(days=back))}
    if names:
        mine += " AND domain IN (SELECT unnest($names))"
        mine_tls += " AND lower(policy_domain) IN (SELECT unnest($names))"
        values["names"] = names
    inputs = _INPUTS.format(mails=MAILS, reports=REPORTS, tls=TLS, mine=mine, mine_tls=mine_tls)
    rows = lake.sql(_HASHED.format(inputs=inputs), **values).to_dict("records")
    return tuple(Input(str(r["input"]), int(r["number"]), str(r["hash"])) for r in rows)


TEMPLATES = Path(__file__).parent / "template"
_LIBRARIES = ("dmarckit", "pandas", "plotly", "papermill", "nbconvert")
_PLOT_TOP = 10
"""pixels above the plot on a page, where title and legend are text above it"""


@dataclass(frozen=True)
class Chapter:
    """A heading of the notebook with what its cells show below it."""

    title: str
    anchor: str
    parts: tuple[dict[str, Any], ...]


def render(
    notebook: nbformat.NotebookNode,
    *,
    name: str,
    parameters: Mapping[str, tuple[Any, str]],
    built: datetime,
    index: str = "../index.html",
    inputs: Sequence[Input] = (),
) -> bytes:
    """The page of an executed notebook, UTF-8.

    `parameters`: name → (value, help), for the footer; `index`: where the list of all pages
    is, seen from this one; `inputs`: what it was made from. The same input gives the same bytes.
    """
    sections = _chapters(notebook)
    charts = [p for s in sections for p in s.parts if p["kind"] == "figure"]
    scripts = _scripts(any(part["data"] for part in charts), current_language())
    exporter: Any = TemplateExporter(  # type: ignore[no-untyped-call]
        config=Config({"TemplateExporter": {"template_name": "dmarckit"}}),
        extra_template_basedirs=[str(TEMPLATES)],
        file_extension=".html",
    )
    exporter.environment.autoescape = True
    exporter.environment.globals.update(_=_, ngettext=ngettext, language=current_language())
    resources = {
        "title": title_of(notebook, name),
        "lead": sections[0],
        "sections": sections[1:],
        "code": [cell.source for cell in _code_cells(notebook)],
        "parameters": [(key, repr(value), _(text)) for key, (value, text) in parameters.items()],
        "versions": versions(),
        "inputs": inputs,
        "built": built,
        "index": index,
        "scripts": [script_hash(script) for script in scripts],
    }
    page, _resources = exporter.from_notebook_node(notebook, resources={"page": resources})
    # not template variables: 5 MB of script need neither escaping nor copying by Jinja
    elements = "".join(f"<script>{script}</script>" for script in scripts)
    return str(page).replace("<!--scripts-->", elements, 1).encode("utf-8")


def title_of(notebook: nbformat.NotebookNode, name: str) -> str:
    """What a cell says the page is about, else the notebook's first heading, else its name."""
    for cell in _code_cells(notebook):
        for output in cell.outputs:
            if title := output.get("data", {}).get(TITLE_MIMETYPE):
                return one_line(title, 300)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.match(r"#\s+(.+)", cell.source)):
            return _(found[1].strip())
    return notebook_word(name)


@cache
def versions() -> dict[str, str]:
    """What made the page: Python and the libraries that shape it."""
    return {"Python": python_version()} | {name: version(name) for name in _LIBRARIES}


@cache
def _scripts(has_charts: bool, language: str) -> tuple[str, ...]:
    """The only scripts of a page; plotly.js comes only with a chart."""
    texts = text_script()  # in `language`, which is a parameter for the cache's sake
    folder = TEMPLATES / "dmarckit"
    parts = [(folder / name).read_text(encoding="utf-8") for name in ("tables.js", "copy.js")]
    if not has_charts:
        return (f"{texts}{''.join(parts)}",)
    charts = (folder / "charts.js").read_text(encoding="utf-8")
    own = f"{texts}const DARK = {script_json(DARK)};\n{charts}{''.join(parts)}"
    return get_plotlyjs().replace("\r\n", "\n"), own


@cache
def script_hash(script: str) -> str:
    """What allows exactly this script in the page's Content-Security-Policy, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _chapters(notebook: nbformat.NotebookNode) -> list[Chapter]:
    """What stands before the first ``##`` heading comes first, without a title."""
    found: list[tuple[str, list[dict[str, Any]]]] = [("", [])]
    charts = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading, text = _split_heading(translated(cell.source))
            if heading.startswith("##"):
                found.append((heading.lstrip("# "), []))
            if text:
                found[-1][1].append({"kind": "markdown", "text": text})
        elif cell.cell_type == "code":
            for output in cell.outputs:
                part = _part(output)
                if part and part["kind"] == "figure":
                    charts += 1
                    part |= {"id": f"chart-{charts}"}
                if part:
                    found[-1][1].append(part)
    return [
        Chapter(title, f"section-{number}", tuple(parts))
        for number, (title, parts) in enumerate(found)
        if parts or not number
    ]


def _split_heading(source: str) -> tuple[str, str]:
    first, _, rest = source.strip().partition("\n")
    return (first, rest.strip()) if re.match(r"#{1,2}\s", first) else ("", source.strip())


def _part(output: nbformat.NotebookNode) -> dict[str, Any] | None:
    """One output as the template shows it, the richest form that a page can hold."""
    if output.output_type == "stream":
        return {"kind": "text", "text": output.text} if output.name == "stdout" else None
    data = output.get("data", {})
    if FIGURE_MIMETYPE in data:
        return _figure(data[FIGURE_MIMETYPE])
    if HTML_MIMETYPE in data:
        return {"kind": "own", "html": data[HTML_MIMETYPE]}
    if "text/html" in data:
        return {"kind": "html", "html": data["text/html"]}
    if "image/png" in data:
        return {"kind": "image", "base64": data["image/png"].strip()}
    if "text/markdown" in data:
        return {"kind": "markdown", "text": data["text/markdown"]}
    if "text/plain" in data:
        return {"kind": "text", "text": data["text/plain"]}
    return None


def _figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    """A chart: its title as text, its data as JSON for the script and as a table to read."""
    layout = dict(figure["layout"])
    title = layout.pop("title", {})
    subtitle = title.get("subtitle", {}).get("text", "")
    if title and "height" in layout:
        margin = layout.get("margin", {})
        layout["height"] -= margin.get("t", _PLOT_TOP) - _PLOT_TOP
        layout["margin"] = margin | {"t": _PLOT_TOP}
    data = figure["data"]
    legend = _legend(data)
    if legend:
        layout["showlegend"] = False
    return {
        "kind": "figure",
        # a line must not begin with the percent sign of a number on the line before
        "title": plain(title.get("text", "")).replace(" %", "\N{NO-BREAK SPACE}%"),
        "subtitle": plain(subtitle),
        "height": layout.get("height", 400),
        "legend": legend,
        "data": bool(data),
        "json": script_json({"data": data, "layout": layout}),
        "table": _figure_table(data),
    }


def _legend(data: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Name, colour and colour on a dark page of each trace; empty when one has no own colour."""
    colours = [trace.get("marker", {}).get("color") for trace in data]
    if not all(isinstance(c, str) and re.fullmatch(r"#[0-9a-f]{6}", c) for c in colours):
        return []
    return [
        (plain(trace.get("name", "")), colour, DARK.get(colour, colour))
        for trace, colour in zip(data, colours, strict=True)
    ]


def _figure_table(data: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The values of a chart whose traces share their labels; None for other charts."""
    columns = []
    labels: list[Any] | None = None
    for trace in data:
        is_lying = trace.get("orientation") == "h"
        own = trace.get("y" if is_lying else "x")
        is_text = is_lying or trace.get("type") == "scatter"  # shares, as people read them
        values = trace.get("customdata") if is_text else trace.get("y")
        if not isinstance(own, list) or not isinstance(values, list) or labels not in (None, own):
            return None
        labels = own
        columns.append((plain(trace.get("name", "")), values))
    if not labels:
        return None
    rows = [
        (plain(label), [_shown(values[i]) for _, values in columns])
        for i, label in enumerate(labels)
    ]
    return {"columns": [name for name, _values in columns], "rows": rows}


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(value)
