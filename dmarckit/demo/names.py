"""A small DNS server on loopback, for what the demo's company publishes."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = Mapping[str, Mapping[str, Sequence[str]]]
"""Name → type of record → records, as a zone file writes them."""

TTL = 300


@contextlib.contextmanager
def serving(zone: Zone) -> Iterator[str]:
    """Answer for the names of the zone over UDP; yields the address (``127.0.0.1:5353``)."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked, socket = self.request
            with contextlib.suppress(dns.exception.DNSException):
                socket.sendto(_answer(zone, asked), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _answer(zone: Zone, asked: bytes) -> bytes:
    query = dns.message.from_wire(asked)
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.AA
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    kind = dns.rdatatype.to_text(question.rdtype)
    if records := zone.get(name, {}).get(kind):
        reply.answer.append(dns.rrset.from_text_list(question.name, TTL, "IN", kind, records))
    elif not any(known == name or known.endswith(f".{name}") for known in zone):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()
