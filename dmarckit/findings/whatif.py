"""What a policy would do to the messages that were seen, had it been in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from dmarckit.facts import Facts
from dmarckit.findings.context import BLOCKED, RELAYED
from dmarckit.findings.dmarc_policy import LOWER
from dmarckit.reports import Policy

_NATURES = ("legitimate", "indirect", "unwanted")

_KEYS = ["sender", "header_from", "class", "action", "nature"]
COLUMNS: Mapping[str, str] = dict.fromkeys(_KEYS, "str") | {"messages": "int64"}
"""of `WhatIf.senders`"""


@dataclass(frozen=True)
class WhatIf:
    """The effect of a policy on a domain's messages. Counts are messages."""

    domain: str
    policy: Policy
    messages: int
    """all that were seen in the window"""
    passing: int
    """those that pass DMARC under the policy's alignment"""
    quarantined: int
    rejected: int
    legitimate: int
    """quarantined or rejected, and wanted: they pass today, or come from a sender of the
    inventory or a known service"""
    indirect: int
    """quarantined or rejected, and forwarded or changed on the way; many receivers make
    exceptions for these"""
    unwanted: int
    """quarantined or rejected: the rest"""
    senders: pd.DataFrame
    """what is quarantined or rejected, most messages first, legitimate before the others:
    `sender`, `header_from`, `class` (today's), `action`, `nature` (``legitimate``,
    ``indirect``, ``unwanted``), `messages`"""


def what_if(facts: Facts, domain: str, policy: Policy, days: int | None = None) -> WhatIf:
    """Return the effect of `policy` on the messages of `domain`.

    Counts the last `days` days up to `now`, or at all of the window. Strict alignment is
    found from the raw results: a signature or return path of the author domain itself that
    passes. Where a reporter says "aligned" and shows no raw result, its word is kept.

    `p` is for the domain, `sp` (else `p`) for its subdomains, `np` (else `sp`, else `p`) for
    those that do not exist (RFC 9989); reports do not show which exist, so `np` is taken for
    those that never passed. With `testing` (t=y) each counts a step lower, as receivers of RFC
    9989 take it (section 4.7). `pct` is for older ones (RFC 7489 section 6.6.4): they leave
    the rest of the failing messages to the policy a step below. Both together come to both.

    A domain that was not seen gives zeros and an empty frame.
    """
    rows = facts.alignments[facts.alignments["domain"] == domain.lower()]
    if days is not None:
        rows = rows[rows["day"] >= pd.Timestamp(facts.now).floor("D") - timedelta(days=days)]
    passes = _aligned(rows, "dkim", "da", policy.adkim) | _aligned(rows, "spf", "sa", policy.aspf)
    action = _action(rows, domain.lower(), policy)
    if policy.testing == "y":
        action = action.map(LOWER)
    wanted = rows["da"] | rows["sa"] | rows["in_inventory"]
    wanted |= rows["class"].isin(["broken_dkim", "unaligned_sender"])
    detour = rows["class"].isin(RELAYED)
    nature = np.select([wanted & ~detour, detour], list(_NATURES[:2]), _NATURES[2])
    failing = rows.assign(action=action, nature=pd.Series(nature, rows.index, "str"))[~passes]
    if policy.pct is not None and policy.pct < 100:
        part = policy.pct / 100
        rest = failing.assign(
            action=failing["action"].map(LOWER), messages=failing["messages"] * (1 - part)
        )
        failing = pd.concat([failing.assign(messages=failing["messages"] * part), rest])
    stopped = failing[failing["action"].isin(BLOCKED) & (failing["messages"] > 0)]
    senders = stopped.astype(dict.fromkeys(_KEYS, "str")).groupby(_KEYS, as_index=False)["messages"]
    senders = senders.sum().assign(place=lambda sums: sums["nature"].map(_NATURES.index))
    order = ["place", "messages", "sender", "header_from", "class"]
    senders = senders.sort_values(order, ascending=[True, False, True, True, True])

    def count(column: str, value: str) -> int:
        return round(float(stopped.loc[stopped[column] == value, "messages"].sum()))

    return WhatIf(
        domain=domain.lower(),
        policy=policy,
        messages=round(float(rows["messages"].sum())),
        passing=round(float((rows["messages"] * passes).sum())),
        quarantined=count("action", "quarantine"),
        rejected=count("action", "reject"),
        legitimate=count("nature", "legitimate"),
        indirect=count("nature", "indirect"),
        unwanted=count("nature", "unwanted"),
        senders=senders.round({"messages": 0})
        .astype(dict(COLUMNS))[list(COLUMNS)]
        .reset_index(drop=True),
    )


def _aligned(rows: pd.DataFrame, check: str, evaluated: str, mode: str | None) -> pd.Series[bool]:
    """Return True where DKIM or SPF passes under this alignment mode (``s`` or relaxed)."""
    said, relaxed = rows[evaluated], rows[f"{check}_relaxed"]
    if (mode or "r").lower() == "s":
        return rows[f"{check}_strict"] | (said & ~relaxed)
    return said | relaxed


def _action(rows: pd.DataFrame, domain: str, policy: Policy) -> pd.Series[Any]:

    p = (policy.p or "none").lower()
    sp = (policy.sp or p).lower()
    np_ = (policy.np or sp).lower()
    own = rows["header_from"] == domain
    missing = rows["class"] == "spoofed_subdomain"
    return pd.Series(np.select([own, missing], [p, np_], sp), index=rows.index, dtype="str")
