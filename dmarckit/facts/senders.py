"""Who delivered the messages: a service or organisation, not an address.

DKIM says who signed, and a signature survives relays; SPF, PTR and the network say who
delivered. First match wins:

1. a declared sender: by network, or by the domain whose SPF passes (by DKIM: see 2 to 4);
2. SPF passes for a domain foreign to the author: a declared sender by the DKIM domain that
   signed, unless this is a relay (as in 4, or by the kind of the SPF domain's service); else
   the service of the SPF domain, else its organisational domain;
3. SPF passes for the author's own organisation: the service that signed too (a declared
   DKIM domain, else a foreign ``d=`` in the table), else the service of PTR or network,
   else the author's organisation;
4. SPF does not pass: what the same address delivers for the same author where SPF passes;
   else PTR, network name; else the service that signed, unless that signature also passes
   where the service delivers for this author with passing SPF (then this is a relay);
5. else the network: IPv4 /24, IPv6 /48.

"SPF passes" is the raw result, whatever its alignment. The first part of rule 4 keeps a
company's own server its own while its SPF record is broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core.settings_parts import DeclaredSender
from dmarckit.facts.networks import NetworkName, inside, network_key
from dmarckit.facts.organisation import organisation, organisations
from dmarckit.facts.sender_codes import NONE, Codes, Senders, Signers, declared_domains
from dmarckit.facts.sender_table import Sender, SenderTable

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
    """The rows of `sources` with `sender` and `sender_kind`.

    `sources` has one row per distinct source_ip, header_from, spf_pass_domain (domain of
    the passing raw SPF result, else null) and dkim_pass (tuple of (domain, selector) that
    pass, maybe empty), and `messages`. `ptr` gives the confirmed host name of an address,
    `networks` the name of its network; an address that is missing there has none.

    Same rows, order and index; the input is not changed. Empty in, empty out.

    Raises:
        SettingsError: a declared network is none.
    """
    senders, hosts = Senders(), _Hosts(table, ptr or {}, networks or {})
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
    for rule_3 in (signers.nearest(), senders.of_each(address, hosts.service), own):
        found = _fill(found, rule_3, passes)

    delivered = np.where(passes, found, NONE)
    same = _at_same_address(address, author, delivered, sources["messages"])
    host = senders.of_each(address, hosts.name)
    for rule_4 in (same, host, signers.nearest(besides=delivered)):
        found = _fill(found, rule_4, ~passes)

    rest = found == NONE
    found[rest] = senders.of_each(address[rest].fillna(""), _network)
    return senders.named(sources, found)


def _fill(found: Codes, more: Codes, where: NDArray[np.bool_]) -> Codes:
    """`found`, and `more` in those rows of `where` that have no sender yet."""
    return np.where((found == NONE) & where, more, found)


def _relaying(service: Sender | None) -> Sender | None:
    return service if service and service.kind in RELAYING else None


def _itself(domain: str) -> Sender:
    """A foreign domain that the table does not know stands for itself."""
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
    """Who delivers most from the same address for the same author where SPF passes."""
    addresses, _ = pd.factorize(address)
    authors, distinct = pd.factorize(author)
    place, _ = pd.factorize(addresses * (len(distinct) + 1) + authors)
    rows = pd.DataFrame({"place": place, "sender": delivered, "messages": messages.to_numpy()})
    known = rows[(rows["sender"] != NONE) & address.notna().to_numpy(bool)]
    sums = known.groupby(["place", "sender"], sort=True)["messages"].sum().reset_index()
    most = sums.sort_values("messages", ascending=False, kind="stable").drop_duplicates("place")
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
        """The service in the table that runs the host, else the network."""
        network = self._networks.get(address)
        return self._table.lookup(self._ptr.get(address)) or (
            self._table.lookup(network.domain) if network else None
        )

    def name(self, address: str) -> Sender | None:
        """As `service`, but a host or network that the table does not know stands for itself."""
        host, network = self._ptr.get(address), self._networks.get(address)
        if host:
            return self._table.lookup(host) or _itself(host)
        if network:
            return self._table.lookup(network.domain) or Sender(network.name, "unknown")
        return None
