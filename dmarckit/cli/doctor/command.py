"""`dmarckit doctor`: every check in order, each with a time limit; none can end them all.

A check is a function of a `CheckContext` that returns a `CheckResult` with the fix in it. What
it raises is a failure of its own line.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import islice
from typing import Annotated, Any, Literal

import typer

from dmarckit import core, ingest, lake
from dmarckit.cli import doctor as parts
from dmarckit.cli.options import COULD_NOT_RUN, OK, PROBLEMS
from dmarckit.cli.output import print_json
from dmarckit.core import DmarckitError, one_line

LISTED = 50_000  # objects that are looked at for the newest mail; more would take too long
Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Status of a check, what it found, and how to mend it."""

    status: Status
    message: str
    fix: str = ""
    """what to do about it; empty where nothing is to be done, or the message says it"""


ok, warn = partial(CheckResult, "ok"), partial(CheckResult, "warn")
fail, skip = partial(CheckResult, "fail"), partial(CheckResult, "skip")
"""warn: it works, but not as it should, or not for long; skip: there is nothing to check here"""


@dataclass(frozen=True)
class CheckContext:
    """Settings and clock that the checks work on, and whether to send a line to each channel."""

    loaded: core.Settings | DmarckitError
    """the settings, or why there are none"""
    send: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def settings(self) -> core.Settings:
        """Return the settings, or raise what loading them raised."""
        if isinstance(self.loaded, DmarckitError):
            raise self.loaded
        return self.loaded

    @cached_property
    def mail_storage(self) -> core.Storage:
        """Place of the mails."""
        return core.open_storage(self.settings.mail_url)

    @cached_property
    def mails(self) -> list[core.StoredObject]:
        """What lies there, `LISTED` objects at most."""
        return list(islice(self.mail_storage.list(), LISTED))

    @cached_property
    def lake(self) -> lake.Lake:
        """Tables of the installation."""
        return lake.open_lake(self.settings)

    @cached_property
    def s3(self) -> Any:
        """Client of S3."""
        return self.client("s3")

    def client(self, service: str) -> Any:
        """Return a client that gives up soon: a doctor must not wait as a run does."""
        with core.aws_errors(f"cannot use {service.upper()}", core.StorageError):
            once = {"total_max_attempts": 1}
            session = self.session
            return core.aws_client(
                service, session, retries=once, connect_timeout=4, read_timeout=8
            )

    @cached_property
    def session(self) -> Any:
        """Session of the AWS SDK; StorageError says why there is none."""
        with core.aws_errors("cannot use AWS", core.StorageError):
            return core.aws_session()

    def safe(self, text: str) -> str:
        """Return the text on one line, without secrets and links that open something."""
        own = set() if isinstance(self.loaded, DmarckitError) else core.secrets_of(self.loaded)
        return one_line(core.clean(text, {*own, *core.secrets_in(os.environ)}), 600)


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name, what it needs, and the seconds that it may take."""

    name: str
    run: Callable[[CheckContext], CheckResult]
    needs: tuple[str, ...] = ()
    """checks without which this one makes no sense"""
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class CheckLine:
    """Result of a check, fit to print: one line, no secrets."""

    check: str
    status: Status
    message: str
    fix: str
    seconds: float


def run_checks(checks: Sequence[Check], context: CheckContext) -> Iterator[CheckLine]:
    """Yield a line for each check, in their order; one that needs a failed one is skipped."""
    broken: dict[str, str] = {}
    for check in checks:
        missing = next((broken[n] for n in check.needs if n in broken), None)
        if missing is not None:
            broken[check.name] = missing
            yield CheckLine(check.name, "skip", f"not checked, since {missing} failed", "", 0.0)
            continue
        started = time.monotonic()
        result = _in_time(check, context)
        if result.status == "fail":
            broken[check.name] = check.name
        message, fix = context.safe(result.message), context.safe(result.fix)
        took = round(time.monotonic() - started, 3)
        yield CheckLine(check.name, result.status, message, fix, took)


def exit_status(lines: Sequence[CheckLine], *, strict: bool = False) -> int:
    """Return 2 when something failed, 1 for a warning when `strict`, else 0."""
    found = {line.status for line in lines}
    if "fail" in found:
        return COULD_NOT_RUN
    return PROBLEMS if strict and "warn" in found else OK


def _in_time(check: Check, context: CheckContext) -> CheckResult:
    """Return the check's result; in a thread, since few libraries can be interrupted."""
    results: list[CheckResult] = []

    def work() -> None:
        try:
            results.append(check.run(context))
        except DmarckitError as error:
            results.append(fail(str(error)))
        except Exception as error:
            fix = "if it happens again, please report it with this line"
            results.append(fail(f"{type(error).__name__}: {one_line(error)}", fix))

    # the thread is left behind when it hangs: it must not keep the process from ending
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(work,), name=f"doctor {check.name}", daemon=True)
    thread.start()
    thread.join(check.seconds)
    if results:
        return results[0]
    return fail(f"no answer within {check.seconds:g} s", "see what it waits for: network, proxy?")


