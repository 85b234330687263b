"""How checks of an installation run: in order, each with a time limit, none can break off all.

A check is a function of the `Context` that returns an `Answer` with the fix in it. What it
raises is a failure of its own line. The checks themselves are in `doctor_checks`.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from dmarckit.core import DmarckitError, Settings, clean, one_line, secrets_in, secrets_of

Status = Literal["ok", "warn", "fail", "skip"]
LONGEST = 600
"""characters of a message or a fix"""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found."""

    status: Status
    message: str
    fix: str = ""
    """what to do about it; empty where nothing is to be done, or the message says it"""


def ok(message: str) -> CheckResult:
    """All is well."""
    return CheckResult("ok", message)


def warn(message: str, fix: str) -> CheckResult:
    """It works, but not as it should, or not for long."""
    return CheckResult("warn", message, fix)


def fail(message: str, fix: str) -> CheckResult:
    """It does not work."""
    return CheckResult("fail", message, fix)


def skip(reason: str) -> CheckResult:
    """There is nothing to check here."""
    return CheckResult("skip", reason)


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class CheckContext:
    """What checks work on."""

    loaded: Settings | DmarckitError
    """the settings, or why there are none"""
    send: bool = False
    """post a line to Slack"""
    clock: Callable[[], datetime] = utc_now

    @property
    def settings(self) -> Settings:
        """The settings; raises what loading them raised."""
        if isinstance(self.loaded, DmarckitError):
            raise self.loaded
        return self.loaded

    def safe(self, text: str) -> str:
        """The text on one line, without secrets and links that open something."""
        own = set() if isinstance(self.loaded, DmarckitError) else secrets_of(self.loaded)
        return one_line(clean(text, {*own, *secrets_in(os.environ)}), LONGEST)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor."""

    name: str
    run: Callable[[CheckContext], CheckResult]
    needs: tuple[str, ...] = ()
    """checks without which this one makes no sense"""
    seconds: float = 20.0
    """how long it may take"""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """What came of a check, fit to print: one line, no secrets."""

    check: str
    status: Status
    message: str
    fix: str
    seconds: float


def run_checks(checks: Sequence[Check], context: CheckContext) -> Iterator[CheckLine]:
    """A line for each check, in their order; one that needs a failed one is skipped."""
    broken: dict[str, str] = {}
    for check in checks:
        missing = next((broken[n] for n in check.needs if n in broken), None)
        if missing is not None:
            broken[check.name] = missing
            yield CheckLine(check.name, "skip", f"not checked, since {missing} failed", "", 0.0)
            continue
        started = time.monotonic()
        answer = _in_time(check, context)
        if answer.status == "fail":
            broken[check.name] = check.name
        message, fix = context.safe(answer.message), context.safe(answer.fix)
        took = round(time.monotonic() - started, 3)
        yield CheckLine(check.name, answer.status, message, fix, took)


def exit_status(lines: Sequence[CheckLine], *, strict: bool = False) -> int:
    """0: all is well; 1: a warning, when `strict`; 2: something failed."""
    found = {line.status for line in lines}
    if "fail" in found:
        return 2
    return int(strict and "warn" in found)


def _in_time(check: Check, context: CheckContext) -> CheckResult:
    """The check's answer; a thread of its own, since few libraries can be interrupted."""
    answers: list[CheckResult] = []

    def work() -> None:
        answers.append(_answered(check, context))

    # the thread is left behind when it hangs: it must not keep the process from ending
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(work,), name=f"doctor {check.name}", daemon=True)
    thread.start()
    thread.join(check.seconds)
    if answers:
        return answers[0]
    return fail(f"no answer within {check.seconds:g} s", "see what it waits for: network, proxy?")


def _answered(check: Check, context: CheckContext) -> CheckResult:
    try:
        return check.run(context)
    except DmarckitError as error:
        return fail(str(error), "")
    except Exception as error:
        fix = "if it happens again, please report it with this line"
        return fail(f"{type(error).__name__}: {one_line(error)}", fix)
