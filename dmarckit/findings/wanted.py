"""Mail that may be ours and fails: senders that nobody knows, and mail that receivers refuse."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pandas as pd

from dmarckit.core import Thresholds, _, count, later, n_messages, ngettext
from dmarckit.facts import FORWARD_REASON, network_key, organisation
from dmarckit.findings import queries
from dmarckit.findings.context import (
    BLOCKED,
    DAY,
    OWN_NETWORKS,
    SHOWN,
    SPOOFED,
    Context,
    DomainFacts,
    Loss,
    addresses,
    count_reporters,
    day_span,
    domain_query,
    how_calmed,
    lost_mail,
    messages_finding,
    sender_predicate,
    top_counts,
    total,
)
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    join_names,
    join_sentences,
    median,
    n_reporters,
    on_days,
    safe,
    wilson_upper,
)


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
    spf, dkim = domain.spf, domain.signatures
    spf = spf[(spf["sender"] == sender) & (spf["result"] == "pass")]
    dkim = dkim[(dkim["sender"] == sender) & dkim["passed"]]
    kinds = domain.messages.loc[domain.messages["sender"] == sender, "sender_kind"]
    kind = str(kinds.iloc[0]) if len(kinds) else "unknown"
    own = organisation(domain.name)
    # what a hoster's domain proves, all of its customers do
    whole = str if kind in _SHARED else organisation
    proofs = [
        (option, name)
        for option, names in (("--spf", spf["spf_domain"]), ("--dkim", dkim["dkim_domain"]))
        for name in sorted({whole(str(n)) for n in names.unique() if organisation(str(n)) != own})
        if name
    ]
    if not proofs:
        proofs = [("--network", ip) for ip in addresses(domain, [sender])[:4]]
        proofs.insert(0, ("--kind", "own" if kind in ("", "unknown", "hosting") else kind))
    return [safe(word, 253) for pair in proofs for word in pair]


_SHARED = ("hosting", "mailbox provider", "forwarder", "security gateway", "mailing list")


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
    return [
        _unidentified(domain, context, str(sender), rows, month)
        for sender, rows in mine.groupby("sender", observed=True)
        if total(rows) >= limits.unidentified_messages
    ]


def _unidentified(
    domain: DomainFacts, context: Context, sender: str, rows: pd.DataFrame, month: pd.DataFrame
) -> Finding:
    limits = context.thresholds
    known = domain.unidentified[domain.unidentified["sender"] == sender]
    row = known.iloc[0] if len(known) else None
    proves = "" if row is None else str(row["proves"])
    found = addresses(domain, [sender])
    networks = sorted({network_key(ip) for ip in found})
    loss = lost_mail(context, rows, month[month["sender"] == sender])
    acted = domain.policy.p in ("quarantine", "reject") or _holds_the_step(month, limits)
    declare = decision("declare", sender, domain.name, *declare_options(domain, sender))
    deny = decision("deny", sender, domain.name)
    days = rows.loc[rows["messages"] > 0, "day"]
    return messages_finding(
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
                sender=safe(sender),
                messages=n_messages(total(rows)),
                domain=safe(domain.name),
                days=count(days.nunique()),
                of=limits.ready_days,
                rhythm=_(_rhythm(days)),
                addresses=_n_addresses(len(found) if row is None else int(row["addresses"])),
                networks=_n_networks(len(networks) if row is None else int(row["networks"])),
            ),
            _("It authenticates as {proves}, not as {domain}.").format(
                proves=safe(proves), domain=safe(domain.name)
            )
            if proves
            else _("It proves nothing: neither SPF nor DKIM passes for it."),
            loss.sentence([sender]),
        ),
        action=_(
            "Mail admin: ask the owners of {domain} who uses {sender}. If it is yours: {declare} "
            "(the next findings then say what to set up). If not: {deny}"
        ).format(domain=safe(domain.name), sender=safe(sender), declare=declare, deny=deny),
        query=domain_query(
            domain,
            list(pd.date_range(context.today - limits.ready_days * DAY, context.today)),
            context,
            sender_predicate(domain, [sender]),
            queries.FAILS,
            f"NOT {FORWARD_REASON}",
        ),
        thresholds={"messages": limits.unidentified_messages, "days": limits.ready_days},
        evidence={
            "proves": safe(proves),
            "sender_kind": str(rows["sender_kind"].iloc[0]),
            "from_domains": top_counts(rows, "header_from"),
            "dispositions": top_counts(rows, "disposition"),
            "networks": networks[:SHOWN],
            "addresses": found[:SHOWN],
            "declare": declare,
            "deny": deny,
        },
        since=domain.messages.loc[domain.messages["sender"] == sender, "day"].min(),
        loss=loss,
    )


def _holds_the_step(month: pd.DataFrame, limits: Thresholds) -> bool:
    """Return True if, apart from unidentified senders, so little fails that a step could follow."""
    wanted = month[month["ours"] & (month["class"] != "unidentified")]
    fails = total(wanted[~wanted["da"] & ~wanted["sa"]])
    upper = wilson_upper(fails, total(wanted), limits.confidence_z)
    return upper <= limits.ready_quarantine_testing


def _rhythm(days: pd.Series[pd.Timestamp]) -> str:
    weekend = days.dt.day_of_week >= 5
    if days.nunique() >= 0.8 * ((days.max() - days.min()).days + 1):
        return later("every day")
    return later("from time to time") if weekend.any() else later("on working days")


def _n_addresses(n: int) -> str:
    return ngettext("{n} address", "{n} addresses", n).format(n=count(n))


def _n_networks(n: int) -> str:
    return ngettext("{n} network", "{n} networks", n).format(n=count(n))


def mail_lost(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders of ours whose mail receivers quarantine or reject, and mail that moved.

    `causes` drops it where another finding says why. A From domain whose mail used to pass by
    a sender of the inventory, and since a day comes from a few new addresses and fails, is
    that sender's.
    """
    limits = context.thresholds
    if domain.refused < limits.lost_messages:
        return []
    week = context.last(domain.messages, 7)
    lost = week[~week["da"] & ~week["sa"] & week["disposition"].isin(BLOCKED)]
    found = []
    for sender, rows in lost[lost["ours"]].groupby("sender", observed=True):
        loss = lost_mail(context, rows, week[week["sender"] == sender])
        if loss.messages >= limits.lost_messages and loss.days >= limits.lost_days:
            found.append(_lost(domain, context, str(sender), rows, loss))
    known = {finding.subject for finding in found}
    strange = lost[~lost["ours"]]
    if total(strange) >= limits.lost_messages:
        for move in _moves(domain, context):
            rows = strange[strange["sender"].isin(move.to)]
            rows = rows[rows["header_from"] == move.author]
            loss = lost_mail(context, rows)
            if (
                move.sender not in known
                and loss.messages >= limits.lost_messages
                and loss.days >= limits.lost_days
            ):
                known.add(move.sender)
                found.append(_lost(domain, context, move.sender, rows, loss, move))
    return found


