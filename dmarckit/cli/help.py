"""`dmarckit help`: the longer documentation, which ships with the package."""

from __future__ import annotations

import sys
from pathlib import Path

from dmarckit.core import SettingsError, shipped_files

GUIDES = {"notebooks": "notebooks", "schedules": "schedules", "aws": "schedules/aws"}
"""Topics whose text stands beside the files that it explains."""


def show_help(topic: str | None) -> None:
    """Print a topic, formatted on a terminal and as Markdown elsewhere; without one, list them.

    Raises:
        SettingsError: There is no such topic.
    """
    docs = Path(__file__).parent.parent / "docs"
    found = {path.stem: path for path in docs.glob("*.md")}
    found |= {name: shipped_files(at, "README.md")["README"] for name, at in GUIDES.items()}
    known = dict(sorted(found.items()))
    if topic is None:
        width = max(map(len, known))
        for name, path in known.items():
            heading = path.read_text("utf-8").partition("\n")[0].removeprefix("# ").strip()
            sys.stdout.write(f"{name:<{width}}  {heading}\n")
        sys.stdout.write("\nShow one with: dmarckit help TOPIC\n")
        return
    if topic not in known:
        raise SettingsError(f"help {topic}: topics are {', '.join(known)}")
    text = known[topic].read_text("utf-8")
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        console = Console()
        with console.pager(styles=True):
            console.print(Markdown(text))
    else:
        sys.stdout.write(text)
