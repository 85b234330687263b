"""`dmarckit lab` and `notebook copy`: JupyterLab on copies of the notebooks in ./notebooks.

The copies are the user's own: pages are made of them, and an upgrade does not touch them. A copy
that nobody has changed follows the shipped notebook; of a changed one the difference is shown.
JupyterLab shows made-up data where there is none yet.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dmarckit import core, demo, ingest, lake
from dmarckit.cli.demo import store
from dmarckit.cli.options import COULD_NOT_RUN, OK
from dmarckit.cli.output import ingest_progress
from dmarckit.core import one_line

OWN = Path("notebooks")
COPIED = ".copied.json"  # in it: notebook → hash of the shipped one that its copy was made of
START = ("explore", "overview")  # the notebook to open first, if it is there
SHOWN = 60  # lines of a difference
ENDING = 20  # seconds that JupyterLab has to end its kernels


def copy_notebook(
    name: Annotated[str, typer.Argument(help="Of a shipped notebook, such as domain.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the copy, with what was changed in it.")
    ] = False,
) -> None:
    """Copy a shipped notebook into ./notebooks, to be changed.

    From then on pages are made of the copy.
    """
    shipped = shipped_notebooks()
    if name not in shipped:
        raise core.PageError(f"the notebook {core.unknown_name(name, list(shipped))}")
    copy = OWN / f"{name}.ipynb"
    if copy.exists() and not force:
        raise core.PageError(f"{copy} is there already; with --force it is replaced")
    _copy({name: shipped[name]})
    typer.echo(copy)


def _copy(shipped: dict[str, Path]) -> None:
    OWN.mkdir(exist_ok=True)
    for name, path in shipped.items():
        (OWN / f"{name}.ipynb").write_bytes(path.read_bytes())
    made = _made_of() | {name: _digest(path) for name, path in shipped.items()}
    (OWN / COPIED).write_text(json.dumps(made, indent=1), "utf-8")


def _made_of() -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((OWN / COPIED).read_text("utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _lines(path: Path) -> list[str]:
    """Return the lines of all cells: not outputs, nor JupyterLab's own notes."""
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        texts = ("".join(cell["source"]) for cell in cells)
        return [line for text in texts for line in (*text.splitlines(), "")]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _digest(path: Path) -> str:
    return hashlib.sha256("\n".join(_lines(path)).encode()).hexdigest()


def shipped_notebooks() -> dict[str, Path]:
    """Return the notebooks that come with dmarckit, by name."""
    return core.shipped_files("notebooks", "*.ipynb", own=False)


def copy_states() -> dict[str, str]:
    """Return shipped notebook → state of its copy in ./notebooks; none in a checkout.

    missing, same, changed by its owner, old (an unchanged copy of a former version), or behind
    (changed by its owner, and the shipped one is newer than what it was made of).
    """
    made_of, states = _made_of(), {}
    for name, path in shipped_notebooks().items():
        copy, now = OWN / f"{name}.ipynb", _digest(path)
        if copy.exists() and copy.samefile(path):
            continue
        own = _digest(copy) if copy.exists() else None
        then = made_of.get(name, now)  # a copy by other means is its owner's
        if own in (None, now):
            states[name] = "same" if own else "missing"
        elif own == then:
            states[name] = "old"
        else:
            states[name] = "changed" if then == now else "behind"
    return states


def prepare_copies() -> None:
    """Make ./notebooks of the shipped ones, and show where one is newer than a changed copy."""
    shipped, states = shipped_notebooks(), copy_states()
    for state, text in (("missing", "Copied"), ("old", "Replaced by newer ones, since unchanged")):
        names = [name for name, one in states.items() if one == state]
        _copy({name: shipped[name] for name in names})
        if names:
            typer.echo(f"{text} in ./{OWN}: {', '.join(names)}", err=True)
    for name in (name for name, state in states.items() if state == "behind"):
        copy = OWN / f"{name}.ipynb"
        texts = _lines(copy), _lines(shipped[name])
        lines = list(difflib.unified_diff(*texts, str(copy), "shipped", "", "", 1, ""))
        typer.echo(f"\nA newer {name} came with dmarckit; you have changed your copy:", err=True)
        for line in lines[:SHOWN]:
            typer.echo(f"  {one_line(line, 160)}", err=True)
        more = f"  … and {len(lines) - SHOWN} more lines\n" if len(lines) > SHOWN else ""
        typer.echo(f"{more}To take it over: dmarckit notebook copy {name} --force", err=True)


