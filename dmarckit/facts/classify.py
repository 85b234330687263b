"""What messages mean: one class for each of them, and what the classes rest on.

Pure functions of frames, without a loop over rows. *Aligned signature* means a signature
whose d= shares the organisational domain with the author (From). It is *living* when its
(d, s) passed at least once; one that never did proves nothing, since anybody can write it.
Three ideas carry all:

- The **owner** of a signature (d, s) is the sender that signs with it: among those whose
  messages pass it, the one with the most, senders for which SPF was aligned on these very
  messages first. Others that pass it forward what the owner sent.
- The **inventory** of a domain: senders that are declared, that passed aligned SPF, or
  that own an aligned signature that passed. What was denied is never in it.
- **Unidentified** senders: outside the inventory, but as steady as one's own (`find_unidentified`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CLASSES = (
    "aligned",
    "dkim_only",
    "forwarded",
    "spf_only",
    "broken_dkim",
    "unaligned_sender",
    "modified",
    "unidentified",
    "spoofed_subdomain",
    "unauthenticated",
)
"""All classes, in the order in which they are tried."""

SERVICES = ("email service", "marketing", "crm", "ticketing")
"""kinds of the *known services*: who sends for others, and only for those who ordered it"""

ANONYMOUS_KINDS = ("hosting", "unknown")
"""kinds of sender that say nothing about who handed the message over"""

STEADY_DAYS = 10
"""days, of the last `LOOK_BACK`, on which a sender that is somebody's own sends"""
RHYTHM_DAYS, RHYTHM_SPAN = 5, 14
"""the same for one that sends now and then: fewer days, over so many from first to last"""
LOOK_BACK = 30
MOST_NETWORKS = 3
MOST_ADDRESSES = 4
"""addresses, all in one network, of a sender that nothing authenticates"""
MOST_UNPROVEN = 20
"""more such senders of one domain are the machines of a botnet"""
PROOF = 0.5
"""share of a sender's messages that must authenticate as its own domain"""

ROW = (
    "domain",
    "sender",
    "sender_kind",
    "header_from",
    "da",
    "sa",
    "passing",
    "broken",
    "foreign_pass",
    "contradicts",
    "forward_reason",
)
"""Columns that `classify` needs."""


def owners(passing: pd.DataFrame) -> pd.DataFrame:
    """Return who signs with what: one row per (`dkim_domain`, `selector`), with its `sender`.

    `passing` has rows of dkim_domain, selector, sender, `messages` that pass this aligned
    signature, and `sa` (SPF aligned on some of these). A selector means the same key for
    every domain that it signs for, so domains are not told apart. SPF counts only on messages
    that carry the signature: a service that forwards a part of a domain's mail and sends
    another part itself must not become the owner of what it merely forwards.

    Ties go to the name that comes first. An empty frame gives an empty one.
    """
    sums = passing.groupby(["dkim_domain", "selector", "sender"], observed=True, as_index=False)
    votes = sums.agg(messages=("messages", "sum"), sa=("sa", "max"))
    best = votes.sort_values(
        ["dkim_domain", "selector", "sa", "messages", "sender"],
        ascending=[True, True, False, False, True],
    ).drop_duplicates(["dkim_domain", "selector"])
    return best[["dkim_domain", "selector", "sender"]].reset_index(drop=True)


