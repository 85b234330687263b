"""What DNS and Google say about the demo's company: made up, but asked for as in earnest.

DNS, a small server on loopback, is in order but for a server without host name over IPv6
and a short key; at Google, people mark the shop's newsletter as spam, and it lacks
one-click unsubscribing.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any

from dmarckit.checks import Metric, Query, Row, api_date, check_dns, pull_metrics
from dmarckit.core import PostmasterError, Settings
from dmarckit.demo.company import HELPDESK, INVOICER, MAILCOURIER, SALESDESK, SURVEYFORM
from dmarckit.demo.traffic import stream

RUA = "rua=mailto:rua@dmarc.example.com"
LONG, SHORT = 2048, 1024
KEYS = {
    "s2026._domainkey.example.com": LONG,
    "pw1._domainkey.example.com": SHORT,
    "inv._domainkey.example.com": LONG,
    "hd1._domainkey.support.example.com": LONG,
    "mc1._domainkey.shop.example": LONG,
    "pw2._domainkey.shop.example": LONG,
    "sf._domainkey.shop.example": LONG,
}
"""name of a DKIM key → its bits"""
TEXTS = {
    "_dmarc.example.com": f"v=DMARC1; p=quarantine; sp=none; {RUA}",
    "_dmarc.shop.example": f"v=DMARC1; p=none; {RUA}",
    "_dmarc.example.net": f"v=DMARC1; p=none; {RUA}",
    "example.com": "v=spf1 ip4:192.0.2.0/26 ip6:2001:db8:10::/48 include:spf.salesdesk.example "
    "~all",
    "bounce.example.com": "v=spf1 include:spf.invoicer.example ~all",
    "support.example.com": "v=spf1 include:spf.helpdesk.example ~all",
    "shop.example": "v=spf1 ip4:192.0.2.40 ~all",
    "rp.shop.example": "v=spf1 include:spf.mailcourier.example ~all",
    "survey.shop.example": "v=spf1 include:spf.surveyform.example ~all",
    "example.net": "v=spf1 ~all",
    **{
        f"spf.{service.dkim_domains[0]}": f"v=spf1 ip4:{service.networks[0]} -all"
        for service in (SALESDESK, INVOICER, HELPDESK, MAILCOURIER, SURVEYFORM)
    },
    **dict.fromkeys(("_mta-sts.example.com", "_mta-sts.shop.example"), "v=STSv1; id=20260901"),
    **dict.fromkeys(("_smtp._tls.example.com", "_smtp._tls.shop.example"), f"v=TLSRPTv1; {RUA}"),
    "shop.example._report._dmarc.dmarc.example.com": "v=DMARC1",
    "example.net._report._dmarc.dmarc.example.com": "v=DMARC1",
}
"""name → its TXT record, besides the keys"""
MAIL_HOSTS = {
    "example.com": ("mx1.example.com", "mx2.example.com"),
    "dmarc.example.com": ("mx1.example.com",),
    "shop.example": ("mx1.example.com",),
    "example.net": ("",),
}
"""domain → its MX, the nearest first; "" says that it takes no mail (RFC 7505)"""
HOSTS = {
    "mx1.example.com": "192.0.2.21",
    "mx2.example.com": "192.0.2.22",
    "out1.example.com": "192.0.2.10",
    "out2.example.com": "192.0.2.11",
    "out3.example.com": "192.0.2.12",
    "stock.shop.example": "192.0.2.40",
}
"""host → its address, which leads back to it; the IPv6 address of office mail has no name"""


def fill_outside_tables(settings: Settings, now: datetime) -> None:
    """Fill the tables `postmaster` and, where the libraries for it are installed, `dns`."""
    pull_metrics(settings, now=now, client=Google(now))
    if find_spec("checkdmarc") and find_spec("dns"):
        with dns_server(zone()) as address:
            check_dns(settings.model_copy(update={"resolvers": (address,)}), now=now)


def zone() -> dict[str, dict[str, list[str]]]:
    """Return what the company and its services publish: name → type → records."""
    made: dict[str, dict[str, list[str]]] = {"": {"SOA": []}}
    texts = TEXTS | {name: f"v=DKIM1; k=rsa; p={_key(name, bits)}" for name, bits in KEYS.items()}
    for name, text in texts.items():
        parts = " ".join(f'"{text[i : i + 200]}"' for i in range(0, len(text), 200))
        made.setdefault(name, {})["TXT"] = [parts]
    for name, hosts in MAIL_HOSTS.items():
        made.setdefault(name, {})["MX"] = [f"{10 * n} {host}." for n, host in enumerate(hosts)]
    for host, address in HOSTS.items():
        made.setdefault(host, {})["A"] = [address]
        made[ipaddress.ip_address(address).reverse_pointer] = {"PTR": [f"{host}."]}
    return made


def _key(name: str, bits: int) -> str:
    """Return a public RSA key of that many bits; nobody has the private one."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    modulus = stream(name).getrandbits(bits) | 1 << (bits - 1) | 1
    key = RSAPublicNumbers(65_537, modulus).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


