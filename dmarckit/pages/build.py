"""Notebook + parameters → executed notebook, on a kernel of dmarckit's own Python → page."""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import zmq
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets import default

from dmarckit import core
from dmarckit.core import NotebookFailed, PageError, one_line, redacted
from dmarckit.findings import HANDED
from dmarckit.pages.inputs import Input
from dmarckit.pages.links import page_key

if TYPE_CHECKING:
    from dmarckit.findings import Analysis

# charts as data: pages draw them with one plotly.js, JupyterLab with its extension
RENDERER = {"PLOTLY_RENDERER": "plotly_mimetype"}
ANALYSIS = "analysis.pickle"  # in the folder of a run's kernel
# the debugger takes a third of a kernel's start, and no page needs one; looking for garbage all
# the time takes longer than a page lives
_LAUNCH = """import gc, runpy, sys
gc.set_threshold(50_000)
sys.modules["debugpy"] = None
runpy.run_module("ipykernel_launcher", run_name="__main__")"""


class OwnKernels(KernelSpecManager):
    """The one kernel ``python3`` of this environment."""

    environment: dict[str, str] = RENDERER  # variables of the kernel beside those of this process

    def find_kernel_specs(self) -> dict[str, str]:
        """Return the kernel's name and the folder of its logos."""
        return {"python3": RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return this environment's kernel, for whatever name a notebook asks."""
        about = get_kernel_dict() | {"display_name": "Python (dmarckit)"}
        return KernelSpec(**about | {"env": self.environment}, resource_dir=RESOURCES)


def own_kernel(folder: Path, config: str | None) -> type[AsyncKernelManager]:
    """Return kernels that run a notebook for a page, without secrets and with `folder` as home."""
    values = RENDERER | core.withheld_variables()
    # what cells say and what the page says around them are in one language
    values[f"{core.PREFIX}LANGUAGE"] = core.current_language()
    # neither the user's start-up files nor a history shared with other kernels
    values["IPYTHONDIR"] = str(folder / ".ipython")
    values["TMPDIR"] = str(folder)  # what a kernel that is killed leaves goes with its home
    values[HANDED] = str(folder / ANALYSIS)
    if config:
        values[core.CONFIG_VARIABLE] = config

    class PageKernels(OwnKernels):
        environment = values

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            spec = super().get_kernel_spec(kernel_name)
            # the end of a run interrupts the kernel, which would say so on the terminal
            own = ["-f", "{connection_file}", "--IPKernelApp.log_level=CRITICAL"]
            spec.argv = [sys.executable, "-c", _LAUNCH, *own]
            return spec

    class PageKernel(AsyncKernelManager):
        @default("transport_encryption")
        def _encrypt(self) -> str:
            return "auto" if zmq.has("curve") else "disabled"

        @default("kernel_spec_manager")
        def _own_specs(self) -> KernelSpecManager:
            return PageKernels()

        def client(self, **options: Any) -> AsyncKernelClient:  # type: ignore[override]
            """Return another client; end the one before, which papermill does not if it shares."""
            if before := vars(self).get("in_use"):
                before.stop_channels()
            self.in_use = super().client(**options)
            return self.in_use

    return PageKernel


class SharedKernel:
    """A kernel that runs notebooks one after another: what it has imported stays.

    Each finds it as if it were the first. One that fails ends it, and the next gets another.
    It is for notebooks that ship with dmarckit: what others do to libraries would stay, too.
    """

    def __init__(self) -> None:
        """Start nothing yet: the kernel starts with a notebook, in the environment of then."""
        self._kernel: tuple[Path, AsyncKernelManager] | None = None

    @contextlib.contextmanager
    def manager(self) -> Iterator[AsyncKernelManager]:
        """Yield what papermill runs a notebook on; an error ends the kernel."""
        try:
            if self._kernel and not run_sync(self._emptied)(self._kernel[1]):
                self.close()
            if self._kernel is None:
                folder = Path(tempfile.mkdtemp(prefix="dmarckit-kernel-"))
                config = os.environ.get(core.CONFIG_VARIABLE)
                self._kernel = folder, own_kernel(folder, config)(kernel_name="python3")
            yield self._kernel[1]
        except BaseException:
            self.close()
            raise

    async def _emptied(self, manager: AsyncKernelManager) -> bool:
        """Drop the variables of the notebook before; return False if the kernel has died."""
        client = manager.client()
        if not await manager.is_alive():
            return False
        client.start_channels(iopub=False, stdin=False, hb=False, control=False)
        reply: Any = client.execute("get_ipython().reset()", silent=True, reply=True, timeout=60)
        with contextlib.suppress(TimeoutError):
            await reply
            return True
        return False

    def close(self) -> None:
        """End the kernel, if there is one."""
        if self._kernel:
            (folder, manager), self._kernel = self._kernel, None
            manager.client()  # it ends the one before
            run_sync(manager.shutdown_kernel)(now=True)
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class BuiltPage:
    """A finished page, not stored yet."""

    notebook: str  # name without ``.ipynb``
    # where it belongs below the pages' storage; building again replaces it that day
    key: str
    title: str
    html: bytes
    executed: nbformat.NotebookNode
    warnings: tuple[str, ...]  # what the notebook wrote to stderr, a line each, safe to print


def find_notebook(name: str) -> Path:
    """Return the notebook of that name: the user's ``./notebooks`` first, then dmarckit's.

    A path that ends in ``.ipynb`` is taken as it is. PageError lists the known names.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    known = core.shipped_files("notebooks", "*.ipynb")
    if name not in known:
        raise PageError(f"the notebook {core.unknown_name(name, list(known))}")
    return known[name]


def build_page(
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    config: str | None = None,
    timeout: int = 600,
    now: datetime | None = None,
    secrets: Collection[str] = (),
    inputs: Callable[[Mapping[str, Any]], Sequence[Input]] = lambda parameters: (),
    analysis: Callable[[], Analysis] | None = None,
    kernel: SharedKernel | None = None,
) -> BuiltPage:
    """Run a notebook with this environment's Python and make its page.

    `config` is the settings file for the run, `timeout` the seconds a cell may take, `now` the
    time to print on the page and to name it by. `inputs` takes all parameters and returns what
    the page is made from, `analysis` what its run has found, which the kernel need not find
    again; it runs on the `kernel` that pages share, which takes over nothing, else on its own.
    `secrets`, and those of the environment, are struck out of its cells.

    Raises:
        PageError: a parameter is not known, or the notebook cannot be read.
        NotebookFailed: a cell raised; the message names where the executed notebook is kept.
    """
    from dmarckit.pages.render import render_page, title_of  # it loads nbconvert and plotly

    built, name = now or datetime.now(UTC), notebook.stem
    source = _read(notebook)
    # dates as text: papermill cannot write them, and YAML makes them out of plain words
    given = {k: v.isoformat() if isinstance(v, date) else v for k, v in parameters.items()}
    folder = Path(tempfile.mkdtemp(prefix="dmarckit-page-"))
    target, home = folder / f"{name}.ipynb", folder / "kernel"
    handed = home / ANALYSIS
    try:
        home.mkdir()
        nbformat.write(source, target)  # type: ignore[no-untyped-call]
        known = known_parameters(target)
        check_parameters(name, given, known)
        usual = {key: ast.literal_eval(_default(about) or "None") for key, about in known.items()}
        made_from = inputs(usual | given)
        if analysis is not None:
            found = analysis()
            try:
                with handed.open("wb") as file:
                    pickle.dump(found, file)
            except OSError:  # there is no room: the kernel finds everything itself
                handed.unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(folder)
        raise
    hidden = {*secrets, *core.secrets_in(os.environ)}
    try:
        # no end of its own: threads of a kernel that close their sockets can abort in ZeroMQ
        own = {"kernel_manager_class": own_kernel(home, config), "shutdown_kernel": "immediate"}
        with kernel.manager() if kernel else contextlib.nullcontext() as manager:
            runs_on = own if manager is None else {"km": manager}
            executed = _execute(source, given, target, hidden, timeout=timeout, **runs_on)
    finally:
        # of a run that failed, only the notebook is kept; what a cell started may still write
        shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    given = redacted(given, hidden)
    values = {key: repr(given[key]) if key in given else known[key]["default"] for key in known}
    shown = {key: (value, known[key]["help"]) for key, value in values.items()}
    key = page_key(name, unusual(given, known), built.date())
    page = render_page(executed, name=name, parameters=shown, built=built, inputs=made_from)
    warnings = (
        one_line(line)
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
        for line in output.text.splitlines()
        if line.strip()
    )
    return BuiltPage(name, key, title_of(executed, name), page, executed, tuple(warnings))


def _read(notebook: Path) -> nbformat.NotebookNode:
    try:
        read: nbformat.NotebookNode = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
        return read
    except OSError as error:
        raise PageError(f"cannot read notebook {notebook}: {error.strerror}") from error
    except (ValueError, nbformat.ValidationError) as error:
        raise PageError(f"{notebook} is no notebook: {one_line(error)}") from error


def known_parameters(notebook: Path) -> dict[str, dict[str, str]]:
    """Return parameter → its default (as Python source), kind and help, as the notebook has them.

    They are what the cell tagged `parameters` assigns, and the comments behind it. papermill's
    own inspection takes a third of a second to load, and leaves out what has a "=" in it.
    """
    cells = (c.source for c in _read(notebook).cells if "parameters" in c.metadata.get("tags", ()))
    source = next(cells, "")
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise PageError(f"{notebook}: the cell of parameters is not Python: {error}") from None
    found, lines = {}, source.encode().splitlines()
    for one in body:
        if isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None:
            target = one.target if isinstance(one, ast.AnnAssign) else one.targets[0]
            rest = lines[(one.end_lineno or 1) - 1][one.end_col_offset or 0 :].decode()
            found[ast.unparse(target)] = {
                "default": ast.get_source_segment(source, one.value) or "",
                "kind": ast.unparse(one.annotation) if isinstance(one, ast.AnnAssign) else "",
                "help": rest.partition("#")[2].strip(),
            }
    return found


def check_parameters(name: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Check the names of given parameters; PageError: one is not known, these are."""
    if unknown := ", ".join(map(one_line, sorted(set(given) - set(known)))):
        has = ", ".join(known) or "none"
        raise PageError(f"notebook {name} has no parameter {unknown}; it has: {has}")


def unusual(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that differ from the defaults, and the domain if there is one.

    A notebook about one domain has that of its default where none is given. `job` only says
    with which earlier run a page is compared: it is the same page.
    """
    domain = ast.literal_eval(_default(known.get("domain", {"default": ""})) or "None")
    return ({"domain": domain} if domain else {}) | {
        key: value
        for key, value in given.items()
        if key == "domain" or (key != "job" and repr(value) != _default(known[key]))
    }


def _default(about: Mapping[str, str]) -> str:
    """Return the default of a parameter as ``repr`` writes it; empty for an expression."""
    try:
        return repr(ast.literal_eval(about["default"]))
    except (ValueError, SyntaxError):
        return ""


def _execute(
    notebook: nbformat.NotebookNode,
    parameters: Mapping[str, Any],
    target: Path,
    secrets: Collection[str],
    *,
    timeout: int,
    **kernel: Any,
) -> nbformat.NotebookNode:
    sys.modules.setdefault("papermill.s3", None)  # type: ignore[arg-type] # it loads boto3
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):  # type: ignore[misc]
        """papermill's own, but that the notebook is written once, not at each cell's two ends."""

        @classmethod
        def execute_managed_notebook(cls, manager: Any, *names: Any, **options: Any) -> None:
            path, manager.output_path = manager.output_path, None
            try:
                super().execute_managed_notebook(manager, *names, **options)
            finally:
                manager.output_path = path  # it is written next, whatever happened

    papermill_engines.register("dmarckit", Engine)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        executed: nbformat.NotebookNode = papermill.execute_notebook(
            notebook,
            target,
            dict(parameters),
            engine_name="dmarckit",
            kernel_name="python3",
            language="python",
            progress_bar=False,
            execution_timeout=timeout,
            **kernel,
        )
        clean: nbformat.NotebookNode = redacted(executed, secrets)
        return clean
    except papermill.PapermillExecutionError as error:
        reason = f"{error.ename}: {(str(error.evalue).strip() or '-').splitlines()[-1]}"
        text = f" in cell [{error.exec_count}]: {redacted(reason, secrets)}"
    except CellTimeoutError:
        text = f": a cell took longer than {timeout} s"
    except (DeadKernelError, RuntimeError) as error:
        text = f": {redacted(str(error).strip(), secrets) or type(error).__name__}"
    nbformat.write(redacted(_read(target), secrets), target)  # type: ignore[no-untyped-call]
    # not raised from the library's error: its text holds the cell and what the cell said
    raise NotebookFailed(f"notebook {target.stem} failed{one_line(text, 400)}", str(target))
