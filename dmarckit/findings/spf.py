"""SPF records that cannot be evaluated, and senders that have nothing but SPF."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmarckit.core import _, count, later, n_messages, ngettext, percent
from dmarckit.facts import howto, result_meaning
from dmarckit.findings import context as c, counts, model, queries
from dmarckit.findings.context import BLOCKED, Context, DomainFacts
from dmarckit.findings.counts import SHOWN, count_reporters, total
from dmarckit.findings.model import Family, Finding, Kind, join_sentences, on_days, safe, share
from dmarckit.findings.rows import Rows


def spf_errors(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find SPF domains whose record makes receivers stop with an error (RFC 7208 section 2.6).

    Only domains that matter here: the domain's own, and those of senders of ours; what a
    stranger's record says is his affair. critical when mail without a signature that counts is
    lost by it; warning for permerror (the record is wrong, and it counts as no SPF at all) that
    several messages met, and for frequent temperror at several reporters; else info. Old words
    for the two (unknown, error) are counted as what they mean.
    """
    limits = context.thresholds
    if not domain.counted("spf_errors") or domain.at_most() < limits.spf_error_messages:
        return []
    window = context.window(domain.spf)
    if not window["result"].isin(c.SPF_ERRORS).any():
        return []
    seen = domain.messages
    senders = domain.senders.union(counts.names(seen, "sender", seen["ours"]))
    names = window["spf_domain"].unique()
    is_near = window["spf_domain"].isin([n for n in names if related(n, domain.name)])
    ours = window[(is_near | window["sender"].isin(senders)) & (window["spf_domain"] != "")]
    found = []
    for spf_domain, rows in counts.groups(ours, "spf_domain"):
        errors = rows[rows["result"].isin(c.SPF_ERRORS)]
        n, wrong = total(rows), total(errors)
        if n >= limits.spf_error_messages and share(wrong, n) >= limits.spf_error_share and wrong:
            found.append(_errors(domain, context, spf_domain, rows, errors))
    return found


def related(name: str, domain: str) -> bool:
    """Return True if one name is the other, or stands below it.

    >>> related("bounce.example.com", "example.com"), related("example.net", "example.com")
    (True, False)
    """
    return name == domain or name.endswith(f".{domain}") or domain.endswith(f".{name}")


