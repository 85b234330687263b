"""Checks of the installation: machine, settings, notebooks and schedules, and the lake."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

from dmarckit import core, jobs, slack
from dmarckit.cli.doctor.command import CheckContext, CheckResult, fail, ok, skip, warn
from dmarckit.cli.lab import OWN, copy_states
from dmarckit.core import CONFIG_VARIABLE, PREFIX, DmarckitError, Settings, one_line, plural
from dmarckit.lake import ALL_TABLES, data_files
from dmarckit.pages import known_parameters, own_kernel

LOW_DISK, LITTLE_DISK = 200_000_000, 1_000_000_000
"""bytes that are free: below the first work fails, below the second it soon will"""
KERNEL_SECONDS = 50  # for its start, and again for importing dmarckit
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "DMARCKIT_CORPUS", core.WITHOUT_OBSTORE})
"""variables that begin like settings and are none"""
NEEDED_BY = {
    "failures_content": "failures",
    "mail_from": "mail_to",
    "smtp_url": "mail_to",
    "smtp_password": "smtp_url",
    "webhook_secret": "webhook_url",
    "google_subject": "google_credentials",
    "postmaster_domains": "google_credentials",
}
"""setting → the one without which it has no effect"""


def versions(_context: CheckContext) -> CheckResult:
    """Compare Python's libraries with what the installed distribution asks for."""
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
        return fail(f"{what}: {'; '.join(sorted(set(wrong)))}", "pip install --upgrade dmarckit")
    return ok(f"{what}, libraries as required")


def disk(context: CheckContext) -> CheckResult:
    """Check the room for temporary files, and in the home when it is a folder."""
    places = {"temporary files": Path(tempfile.gettempdir())}
    if not context.settings.home.startswith("s3://"):
        home = Path(context.settings.home.removeprefix("file://")).expanduser().absolute()
        places["home"] = next(p for p in (home, *home.parents) if p.exists())
    free = {name: (shutil.disk_usage(path).free, path) for name, path in places.items()}
    name, (least, path) = min(free.items(), key=lambda item: item[1][0])
    message = f"{least / 1e9:.1f} GB free for {name} ({path})"
    fix = "free some space" + (", or set TMPDIR to another disk" if "temp" in name else "")
    if least < LOW_DISK:
        return fail(message, fix)
    return warn(message, fix) if least < LITTLE_DISK else ok(message)


