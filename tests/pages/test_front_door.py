"""`import dmarckit as dk`, as an analyst finds it: by Tab, by docstrings, without a document."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import Settings
from dmarckit.core.window import last_days
from dmarckit.lake.lake import Lake
from dmarckit.pages.build import build_page
from dmarckit.pages.page import SECTIONS, Page, open_page
from dmarckit.pages.sections.base import Section
from tests.pages.test_notebooks import FOLDER, NOTEBOOKS, code_cells
from tests.support import frames
from tests.support.pages import FAILS, HOSTILE, messages, page_about

OFFERED = ["Lake", "Page", "Settings", "Window", "__version__", "last_days", "load_settings"]
OFFERED += ["open_lake", "open_page"]
KERNEL_TIMEOUT = 300


def test_nothing_else_is_visible() -> None:
    import dmarckit.core
    import dmarckit.pages

    assert dir(dmarckit) == sorted(dmarckit.__all__) == OFFERED
    assert all(getattr(dmarckit, name) is not None for name in OFFERED)


def test_importing_it_imports_no_library_of_data() -> None:
    heavy = "{'pandas', 'plotly', 'deltalake', 'duckdb', 'pyarrow', 'pydantic'}"
    code = f"import sys, dmarckit; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# a page


def page(**given: Any) -> Page:
    settings = Settings(home="unused", domains=["example.com"])
    return open_page(7, "2026-11-23", settings=settings, lake=Lake("unused"), **given)


def test_a_page_says_what_it_is_about_and_offers_its_sections() -> None:
    found = page(domains=["Shop.example"])
    assert found.window == last_days(7, "2026-11-23")
    lines = repr(found).splitlines()
    assert lines[0] == "Page of Shop.example, 17–23 Nov 2026"
    assert set(re.findall(r"\w+", " ".join(lines[1:]))) == {"sections", *SECTIONS}
    assert repr(page()).startswith("Page of example.com, ")
    assert set(SECTIONS) | {"tell", "lake", "facts", "window", "analysis"} <= set(dir(found))
    assert not [name for name in dir(found) if name.startswith("_")]


def test_a_page_about_one_domain_and_about_several_is_none() -> None:
    assert page(domain="Example.COM.").domain == "example.com"
    with pytest.raises(SettingsError, match="both given"):
        page(domain="example.com", domains=["a.example"])


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_says_what_its_frame_holds(name: str) -> None:
    section = getattr(Page, name)
    family = next(base for base in Page.__mro__ if name in vars(base))
    doc = f"{section.__doc__}{family.__doc__}"
    assert re.match(r"(Show|Draw|Say) [\w'’]", section.__doc__)
    assert ".data`" in doc or "Data as" in doc
    assert section.__annotations__["return"] == "Section"
    assert section.__module__.startswith("dmarckit.pages.sections.")


def test_a_section_shows_its_figure_or_its_table() -> None:
    made = page_about(messages(FAILS | {"messages": 3, "sender": HOSTILE[0]}))
    chart = made.classes_by_day()
    assert {"application/vnd.plotly.v1+json", "image/svg+xml"} <= set(chart._repr_mimebundle_())
    table = made.senders()
    assert "text/html" in table._repr_mimebundle_()
    assert table.figure is None
    assert "<script" not in table._repr_mimebundle_()["text/html"]
    assert repr(table).startswith("<Section: .data (1 rows: sender, ")
    assert repr(chart).endswith(", .figure>")


# notebooks


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("front-door")
    frames.fill(folder, *frames.lake(days=20, domains=2, reporters=2))
    return folder


@pytest.fixture
def configured(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DMARCKIT_CONFIG", str(home / "dmarckit.toml"))
    return home


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_dmarckit_alone_and_shows_sections(path: Path, configured: Path) -> None:
    shown: list[object] = []
    space: dict[str, Any] = {"display": lambda *parts: shown.extend(parts)}
    for cell in code_cells(path):
        tree = ast.parse(cell.source)
        imported = [
            name for node in tree.body if isinstance(node, ast.Import) for name in node.names
        ]
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert {name.name for name in imported} <= {"dmarckit"}
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), space)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), space))
        if "end" in space:
            space["end"] = "2026-11-23"
    sections = [part for part in shown if part is not None]
    assert sections
    for section in sections:
        assert isinstance(section, Section)
        assert isinstance(section.data, pd.DataFrame)
        assert section._repr_mimebundle_()


def test_plain_nbconvert_shows_charts_and_tables(home: Path, tmp_path: Path) -> None:
    made = build_page(
        FOLDER / "overview.ipynb",
        {"days": 7, "end": "2026-11-23"},
        config=str(home / "dmarckit.toml"),
    )
    nbformat.write(made.executed, tmp_path / "overview.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "overview.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    html = (tmp_path / "overview.html").read_text(encoding="utf-8")
    assert html.count("<svg") + html.count("data:image/svg+xml") >= 2
    for text in (
        "203.0.113.0/24",
        "Domains, those with the most failing mail delivered first",
        "Expected reports",
    ):
        assert text in html


# a bare kernel


@pytest.fixture(scope="module")
def kernel(home: Path) -> Iterator[Any]:
    manager, client = start_new_kernel(
        kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=CRITICAL"]
    )
    try:
        code = f"import os; os.environ['DMARCKIT_CONFIG'] = {str(home / 'dmarckit.toml')!r}"
        client.execute_interactive(code, timeout=KERNEL_TIMEOUT)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture
def run(kernel: Any) -> Callable[[str], dict[str, Any]]:
    def _run(code: str) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        kernel.execute_interactive(
            code,
            timeout=KERNEL_TIMEOUT,
            output_hook=lambda message: shown.update(message["content"].get("data", {})),
        )
        return shown

    return _run


def test_from_the_import_to_a_chart_by_tab_alone(
    kernel: Any, run: Callable[[str], dict[str, Any]]
) -> None:
    def offers(code: str) -> list[str]:
        found: list[str] = kernel.complete(code, reply=True, timeout=KERNEL_TIMEOUT)["content"][
            "matches"
        ]
        return found

    def says(code: str) -> str:
        reply = kernel.inspect(code, reply=True, timeout=KERNEL_TIMEOUT)
        return re.sub(r"\x1b\[[\d;]*m", "", reply["content"]["data"]["text/plain"])

    run("import dmarckit as dk")
    assert sorted(offers("dk.")) == [name for name in OFFERED if not name.startswith("_")]
    assert offers("dk.open_p") == ["open_page"]
    assert "end: its last day" in says("dk.open_page")
    shown = run("page = dk.open_page(days=20, end='2026-11-23')\npage")["text/plain"]
    assert "senders" in shown
    assert set(SECTIONS) <= set(offers("page."))
    assert offers("page.forwa") == ["forwarders"]
    assert "`sender_kind`" in says("page.senders")
    assert "203.0.113.0/24" in run("senders = page.forged()\nsenders")["text/html"]
    assert offers("senders.") == ["data", "figure", "html"]
    chart = run("page.classes_by_day().figure")["application/vnd.plotly.v1+json"]
    assert {trace["type"] for trace in chart["data"]} == {"bar", "scatter"}
