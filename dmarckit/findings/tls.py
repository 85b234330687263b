"""Failures of TLS between mail servers, from TLS reports (RFC 8460)."""

from __future__ import annotations

import pandas as pd

from dmarckit.core import _, count, later, ngettext, percent
from dmarckit.facts import Facts
from dmarckit.findings import model, queries
from dmarckit.findings.context import Context
from dmarckit.findings.counts import SHOWN
from dmarckit.findings.model import Family, Finding, Kind, join_names, safe, share

_CERTAIN = ("certificate-expired", "tlsa-invalid", "sts-policy-fetch-error")
"""one session is enough: these are facts about our own servers, not about a connection"""


_UNKNOWN = "unspecified"  # the reporter counted failures, but gave no details


def tls_failures(facts: Facts, context: Context) -> list[Finding]:
    """Find result types that make sessions to the domain's own mail servers fail.

    warning: mail comes in without encryption, or not at all where the policy is enforced.
    critical when a tenth of the sessions fails.
    """
    rows = facts.tls[facts.tls["end"] > context.start]
    found = []
    for domain, part in rows.groupby("policy_domain", observed=True):
        sessions = int(part["successful"].sum() + part["failed"].sum())
        failing = part.assign(
            sessions=part["failed_sessions"],
            result_type=part["result_type"].where(part["result_type"] != "", _UNKNOWN),
        )
        bare = int(part["failed"].sum()) - int(part["failed_sessions"].sum())
        for result, failures in failing.groupby("result_type", observed=True):
            n = int(failures["sessions"].sum())
            if result == _UNKNOWN:
                n = max(n, bare)
                failures = failures[failures["failed"] > 0]
            limits = context.thresholds
            frequent = n >= limits.tls_sessions and share(n, sessions) >= limits.tls_share
            if n and (frequent or result in _CERTAIN):
                found.append(_finding(context, str(domain), str(result), failures, n, sessions))
    return found


def _finding(
    context: Context, domain: str, result: str, rows: pd.DataFrame, n: int, sessions: int
) -> Finding:
    rows = rows[(rows["failed_sessions"] > 0) | (rows["failed"] > 0)]
    first, last = rows["begin"].min().date(), rows["begin"].max().date()
    names = sorted(rows["reporter"].unique())
    limits = context.thresholds
    many = n >= limits.tls_sessions and share(n, sessions) >= 0.1
    action = _MEANING[result][1] if result in _MEANING else _ELSE
    hosts = sorted({host for listed in rows["mx_hosts"].unique() for host in listed.split()})
    at = _("The failures were at {hosts}.").format(hosts=join_names(hosts)) if hosts else ""
    return Finding(
        kind="tls_failures",
        domain=domain,
        subject=result,
        severity="critical" if many else "warning",
        messages=n,
        first_day=first,
        last_day=last,
        reporters=len(names),
        summary=model.join_sentences(
            ngettext(
                "{n} TLS session of {of} to {domain} ({share}) failed {when}: {meaning}.",
                "{n} TLS sessions of {of} to {domain} ({share}) failed {when}: {meaning}.",
                n,
            ).format(
                n=count(n),
                of=count(sessions),
                domain=safe(domain) or _("an unnamed domain"),
                share=percent(share(n, sessions)),
                when=model.on_days(first, last),
                meaning=tls_result(result),
            ),
            at,
        ),
        action=_(action),
        evidence={
            "reporters": [model.reporter_name(name) for name in names],
            "policy_types": sorted(map(tls_policy, rows["policy_type"].unique())),
            "mx_hosts": [safe(host) for host in hosts[:SHOWN]],
            "sessions": sessions,
            "thresholds": {"share": limits.tls_share, "sessions": limits.tls_sessions},
            "number": n,
            "query": queries.sessions(
                domain, "" if result == _UNKNOWN else result, context.start, context.now
            ),
        },
    )


def tls_result(result: str) -> str:
    """Return what a result type (RFC 8460, section 4.3) says; an unknown one as it is."""
    return _(_MEANING[result][0]) if result in _MEANING else safe(result)


def tls_policy(kind: str) -> str:
    """Return the name of a policy type (RFC 8460, section 4.2); an unknown one as it is."""
    return _(_POLICIES[kind]) if kind in _POLICIES else safe(kind)


_POLICIES = {"sts": "MTA-STS", "tlsa": "DANE", "no-policy-found": later("no policy")}
_ELSE = later(
    "Mail admin: see RFC 8460 section 4.3 for what the receiver means, and the addresses in "
    "`dmarckit lab`."
)
_MEANING = {
    "certificate-expired": (
        later("the certificate has expired"),
        later(
            "Mail admin: renew the certificate of the MX hosts today, and find out why "
            "auto-renewal failed."
        ),
    ),
    "certificate-host-mismatch": (
        later("the certificate is for another name"),
        later("Mail admin: issue a certificate that has each MX host name in it."),
    ),
    "certificate-not-trusted": (
        later("the certificate is not trusted"),
        later(
            "Mail admin: use a certificate of a public authority, and send its intermediate "
            "certificates too."
        ),
    ),
    "starttls-not-supported": (
        later("the server offers no STARTTLS"),
        later(
            "Mail admin: switch STARTTLS on at every MX host; something in between (a firewall) "
            "may hide it."
        ),
    ),
    "validation-failure": (
        later("the certificate could not be validated"),
        later("Mail admin: test each MX host's certificate and chain from outside."),
    ),
    "sts-policy-fetch-error": (
        later("the MTA-STS policy could not be fetched"),
        later(
            "Mail admin: open /.well-known/mta-sts.txt on the domain's host mta-sts (https): it "
            "must answer with status 200, text/plain and a valid certificate, without a redirect."
        ),
    ),
    "sts-policy-invalid": (
        later("the MTA-STS policy is invalid"),
        later(
            "Mail admin: correct the file /.well-known/mta-sts.txt on the domain's host mta-sts "
            "(version, mode, mx of every MX host, max_age), then change the id in the TXT record "
            "_mta-sts."
        ),
    ),
    "sts-webpki-invalid": (
        later("the web server of the MTA-STS policy has a bad certificate"),
        later("Mail admin: renew the certificate of the domain's host mta-sts."),
    ),
    "tlsa-invalid": (
        later("the TLSA record does not fit the certificate"),
        later(
            "Mail admin: publish the TLSA record of the present key (the new one before the key "
            "changes)."
        ),
    ),
    "dnssec-invalid": (
        later("DNSSEC could not be validated"),
        later(
            "Mail admin: have the DNS admin check the signatures of the zone and the DS record at "
            "the registry."
        ),
    ),
    "dane-required": (
        later("the sender asks for DANE and found none"),
        later("Mail admin: publish TLSA records for the MX hosts, in a zone that is signed."),
    ),
    _UNKNOWN: (later("no reason given"), _ELSE),
}


FAMILY = Family(
    (
        Kind(
            "tls_failures",
            later("TLS failing: {subject}"),
            ("critical", "warning"),
            {
                "policy_types": later("Policy types"),
                "mx_hosts": later("MX hosts"),
                "sessions": later("Sessions"),
            },
            topic="tls",
            subject_name=tls_result,
        ),
    ),
    of_all=(tls_failures,),
)
