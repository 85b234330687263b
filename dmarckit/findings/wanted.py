"""Senders that are new or undecided, and mail of ours that receivers refuse."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dmarckit.core import _, count, later, ngettext, short_day
from dmarckit.facts import FORWARD_REASON, kind_word, network_key, organisation
from dmarckit.findings import context as c, counts, queries
from dmarckit.findings.context import BLOCKED, Context, DomainFacts
from dmarckit.findings.counts import SHOWN
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    join_names,
    join_sentences,
    median,
    safe,
    wilson_upper,
)
from dmarckit.findings.rows import Rows

_SHARED = ("hosting", "mailbox provider", "forwarder", "security gateway", "mailing list")
_HEIR = 0.25  # of the usual messages, at least; and at most four times as many
_FEW_ADDRESSES, _MANY = 4, 99


def decision(verb: str, sender: str, domain: str, *options: str) -> str:
    """Return the command that declares or denies a sender, ready to paste into a shell.

    >>> decision("deny", "Max & Moritz", "example.com")
    "dmarckit senders deny 'Max & Moritz' --domain example.com"
    >>> decision("deny", "-rf.example", "example.com")
    'dmarckit senders deny --domain example.com -- -rf.example'
    """
    name = safe(sender, 253)
    words = ["dmarckit", "senders", verb]
    if name.startswith("-"):
        return shlex.join([*words, "--domain", safe(domain, 253), *options, "--", name])
    return shlex.join([*words, name, "--domain", safe(domain, 253), *options])


def declare_options(domain: DomainFacts, sender: str) -> list[str]:
    """Return the options of `senders declare` that fit what the sender proves."""
    spf, dkim = domain.of("spf", sender), domain.of("signatures", sender)
    spf, dkim = spf[spf["result"] == "pass"], dkim[dkim["passed"]]
    kinds = domain.of("messages", sender)["sender_kind"]
    kind = kinds[0] if len(kinds) else "unknown"
    own = organisation(domain.name)
    # what a hoster's domain proves, all of its customers do
    whole = str if kind in _SHARED else organisation
    proofs = [
        (option, name)
        for option, names in (("--spf", spf["spf_domain"]), ("--dkim", dkim["dkim_domain"]))
        for name in sorted({whole(n) for n in names.unique() if organisation(n) != own})
        if name
    ]
    if not proofs:
        proofs = [("--network", ip) for ip in c.addresses(domain, [sender])[:4]]
        proofs.insert(0, ("--kind", "own" if kind in ("", "unknown", "hosting") else kind))
    return [safe(word, 253) for pair in proofs for word in pair]


_WHAT_IT_DOES = {
    "aligned": later("it passes DMARC by DKIM and SPF"),
    "dkim_only": later("it passes DMARC by DKIM"),
    "spf_only": later("it passes DMARC by SPF alone"),
    "broken_dkim": later("its signature does not verify"),
    "unaligned_sender": later("its mail fails DMARC"),
}


def new_sender(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders that were not seen in the 90 days before the window.

    Those that pass, known services, and what authenticates as itself from few networks. Always
    info: what fails about it is the business of `unaligned_sender`. Mail that proves nothing
    makes no sender. New forwarders of mail that the domain signed are one finding together.
    """
    limits = context.thresholds
    if domain.at_most() < limits.new_messages:
        return []
    if not domain.history(context.start, limits.history_days):
        return []
    window = context.window(domain.messages)
    least = max(limits.new_messages, limits.new_share * counts.total(window))
    sent = counts.sums(window, "sender")
    new = counts.first_days(domain.messages, "sender", context.start)
    enough = {sender for sender in new if sent[sender] > least - 0.5}
    fresh = window[window["sender"].isin(enough)]
    groups = [
        (sender, rows)
        for sender, rows in counts.groups(fresh, "sender")
        if counts.total(rows) >= least
        and (rows["day"].nunique() >= 2 or counts.count_reporters(rows) >= 2)
    ]
    itself = c.authenticating(domain, {sender for sender, _rows in groups})
    found, forwarders = [], []
    for sender, rows in groups:
        main = counts.largest(counts.sums(rows, "class"))
        if main == "forwarded":
            forwarders.append(sender)
        elif main in _WHAT_IT_DOES or sender in itself:
            found.append(_new(domain, context, [sender], rows, main, least))
    if forwarders:
        rows = fresh[fresh["sender"].isin(forwarders)]
        found.append(_new(domain, context, forwarders, rows, "forwarded", least))
    return found


