"""Senders that have stopped, and services that nobody set up for the domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from dmarckit.core import _, later, n_messages, short_day
from dmarckit.facts import FORWARD_REASON, howto, organisation
from dmarckit.findings import context as c, counts, queries
from dmarckit.findings.context import DAY, Context, DomainFacts
from dmarckit.findings.counts import SHOWN
from dmarckit.findings.dkim import dkim_records
from dmarckit.findings.model import Family, Finding, Kind, join_names, join_sentences, median, safe
from dmarckit.findings.rows import Rows, Times
from dmarckit.findings.wanted import class_ended, decision

_HEIR = 0.25  # of the usual messages: a quiet weekend after the change must be enough
_SATURDAY = 5
_ONE_DAY = np.timedelta64(DAY)


def sender_stopped(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find senders of the inventory that sent on most days and have gone silent.

    It stays open until the sender sends again or leaves the inventory. warning for the loud
    ones (`stopped_loud` messages a day), whose silence somebody would want to hear of; info for
    the others, which may just have had nothing to send. Only complete days count as silence,
    work days alone for who sends on work days, and only if the reporters that used to see the
    sender have delivered: a silent reporter is no stopped sender. A report that began before
    the silence and goes on into it does not say on which of its days the mail came.
    """
    limits = context.thresholds
    over = domain.complete[domain.complete < context.today]
    recent = over[-limits.recent_days :]
    if len(recent) < limits.recent_days or recent[0] < context.today - limits.baseline_days * DAY:
        return []
    rows = domain.messages
    rows = rows[rows["in_inventory"] & (rows["messages"] > 0) & (rows["day"] < context.today)]
    sure = drop_vague_days(rows, domain.reports, recent[0])
    seen_by = {}
    if sure is rows:
        sending = rows["sender"][rows["day"] >= recent[-1]].unique()
        rows = rows[~rows["sender"].isin(sending)]
    else:
        seen_by = {sender: part["day"] for sender, part in counts.groups(sure, "sender")}
    found = []
    for sender, part in counts.groups(rows, "sender"):
        if len(part) < min(limits.stopped_days, limits.stopped_work_days):
            continue
        seen = seen_by.get(sender, part["day"])
        if seen.max() <= part["day"].max() - limits.baseline_days * DAY:
            seen = part["day"]  # reporters of weeks alone see it
        last = seen.max()
        if last >= recent[-1]:
            continue
        seen = seen[seen > last - limits.baseline_days * DAY].unique()
        at_work = (seen.day_of_week >= _SATURDAY).sum() <= 1
        quiet = over[over > last]
        if at_work:
            quiet = quiet[quiet.day_of_week < _SATURDAY]
        often = len(seen) >= limits.stopped_days or (
            at_work and (seen.day_of_week < _SATURDAY).sum() >= limits.stopped_work_days
        )
        if not often or len(quiet) < limits.recent_days:
            continue
        part = part[part["day"] > last - limits.baseline_days * DAY]
        # reporters that saw most of the messages have reported the quiet days
        first, end = quiet[-limits.recent_days], quiet[-1]
        watching = set(domain.reports["reporter"][domain.reports["end"] > end])
        watching -= set(part["reporter"][part["day"] >= first].unique())
        watched = part["messages"][part["reporter"].isin(watching)].sum()
        if watched >= 0.8 * part["messages"].sum() and not _under_another_name(
            domain, context, sender, part, last
        ):
            found.append(_stopped(domain, context, sender, part, seen, quiet))
    return found


def _growth(context: Context, rows: Rows, last: pd.Timestamp) -> dict[str, float]:
    """Return sender → messages a day since the day `last`, less those of the weeks before."""
    days = context.thresholds.baseline_days
    after = counts.sums(rows[rows["day"] > last], "sender")
    before = rows[(rows["day"] <= last) & (rows["day"] > last - days * DAY)]
    usual = counts.sums(before, "sender")
    since = max((context.today - last).days, 1)
    names = sorted(after.keys() | usual.keys())
    return {name: after.get(name, 0) / since - usual.get(name, 0) / days for name in names}


