"""End a run of this process: by its timeout, a signal, or a lease that was lost.

Each becomes an exception in the main thread, so that the run can still write how it ended. It is
no error (`RunEnd`), so that no handler on its way takes it for one of its own; who records the run
asks `end_reason`, since a library may hide it nevertheless.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from dmarckit.core import DmarckitError, JobTimeout

_why: BaseException | None = None
LAST_WORDS = 60  # seconds to write how it ended; then the process ends without that


class RunEnd(SystemExit):
    """Ends a block of `time_limit` from within; outside it is the reason itself."""


def end_reason() -> BaseException | None:
    """Return why the block that runs is being ended, whatever has come of `RunEnd` there.

    DuckDB makes a RuntimeError of it when it hears of the signal in a query, or nothing.
    """
    return _why


@contextlib.contextmanager
def time_limit(
    seconds: float, name: str, hint: str = ""
) -> Iterator[Callable[[DmarckitError], None]]:
    """End the block, of the main thread, with JobTimeout after `seconds`, SystemExit on SIGTERM.

    `hint` ends the text of JobTimeout.

    Yields:
        A function by which another thread ends the block with an error of its own.
    """
    global _why
    reason: list[DmarckitError] = []
    main = threading.get_ident()

    def leave(number: int, frame: FrameType | None) -> None:
        global _why
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        _why = reason[0] if reason else SystemExit(128 + number)
        raise RunEnd(128 + number)

    def end(error: DmarckitError) -> None:
        reason.append(error)
        # told to the main thread: a signal that another thread gets does not end a wait in it
        signal.pthread_kill(main, signal.SIGTERM)
        killer.start()

    length = f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
    late = JobTimeout(f"{name} took longer than its timeout of {length}{hint}")
    watch = threading.Timer(seconds, end, [late])
    # code that never comes back to Python hears of no signal
    killer = threading.Timer(LAST_WORDS, os._exit, [128 + signal.SIGTERM])
    watch.daemon = killer.daemon = True
    before = signal.signal(signal.SIGTERM, leave)
    watch.start()
    try:
        yield end
    except BaseException:
        if _why is None:
            raise
        raise _why from None
    finally:
        _why = None
        watch.cancel()
        killer.cancel()
        signal.signal(signal.SIGTERM, before)
