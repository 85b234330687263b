"""Failing reports about nothing but forwarded mail: nobody can do anything about those."""

from __future__ import annotations

from collections.abc import Mapping

from dmarckit.facts.facts_sql import FORWARD_REASON
from dmarckit.lake.lake import Lake

# A failing message is `forwarded` where the receiver says so (`classify.classify`): neither
# who sent it nor what else was seen of its domain comes into it.
_ONLY_FORWARDED = f"""
    SELECT report_uid FROM records
    WHERE month IN (SELECT unnest($months)) AND report_uid IN (SELECT unnest($uids))
      AND messages > 0 AND NOT coalesce(dkim_aligned, false) AND NOT coalesce(spf_aligned, false)
    GROUP BY report_uid HAVING bool_and({FORWARD_REASON})
"""  # noqa: S608  our own text


def only_forwarded(lake: Lake, months: Mapping[str, str]) -> set[str]:
    """Those reports (uid → month) whose failing messages are all of the class `forwarded`."""
    if not months:
        return set()
    found = lake.sql(_ONLY_FORWARDED, months=sorted(set(months.values())), uids=list(months))
    return set(found["report_uid"])
