"""Retries: the one policy for whatever outside may fail for a moment.

tenacity does the work; it is imported with the first retry, since it brings asyncio along.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState

Result = TypeVar("Result")
Errors = type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool]
PAUSES = (2.0, 5.0, 15.0, 30.0)  # seconds, after those of the AWS SDK's own tries


def with_retries(
    action: Callable[[], Result],
    errors: Errors,
    pauses: Sequence[float],
    *,
    sleep: Callable[[float], None] = time.sleep,
    pause: Callable[[BaseException, float], float] = lambda _error, planned: planned,
    patience: float = math.inf,
    before: Callable[[BaseException, float], object] | None = None,
) -> Result:
    """Return the action's result, calling it again after each of the `pauses` while it fails.

    The action must be safe to call twice. Its last error is raised as it is.

    Args:
        action: what may fail.
        errors: types of errors that may pass by waiting, or a function that says so of one;
            all others are raised at once.
        pauses: seconds before each further call; as many calls as there are, and one.
        sleep: what waits.
        pause: the seconds to wait in fact, from the error and the planned seconds.
        patience: seconds that all pauses together may take.
        before: called with the error and the seconds before each pause.
    """
    from tenacity import Retrying, retry_if_exception

    def raised(state: RetryCallState) -> BaseException:
        error = state.outcome.exception() if state.outcome else None
        assert error is not None  # noqa: S101 - only errors are retried
        return error

    def wait(state: RetryCallState) -> float:
        left = pauses[state.attempt_number - 1 :]
        return pause(raised(state), left[0]) if left else 0.0

    def stop(state: RetryCallState) -> bool:
        waited = state.idle_for + state.upcoming_sleep
        return state.attempt_number > len(pauses) or waited > patience

    def before_sleep(state: RetryCallState) -> None:
        if before is not None:
            before(raised(state), state.upcoming_sleep)

    return Retrying(
        retry=retry_if_exception(
            (lambda error: isinstance(error, errors))
            if isinstance(errors, type | tuple)
            else errors
        ),
        wait=wait,
        stop=stop,
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )(action)
