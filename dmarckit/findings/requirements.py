"""Sender requirements of mailbox providers that are not met: by codes in reports, and by rule."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from dmarckit import checks
from dmarckit.core import _, count, later, n_messages, one_line
from dmarckit.facts import Facts, organisation
from dmarckit.findings import context as c, model, queries
from dmarckit.findings.context import Context, DomainFacts, how_calmed
from dmarckit.findings.counts import day_span, groups, top_counts, total
from dmarckit.findings.model import Family, Finding, Kind, Severity, join_names, on_days, safe
from dmarckit.findings.rows import Rows


def gmail_requirement(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find enhanced codes in reasons such as ``Sender requirement failed: 550-5.7.30``.

    warning when mail of own senders (the inventory, or a known service) is concerned: it
    is delayed (4xx) or refused (5xx), whatever the DMARC policy says. critical when mail of
    inventory senders is refused. info when only strangers or a handful of messages hit it.
    """
    if not domain.has("requirements"):
        return []
    window = context.window(domain.requirements)
    return [_finding(domain, context, code, rows) for code, rows in groups(window, "code")]


def _finding(domain: DomainFacts, context: Context, code: str, rows: Rows) -> Finding:
    known = domain.messages[~domain.messages["sender_kind"].isin(["unknown", "hosting"])]
    service = rows["sender"].isin(known["sender"].unique())
    inventory = rows["sender"].isin(domain.senders)
    ours = rows[inventory | service]
    least = context.thresholds.requirement_messages
    permanent = rows["smtp"].isin([smtp for smtp in rows["smtp"].unique() if smtp.startswith("5")])
    refused = total(rows, inventory & permanent)
    severity: Severity = "info"
    if total(ours) >= least:
        severity = "critical" if refused >= least else "warning"
    meaning = requirement_meaning(code)
    senders = join_names(list(top_counts(ours if len(ours) else rows, "sender")))
    text = (
        _(
            "{reporters} flagged {messages} of {domain} {when} with {code}: {meaning} ({own} from "
            "your own senders or known services: {senders})."
        )
        if len(ours)
        else _(
            "{reporters} flagged {messages} of {domain} {when} with {code}: {meaning} (all from "
            "unknown senders: {senders})."
        )
    )
    digits = code.replace(".", r"\.")
    pattern = rf"Sender requirement failed:\s*\d{{3}}[- ]{digits}([^0-9]|$)"
    has_code = f"regexp_matches(coalesce(x.comment, ''), {queries.text(pattern)}, 'i')"
    actions = (_(a).format(senders=senders, domain=safe(domain.name)) for a in meaning.actions)
    return c.messages_finding(
        "gmail_requirement",
        domain,
        code,
        severity,
        rows,
        summary=model.join_sentences(
            text.format(
                reporters=join_names(list(top_counts(rows, "reporter"))),
                messages=n_messages(total(rows)),
                domain=safe(domain.name),
                when=on_days(*day_span(rows)),
                code=safe(code),
                meaning=_(meaning.means),
                own=count(total(ours)),
                senders=senders,
            ),
            *_by_sender(ours if len(ours) else rows),
        ),
        action=model.join_sentences(*actions)
        if len(ours)
        else _("No action needed: none of the senders is yours."),
        query=c.window_query(domain, context, queries.any_of("reasons", has_code)),
        thresholds={"messages": least},
        evidence={
            "code": code,
            "smtp": top_counts(rows, "smtp"),
            "senders": top_counts(rows, "sender"),
            "own_senders": top_counts(ours, "sender"),
            "from_domains": top_counts(rows, "header_from"),
            "addresses": top_counts(rows, "source_ip"),
            "means": meaning.means,
        },
    )


def _by_sender(rows: Rows) -> list[str]:
    found = []
    for name in top_counts(rows, "sender", 3):
        part = rows[rows["sender"] == name]
        authors, places = (top_counts(part, c) for c in ("header_from", "source_ip"))
        if any(authors) and any(places):
            found.append(
                _("{sender}: {messages} as {authors}, from {addresses}.").format(
                    sender=safe(name),
                    messages=n_messages(total(part)),
                    authors=join_names(list(authors)),
                    addresses=join_names(list(places)),
                )
            )
    return found