def memory(_context: CheckContext) -> CheckResult:
    """Check what is left of the machine's memory, or of the container's."""
    free = available_memory()
    if free is None:
        return skip("this system does not say how much memory is free")
    message = f"{free / 1e9:.1f} GB of memory are free"
    fix = "a run with a page needs about 0.5 GB: give it more, or set workers to 1"
    return warn(message, fix) if free < 600_000_000 else ok(message)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes free by the kernel's and the control group's count; None: unknown."""
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


def fonts(context: CheckContext) -> CheckResult:
    """Check that a font here knows the letters: charts in Slack are pictures."""
    if context.settings.language != "ja":
        return skip(f"language {context.settings.language} needs no further font")
    if slack.can_draw("日本語の送信元"):
        return ok("an installed font can draw Japanese in Slack's charts")
    return warn(
        "no installed font can draw Japanese: charts in Slack show boxes",
        "install Noto Sans CJK JP (apt-get install fonts-noto-cjk)",
    )


def readable(context: CheckContext) -> CheckResult:
    """Name where the settings come from; loading them has checked each value."""
    home = context.settings.home
    file = os.environ.get(CONFIG_VARIABLE) or core.DEFAULT_FILE
    variables = [v for v in os.environ if v.startswith(PREFIX) and v not in OTHER_VARIABLES]
    sources = [file] if Path(file).is_file() else []
    sources += [f"{len(variables)} variables {PREFIX}…"] if variables else []
    where = " and ".join(sources) or f"no {core.DEFAULT_FILE} and no variables: all defaults"
    return ok(f"{where}; home {home}")


def consistent(context: CheckContext) -> CheckResult:
    """Name settings without effect, and those that contradict each other."""
    found = list(_contradictions(context))
    if not found:
        return ok("no unknown variable, nothing contradictory")
    return warn("; ".join(what for what, _ in found), "; ".join(fix for _, fix in found))


def _contradictions(context: CheckContext) -> Iterator[tuple[str, str]]:
    settings = context.settings
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known} | OTHER_VARIABLES
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and not known & {name, name.partition("__")[0]}:
            yield f"variable {name} is no setting", f"unset {name}, or correct its name"
    for one, other in (("slack_token", "slack_channel"), ("presign_key_id", "presign_secret")):
        if getattr(settings, one) and not getattr(settings, other):
            yield f"{one} without {other}", f"set {other} as well"
        # a channel without a token is a home where messages are only shown
        if getattr(settings, other) and not getattr(settings, one) and one != "slack_token":
            yield f"{other} without {one}", f"set {one} as well"
    for name, base in NEEDED_BY.items():
        if getattr(settings, name) and not getattr(settings, base):
            yield f"{name} has no effect without {base}", f"set {base}, or take {name} out"
    if settings.trust == "any" and settings.mail_url.startswith("s3://"):
        yield "trust is any: whoever mails to the address is believed", "set trust to pass"
    if settings.mmdb and not settings.mmdb.is_file():
        yield f"mmdb: there is no file {settings.mmdb}", "put it there, or take mmdb out"
    today = context.clock().date()
    ended = [m.fingerprint for m in settings.mute if m.until < today]
    if ended:
        yield f"mute has ended for {', '.join(ended[:5])}", "take these entries out of mute"
    entries = ([e] if isinstance(e, str) else e.domains for e in settings.domains)
    names = Counter(core.normalize_domain(name) for entry in entries for name in entry)
    twice = [name for name, number in names.items() if number > 1]
    if twice:
        yield f"domains names {', '.join(twice[:5])} more than once", "keep one of the entries"


def kernel(_context: CheckContext) -> CheckResult:
    """Start a kernel as for a page, and import dmarckit in it."""
    import nbformat.v4
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

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


def notebooks(_context: CheckContext) -> CheckResult:
    """Check that every notebook is one, and that its parameters can be read."""
    import nbformat

    found, broken = [], []
    for name, path in core.shipped_files("notebooks", "*.ipynb").items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a notebook that nbformat had to mend is broken
                nbformat.validate(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
            found.append(f"{name} ({plural(len(known_parameters(path)), 'parameter')})")
        except Exception as error:  # papermill raises what it likes for a broken file
            broken.append(f"{path}: {one_line(error, 120)}")
    if broken:
        return fail("; ".join(broken), "repair these files, or take them away")
    states = copy_states()
    if old := [name for name, state in states.items() if state in ("old", "behind")]:
        what = f"copies in ./{OWN} are of a former version: {', '.join(old)}"
        return warn(what, "run: dmarckit lab (it shows the difference), or take them away")
    return ok(f"{len(found)} notebooks: {', '.join(found)}")


def schedules(_context: CheckContext) -> CheckResult:
    """Check that every schedule loads, its notebook and parameters included."""
    good, timed, broken = [], 0, []
    for name in jobs.find_schedules():
        try:
            schedule = jobs.load_schedule(name)
        except DmarckitError as error:
            broken.append(str(error))
            continue
        good.append(f"{name} ({schedule.cron or 'by hand'})")
        timed += bool(schedule.cron)
    if broken:
        raise core.SettingsError("; ".join(broken))
    if not timed:
        return warn("no schedule has a cron line: nothing runs by itself", "add cron to one")
    return ok(", ".join(good))


def tables(context: CheckContext) -> CheckResult:
    """Check that every table opens, its files are there, the newest is readable, none too many."""
    lake = context.lake
    opened, scattered, damaged = [], [], []
    for name in ALL_TABLES:
        try:
            table = lake.location.open(name)
            if table is None:
                continue
            _whole, broken = data_files(lake, name, table, check=1)
        except core.LakeError as error:
            damaged.append(str(error))
            continue
        if broken:
            what = plural(len(broken), "data file is", "data files are")
            first = one_line(broken[0][0].rpartition("/")[2], 80)
            damaged.append(f"table {name}: {what} missing or damaged, first {first}")
        opened.append(f"{name} v{table.version()}")
        files = Counter(PurePosixPath(f).parent.name for f in table.file_uris())
        most = max(files.values(), default=0)
        if most > 200:  # an ingest merges them long before
            scattered.append(f"{name} has {most} files in a month")
    if damaged:
        fix = "run: dmarckit maintain --repair (see dmarckit help lake)"
        return fail("; ".join(damaged), fix)
    if not opened:
        return warn(f"no tables yet in {lake.location.url}", "run: dmarckit ingest")
    if scattered:
        return warn("; ".join(scattered), "run: dmarckit ingest (it merges them)")
    return ok(f"{', '.join(opened)} in {lake.location.url}")


def newest_report(context: CheckContext) -> CheckResult:
    """Check that reports still come."""
    rows = context.lake.location.query("reports", 'SELECT max("end") AS newest FROM reports')
    newest = rows[0]["newest"] if rows else None
    if newest is None:
        return skip("there is no report yet")
    age = context.clock() - newest
    message = f"the newest report ends {newest:%Y-%m-%d %H:%M} UTC"
    if age > timedelta(days=4):  # reporters send theirs within a day or two
        fix = "run: dmarckit ingest; if it finds nothing, see whether mails still come in"
        return warn(f"{message}, {age.days} days ago", fix)
    return ok(message)


def runs(context: CheckContext) -> CheckResult:
    """Compare each schedule's newest run with its cron line."""
    now = context.clock()
    timed = [s for s in jobs.load_schedules(with_notebook=False) if s.cron]
    if not timed:
        return skip("no schedule has a cron line")
    last = jobs.last_runs(context.lake.location, None)
    # a job that never ran may have been set up today: that is no failure yet
    states = jobs.job_states(jobs.RunnerState(timed, started=now), last, now)
    never = [s.name for s in states if s.last is None]
    late = [s.name for s in states if s.overdue]
    broken = [f"{s.name} {s.last.result}" for s in states if s.last and s.failing and not s.overdue]
    if late or broken:
        what = [f"overdue: {', '.join(late)}"] if late else []
        what += [f"last run: {', '.join(broken)}"] if broken else []
        fix = "see `dmarckit schedules list`; is `dmarckit schedules start` (or cron) running?"
        return fail("; ".join(what), fix)
    if never:
        fix = "start: dmarckit schedules start (or export them to cron); by hand: dmarckit run NAME"
        return warn(f"never ran: {', '.join(never)}", fix)
    runs = (f"{s.name} {s.last.result} {s.last.ended:%m-%d %H:%M}" for s in states if s.last)
    return ok(", ".join(runs))


def outbox(context: CheckContext) -> CheckResult:
    """Count the messages that Slack has not taken yet."""
    waits, sent = (
        [row["subject"] for row in context.lake.location.query(n, f"SELECT subject FROM {n}")]  # noqa: S608
        for n in ("outbox", "alerts")
    )
    waiting = len(set(waits) - set(sent))
    if not waiting:
        return ok("no message waits")
    fix = "the next run delivers them; if they stay, see the lines about Slack, mail and webhook"
    return warn(f"{waiting} messages wait in the outbox", fix)
