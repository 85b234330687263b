"""Who delivered the messages: a service or organisation, not an address.

DKIM says who signed, and a signature survives relays; SPF, PTR and the network say who
delivered. First match wins:

1. a declared sender: by network, or by the domain whose SPF passes (by DKIM: see 2 to 4);
2. SPF passes for a domain foreign to the author: a declared sender by the DKIM domain that
   signed, unless this is a relay (as in 4, or by the kind of the SPF domain's service); else
   the service of the SPF domain, else its organisational domain;
3. SPF passes for the author's own organisation: the service that signed too (a declared
   DKIM domain, else a foreign ``d=`` in the table), else the service of PTR or network
   (not who lets the machine), else the author's organisation;
4. SPF does not pass: PTR, the operator of the network; else the service that signed, unless
   that signature also passes where the service delivers for this author with passing SPF
   (then this is a relay);
5. an address that delivers for this author, where that is known, nearly always for one
   sender (`MOSTLY`) belongs to it, whatever host or network it is in;
6. else the network: IPv4 /24, IPv6 /48.

"SPF passes" is the raw result, whatever its alignment. Rule 5 keeps a company's own server
its own while its SPF record is broken or lacks an entry, and for mail that it does not sign.

A row of the curated table `data/senders.csv` is a domain suffix that a service uses for return
paths (SPF), DKIM ``d=`` or the names of its hosts (PTR), with the service's name, its kind, and
where that can be checked. The longest suffix of whole labels wins.

A lake has millions of rows and few senders: `Senders` gives each sender a number, looks
distinct values up once, and writes the names out at the end.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core import DeclaredSender, _, later, normalize_domain
from dmarckit.facts.networks import NetworkName, inside, network_key, organisation, organisations


class Sender(NamedTuple):
    """A service or organisation that delivers mail."""

    name: str
    kind: str


class SenderTable:
    """Domain suffix → sender, looked up by whole labels, the longest suffix first."""

    def __init__(self, senders: Mapping[str, Sender]) -> None:
        self._senders = dict(senders)
        self._known: dict[str, Sender | None] = {}

    def lookup(self, domain: str | None) -> Sender | None:
        """Return the sender that the domain belongs to; None when the table has no suffix of it.

        >>> table = SenderTable({"mail.example": Sender("Example Mail", "email service")})
        >>> table.lookup("u1.Mail.example.").name
        'Example Mail'
        >>> table.lookup("notmail.example") is None
        True
        """
        if not domain:
            return None
        if domain not in self._known:
            self._known[domain] = self._longest(normalize_domain(domain).lstrip("."))
        return self._known[domain]

    def _longest(self, name: str) -> Sender | None:
        while name:
            if name in self._senders:
                return self._senders[name]
            name = name.partition(".")[2]
        return None

    def __len__(self) -> int:
        return len(self._senders)


def read_rows(lines: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a table in CSV: suffix, sender, kind, source."""
    return list(csv.DictReader(lines))


def _rows_of(name: str) -> list[dict[str, str]]:
    text = (files("dmarckit") / "facts" / "data" / name).read_text("utf-8")
    return read_rows(text.splitlines())


@cache
def load_table() -> SenderTable:
    """Read the table that comes with the package."""
    rows = _rows_of("senders.csv")
    return SenderTable({row["suffix"]: Sender(row["sender"], row["kind"]) for row in rows})


class HowTo(NamedTuple):
    """What a service needs to sign as its customer's domain; an empty field is not known.

    `data/README.md` says what the fields hold.
    """

    sender: str
    dkim_type: str
    dkim_records: int | None
    dkim_names: tuple[str, ...]
    return_path: str
    screen: str
    manual: str


@cache
def load_howtos() -> dict[str, HowTo]:
    """Read what the services that people use most need, by the sender's name."""
    return {
        row["sender"]: HowTo(
            row["sender"],
            row["dkim_type"],
            int(row["dkim_records"]) if row["dkim_records"] else None,
            tuple(filter(None, row["dkim_names"].split(", "))),
            row["return_path"],
            row["screen"],
            row["manual"],
        )
        for row in _rows_of("howto.csv")
    }