def _under_another_name(
    domain: DomainFacts, context: Context, sender: str, rows: Rows, last: pd.Timestamp
) -> bool:
    """Return True if another name (SPF broke, say) now sends as much more from its addresses.

    A service that has always shared the addresses does not grow when this one stops.
    """
    shared = domain.sources[domain.sources["source_ip"].isin(c.addresses(domain, [sender]))]
    heirs = shared["sender"][(shared["sender"] != sender) & (shared["last_day"] > last)]
    theirs = domain.messages[domain.messages["sender"].isin(heirs.unique())]
    usual = rows["messages"].sum() / context.thresholds.baseline_days
    return bool(sum(_growth(context, theirs, last).values()) >= _HEIR * usual)


def _stopped(
    domain: DomainFacts,
    context: Context,
    sender: str,
    rows: Rows,
    seen: Times,
    quiet: Times,
) -> Finding:
    limits, last = context.thresholds, seen.max()
    before = rows[rows["day"] <= last]
    median_a_day = median([*counts.sums(before, "day").values()])
    usual = before["messages"].sum() / limits.baseline_days
    grown = _growth(context, domain.messages[domain.messages["sender"] != sender], last)
    grown = {name: n for name, n in grown.items() if 0.5 * usual <= n <= 2 * usual}
    heirs = [safe(counts.largest(grown))] if grown else []
    owned = domain.inventory["owns"][domain.inventory["sender"] == sender]
    selectors = join_names(sorted(f"{s}._domainkey.{d}" for pairs in owned for d, s in pairs))
    first = last - (limits.baseline_days - 1) * DAY
    words = c.sentence_parts(domain, rows, sender)
    finding = c.messages_finding(
        "sender_stopped",
        domain,
        sender,
        "warning" if median_a_day >= limits.stopped_loud else "info",
        rows,
        summary=join_sentences(
            _(
                "No mail from {sender} as {domain} since {last}. Before that: {messages} on "
                "{days} of {of} days."
            ).format(**words, days=len(seen), of=limits.baseline_days, last=short_day(last)),
            _("{heirs} took over: its volume has grown by about as much since then.").format(
                heirs=join_names(heirs)
            )
            if heirs
            else "",
        ),
        action=_(
            "{sender} admin: check that it still sends for {domain} (queue, expired contract, "
            "changed From domain). If it was switched off on purpose, DNS admin: remove its SPF "
            "include and DKIM selectors{selectors}; otherwise whoever takes them over can send as "
            "you."
        ).format(**words, selectors=f" ({selectors})" if selectors else ""),
        query=c.domain_query(
            domain,
            list(pd.date_range(first, context.today - DAY)),
            context,
            c.sender_predicate(domain, [sender]),
        ),
        thresholds={
            "seen_days": limits.stopped_days,
            "seen_work_days": limits.stopped_work_days,
            "complete_days_without": limits.recent_days,
        },
        evidence={
            "seen_days": len(seen),
            "quiet_days": [f"{d:%Y-%m-%d}" for d in quiet[-SHOWN:]],
            "median_a_day": median_a_day,
            "took_over": heirs,
            "addresses": c.addresses(domain, [sender])[:SHOWN],
        },
        since=last + DAY,
    )
    return replace(finding, first_day=seen.min().date(), last_day=last.date())


def drop_vague_days(messages: Rows, reports: Rows, since: pd.Timestamp) -> Rows:
    """Drop the rows of `messages` (columns `reporter`, `day`) whose mail may be of another day.

    A report of more than 24 hours is spread over its days, but does not say on which of them
    the mail came. Its rows are dropped, unless it began on `since` or later, or its reporter
    reported that day by itself too. `reports` has the columns of `Facts.reports`. Without long
    reports `messages` itself is returned.
    """
    length = reports["end"] - reports["begin"]
    is_long = (length > _ONE_DAY) & (reports["begin"] < since)
    if not is_long.any():
        return messages
    long, short = reports[is_long], reports[length <= _ONE_DAY]
    theirs = messages["reporter"].isin(set(long["reporter"]))
    if not theirs.any():
        return messages
    middle = short["begin"].values + (short["end"] - short["begin"]) // 2
    days = messages["day"][theirs]
    first, after = days.min(), days.max() + DAY
    spread = {
        (reporter, day)
        for reporter, begin, end in zip(long["reporter"], long["begin"], long["end"], strict=True)
        for day in pd.date_range(max(begin, first).floor("D"), min(end, after), inclusive="left")
    }
    known = Times(middle.astype("datetime64[D]").astype("datetime64[us]"))
    vague = spread.difference(zip(short["reporter"], known, strict=True))
    doubtful = np.zeros(len(messages), bool)
    pairs = zip(messages["reporter"][theirs], days, strict=True)
    doubtful[theirs] = [pair in vague for pair in pairs]
    return messages[~doubtful]


