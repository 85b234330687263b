"""What Google Postmaster Tools said: the newest value of each metric, out of the lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from dmarckit.core.errors import LakeError
from dmarckit.lake.lake import Lake

_LATEST = """
    SELECT domain, "day", metric, detail, share, number, text, pulled
    FROM postmaster
    WHERE {where}
    QUALIFY row_number() OVER (
        PARTITION BY domain, "day", metric, detail ORDER BY pulled DESC, run DESC
    ) = 1
    ORDER BY domain, "day", metric, detail
"""


def latest(
    lake: Lake,
    domains: Sequence[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
) -> pd.DataFrame:
    """What Google said last about each metric of the days in [start, end).

    One row per domain, day, metric and detail: `share` is a rate from 0 to 1, `number` a
    count, `text` a state or a JSON list, each null where it does not apply; `pulled` is when
    Google was asked. A day that Google has no data about has no row (it is not 0). Without
    domains those of all. Columns are the same when nothing was ever pulled.
    Raises LakeError for a time without zone, or when the lake cannot be read.
    """
    where, values = ["true"], dict[str, Any]()
    if domains:
        where.append("domain IN (SELECT unnest($domains))")
        values["domains"] = [name.lower().rstrip(".") for name in domains]
    for bound, sign, name in ((start, ">=", "start"), (end, "<", "stop")):
        if bound is not None:
            if bound.tzinfo is None:
                raise LakeError(f"{name} {bound} has no time zone; use UTC")
            where.append(f'"day" {sign} ${name} AND month {sign[0]}= ${name}_month')
            values |= {name: bound, f"{name}_month": f"{bound:%Y-%m}"}
    return lake.sql(_LATEST.format(where=" AND ".join(where)), **values)


def last_days(lake: Lake) -> dict[tuple[str, str], datetime]:
    """Domain and metric → the last day that has a value."""
    found = lake.sql('SELECT domain, metric, max("day") AS last FROM postmaster GROUP BY 1, 2')
    keys = zip(found["domain"], found["metric"], strict=True)
    return {
        (str(domain), str(metric)): last.to_pydatetime()
        for (domain, metric), last in zip(keys, found["last"], strict=True)
    }
