"""The small frames that everything after the lake works on: their columns, types and sums by day.

Days are UTC midnights. Counts are messages; they are whole numbers (int64) unless a report
of more than 24 hours had to be spread over its days, then fractions (float64). A text that
no reporter gave is the empty text, so that no grouping loses its messages.

Texts of the frames that can be large are categoricals, which a fleet's millions of rows
need: group them with ``observed=True`` (pandas 2 wants it said), and take
``.astype("str")`` of a small result before its values become column names or change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dmarckit.core import Window
from dmarckit.facts.classify import CLASSES

TEXT: Any = pd.Series(dtype="str").dtype
NAME, WHOLE, FLAG = "category", np.dtype("int64"), np.dtype("bool")
TIME = pd.DatetimeTZDtype("us", "UTC")

_KINDS = {"text": TEXT, "name": NAME, "whole": WHOLE, "flag": FLAG, "time": TIME}


def _columns(text: str) -> dict[str, Any]:
    """Read ``domain name, day time, …``: columns with a kind (`_KINDS`) or a type of pandas."""
    pairs = (part.split() for part in text.split(","))
    return {column: _KINDS.get(kind, kind) for column, kind in pairs}


COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "messages": _columns(
        "domain name, day time, reporter name, provider name, sender name, sender_kind name, "
        "header_from name, class name, disposition name, da flag, sa flag, in_inventory flag, "
        "ours flag, messages whole"
    ),
    "signatures": _columns(
        "domain name, day time, reporter name, provider name, sender name, in_inventory flag, "
        "ours flag, header_from name, dkim_domain name, selector name, passed flag, "
        "aligned flag, living flag, covered flag, disposition name, messages whole"
    ),
    "failing_hosts": _columns(
        "domain name, dkim_domain name, selector name, source_ip name, failed whole, "
        "passed whole, hosts whole"
    ),
    "unidentified": _columns(
        "domain name, sender name, sender_kind name, proves name, days whole, networks whole, "
        "addresses whole, messages whole, first_day time, last_day time"
    ),
    "spf": _columns(
        "domain name, day time, reporter name, provider name, sender name, spf_domain name, "
        "result name, messages whole"
    ),
    "requirements": _columns(
        "domain name, day time, reporter name, provider name, sender name, header_from name, "
        "source_ip name, code name, smtp name, messages whole"
    ),
    "contradictions": _columns(
        "domain name, day time, reporter name, provider name, sender name, header_from name, "
        "dkim flag, messages whole"
    ),
    "unhonoured": _columns("domain name, day time, reporter name, messages whole"),
    "sources": _columns(
        "domain name, sender name, source_ip name, messages whole, failed whole, first_day time, "
        "last_day time"
    ),
    "alignments": _columns(
        "domain name, day time, sender name, header_from name, class name, in_inventory flag, "
        "da flag, sa flag, dkim_relaxed flag, dkim_strict flag, spf_relaxed flag, "
        "spf_strict flag, messages whole"
    ),
    "addresses": _columns("domain name, sender name, last_day time, addresses whole"),
    "policies": _columns(
        "domain text, reporter text, begin time, end time, p text, sp text, np text, pct Int64, "
        "testing text, adkim text, aspf text, spelling text, contact text, sent_by text"
    ),
    "reports": _columns(
        "domain text, reporter text, begin time, end time, received time, spelling text, "
        "contact text, sent_by text, provider text, oddity text, report_uid text"
    ),
    "inventory": _columns(
        "domain text, sender text, sender_kind text, declared flag, sa_messages whole, "
        "owns object, messages whole, first_day time, last_day time"
    ),
    "denied": _columns("domain text, sender text"),
    "tls": _columns(
        "policy_domain text, begin time, end time, reporter text, policy_type text, "
        "successful whole, failed whole, result_type text, failed_sessions whole, mx_hosts text"
    ),
    "mails": _columns("received time, from_domain text, outcome text, error text"),
    "dead_letters": _columns("seen time, queue text, reason text"),
    "beyond": _columns("domain text, what text, names whole, messages whole"),
}
"""Frame → column → type."""


@dataclass(frozen=True)
class Facts:
    """What the records of a window say, reduced. Nobody may change the frames.

    Those made of records are in the order of domains, and of days, as far as they have them.

    `reporter` is one name for all spellings of a reporter (`reporters.identify`); `provider` the
    reporter of the shipped table that it is, ``Enterprise Outlook`` apart from Microsoft, or
    empty.

    Where a frame has no row, it has its columns and types all the same (`COLUMNS`).
    """

    now: datetime
    """the moment from which is looked back; nothing that begins later is in the frames"""
    start: datetime
    """first day of the window (a UTC midnight)"""
    messages: pd.DataFrame
    """one row per domain, day, reporter, sender, author domain, class, disposition, da, sa.
    `ours`: the sender is in the inventory, or its class is unaligned_sender or unidentified;
    never what was denied"""
    signatures: pd.DataFrame
    """messages that carry a DKIM signature (d=, s=), by domain, day, reporter, sender and author.
    A message with two signatures is in two rows. `passed`: the raw result is pass;
    `aligned`: d= and the author share the organisational domain; `ours`: the sender is in the
    inventory, a known service or unidentified, whatever the class, and not denied; `living`:
    (d, s) passed aligned at least once in the history, at any domain and sender; `covered`: another
    aligned signature of the same message passes"""
    failing_hosts: pd.DataFrame
    """addresses that sent ours with an aligned signature in the last 7 days: one row per domain,
    (d, s) and address, with the messages on which it `failed` (`covered` ones are left out) and
    `passed`; of each signature that failed at all the 20 addresses with the most failures.
    `hosts`: how many addresses carry it, those without a row too"""
    unidentified: pd.DataFrame
    """one row per domain and sender of class unidentified. `proves`: the domain as which it
    authenticates, or empty; `days`, `networks`, `addresses`, `messages`: of the last 30 days;
    `first_day`, `last_day`: of the whole history"""
    spf: pd.DataFrame
    """messages by their raw SPF result: of MAIL FROM, or of HELO when the first is not there"""
    requirements: pd.DataFrame
    """messages that a receiver marked with a sender requirement, by author and address: enhanced
    `code` (``5.7.30``) and `smtp` reply (``550``)"""
    contradictions: pd.DataFrame
    """messages that a reporter says fail although, as it says too, a DKIM signature (`dkim`) or SPF
    passes for just the author's domain"""
    unhonoured: pd.DataFrame
    """messages that failed under reject and were delivered without a reason"""
    sources: pd.DataFrame
    """the 20 addresses with the most messages of each (domain, sender); `failed`: how many of
    them failed DMARC in the last 7 days"""
    addresses: pd.DataFrame
    """how many addresses of each (domain, sender) were seen last on a day; those with
    `last_day` from a day on are the ones seen since that day"""
    alignments: pd.DataFrame
    """messages by what their raw passing results are aligned with, whatever the policy in force
    asks: the author's domain itself (`strict`) or its organisation (`relaxed`)"""
    policies: pd.DataFrame
    """the published policy as quoted, one row a report; a tag that is not there is empty"""
    reports: pd.DataFrame
    """one row a report, with or without records; `received`: when its mail came (NaT: unknown).
    `spelling`, `contact` and `sent_by` (From domain that passed DMARC) are as the report has
    them. `oddity`: ``rival`` (another with its id says something else), ``repeated`` (says again
    what another says, and does not count), ``misplaced NAME`` (names NAME, below `domain`, whose
    record it is), ``settled`` (the setting `reporters` has its reporter) or empty; `report_uid` is
    there where it is repeated or misplaced"""
    inventory: pd.DataFrame
    """one row per (domain, sender) of a domain's inventory (`classify.inventory`);
    `owns`: tuple of (d, s). Declared senders that sent nothing in the window are not in it"""
    denied: pd.DataFrame
    """one row per (domain, sender) that sent, and was decided not to be ours"""
    tls: pd.DataFrame
    """policies of TLS reports, one row a result type, at least one a policy. `successful` and
    `failed` are those of the policy and stand in its first row only (0 in the others), so that
    sums are right; without failures `result_type` is empty and `failed_sessions` 0. `mx_hosts`:
    the hosts of its failures (at most 20), with spaces between"""
    mails: pd.DataFrame
    """objects received in the window, with what became of them"""
    dead_letters: pd.DataFrame
    """messages of the queue of arrivals that could not be taken, first seen in the window"""
    beyond: pd.DataFrame
    """how many names, with how many messages, were left out because there are too many: ``domain``
    (`load.MOST_DOMAINS`), or of a domain ``signature``, ``spf_domain``, ``code`` or ``reporter``
    (`sql.BOUNDED`)"""


