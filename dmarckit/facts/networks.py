"""What an address or a domain says by itself: country, network and its name, organisation.

Country comes from the data of iptocc, offline. Operators of networks come from the user's own
MMDB file (setting `mmdb`; IPinfo, GeoLite2 ASN and DB-IP ASN Lite are understood), else from the
data of plevin. No query leaves the machine. The organisational domain, what one company
registered, is that of the Public Suffix List.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmarckit.core import (
    MissingExtra,
    SettingsError,
    normalize_domain,
    one_line,
    public_suffixes,
)


class NetworkName(NamedTuple):
    """Who runs a network: its name with the AS number, and its domain where one is known."""

    name: str
    domain: str | None = None


MOST_NETWORKS = 20_000
"""networks whose operator is looked up in one analysis; each costs about 0.3 ms the first time"""

_V4 = (socket.AF_INET, 4, 24)
_V6 = (socket.AF_INET6, 16, 48)
"""address family, bytes of an address, bits of the network that it counts as"""


def network_key(address: str) -> str:
    """Return the network that an address counts as: IPv4 /24, IPv6 /48.

    What is no address is returned as it is.

    >>> network_key("192.0.2.77"), network_key("2001:db8:1:2::3")
    ('192.0.2.0/24', '2001:db8:1::/48')
    """
    # a lake has millions of addresses: the socket functions are ten times faster here
    family, size, bits = _V6 if ":" in address else _V4
    try:
        packed = socket.inet_pton(family, address)
    except (OSError, ValueError):
        return address
    start = packed[: bits // 8].ljust(size, b"\0")
    return f"{socket.inet_ntop(family, start)}/{bits}"


def inside(addresses: pd.Series, networks: Sequence[str]) -> NDArray[np.bool_]:
    """Return which addresses lie in one of the networks (``192.0.2.0/24``, or one address).

    Null and what is no address lie in none.

    Raises:
        SettingsError: what should be a network is none.
    """
    wanted = [_network(text) for text in networks]
    if not wanted:
        return np.zeros(len(addresses), dtype=bool)
    codes, distinct = pd.factorize(addresses)
    texts = distinct.tolist()
    found = np.zeros(len(texts) + 1, dtype=bool)  # the last one is that of null (-1)
    for family, size, _ in (_V4, _V6):
        places, packed = _packed(texts, family, size)
        for network in (n for n in wanted if n.max_prefixlen == size * 8):
            mask = np.frombuffer(network.netmask.packed, np.uint8)
            start = np.frombuffer(network.network_address.packed, np.uint8)
            found[places] |= ((packed & mask) == start).all(axis=1)
    return found[codes]


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise SettingsError(
            f"setting senders: {one_line(text)!r} is no network; write it as 192.0.2.0/24"
        ) from error


def _packed(
    addresses: Iterable[str], family: socket.AddressFamily, size: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the places of the addresses of this family, and a row of bytes for each."""
    places, packed = [], bytearray()
    for place, address in enumerate(addresses):
        try:
            packed += socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
        places.append(place)
    return np.array(places, np.int64), np.frombuffer(packed, np.uint8).reshape(-1, size)


def countries(addresses: pd.Series) -> pd.Series:
    """Return the country of each address (ISO 3166, two letters); null where nobody has it.

    Same index; the input is not changed.
    """
    import iptocc

    codes, distinct = pd.factorize(addresses)
    found = pd.Series(iptocc.country_code([str(a) for a in distinct]), dtype=object)
    return found.reindex(codes).set_axis(addresses.index)


