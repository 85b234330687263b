"""The window, the facts of one domain, and what rules make of them: counts, SQL, findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from dmarckit.core import Thresholds, _, count, n_messages, n_reporters, short_day, short_days
from dmarckit.facts import Facts, network_key
from dmarckit.findings import model, queries
from dmarckit.findings.counts import (
    count_reporters,
    day_span,
    names,
    ordered_by,
    sums,
    top_counts,
    total,
    whole,
)
from dmarckit.findings.dmarc_policy import quoted_policies, with_changes
from dmarckit.findings.model import SEVERITIES, Finding, Severity, join_names, safe
from dmarckit.findings.rows import Names, Rows, Times, ordered, plain_time
from dmarckit.reports import Policy

DAY = timedelta(days=1)
OWN_NETWORKS = 3  # of a sender that is no botnet
SPOOFED = ("unauthenticated", "spoofed_subdomain")
POOLED = "*"  # subject of one finding about many of a kind
BLOCKED = ("quarantine", "reject")
SPF_ERRORS = ("permerror", "temperror")
SPELT = ("reporter", "spelling", "contact", "sent_by")
"""columns of `Facts.reports` that say who a reporter is"""
RELAYED = ("forwarded", "modified")
"""classes of messages that left in order and reached the receiver by a detour"""


@dataclass(frozen=True)
class Context:
    """Reference time, window length in days, and thresholds. All days are UTC midnights."""

    now: datetime
    days: int
    thresholds: Thresholds
    published: Mapping[str, str] = field(default_factory=dict)
    """DNS name (``_dmarc.example.com``) → its one TXT record as published, to the letter; what
    was not asked, or is not there, is missing"""

    @cached_property
    def today(self) -> pd.Timestamp:
        """Return the start of the present day, which is not over."""
        return pd.Timestamp(self.now).floor("D")

    @cached_property
    def start(self) -> pd.Timestamp:
        """Return the first day of the window: `days` whole days, and what today has brought."""
        return self.today - self.days * DAY

    def window(self, rows: Rows) -> Rows:
        """Return the rows whose `day` is in the window."""
        return self.last(rows, self.days)

    def last(self, rows: Rows, days: int) -> Rows:
        """Return the rows of the last `days` whole days and of today."""
        first, seen = plain_time(self.today - days * DAY), rows["day"].values
        if (seen[1:] >= seen[:-1]).all():  # as in `DomainFacts`: nothing is copied
            return rows[int(seen.searchsorted(first)) :]
        late: Rows = rows[seen >= first]
        return late

    @property
    def window_days(self) -> list[datetime]:
        """Return the days of the window, today included."""
        return self.days_back(self.days)

    def days_back(self, days: int) -> list[datetime]:
        """Return the last `days` whole days, and today."""
        return list(pd.date_range(self.today - days * DAY, self.today))


class _Frame:
    """A frame of `Facts`, cut for a domain when a rule first asks for it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, domain: DomainFacts, owner: type) -> Rows:
        rows = domain.parts[self._name].cut(domain.name)
        domain.__dict__[self._name] = rows  # found there from now on
        return rows


