"""All checks of one domain, and those of many side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import checkdmarc.utils

from dmarckit.checks.dkim import check_dkim
from dmarckit.checks.dmarc import check_dmarc, unanswered
from dmarckit.checks.record import DnsRow, Fault, dns_row
from dmarckit.checks.resolver import DnsClient, Fetch, NoAnswer, Servers
from dmarckit.checks.spf import check_spf
from dmarckit.checks.targets import Targets
from dmarckit.checks.transport import check_bimi, check_mta_sts, check_mx, check_ptr, check_tls_rpt
from dmarckit.core import _
from dmarckit.facts import Lookup, dns_lookup

WORKERS = 8  # domains under way at once
BATCH = 32  # domains after which it is seen whether anybody answers
ANSWERS = 12  # times `dns_timeout` that the check of one domain may take


@dataclass(frozen=True)
class Checks:
    """What the checks of all domains share."""

    servers: Servers
    lookup: Lookup
    fetch: Fetch | None = None
    clock: Callable[[], float] = time.monotonic


def make_checks(servers: Sequence[str], timeout: float, fetch: Fetch | None = None) -> Checks:
    """Make checks by these servers (none: the system's); what others have cached is forgotten.

    Raises SettingsError for a server that is no address.
    """
    # checkdmarc keeps answers for half an hour, whatever servers they came from
    checkdmarc.utils.DNS_CACHE.clear()
    return Checks(Servers(servers, timeout), dns_lookup(servers, timeout), fetch)


def check_domain(checks: Checks, domain: str, seen: Targets) -> list[DnsRow] | None:
    """Return the rows of a domain; None when DNS does not answer at all.

    What is not reached in time is unknown.
    """
    ask = checks.servers.asker(ANSWERS * checks.servers.timeout, checks.clock)
    try:
        there = ask.exists(domain)
    except NoAnswer:
        return None
    if not there:
        return [_no_such_domain(domain)]
    rows = [*check_dmarc(ask, domain), check_spf(ask, domain, sends=seen.messages > 0)]
    rows += [check_spf(ask, name, sends=True) for name in seen.envelopes]
    rows += [check_dkim(ask, key) for key in seen.keys]
    mail = check_mx(ask, domain)
    rows.append(mail)
    if mail.values.get("hosts") or mail.state == "unknown":  # it may take mail
        hosts = mail.values.get("hosts", [])
        rows += [check_mta_sts(ask, domain, hosts, checks.fetch), check_tls_rpt(ask, domain)]
    rows.append(check_bimi(ask, domain))
    rows += [_ptr(ask, address, n, checks.lookup) for address, n in seen.addresses.items()]
    return rows


def _ptr(ask: DnsClient, address: str, messages: int, lookup: Lookup) -> DnsRow:
    if ask.left <= 0:
        return dns_row("ptr", address, [], [unanswered(address)], messages=messages)
    return check_ptr(address, messages, lookup)


def _no_such_domain(domain: str) -> DnsRow:
    text = _("{domain} does not exist in DNS; register it, or take it out of the settings.")
    fault = Fault("no_domain", "missing", text.format(domain=domain))
    return dns_row("dmarc", f"_dmarc.{domain}", [], [fault])


def check_domains(
    checks: Checks, domains: Sequence[str], seen: Mapping[str, Targets]
) -> Iterator[dict[str, list[DnsRow] | None]]:
    """Yield the rows of many domains, a batch at a time; None for one without any answer.

    Ends early when nobody in a whole batch got an answer.
    """
    checked = set(domains)  # they have rows of their own
    for start in range(0, len(domains), BATCH):
        batch = domains[start : start + BATCH]

        def one(domain: str) -> list[DnsRow] | None:
            mine = seen.get(domain, Targets())
            others = tuple(name for name in mine.envelopes if name not in checked)
            return check_domain(checks, domain, replace(mine, envelopes=others))

        with ThreadPoolExecutor(WORKERS, thread_name_prefix="dns") as pool:
            rows = dict(zip(batch, pool.map(one, batch), strict=True))
        yield rows
        if all(found is None for found in rows.values()):
            return