class CodeMeaning(NamedTuple):
    """The meaning of a code, and what to do: English texts, which `_` translates."""

    means: str
    actions: tuple[str, ...]


def _meaning(means: str, *actions: str) -> CodeMeaning:
    return CodeMeaning(means, actions)


def requirement_meaning(code: str) -> CodeMeaning:
    """Return the meaning of an enhanced code: 4.x.y delays and 5.x.y refuses by the same rule."""
    return _MEANINGS.get(code.partition(".")[2], _OTHER)


_SIGN = later(
    "{senders} admin: sign every message with DKIM as d={domain}. DNS admin: publish the key or "
    "keys that the owner names (TXT or CNAME) below _domainkey.{domain}."
)
_SPF = later(
    "{senders} admin: use a return path whose domain has an SPF record. DNS admin: add the "
    "sender's include or addresses to the TXT record v=spf1 of that domain, with at most 10 "
    "lookups."
)
_RECORD = later(
    "DNS admin: publish exactly one TXT record at _dmarc.{domain}: v=DMARC1; p=none; and a rua tag "
    "with the address that takes your reports."
)
_NO_RECORD = _meaning(later("the author's domain has no DMARC record"), _RECORD)
_FORMAT = _meaning(
    later("the message is malformed, or Gmail takes it for spam"),
    later(
        "{senders} admin: send messages with one From header, one Message-ID and no header twice "
        "(RFC 5322), and see the text of the reply in the sending server's log: 5.7.1 also stands "
        "for low reputation and for IPv6 addresses without PTR."
    ),
)
_MEANINGS = {
    "6.0": _FORMAT,
    "7.0": _meaning(
        later("the address or domain has a low reputation, no PTR record, or sent without TLS"),
        later(
            "{senders} admin: see the text of the reply in the sending server's log, which says "
            "which of these it is."
        ),
    ),
    "7.1": _FORMAT,
    "7.23": _meaning(
        later("the sending address has no PTR record"),
        later("{senders} admin: set a PTR record."),
    ),
    "7.24": _meaning(later("the SPF record has suspicious entries"), _SPF),
    "7.25": _meaning(
        later("PTR and forward DNS of the sending address do not agree"),
        later(
            "{senders} admin: give every sending address a PTR record whose name resolves back to "
            "the same address."
        ),
    ),
    "7.26": _meaning(later("neither SPF nor DKIM passes"), _SIGN, _SPF),
    "7.27": _meaning(later("SPF does not pass"), _SPF),
    "7.28": _meaning(
        later("unusually much mail, or much of it unwanted, came at once"),
        later(
            "{senders} admin: find out what sent so much (the reply names address, DKIM domain or "
            "link), stop what nobody asked for, and raise volumes slowly."
        ),
    ),
    "7.29": _meaning(
        later("the connection was not encrypted"),
        later("{senders} admin: enable TLS (STARTTLS) for outgoing mail."),
    ),
    "7.30": _meaning(later("DKIM does not pass"), _SIGN),
    "7.31": _NO_RECORD,
    "7.32": _meaning(
        later("the From domain is aligned with neither SPF nor DKIM"),
        later(
            "{senders} admin: sign with DKIM as d={domain}, or use a return path below {domain}. "
            "DNS admin: publish the records that the owner names."
        ),
    ),
    "7.40": _NO_RECORD,
}
_OTHER = _meaning(
    later("a requirement for senders is not met"),
    later(
        "{senders} admin: look the code up in the receiver's list of SMTP errors, and in the "
        "sending server's log."
    ),
)


