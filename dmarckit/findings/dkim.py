"""DKIM signatures that used to verify and no longer do."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dmarckit.core import _, count, later, n_messages, ngettext, percent
from dmarckit.findings import queries
from dmarckit.findings.context import (
    BLOCKED,
    DAY,
    SHOWN,
    Context,
    DomainFacts,
    addresses,
    day_span,
    messages_finding,
    sender_predicate,
    top_counts,
    total,
)
from dmarckit.findings.model import (
    Family,
    Finding,
    Kind,
    Severity,
    join_names,
    join_sentences,
    on_days,
    safe,
    share,
    two_proportion_z,
)

_ALL = 0.9  # share that fails from which a key, not single messages, is at fault


def broken_dkim(domain: DomainFacts, context: Context) -> list[Finding]:
    """Find signatures (d=, s=) of the domain's own senders that verify much less than before.

    One finding a signature, whatever the number of senders, over all messages of inventory
    senders that carry it. It says whose fault it is:

    - reporter: of several reporters one alone sees it. info, since nobody here can mend it;
    - key: all senders that use it fail, or the only one fails almost always;
    - signer: one of several senders fails, or the only one fails in part, or another
      signature of the same sender broke with it.

    critical when mail is being quarantined or rejected for it, else warning: the mail still
    passes by SPF, or the policy lets it through.
    """
    limits = context.thresholds
    recent = [d for d in domain.complete if d < context.today][-limits.recent_days :]
    if not recent or recent[0] < context.today - 2 * limits.history_days * DAY:
        return []
    rows = domain.signatures
    rows = _named(rows[rows["aligned"] & rows["in_inventory"] & (rows["messages"] > 0)])
    before = rows[
        (rows["day"] >= recent[0] - limits.baseline_days * DAY) & (rows["day"] < recent[0])
    ]
    now = rows[rows["day"].isin(recent)]
    keys = ["dkim_domain", "selector"]
    usual = dict(list(before.groupby(keys, observed=True)))
    broken = []
    for key, part in now.groupby(keys, observed=True):
        old = usual.get(key)
        if old is None or not domain.history(recent[0], limits.history_days):
            continue  # nothing to compare with: it may never have worked
        change = _Change(part, old)
        if (
            change.n >= limits.dkim_messages
            and change.rise >= limits.dkim_points
            and change.z > limits.dkim_z
        ):
            broken.append((str(key[0]), str(key[1]), change))
    return [_finding(domain, context, d, s, change, recent) for d, s, change in broken]


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop signatures whose selector a reporter leaves out, where others do name it."""
    named = rows["selector"] != ""
    return rows[named | ~rows["dkim_domain"].isin(set(rows.loc[named, "dkim_domain"]))]


@dataclass(frozen=True)
class _Change:
    """The messages with a signature on the last complete days, and on the days before."""

    now: pd.DataFrame
    before: pd.DataFrame

    @property
    def n(self) -> int:
        return total(self.now)

    @property
    def failed(self) -> pd.DataFrame:
        return self.now[~self.now["passed"]]

    @property
    def now_share(self) -> float:
        return _failing_share(self.now)

    @property
    def before_share(self) -> float:
        return _failing_share(self.before)

    @property
    def rise(self) -> float:
        return self.now_share - self.before_share

    @property
    def z(self) -> float:
        failed_before = total(self.before[~self.before["passed"]])
        return two_proportion_z(total(self.failed), self.n, failed_before, total(self.before))

    def worse(self, column: str, least: int, points: float) -> tuple[list[str], list[str]]:
        """Return the values of a column where the share rose, and all with enough messages."""
        old = dict(list(self.before.groupby(column, observed=True)))
        rose, compared = [], []
        for name, rows in self.now.groupby(column, observed=True):
            if total(rows) < least:
                continue
            compared.append(str(name))
            part = _Change(rows, old.get(name, self.before.iloc[:0]))
            if part.rise >= points:
                rose.append(str(name))
        return rose, compared


def _failing_share(rows: pd.DataFrame) -> float:
    return share(total(rows[~rows["passed"]]), total(rows))


def _cause(change: _Change, context: Context) -> tuple[str, list[str]]:
    """Return key, signer or reporter, and the names of those at fault."""
    part, points = context.thresholds.dkim_part, context.thresholds.dkim_points
    rose, compared = change.worse("reporter", part, points)
    if len(rose) == 1 and len(compared) > 1:
        return "reporter", rose
    senders, all_senders = change.worse("sender", part, points)
    if len(all_senders) > 1:
        return ("signer", senders) if len(senders) == 1 else ("key", senders)
    last = change.now[change.now["day"] == change.now["day"].max()]
    return ("key" if _failing_share(last) >= _ALL else "signer"), senders or all_senders


