"""SPF records that cannot be evaluated, and senders that have nothing but SPF."""

from __future__ import annotations

import pandas as pd

from dmarckit.core import _, count, later, n_messages, percent
from dmarckit.facts import result_meaning
from dmarckit.findings import queries
from dmarckit.findings.context import (
    BLOCKED,
    SHOWN,
    Context,
    DomainFacts,
    addresses,
    count_reporters,
    day_span,
    messages_finding,
    sender_predicate,
    top_counts,
    total,
    window_query,
)
from dmarckit.findings.model import Family, Finding, Kind, on_days, safe, share

_ERRORS = ("permerror", "temperror")
_BELIEVED = 10  # errors below which a record is worth knowing, but no alarm


def spf_errors(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find SPF domains whose record makes receivers stop with an error (RFC 7208 section 2.6).

    Only domains that matter here: the domain's own, and those of inventory senders; what a
    stranger's record says is his affair. warning for permerror (the record is wrong, and it
    counts as no SPF at all) that several messages met; info for temperror, which is a
    nameserver that did not answer in time, unless it is frequent at several reporters.
    """
    if domain.at_most() < context.thresholds.spf_error_messages:
        return []
    window = context.window(domain.spf)
    ours = window["sender"].isin(domain.senders) | window["spf_domain"].map(
        lambda name: related(str(name), domain.name)
    ).astype(bool)
    limits = context.thresholds
    found = []
    for spf_domain, rows in window[ours & (window["spf_domain"] != "")].groupby(
        "spf_domain", observed=True
    ):
        errors = rows[rows["result"].isin(_ERRORS)]
        n, wrong = total(rows), total(errors)
        if n >= limits.spf_error_messages and share(wrong, n) >= limits.spf_error_share and wrong:
            found.append(_errors(domain, context, str(spf_domain), rows, errors))
    return found


def related(name: str, domain: str) -> bool:
    """Return True if one name is the other, or stands below it.

    >>> related("bounce.example.com", "example.com"), related("example.net", "example.com")
    (True, False)
    """
    return name == domain or name.endswith(f".{domain}") or domain.endswith(f".{name}")


def _errors(
    domain: DomainFacts, context: Context, spf_domain: str, rows: pd.DataFrame, errors: pd.DataFrame
) -> Finding:
    limits = context.thresholds
    permanent = total(errors[errors["result"] == "permerror"])
    wrong, n = total(errors), total(rows)
    believed = wrong >= _BELIEVED and (
        share(permanent, n) >= limits.spf_error_share
        or (share(wrong, n) >= 5 * limits.spf_error_share and count_reporters(errors) >= 2)
    )
    main = "permerror" if permanent * 2 >= wrong else "temperror"
    return messages_finding(
        "spf_errors",
        domain,
        spf_domain,
        "warning" if believed else "info",
        errors,
        summary=_(
            "SPF of {domain} could not be evaluated for {messages} of {of} ({share}) {when}: "
            "{permanent} permerror, {temporary} temperror."
        ).format(
            domain=safe(spf_domain),
            messages=n_messages(wrong),
            of=count(n),
            share=percent(share(wrong, n)),
            when=on_days(*day_span(errors)),
            permanent=count(permanent),
            temporary=count(wrong - permanent),
        ),
        action=_(_ERROR_ACTIONS[main]).format(domain=safe(spf_domain)),
        query=window_query(domain, context, _errors_predicate(spf_domain)),
        thresholds={"share": limits.spf_error_share, "messages": limits.spf_error_messages},
        evidence={
            "results": top_counts(rows, "result"),
            "senders": top_counts(errors, "sender"),
            "of": n,
        },
    )


def _errors_predicate(spf_domain: str) -> str:
    # the facts take MAIL FROM, and HELO only when no MAIL FROM was evaluated
    mail_from = queries.any_of("spf", "coalesce(x.scope, 'mfrom') <> 'helo'")
    failed = f"{queries.one_of(result_meaning('x.result'), _ERRORS)} AND lower(x.domain) = "
    failed += queries.text(spf_domain)
    hit = queries.any_of("spf", f"{failed} AND coalesce(x.scope, 'mfrom') <> 'helo'")
    helo = queries.any_of("spf", failed)
    return f"{hit} OR (NOT {mail_from} AND {helo})"


_ERROR_ACTIONS = {
    "permerror": later(
        "DNS admin: repair the TXT record of {domain} that begins with v=spf1: exactly one such "
        "record, at most 10 lookups (include, a, mx, redirect, exists; also those inside of "
        "includes), no include of a name without SPF record, no typing error. Remove includes of "
        "services that are no longer used first."
    ),
    "temperror": later(
        "DNS admin: the nameservers of {domain}, or of a domain that its SPF record includes, did "
        "not answer in time. Check that all of them answer over UDP and TCP, and within a second."
    ),
}


def spf_only(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders of the inventory that rely on SPF alone, by From domain: forwarding breaks it.

    warning when the policy blocks what fails, since forwarded mail of this sender is then
    being lost; info under p=none, where nothing is lost yet.
    """
    limits = context.thresholds
    if domain.at_most("spf_only") < limits.spf_only_share * limits.spf_only_messages:
        return []
    window = context.window(domain.messages)
    mine = window[window["in_inventory"]]
    found = []
    for (sender, author), rows in mine.groupby(["sender", "header_from"], observed=True):
        alone = rows[rows["class"] == "spf_only"]
        n = total(rows)
        if n >= limits.spf_only_messages and share(total(alone), n) >= limits.spf_only_share:
            found.append(_only(domain, context, str(sender), str(author), rows, alone))
    return found


