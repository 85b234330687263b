"""`make bench`: all benchmarks, or those named: ARGS="folder bucket".

`growth` takes sizes: ARGS="growth --mails 100000 --records 10000000 --keys 1000000".
`chaos` takes a length: ARGS="chaos --seconds 600" or ARGS="chaos --rounds 50".
"""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks import (
    analysis,
    chaos,
    dask_workers,
    function,
    fuzz,
    growth,
    ingest,
    pages,
    parse,
    watch,
)
from tests.benchmarks.measure import machine

BENCHMARKS = {
    "folder": ingest.folder,
    "bucket": ingest.bucket,
    "long_report": ingest.long_report,
    "parse": parse.run,
    "analysis": analysis.run,
    "floods": analysis.flooded,
    "pages": pages.run,
    "watch": watch.run,
    "function": function.run,
    "fuzz": fuzz.run,
    "growth": growth.run,
    "dask": dask_workers.run,
    "chaos": chaos.run,
}


def main() -> int:
    """Run them in order."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("names", nargs="*")
    for size in ("mails", "keys", "records"):
        parser.add_argument(f"--{size}", type=int, action="append", default=[], help="of growth")
    parser.add_argument("--rounds", type=int, default=0, help="of chaos")
    parser.add_argument("--seconds", type=float, default=None, help="of chaos (300)")
    chosen = parser.parse_args()
    seconds = chosen.seconds if chosen.seconds is not None else 0 if chosen.rounds else 300
    sizes = {size: getattr(chosen, size) for size in ("mails", "keys", "records")}
    names = chosen.names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print(f"Measured on {machine()}.")
    for name in names:
        if name == "growth":
            growth.run(**sizes)
        elif name == "chaos":
            if chaos.run(chosen.rounds, seconds):
                return 1
        else:
            BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