def howto(sender: str) -> HowTo | None:
    """Return what the service of that name needs to sign; None when nobody wrote it down."""
    return load_howtos().get(sender)


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
        """Return the sender's number; `NONE` for none."""
        return NONE if sender is None else self._codes.setdefault(sender, len(self._codes))

    def of_each(self, values: pd.Series, sender_of: Callable[[str], Sender | None]) -> Codes:
        """Return the sender of each value; `sender_of` is asked once per distinct one."""
        places, distinct = pd.factorize(values)
        codes = [self.code(sender_of(value)) for value in distinct.tolist()]
        return np.array([*codes, NONE], np.int64)[places]  # null has the place -1: the last

    def named(self, frame: pd.DataFrame, codes: Codes) -> pd.DataFrame:
        """Add `sender` and `sender_kind` to `frame`; every row has a sender by now."""
        columns = {"sender": [s.name for s in self._codes]}
        columns["sender_kind"] = [s.kind for s in self._codes]
        named = {}
        for column, names in columns.items():
            places, distinct = pd.factorize(pd.Index(names, dtype=object))
            named[column] = pd.Categorical.from_codes(places[codes], categories=distinct)
        return frame.assign(**named)

    def order(self) -> pd.DataFrame:
        """Return a row per sender (index: its number): name, and place of its kind in `NEAREST`."""
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
        """Return the service that signed each row's messages; of several, the author's nearest.

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
    """Return a row per set and signature in it: set, signature (a number), domain, organisation."""
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
    """Return the domains of declared senders as a table; the first sender of a domain keeps it."""
    table: dict[str, Sender] = {}
    for names, declared in domains:
        for name in names:
            table.setdefault(
                normalize_domain(name).lstrip("."), Sender(declared.name, declared.kind)
            )
    return SenderTable(table)


MOSTLY = 0.9
"""share of an address's messages that must be one sender's for the others to be so too"""

RELAYING = ("mailbox provider", "security gateway", "mailing list", "forwarder")
"""kinds that pass on what others signed"""
NO_ADDRESS = Sender("no address", "unknown")
"""Who sent what was reported without an address or any other trace."""


def attribute(
    sources: pd.DataFrame,
    *,
    declared: Sequence[DeclaredSender],
    table: SenderTable,
    ptr: Mapping[str, str | None] | None = None,
    networks: Mapping[str, NetworkName] | None = None,
) -> pd.DataFrame:
    """Return the rows of `sources` with `sender` and `sender_kind`.

    `sources` has one row per distinct source_ip, domain (of the policy), header_from,
    spf_pass_domain (domain of the passing raw SPF result, else null) and dkim_pass (tuple of
    (domain, selector) that pass, maybe empty), and `messages`. `ptr` gives the confirmed host
    name of an address, `networks` the name of its network; an address that is missing there has
    none. What is declared with a domain holds at that policy domain only.

    Same rows, order and index; the input is not changed. Empty in, empty out.

    Raises:
        SettingsError: a declared network is none.
    """
    known = _Hosts(table, ptr or {}, networks or {})
    scopes = {d.domain for d in declared if d.networks or d.dkim_domains or d.spf_domains}
    if not scopes - {""}:
        return _attribute(sources, [d for d in declared if not d.domain], table, known)
    scope = sources["domain"].astype(object).where(sources["domain"].isin(scopes), "")
    parts = [
        _attribute(rows, [d for d in declared if d.domain in ("", domain)], table, known)
        for domain, rows in sources.groupby(scope)
    ]
    return (
        pd.concat(parts).reindex(sources.index) if parts else _attribute(sources, (), table, known)
    )


def _attribute(
    sources: pd.DataFrame, declared: Sequence[DeclaredSender], table: SenderTable, hosts: _Hosts
) -> pd.DataFrame:
    """Return the rows of `attribute`; what is `declared` holds for all of them."""
    senders = Senders()
    address, spf = sources["source_ip"], sources["spf_pass_domain"]
    author = organisations(sources["header_from"])
    passes = spf.notna().to_numpy(bool)
    foreign = passes & (organisations(spf) != author).to_numpy(bool)
    declared_dkim = declared_domains((d.dkim_domains, d) for d in declared)
    declared_spf = declared_domains((d.spf_domains, d) for d in declared)
    signers = Signers(sources["dkim_pass"], author, senders, declared_dkim, table)

    found = _in_declared_networks(address, senders, declared)
    found = _fill(found, senders.of_each(spf, declared_spf.lookup), passes)
    found = _fill(found, senders.of_each(spf, lambda d: _relaying(table.lookup(d))), foreign)
    if any(d.dkim_domains for d in declared):
        elsewhere = np.where(passes, _fill(found, signers.nearest(), passes & ~foreign), NONE)
        found = _fill(found, signers.nearest(besides=elsewhere, declared_only=True), foreign)
    found = _fill(found, senders.of_each(spf, lambda d: table.lookup(d) or _itself(d)), foreign)
    own = senders.of_each(author, lambda name: Sender(name, "own"))
    for rule_3 in (signers.nearest(), senders.of_each(address.where(passes), hosts.service), own):
        found = _fill(found, rule_3, passes)

    delivered = np.where(passes, found, NONE)
    same = _at_same_address(address, author, delivered, sources["messages"])
    host = senders.of_each(address, hosts.name)
    found = _fill(found, signers.nearest(besides=delivered), ~passes & (host == NONE))
    for rule in (same, host):
        found = _fill(found, rule, ~passes)

    rest = found == NONE
    found[rest] = senders.of_each(address[rest], _network)
    found[found == NONE] = senders.code(NO_ADDRESS)
    return senders.named(sources, found)


def _fill(found: Codes, more: Codes, where: NDArray[np.bool_]) -> Codes:
    """Return `found`, and `more` in those rows of `where` that have no sender yet."""
    return np.where((found == NONE) & where, more, found)


def _relaying(service: Sender | None) -> Sender | None:
    return service if service and service.kind in RELAYING else None


def _itself(domain: str) -> Sender:
    """Return a sender for a foreign domain that the table does not know: the domain itself."""
    return Sender(organisation(domain), "unknown")


def _network(address: str) -> Sender:
    return Sender(network_key(address), "unknown") if address else NO_ADDRESS


def _in_declared_networks(
    address: pd.Series, senders: Senders, declared: Sequence[DeclaredSender]
) -> Codes:
    found = np.full(len(address), NONE, np.int64)
    for sender in declared:
        code = senders.code(Sender(sender.name, sender.kind))
        found = np.where((found == NONE) & inside(address, sender.networks), code, found)
    return found


def _at_same_address(
    address: pd.Series, author: pd.Series, delivered: Codes, messages: pd.Series
) -> Codes:
    """Return who delivers nearly all from the same address for the same author.

    Only what is known to be somebody's counts: a message whose SPF passes, or a declared sender's.
    """
    addresses, _ = pd.factorize(address)
    authors, distinct = pd.factorize(author)
    place, _ = pd.factorize(addresses * (len(distinct) + 1) + authors)
    rows = pd.DataFrame({"place": place, "sender": delivered, "messages": messages.to_numpy(float)})
    known = rows[(rows["sender"] != NONE) & address.notna().to_numpy(bool)]
    sums = known.groupby(["place", "sender"], sort=True)["messages"].sum().reset_index()
    all_of_place = sums.groupby("place")["messages"].transform("sum")
    most = sums[sums["messages"] >= MOSTLY * all_of_place]
    by_place = np.full(len(rows) + 1, NONE, np.int64)
    by_place[most["place"]] = most["sender"]
    return by_place[rows["place"]]


class _Hosts:
    """What PTR and the network's name say about an address."""

    def __init__(
        self,
        table: SenderTable,
        ptr: Mapping[str, str | None],
        networks: Mapping[str, NetworkName],
    ) -> None:
        self._table, self._ptr, self._networks = table, ptr, networks

    def service(self, address: str) -> Sender | None:
        """Return the service in the table that runs the host, else the network; no landlord."""
        network = self._networks.get(address)
        service = self._table.lookup(self._ptr.get(address)) or (
            self._table.lookup(network.domain) if network else None
        )
        return service if service and service.kind != "hosting" else None

    def name(self, address: str) -> Sender | None:
        """Return the service, or else the host or network itself."""
        host, network = self._ptr.get(address), self._networks.get(address)
        if host:
            return self._table.lookup(host) or _itself(host)
        if network:
            return self._table.lookup(network.domain) or Sender(network.name, "unknown")
        return None


_KINDS = {
    "mailbox provider": later("mailbox provider"),
    "email service": later("email service"),
    "marketing": later("marketing"),
    "crm": later("CRM"),
    "ticketing": later("ticketing"),
    "security gateway": later("security gateway"),
    "mailing list": later("mailing list"),
    "forwarder": later("forwarder"),
    "hosting": later("hosting"),
    "own": later("own"),
    "unknown": later("unknown"),
}


def kind_word(kind: object) -> str:
    """Return the kind of a sender in the language in use; one of the user's own as it stands.

    >>> kind_word("mailing list")
    'mailing list'
    """
    return _(_KINDS[str(kind)]) if str(kind) in _KINDS else str(kind)
