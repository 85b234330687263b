"""``python -m tests.scenarios [WORD…]``: play those whose name has a word, print the score."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.scenarios.all import SCENARIOS
from tests.scenarios.harness import Mismatch, Score, play
from tests.scenarios.score import summary


def main(words: list[str]) -> None:
    scores = []
    for name, scenario in SCENARIOS.items():
        if words and not any(word in name for word in words):
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                score = play(scenario, Path(folder))
            except Exception:
                score = Score(name, mismatches=[Mismatch(0, "error", traceback.format_exc())])
        scores.append(score)
        print(f"{time.monotonic() - started:5.2f} s  {len(score.mismatches):2}  {name}", flush=True)
    print(summary(scores))


if __name__ == "__main__":
    main(sys.argv[1:])
