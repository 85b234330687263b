"""Failures of TLS between mail servers, as TLS reports tell them (RFC 8460)."""

from __future__ import annotations

import pandas as pd

from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.look import Look, clean, on_days
from dmarckit.findings.model import Finding, Severity
from dmarckit.findings.statistics import share
from dmarckit.words import percent, plural

CERTAIN = ("certificate-expired", "tlsa-invalid", "sts-policy-fetch-error")
"""one session is enough: these are facts about our own servers, not about a connection"""

_MANY = 0.1
_UNKNOWN = "unspecified"  # the reporter counted failures, but gave no details


def tls_failures(facts: Facts, look: Look) -> list[Finding]:
    """Result types that make sessions to the domain's own mail servers fail.

    warning: mail comes in without encryption, or not at all where the policy is enforced.
    critical when a tenth of the sessions fails.
    """
    rows = facts.tls[facts.tls["end"] > look.start]
    found = []
    for domain, part in rows.groupby("policy_domain", observed=True):
        sessions = int(part["successful"].sum() + part["failed"].sum())
        told = part.assign(
            sessions=part["failed_sessions"],
            result_type=part["result_type"].where(part["result_type"] != "", _UNKNOWN),
        )
        bare = int(part["failed"].sum()) - int(part["failed_sessions"].sum())
        for result, failures in told.groupby("result_type", observed=True):
            n = int(failures["sessions"].sum())
            if result == _UNKNOWN:
                n = max(n, bare)
                failures = failures[failures["failed"] > 0]
            if n and _matters(str(result), n, sessions, look):
                found.append(_finding(look, str(domain), str(result), failures, n, sessions))
    return found


def _matters(result: str, n: int, sessions: int, look: Look) -> bool:
    limits = look.thresholds
    frequent = n >= limits.tls_sessions and share(n, sessions) >= limits.tls_share
    return frequent or result in CERTAIN


def _finding(
    look: Look, domain: str, result: str, rows: pd.DataFrame, n: int, sessions: int
) -> Finding:
    rows = rows[(rows["failed_sessions"] > 0) | (rows["failed"] > 0)]
    first, last = rows["begin"].min().date(), rows["begin"].max().date()
    names = sorted(rows["reporter"].unique())
    many = n >= look.thresholds.tls_sessions and share(n, sessions) >= _MANY
    severity: Severity = "critical" if many else "warning"
    what, action = _MEANING.get(result, (f"{clean(result)}", _ELSE))
    return Finding(
        kind="tls_failures",
        domain=domain,
        subject=result,
        severity=severity,
        messages=n,
        first_day=first,
        last_day=last,
        reporters=len(names),
        summary=(
            f"{plural(n, 'TLS session')} of {sessions:,} to {clean(domain)} "
            f"({percent(share(n, sessions))}) failed {on_days(first, last)}: {what}."
        ),
        action=f"Mail admin: {action}",
        evidence={
            "reporters": [clean(name) for name in names],
            "policy_types": sorted(clean(kind) for kind in rows["policy_type"].unique()),
            "sessions": sessions,
            "thresholds": {
                "share": look.thresholds.tls_share,
                "sessions": look.thresholds.tls_sessions,
            },
            "number": n,
            "query": queries.sessions(
                domain, "" if result == _UNKNOWN else result, look.start, look.now
            ),
        },
    )


_ELSE = "see RFC 8460 section 4.3 for what the receiver means, and the addresses in `dmarckit lab`."
_MEANING = {
    "certificate-expired": (
        "the certificate has expired",
        "renew the certificate of the MX hosts today, and find out why the renewal did not run.",
    ),
    "certificate-host-mismatch": (
        "the certificate is for another name",
        "issue a certificate that has each MX host name in it.",
    ),
    "certificate-not-trusted": (
        "the certificate is not trusted",
        "use a certificate of a public authority, and send its intermediate certificates too.",
    ),
    "starttls-not-supported": (
        "the server offers no STARTTLS",
        "switch STARTTLS on at every MX host; something in between (a firewall) may hide it.",
    ),
    "validation-failure": (
        "the certificate could not be validated",
        "test each MX host's certificate and chain from outside.",
    ),
    "sts-policy-fetch-error": (
        "the MTA-STS policy could not be fetched",
        "open https://mta-sts.<domain>/.well-known/mta-sts.txt: it must answer with status 200, "
        "text/plain and a valid certificate, without a redirect.",
    ),
    "sts-policy-invalid": (
        "the MTA-STS policy is invalid",
        "correct the file at https://mta-sts.<domain>/.well-known/mta-sts.txt (version, mode, mx "
        "of every MX host, max_age), then change the id in the TXT record _mta-sts.",
    ),
    "sts-webpki-invalid": (
        "the web server of the MTA-STS policy has a bad certificate",
        "renew the certificate of the host mta-sts.<domain>.",
    ),
    "tlsa-invalid": (
        "the TLSA record does not fit the certificate",
        "publish the TLSA record of the present key (the new one before the key changes).",
    ),
    "dnssec-invalid": (
        "DNSSEC could not be validated",
        "have the DNS admin check the signatures of the zone and the DS record at the registry.",
    ),
    "dane-required": (
        "the sender asks for DANE and found none",
        "publish TLSA records for the MX hosts, in a zone that is signed.",
    ),
    _UNKNOWN: ("the reporter does not say why", _ELSE),
}
