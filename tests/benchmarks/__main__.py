"""`make bench`: all benchmarks, or those named: ARGS="folder bucket"."""

from __future__ import annotations

import sys

from tests.benchmarks import analysis, fuzz, ingest, pages, parse
from tests.benchmarks.measure import machine

BENCHMARKS = {
    "folder": ingest.folder,
    "bucket": ingest.bucket,
    "long_report": ingest.long_report,
    "parse": parse.run,
    "analysis": analysis.run,
    "pages": pages.run,
    "fuzz": fuzz.run,
}


def main() -> int:
    """Run them in order."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    print(f"Measured on {machine()}.")
    for name in names:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
