"""An authoritative DNS server on loopback (UDP and TCP), whose zones can have any fault."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RCODE, RR, TXT, A, DNSError, DNSRecord
from dnslib.server import DNSHandler, DNSLogger, DNSServer

from dmarckit.checks.resolver import DnsClient, Servers

Zone = Mapping[str, Sequence[str] | str]
"""``"example.com TXT"`` → its records, or a fault: SERVFAIL, REFUSED, silence."""

FAULTS = ("SERVFAIL", "REFUSED", "silence")
LINKS = 20  # CNAMEs that one answer follows at most


class Answers:
    """Answers from a zone, which a test may change; remembers what it was asked for."""

    def __init__(self, zone: Zone) -> None:
        self.zone = dict(zone)
        self.everything: str | None = None
        """an answer to all questions alike: a fault, or NXDOMAIN"""
        self.udp_bytes = 0
        """bytes beyond which an answer over UDP is cut; 0: it never is"""
        self.asked: list[tuple[str, str, str]] = []
        """name, type and protocol (udp, tcp) of each question, in order"""

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        name, kind = str(request.q.qname).lower().rstrip("."), QTYPE[request.q.qtype]
        self.asked.append((name, kind, handler.protocol))
        reply = request.reply()
        fault = self.everything or self._fault(name, kind)
        if fault == "silence":
            raise DNSError("no answer is sent")
        if fault:
            reply.header.rcode = getattr(RCODE, fault)
            return reply
        for _ in range(LINKS):
            for text in self._records(name, kind):
                reply.add_answer(RR(name, getattr(QTYPE, kind), ttl=60, rdata=_data(kind, text)))
            alias = self._records(name, "CNAME")
            if kind == "CNAME" or not alias:
                break
            reply.add_answer(RR(name, QTYPE.CNAME, ttl=60, rdata=CNAME(alias[0])))
            name = alias[0].lower()
        if not self._exists(name):
            reply.header.rcode = RCODE.NXDOMAIN
        return self._cut(request, reply, handler.protocol)

    def _cut(self, request: DNSRecord, reply: DNSRecord, protocol: str) -> DNSRecord:
        """dnslib's own cut leaves the question out, which clients do not take for an answer."""
        if protocol != "udp" or not 0 < self.udp_bytes < len(reply.pack()):
            return reply
        short = request.reply()
        short.header.tc = 1
        return short

    def _fault(self, name: str, kind: str) -> str | None:
        value = self.zone.get(f"{name} {kind}", self.zone.get(name))
        return value if isinstance(value, str) and value in FAULTS else None

    def _records(self, name: str, kind: str) -> Sequence[str]:
        value = self.zone.get(f"{name} {kind}", ())
        return () if isinstance(value, str) else value

    def _exists(self, name: str) -> bool:
        names = {key.split(" ")[0] for key in self.zone}
        return not name or any(n == name or n.endswith(f".{name}") for n in names)


def _data(kind: str, text: str) -> Any:
    if kind == "TXT":
        raw = text.encode("utf-8", "surrogateescape")
        return TXT([raw[i : i + 255] for i in range(0, len(raw), 255)] or [b""])
    if kind == "MX":
        preference, host = text.split(" ")
        return MX(host, int(preference))
    return {"A": A, "AAAA": AAAA, "PTR": PTR, "CNAME": CNAME}[kind](text)


class Served(Answers):
    """A zone that is being served at `address` (``127.0.0.1:port``)."""

    address = ""


@contextlib.contextmanager
def serving(zone: Zone, *, udp_bytes: int = 0) -> Iterator[Served]:
    """Serve a zone until the end of the block; `udp_bytes` cuts longer answers over UDP."""
    answers = Served(zone)
    answers.udp_bytes = udp_bytes
    quiet = DNSLogger("-request,-reply,-truncated,-error", prefix=False)
    common: dict[str, Any] = {"address": "127.0.0.1", "logger": quiet}
    for _ in range(20):  # until a port is free for both protocols
        udp = DNSServer(answers, port=0, **common)
        port = udp.server.server_address[1]
        try:
            tcp = DNSServer(answers, port=port, tcp=True, **common)
            break
        except OSError:
            udp.server.server_close()
    answers.address = f"127.0.0.1:{port}"
    threads = [
        threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02})
        for server in (udp, tcp)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        for server in (udp, tcp):
            server.server.shutdown()
            server.server.server_close()
        for thread in threads:
            thread.join(10)


def asker(server: Served, *, timeout: float | None = None, seconds: float = 10.0) -> DnsClient:
    """Asks that server only; nothing that checkdmarc kept of another server counts.

    It waits long for an answer, since the machine may be busy, but not where silence is meant.
    """
    if timeout is None:
        timeout = 1.2 if "silence" in server.zone.values() else 5.0
    return DnsClient(Servers([server.address], timeout), seconds)