@dataclass(frozen=True)
class _Move:
    """Mail of a From domain that passed by one sender, and since a day fails from elsewhere."""

    author: str
    sender: str
    """the inventory sender that sent it"""
    to: tuple[str, ...]
    day: pd.Timestamp


def _moves(domain: DomainFacts, context: Context) -> list[_Move]:
    """Return the From domains of the inventory whose mail moved to a few new addresses."""
    rows = domain.messages[domain.messages["messages"] > 0]
    mine = rows[rows["in_inventory"] & (rows["da"] | rows["sa"])]
    fails = rows[~rows["in_inventory"] & rows["class"].isin((*SPOOFED, "unidentified"))]
    first = domain.messages.groupby("sender", observed=True)["day"].min()
    few = domain.addresses.groupby("sender", observed=True)["addresses"].sum()
    found = []
    for (author, sender), sent in mine.groupby(["header_from", "sender"], observed=True):
        daily = sent.groupby("day", observed=True)["messages"].sum()
        if len(daily) < context.thresholds.recent_days:
            continue
        usual = median(daily.tolist())
        new = fails[(fails["header_from"] == author) & ~fails["ours"]]
        since = first.reindex(new["sender"].unique())
        steady = few.reindex(since.index).fillna(_MANY) <= _FEW_ADDRESSES
        began = since[steady & (since > daily.index[0]) & (since >= context.today - _MONTH)]
        if began.empty or len(began) > OWN_NETWORKS:
            continue
        day = began.min()
        before = mine[(mine["header_from"] == author) & (mine["day"] < day)]
        left = sent.loc[sent["day"] > day, "messages"].sum()
        gone = left <= _HEIR * usual * max((context.today - day).days - 1, 1)
        now = new[new["sender"].isin(began.index)]
        rate = now["messages"].sum() / max(now["day"].nunique(), 1)
        if gone and _HEIR * usual <= rate <= usual / _HEIR and len(before):
            found.append(_Move(str(author), str(sender), tuple(map(str, began.index)), day))
    return found