def all_checks() -> tuple[Check, ...]:
    """Return every check in order.

    A check's name is its key in ``--json``. One that is skipped since another failed counts as
    failed for those that need it.
    """
    check, machine, places, services = Check, parts.machine, parts.places, parts.services
    settings, buckets, in_lake = ("settings",), ("buckets",), ("lake",)
    return (
        check("settings", machine.readable),
        check("setting values", machine.consistent, settings),
        check("versions", machine.versions),
        check("disk", machine.disk, settings),
        check("memory", machine.memory),
        check("fonts", machine.fonts, settings),
        check("credentials", places.credentials, settings),
        check("buckets", places.reachable, ("credentials",)),
        check("region", places.region, buckets),
        # without the buckets: a wrong clock is a reason why they refuse us
        check("clock", places.clock, ("credentials",)),
        check("mails", places.mails, buckets, 60),
        check("results header", places.verdicts, ("mails",), 60),
        check("home", places.writable, buckets, 45),
        check("conditional writes", places.conditional, ("home",), 45),
        check("links", places.links, ("home",), 45),
        check("page address", places.page_address, settings),
        check("lake", machine.tables, buckets, 60),
        check("newest report", machine.newest_report, in_lake, 60),
        check("kernel", machine.kernel, seconds=110),
        check("notebooks", machine.notebooks),
        check("schedules", machine.schedules),
        check("runs", machine.runs, ("lake", "schedules"), 60),
        check("outbox", machine.outbox, in_lake, 60),
        check("queue", services.queue, ("credentials",), 45),
        check("Slack token", services.slack_token, settings),
        check("Slack channels", services.slack_channels, ("Slack token",), 45),
        check("Slack message", services.slack_message, ("Slack token",), 150),
        check("mail", services.mail, settings, 150),
        check("webhook", services.webhook, settings, 150),
        check("Google", services.google, settings),
        check("DNS", services.dns, settings, 60),
        check("Dask", services.cluster, ("mails", "lake"), 90),
    )


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="A JSON list, for monitoring.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Send a line to each channel.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for a warning.")] = False,
) -> None:
    """Try every setting for real, and say how to fix what fails.

    Exit status 0 when nothing failed, 1 for a warning with --strict, 2 when something failed.
    Below doctor/ in the home it writes small objects, and deletes them again.
    """
    loaded: core.Settings | core.SettingsError
    try:
        loaded = core.load_settings()
    except core.SettingsError as error:
        loaded = error
    raise typer.Exit(print_checks(loaded, json_=json_, send=send, strict=strict))


def print_checks(
    loaded: core.Settings | DmarckitError,
    *,
    json_: bool = False,
    send: bool = False,
    strict: bool = False,
) -> int:
    """Run every check and print its line; return the exit status."""
    ingest.keep_pandas_out()
    lines = []
    for line in run_checks(all_checks(), CheckContext(loaded, send=send)):
        lines.append(line)
        if not json_:
            fix = f" → {line.fix}" if line.fix else ""
            typer.echo(f"{line.status:<5} {line.check:<18} {line.message}{fix}")
    if json_:
        print_json([asdict(line) for line in lines])
    return exit_status(lines, strict=strict)
