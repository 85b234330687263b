"""The parts of README and docs that come from the code: `make docs` writes them, a test compares.

A part stands between ``<!-- name -->`` and ``<!-- /name -->``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer.main

from dmarckit.cli.main import app
from dmarckit.core.settings import Settings
from dmarckit.core.thresholds import KINDS as SENDER_KINDS, Limits, Thresholds
from dmarckit.findings.find import KINDS
from dmarckit.jobs.metrics import FAMILIES
from dmarckit.lake.schema import ALL_TABLES

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "dmarckit/docs").glob("*.md")),
    ROOT / "notebooks/README.md",
    ROOT / "schedules/README.md",
    ROOT / "schedules/aws/README.md",
]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in lines
    )


def commands() -> str:
    """Return each command with the first line of its help."""
    rows: list[tuple[str, ...]] = []

    def add(command: Any, path: str) -> None:
        for name, inner in command.commands.items():
            if hasattr(inner, "commands"):
                add(inner, f"{path} {name}")
            if not inner.hidden and getattr(inner, "invoke_without_command", True):
                said = (inner.help or "").strip().split("\n\n")[0]
                rows.append((f"`{path} {name}`", " ".join(said.split()).rstrip(".")))

    add(typer.main.get_command(app), "dmarckit")
    return table(("command", "does"), sorted(rows))


def attribute_docs(of: type) -> dict[str, str]:
    """Return the string that stands below each field of a class."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            found[name] = ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = " ".join(str(node.value.value).split())
    return found


def fields(of: Any) -> str:
    """Return the fields of a dataclass with default and meaning."""
    said = attribute_docs(of)
    rows = [(f"`{f.name}`", f"{f.default:,}", said[f.name]) for f in dataclasses.fields(of)]
    return table(("name", "default", "meaning"), rows)


def settings() -> str:
    """Return every setting with its default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "–" if default in (None, (), "") or field.is_required() else f"`{default}`"
        if isinstance(default, (Limits, Thresholds)) or field.default_factory:
            shown = "below"
        if isinstance(default, bool):
            shown = f"`{str(default).lower()}`"
        said = re.sub(r"<home>\S*", r"`\g<0>`", field.description or "")
        rows.append((f"`{name}`", shown, said))
    return table(("name", "default", "meaning"), rows)


def tables() -> str:
    """Return every table of the lake with what a row of it is."""
    made = ALL_TABLES.values()
    rows = [(f"`{t.name}`", t.row, ", ".join(f"`{k}`" for k in t.key)) for t in made]
    return table(("table", "one row per", "unique by"), rows)


def kinds() -> str:
    """Return every kind of finding with its severities and its title."""
    rows = [
        (f"`{kind.name}`", ", ".join(kind.severities), kind.title.replace("{subject}", "…"))
        for kind in KINDS.values()
    ]
    return table(("kind", "severity", "title"), sorted(rows))


def metrics() -> str:
    """Return every metric about mail and findings."""
    rows = [(f"`dmarckit_{n}{{{','.join(f.labels)}}}`", f.about) for n, f in FAMILIES.items()]
    return table(("metric", "says"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "limits": lambda: fields(Limits),
    "thresholds": lambda: fields(Thresholds),
    "tables": tables,
    "sender_kinds": lambda: ", ".join(f"`{kind}`" for kind in SENDER_KINDS),
    "kinds": kinds,
    "metrics": metrics,
}


def filled(text: str) -> str:
    """Return a document with its generated parts as the code has them now."""

    def part(match: re.Match[str]) -> str:
        return f"<!-- {match[1]} -->\n{PARTS[match[1]]()}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", part, text, flags=re.DOTALL)


if __name__ == "__main__":
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        if (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