def network_names(addresses: Iterable[str], mmdb: Path | None) -> dict[str, NetworkName]:
    """Return who runs the network of each address, as far as it is known.

    The user's own MMDB file comes first, then the data of plevin where it is installed
    (``dmarckit[networks]``), for the first `MOST_NETWORKS` networks.

    Raises:
        MissingExtra: maxminddb is not installed.
        SettingsError: the file cannot be read, or is no MMDB file.
    """
    found: dict[str, NetworkName | None] = {}
    listed = list(addresses)
    if mmdb is not None:
        try:
            import maxminddb
        except ImportError as error:
            raise MissingExtra(
                "the setting mmdb needs maxminddb; install it with: pip install 'dmarckit[mmdb]'"
            ) from error
        try:
            with maxminddb.open_database(mmdb) as reader:
                found = {address: _name(_entry(reader, address)) for address in listed}
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            raise SettingsError(f"setting mmdb: cannot read {mmdb}: {one_line(error)}") from error
    if knows_networks(None):
        first: dict[str, str] = {}
        for address in listed:
            first.setdefault(network_key(address), address)
        names = {key: _operator(a) for key, a in islice(first.items(), MOST_NETWORKS)}
        found |= {a: names.get(network_key(a)) for a in listed if found.get(a) is None}
    return {address: name for address, name in found.items() if name is not None}


def knows_networks(mmdb: Path | None) -> bool:
    """Return True if anything names networks: the MMDB file, or plevin's data."""
    return mmdb is not None or find_spec("plevin_db_network") is not None


@lru_cache(maxsize=1 << 16)
def _operator(address: str) -> NetworkName | None:
    """Return the operator of the address's network in the data of plevin."""
    import plevin

    try:
        network = plevin.lookup(address).network
    except ValueError:  # no address
        return None
    if network is None or network.operator is None or network.asn is None:
        return None
    return _named(
        network.operator.brand or network.operator.company, network.operator.domain, network.asn
    )


def _named(name: object, domain: object, asn: object) -> NetworkName | None:
    """Return a name with its AS number; a public suffix is nobody's domain."""
    text = one_line(name or domain or "", 80)
    number = re.sub(r"^AS", "", str(asn or ""), flags=re.IGNORECASE)
    if not text:
        return None
    text += f" (AS{number})" if number.isdecimal() else ""
    ours = domain if domain and public_suffixes().privatesuffix(str(domain)) else None
    return NetworkName(text, str(ours) if ours else None)


def about_addresses(
    addresses: pd.Series, hosts: Mapping[str, str | None], mmdb: Path | None
) -> pd.DataFrame:
    """Return `host`, `country` and `network` of distinct addresses, by the same index.

    `hosts` are confirmed names (`ptr.host_names`). The network is its operator's name
    (`network_names`), else its range.
    """
    names = network_names(addresses, mmdb)
    networks = [names[ip].name if ip in names else network_key(ip) for ip in addresses]
    return pd.DataFrame(
        {
            "host": addresses.map(hosts).astype(object),
            "country": countries(addresses),
            "network": pd.Series(networks, index=addresses.index, dtype=object),
        }
    )


def _entry(reader: object, address: str) -> Mapping[str, object]:
    try:
        entry = reader.get(address)  # type: ignore[attr-defined]
    except ValueError:  # no address, or IPv6 in a file of IPv4
        return {}
    return entry if isinstance(entry, dict) else {}


def _name(entry: Mapping[str, object]) -> NetworkName | None:
    """Read the fields of IPinfo (`as_name`, `as_domain`, `asn`) or GeoLite2 and DB-IP."""
    name = entry.get("as_name") or entry.get("autonomous_system_organization")
    asn = entry.get("asn") or entry.get("autonomous_system_number")
    return _named(name, entry.get("as_domain"), asn)


@lru_cache(maxsize=1 << 18)
def organisation(domain: str) -> str:
    """Return the organisational domain (RFC 7489 section 3.2); a public suffix is its own.

    >>> organisation("News.shop.example.co.uk.")
    'example.co.uk'
    """
    name = normalize_domain(domain).lstrip(".")
    return str(public_suffixes().privatesuffix(name) or name)


def organisations(domains: pd.Series) -> pd.Series:
    """Return `organisation` of each domain, by the same index; null stays null."""
    codes, names = pd.factorize(domains)
    found = np.array([*(organisation(str(name)) for name in names), np.nan], object)
    return pd.Series(found[codes], index=domains.index)  # null has the place -1: the last
