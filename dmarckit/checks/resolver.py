"""DNS for one domain's check: within a time, and never taking silence for "no".

`DnsClient` tells three things apart: the records, that there are none (NXDOMAIN or an empty
answer), and that nobody knows (`NoAnswer`). checkdmarc is given it as its resolver; what it
could not learn is in `DnsClient.unanswered`.
"""

from __future__ import annotations

import http.client
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from dmarckit.core import MissingExtra, SettingsError, normalize_domain, one_line
from dmarckit.facts import NoAnswer as NoAnswer, server_address

try:
    import dns.exception
    import dns.nameserver
    import dns.rdatatype
    import dns.resolver

    if find_spec("checkdmarc") is None:  # what needs it loads it, in half a second
        raise ImportError("checkdmarc")
except ImportError as error:
    raise MissingExtra(
        "checking DNS needs checkdmarc and dnspython; "
        "install them with: pip install 'dmarckit[dns]'"
    ) from error

Fetch = Callable[[str, float], str]
"""Host and seconds → text of its policy file; raises `NoAnswer`."""

LARGEST = 16_384  # bytes of text in one answer; real ones stay below a tenth of it
MOST = 500  # records in one answer that are looked at
COUNTED_TYPES = frozenset({"TXT", "A", "AAAA", "MX", "SOA"})
"""Types whose silence leaves something unknown. checkdmarc also asks for types that nobody
has to publish (SPF, CNAME); some servers never answer those."""
NO_RECORDS = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.YXDOMAIN)


class Servers:
    """The DNS servers of an installation, with one cache for all that ask through it."""

    def __init__(self, servers: Sequence[str] = (), timeout: float = 5.0) -> None:
        """Take `servers` as ``192.0.2.53`` or ``127.0.0.1:5353``; none: the system's.

        Raises SettingsError for a server that is no address, or when the system has none.
        """
        try:
            system = dns.resolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration as error:
            raise SettingsError("this machine has no DNS resolver; set resolvers") from error
        self.given = tuple(servers)
        self.nameservers: list[str | dns.nameserver.Nameserver] = [
            dns.nameserver.Do53Nameserver(*server_address(text)) for text in servers
        ] or list(system.nameservers)
        self.timeout = timeout
        self.cache = dns.resolver.LRUCache(20_000)
        # checkdmarc keeps answers for half an hour, whatever servers they came from
        if utils := sys.modules.get("checkdmarc.utils"):
            utils.DNS_CACHE.clear()


class DnsClient(dns.resolver.Resolver):
    """The questions that the checks of one domain ask. All names come back in lower case.

    It stops after `seconds` altogether, asks nothing twice, and notes what nobody answered.
    """

    def __init__(self, servers: Servers, seconds: float) -> None:
        super().__init__(configure=False)
        self.nameservers = servers.nameservers
        self.cache = servers.cache
        self.timeout = servers.timeout / 3  # a lost packet must not cost all the time
        self.lifetime = servers.timeout
        self.unanswered: dict[tuple[str, str], Exception] = {}
        """name and type of record → why there was no answer"""
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._end - time.monotonic())

    def resolve(self, qname: Any, rdtype: Any = "A", *args: Any, **options: Any) -> Any:
        """Resolve as dnspython does, without search list."""
        kind = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rdtype))
        key = normalize_domain(str(qname)), kind
        if key in self.unanswered:
            raise self.unanswered[key]
        left = self.left
        options |= {"search": False, "lifetime": min(self.lifetime, left)}
        try:
            if not left:
                raise dns.resolver.LifetimeTimeout(timeout=0.0, errors=[])  # type: ignore[no-untyped-call]
            answer = super().resolve(qname, rdtype, *args, **options)
            records = answer.rrset or ()
            parts = [part for r in records for part in r.strings] if kind == "TXT" else []
            if len(records) > MOST or sum(map(len, parts)) > LARGEST:
                raise dns.exception.DNSException("The answer is too large.")  # type: ignore[no-untyped-call]
        except NO_RECORDS:
            raise
        except (dns.exception.DNSException, OSError) as error:
            if kind in COUNTED_TYPES:
                self.unanswered[key] = error
            raise
        return answer

    def texts(self, name: str) -> list[str]:
        """Return the TXT records, their strings joined; none: empty. Raises NoAnswer."""
        return [
            b"".join(record.strings).decode("utf-8", "backslashreplace")
            for record in self._records(name, "TXT")
        ]

    def text_life(self, name: str) -> int | None:
        """Return the seconds for which TXT records of a name are kept (TTL); None: unknown."""
        try:
            answer = self.resolve(name, "TXT")
        except (dns.exception.DNSException, OSError):
            return None
        return int(answer.rrset.ttl) if answer.rrset is not None else None

    def mail_hosts(self, name: str) -> list[tuple[int, str]]:
        """Return MX records as (preference, host); the null MX is (0, ""). Raises NoAnswer."""
        return sorted(
            (r.preference, normalize_domain(str(r.exchange))) for r in self._records(name, "MX")
        )

    def alias(self, name: str) -> str | None:
        """Return what a name is a CNAME of; None: it is none, or nobody knows."""
        # that its target does not exist is cached as if the name itself did not
        kept, self.cache = self.cache, None
        try:
            targets = [normalize_domain(str(r.target)) for r in self._records(name, "CNAME")]
            return targets[0] if targets else None
        except NoAnswer:
            return None
        finally:
            self.cache = kept

    def has_address(self, name: str) -> bool:
        """Return True when the name has an A or AAAA record. Raises NoAnswer."""
        return any(True for kind in ("A", "AAAA") for _ in self._records(name, kind))

    def exists(self, name: str) -> bool:
        """Return True when the name is there, with whatever records.

        A resolver that says "no such name" to everything is told apart by asking it for the
        root, which is always there. Raises NoAnswer.
        """
        for asked in (name, "."):
            try:
                self.resolve(asked, "SOA")
            except dns.resolver.NXDOMAIN:
                continue
            except NO_RECORDS:
                pass
            except (dns.exception.DNSException, OSError) as error:
                raise NoAnswer(one_line(error)) from error
            return asked == name
        raise NoAnswer("the resolver does not know the DNS root")

    def _records(self, name: str, kind: str) -> list[Any]:
        try:
            return list(self.resolve(name, kind))
        except NO_RECORDS:
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise NoAnswer(f"{kind} of {one_line(name)}: {one_line(error)}") from error


def fetch_policy(host: str, seconds: float) -> str:
    """Get the policy file of a host within the seconds, the certificate checked.

    Raises NoAnswer when it cannot be had.
    """
    end = time.monotonic() + seconds
    connection = http.client.HTTPSConnection(
        host, timeout=max(0.01, seconds), context=ssl.create_default_context()
    )
    try:
        headers = {"User-Agent": "dmarckit"}
        connection.request("GET", "/.well-known/mta-sts.txt", headers=headers)
        response = connection.getresponse()
        if response.status != 200:  # redirects are not followed (RFC 8461 section 3.3)
            raise NoAnswer(f"status {response.status}")
        text = b""
        while chunk := response.read1(8192):
            text += chunk
            # RFC 8461 section 3.2 lets senders refuse larger ones
            if len(text) > 64 * 1024 or time.monotonic() > end:
                raise NoAnswer("it is too large or too slow")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(one_line(error)) from error
    finally:
        connection.close()
    return text.decode("utf-8", "replace")
