"""Whole processes, timed from outside by what the operating system says of them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(".benchmarks")
"""what benchmarks make and install; it may be deleted at any time"""


@dataclass(frozen=True)
class Run:
    """One finished process."""

    seconds: float
    cpu: float
    """seconds of processor time, children included"""
    peak: int
    """bytes of memory of its largest process"""


_SMALL = """
import json, os, sys, time
nowhere = [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
started = time.monotonic()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=nowhere)
_, status, usage = os.wait4(process, 0)
run = time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
print(json.dumps([os.waitstatus_to_exitcode(status), *run]))
"""


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> Run:
    """Run a command to its end; its output goes nowhere. Raises when it fails.

    A small process starts it: the peak of a process begins with that of the one that starts it.
    """
    small = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _SMALL, *command],
        env={**os.environ, **(environment or {})},
        check=True,
        capture_output=True,
    )
    status, seconds, cpu, peak = json.loads(small.stdout)
    if status:
        raise subprocess.CalledProcessError(status, list(command))
    return Run(seconds, cpu, peak)


def run_tree(command: Sequence[str], environment: dict[str, str] | None = None) -> Run:
    """As `run`, but `peak` is of all its processes together, looked at every half second.

    Memory that they share counts once (proportional set size; Linux only, else 0).
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _tree_memory(process.pid))
        time.sleep(0.5 if time.monotonic() - started > 5 else 0.05)
    seconds = time.monotonic() - started
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return Run(seconds, 0.0, peak)


def _tree_memory(root: int) -> int:
    """Bytes of a process and all that it has started, directly or not."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            # pid (name) state parent …; the name may hold anything
            stat = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(stat[1])
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(_memory(pid) for pid in tree)


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def median(runs: Sequence[Run]) -> Run:
    """The figures in the middle, each on its own."""
    return Run(
        statistics.median(r.seconds for r in runs),
        statistics.median(r.cpu for r in runs),
        int(statistics.median(r.peak for r in runs)),
    )


def parsedmarc() -> str:
    """The command of parsedmarc, installed into an environment of its own on first use."""
    folder = HERE / "parsedmarc"
    command = folder / "bin/parsedmarc"
    if not command.exists():
        print("Installing parsedmarc into an environment of its own …")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "parsedmarc"]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    return str(command.absolute())


def machine() -> str:
    """What this was measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except OSError:
        memory = 0
    return (
        f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, ready for the README."""
    print(f"\n{title}\n\n| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")