def unaligned_sender(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find services of the domain whose mail proves another domain than the author's.

    warning: either it is the company's mail, and somebody must set up its authentication
    before (or because) the policy blocks it; or it is not, and somebody must say so. Mail that
    fails by strict alignment alone is said to, with what mends it; info for what a reporter
    calls failing although its own results pass.
    """
    if domain.at_most("unaligned_sender") < context.thresholds.unaligned_messages:
        return []
    rows = domain.messages
    rows = rows[(rows["class"] == "unaligned_sender") & rows["ours"]]
    found = []
    for sender, part in counts.groups(context.window(rows), "sender"):
        if counts.total(part) < context.thresholds.unaligned_messages:
            continue
        wrong = rows[rows["sender"] == sender]
        if not c.how_mended(domain, context, wrong, domain.of("messages", sender)):
            found.append(_unaligned(domain, context, sender, part, wrong["day"]))
    return found


@dataclass(frozen=True)
class _Proof:
    """What the mail of an unaligned sender proves, and why that does not count."""

    spf: dict[str, int]  # domain → messages, raw SPF passes
    dkim: dict[str, int]  # d= that is not the author's → messages, raw DKIM passes
    strict: tuple[str, ...]  # tags by whose strictness alone it fails (adkim, aspf)
    relaxed_since: bool  # those tags are not strict any more
    contradicted: bool  # raw results pass for the author and no tag is strict: it should pass
    unverified: tuple[str, tuple[str, ...]] | None
    """d= and selectors of aligned signatures of most of it, which do not verify"""


def _proof(domain: DomainFacts, context: Context, sender: str, failing: Rows) -> _Proof:
    n, own = counts.total(failing), organisation(domain.name)
    spf, dkim, rows = (
        context.window(domain.of(name, sender)) for name in ("spf", "signatures", "alignments")
    )
    spf, rows = spf[spf["result"] == "pass"], rows[rows["class"] == "unaligned_sender"]
    by = {
        tag: counts.total(rows[rows[f"{name}_relaxed"] & ~rows[f"{name}_strict"]]) >= 0.5 * n
        for tag, name in (("adkim", "dkim"), ("aspf", "spf"))
    }
    quotes = domain.quotes[domain.quotes["begin"] >= failing["day"].min() - DAY]
    strict = tuple(tag for tag in by if by[tag] and (quotes[tag] == "s").any())
    relaxed_since = bool(strict) and all(getattr(domain.policy, tag) != "s" for tag in strict)
    dead = dkim[dkim["aligned"] & ~dkim["passed"] & ~dkim["covered"]]
    signs = [d for d, signed in counts.sums(dead, "dkim_domain").items() if signed >= 0.5 * n]
    selectors = counts.top_counts(dead[dead["dkim_domain"].isin(signs[:1])], "selector")
    if not strict:  # the spf of what passes is not meant
        names = failing["header_from"].unique()
        if not any(by.values()):
            names = [name for name in spf["spf_domain"].unique() if organisation(name) == own]
        spf = spf[~spf["spf_domain"].isin(names)]
    # what all receivers find is no contradiction of one
    reporters, window = counts.count_reporters(failing), context.window(domain.messages)
    few = 2 * reporters <= counts.count_reporters(window)
    return _Proof(
        counts.top_counts(spf, "spf_domain"),
        counts.top_counts(dkim[dkim["passed"] & (~dkim["aligned"] | bool(strict))], "dkim_domain"),
        strict,
        relaxed_since,
        any(by.values()) and not strict and (few or reporters == 1),
        (signs[0], tuple(selectors)) if signs else None,
    )


def _unaligned(
    domain: DomainFacts,
    context: Context,
    sender: str,
    rows: Rows,
    days: Times,
) -> Finding:
    limits = context.thresholds
    proof = _proof(domain, context, sender, rows)
    loss = c.lost_mail(context, rows, domain.sent_of_week(context, [sender]))
    sent = context.window(domain.of("messages", sender))
    passing = sent[~sent["fails"] & sent["header_from"].isin(rows["header_from"].unique())]
    proven = list(dict.fromkeys([*proof.spf, *proof.dkim]))
    summary = _(
        "{messages} that {sender} sent as {author} {when} failed DMARC: SPF or DKIM passes for "
        "{proves}, not for {author} ({reporters})."
    )
    if proof.strict:
        own = organisation(domain.name)
        proven = [name for name in proven if organisation(name) == own]
        summary = _(
            "{messages} that {sender} sent as {author} {when} failed DMARC only because alignment "
            "is strict ({tags}): SPF or DKIM passes for {proves}, which is not exactly the From "
            "domain ({reporters})."
        )
        if proof.relaxed_since:
            summary = _(
                "{messages} that {sender} sent as {author} {when} failed DMARC only because "
                "alignment was strict ({tags}) when they came ({reporters})."
            )
    elif proof.contradicted:
        summary = _(
            "{names} counts {messages} that {sender} sent as {author} {when} as failing DMARC, "
            "although its own results show SPF or DKIM passing for {author}: it contradicts "
            "itself."
        )
    words = c.sentence_parts(domain, rows, sender)
    names = join_names(list(counts.top_counts(rows, "reporter")))
    return c.messages_finding(
        "unaligned_sender",
        domain,
        sender,
        loss.severity("info" if proof.contradicted else "warning", limits),
        rows,
        summary=join_sentences(
            summary.format(
                **words,
                author=words["domain"],
                proves=join_names(proven) or _("another domain"),
                tags=", ".join(f"{tag}=s" for tag in proof.strict),
                names=names,
            ),
            _passing_words(passing, rows, proof),
            loss.sentence([sender]),
            "" if rows["disposition"].isin(c.BLOCKED).any() else _("All were delivered."),
        ),
        action=_unaligned_action(
            domain, sender, proof, rows, passing, words | {"reporters": names}
        ),
        query=c.window_query(
            domain,
            context,
            c.sender_predicate(domain, [sender]),
            queries.FAILS,
            f"NOT {FORWARD_REASON}",
            f"({queries.PASSES_RAW})",
        ),
        thresholds={"messages": limits.unaligned_messages},
        evidence={
            "proves_spf": proof.spf,
            "proves_dkim": proof.dkim,
            "strict_tags": [] if proof.relaxed_since else list(proof.strict),
            "from_domains": counts.top_counts(rows, "header_from"),
            "dispositions": counts.top_counts(rows, "disposition"),
            "addresses": c.addresses(domain, [sender])[:SHOWN],
        },
        since=days.min(),
        loss=loss,
    )


def _mended(passing: Rows, failing: Rows) -> bool:
    return len(passing) > 0 and bool(passing["day"].min() > failing["day"].max())


def _passing_words(passing: Rows, failing: Rows, proof: _Proof) -> str:
    if _mended(passing, failing):
        return _("From {day} on all of it passes.").format(day=short_day(passing["day"].min()))
    if not _in_part(passing, failing, proof):
        return ""
    return _("{passing} of it as {authors} pass, so part of it is set up.").format(
        passing=n_messages(counts.total(passing)),
        authors=join_names(list(counts.top_counts(passing, "header_from"))),
    )


def _in_part(passing: Rows, failing: Rows, proof: _Proof) -> bool:
    """Return True if the service is set up for the same From domain, but not for all it sends."""
    other = proof.strict or proof.contradicted or proof.unverified
    return not other and 10 * counts.total(passing) >= counts.total(failing)


def _unaligned_action(
    domain: DomainFacts,
    sender: str,
    proof: _Proof,
    rows: Rows,
    passing: Rows,
    words: dict[str, str],
) -> str:
    words |= {
        "author": join_names(list(counts.top_counts(rows, "header_from"))),
        "deny": decision("deny", sender, domain.name),
    }
    if proof.contradicted:
        return _(
            "No action needed: SPF or DKIM passes for {domain} when {sender} sends. Mail admin: "
            "if it continues, report it to {reporters} with the numbers below."
        ).format(**words)
    if _mended(passing, rows) and not proof.relaxed_since:
        return _("No action needed if it stays so: all of it passes now.")
    if proof.relaxed_since:
        return _(
            "No action needed: reporters quote {tags} by now, so names below the organisation's "
            "domain count again."
        ).format(tags=" ".join(f"{tag}=r" for tag in proof.strict))
    if proof.strict:
        text = join_sentences(
            _(
                "DNS admin: set {tags} in the record of _dmarc.{domain} and leave the rest, so "
                "that names below the organisation's domain count again."
            ),
            _("Or {sender} admin: sign with DKIM as d={author} exactly.")
            if "adkim" in proof.strict
            else _("Or {sender} admin: make the return path {author} exactly."),
        )
        return text.format(**words, tags=" ".join(f"{tag}=r" for tag in proof.strict))
    if proof.unverified:
        d, selectors = proof.unverified
        if len(selectors) > 1:
            return _(
                "{sender} admin: it signs as {d} with the selectors {selectors}, and none "
                "verifies; have the DNS admin publish their records below _domainkey.{d} as "
                "{sender} shows them."
            ).format(**words, d=safe(d), selectors=join_names(selectors))
        s = next(iter(selectors), "")
        return _(
            "{sender} admin: it signs as {d}, but the signature does not verify; have the DNS "
            "admin publish the record {s}._domainkey.{d} as {sender} shows it."
        ).format(**words, d=safe(d), s=safe(s))
    known = howto(sender)
    if _in_part(passing, rows, proof):
        text = _(
            "{sender} admin: find what is not set up as the rest is (another account or "
            "sub-account, one kind of mail; addresses below), and let it sign with DKIM as "
            "{author} too."
        )
    elif known is not None:
        words |= {"screen": known.screen or known.manual, "records": dkim_records(known)}
        text = _(
            "{sender} admin: add {author} there ({screen}) for DKIM. DNS admin: publish what it "
            "shows: {records}."
        )
    else:
        text = _(
            "{sender} admin: enable DKIM signing with your own domain (d={author}; often called "
            '"domain authentication"), or a custom return path under {author}. DNS admin: publish '
            "the CNAME/TXT records {sender} gives you."
        )
    ours = bool(rows["in_inventory"].any())
    decide = "" if ours else _("If nobody uses {sender}, it is abuse: {deny}")
    return join_sentences(text, decide).format(**words)


def _stopped_ended(finding: Finding, domain: DomainFacts, context: Context) -> str:
    if finding.subject not in domain.senders:
        text = _(
            "No action needed: {sender} is no longer counted as a sender of yours (90 days "
            "without authenticated mail)."
        )
        return text.format(sender=safe(finding.subject))
    sent = domain.of("messages", finding.subject)["day"]
    again = sent[sent > pd.Timestamp(finding.last_day or date(1970, 1, 1))]
    if not len(again):
        return ""
    text = _("No action needed: {sender} has sent again since {day}.")
    return text.format(sender=safe(finding.subject), day=short_day(again.min()))


FAMILY = Family(
    (
        Kind(
            "sender_stopped",
            later("No mail from {subject} any more"),
            ("warning", "info"),
            {
                "seen_days": later("Seen days"),
                "quiet_days": later("Quiet days"),
                "median_a_day": later("Median per day"),
                "took_over": later("Took over"),
            },
            hidden_by=("ingest_broken",),
            ended=_stopped_ended,
        ),
        Kind(
            "unaligned_sender",
            later("{subject} sends for you without authentication"),
            ("critical", "warning", "info"),
            {
                "proves_spf": later("SPF passes for"),
                "proves_dkim": later("DKIM passes for"),
                "strict_tags": later("Strict by"),
                "from_domains": later("From domains"),
            },
            ended=class_ended("unaligned_sender"),
        ),
    ),
    of_domain=(unaligned_sender, sender_stopped),
)