def _new(
    domain: DomainFacts,
    context: Context,
    senders: list[str],
    rows: Rows,
    main: str,
    least: float,
) -> Finding:
    sender = senders[0]
    words = c.sentence_parts(domain, rows, sender)
    kind = rows["sender_kind"][0]
    evidence: dict[str, Any] = {
        "classes": counts.top_counts(rows, "class"),
        "addresses": c.addresses(domain, senders)[:SHOWN],
    }
    if main == "forwarded":
        evidence |= {
            "count": len(senders),
            "subjects": list(counts.top_counts(rows, "sender", 100)),
        }
        words |= {
            "n": count(len(senders)),
            "names": join_names(list(counts.top_counts(rows, "sender", len(senders)))),
        }
        summary = ngettext(
            "{n} new forwarder ({names}) relayed {messages} {when} whose signature or route shows "
            "that {domain} sent them.",
            "{n} new forwarders ({names}) relayed {messages} {when} whose signature or route "
            "shows that {domain} sent them.",
            len(senders),
        ).format(**words)
        action = _(
            "No action needed: people have their mail forwarded, and DKIM survives that. Mail "
            "that is not signed does not."
        )
    else:
        evidence |= {"sender_kind": kind, "from_domains": counts.top_counts(rows, "header_from")}
        named = "" if kind in ("unknown", "") else f" ({kind_word(kind)})"
        summary = _(
            "{sender} sends as {domain} for the first time in 90 days: {messages} {when}, and "
            "{what_it_does}."
        ).format(
            **words | {"sender": words["sender"] + named},
            what_it_does=_(_WHAT_IT_DOES.get(main, _WHAT_IT_DOES["unaligned_sender"])),
        )
        if rows["disposition"].isin(BLOCKED).any():
            treated = _("What became of them: {what}.").format(what=c.disposition_words(rows))
            summary = join_sentences(summary, treated)
        declared = (domain.inventory["declared"] & (domain.inventory["sender"] == sender)).any()
        if main == "unaligned_sender":
            action = _(
                "Mail admin: find out who uses {sender} in the name of {domain}. Once it has sent "
                "enough, a finding says what to set up there."
            )
        elif declared:
            action = _("No action needed: {sender} is declared, and has begun to send.")
        else:
            action = _(
                "Mail admin: ask the owners of {domain} whether somebody started to use {sender}. "
                "If so: {declare}; if not, ask who gave it access."
            )
        declare = decision("declare", sender, domain.name, *declare_options(domain, sender))
        action = action.format(declare=declare, **words)
    return c.messages_finding(
        "new_sender",
        domain,
        sender if len(senders) == 1 else c.POOLED,
        "info",
        rows,
        summary=summary,
        action=action,
        query=c.window_query(domain, context, c.sender_predicate(domain, senders)),
        thresholds={
            "least_messages": round(least),
            "history_days": context.thresholds.history_days,
        },
        evidence=evidence,
        since=rows["day"].min(),
    )