class DomainFacts:
    """The facts of one policy domain: rows of the frames in `Facts`, and what follows from them.

    Rows are in the order of days; `messages` also says which rows `fails` and were `blocked`,
    `signatures` what `signature` (``d/s``) they are about, and `quotes` are the `policies` with
    what was quoted before (`with_changes`). Rules look at `at_most`, `counted`, `has`, `history`
    and `complete` first.
    """

    messages = _Frame()
    signatures = _Frame()
    spf = _Frame()
    requirements = _Frame()
    unhonoured = _Frame()
    alignments = _Frame()
    sources = _Frame()
    addresses = _Frame()
    failing_hosts = _Frame()
    unidentified = _Frame()
    reports = _Frame()
    inventory = _Frame()
    denied = _Frame()
    quotes = _Frame()

    def __init__(self, name: str, all_domains: Domains) -> None:
        self.name = name
        self.parts = all_domains.parts
        self.complete = all_domains.complete_of(name)
        """complete days, in order (`facts.complete_days`)"""
        self.first_day = all_domains.first_days.get(name)
        """first day with a report; None without any"""
        self.policy = all_domains.policies.get(name) or Policy(name)
        """the policy in force as reporters quote it; p is None when nobody has"""
        self._classes = all_domains.classes.get(name, {})
        self._counted = all_domains.counted
        self._of_senders: dict[str, tuple[Rows, dict[str, slice]]] = {}
        self._tests: dict[str, str] = {}
        self._week: dict[Any, float] = {}

    def at_most(self, *classes: str) -> int:
        """Return the messages of these classes, or of all, over all days; nothing is cut for it."""
        return round(sum(self._classes.get(name, 0) for name in classes or self._classes))

    def counted(self, what: str) -> int:
        """Return the messages of a part of `Domains.counted`, over all days; nothing is cut."""
        return round(self._counted[what].get(self.name, 0))

    def has(self, frame: str) -> bool:
        """Return True if a frame has a row about the domain: nothing is cut for it."""
        return self.name in self.parts[frame].places

    def history(self, before: pd.Timestamp, days: int) -> bool:
        """Return True if the domain was watched for `days` days before that day."""
        return self.first_day is not None and self.first_day <= before - days * DAY

    def quiet(self, days: Times, context: Context) -> bool:
        """Return True if something seen on `days` would have been seen again, did it go on.

        It has not for three complete days at least, and not for twice its longest usual gap.
        """
        least = context.thresholds.recent_days
        after = int(((self.complete > days.max()) & (self.complete < context.today)).sum())
        if after < least:
            return False
        gaps = np.diff(days.unique().values[-10:].astype("datetime64[D]").astype("int64"))
        return after >= max(least, 2 * int(max(gaps, default=1)))

    def over(self, days: Times, context: Context) -> Times:
        """Return those of the days that are complete and over, in order."""
        seen = days.unique()
        return seen[seen.isin(self.complete) & (seen < context.today)]

    @property
    def senders(self) -> set[str]:
        """Return the names of the senders in the inventory."""
        return set(self.inventory["sender"])

    def of(self, frame: str, sender: str) -> Rows:
        """Return the rows of a frame about a sender."""
        if frame not in self._of_senders:
            self._of_senders[frame] = ordered_by(getattr(self, frame), "sender")
        rows, places = self._of_senders[frame]
        return rows[places.get(sender, slice(0, 0))]

    def test(self, sender: str) -> str:
        """Return the SQL predicate for records that a sender delivered.

        By its addresses as long as all of them are known, and by the SPF domains that pass for
        it, if they do for all it sends: addresses may be shared, and too many to list.
        """
        if sender not in self._tests:
            known = addresses(self, [sender])
            all_known = self.n_addresses.get(sender, 0) <= len(known)
            spf = self.spf
            passes = (spf["result"] == "pass") & (spf["sender"] == sender)
            # a sum of fractions depends on their order
            least = self._sent.get(sender, 0) - 0.01 - 0.5
            test = queries.one_of("source_ip", known)
            if passes.any() and (not all_known or total(spf, passes) > least):
                proves = queries.proves_spf(names(spf, "spf_domain", passes))
                test = f"{test} AND {proves}" if all_known else proves
            self._tests[sender] = f"({test})"
        return self._tests[sender]

    def sent_of_week(self, context: Context, senders: Iterable[str]) -> float:
        """Return the messages that some senders sent in the last 7 days."""
        if not self._week:
            self._week = sums(context.last(self.messages, 7), "sender")
        return sum(self._week.get(sender, 0) for sender in senders)

    @cached_property
    def n_addresses(self) -> dict[Any, float]:
        """The number of addresses of each sender."""
        return sums(self.addresses, "sender", "addresses")

    @cached_property
    def _sent(self) -> dict[Any, float]:
        return sums(self.messages, "sender")

    @cached_property
    def exceptions(self) -> tuple[list[str], list[str]]:
        """The report_uids of reports that name another domain, and of those that do not count."""
        uids, oddities = (self.reports[column] for column in ("report_uid", "oddity"))
        listed, repeated = uids != "", oddities == "repeated"
        return uids[listed & ~repeated].tolist(), uids[listed & repeated].tolist()

    @cached_property
    def proving(self) -> set[str]:
        """The senders that authenticate as themselves, by SPF or DKIM."""
        spf, signed = self.spf, self.signatures
        by_spf = names(spf, "sender", spf["result"] == "pass")
        return {*by_spf, *names(signed, "sender", signed["passed"] & ~signed["aligned"])}


class DomainParts:
    """A frame, and which of its rows are about which domain."""

    def __init__(self, frame: pd.DataFrame) -> None:
        frame, self.places = ordered(frame, "domain", "day" in frame)
        self.rows = Rows.of(frame)

    def cut(self, domain: str) -> Rows:
        """Return the rows about a domain."""
        return self.rows[self.places.get(domain, slice(0, 0))].local()

    def first_days(self, column: str) -> dict[str, pd.Timestamp]:
        """Return domain → the first day in a column of times."""
        starts = [place.start for place in self.places.values()]
        if not starts:
            return {}
        days = np.fmin.reduceat(self.rows[column].values, starts).astype("datetime64[D]")
        return dict(zip(self.places, Times(days.astype("datetime64[us]")), strict=True))


