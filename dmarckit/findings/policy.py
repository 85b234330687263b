"""The published policy: what reporters quote, and whether they do what it asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pandas as pd

from dmarckit.core.language import _, later, ngettext
from dmarckit.core.words import count, n_messages
from dmarckit.findings import queries
from dmarckit.findings.look import DomainFacts, Look, base_evidence, span, total
from dmarckit.findings.model import Finding
from dmarckit.findings.record import dns_record, normal
from dmarckit.findings.say import clean, on_days

TAGS: Mapping[str, str] = {
    "p": "p",
    "sp": "sp",
    "np": "np",
    "pct": "pct",
    "testing": "t",
    "adkim": "adkim",
    "aspf": "aspf",
}
"""Column of `Facts.policies` → tag of the record."""

_ACT_ON_CHANGE = later(
    "DNS admin: check that this change of _dmarc.{domain} was meant; reporters now see {record}. "
    "If it was, nothing is due."
)
_ACT_ON_WEAKER = later(
    "DNS admin: the policy became weaker. Check that this change of _dmarc.{domain} was meant; "
    "reporters now see {record} — if it was not, put {tag}={old} back and find out who can change "
    "DNS."
)
_LEVEL = {"none": 0, "quarantine": 1, "reject": 2}


def policy_changed(domain: DomainFacts, look: Look) -> list[Finding]:
    """Tags that reporters quote with another value than before the window.

    Each reporter is compared with itself, with defaults filled in, since reporters differ in
    which tags they know and write. Two reporters must have seen the change, or the only one.
    sp and np that merely follow p are no change of their own. warning when the policy became
    weaker (lower p, sp or np; t=y or a lower pct without a stricter p): if nobody did that on
    purpose, somebody else may have changed DNS. Else info.
    """
    quoted = domain.policies.sort_values("begin", kind="stable")
    quoted = quoted.assign(who=quoted["reporter"].str.casefold())
    before = quoted[quoted["begin"] < look.start].groupby("who").tail(1)
    after = quoted[quoted["begin"] >= look.start].groupby("who").tail(1)
    tags = ["who", *TAGS]
    if after.empty or len(before.merge(after[tags], on=tags)) == len(after):
        return []  # the usual case, found without a look at each tag
    both = normal(before).merge(normal(after), on="who", suffixes=("_old", "_new"))
    if both.empty:
        return []
    found = []
    for column, tag in TAGS.items():
        changed = both[both[f"{column}_old"] != both[f"{column}_new"]]
        changed = changed[~_follows(changed, column)]
        if len(changed) < min(2, len(both)):
            continue
        new = changed[f"{column}_new"].mode().iloc[0]
        seen = changed[changed[f"{column}_new"] == new]
        if len(seen) >= min(2, len(both)):
            found.append(_changed(domain, look, column, tag, seen, quoted))
    return found


def _follows(changed: pd.DataFrame, column: str) -> pd.Series[bool]:
    """sp that equals p before and after, and np that equals sp: one change, not three."""
    parent = {"sp": "p", "np": "sp"}.get(column)
    if parent is None:
        return pd.Series(data=False, index=changed.index)
    return (changed[f"{column}_old"] == changed[f"{parent}_old"]) & (
        changed[f"{column}_new"] == changed[f"{parent}_new"]
    )


def _weaker(row: pd.Series[str], column: str) -> bool:
    """The change lets more of what fails through."""
    old, new = row[f"{column}_old"], row[f"{column}_new"]
    if column in ("p", "sp", "np"):
        return _LEVEL.get(str(new), 0) < _LEVEL.get(str(old), 0)
    stricter = _LEVEL.get(str(row["p_new"]), 0) > _LEVEL.get(str(row["p_old"]), 0)
    if column == "testing":
        return new == "y" and not stricter
    return column == "pct" and int(new) < int(old) and not stricter


def _changed(
    domain: DomainFacts,
    look: Look,
    column: str,
    tag: str,
    seen: pd.DataFrame,
    quoted: pd.DataFrame,
) -> Finding:
    old, new = seen[f"{column}_old"].iloc[-1], seen[f"{column}_new"].iloc[-1]
    weaker = _weaker(seen.iloc[-1], column)
    recent = quoted[(quoted["begin"] >= look.start) & quoted["who"].isin(seen["who"])]
    recent = normal(recent)
    recent = recent[recent[column] == new]
    first: date = recent["begin"].min().date()
    last: date = recent["begin"].max().date()
    names = sorted(recent["reporter"].unique())
    return Finding(
        kind="policy_changed",
        domain=domain.name,
        subject=tag,
        severity="warning" if weaker else "info",
        messages=0,
        first_day=first,
        last_day=last,
        reporters=len(names),
        summary=ngettext(
            "{n} reporter quotes {tag}={new} for {domain} since {first}; before it was "
            "{tag}={old}.",
            "{n} reporters quote {tag}={new} for {domain} since {first}; before it was "
            "{tag}={old}.",
            len(names),
        ).format(
            n=count(len(names)),
            tag=tag,
            new=clean(new),
            old=clean(old),
            domain=clean(domain.name),
            first=first,
        ),
        action=_(_ACT_ON_WEAKER if weaker else _ACT_ON_CHANGE).format(
            domain=clean(domain.name), record=dns_record(domain.policy), tag=tag, old=clean(old)
        ),
        evidence={
            "reporters": [clean(name) for name in names],
            "old": str(old),
            "new": str(new),
            "record": dns_record(domain.policy),
            "thresholds": {"reporters": 2},
            "number": len(names),
            "query": queries.quoting(domain.name, column, str(new), look.start, look.now, names),
        },
    )


def policy_not_honoured(domain: DomainFacts, look: Look) -> list[Finding]:
    """Reporters that deliver, without a reason, what p=reject asks to refuse.

    Always info: only the reporter can change it.
    """
    window = look.window(domain.unhonoured)
    return [
        _not_honoured(domain, look, str(reporter), rows)
        for reporter, rows in window.groupby("reporter", observed=True)
        if total(rows) >= look.thresholds.unhonoured_messages
    ]


def _not_honoured(domain: DomainFacts, look: Look, reporter: str, rows: pd.DataFrame) -> Finding:
    first, last = span(rows)
    failing = look.window(domain.messages)
    failing = failing[(failing["reporter"] == reporter) & ~failing["da"] & ~failing["sa"]]
    return Finding(
        kind="policy_not_honoured",
        domain=domain.name,
        subject=reporter,
        severity="info",
        messages=total(rows),
        first_day=first,
        last_day=last,
        reporters=1,
        summary=_(
            "{reporter} delivered {messages} that fail DMARC for {domain} {when}, although it "
            "quotes p=reject, and gave no reason ({failing} failed there altogether)."
        ).format(
            reporter=clean(reporter),
            messages=n_messages(total(rows)),
            domain=clean(domain.name),
            when=on_days(first, last),
            failing=count(total(failing)),
        ),
        action=_(
            "Nothing can be done in DNS. Mail admin: if it goes on, ask {reporter} (contact in its "
            "reports) why; people with mailboxes there can get forged mail in your name."
        ).format(reporter=clean(reporter)),
        evidence=base_evidence(
            rows,
            queries.unhonoured(domain.name, reporter, look.window_days, look.now),
            messages=look.thresholds.unhonoured_messages,
        )
        | {"failing": total(failing)},
    )