def inventory(seen: pd.DataFrame, passing: pd.DataFrame, owned: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `seen` in the inventory of their domain, with what they own.

    `seen` has one row per domain and sender, with `declared` and `sa_messages` (messages
    whose aligned SPF result the raw result does not contradict); `passing` the columns
    domain, sender, dkim_domain, selector; `owned` is what `owners` gave. Adds `owns`: the
    tuple of (d, s) that the sender owns and passes for this domain.
    """
    own = passing.merge(owned, on=["dkim_domain", "selector", "sender"])
    own = own.drop_duplicates(["domain", "sender", "dkim_domain", "selector"])
    own = own.sort_values(["domain", "sender", "dkim_domain", "selector"])
    keys = list(zip(own["domain"], own["sender"], strict=True))
    pairs: dict[tuple[Any, Any], list[tuple[str, str]]] = {}
    for key, pair in zip(keys, zip(own["dkim_domain"], own["selector"], strict=True), strict=True):
        pairs.setdefault(key, []).append(pair)
    places = zip(seen["domain"], seen["sender"], strict=True)
    owns = pd.Series([tuple(pairs.get(p, ())) for p in places], index=seen.index, dtype=object)
    rows = seen.assign(owns=owns)
    member = rows["declared"] | (rows["sa_messages"] > 0) | owns.map(len).gt(0)
    return rows[member & ~rows["denied"]].reset_index(drop=True)


def find_unidentified(candidates: pd.DataFrame, proofs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `candidates` that behave like a sender of one's own, with `proves`.

    `candidates` has one row per domain and sender outside its inventory, neither denied nor a
    known service, with what failed without an explanation in the last `LOOK_BACK` days:
    `days` on which it surely sent (a part of a report that was spread over its days is no
    sign of that), `span` (days from the first to the last of these), `messages`, `networks`
    and `addresses`; and `parked`: the domain has no inventory and asks for more than reports.
    `proofs` has domain, sender, `proves` (a domain for which raw SPF or DKIM passes), `messages`.

    `proves` is the domain as which a sender authenticates, or empty: then it counts only with
    few addresses in one network, and only while there are few such senders. At a domain
    without inventory (`bare`) only what authenticates counts.
    """
    if candidates.empty:
        return candidates.assign(proves="")
    best = proofs.sort_values(["messages", "proves"], ascending=[False, True])
    best = best.drop_duplicates(["domain", "sender"])[["domain", "sender", "proves"]]
    sums = proofs.groupby(["domain", "sender"], as_index=False).agg(proven=("messages", "sum"))
    rows = candidates.merge(best, "left", on=["domain", "sender"])
    rows = rows.merge(sums, "left", on=["domain", "sender"])
    proven = rows["proven"].fillna(0) >= PROOF * rows["messages"]
    rows["proves"] = rows["proves"].where(proven, "").fillna("")
    steady = (rows["days"] >= STEADY_DAYS) | (
        (rows["days"] >= RHYTHM_DAYS) & (rows["span"] >= RHYTHM_SPAN)
    )
    rows = rows[steady & (rows["networks"] <= MOST_NETWORKS) & ~rows["parked"]]
    unproven = rows["proves"] == ""
    narrow = (rows["networks"] == 1) & (rows["addresses"] <= MOST_ADDRESSES) & ~rows["bare"]
    many = (unproven & narrow).groupby(rows["domain"]).transform("sum") > MOST_UNPROVEN
    return rows[~unproven | (narrow & ~many)].drop(columns="proven").reset_index(drop=True)


def classify(
    rows: pd.DataFrame,
    inventory: pd.DataFrame,
    owners: pd.DataFrame,
    passed_subdomains: pd.Series[Any],
    unidentified: pd.DataFrame,
    denied: pd.DataFrame,
) -> pd.Series[Any]:
    """Return the class of each row, by the same index.

    Needs the columns `ROW`: `da` and `sa` are the evaluated results (not said is False);
    `passing` the tuple of aligned (d, s) that pass; `broken`: a living aligned signature is
    there and did not pass; `foreign_pass`: raw SPF or DKIM passes for a domain that is not the
    author's, or is so but not strictly enough for the policy; `contradicts`: one passes for just
    the author's domain, which its reporter calls failed; `forward_reason`: the receiver
    says that the message was forwarded, changed by a list, or came with a valid ARC seal
    (``local_policy`` alone says nothing of it).

    `inventory`, `unidentified` and `denied` have domain, sender; `owners` dkim_domain,
    selector, sender; `passed_subdomains` the From domains that passed at least once.

    Where a reporter leaves selectors out (``""``), a sender owns the signature when it owns
    any of that d=. Where it names no passing signature at all, the inventory decides.
    """
    fails = ~rows["da"] & ~rows["sa"]
    member = is_among(rows, inventory)
    signs = _owns(rows, owners).where(rows["passing"].map(len).gt(0), member)
    # SPF passes for the author's own organisation where a sender's kind is "own"
    known = member | (rows["sender_kind"].isin((*SERVICES, "own")) & ~is_among(rows, denied))
    strange = _is_below(rows) & ~rows["header_from"].isin(passed_subdomains)
    conditions = [
        rows["da"] & rows["sa"],
        rows["da"] & signs,
        rows["da"] | (fails & rows["forward_reason"]),
        rows["sa"],
        rows["broken"] & member,
        (rows["foreign_pass"] & known) | rows["contradicts"],
        rows["broken"],
        is_among(rows, unidentified) & ~member,
        strange,
    ]
    found: Any = np.select([np.asarray(c, bool) for c in conditions], CLASSES[:-1], CLASSES[-1])
    return pd.Series(found, index=rows.index, name="class", dtype="str")


def _is_below(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return True where the author domain is a subdomain of the policy's domain."""
    pairs = rows["header_from"].astype(str) + "\n." + rows["domain"].astype(str)
    codes, distinct = pd.factorize(pairs)
    parts = (pair.partition("\n") for pair in distinct)
    below = np.array([author.endswith(domain) for author, _, domain in parts], dtype=bool)
    return below[codes]


def is_among(rows: pd.DataFrame, senders: pd.DataFrame) -> pd.Series[bool]:
    """Return True where the row's domain and sender are a row of `senders`."""
    wanted, pairs = set(_pairs(senders)), _pairs(rows)
    return pd.Series([pair in wanted for pair in pairs], index=rows.index, dtype=bool)


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    return zip(frame["domain"].tolist(), frame["sender"].tolist(), strict=True)


def _owns(rows: pd.DataFrame, owners: pd.DataFrame) -> pd.Series[Any]:
    """Return True where the sender owns one of the row's passing signatures."""
    owned = set(zip(*(owners[c].tolist() for c in owners.columns), strict=True))
    owned |= {(domain, "", sender) for domain, _, sender in owned}
    pairs = zip(rows["sender"].tolist(), rows["passing"], strict=True)
    found = [any((d, s, sender) in owned for d, s in passing) for sender, passing in pairs]
    return pd.Series(found, index=rows.index, dtype=bool)
