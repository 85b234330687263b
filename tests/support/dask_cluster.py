"""A real Dask cluster on loopback: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

START = 60.0  # seconds in which a process must be up, on a busy machine too


@dataclass
class DaskProcesses:
    """A running scheduler and its workers."""

    folder: Path
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_scheduler(self, port: int = 0) -> None:
        """Start it on a free port."""
        about = self.folder / "scheduler.json"
        about.unlink(missing_ok=True)
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--scheduler-file", str(about)]
        self.scheduler = self._start("scheduler", [*arguments, "--no-show"])
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(about.read_text())["address"]
                return
            assert self.scheduler.poll() is None, "the scheduler ended"
            time.sleep(0.05)
        raise AssertionError("the scheduler did not start")

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start one more worker; those who connect wait for it."""
        arguments = [self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny"]
        arguments += ["--local-directory", str(self.folder), "--death-timeout", "60"]
        worker = self._start("worker", arguments, environment)
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        """End them all."""
        started = [*self.workers, *([self.scheduler] if self.scheduler else [])]
        for process in started:
            process.kill()
            process.wait()

    def _start(
        self, kind: str, arguments: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        import os

        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
        with (self.folder / f"{kind}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
                env={**os.environ, **(environment or {})},
                stdout=log,
                stderr=log,
            )


@contextlib.contextmanager
def dask_processes(folder: Path, workers: int = 2) -> Iterator[DaskProcesses]:
    """A cluster that ends with the block; its workers have this process's environment."""
    processes = DaskProcesses(folder)
    try:
        processes.start_scheduler()
        for _ in range(workers):
            processes.add_worker()
        yield processes
    finally:
        processes.end()
