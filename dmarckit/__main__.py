"""The command `dmarckit`, and `python -m dmarckit`: a process of its own."""

import gc
import os
import sys


def run() -> None:
    """Run the command line in a process that does nothing else."""
    gc.set_threshold(50_000)  # 700, the default, is meant for less than what libraries define
    if "lab" not in sys.argv:  # people may compute there
        # numpy's threads for matrices, which nothing uses, turn in circles while it is imported
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from dmarckit.cli.main import main

    main()


if __name__ == "__main__":
    run()
