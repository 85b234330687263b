"""All checks of one domain, and those of many side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import checkdmarc.utils

from dmarckit.checks.dkim import check_dkim
from dmarckit.checks.dmarc import check_dmarc
from dmarckit.checks.record import DnsRow, Fault, dns_row, unanswered_row
from dmarckit.checks.resolver import DnsClient, Fetch, NoAnswer, Servers
from dmarckit.checks.spf import check_spf
from dmarckit.checks.targets import Targets
from dmarckit.checks.transport import check_bimi, check_mta_sts, check_mx, check_ptr, check_tls_rpt
from dmarckit.core import _
from dmarckit.facts import Lookup, dns_lookup

WORKERS = 8  # domains under way at once
BATCH = 32  # domains after which it is seen whether anybody answers
ANSWERS = 12  # times `dns_timeout` that the check of one domain may take


def _check_domain(
    ask: DnsClient, domain: str, seen: Targets, lookup: Lookup, fetch: Fetch | None
) -> list[DnsRow] | None:
    """Return the rows of a domain; None when DNS does not answer at all.

    What is not reached in time is unknown.
    """
    try:
        there = ask.exists(domain)
    except NoAnswer:
        return None
    if not there:
        text = _("{domain} does not exist in DNS; register it, or take it out of the settings.")
        fault = Fault("no_domain", "missing", text.format(domain=domain))
        return [dns_row("dmarc", f"_dmarc.{domain}", [], [fault])]
    rows = [*check_dmarc(ask, domain), check_spf(ask, domain, sends=seen.messages > 0)]
    rows += [check_spf(ask, name, sends=True) for name in seen.envelopes]
    rows += [check_dkim(ask, key) for key in seen.keys]
    mail = check_mx(ask, domain)
    rows.append(mail)
    hosts = mail.values.get("hosts", [])
    if hosts or mail.state == "unknown":  # it may take mail
        rows += [check_mta_sts(ask, domain, hosts, fetch), check_tls_rpt(ask, domain)]
    rows.append(check_bimi(ask, domain))
    for address, n in seen.addresses.items():
        late = unanswered_row("ptr", address, messages=n) if ask.left <= 0 else None
        rows.append(late or check_ptr(address, n, lookup))
    return rows


def check_domains(
    servers: Servers, domains: Sequence[str], seen: Mapping[str, Targets], fetch: Fetch | None
) -> Iterator[dict[str, list[DnsRow] | None]]:
    """Yield the rows of many domains, a batch at a time; None for one without any answer.

    Ends early when nobody in a whole batch got an answer.
    """
    # checkdmarc keeps answers for half an hour, whatever servers they came from
    checkdmarc.utils.DNS_CACHE.clear()
    lookup = dns_lookup(servers.given, servers.timeout)
    checked = set(domains)  # they have rows of their own

    def check(domain: str) -> list[DnsRow] | None:
        mine = seen.get(domain, Targets())
        others = tuple(name for name in mine.envelopes if name not in checked)
        ask = servers.asker(ANSWERS * servers.timeout)
        return _check_domain(ask, domain, replace(mine, envelopes=others), lookup, fetch)

    for start in range(0, len(domains), BATCH):
        batch = domains[start : start + BATCH]
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="dns") as pool:
            rows = dict(zip(batch, pool.map(check, batch), strict=True))
        yield rows
        if all(found is None for found in rows.values()):
            return
