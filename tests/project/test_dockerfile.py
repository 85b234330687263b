"""The Dockerfile, read line by line: no container engine and no hadolint is needed for that.

Its steps are run where there is none: a kernel works on a file system that may only be read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest

from dmarckit.cli.aws.template import read_template
from dmarckit.jobs import CONTAINER
from dmarckit.slack import chart
from tests.project.test_project import EXTRAS, PROJECT, name_of

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "schedules/aws"
STANDS_FOR_TMP = "/mnt"  # a place of its own for the test, which itself needs /tmp


def instructions() -> list[tuple[str, str]]:
    """Instruction and its words, continued lines joined, comments left out."""
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


def words(*names: str) -> list[str]:
    return [rest for name, rest in instructions() if name in names]


def variables() -> dict[str, str]:
    """What ENV sets."""
    return dict(pair.split("=", 1) for rest in words("ENV") for pair in rest.split())


def test_the_image_is_slim_and_its_user_is_not_root() -> None:
    (base,) = words("ARG")  # `make image` gives it with its digest
    assert re.fullmatch(r"BASE=python:3\.\d+-slim", base)
    assert all(re.match(r"\$\{BASE\}( AS \w+)?$", base) for base in words("FROM"))
    (user,) = words("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    order = [name for name, _ in instructions()]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name in ("RUN", "COPY"))
    assert not words("ADD")


def test_each_step_leaves_no_cache_and_takes_tried_versions_only() -> None:
    runs = words("RUN")
    (apt,) = (run for run in runs if "apt-get install" in run)
    assert "apt-get update" in apt
    assert "--no-install-recommends" in apt
    assert "rm -rf /var/lib/apt/lists/*" in apt
    packages, own = (run for run in runs if "pip install" in run)
    assert "--only-binary :all: --require-hashes -r requirements.txt" in packages
    assert "--no-index --no-deps --no-build-isolation ." in own
    assert all("--no-cache-dir" in pip for pip in (packages, own))
    assert "chrom" not in " ".join(runs).lower()
    assert "playwright" not in " ".join(runs)


def test_the_hashes_are_of_the_versions_that_are_tried() -> None:
    """`make image-requirements` writes the file anew."""
    lines = (FOLDER / "requirements.txt").read_text("utf-8").splitlines()
    pins = [line.removesuffix(" \\") for line in lines if not line.startswith(" ")]
    tried = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-")
    assert set(pins) <= set(tried.splitlines())
    assert all(
        re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line)
        for line in lines
        if line not in pins and line.startswith(" ")
    )
    names = {name_of(pin) for pin in pins}
    extras = re.search(r"^IMAGE_EXTRAS := (.*)", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert extras
    wanted = [*PROJECT["dependencies"], "hatchling"]
    wanted += [r for extra in extras[1].split()[1::2] for r in EXTRAS[extra]]
    assert {name_of(requirement) for requirement in wanted} <= names


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('slack_token = "xoxb-1"', "slack_token"),
        ('domains = ["example.com"]\npresign_secret = "x"', "presign_secret"),
        ('slack_url = "https://me:secret@slack.example.com/"', "slack_url"),
        ('[[other]]\napi_key = "x"', "other.api_key"),
        ('presign_key_id = "AKIA1"\nslack_channel = "C1"\nslack_token = ""', ""),
        (None, ""),
    ],
)
def test_a_settings_file_with_secrets_ends_the_build(
    tmp_path: Path, text: str | None, named: str
) -> None:
    file = tmp_path / "dmarckit.toml"
    if text is not None:
        file.write_text(text)
    (check,) = (run for run in words("RUN") if "redact" in run)
    done = subprocess.run(
        [sys.executable, *check.split()[1:-1], file],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is bool(named), done.stderr
    assert f" holds {named}, " in done.stderr if named else not done.stderr
    order = [rest for name, rest in instructions() if name in ("RUN", "COPY", "FROM")]
    assert order.index(check) < order.index("${BASE}")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    taken = {line[1:] for line in ignored if line.startswith("!")}
    assert {"**/*.env", "**/.*", "schedules/aws/parameters.yaml"} <= set(ignored)
    copied = {
        source
        for rest in words("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    within = {"schedules/aws/requirements.txt"}
    assert {source.replace("[l]", "l") for source in copied - within} == taken
    assert all((ROOT / source).exists() for source in copied if "[" not in source)
    assert {"notebooks", "schedules", "LICENSE"} <= copied  # the wheel needs them


def test_the_fonts_know_japanese() -> None:
    (apt,) = (run for run in words("RUN") if "apt-get install" in run)
    assert "fonts-noto-cjk" in apt
    assert "Noto Sans CJK JP" in chart._FAMILIES  # what that package calls its first face


def test_all_that_is_written_by_the_way_goes_where_the_task_may_write() -> None:
    places = {k: v for k, v in variables().items() if k.endswith(("DIR", "HOME"))}
    assert {"HOME", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"} <= set(places)
    assert all(value.split("/")[1] == "tmp" for value in places.values())
    assert words("VOLUME") == ["/tmp"]
    task = read_template()["Resources"]["Task"]["Properties"]
    (container,) = task["ContainerDefinitions"]
    assert [m["ContainerPath"] for m in container["MountPoints"]] == ["/tmp"]
    assert container["Name"] == CONTAINER


def test_commands_of_tasks_are_commands_of_dmarckit() -> None:
    (entry,) = words("ENTRYPOINT")
    assert json.loads(entry) == ["dmarckit"]
    secret = re.compile("token|secret|password|credential", re.IGNORECASE)
    assert not any(secret.search(name) for name in variables())


@pytest.mark.slow
def test_a_notebook_runs_where_only_tmp_can_be_written(tmp_path: Path) -> None:
    locked = ["mount --make-rprivate /", "mount -o remount,ro,bind /"]
    locked.append(f"mount -t tmpfs none {STANDS_FOR_TMP}")
    if shutil.which("unshare") is None or own_mounts(*locked).returncode != 0:
        pytest.skip("this machine lets nobody make its file system read-only")
    cell = nbformat.v4.new_code_cell("from pathlib import Path\nPath.home()")
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "notebooks/small.ipynb")
    own = {k: v.replace("/tmp", STANDS_FOR_TMP) for k, v in variables().items() if k != "PATH"}
    own |= {"DMARCKIT_HOME": f"{STANDS_FOR_TMP}/kit", "TMPDIR": STANDS_FOR_TMP}
    nothing = f"! touch {tmp_path}/x 2>/dev/null"
    run = f"{sys.executable} -m dmarckit page small"
    done = own_mounts(*locked, nothing, run, folder=tmp_path, variables=own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"file://{STANDS_FOR_TMP}/kit/pages/small/")


def own_mounts(
    *commands: str, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Commands one after the other, whose mounts nobody else sees."""
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", " && ".join(commands)],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
