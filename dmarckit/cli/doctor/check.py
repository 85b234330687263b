"""How checks of an installation run: in order, each with a time limit, none can end them all.

A check is a function of a `CheckContext` that returns a `CheckResult` with the fix in it. What
it raises is a failure of its own line.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from dmarckit.cli.options import COULD_NOT_RUN, OK, PROBLEMS
from dmarckit.core import DmarckitError, Settings, clean, one_line, secrets_in, secrets_of

Status = Literal["ok", "warn", "fail", "skip"]
LONGEST = 600
"""characters of a message or a fix"""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Status of a check, what it found, and how to mend it."""

    status: Status
    message: str
    fix: str = ""
    """what to do about it; empty where nothing is to be done, or the message says it"""


ok = partial(CheckResult, "ok")
"""all is well"""
warn = partial(CheckResult, "warn")
"""it works, but not as it should, or not for long"""
fail = partial(CheckResult, "fail")
"""it does not work"""
skip = partial(CheckResult, "skip")
"""there is nothing to check here"""


@dataclass(frozen=True)
class CheckContext:
    """Settings and clock that the checks work on."""

    loaded: Settings | DmarckitError
    """the settings, or why there are none"""
    send: bool = False
    """post a line to Slack"""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def settings(self) -> Settings:
        """Return the settings, or raise what loading them raised."""
        if isinstance(self.loaded, DmarckitError):
            raise self.loaded
        return self.loaded

    def safe(self, text: str) -> str:
        """Return the text on one line, without secrets and links that open something."""
        own = set() if isinstance(self.loaded, DmarckitError) else secrets_of(self.loaded)
        return one_line(clean(text, {*own, *secrets_in(os.environ)}), LONGEST)


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name, and what it needs."""

    name: str
    run: Callable[[CheckContext], CheckResult]
    needs: tuple[str, ...] = ()
    """checks without which this one makes no sense"""
    seconds: float = 20.0
    """how long it may take"""


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
