"""What a page is made from, for its footer: objects and reports of the lake, and their hashes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dmarckit.core.language import later
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import month_of

LEAST_DAYS = 90
"""days before the end of a page that tell who a sender is, whatever its window"""
_INPUTS = """
SELECT '{mails}' AS input, mail_key AS key FROM reports WHERE {mine}
UNION SELECT '{mails}', mail_key FROM tls WHERE {mine_tls}
UNION SELECT '{reports}', report_uid FROM reports WHERE {mine}
UNION SELECT '{tls}', report_uid FROM tls WHERE {mine_tls}
"""
_HASHED = """
SELECT input, count(*) AS number, lower(hex(bit_xor(md5_number(key)))) AS hash
FROM ({inputs}) GROUP BY input ORDER BY input
"""
MAILS, REPORTS, TLS = later("mails"), later("aggregate reports"), later("TLS reports")


@dataclass(frozen=True)
class Input:
    """One kind of input: how many, and the MD5 sums of their names, combined by XOR.

    The names are keys of mails and `report_uid` of reports, so that the same lake gives the
    same hash in whatever order and files it was written.
    """

    name: str
    number: int
    hash: str


def page_inputs(lake: Lake, parameters: Mapping[str, Any], now: datetime) -> tuple[Input, ...]:
    """The mails and reports that a page with these parameters may rest on, as they are now.

    By months: from 90 days (or twice the page's `days` and four weeks) before its `end`, or
    before `now`, on; of its `domain` or `domains` alone when there are some. Raises LakeError.
    """
    days = parameters.get("days")
    back = max(LEAST_DAYS, 2 * days + 28 if isinstance(days, int) else 0)
    with contextlib.suppress(ValueError):  # none, or what the notebook will complain of
        end = datetime.fromisoformat(str(parameters.get("end"))).replace(tzinfo=UTC)
        now = min(now, end)
    names = [parameters.get("domain") or "", *(parameters.get("domains") or ())]
    names = [str(name).lower().rstrip(".") for name in names if name]
    mine = mine_tls = "month >= $month"
    values: dict[str, Any] = {"month": month_of(now - timedelta(days=back))}
    if names:
        mine += " AND domain IN (SELECT unnest($names))"
        mine_tls += " AND lower(policy_domain) IN (SELECT unnest($names))"
        values["names"] = names
    inputs = _INPUTS.format(mails=MAILS, reports=REPORTS, tls=TLS, mine=mine, mine_tls=mine_tls)
    rows = lake.sql(_HASHED.format(inputs=inputs), **values).to_dict("records")
    return tuple(Input(str(r["input"]), int(r["number"]), str(r["hash"])) for r in rows)
