"""Checks of the machine: versions of libraries, disk space, memory, fonts."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from pathlib import Path

from dmarckit.cli.doctor.doctor import Answer, Context, fail, ok, skip, warn

LOW_DISK, LITTLE_DISK = 200_000_000, 1_000_000_000
"""bytes that are free: below the first work fails, below the second it soon will"""
LITTLE_MEMORY = 600_000_000
"""bytes; a run with a page needs about 500 MB, its kernel included"""
_JAPANESE = "日本語の送信元"


def versions(_context: Context) -> Answer:
    """Python and the libraries, against what the installed distribution asks for."""
    from packaging.requirements import InvalidRequirement, Requirement

    about = importlib.metadata.metadata("dmarckit")
    wrong = []
    for text in importlib.metadata.requires("dmarckit") or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        optional = "extra" in str(requirement.marker or "")
        if requirement.marker and not optional and not requirement.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not optional:
                wrong.append(f"{requirement} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    what = f"dmarckit {about['Version']}, Python {platform.python_version()}"
    if wrong:
        wanted = sorted(set(wrong))
        return fail(f"{what}: {'; '.join(wanted)}", "pip install --upgrade dmarckit")
    return ok(f"{what}, libraries as required")


def disk(context: Context) -> Answer:
    """Room for temporary files, and in the home when it is a folder."""
    places = {"temporary files": Path(tempfile.gettempdir())}
    if not context.settings.home.startswith("s3://"):
        places["home"] = _existing(Path(context.settings.home.removeprefix("file://")))
    free = {name: (shutil.disk_usage(path).free, path) for name, path in places.items()}
    name, (least, path) = min(free.items(), key=lambda item: item[1][0])
    message = f"{least / 1e9:.1f} GB free for {name} ({path})"
    fix = "free some space" + (", or set TMPDIR to another disk" if "temp" in name else "")
    if least < LOW_DISK:
        return fail(message, fix)
    return warn(message, fix) if least < LITTLE_DISK else ok(message)


def _existing(path: Path) -> Path:
    path = path.expanduser().absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def memory(_context: Context) -> Answer:
    """What is left of the machine's memory, or of the container's."""
    free = available_memory()
    if free is None:
        return skip("this system does not say how much memory is free")
    message = f"{free / 1e9:.1f} GB of memory are free"
    fix = "a run with a page needs about 0.5 GB: give it more, or set workers to 1"
    return warn(message, fix) if free < LITTLE_MEMORY else ok(message)


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that are free by the kernel's and the control group's count; None: unknown."""
    found = []
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:")]
        group = root / "sys/fs/cgroup"
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            found.append(max(0, int(limit) - int((group / "memory.current").read_text())))
    except (OSError, ValueError):
        pass  # no Linux, or no second version of control groups
    return min(found, default=None)


def fonts(context: Context) -> Answer:
    """Charts in Slack are pictures: a font here must know the letters."""
    if context.settings.language != "ja":
        return skip(f"language {context.settings.language} needs no further font")
    from dmarckit.slack.chart_fonts import can_draw

    if can_draw(_JAPANESE):
        return ok("an installed font can draw Japanese in Slack's charts")
    return warn(
        "no installed font can draw Japanese: charts in Slack show boxes",
        "install Noto Sans CJK JP (apt-get install fonts-noto-cjk)",
    )