def _errors(
    domain: DomainFacts, context: Context, spf_domain: str, rows: Rows, errors: Rows
) -> Finding:
    limits = context.thresholds
    permanent = total(errors[errors["result"] == "permerror"])
    wrong, n = total(errors), total(rows)
    reporters = count_reporters(errors)
    # of fewer than ten errors a record is worth knowing, but no alarm
    believed = wrong >= 10 and (
        share(permanent, n) >= limits.spf_error_share
        or (share(wrong, n) >= 5 * limits.spf_error_share and reporters >= 2)
    )
    # mail that was not delivered where and when its SPF had an error
    failing = c.failing_ours(context.window(domain.messages))
    failing = failing[failing["blocked"]]
    met, here = (
        list(zip(some["day"].values.tolist(), some["reporter"], some["sender"], strict=True))
        for some in (errors, failing)
    )
    known = set(met)
    lost = failing[np.fromiter((one in known for one in here), bool)]
    n_lost = min(total(lost), wrong)
    is_lost = n_lost >= limits.lost_messages and lost["day"].nunique() >= limits.lost_days

    only = model.reporter_name(errors["reporter"][0])
    texts = [
        _(
            "SPF of {domain} could not be evaluated for {messages} of {of} ({share}) {when}: "
            "{permanent} permerror, {temporary} temperror."
        ).format(
            domain=safe(spf_domain),
            messages=n_messages(wrong),
            of=count(n),
            share=percent(share(wrong, n)),
            when=on_days(*counts.day_span(errors)),
            permanent=count(permanent),
            temporary=count(wrong - permanent),
        ),
        _("Only {reporter} reports it.").format(reporter=only) if reporters == 1 else "",
        _(
            "{messages} without a signature that counts were not delivered: {what} ({names})."
        ).format(
            messages=n_messages(n_lost),
            what=c.disposition_words(lost),
            names=c.names_with_counts(lost, "sender"),
        )
        if n_lost
        else "",
    ]
    if permanent * 2 >= wrong:
        action = _(
            "DNS admin: repair the TXT record of {domain} that begins with v=spf1: exactly one "
            "such record, at most 10 lookups (include, a, mx, redirect, exists; also those inside "
            "of includes), no include of a name without SPF record, no typing error. Remove "
            "includes of services that are no longer used first."
        )
    elif reporters == 1 and count_reporters(rows) > 1:
        action = _(
            "No action needed as long as others do not report it: {reporter} may have had trouble "
            "with its own DNS."
        )
    else:
        action = _(
            "DNS admin: receivers got no answer in time for {domain}, or for a domain that its SPF "
            "record includes. Check that all nameservers answer over UDP and TCP, and within a "
            "second."
        )
    finding = c.messages_finding(
        "spf_errors",
        domain,
        spf_domain,
        "critical" if is_lost else "warning" if believed else "info",
        errors,
        summary=join_sentences(*texts),
        action=action.format(domain=safe(spf_domain), reporter=only),
        query=c.window_query(domain, context, _errors_predicate(spf_domain)),
        thresholds={"share": limits.spf_error_share, "messages": limits.spf_error_messages},
        evidence={
            "results": counts.top_counts(rows, "result"),
            "senders": counts.top_counts(errors, "sender"),
            "of": n,
        },
    )
    return replace(finding, lost=n_lost)


def _errors_predicate(spf_domain: str) -> str:
    # the facts take MAIL FROM, and HELO only when no MAIL FROM was evaluated
    mail_from = queries.any_of("spf", "coalesce(x.scope, 'mfrom') <> 'helo'")
    failed = f"{queries.one_of(result_meaning('x.result'), c.SPF_ERRORS)} AND lower(x.domain) = "
    failed += queries.text(spf_domain)
    hit = queries.any_of("spf", f"{failed} AND coalesce(x.scope, 'mfrom') <> 'helo'")
    helo = queries.any_of("spf", failed)
    return f"{hit} OR (NOT {mail_from} AND {helo})"


