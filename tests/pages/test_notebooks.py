"""The shipped notebooks: thin, without outputs, and their parameters documented."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import papermill
import pytest

import dmarckit
from dmarckit.pages.build import build_page
from tests.support import frames

FOLDER = Path(dmarckit.__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@each_notebook
def test_outputs_are_stripped(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@each_notebook
def test_kernel_is_python3(path: Path) -> None:
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    assert made.metadata.kernelspec.name == "python3"


@each_notebook
def test_it_begins_with_a_title(path: Path) -> None:
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


@each_notebook
def test_every_parameter_has_a_type_a_default_and_a_help(path: Path) -> None:
    cells = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    known = papermill.inspect_notebook(path)
    assert len(known) == len(cells[0].source.splitlines())
    for about in known.values():
        assert about["inferred_type_name"] != "None"
        assert about["help"]
        ast.literal_eval(about["default"])


@each_notebook
def test_cells_only_call_and_show(path: Path) -> None:
    logic = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Try, ast.Lambda)
    cells = code_cells(path)
    assert len(cells) <= 10
    for cell in cells:
        found = [type(node).__name__ for node in ast.walk(ast.parse(cell.source))]
        assert not {kind.__name__ for kind in logic} & set(found), cell.source
        assert len(cell.source.splitlines()) <= 20


def test_overview_shows_what_is_in_the_lake(tmp_path: Path) -> None:
    settings = frames.fill(
        tmp_path,
        frames.records({"messages": 80}, frames.FAILS | {"messages": 20}),
        frames.reports({"messages": 100, "failing": 20, "records": 2}),
        frames.mails({}, {"outcome": "untrusted", "error": "dmarc=fail", "key": "mail/2"}),
    )
    parameters = {"days": 7, "end": "2026-11-23", "domains": ["example.com"]}
    page = build_page(FOLDER / "overview.ipynb", parameters, config=str(settings))
    html = page.html.decode().replace("\N{NO-BREAK SPACE}", " ")
    assert page.warnings == ()
    for text in (
        "No action needed.",
        "100% of own mail is authenticated",
        "Failing: 0 own or unidentified, 20 forged, of 100 messages",
        "Domains, those with the most failing mail delivered first",
        "Senders: yours, undecided, forwarders, and all forged mail as one",
        "Based on 2 emails: 1 report, 2 records",
    ):
        assert text in html


def test_a_domain_s_page_shows_its_senders_and_the_next_step(tmp_path: Path) -> None:
    settings = frames.fill(
        tmp_path,
        frames.records({"messages": 80}, frames.FAILS | {"messages": 20, "position": 1}),
        frames.reports({"messages": 100, "failing": 20}),
        frames.mails({}),
    )
    parameters = {"domain": "example.com", "days": 7, "end": "2026-11-23"}
    parameters["policy"] = "p=reject; adkim=s"
    page = build_page(FOLDER / "domain.ipynb", parameters, config=str(settings))
    html = page.html.decode().replace("\N{NO-BREAK SPACE}", " ")
    assert page.warnings == ()
    for text in (
        "Failing: 0 own or unidentified, 20 forged, of 100 messages",
        "Senders: yours, undecided, forwarders, and all forged mail as one",
        "DKIM signatures, the most used first",
        "2026-11-23: 100 messages",
        "<b>p=reject; adkim=s</b> would have stopped 20 of 100 messages in 7 days",
    ):
        assert text in html
    assert "v=DMARC1" not in html, "no record where the present one is not known"


def test_explore_starts_on_an_empty_lake(tmp_path: Path) -> None:
    settings = frames.fill(tmp_path, frames.records(), frames.reports(), frames.mails())
    page = build_page(FOLDER / "explore.ipynb", {}, config=str(settings))
    html = page.html.decode()
    assert page.warnings == ()
    for text in ("There are no rows.", "Nobody sent as example.com in this period."):
        assert text in html
