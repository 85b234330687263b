"""The domains: what reports say that DNS has to be asked about, and all checks of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit import facts
from dmarckit.checks.dkim import Key, check_dkim
from dmarckit.checks.dmarc import check_dmarc
from dmarckit.checks.record import DnsRow, Fault, dns_row, phrase, unanswered_row
from dmarckit.checks.resolver import DnsClient, Fetch, NoAnswer, Servers
from dmarckit.checks.spf import check_spf
from dmarckit.checks.transport import check_bimi, check_mta_sts, check_mx, check_ptr, check_tls_rpt
from dmarckit.core import Settings, normalize_domain
from dmarckit.facts import organisation
from dmarckit.lake import Lake

WORKERS = 8  # domains under way at once
BATCH = 32  # domains after which it is seen whether anybody answers
ANSWERS = 12  # times `dns_timeout` that the check of one domain may take
DOMAINS_FROM = timedelta(days=90)
"""reports that make a domain one to check; the inventory looks back as far"""
KEYS_FROM = timedelta(days=30)
"""signatures that make a key one in use: a monthly sender is in it"""
MOST_KEYS, MOST_ENVELOPES = 50, 10  # of one domain, by messages
MOST_ADDRESSES = 20  # of one domain, by messages; the rest of a network is set up alike
LOOKED_AT = 200  # addresses of one domain that are looked through for own ones

_SIGNATURES = """
SELECT domain, lower(k.domain) AS d, lower(k.selector) AS s, sum(messages) AS messages,
       max("end") AS seen
FROM (SELECT domain, messages, "end", spf_aligned, unnest(dkim) AS k FROM records
      WHERE begin >= $start AND begin < $now AND month >= $month)
WHERE (k.result = 'pass' OR spf_aligned) AND k.domain != '' AND k.selector != ''
GROUP BY ALL ORDER BY messages DESC, d, s
"""
"""A signature counts when it passes, or when SPF says that the message is the domain's own:
anybody can write any other. Of a key that went missing, only the latter are left."""

_ENVELOPES = """
SELECT domain, lower(x.domain) AS envelope, sum(messages) AS messages
FROM (SELECT domain, messages, spf_aligned, dkim_aligned, unnest(spf) AS x FROM records
      WHERE begin >= $start AND begin < $now AND month >= $month)