FRAMES = tuple(name for name, value in vars(DomainFacts).items() if isinstance(value, _Frame))


class Domains:
    """The facts of each domain that has a report or a message.

    What names no domain is nobody's: `analysis.left_out` counts it.
    """

    def __init__(self, facts: Facts, complete: pd.DataFrame) -> None:
        """`complete` has the columns domain, day, complete (`facts.complete_days`)."""
        sent = facts.messages
        fails, blocked = ~sent["da"] & ~sent["sa"], sent["disposition"].isin(BLOCKED)
        frames = {name: getattr(facts, name) for name in FRAMES if name != "quotes"}
        frames["quotes"] = with_changes(facts.policies)
        frames["messages"] = sent.assign(fails=fails, blocked=blocked)
        frames["signatures"] = facts.signatures.assign(signature=_signatures(facts.signatures))
        self.parts = {name: DomainParts(frame) for name, frame in frames.items()}
        self._over = DomainParts(complete[complete["complete"].astype(bool)])
        # by the ends of reports: one that claims to cover a year is no history
        ends = facts.reports[["domain"]].assign(last=facts.reports["end"] - DAY)
        self.first_days = self.parts["messages"].first_days("day")
        self.first_days |= DomainParts(ends).first_days("last")
        self.classes = _by_class(self.parts["messages"].rows)
        """domain → class → messages"""
        self.counted = _counted({name: part.rows for name, part in self.parts.items()})
        self.policies = quoted_policies(facts.policies)

    @property
    def names(self) -> list[str]:
        """Return the names of the domains, in order."""
        return sorted((self.parts["reports"].places.keys() | self.classes.keys()) - {""})

    def __iter__(self) -> Iterator[DomainFacts]:
        """Yield the facts of each domain, in the order of names."""
        return (DomainFacts(name, self) for name in self.names)

    def complete_of(self, domain: str) -> Times:
        """Return the complete days of a domain, in order."""
        days: Times = self._over.rows["day"][self._over.places.get(domain, slice(0, 0))]
        return days