_MONTH = 30 * DAY
_HEIR = 0.25  # of the usual messages, at least; and at most four times as many
_FEW_ADDRESSES, _MANY = 4, 99


def _lost(
    domain: DomainFacts,
    context: Context,
    sender: str,
    rows: pd.DataFrame,
    loss: Loss,
    move: _Move | None = None,
) -> Finding:
    limits = context.thresholds
    delivered_by = [sender] if move is None else list(move.to)
    fails = domain.messages[domain.messages["sender"] == sender]
    fails = fails[~fails["da"] & ~fails["sa"]]
    undecided = sender in set(domain.unidentified["sender"])
    if move is not None:
        why = _(
            "Until {day} the mail of {author} came from {sender} and passed; since then it comes "
            "from {addresses} and fails."
        ).format(
            day=move.day.date(),
            author=safe(move.author),
            sender=safe(sender),
            addresses=join_names(addresses(domain, delivered_by)),
        )
        action = _(
            "Owner of {sender}: if this mail is yours, let the DNS admin add {addresses} to the "
            "SPF record of the return path, and the new host sign with DKIM as {author}. If it is "
            "not, it is forged, and nothing is lost."
        )
    else:
        why = _("Neither SPF nor DKIM proves {domain} for it.").format(domain=safe(domain.name))
        action = _(
            "Owner of {sender}: find out which mail this is (From domains and addresses below), "
            "and make SPF or DKIM prove it: {addresses} in the SPF record of the return path, or a "
            "DKIM signature of {author}."
        )
    return messages_finding(
        "mail_lost",
        domain,
        sender,
        loss.severity("warning", limits, decided=not undecided),
        rows,
        summary=join_sentences(
            _("{messages} that {sender} sent as {domain} were lost {when} ({reporters}).").format(
                messages=n_messages(total(rows)),
                sender=safe(sender),
                domain=safe(domain.name),
                when=on_days(*day_span(rows)),
                reporters=n_reporters(count_reporters(rows)),
            ),
            loss.sentence([sender]),
            why,
        ),
        action=action.format(
            sender=safe(sender),
            addresses=join_names(addresses(domain, delivered_by)),
            author=join_names(list(top_counts(rows, "header_from"))),
        ),
        query=domain_query(
            domain,
            list(pd.date_range(context.today - 7 * DAY, context.today)),
            context,
            sender_predicate(domain, delivered_by),
            queries.FAILS,
            f"{queries.one_of('lower(disposition)', BLOCKED)}",
            *([f"lower(header_from) = {queries.text(move.author)}"] if move else ()),
        ),
        thresholds={
            "messages": limits.lost_messages,
            "days": limits.lost_days,
            "critical": limits.lost_critical,
            "share": limits.lost_share,
        },
        evidence={
            "classes": top_counts(rows, "class"),
            "from_domains": top_counts(rows, "header_from"),
            "dispositions": top_counts(rows, "disposition"),
            "delivered_by": [safe(name) for name in delivered_by],
            "addresses": addresses(domain, delivered_by)[:SHOWN],
        },
        since=fails["day"].min() if move is None else move.day,
        loss=loss,
    )


def _unidentified_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    sent = domain.messages[domain.messages["sender"] == finding.subject]
    return how_calmed(domain, context, sent[sent["class"] == "unidentified"], sent)


def _lost_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    names = [finding.subject, *finding.evidence.get("delivered_by", ())]
    sent = domain.messages[domain.messages["sender"].isin(names)]
    fails = sent["disposition"].isin(BLOCKED) & ~sent["da"] & ~sent["sa"]
    return how_calmed(domain, context, sent[fails], sent)


FAMILY = Family(
    (
        Kind(
            "mail_lost",
            later("Mail of {subject} is lost"),
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
    ),
    of_domain=(unidentified_sender, mail_lost),
)
