"""Mail servers (MX), TLS on the way in (MTA-STS, TLS-RPT), the logo (BIMI), host names (PTR).

checkdmarc (6.0) is not asked about BIMI, where it fetches logo and certificate from whatever
addresses the record names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from checkdmarc.mta_sts import MTASTSError, parse_mta_sts_policy, parse_mta_sts_record
from checkdmarc.smtp_tls_reporting import SMTPTLSReportingError, parse_smtp_tls_reporting_record

from dmarckit.checks.record import (
    DnsRow,
    Fault,
    Phrase,
    dns_row,
    phrase,
    tag_list,
    unanswered,
    unanswered_row,
)
from dmarckit.checks.resolver import DnsClient, Fetch, NoAnswer
from dmarckit.core import one_line
from dmarckit.facts import Lookup

MOST_HOSTS = 10  # mail servers whose addresses are looked for


def check_mx(ask: DnsClient, domain: str) -> DnsRow:
    """Check who takes the mail. values: hosts, and null (it says that it takes none)."""
    try:
        hosts = ask.mail_hosts(domain)
    except NoAnswer:
        return unanswered_row("mx", domain)
    shown = [f"{preference} {host or '.'}" for preference, host in hosts]
    if not hosts:
        text = phrase(
            "{domain} has no MX record. If it takes no mail, publish the null MX (0 .), so that "
            "senders see it at once; some receivers refuse mail from domains that take none."
        ).format(domain=domain)
        return dns_row("mx", domain, [], [Fault("missing", "missing", text)], proposal="0 .")
    names = [host for _preference, host in hosts]
    faults = []
    if "" in names:
        if len(names) > 1:
            text = phrase("{domain} has the null MX (0 .) beside others; remove it or them.")
            faults.append(Fault("null_and_more", "invalid", text.format(domain=domain)))
        return dns_row("mx", domain, shown, faults, null=True, hosts=[])
    for host in names[:MOST_HOSTS]:
        try:
            if re.fullmatch(r"[0-9.]+", host):
                text = phrase("The MX record names the address {host}; it must name a host.")
                faults.append(Fault("address", "invalid", text.format(host=one_line(host))))
            elif not ask.has_address(host):
                text = phrase(
                    "The mail server {host} has no address; publish one, or remove it from the MX."
                )
                faults.append(Fault("no_address", "weak", text.format(host=one_line(host))))
        except NoAnswer:
            faults.append(unanswered(host))
    return dns_row("mx", domain, shown, faults, null=False, hosts=[one_line(n) for n in names])


def check_mta_sts(
    ask: DnsClient, domain: str, hosts: Sequence[str], fetch: Fetch | None = None
) -> DnsRow:
    """Check the MTA-STS record, and its policy file when there is a `fetch` to get it with."""
    name = f"_mta-sts.{domain}"
    try:
        records = [text for text in ask.texts(name) if text.startswith("v=STSv1")]
    except NoAnswer:
        return unanswered_row("mta_sts", name)
    row = partial(dns_row, "mta_sts", name, records)
    if not records:
        text = phrase(
            "{domain} has no MTA-STS: an attacker on the path can force mail to it to be sent "
            "unencrypted. Publish a policy (mode: testing first) and the record at {name}."
        ).format(domain=domain, name=name)
        return row([Fault("missing", "missing", text)])
    try:
        if len(records) > 1:
            return row([_ignored(name, phrase("there are several; keep one"))])
        parse_mta_sts_record(records[0])
    except MTASTSError as error:
        return row([_ignored(name, error)])
    if fetch is None:
        return row([], mode=None)
    try:
        file = fetch(f"mta-sts.{domain}", min(ask.lifetime, ask.left))
        policy = parse_mta_sts_policy(file)["policy"]
    except NoAnswer as error:
        said = phrase(
            "The policy https://mta-sts.{domain}/.well-known/mta-sts.txt could not be fetched: "
            "{why}."
        )
        said = said.format(domain=domain, why=one_line(error))
        return row([Fault("policy", "unknown", said)], mode=None)
    except MTASTSError as error:
        said = phrase("The policy file of {domain} is wrong, so senders ignore it: {why}")
        said = said.format(domain=domain, why=one_line(error, 300))
        return row([Fault("policy", "invalid", said)], mode=None)
    allowed = {str(pattern).lower() for pattern in policy.get("mx") or []}
    left_out = [h for h in hosts if not allowed & {h, f"*.{h.partition('.')[2]}"}]
    faults = []
    if left_out and policy["mode"] != "none":
        said = phrase(
            "The policy file of {domain} leaves out its mail server {host}; add mx: {host}"
        )
        said = said.format(domain=domain, host=one_line(left_out[0]))
        enforced = policy["mode"] == "enforce"
        faults.append(Fault("policy_mx", "invalid" if enforced else "weak", said))
    return row(faults, mode=policy["mode"])


def _ignored(name: str, why: object) -> Fault:
    text = phrase("The record at {name} is wrong, so senders ignore it; correct it: {why}")
    kept = why if isinstance(why, Phrase) else one_line(why, 300)
    return Fault("syntax", "invalid", text.format(name=name, why=kept))


def check_tls_rpt(ask: DnsClient, domain: str) -> DnsRow:
    """Check the record that asks for TLS reports."""
    name = f"_smtp._tls.{domain}"
    try:
        records = [text for text in ask.texts(name) if text.startswith("v=TLSRPTv1")]
    except NoAnswer:
        return unanswered_row("tls_rpt", name)
    faults = []
    if not records:
        text = phrase(
            "Nobody reports when mail to {domain} cannot be encrypted: publish a TLS-RPT record at "
            "{name} (with the address that takes the reports)."
        ).format(domain=domain, name=name)
        faults = [Fault("missing", "missing", text)]
    elif len(records) > 1:
        faults = [_ignored(name, phrase("there are several; keep one"))]
    else:
        try:
            parse_smtp_tls_reporting_record(records[0])
        except SMTPTLSReportingError as error:
            faults = [_ignored(name, error)]
    proposal = f"v=TLSRPTv1; rua=mailto:tls-reports@{domain}" if faults else None
    return dns_row("tls_rpt", name, records, faults, proposal=proposal)


def check_bimi(ask: DnsClient, domain: str) -> DnsRow:
    """Check the record with the logo. None is in order: a logo is a choice."""
    name = f"default._bimi.{domain}"
    try:
        records = [text for text in ask.texts(name) if text.startswith("v=BIMI1")]
    except NoAnswer:
        return unanswered_row("bimi", name)
    tags = tag_list(records[0]) if records else {}
    wrong = None
    if len(records) > 1:
        wrong = phrase("there are several; keep one")
    elif tags.get("l") and not tags["l"].lower().startswith("https://"):
        wrong = phrase("the logo (l=) must be an https address")
    elif records and "l" not in tags:
        wrong = phrase("it names no logo (l=)")
    faults = [_ignored(name, wrong)] if wrong else []
    return dns_row("bimi", name, records, faults, published=bool(records))


def check_ptr(address: str, messages: int, lookup: Lookup) -> DnsRow:
    """Check that an own address that sends has a confirmed host name."""
    try:
        host = lookup(address)
    except NoAnswer:
        return unanswered_row("ptr", address, messages=messages)
    if host:
        return dns_row("ptr", address, [host], [], messages=messages)
    text = phrase(
        "{address} sends your mail but has no forward-confirmed PTR; Google and Yahoo may reject "
        "it. Ask the IP's provider to set a PTR to a host name whose A/AAAA record is this "
        "address."
    ).format(address=one_line(address, 60))
    return dns_row("ptr", address, [], [Fault("missing", "missing", text)], messages=messages)