class Google:
    """Answers about the company as Postmaster Tools gives them, of the last 40 days."""

    DOMAINS = ("example.com", "shop.example")
    DAYS = 40
    LATE = 2  # days until a day has data

    def __init__(self, now: datetime) -> None:
        self._newest = now.date() - timedelta(self.LATE)

    def domains(self) -> list[dict[str, Any]]:
        """Return the list of domains."""
        return [{"name": f"domains/{name}", "permission": "OWNER"} for name in self.DOMAINS]

    def compliance(self, domain: str) -> dict[str, Any]:
        """Return the compliance status: all is well, but for unsubscribing from the shop's mail."""
        names = ("SPF", "DKIM", "DMARC_POLICY", "DMARC_ALIGNMENT", "ENCRYPTION")
        states = dict.fromkeys((*names, "MESSAGE_FORMATTING", "HONOR_UNSUBSCRIBE"), "COMPLIANT")
        states["ONE_CLICK_UNSUBSCRIBE"] = "NEEDS_WORK" if domain == "shop.example" else "COMPLIANT"
        rows = [{"requirement": n, "status": {"status": s}} for n, s in states.items()]
        return {"complianceData": {"domainId": domain, "rowData": rows}}

    def stats(self, queries: Sequence[Query]) -> list[list[Row] | PostmasterError]:
        """Return the metrics of each query, day by day."""
        return [list(query.rows(list(self._days(query)))) for query in queries]

    def _days(self, query: Query) -> Iterator[Mapping[str, Any]]:
        for number, metric in enumerate(query.metrics):
            for ago in range(self.DAYS):
                day = self._newest - timedelta(ago)
                share = _share(query.domain, metric, ago)
                if share is not None and query.first <= day <= query.last:
                    value = {"doubleValue": share}
                    yield {"metric": f"m{number}", "date": api_date(day), "value": value}


def _share(domain: str, metric: Metric, ago: int) -> float | None:
    """Return a rate `ago` days before the newest; None where Google has none."""
    shop = domain == "shop.example"
    wave = stream(domain, metric.metric, metric.detail, ago).random()
    match metric.metric, metric.detail:
        case "spam_rate", _:
            return (0.0011 if ago < 4 else 0.0005) + 0.0003 * wave if shop else 0.0002 * wave
        case "auth_success_rate", "dkim":
            return 0.62 + 0.1 * wave if shop and ago < 3 else 0.995 + 0.004 * wave
        case "auth_success_rate", _:
            return 0.985 + 0.01 * wave
        case "tls_encryption_rate", _:
            return 0.997 + 0.003 * wave
        case "delivery_error_rate", "" | "temp_fail" | "temp_fail/anomalous_traffic_pattern":
            return 0.001 + 0.001 * stream(domain, metric.metric, "", ago).random()
    return None


@contextlib.contextmanager
def dns_server(zone: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[str]:
    """Answer for the names of the zone over UDP; yields the address (``127.0.0.1:5353``).

    `zone` has name → type of record → records, as a zone file writes them.
    """
    from dns import exception, flags, message, rcode, rdatatype, rrset

    def answer(asked: bytes) -> bytes:
        query = message.from_wire(asked)
        reply = message.make_response(query)
        reply.flags |= flags.AA
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = rdatatype.to_text(question.rdtype)
        if records := zone.get(name, {}).get(kind):
            reply.answer.append(rrset.from_text_list(question.name, 300, "IN", kind, records))
        elif not any(known == name or known.endswith(f".{name}") for known in zone):
            reply.set_rcode(rcode.NXDOMAIN)
        return reply.to_wire()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked, socket = self.request
            with contextlib.suppress(exception.DNSException):
                socket.sendto(answer(asked), self.client_address)

    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