def _by_class(sent: Rows) -> dict[str, dict[str, float]]:
    domain, class_ = sent["domain"], sent["class"]
    n = len(class_.known)
    codes = domain.codes.astype("int64") * n + class_.codes
    numbers = np.bincount(codes, sent["messages"], len(domain.known) * n)
    found: dict[str, dict[str, float]] = {}
    for code in np.flatnonzero(np.bincount(codes, minlength=len(numbers))).tolist():
        of_domain = found.setdefault(str(domain.known[code // n]), {})
        of_domain[str(class_.known[code % n])] = float(numbers[code])
    return found


def _counted(rows: Mapping[str, Rows]) -> dict[str, dict[Any, float]]:
    """Return domain → messages that were refused, whose signature or SPF fails: most have none."""
    sent, signed, spf = (rows[name] for name in ("messages", "signatures", "spf"))
    unverified = signed["aligned"] & signed["ours"] & ~signed["passed"] & ~signed["covered"]
    return {
        "refused": sums(sent[sent["fails"] & sent["blocked"]], "domain"),
        "unverified": sums(signed[unverified], "domain"),
        "spf_errors": sums(spf[spf["result"].isin(SPF_ERRORS)], "domain"),
    }


def _signatures(rows: pd.DataFrame) -> pd.Categorical:
    """Return ``d/s`` of each row of `Facts.signatures`."""
    d, s = (rows[column].array for column in ("dkim_domain", "selector"))
    codes, pairs = pd.factorize(d.codes.astype("int64") * len(s.categories) + s.codes)
    of_d, of_s = np.divmod(pairs, max(len(s.categories), 1))
    whole = zip(d.categories.take(of_d), s.categories.take(of_s), strict=True)
    names = [*map("/".join, whole)]
    order, distinct = pd.factorize(pd.Index(names, dtype=object), sort=True)
    return pd.Categorical.from_codes(order[codes], categories=distinct)


def sentence_parts(domain: DomainFacts, rows: Rows, sender: str) -> dict[str, str]:
    """Return what sentences say about messages that a sender sent as the domain, in words."""
    return {
        "messages": n_messages(total(rows)),
        "sender": safe(sender),
        "domain": safe(domain.name),
        "when": model.on_days(*day_span(rows)),
        "reporters": n_reporters(count_reporters(rows)),
    }


def names_with_counts(rows: Rows, column: str) -> str:
    """Return the names with the most messages in words: ``Salesdesk (120) and Postwagon (3)``.

    A single name stands alone: its number is that of the frame.
    """
    sums = top_counts(rows, column, at_most=len(rows))
    if len(sums) == 1:
        return next(iter(sums))
    return join_names([_("{name} ({n})").format(name=name, n=count(n)) for name, n in sums.items()])


def disposition_words(rows: Rows) -> str:
    """Return what receivers did with the messages: delivered, quarantined and rejected apart."""
    numbers = sums(rows, "disposition")
    quarantined, rejected = (whole(numbers.get(name, 0)) for name in BLOCKED)
    return _("{delivered} delivered, {quarantined} quarantined, {rejected} rejected").format(
        delivered=count(total(rows) - quarantined - rejected),
        quarantined=count(quarantined),
        rejected=count(rejected),
    )


def failing_ours(rows: Rows) -> Rows:
    """Return the messages of senders that are or may be ours that fail, relayed ones apart."""
    fails = ~(rows["da"] | rows["sa"]) & rows["ours"]
    found: Rows = rows[fails & ~rows["class"].isin(RELAYED)]
    return found


def addresses(domain: DomainFacts, senders: Iterable[str], *, failing: bool = False) -> list[str]:
    """Return the addresses of the senders, most messages first (at most 20 a sender).

    With `failing` those whose mail failed in the last 7 days, if any did.
    """
    rows = domain.sources
    theirs = rows["sender"].isin(senders)
    bad = theirs & (rows["failed"] > 0)
    if failing and bad.any():
        theirs = bad
    # equal ones by their text, as names are ordered: the same evidence every day
    messages, ips = rows["messages"][theirs], rows["source_ip"][theirs]
    found: Names = ips[np.lexsort((ips.codes, -messages))]
    return found.unique()


def authenticating(domain: DomainFacts, senders: Set[str]) -> set[str]:
    """Return which senders authenticate as themselves (SPF or DKIM) from at most 3 networks.

    Networks are those of the addresses that are kept: 20 a sender.
    """
    return {
        sender
        for sender in senders
        if sender in domain.proving
        and len(set(map(network_key, domain.of("sources", sender)["source_ip"]))) <= OWN_NETWORKS
    }


def sender_predicate(domain: DomainFacts, senders: Iterable[str]) -> str:
    """Return the SQL predicate for records that one of the senders delivered."""
    return " OR ".join(sorted({domain.test(sender) for sender in senders})) or "false"


@dataclass(frozen=True)
class Loss:
    """Wanted messages that receivers quarantined or rejected in the last 7 days (`lost_mail`)."""

    quarantined: int = 0
    rejected: int = 0
    days: int = 0
    sent: int = 0  # messages of the same senders in these days, whatever became of them
    first_day: date | None = None  # of the messages that were lost
    reporter: str = ""  # that alone says so, fit to show

    @property
    def messages(self) -> int:
        """Return how many messages were lost."""
        return self.quarantined + self.rejected

    def severity(
        self, least: Severity, thresholds: Thresholds, *, decided: bool = True
    ) -> Severity:
        """Return `least`, or what the loss makes of it.

        It is a warning at most where nobody has `decided` whether the sender is ours.
        """
        counts = self.messages >= thresholds.lost_messages and self.days >= thresholds.lost_days
        much = self.messages >= thresholds.lost_critical or (
            counts and self.messages >= thresholds.lost_share * self.sent
        )
        if (much and not decided) or (counts and not much):
            return min("warning", least, key=SEVERITIES.index)
        return "critical" if much else least

    def sentence(self, senders: Sequence[str]) -> str:
        """Return what receivers did with how many messages of whom; empty without a loss."""
        if not self.messages:
            return ""
        text = _(
            "In the last 7 days {who} quarantined {quarantined} and rejected {rejected} of "
            "{senders}."
        )
        if not self.rejected:
            text = _("In the last 7 days {who} quarantined {quarantined} of {senders}.")
        elif not self.quarantined:
            text = _("In the last 7 days {who} rejected {rejected} of {senders}.")
        return text.format(
            who=self.reporter or _("receivers"),
            quarantined=n_messages(self.quarantined),
            rejected=n_messages(self.rejected),
            senders=join_names(senders),
        )


def lost_mail(context: Context, rows: Rows, sent: float | None = None) -> Loss:
    """Return what was lost of `rows`, which are of senders of ours.

    `sent` is all that they sent in the last 7 days (`DomainFacts.sent_of_week`).
    """
    week = context.last(rows, 7)
    lost = week[week["disposition"].isin(BLOCKED)]
    names = list(top_counts(lost, "reporter", 2))
    numbers = sums(lost, "disposition")
    return Loss(
        whole(numbers.get("quarantine", 0)),
        whole(numbers.get("reject", 0)),
        lost["day"][lost["messages"] > 0].nunique(),
        total(week) if sent is None else whole(sent),
        first_day=day_span(lost)[0],
        reporter=names[0] if len(names) == 1 else "",
    )


def reporter_tests(reports: pd.DataFrame, names: Iterable[str]) -> dict[str, str]:
    """Return name → SQL test of its reports and records, for reporters of `Facts.reports`."""
    rows = reports[[*SPELT]].drop_duplicates()
    which = rows.drop_duplicates(["reporter", "spelling"])["spelling"]
    unclear = set(which[which.duplicated()])
    known: dict[str, list[tuple[str, str, str]]] = {}
    for name, *spelling in rows.itertuples(index=False, name=None):
        known.setdefault(name, []).append(tuple(spelling))
    return {name: queries.spelt(known.get(name, [(name, "", "")]), unclear) for name in names}


def how_calmed(domain: DomainFacts, context: Context, wrong: Rows, sent: Rows) -> str:
    """Say how what was wrong ended: three complete days with mail and (nearly) none of it.

    `wrong` are the messages concerned, among all that were `sent`. Empty while it goes on.
    """
    if not len(wrong):
        return _("No action needed: no message is of this kind any more.")
    if text := how_mended(domain, context, wrong, sent, 0.05):
        return text
    if domain.quiet(wrong["day"], context):
        text = _("No action needed: none of it has come since {last}.")
        return text.format(last=short_day(wrong["day"].max()))
    return ""


def how_mended(
    domain: DomainFacts,
    context: Context,
    wrong: Rows,
    sent: Rows,
    tolerated: float = 0.0,
) -> str:
    """Say that of what was `sent` on the last three complete days at most this share is wrong.

    What comes once a week among daily mail has not ended on the days between. Empty else.
    """
    least, all_days = context.thresholds.recent_days, domain.over(sent["day"], context)
    days = all_days[-least:]
    bad, of = (total(rows, rows["day"].isin(days)) for rows in (wrong, sent))
    if len(days) < least or bad > tolerated * of:
        return ""
    at = np.flatnonzero(all_days.isin(wrong["day"]))[-10:]
    if not bad and len(at) > 1 and len(all_days) - 1 - at[-1] < 2 * np.median(np.diff(at)):
        return ""
    text = _("No action needed: on {days}, {bad} of {of} messages were affected.")
    return text.format(days=short_days(days[0], days[-1]), bad=n_messages(bad), of=count(of))


def domain_query(
    domain: DomainFacts, days: Sequence[datetime], context: Context, *conditions: str
) -> str:
    """Return the SQL that counts the domain's messages of some days, under SQL conditions."""
    also, without = domain.exceptions
    return queries.messages(domain.name, days, context.now, *conditions, also=also, without=without)


def window_query(domain: DomainFacts, context: Context, *conditions: str) -> str:
    """Return the SQL that counts the domain's messages of the window, under SQL conditions."""
    return domain_query(domain, context.window_days, context, *conditions)


def messages_finding(
    kind: str,
    domain: DomainFacts,
    subject: str,
    severity: Severity,
    rows: Rows,
    *,
    summary: str,
    action: str,
    query: str,
    thresholds: dict[str, float],
    evidence: dict[str, Any],
    since: pd.Timestamp | None = None,
    loss: Loss = Loss(),
) -> Finding:
    """Return a finding about messages: their number, days and reporters are those of `rows`.

    `query` recomputes the number. `evidence` follows what all findings about messages show.
    """
    daily = sums(rows, "day")
    days = [day for day, n in daily.items() if n > 0]
    return Finding(
        kind=kind,
        domain=domain.name,
        subject=subject,
        severity=severity,
        messages=total(rows),
        first_day=days[0].date() if days else None,
        last_day=days[-1].date() if days else None,
        reporters=count_reporters(rows),
        summary=summary,
        action=action,
        since=None if since is None else since.date(),
        lost=loss.messages,
        evidence={
            "reporters": top_counts(rows, "reporter"),
            "messages_a_day": {f"{day:%Y-%m-%d}": round(float(n)) for day, n in daily.items()},
            "thresholds": thresholds,
            "number": total(rows),
            "query": query,
            **evidence,
            **({"lost_since": f"{loss.first_day}"} if loss.first_day else {}),
        },
    )
