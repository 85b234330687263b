"""Messages of the queue that could not be taken: the table `dead_letters`.

They stay in the queue, whose own rules bring them to its queue of dead letters in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from dmarckit.core.errors import one_line
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of
from dmarckit.lake.schemas import DEAD_LETTERS

LONGEST = 300  # characters of a reason


def note_dead(lake: Lake, queue: str, reasons: Mapping[str, str], now: datetime) -> set[str]:
    """Write down message id → why it could not be taken; the ids seen for the first time.

    A message that was noted this month keeps its row: none lives longer than 14 days. Raises
    LakeError.
    """
    if not reasons:
        return set()
    rows = [
        {
            "message": message,
            "queue": queue,
            "seen": now,
            "reason": one_line(reason, LONGEST),
            "month": month_of(now),
        }
        for message, reason in reasons.items()
    ]
    table = pa.Table.from_pylist(rows, schema=DEAD_LETTERS.schema)
    return lake.write.append_new("dead_letters", table)