def typed(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with the columns of the frame `name`, in order, in their types.

    Texts that are missing become empty; counts stay fractions where they are.
    """
    kinds = COLUMNS[name]
    if frame.empty and kinds.keys() <= set(frame):
        return _nothing(name)
    lacks = [c for c, kind in kinds.items() if c not in frame and kind in (TEXT, NAME)]
    frame = frame.assign(**dict.fromkeys(lacks, "")) if lacks else frame
    columns = {c: _as(frame[c], kind) for c, kind in kinds.items()}
    return pd.DataFrame(columns).reset_index(drop=True)


def _as(values: pd.Series[Any], kind: Any) -> pd.Series[Any]:
    if values.dtype == kind and not (kind == TEXT and values.hasnans):
        return values
    if kind in (TEXT, NAME):
        texts: pd.Series[Any] = values.astype(object).where(values.notna(), "")
        return texts.astype(TEXT).astype(kind)
    if kind == WHOLE and bool((values % 1 != 0).any()):
        return values.astype("float64")
    return values.astype(kind)


def empty_facts(now: datetime, start: datetime, **frames: pd.DataFrame) -> Facts:
    """Make facts without any row, or with the named `frames`, for tests and empty lakes.

    A text that a frame lacks is empty; another column that it lacks is an error (KeyError), and
    superfluous columns are dropped.
    """
    unknown = frames.keys() - COLUMNS.keys()
    if unknown:
        raise KeyError(f"no frame {min(unknown)}; there are {', '.join(COLUMNS)}")
    given = {name: typed(name, frames.get(name, _nothing(name))) for name in COLUMNS}
    names = [f.name for f in fields(Facts) if f.name in COLUMNS]
    return Facts(now=now, start=start, **{name: given[name] for name in names})


@cache
def _nothing(name: str) -> pd.DataFrame:
    return pd.DataFrame({c: pd.Series(dtype=kind) for c, kind in COLUMNS[name].items()})


MOST = 0.8
"""share of the domains that must be complete for a day of the fleet to be complete"""


def in_window(frame: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return the rows whose `day` lies in the window."""
    return frame[(frame["day"] >= window.start) & (frame["day"] < window.end)]


def days_of(window: Window) -> pd.DatetimeIndex:
    """Return every day of the window, as the facts write days."""
    return pd.date_range(window.start, periods=window.days, freq="D", name="day", unit="us")


def classes_by_day(messages: pd.DataFrame, complete: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return a row a day of the window: `day`, `messages`, a column a class, `complete`.

    Takes `Facts.messages` and `complete_days`, of one domain or of many. Fractions of spread
    reports are rounded here. `complete` is True unless fewer than `MOST` of the domains are
    complete on that day; a day that no domain has a row for is complete, with zeros.
    """
    days = days_of(window)
    rows = in_window(messages, window)
    sums = rows.groupby(["day", "class"], observed=True)["messages"].sum().unstack("class")
    sums.columns = sums.columns.astype("str")
    table = sums.reindex(index=days, columns=list(CLASSES)).fillna(0).round().astype("int64")
    table.insert(0, "messages", table.sum(axis=1))
    table = table.assign(complete=whole_days(complete, window))
    return table.rename_axis("day").reset_index()


def whole_days(complete: pd.DataFrame, window: Window) -> pd.Series[bool]:
    """Return, by the days of the window, whether enough domains are complete, or none is known."""
    share = in_window(complete, window).groupby("day")["complete"].mean()
    return share.reindex(days_of(window)).fillna(1) >= MOST


def pass_shares(facts: Facts, complete: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return the share of messages that pass, one row per domain and day with messages.

    Columns: `domain`, `day`, `messages`, `passing`, `pass_share` [0-1], `complete`.
    """
    rows = in_window(facts.messages, window)
    passing = rows["messages"].where(rows["da"] | rows["sa"], 0)
    sums = rows.assign(passing=passing).groupby(["domain", "day"], observed=True)
    table = sums[["messages", "passing"]].sum().reset_index().astype({"domain": "str"})
    table = table.merge(complete[["domain", "day", "complete"]], how="left", on=["domain", "day"])
    known = table["complete"].astype("boolean").fillna(False).astype(bool)
    return table.assign(pass_share=table["passing"] / table["messages"], complete=known)[
        ["domain", "day", "messages", "passing", "pass_share", "complete"]
    ]
