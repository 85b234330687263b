"""Host names of addresses (PTR), asked once and kept in the lake.

Nothing asks DNS while mails are taken in or a page is made: those read what the table
`ptr` holds. `dmarckit senders --resolve` fills it, with bounded concurrency and time; what
it has learnt is kept after every batch, so that an interrupted run goes on where it was.

Whoever has an address writes its PTR. A name counts only when it leads back to the
address (as receivers ask of senders); any other is kept as "has no name".
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from dmarckit.core import DmarckitError, MissingExtra, SettingsError, normalize_domain, one_line
from dmarckit.lake import PTR, Lake

NAME_LASTS = timedelta(days=30)
NO_NAME_LASTS = timedelta(days=3)  # shorter: a new host often gets its name late
BATCH = 256  # addresses between two writes
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9])?")

Lookup = Callable[[str], str | None]
"""Address → its confirmed host name, None when it has none; raises `NoAnswer`."""


class NoAnswer(DmarckitError):
    """DNS gave no answer in time, or an error: nothing is known about the address."""


@dataclass(frozen=True, slots=True)
class ResolveResult:
    """What a run did; all numbers are addresses."""

    named: int
    """have a name now"""
    nameless: int
    """have none: no PTR, one that leads elsewhere, or no answer where others got theirs"""
    left: int
    """not asked, or not answered: the time was up, or nobody got an answer"""
    answered: bool
    """False: no address in a whole batch got an answer, so the resolver is out of reach"""


def host_names(lake: Lake) -> dict[str, str]:
    """Return the host name of each address that has one, by its latest answer, however old."""
    latest = lake.arrow(
        "SELECT address, name FROM ptr "
        "QUALIFY row_number() OVER (PARTITION BY address ORDER BY resolved DESC, name) = 1"
    )
    columns = latest.column("address").to_pylist(), latest.column("name").to_pylist()
    return {address: name for address, name in zip(*columns, strict=True) if name}


def resolve(
    lake: Lake,
    addresses: Iterable[str],
    *,
    lookup: Lookup,
    now: datetime,
    seconds: float = 120.0,
    workers: int = 16,
    clock: Callable[[], float] = time.monotonic,
) -> ResolveResult:
    """Ask for the addresses whose answer is missing or too old, and keep the answers.

    The first addresses are asked first. At most `workers` questions are under way at once;
    none is begun after `seconds`. `now` is when the answers count from.
    """
    end = clock() + seconds
    wanted = _due(lake, addresses, now)
    named = nameless = 0
    for start in range(0, len(wanted), BATCH):
        if clock() >= end:
            break
        batch = wanted[start : start + BATCH]
        names, silent = _ask(batch, lookup, workers, end, clock)
        if not names and silent:
            return ResolveResult(named, nameless, len(wanted) - named - nameless, answered=False)
        names |= dict.fromkeys(silent)
        _keep(lake, names, now)
        named += sum(name is not None for name in names.values())
        nameless += sum(name is None for name in names.values())
    return ResolveResult(named, nameless, len(wanted) - named - nameless, answered=True)


def _due(lake: Lake, addresses: Iterable[str], now: datetime) -> list[str]:
    fresh = lake.arrow(
        "SELECT DISTINCT address FROM ptr WHERE resolved > "
        "CASE WHEN name IS NULL THEN $no_name ELSE $named END",
        no_name=now - NO_NAME_LASTS,
        named=now - NAME_LASTS,
    )
    known = set(fresh.column("address").to_pylist())
    return [address for address in dict.fromkeys(addresses) if address and address not in known]


def _ask(
    batch: Sequence[str],
    lookup: Lookup,
    workers: int,
    end: float,
    clock: Callable[[], float],
) -> tuple[dict[str, str | None], list[str]]:
    """Return the answers by address, and the addresses that were asked for in vain."""
    names: dict[str, str | None] = {}
    silent: list[str] = []

    def ask(address: str) -> None:
        if clock() < end:
            try:
                names[address] = lookup(address)
            except NoAnswer:
                silent.append(address)

    with ThreadPoolExecutor(workers, thread_name_prefix="ptr") as pool:
        list(pool.map(ask, batch))  # raises what a lookup raises
    return names, silent


def _keep(lake: Lake, names: Mapping[str, str | None], now: datetime) -> None:
    run, month = now.isoformat(), f"{now:%Y-%m}"
    rows = [
        {"address": address, "name": name, "resolved": now, "run": run, "month": month}
        for address, name in names.items()
    ]
    if rows:
        lake.write.append_new("ptr", pa.Table.from_pylist(rows, schema=PTR.schema))


def dns_lookup(servers: Sequence[str] = (), seconds: float = 3.0) -> Lookup:
    """Make a lookup at `servers` (``192.0.2.53`` or ``192.0.2.53:5353``), else the system's.

    A question takes `seconds` at most, and its confirmation as much again.

    Raises:
        MissingExtra: dnspython is not installed.
        SettingsError: a server is no address, or the system has no resolver.
    """
    try:
        import dns.exception
        import dns.nameserver
        import dns.resolver
        import dns.reversename
    except ImportError as error:
        raise MissingExtra(
            "host names need dnspython; install it with: pip install 'dmarckit[dns]'"
        ) from error
    try:
        resolver = dns.resolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration as error:
        raise SettingsError("this machine has no DNS resolver; name one") from error
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*server_address(s)) for s in servers]
    resolver.lifetime = seconds
    nothing = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.YXDOMAIN)

    def answers(name: object, kind: str) -> list[str]:
        try:
            found = resolver.resolve(name, kind, search=False)  # type: ignore[arg-type]
        except nothing:
            return []
        except dns.exception.DNSException as error:
            raise NoAnswer(one_line(error)) from error
        return [normalize_domain(record.to_text()) for record in found]

    def lookup(address: str) -> str | None:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:  # a report may hold any text there
            return None
        hosts = answers(dns.reversename.from_address(address), "PTR")
        for host in sorted(h for h in hosts if HOST.fullmatch(h))[:5]:
            back = answers(host + ".", "A" if parsed.version == 4 else "AAAA")
            if parsed in map(ipaddress.ip_address, back):
                return host
        return None

    return lookup


def server_address(text: str) -> tuple[str, int]:
    """Read ``192.0.2.53``, ``192.0.2.53:5353``, ``2001:db8::53`` or ``[2001:db8::53]:5353``.

    Raises SettingsError for anything else.
    """
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
    else:
        host, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "")
    try:
        return str(ipaddress.ip_address(host)), int(port.lstrip(":") or 53)
    except ValueError as error:
        raise SettingsError(
            f"DNS server {one_line(text)!r} is no address; write it as 192.0.2.53:53"
        ) from error