def _only(
    domain: DomainFacts,
    context: Context,
    sender: str,
    author: str,
    rows: pd.DataFrame,
    alone: pd.DataFrame,
) -> Finding:
    limits = context.thresholds
    enforced = domain.policy.p in BLOCKED and domain.policy.testing != "y"
    text = (
        _(
            "{messages} of {of} that {sender} sent as {author} {when} pass DMARC by SPF alone: "
            "when somebody forwards them, they fail and are blocked."
        )
        if enforced
        else _(
            "{messages} of {of} that {sender} sent as {author} {when} pass DMARC by SPF alone: "
            "when somebody forwards them, they fail."
        )
    )
    return messages_finding(
        "spf_only",
        domain,
        f"{sender} / {author}",
        "warning" if enforced else "info",
        alone,
        summary=text.format(
            messages=n_messages(total(alone)),
            of=count(total(rows)),
            sender=safe(sender),
            author=safe(author),
            when=on_days(*day_span(alone)),
        ),
        action=_(
            "Owner of {sender}: sign with DKIM as d={author} (2048-bit RSA key). DNS admin: "
            "publish its public key as TXT record <selector>._domainkey.{author}. Google and Yahoo "
            "ask bulk senders for both SPF and DKIM."
        ).format(sender=safe(sender), author=safe(author)),
        query=window_query(
            domain,
            context,
            sender_predicate(domain, [sender]),
            queries.one_of("lower(header_from)", [author]),
            "spf_aligned AND dkim_aligned IS NOT TRUE",
        ),
        thresholds={"share": limits.spf_only_share, "messages": limits.spf_only_messages},
        evidence={
            "of": total(rows),
            "policy": domain.policy.p,
            "addresses": addresses(domain, [sender])[:SHOWN],
        },
    )


FAMILY = Family(
    (
        Kind(
            "spf_errors",
            later("SPF of {subject} cannot be evaluated"),
            ("warning", "info"),
            {"results": later("Results"), "senders": later("Senders"), "of": later("Of")},
            rules=lambda subject: ("spf",),
        ),
        Kind(
            "spf_only",
            later("{subject} rests on SPF alone"),
            ("warning", "info"),
            {"of": later("Of"), "policy": later("Policy")},
            rules=lambda subject: ("dkim",),
        ),
    ),
    of_domain=(spf_errors, spf_only),
)