WHERE (spf_aligned OR dkim_aligned) AND x.domain != ''
GROUP BY ALL ORDER BY messages DESC, envelope
"""
"""SPF is judged by the domain of the envelope, often a subdomain such as bounce.example.com."""

_SOURCES = """
SELECT * FROM (
    SELECT domain, source_ip, header_from,
           [x.domain FOR x IN spf IF x.result = 'pass'][1] AS spf_pass_domain,
           [[x.domain, x.selector] FOR x IN dkim IF x.result = 'pass'] AS dkim_pass,
           sum(messages) AS messages
    FROM records
    WHERE begin >= $start AND begin < $now AND month >= $month
          AND source_ip IS NOT NULL AND (spf_aligned OR dkim_aligned)
    GROUP BY ALL
)
QUALIFY row_number() OVER (PARTITION BY domain ORDER BY messages DESC, source_ip) <= $most
ORDER BY messages DESC, source_ip
"""


@dataclass
class Targets:
    """What reports say about one domain; without reports nothing."""

    keys: list[Key] = field(default_factory=list)
    """keys of its own organisation that sign, the most used first"""
    envelopes: list[str] = field(default_factory=list)
    """other domains of its own organisation that SPF was judged by, the most used first"""
    addresses: dict[str, int] = field(default_factory=dict)
    """own address → messages that pass from it, most first"""
    messages: int = 0
    """messages that passed DMARC of late; 0: it does not send, as far as is known"""


def chosen_domains(
    settings: Settings, lake: Lake, now: datetime, domains: Sequence[str]
) -> list[str]:
    """Return the named domains, else those of the settings, else those of the reports.

    Those of the last 90 days, in order of their names.
    """
    named = [normalize_domain(name) for name in domains or settings.domain_names]
    if named:
        return list(dict.fromkeys(named))
    found = lake.sql(
        "SELECT DISTINCT lower(domain) AS domain FROM reports "
        "WHERE begin >= $start AND begin < $now AND month >= $month ORDER BY 1",
        **_window(now, DOMAINS_FROM),
    )
    names = (normalize_domain(str(name)) for name in found["domain"].dropna())
    return [name for name in dict.fromkeys(names) if is_domain(name)]


def _window(now: datetime, span: timedelta) -> dict[str, Any]:
    start = now - span
    return {"start": start, "now": now, "month": f"{start:%Y-%m}"}


def is_domain(name: str) -> bool:
    """Return True when it can be asked for; a report may name anything.

    >>> is_domain("example.com"), is_domain("a b"), is_domain("x" * 64 + ".example")
    (True, False, False)
    """
    return bool(facts.HOST.fullmatch(name)) and all(0 < len(part) <= 63 for part in name.split("."))


def read_targets(settings: Settings, lake: Lake, now: datetime) -> dict[str, Targets]:
    """Return what reports of the last 30 days say by domain; empty without reports."""
    window = _window(now, KEYS_FROM)
    found: dict[str, Targets] = defaultdict(Targets)
    for row in lake.arrow(_SIGNATURES, **window).to_pylist():
        mine, ours = found[row["domain"]], organisation(row["d"]) == organisation(row["domain"])
        ours = ours and is_domain(f"{row['s']}.{row['d']}")
        if ours and len(mine.keys) < MOST_KEYS:
            last = (row["seen"] - timedelta(microseconds=1)).date()  # an end is exclusive
            mine.keys.append(Key(row["d"], row["s"], int(row["messages"]), last))
    for row in lake.arrow(_ENVELOPES, **window).to_pylist():
        name, domain = normalize_domain(row["envelope"]), row["domain"]
        ours = organisation(name) == organisation(domain) and name != domain and is_domain(name)
        if ours and len(found[domain].envelopes) < MOST_ENVELOPES:
            found[domain].envelopes.append(name)
    sources = lake.sql(_SOURCES, **window, most=LOOKED_AT)
    for domain, messages in sources.groupby("domain")["messages"].sum().items():
        found[str(domain)].messages = int(messages)
    if not sources.empty:
        for domain, address, messages in _own(settings, lake, sources):
            found[domain].addresses[address] = int(messages)
    return found


def _own(settings: Settings, lake: Lake, sources: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Return domain, own address, and the messages that pass from it, most first."""
    named = facts.name_sources(settings, lake, sources)
    own = named[named["sender_kind"] == "own"]
    sums = own.groupby(["domain", "source_ip"], sort=False)["messages"].sum().reset_index()
    most = sums.sort_values("messages", ascending=False, kind="stable")
    kept = most.groupby("domain", sort=False).head(MOST_ADDRESSES)
    return kept.itertuples(index=False, name=None)


def _check_domain(
    ask: DnsClient, domain: str, seen: Targets, lookup: facts.Lookup, fetch: Fetch | None
) -> list[DnsRow] | None:
    """Return the rows of a domain; None when DNS does not answer at all.

    What is not reached in time is unknown.
    """
    try:
        there = ask.exists(domain)
    except NoAnswer:
        return None
    if not there:
        text = phrase(
            "{domain} does not exist in DNS; register it, or take it out of the settings."
        )
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
    lookup = facts.dns_lookup(servers.given, servers.timeout)
    checked = set(domains)  # they have rows of their own

    def check(domain: str) -> list[DnsRow] | None:
        mine = seen.get(domain, Targets())
        others = [name for name in mine.envelopes if name not in checked]
        ask = DnsClient(servers, ANSWERS * servers.timeout)
        return _check_domain(ask, domain, replace(mine, envelopes=others), lookup, fetch)

    for start in range(0, len(domains), BATCH):
        batch = domains[start : start + BATCH]
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="dns") as pool:
            rows = dict(zip(batch, pool.map(check, batch), strict=True))
        yield rows
        if all(found is None for found in rows.values()):
            return
