"""Rows that hold a sender as a number, and the senders that signed them.

A lake has millions of rows and few senders: `Senders` gives each sender a number, looks
distinct values up once, and writes the names out at the end. `Signers` says which known
service signed the messages of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core.settings_parts import DeclaredSender
from dmarckit.facts.organisation import organisations
from dmarckit.facts.sender_table import Sender, SenderTable

Codes = NDArray[np.int64]
"""One number a row: which sender, or `NONE`."""

NONE = -1

# Of several services that signed one message, the one nearest to its author: a shop or a
# CRM hands its mail to an email service, and that may pass a gateway.
NEAREST = (
    *("marketing", "crm", "ticketing", "email service", "mailing list"),
    *("forwarder", "security gateway", "mailbox provider", "hosting", "own", "unknown"),
)


class Senders:
    """Every sender that rows speak of, numbered in the order in which it was met."""

    def __init__(self) -> None:
        self._codes: dict[Sender, int] = {}

    def code(self, sender: Sender | None) -> int:
        """The sender's number; `NONE` for none."""
        return NONE if sender is None else self._codes.setdefault(sender, len(self._codes))

    def of_each(self, values: pd.Series, sender_of: Callable[[str], Sender | None]) -> Codes:
        """The sender of each value; `sender_of` is asked once per distinct one, never null."""
        places, distinct = pd.factorize(values)
        codes = [self.code(sender_of(value)) for value in distinct.tolist()]
        return np.array([*codes, NONE], np.int64)[places]  # null has the place -1: the last

    def named(self, frame: pd.DataFrame, codes: Codes) -> pd.DataFrame:
        """`frame` with `sender` and `sender_kind`; every row has a sender by now."""
        senders = list(self._codes)
        names = pd.Series([s.name for s in senders], dtype=object).take(codes)
        kinds = pd.Series([s.kind for s in senders], dtype=object).take(codes)
        return frame.assign(sender=names.to_numpy(), sender_kind=kinds.to_numpy())

    def order(self) -> pd.DataFrame:
        """One row per sender (index: its number): name, and place of its kind in `NEAREST`."""
        places = {kind: place for place, kind in enumerate(NEAREST)}
        rows = [(s.name, places.get(s.kind, len(places))) for s in self._codes]
        return pd.DataFrame(rows, columns=["name", "nearness"])


class Signers:
    """Which known service signed, from the signatures that pass (`dkim_pass`) and the author.

    A declared DKIM domain comes first, then a domain in the table that is not of the
    author's organisation (that one says nothing about who delivers).
    """

    def __init__(
        self,
        dkim_pass: pd.Series,
        author: pd.Series,
        senders: Senders,
        declared: SenderTable,
        table: SenderTable,
    ) -> None:
        sets, distinct_sets = pd.factorize(dkim_pass)
        authors, distinct_authors = pd.factorize(author)
        width = len(distinct_authors) + 1
        self._pair, pairs = pd.factorize((sets + 1) * width + authors + 1)
        signatures = _signatures(distinct_sets)
        known = senders.of_each(signatures["domain"], declared.lookup)
        curated = senders.of_each(signatures["domain"], table.lookup)
        rows = pd.DataFrame(
            {"pair": np.arange(len(pairs)), "set": pairs // width - 1, "author": pairs % width - 1}
        ).merge(signatures.assign(known=known, curated=curated), on="set")
        organisation = np.array([*distinct_authors, None], object)[rows["author"]]
        foreign = (rows["organisation"] != organisation).to_numpy(bool)
        is_known = (rows["known"] != NONE).to_numpy(bool)
        sender = np.where(is_known, rows["known"], np.where(foreign, rows["curated"], NONE))
        rows = rows.assign(sender=sender, after=~is_known)
        rows = rows.loc[sender != NONE, ["pair", "author", "signature", "sender", "after"]]
        self._rows = rows.join(senders.order(), on="sender")

    def nearest(self, besides: Codes | None = None, *, declared_only: bool = False) -> Codes:
        """The service that signed each row's messages; of several, the nearest to the author.

        `besides` are the senders of rows where SPF passes: a signature that passes in such a
        row of the same author and service was made there and counts no more. With
        `declared_only` the services of the table are left out.
        """
        rows = self._rows[~self._rows["after"]] if declared_only else self._rows
        if besides is not None:
            there = pd.DataFrame({"pair": self._pair, "sender": besides}).drop_duplicates()
            made = rows.merge(there, on=["pair", "sender"])
            key = ["author", "signature", "sender"]
            seen = pd.MultiIndex.from_frame(made[key].drop_duplicates())
            rows = rows[~pd.MultiIndex.from_frame(rows[key]).isin(seen)]
        best = rows.sort_values(["pair", "after", "nearness", "name"]).drop_duplicates("pair")
        by_pair = np.full(self._pair.max(initial=NONE) + 2, NONE, np.int64)
        by_pair[best["pair"]] = best["sender"]
        return by_pair[self._pair]


def _signatures(sets: Iterable[Sequence[tuple[str | None, str | None]]]) -> pd.DataFrame:
    """One row per set and signature in it: set, signature (a number), domain, organisation."""
    rows = [
        (place, domain.lower(), selector or "")
        for place, signed in enumerate(sets)
        for domain, selector in signed
        if domain
    ]
    frame = pd.DataFrame(rows, columns=["set", "domain", "selector"]).astype({"set": "int64"})
    signature = frame.groupby(["domain", "selector"], sort=False).ngroup()
    return frame.assign(signature=signature, organisation=organisations(frame["domain"]))


def declared_domains(
    domains: Iterable[tuple[Sequence[str], DeclaredSender]],
) -> SenderTable:
    """The domains of declared senders as a table; the sender that comes first keeps them."""
    table: dict[str, Sender] = {}
    for names, declared in domains:
        for name in names:
            table.setdefault(name.lower().strip("."), Sender(declared.name, declared.kind))
    return SenderTable(table)