def unidentified_sender(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find what fails and behaves like a sender of the domain: is it ours, or not?

    warning where the policy acts on it already, or where it alone holds the next step; else
    info. Never critical before somebody has decided.
    """
    limits = context.thresholds
    if domain.at_most("unidentified") < limits.unidentified_messages:
        return []
    month = context.last(domain.messages, limits.ready_days)
    mine = month[month["class"] == "unidentified"]
    # so little else fails that a step could follow
    wanted = month[month["ours"] & (month["class"] != "unidentified")]
    fails = counts.total(wanted[wanted["fails"]])
    upper = wilson_upper(fails, counts.total(wanted), limits.confidence_z)
    holds = upper <= limits.ready_quarantine_testing
    acted = domain.policy.p in ("quarantine", "reject") or holds
    return [
        _unidentified(domain, context, sender, rows, acted=acted)
        for sender, rows in counts.groups(mine, "sender")
        if counts.total(rows) >= limits.unidentified_messages
    ]


def _unidentified(
    domain: DomainFacts, context: Context, sender: str, rows: Rows, *, acted: bool
) -> Finding:
    limits = context.thresholds
    known = domain.unidentified[domain.unidentified["sender"] == sender]
    found = c.addresses(domain, [sender])
    networks = sorted({network_key(ip) for ip in found})
    proves, n_addresses, n_networks = "", len(found), len(networks)
    if len(known):
        proves = known["proves"][0]
        n_addresses, n_networks = (int(known[column][0]) for column in ("addresses", "networks"))
    sent = domain.of("messages", sender)
    loss = c.lost_mail(context, rows, domain.sent_of_week(context, [sender]))
    days = rows["day"][rows["messages"] > 0].unique()
    rhythm = later("on working days")
    if len(days) >= 0.8 * ((days.max() - days.min()).days + 1):
        rhythm = later("every day")
    elif len({*days.day_of_week.tolist()}) == 1 and len(days) > 1:
        rhythm = later("always on the same day of the week")
    elif (days.day_of_week >= 5).any():
        rhythm = later("from time to time")
    decisions = {
        "declare": decision("declare", sender, domain.name, *declare_options(domain, sender)),
        "deny": decision("deny", sender, domain.name),
    }
    words = c.sentence_parts(domain, rows, sender)
    return c.messages_finding(
        "unidentified_sender",
        domain,
        sender,
        loss.severity("warning" if acted else "info", limits, decided=False),
        rows,
        summary=join_sentences(
            _(
                "Yours or not? {sender} sent {messages} as {domain} on {days} of the last {of} "
                "days ({rhythm}), from {addresses} in {networks}, and all of them fail DMARC."
            ).format(
                **words,
                days=count(len(days)),
                of=limits.ready_days,
                rhythm=_(rhythm),
                addresses=ngettext("{n} address", "{n} addresses", n_addresses).format(
                    n=count(n_addresses)
                ),
                networks=ngettext("{n} network", "{n} networks", n_networks).format(
                    n=count(n_networks)
                ),
            ),
            _("It authenticates as {proves}, not as {domain}.").format(**words, proves=safe(proves))
            if proves
            else _("It does not authenticate: neither SPF nor DKIM passes."),
            loss.sentence([sender]),
        ),
        action=_(
            "Mail admin: ask the owners of {domain} who uses {sender}. If it is yours: {declare} "
            "(the next findings then say what to set up). If not: {deny}"
        ).format(**words, **decisions),
        query=c.domain_query(
            domain,
            context.days_back(limits.ready_days),
            context,
            c.sender_predicate(domain, [sender]),
            queries.FAILS,
            f"NOT {FORWARD_REASON}",
        ),
        thresholds={"messages": limits.unidentified_messages, "days": limits.ready_days},
        evidence={
            "proves": safe(proves),
            "sender_kind": rows["sender_kind"][0],
            "from_domains": counts.top_counts(rows, "header_from"),
            "dispositions": counts.top_counts(rows, "disposition"),
            "networks": networks[:SHOWN],
            "addresses": found[:SHOWN],
            **decisions,
        },
        since=sent["day"].min(),
        loss=loss,
    )


def mail_lost(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders of ours whose mail receivers quarantine or reject, and mail that moved.

    `causes` drops it where another finding says why. A From domain whose mail used to pass by
    a sender of the inventory, and since a day comes from a few new addresses and fails, is
    that sender's.
    """
    limits = context.thresholds
    if domain.counted("refused") < limits.lost_messages:
        return []
    week = context.last(domain.messages, 7)
    lost = week[week["fails"] & week["blocked"]]
    found: dict[str, Finding] = {}

    def find(sender: str, rows: Rows, loss: c.Loss, move: _Move | None = None) -> None:
        enough = loss.messages >= limits.lost_messages and loss.days >= limits.lost_days
        if not enough or sender in found:
            return
        sent = domain.of("messages", sender)
        gone = sent[sent["fails"] & sent["blocked"]]
        if move is not None or not c.how_mended(domain, context, gone, sent):
            found[sender] = _lost(domain, context, sender, rows, loss, move)

    for sender, rows in counts.groups(lost[lost["ours"]], "sender"):
        find(sender, rows, c.lost_mail(context, rows, domain.sent_of_week(context, [sender])))
    strange = lost[~lost["ours"]]
    of_authors = counts.sums(strange, "header_from")
    authors = {author for author, n in of_authors.items() if n > limits.lost_messages - 0.5}
    if authors:
        for move in _moves(domain, context, authors):
            rows = strange[strange["sender"].isin(move.to)]
            rows = rows[rows["header_from"] == move.author]
            find(move.sender, rows, c.lost_mail(context, rows), move)
    return list(found.values())


@dataclass(frozen=True)
class _Move:
    """Mail of a From domain that passed by one sender, and since a day fails from elsewhere."""

    author: str
    sender: str  # of the inventory
    to: tuple[str, ...]
    day: pd.Timestamp


def _moves(domain: DomainFacts, context: Context, authors: Set[str]) -> list[_Move]:
    """Return those of the From domains whose mail moved to a few new addresses."""
    rows = domain.messages
    theirs = rows["header_from"].isin(authors) & (rows["messages"] > 0)
    steady = {
        sender: day
        for sender, day in counts.first_days(rows, "sender", context.today - 30 * c.DAY).items()
        if domain.n_addresses.get(sender, _MANY) <= _FEW_ADDRESSES
    }
    strange = theirs & ~(rows["in_inventory"] | rows["ours"])
    fails = strange & rows["sender"].isin(steady)
    fails &= rows["class"].isin((*c.SPOOFED, "unidentified"))
    of_author = dict(counts.groups(rows[fails], "header_from"))
    theirs &= rows["in_inventory"] & ~rows["fails"]
    mine = rows[theirs & rows["header_from"].isin(of_author)]
    found = []
    for author, passed in counts.groups(mine, "header_from"):
        new = of_author[author]
        since = {sender: steady[sender] for sender in new["sender"].unique()}
        for sender, first in counts.first_days(passed, "sender").items():
            began = [new_one for new_one, day in since.items() if day > first]
            if not began or len(began) > c.OWN_NETWORKS:
                continue
            sent = passed[passed["sender"] == sender]
            daily = counts.sums(sent, "day")
            if len(daily) < context.thresholds.recent_days:
                continue
            usual = median([*daily.values()])
            day = min(since[new_one] for new_one in began)
            left = sent["messages"][sent["day"] > day].sum()
            gone = left <= _HEIR * usual * max((context.today - day).days - 1, 1)
            now = new[new["sender"].isin(began)]
            rate = now["messages"].sum() / max(now["day"].nunique(), 1)
            much = _HEIR * usual <= rate <= usual / _HEIR
            if gone and much and (passed["day"] < day).any():
                found.append(_Move(author, sender, tuple(began), day))
    return found


def _lost(
    domain: DomainFacts,
    context: Context,
    sender: str,
    rows: Rows,
    loss: c.Loss,
    move: _Move | None,
) -> Finding:
    limits = context.thresholds
    delivered_by = [sender] if move is None else list(move.to)
    found = c.addresses(domain, delivered_by, failing=True)
    words = c.sentence_parts(domain, rows, sender)
    if move is not None:
        since = move.day
        why = _(
            "Until {day} the mail of {author} came from {sender} and passed; since then it comes "
            "from {addresses} and fails."
        ).format(
            **words, day=short_day(since), author=safe(move.author), addresses=join_names(found)
        )
        action = _(
            "{sender} admin: if this mail is yours, have the DNS admin add {addresses} to the SPF "
            "record of the return path, and the new host sign with DKIM as {author}. If it is "
            "not, it is forged, and nothing is lost."
        )
    else:
        sent = domain.of("messages", sender)
        since = sent["day"][sent["fails"]].min()
        why = _("Neither SPF nor DKIM passes for {domain}.").format(**words)
        action = _(
            "{sender} admin: find out which mail this is (From domains and addresses below) and "
            "authenticate it: {addresses} in the SPF record of the return path, or a DKIM "
            "signature of {author}."
        )
    return c.messages_finding(
        "mail_lost",
        domain,
        sender,
        loss.severity("warning", limits, decided=sender not in set(domain.unidentified["sender"])),
        rows,
        summary=join_sentences(
            _("{messages} that {sender} sent as {domain} were lost {when} ({reporters}).").format(
                **words
            ),
            loss.sentence([sender]),
            why,
        ),
        action=action.format(
            **words,
            addresses=join_names(found),
            author=join_names(list(counts.top_counts(rows, "header_from"))),
        ),
        query=c.domain_query(
            domain,
            context.days_back(7),
            context,
            c.sender_predicate(domain, delivered_by),
            queries.FAILS,
            queries.one_of("lower(disposition)", BLOCKED),
            *([f"lower(header_from) = {queries.text(move.author)}"] if move else ()),
        ),
        thresholds={
            "messages": limits.lost_messages,
            "days": limits.lost_days,
            "critical": limits.lost_critical,
            "share": limits.lost_share,
        },
        evidence={
            "classes": counts.top_counts(rows, "class"),
            "from_domains": counts.top_counts(rows, "header_from"),
            "dispositions": counts.top_counts(rows, "disposition"),
            "delivered_by": [safe(name) for name in delivered_by],
            "addresses": found[:SHOWN],
        },
        since=since,
        loss=loss,
    )


def class_ended(name: str) -> Callable[[Finding, DomainFacts, Context], str]:
    """Return the `Kind.ended` of findings about one class of a sender's messages."""

    def ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
        sent = domain.of("messages", finding.subject)
        return c.how_calmed(domain, context, sent[sent["class"] == name], sent)

    return ended


def _unidentified_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    """Say how it ended: a sender that goes on has not only because a rare day left the 30 days."""
    sender = finding.subject
    decided = domain.senders.union(domain.denied["sender"])
    few = domain.n_addresses.get(sender, 0) <= _FEW_ADDRESSES
    if sender in decided or not (few or c.authenticating(domain, {sender})):
        return class_ended("unidentified")(finding, domain, context)
    sent = domain.of("messages", sender)
    fails = sent["fails"] & sent["class"].isin(("unidentified", *c.SPOOFED))
    return c.how_calmed(domain, context, sent[fails], sent)


def _lost_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    names = [finding.subject, *finding.evidence.get("delivered_by", ())]
    sent = domain.messages[domain.messages["sender"].isin(names)]
    return c.how_calmed(domain, context, sent[sent["fails"] & sent["blocked"]], sent)


FAMILY = Family(
    (
        Kind(
            "mail_lost",
            later("Mail from {subject} is being lost"),
            ("critical", "warning"),
            {
                "classes": later("Classes"),
                "from_domains": later("From domains"),
                "delivered_by": later("Delivered by"),
            },
            ended=_lost_ended,
        ),
        Kind(
            "unidentified_sender",
            later("Yours or not? {subject}"),
            ("warning", "info"),
            {
                "proves": later("Authenticates as"),
                "sender_kind": later("Sender kind"),
                "from_domains": later("From domains"),
                "networks": later("Networks"),
                "declare": later("If it is yours"),
                "deny": later("If it is not"),
            },
            ended=_unidentified_ended,
        ),
        Kind(
            "new_sender",
            later("New sender: {subject}"),
            ("info",),
            {
                "sender_kind": later("Sender kind"),
                "classes": later("Classes"),
                "from_domains": later("From domains"),
            },
        ),
    ),
    of_domain=(unidentified_sender, mail_lost, new_sender),
)
