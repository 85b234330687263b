"""What benchmarks say of a process is its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.measure import run

SMALL = 100_000_000


def test_the_peak_of_a_process_is_not_that_of_its_parent() -> None:
    held = bytearray(b"\1") * (2 * SMALL)
    assert 0 < run([sys.executable, "-c", "pass"]).peak < SMALL
    assert run([sys.executable, "-c", f"bytearray({len(held)})"]).peak > len(held)


def test_a_process_that_fails_is_not_measured() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run([sys.executable, "-c", "raise SystemExit(3)"])
