"""`dmarckit lab`: JupyterLab itself in a real Chromium, and the data that it shows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Page as Tab, TimeoutError as PlaywrightTimeout

import dmarckit
from dmarckit import demo, ingest
from dmarckit.cli import lab
from dmarckit.cli.lab import demo_environment, lab_command, run_lab
from dmarckit.pages.page import SECTIONS
from tests.pages.test_notebooks import FOLDER
from tests.support import frames

PATIENCE = 120  # seconds for a machine that has other things to do; it takes about ten
FINISHED = """
() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
  const failed = document.querySelector('[data-mime-type="application/vnd.jupyter.error"]');
  return failed || (prompts.length > 2 && prompts.every(p => /\\d/.test(p.textContent)));
}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks (it saves by itself), with a small lake."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(FOLDER, folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    kernel = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    own = new_notebook(cells=[new_code_cell()], metadata=kernel)
    nbformat.write(own, folder / "notebooks/own.ipynb")
    settings = frames.fill(folder, *frames.lake(days=20, domains=2, reporters=2))
    own = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    runtime = folder / "runtime"
    environment = {
        **os.environ,
        **own,
        "DMARCKIT_CONFIG": str(settings),
        "JUPYTER_RUNTIME_DIR": str(runtime),
    }
    options = [
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={free_port()}",
        "--allow-root",
        "--IdentityProvider.token=t",
    ]
    with (folder / "log.txt").open("wb") as log:
        command = lab_command(folder / "notebooks", options)
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        yield started(server, runtime, folder / "log.txt")
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """The server's address, as it says itself when it is ready."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        for info in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):  # it is being written
                found = json.loads(info.read_text())
                if "Jupyter Server" in log.read_text():
                    return str(found["url"])
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A tab so high that every cell is drawn; nothing may leave this machine."""
    opened = browser.new_page(viewport={"width": 1400, "height": 8000})
    opened.set_default_timeout(PATIENCE * 1000)
    outside: list[str] = []
    inside = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    opened.on("request", lambda r: None if r.url.startswith(inside) else outside.append(r.url))
    yield opened
    opened.close()
    assert outside == []


@pytest.mark.slow
@pytest.mark.chromium
@pytest.mark.parametrize("name", [n for n in lab.START if (FOLDER / f"{n}.ipynb").is_file()])
def test_run_all_draws_charts_in_the_cells(address: str, tab: Tab, name: str) -> None:
    tab.goto(f"{address}lab/tree/{name}.ipynb?token=t&reset")
    tab.get_by_text("| Idle").wait_for()
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_text("Run All Cells", exact=True).click()
    tab.wait_for_function(FINISHED)
    errors = tab.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_inner_texts() == []
    tab.locator(".jp-CodeCell .js-plotly-plot .main-svg").first.wait_for()


@pytest.mark.slow
@pytest.mark.chromium
def test_an_analyst_gets_from_the_import_to_a_chart_by_tab(address: str, tab: Tab) -> None:
    tab.goto(f"{address}lab/tree/own.ipynb?token=t&reset")
    tab.get_by_text("| Idle").wait_for()
    typed(tab, 0, "import dmarckit as dk")
    tab.keyboard.press("Shift+Enter")
    names = {name for name in dir(dmarckit) if not name.startswith("_")}
    assert set(offered(tab, 1, "dk.")) == names
    tab.keyboard.type("open_page(days=20, end='2026-11-23')")
    tab.keyboard.press("Home")
    tab.keyboard.type("page = ")
    tab.keyboard.press("Shift+Enter")
    assert set(SECTIONS) <= set(offered(tab, 2, "page."))
    tab.keyboard.type("classes_by_day().figure")
    tab.keyboard.press("Shift+Enter")
    chart = tab.locator(".jp-CodeCell .js-plotly-plot")
    chart.get_by_text("own mail authenticated").wait_for()
    assert chart.locator(".bars .point").count() >= 2


def typed(tab: Tab, number: int, code: str) -> None:
    """Code into a cell, as fingers do it."""
    editor = tab.locator(".jp-CodeCell .cm-content").nth(number)
    editor.click()
    tab.keyboard.type(code)
    editor.get_by_text(code).wait_for()


def offered(tab: Tab, number: int, code: str) -> list[str]:
    """What Tab offers behind code in a cell; JupyterLab gives a busy kernel one second."""
    typed(tab, number, code)
    matches = tab.locator(".jp-Completer-item .jp-Completer-match")
    for _ in range(PATIENCE // 4):
        tab.keyboard.press("Tab")
        with contextlib.suppress(PlaywrightTimeout):
            matches.first.wait_for(timeout=4000)
            break
    found = matches.all_inner_texts()
    tab.keyboard.press("Escape")
    return found


def test_without_reports_the_demo_s_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mails = demo.demo_mails(datetime.now(UTC).date(), days=2)
    monkeypatch.setattr(demo, "demo_mails", lambda _: mails)
    monkeypatch.setenv("DMARCKIT_TRUST", "any")
    seen: dict[str, str] = {}

    def popen(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        seen.update(env)
        count = "from dmarckit import open_lake; print(len(open_lake().reports()))"
        seen["reports"] = subprocess.check_output(
            [sys.executable, "-W", "ignore", "-c", count], env=env, text=True
        )
        return real([sys.executable, "-c", "raise SystemExit(3)"])

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen_once(popen, real))
    assert run_lab(["--no-browser"]) == 2, "it could not run"
    assert int(seen["reports"]) > 10
    assert "DMARCKIT_TRUST" not in seen
    assert not Path(seen["DMARCKIT_CONFIG"]).exists(), "it was temporary"
    said = capsys.readouterr().err
    assert "No reports in ./dmarckit-data/lake yet (dmarckit ingest reads them)" in said
    assert "made-up mails of the demo" in said


def popen_once(first: Any, then: Any) -> Any:
    """`first` for JupyterLab, the real thing for whatever else starts a process."""

    def popen(command: Any, *more: Any, **options: Any) -> Any:
        chosen = first if "jupyterlab" in command else then
        return chosen(command, *more, **options)

    return popen


def test_a_lake_with_reports_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames.fill(tmp_path, frames.records({}), frames.reports({}), frames.mails())
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
    seen: dict[str, str] = {}

    def popen(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        seen.update(env)
        return real([sys.executable, "-c", ""])

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen_once(popen, real))
    assert run_lab([]) == 0
    assert seen["DMARCKIT_HOME"] == str(tmp_path)


def test_the_environment_is_as_before_after_the_demo_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "demo_mails", lambda _: [])
    monkeypatch.setattr(ingest, "ingest_mails", lambda *_, **__: None)
    monkeypatch.setenv("DMARCKIT_HOME", "mine")
    before = dict(os.environ)
    with demo_environment() as environment:
        assert dict(os.environ) == before
        assert "DMARCKIT_HOME" not in environment
        assert Path(environment["DMARCKIT_CONFIG"]).is_file()
    assert not Path(environment["DMARCKIT_CONFIG"]).exists()
