"""Small notebooks for tests of what is made of notebooks."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def write_notebook(path: Path, *code: str, parameters: str, title: str = "# A title") -> Path:
    """A notebook with a title, a parameters cell and these cells; ``##…`` is text."""
    cells = [
        new_markdown_cell(title),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(new_markdown_cell(c) if c.startswith("##") else new_code_cell(c) for c in code),
    ]
    made = new_notebook(cells=cells)
    made.metadata.kernelspec = {"name": "python3", "display_name": "x", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)
    return path
