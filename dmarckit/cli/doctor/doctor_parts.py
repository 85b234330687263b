"""Checks of what runs: the kernel starts, notebooks and schedules are as they must be."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

from dmarckit.cli.doctor.doctor import Answer, Context, fail, ok, warn
from dmarckit.core.errors import DmarckitError, SettingsError, one_line
from dmarckit.core.settings import CONFIG_VARIABLE
from dmarckit.jobs.schedules import find_schedules, load_schedule
from dmarckit.pages.pages import find_notebooks, known_parameters

KERNEL_SECONDS = 50
"""for its start, and again for importing dmarckit"""


def kernel(_context: Context) -> Answer:
    """A kernel starts as it does for a page, and imports dmarckit."""
    import nbformat.v4
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from dmarckit.pages.kernel import own_kernel

    source = "import dmarckit\nprint(dmarckit.__version__)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="dmarckit-doctor-") as folder:
        client = NotebookClient(
            notebook,
            timeout=KERNEL_SECONDS,
            startup_timeout=KERNEL_SECONDS,
            kernel_manager_class=own_kernel(Path(folder), os.environ.get(CONFIG_VARIABLE)),
        )
        fix = "see that /tmp can be written, memory is left and loopback is open; or reinstall"
        try:
            client.execute()
        except CellExecutionError as error:
            return fail(f"the kernel cannot import dmarckit: {one_line(error.evalue)}", fix)
        except (CellTimeoutError, DeadKernelError, NoSuchKernel, RuntimeError, OSError) as error:
            return fail(f"the kernel did not start: {one_line(error)}", fix)
    (output,) = notebook.cells[0].outputs
    return ok(f"a kernel starts and has dmarckit {one_line(output.text.strip(), 40)}")


def notebooks(_context: Context) -> Answer:
    """Every notebook is one, and its parameters can be read."""
    found, broken = [], []
    for name, path in sorted(find_notebooks().items()):
        try:
            found.append(f"{name} ({_parameters(path)})")
        except Exception as error:  # papermill raises what it likes for a broken file
            broken.append(f"{path}: {one_line(error, 120)}")
    if broken:
        return fail("; ".join(broken), "repair these files, or take them away")
    return ok(f"{len(found)} notebooks: {', '.join(found)}")


def _parameters(path: Path) -> str:
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a notebook that nbformat had to mend is broken
        nbformat.validate(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
    count = len(known_parameters(path))
    return f"{count} parameters" if count != 1 else "1 parameter"


def schedules(_context: Context) -> Answer:
    """Every schedule loads, its notebook and parameters included."""
    good, timed, broken = [], 0, []
    for name in find_schedules():
        try:
            schedule = load_schedule(name)
        except DmarckitError as error:
            broken.append(str(error))
            continue
        good.append(f"{name} ({schedule.cron or 'by hand'})")
        timed += bool(schedule.cron)
    if broken:
        raise SettingsError("; ".join(broken))
    if not timed:
        return warn("no schedule has a cron line: nothing runs by itself", "add cron to one")
    return ok(", ".join(good))
