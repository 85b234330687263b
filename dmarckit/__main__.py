"""The command `dmarckit`, and `python -m dmarckit`: a process of its own."""

import atexit
import gc
import os
import sys
import threading


def run() -> None:
    """Run the command line in a process that does nothing else, and end the process."""
    gc.set_threshold(50_000)  # 700, the default, is meant for less than what libraries define
    if "lab" not in sys.argv:  # people may compute there
        # numpy's threads for matrices, which nothing uses, turn in circles while it is imported
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Arrow's own way to get memory takes longer for what an ingest makes, and a tenth more of it
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from dmarckit.cli.main import main

    status: str | int | None = None
    try:
        main()
    except SystemExit as ended:
        status = ended.code
    end(status)


def end(status: str | int | None) -> None:
    """End the process, without taking the libraries apart, which takes up to half a second.

    Where another thread is left, or the output cannot be written, Python ends it as ever.
    """
    others = {thread for thread in threading.enumerate() if not thread.daemon}
    if others == {threading.main_thread()} and not isinstance(status, str):
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            sys.exit(status)
        os._exit(status or 0)
    sys.exit(status)


if __name__ == "__main__":
    run()
