"""The shipped notebooks: thin, without outputs, and their parameters documented."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import papermill
import pytest

import dmarckit

FOLDER = Path(dmarckit.__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_outputs_are_stripped(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_kernel_is_python3(path: Path) -> None:
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    assert made.metadata.kernelspec.name == "python3"


def test_it_begins_with_a_title(path: Path) -> None:
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


def test_every_parameter_has_a_type_a_default_and_a_help(path: Path) -> None:
    cells = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    known = papermill.inspect_notebook(path)
    assert len(known) == len(cells[0].source.splitlines())
    for about in known.values():
        assert about["inferred_type_name"] != "None"
        assert about["help"]
        ast.literal_eval(about["default"])


def test_cells_only_call_and_show(path: Path) -> None:
    logic = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Try, ast.Lambda)
    cells = code_cells(path)
    assert len(cells) <= 9
    for cell in cells:
        found = [type(node).__name__ for node in ast.walk(ast.parse(cell.source))]
        assert not {kind.__name__ for kind in logic} & set(found), cell.source
        assert len(cell.source.splitlines()) <= 20
