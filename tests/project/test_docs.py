"""README and docs: what comes from the code is as the code has it, and every code line works."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
import typer.main
import yaml

from dmarckit.cli.main import app
from dmarckit.cli.options import join_parameters
from dmarckit.core.settings import Settings
from tests.support import frames
from tests.support.docs import DOCUMENTS, ROOT, filled

BLOCKS = [
    (path, number, language, body)
    for path in DOCUMENTS
    for number, (language, body) in enumerate(
        re.findall(r"^ *```(\w+)\n(.*?)^ *```$", path.read_text("utf-8"), re.M | re.S)
    )
]
ELSEWHERE = {"make", "pip", "docker", "dask", "export", "cd"}
"""programs in shell blocks that are not ours; those of `make` are run by the whole suite"""


def blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(body, id=f"{path.relative_to(ROOT)}-{number}")
        for path, number, language, body in BLOCKS
        if language in languages
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_comes_from_the_code_is_up_to_date(path: Path) -> None:
    text = path.read_text("utf-8")
    assert filled(text) == text, "run: make docs"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", path.read_text("utf-8")):
        target, _, anchor = "".join(link).partition("#")
        if target.startswith("https://"):
            continue
        there = path.parent / target if target else path
        assert there.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
            assert anchor in slugs, anchor


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 250


def test_a_stranger_is_told_of_every_extra() -> None:
    about = (ROOT / "dmarckit/docs/about.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    told = set(re.findall(r"^\| `dmarckit\[(\w+)\]`", about, re.M))
    assert told == set(project["optional-dependencies"]) - {"function", "test"}


def command_lines() -> list[Any]:
    return [
        pytest.param(words, id=f"{path.relative_to(ROOT)}-{number}-{' '.join(words)}")
        for path, number, language, body in BLOCKS
        if language == "sh"
        for line in body.replace("\\\n", " ").splitlines()
        if (words := shlex.split(line, comments=True))
    ]


@pytest.mark.parametrize("words", command_lines())
def test_every_shell_line_is_a_command_with_options_that_it_has(words: list[str]) -> None:
    """Parsed by the real command line, without running it."""
    while re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
        words = words[1:]
    if words[0] in ELSEWHERE:
        return
    assert words[0] == "dmarckit"
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, join_parameters(rest))


def inline_commands() -> list[Any]:
    found = []
    for path in DOCUMENTS:
        prose = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
        for text in sorted(set(re.findall(r"`(dmarckit [a-z][^`\n]*)`", prose))):
            found.append(pytest.param(text, id=f"{path.relative_to(ROOT)}-{text}"))
    return found


@pytest.mark.parametrize("text", inline_commands())
def test_every_command_in_a_sentence_exists(text: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in text.split()[1:]:
        if not hasattr(command, "commands"):
            break
        if word.startswith("-") or word.isupper():
            continue
        assert word in command.commands, text
        command = command.commands[word]
    options = {o for p in getattr(command, "params", []) for o in [*p.opts, *p.secondary_opts]}
    for option in re.findall(r"(?<=[ \[])--?[a-z][a-z-]*", text):
        assert option in options | {"--help", "--version"}, text


@pytest.mark.parametrize("body", blocks("toml"))
def test_every_toml_block_is_a_settings_file(body: str, tmp_path: Path) -> None:
    said = tomllib.loads(re.sub(r"^ {3}", "", body, flags=re.M))
    Settings(**({"home": str(tmp_path)} | said))


@pytest.mark.parametrize("body", blocks("json"))
def test_every_json_block_is_json(body: str) -> None:
    json.loads(body)


@pytest.mark.parametrize("body", blocks("yaml"))
def test_every_yaml_block_is_a_schedule_or_a_file_of_prometheus(body: str) -> None:
    from dmarckit.jobs.schedule import load_schedule

    said = yaml.safe_load(body)
    if {"groups", "scrape_configs"} & set(said):
        return
    Path("notebooks").mkdir()
    notebook = json.loads((ROOT / "notebooks/domain.ipynb").read_text("utf-8"))
    Path("notebooks/failing.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    Path("schedules").mkdir()
    name = said.get("name", "mine")
    Path(f"schedules/{name}.yaml").write_text(body, encoding="utf-8")
    assert load_schedule(name).cron


@pytest.fixture(scope="module")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datetime import UTC, datetime, timedelta

    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = frames.lake(days=20, end=yesterday - timedelta(days=1))
    return frames.fill(tmp_path_factory.mktemp("docs"), *rows)


def test_every_python_block_runs(small_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Document by document, each block after the one before, on a small lake."""
    pytest.importorskip("polars")
    pytest.importorskip("dask")
    monkeypatch.setenv("DMARCKIT_CONFIG", str(small_lake))
    for path in DOCUMENTS:
        names: dict[str, Any] = {}
        for of, number, language, body in BLOCKS:
            if of == path and language == "python":
                exec(compile(body, f"{path.name}-{number}", "exec"), names)


@pytest.mark.parametrize("body", blocks("sql"))
def test_every_query_is_valid_sql(body: str) -> None:
    try:
        assert duckdb.extract_statements(body)
    except duckdb.ParserException:
        assert any(valid(body, dialect) for dialect in ("athena", "spark")), body


def valid(query: str, dialect: str) -> bool:
    try:
        return bool(sqlglot.parse(query, dialect=dialect))
    except sqlglot.ParseError:
        return False