def requirement_not_met(
    facts: Facts, outside: checks.Outside, context: Context, reported: Set[tuple[str, str]]
) -> list[Finding]:
    """Find the rules of `checks.matrix` that a domain does not meet; the subject is the rule.

    Only for domains that Postmaster Tools or DNS was asked about. warning when a provider has
    the rule for all senders, or the domain is over its line for bulk senders; info when nobody
    knows whether it is, and nothing when it is not.
    What only Postmaster Tools of the organisation says is a finding of the organisation. None
    where `reported` (domain and rule, see `Kind.rules`) has it already, and none for a spam
    rate as long as Google gives rates: a day with little mail may reach any.
    """
    own = set(outside.postmaster["domain"])
    asked = own | set(outside.dns["domain"])
    names = asked | {str(name) for name in facts.reports["domain"].unique()}
    names = {name for name in names if name in asked or organisation(name) in asked}
    if outside.domains:
        names &= set(outside.domains)
    if not names:
        return []
    table = checks.asked_rules(checks.requirement_matrix(facts, outside, sorted(names)))
    rated = outside.postmaster["metric"] == "spam_rate"
    known = reported | {
        (str(name), "spam_rate") for name in outside.postmaster.loc[rated, "domain"].unique()
    }
    rows: dict[tuple[str, str], list[dict[Any, Any]]] = {}
    for row in table[table["verdict"] == "not met"].to_dict("records"):
        domain, rule = str(row["domain"]), str(row["rule"])
        keys = {(domain, rule), (organisation(domain), rule)}
        if row["dns"] == "not met":
            keys.add((domain, f"DNS {rule}"))
        if keys.isdisjoint(known):
            by_google = all(row[view] != "not met" for view in ("reports", "dns"))
            about = organisation(domain) if by_google and domain not in own else domain
            rows.setdefault((about, rule), []).append(row)
    return [_not_met_finding(domain, rule, part, context) for (domain, rule), part in rows.items()]


def _not_met_finding(
    domain: str, rule: str, rows: Sequence[dict[Any, Any]], context: Context
) -> Finding:
    """Return the finding of `rows` of the matrix: a provider's, or more of an organisation's."""
    binding = [row for row in rows if row["applies"] == "all" or row["bulk"] is True]
    words, worst = checks.wording(rule), (binding or list(rows))[0]
    providers = list(dict.fromkeys(str(row["provider"]) for row in rows))
    missing = _("{domain} does not meet a requirement of {providers}: {rule}.")
    return Finding(
        kind="requirement_not_met",
        domain=domain,
        subject=rule,
        severity="warning" if binding else "info",
        messages=0,
        first_day=None,
        last_day=context.today.date(),
        reporters=len({row["provider"] for row in rows if row["reports"] == "not met"}),
        summary=model.join_sentences(
            missing.format(domain=safe(domain), providers=join_names(providers), rule=words.name),
            words.asks,
            _("Observed: {why}.").format(why=safe(worst["why"], 600).rstrip(".。")),
            "" if binding else _("Applies to bulk senders only."),
        ),
        action=words.action,
        evidence={
            "providers": providers,
            "views": {view: worst[view] for view in checks.VIEWS if worst[view] is not None},
            "source": [checks.SOURCES[name] for name in providers],
        },
    )


def _rule_of_code(code: str) -> tuple[str, ...]:
    rule = checks.CODES.get(code.partition(".")[2])
    if rule == "authentication":
        return rule, "alignment"
    return (rule,) if rule else ()


def _code_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    rows = domain.requirements[domain.requirements["code"] == finding.subject]
    return how_calmed(domain, context, rows, rows)


FAMILY = Family(
    (
        Kind(
            "gmail_requirement",
            later("Receiver's requirement not met: {subject}"),
            ("critical", "warning", "info"),
            {
                "code": later("Code"),
                "smtp": later("Smtp"),
                "senders": later("Senders"),
                "own_senders": later("Own senders"),
                "from_domains": later("From domains"),
                "addresses": later("Addresses"),
                "means": later("Means"),
            },
            rules=_rule_of_code,
            topic="requirements",
            ended=_code_ended,
        ),
        Kind(
            "requirement_not_met",
            later("Sender requirement not met: {subject}"),
            ("warning", "info"),
            {"providers": later("Providers"), "views": later("Views"), "source": later("Source")},
            topic="requirements",
            subject_name=lambda rule: (
                checks.wording(rule).name if rule in checks.RULES else one_line(rule, 80)
            ),
        ),
    ),
    of_domain=(gmail_requirement,),
)