def lab(context: typer.Context) -> None:
    """Open JupyterLab on the notebooks in ./notebooks.

    They are copied there on first use. Further options go to JupyterLab itself. While there is
    no report in the lake, a temporary one with the demo's mails is shown.
    """
    raise typer.Exit(run_lab(context.args))


def run_lab(arguments: Sequence[str]) -> int:
    """Run JupyterLab until it is stopped; return its exit status.

    `arguments` go to JupyterLab. While the lake in force holds no report, a temporary one
    with the demo's mails is shown instead, and the terminal says so. At SIGTERM JupyterLab ends,
    and the temporary lake goes. Raises LakeError when the lake cannot be reached.
    """
    settings = core.load_settings()
    prepare_copies()
    typer.echo(f"Notebooks: {OWN.absolute()}", err=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(demo.terminate_as_exit())
        environment = dict(os.environ)
        if not lake.open_lake(settings).arrow("SELECT 1 FROM reports LIMIT 1").num_rows:
            place = one_line(settings.lake_url)
            text = f"No reports in {place} yet (dmarckit ingest reads them): showing made-up mails"
            typer.echo(f"{text} of the demo, until the lab is closed.", err=True)
            environment = stack.enter_context(demo_environment())
        process = subprocess.Popen(lab_command(OWN.absolute(), arguments), env=environment)
        stack.callback(_end, process)
        while True:  # Ctrl-C reaches JupyterLab too, which asks whether it is meant
            with contextlib.suppress(KeyboardInterrupt):
                return COULD_NOT_RUN if process.wait() else OK


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()


def lab_command(folder: Path, arguments: Sequence[str] = ()) -> list[str]:
    """Return the command that runs JupyterLab on `folder`, with no kernel but this environment's.

    Kernels start in the working directory, as pages do, so that relative settings mean the
    same in both.
    """
    first = next((name for name in START if (folder / f"{name}.ipynb").is_file()), None)
    options = {
        "ServerApp.root_dir": str(folder),
        "ServerApp.kernel_spec_manager_class": "dmarckit.pages.build.OwnKernels",
        "MappingKernelManager.root_dir": str(Path.cwd()),
        "LabApp.default_url": f"/lab/tree/{first}.ipynb" if first else "/lab",
        # neither news nor updates are asked for: nothing leaves this machine
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    settings = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "jupyterlab", *settings, *arguments]


@contextlib.contextmanager
def demo_environment() -> Iterator[dict[str, str]]:
    """Yield the environment that points at a temporary lake with the demo's reports."""
    from unittest import mock

    with tempfile.TemporaryDirectory(prefix="dmarckit-lab-") as name:
        home = Path(name)
        config = home / "dmarckit.toml"
        own = f'home = "{home.as_posix()}"\ntrust = "pass"\nexports = "none"\n'
        config.write_text(own + demo.demo_settings(), "utf-8")
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(core.PREFIX)}
        environment = {**theirs, core.CONFIG_VARIABLE: str(config)}
        with mock.patch.dict(os.environ, environment, clear=True):
            settings = core.load_settings()
            raw = {mail.key: mail.raw for mail in demo.demo_mails(datetime.now(UTC).date())}
            store(core.open_storage(settings.mail_url), raw, raw.__getitem__)
            with ingest_progress() as progress:
                ingest.ingest_mails(settings, progress=progress)
            demo.fill_outside_tables(settings, datetime.now(UTC))
        yield environment