def _finding(
    domain: DomainFacts,
    context: Context,
    d: str,
    s: str,
    change: _Change,
    recent: list[pd.Timestamp],
) -> Finding:
    limits = context.thresholds
    cause, names = _cause(change, context)
    failed = change.failed
    senders = sorted(failed["sender"].unique())
    blocked = _blocked(domain, senders, recent)
    severity: Severity = "critical" if blocked >= limits.dkim_part else "warning"
    if cause == "reporter":
        severity = "info"
    signature = f"{safe(d)}/{safe(s)}"
    used_by = sorted(change.now["sender"].unique())
    why = _WHY["part" if cause == "signer" and len(used_by) == 1 else cause]
    fault = join_names(names) or _("the sender")
    return messages_finding(
        "broken_dkim",
        domain,
        f"{d}/{s}",
        severity,
        failed,
        summary=join_sentences(
            _(
                "{messages} of {of} signed {signature} ({share}) did not verify {when}; in the "
                "{days} days before it was {share_before}."
            ).format(
                messages=n_messages(total(failed)),
                of=count(change.n),
                signature=signature,
                share=percent(change.now_share),
                when=on_days(*day_span(failed)),
                days=limits.baseline_days,
                share_before=percent(change.before_share),
            ),
            _(why).format(names=fault),
            _blocked_too(blocked),
        ),
        action=_(_ACTIONS[cause]).format(names=fault, d=safe(d), s=safe(s), signature=signature),
        query=queries.messages(
            domain.name,
            recent,
            context.now,
            queries.signed(d, s),
            f"NOT {queries.verified(d, s)}",
            sender_predicate(domain, used_by),
        ),
        thresholds={
            "points": limits.dkim_points,
            "messages": limits.dkim_messages,
            "z": limits.dkim_z,
        },
        evidence={
            "cause": cause,
            "selector": s,
            "signing_domain": d,
            "share_now": change.now_share,
            "share_before": change.before_share,
            "messages_now": change.n,
            "messages_before": total(change.before),
            "z": round(change.z, 1),
            "complete_days": [f"{day:%Y-%m-%d}" for day in recent],
            "senders_failing": top_counts(failed, "sender"),
            "senders": top_counts(change.now, "sender"),
            "blocked": blocked,
            "addresses": addresses(domain, senders)[:SHOWN],
        },
    )


def _blocked(domain: DomainFacts, senders: list[str], recent: list[pd.Timestamp]) -> int:
    rows = domain.messages
    mine = rows["sender"].isin(senders) & rows["day"].isin(recent)
    broken = (rows["class"] == "broken_dkim") & rows["disposition"].isin(BLOCKED)
    return total(rows[mine & broken])


def _blocked_too(blocked: int) -> str:
    if not blocked:
        return ""
    text = ngettext("{n} message was blocked.", "{n} messages were blocked.", blocked)
    return text.format(n=count(blocked))


_WHY = {
    "key": later(
        "Whoever signs with this key is hit ({names}), so the published key is the likely cause."
    ),
    "signer": later(
        "Only mail that {names} signs is hit; others sign with the same key and verify, so that "
        "signer is the likely cause."
    ),
    "part": later(
        "Part of what {names} signs with the same key still verifies, so the signer, or what "
        "changes mail after it, is the likely cause."
    ),
    "reporter": later("Only {names} sees it, so its check is the likely cause, not the key."),
}
_ACTIONS = {
    "key": later(
        "DNS admin: look at the TXT record (or CNAME) {s}._domainkey.{d}: it must be there and "
        "hold the public key that {names} signs with now. Put back the record that was there "
        "before, or let the owner of {names} give you the current one."
    ),
    "signer": later(
        "Owner of {names}: check signing with {signature} on every sending host (old private key "
        "after a rotation, a gateway or footer that changes mail after it was signed). The DNS "
        "record {s}._domainkey.{d} can stay as it is."
    ),
    "reporter": later(
        "Nothing is due here: other reporters verify {signature}. Mail admin: if it lasts for a "
        "week, tell {names} with the numbers below."
    ),
}

FAMILY = Family(
    (
        Kind(
            "broken_dkim",
            later("DKIM breaks for {subject}"),
            ("critical", "warning", "info"),
            {
                "cause": later("Cause"),
                "selector": later("Selector"),
                "signing_domain": later("Signing domain"),
                "share_now": later("Share now"),
                "share_before": later("Share before"),
                "messages_now": later("Messages now"),
                "messages_before": later("Messages before"),
                "z": later("Z"),
                "complete_days": later("Complete days"),
                "senders_failing": later("Senders failing"),
                "senders": later("Senders"),
                "blocked": later("Blocked"),
            },
            rules=lambda subject: ("dkim", "alignment"),
        ),
    ),
    of_domain=(broken_dkim,),
)
