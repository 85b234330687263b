"""What a policy would do to the messages that were seen, had it been in force.

A DMARC policy as people write it → `Policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from dmarckit.core import SettingsError, normalize_domain, one_line
from dmarckit.facts import Facts
from dmarckit.reports import Policy

INDIRECT = ("forwarded", "modified")
"""classes of messages that left in order and reached the receiver by a detour"""
NOT_DELIVERED = ("quarantine", "reject")
_NATURES = ("legitimate", "indirect", "unwanted")

COLUMNS: Mapping[str, str] = {
    "sender": "str",
    "header_from": "str",
    "class": "str",
    "action": "str",
    "nature": "str",
    "messages": "int64",
}
"""of `WhatIf.senders`"""


@dataclass(frozen=True)
class WhatIf:
    """What becomes of a domain's messages under a policy. Counts are messages."""

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
    """What `policy` (p, sp, np, adkim, aspf) would do to the messages of `domain`.

    Looks at the last `days` days up to `now`, or at all of the window. Strict alignment is
    found from the raw results: a signature or return path of the author domain itself that
    passes. Where a reporter says "aligned" and shows no raw result, its word is kept.

    `p` is for the domain, `sp` (else `p`) for its subdomains, `np` (else `sp`, else `p`) for
    those that do not exist (RFC 9989); reports do not show which exist, so `np` is taken for
    those that never passed. `pct` and `testing` are left out: what counts is what the
    policy asks for once it is meant.

    A domain that was not seen gives zeros and an empty frame.
    """
    rows = facts.alignments[facts.alignments["domain"] == domain.lower()]
    if days is not None:
        rows = rows[rows["day"] >= pd.Timestamp(facts.now).floor("D") - timedelta(days=days)]
    passes = _aligned(rows, "dkim", "da", policy.adkim) | _aligned(rows, "spf", "sa", policy.aspf)
    action = _asked(rows, domain.lower(), policy).where(~passes, "none")
    stopped = rows.assign(action=action, nature=_nature(rows))[action.isin(NOT_DELIVERED)]
    keys = ["sender", "header_from", "class", "action", "nature"]
    table = stopped.astype(dict.fromkeys(keys, "str")).groupby(keys, as_index=False)
    sums = table["messages"].sum()
    sums = sums.assign(place=sums["nature"].map(_NATURES.index))
    order = ["place", "messages", "sender", "header_from", "class"]
    sums = sums.sort_values(order, ascending=[True, False, True, True, True])
    senders = sums.round({"messages": 0}).astype(dict(COLUMNS))[list(COLUMNS)]
    return WhatIf(
        domain=domain.lower(),
        policy=policy,
        messages=_total(rows, True),
        passing=_total(rows, passes),
        quarantined=_total(stopped, stopped["action"] == "quarantine"),
        rejected=_total(stopped, stopped["action"] == "reject"),
        legitimate=_total(stopped, stopped["nature"] == "legitimate"),
        indirect=_total(stopped, stopped["nature"] == "indirect"),
        unwanted=_total(stopped, stopped["nature"] == "unwanted"),
        senders=senders.reset_index(drop=True),
    )


def _aligned(rows: pd.DataFrame, check: str, evaluated: str, mode: str | None) -> pd.Series[bool]:
    """True where DKIM or SPF passes under this alignment mode (``s`` strict, else relaxed)."""
    said, relaxed = rows[evaluated], rows[f"{check}_relaxed"]
    if (mode or "r").lower() == "s":
        return rows[f"{check}_strict"] | (said & ~relaxed)
    return said | relaxed


def _asked(rows: pd.DataFrame, domain: str, policy: Policy) -> pd.Series[Any]:
    """What the policy asks to do with each row if it fails."""
    p = (policy.p or "none").lower()
    sp = (policy.sp or p).lower()
    np_ = (policy.np or sp).lower()
    own = rows["header_from"] == domain
    missing = rows["class"] == "spoofed_subdomain"
    return pd.Series(np.select([own, missing], [p, np_], sp), index=rows.index, dtype="str")


def _nature(rows: pd.DataFrame) -> pd.Series[Any]:
    """Whether a message that is stopped was wanted."""
    wanted = rows["da"] | rows["sa"] | rows["in_inventory"]
    wanted |= rows["class"].isin(["broken_dkim", "unaligned_sender"])
    detour = rows["class"].isin(INDIRECT)
    found = np.select([wanted & ~detour, detour], list(_NATURES[:2]), _NATURES[2])
    return pd.Series(found, index=rows.index, dtype="str")


def _total(rows: pd.DataFrame, which: pd.Series[bool] | bool) -> int:
    return round(float((rows["messages"] * which).sum()))


_VALUES = {
    "p": ("none", "quarantine", "reject"),
    "sp": ("none", "quarantine", "reject"),
    "np": ("none", "quarantine", "reject"),
    "adkim": ("r", "s"),
    "aspf": ("r", "s"),
}


def parse_policy(domain: str, text: str) -> Policy:
    """``p=reject; sp=none; adkim=s`` as a policy; a whole DMARC record is fine too.

    Tags that do not decide about messages (rua, fo, t, …) are left out. Raises SettingsError
    for a value that the tag does not have, and without p.

    >>> parse_policy("example.com", "v=DMARC1; p=reject; rua=mailto:d@example.com").p
    'reject'
    """
    tags: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (piece.strip().lower() for piece in part.partition("="))
        if not equals:
            raise SettingsError(f"policy {one_line(text)}: {one_line(part)} is not tag=value")
        if name in _VALUES:
            if value not in _VALUES[name]:
                raise SettingsError(
                    f"policy {one_line(text)}: {name} is {' or '.join(_VALUES[name])}"
                )
            tags[name] = value
    if "p" not in tags:
        raise SettingsError(f"policy {one_line(text)}: it needs p=none, quarantine or reject")
    return Policy(normalize_domain(domain), **tags)  # type: ignore[arg-type]