def spf_only(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders of the inventory that rely on SPF alone, by From domain: forwarding breaks it.

    warning when the policy blocks what fails, since forwarded mail of this sender is then
    being lost; info under p=none, where nothing is lost yet, and where it signs and the
    signature does not verify, which is a finding of its own.
    """
    limits = context.thresholds
    if domain.at_most("spf_only") < limits.spf_only_share * limits.spf_only_messages:
        return []
    window = context.window(domain.messages)
    mine = window["in_inventory"]
    some = window["sender"][mine & (window["class"] == "spf_only")].unique()
    found = []
    mine = mine & window["sender"].isin(some)
    for sender, sent in counts.groups(window[mine], "sender"):
        for author, rows in counts.groups(sent, "header_from"):
            alone = rows[rows["class"] == "spf_only"]
            n = total(rows)
            if n >= limits.spf_only_messages and share(total(alone), n) >= limits.spf_only_share:
                found.append(_only(domain, context, sender, author, rows, alone))
    return found


def _only(
    domain: DomainFacts,
    context: Context,
    sender: str,
    author: str,
    rows: Rows,
    alone: Rows,
) -> Finding:
    limits = context.thresholds
    enforced = domain.policy.p in BLOCKED and domain.policy.testing != "y"
    signed = context.window(domain.of("signatures", sender))
    mine = signed["header_from"] == author
    failing = signed[mine & signed["aligned"] & ~signed["passed"]]
    signs = 2 * total(failing) >= total(alone)
    text = _(
        "{messages} of {of} that {sender} sent as {author} {when} pass DMARC by SPF alone: "
        "when somebody forwards them, they fail."
    )
    if enforced:
        text = _(
            "{messages} of {of} that {sender} sent as {author} {when} pass DMARC by SPF alone: "
            "when somebody forwards them, they fail, and the policy asks to block them."
        )
    keys = c.names_with_counts(failing, "signature")
    return c.messages_finding(
        "spf_only",
        domain,
        f"{sender} / {author}",
        "warning" if enforced and not signs else "info",
        alone,
        summary=join_sentences(
            text.format(
                messages=n_messages(total(alone)),
                of=count(total(rows)),
                sender=safe(sender),
                author=safe(author),
                when=on_days(*counts.day_span(alone)),
            ),
            _("They are signed, but the signatures do not verify: {keys}.").format(keys=keys)
            if signs
            else "",
        ),
        action=_(
            "{sender} admin: compare the key that it signs with and the one in DNS ({keys}); "
            "dmarckit dns check asks for it. If they are the same, something changes the mail "
            "after it was signed."
        ).format(sender=safe(sender), keys=keys)
        if signs
        else join_sentences(
            signing_action(sender, author),
            _("Google and Yahoo ask bulk senders for both SPF and DKIM."),
        ),
        query=c.window_query(
            domain,
            context,
            c.sender_predicate(domain, [sender]),
            queries.one_of("lower(header_from)", [author]),
            "spf_aligned AND dkim_aligned IS NOT TRUE",
        ),
        thresholds={"share": limits.spf_only_share, "messages": limits.spf_only_messages},
        evidence={
            "of": total(rows),
            "policy": domain.policy.p,
            "addresses": c.addresses(domain, [sender])[:SHOWN],
        },
    )


def signing_action(sender: str, author: str) -> str:
    """Return how a sender comes to sign as a domain, and what its service needs for that."""
    known = howto(sender)
    if known is None or not known.dkim_type:
        return _(
            "{sender} admin: sign with DKIM as d={author} (2048-bit RSA key). DNS admin: publish "
            "the DKIM record that the owner names, below _domainkey.{author}."
        ).format(sender=safe(sender), author=safe(author))
    where = _(" ({screen})").format(screen=known.screen) if known.screen else ""
    n = known.dkim_records or len(known.dkim_names)
    return ngettext(
        "{sender} admin: have it sign as {author}{where}. DNS admin: publish the {n} {type} "
        "record that it shows: {names} below {author}.",
        "{sender} admin: have it sign as {author}{where}. DNS admin: publish the {n} {type} "
        "records that it shows: {names} below {author}.",
        n,
    ).format(
        sender=safe(sender),
        author=safe(author),
        where=where,
        n=count(n),
        type=known.dkim_type,
        names=model.join_names(known.dkim_names),
    )


def _errors_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    rows = domain.spf[domain.spf["spf_domain"] == finding.subject]
    return c.how_calmed(domain, context, rows[rows["result"].isin(c.SPF_ERRORS)], rows)


def _only_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    sender, _between, author = finding.subject.rpartition(" / ")
    rows = domain.messages
    rows = rows[(rows["sender"] == sender) & (rows["header_from"] == author)]
    return c.how_calmed(domain, context, rows[rows["class"] == "spf_only"], rows)


FAMILY = Family(
    (
        Kind(
            "spf_errors",
            later("SPF errors for {subject}"),
            ("critical", "warning", "info"),
            {"results": later("Results"), "senders": later("Senders"), "of": later("Of")},
            rules=lambda subject: ("spf",),
            ended=_errors_ended,
        ),
        Kind(
            "spf_only",
            later("{subject} passes by SPF only"),
            ("warning", "info"),
            {"of": later("Of"), "policy": later("Policy")},
            rules=lambda subject: ("dkim",),
            ended=_only_ended,
        ),
    ),
    of_domain=(spf_errors, spf_only),
)
