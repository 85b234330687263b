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

    The action must be safe to call twice; its last error is raised as it is, and those that are
    not of `errors` at once. `pause` gives the seconds to wait from the error and the planned ones;
    all together are at most `patience`. `before` is called with both before each pause.
    """
    from tenacity import Retrying, retry_if_exception, retry_if_exception_type

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

    retry = (
        retry_if_exception_type(errors)
        if isinstance(errors, type | tuple)
        else retry_if_exception(errors)
    )
    tries = Retrying(
        retry=retry, wait=wait, stop=stop, sleep=sleep, before_sleep=before_sleep, reraise=True
    )
    try:
        return tries(action)
    finally:
        tries.iter_state.reset()  # it refers to itself, and would keep what the functions refer to
