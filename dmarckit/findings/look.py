"""What the families look at: the facts of one domain, the window, the clock, the thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.core.thresholds import Thresholds
from dmarckit.facts.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.say import clean, n_reporters
from dmarckit.reports.models import Policy

DAY = timedelta(days=1)
SHOWN = 10  # names or addresses in evidence and sentences; more is not read
SPOOFED = ("unauthenticated", "spoofed_subdomain")
BLOCKED = ("quarantine", "reject")


@dataclass(frozen=True)
class Look:
    """From when to when, and how strictly. All days are UTC midnights."""

    now: datetime
    days: int
    thresholds: Thresholds

    @property
    def today(self) -> pd.Timestamp:
        """Start of the present day, which is not over."""
        return pd.Timestamp(self.now).floor("D")

    @property
    def start(self) -> pd.Timestamp:
        """First day of the window: `days` whole days, and what today has brought so far."""
        return self.today - self.days * DAY

    def window(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows whose `day` is in the window."""
        return frame[frame["day"] >= self.start]

    def last(self, frame: pd.DataFrame, days: int) -> pd.DataFrame:
        """The rows of the last `days` whole days and of today."""
        return frame[frame["day"] >= self.today - days * DAY]

    @property
    def window_days(self) -> list[datetime]:
        """The days of the window, today included."""
        return list(pd.date_range(self.start, self.today, freq="D"))


@dataclass(frozen=True)
class DomainFacts:
    """The facts of one policy domain (columns as in `Facts`), and what follows from them."""

    name: str
    messages: pd.DataFrame
    signatures: pd.DataFrame
    spf: pd.DataFrame
    requirements: pd.DataFrame
    unhonoured: pd.DataFrame
    sources: pd.DataFrame
    addresses: pd.DataFrame
    policies: pd.DataFrame
    reports: pd.DataFrame
    inventory: pd.DataFrame
    complete: list[pd.Timestamp]
    """complete days, in order (`dmarckit.completeness`)"""
    policy: Policy
    """the policy in force as reporters quote it; p is None when nobody has"""
    first_day: pd.Timestamp | None
    """first day with a report; None without any"""

    def history(self, before: pd.Timestamp, days: int) -> bool:
        """The domain has been watched for `days` days before that day."""
        return self.first_day is not None and self.first_day <= before - days * DAY

    @property
    def senders(self) -> set[str]:
        """Names of the inventory's senders."""
        return set(self.inventory["sender"])


_BY_DOMAIN = (
    "messages",
    "signatures",
    "spf",
    "requirements",
    "unhonoured",
    "sources",
    "addresses",
    "policies",
    "reports",
    "inventory",
)


def by_domain(
    facts: Facts, complete: pd.DataFrame, policies: dict[str, Policy]
) -> Iterator[DomainFacts]:
    """One `DomainFacts` a domain that has a report or a message, in the order of their names.

    `complete` has the columns domain, day, complete (`completeness.complete_days`).
    """
    parts = {name: _split(getattr(facts, name)) for name in _BY_DOMAIN}
    days = _split(complete[complete["complete"].astype(bool)])
    empty = {name: getattr(facts, name).iloc[:0] for name in _BY_DOMAIN}
    for name in sorted(parts["reports"].keys() | parts["messages"].keys()):
        frames = {key: _own_names(part.get(name, empty[key])) for key, part in parts.items()}
        whole = days.get(name)
        yield DomainFacts(
            name=name,
            complete=[] if whole is None else sorted(pd.Timestamp(d) for d in whole["day"]),
            policy=policies.get(name, Policy(name)),
            first_day=_first_day(frames["reports"], frames["messages"]),
            **frames,
        )


def _own_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Categoricals with the names of this domain only: those of a fleet are too many to group."""
    names = frame.select_dtypes("category").columns
    return frame.assign(**{name: frame[name].cat.remove_unused_categories() for name in names})


def _split(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): part for name, part in frame.groupby("domain", sort=False, observed=True)}


def _first_day(reports: pd.DataFrame, messages: pd.DataFrame) -> pd.Timestamp | None:
    """By the ends of reports: one that claims to cover a year is no year of history."""
    first = messages["day"].min() if reports.empty else reports["end"].min() - DAY
    return None if pd.isna(first) else pd.Timestamp(first).floor("D")


def total(frame: pd.DataFrame) -> int:
    """Messages of a frame, as a whole number."""
    return round(float(frame["messages"].sum()))


def span(frame: pd.DataFrame) -> tuple[date | None, date | None]:
    """First and last day of a frame's rows that have messages."""
    days = frame.loc[frame["messages"] > 0, "day"]
    if days.empty:
        return None, None
    return days.min().date(), days.max().date()


def counts(frame: pd.DataFrame, column: str, at_most: int = SHOWN) -> dict[str, int]:
    """Value → messages, most first, for evidence; names cleaned."""
    if frame.empty:
        return {}
    sums = (
        frame.groupby(column, observed=True)["messages"]
        .sum()
        .sort_values(ascending=False, kind="stable")
    )
    return {clean(name): round(float(n)) for name, n in sums.head(at_most).items() if n > 0}


def addresses(domain: DomainFacts, senders: Sequence[str]) -> list[str]:
    """The addresses of the senders with the most messages (at most 20 each)."""
    rows = domain.sources[domain.sources["sender"].isin(list(senders))]
    # equal ones by their text: the same evidence every day
    rows = rows.assign(source_ip=rows["source_ip"].astype("str"))
    ordered = rows.sort_values(["messages", "source_ip"], ascending=[False, True])["source_ip"]
    return list(dict.fromkeys(str(ip) for ip in ordered))


def of_senders(domain: DomainFacts, senders: Sequence[str]) -> str:
    """SQL: the record is delivered by one of the senders.

    By its addresses as long as all of them are known, and by the SPF domains that pass for
    it, if they do for all it sends: addresses may be shared, and too many to list.
    """
    return " OR ".join(sorted({f"({_of_sender(domain, s)})" for s in senders})) or "false"


def _of_sender(domain: DomainFacts, sender: str) -> str:
    known = addresses(domain, [sender])
    counted = domain.addresses.loc[domain.addresses["sender"] == sender, "addresses"].sum()
    spf = domain.spf[(domain.spf["sender"] == sender) & (domain.spf["result"] == "pass")]
    sent = domain.messages.loc[domain.messages["sender"] == sender, "messages"].sum()
    at = queries.one_of("source_ip", known)
    if spf.empty or (counted <= len(known) and spf["messages"].sum() < sent):
        return at
    proves = queries.proves_spf(str(name) for name in spf["spf_domain"].unique())
    return f"{at} AND {proves}" if counted <= len(known) else proves


def strangers(domain: DomainFacts) -> str:
    """SQL: the record fails, and nothing says that a known sender or a relay delivered it."""
    known = domain.messages.loc[domain.messages["class"] == "unaligned_sender", "sender"].unique()
    ours = domain.messages.loc[
        domain.messages["in_inventory"] & domain.messages["class"].isin(SPOOFED), "sender"
    ].unique()
    signed = domain.signatures[domain.signatures["sender"].isin(list(known))]
    signers = signed.loc[signed["passed"], "dkim_domain"].unique()
    spf = domain.spf[domain.spf["sender"].isin(list(known)) & (domain.spf["result"] == "pass")]
    return queries.strangers(
        own_signers(domain),
        [str(name) for name in signers],
        [str(name) for name in spf["spf_domain"].unique()],
        addresses(domain, [str(name) for name in ours]),
    )


def own_signers(domain: DomainFacts) -> list[str]:
    """The d= of signatures that are aligned with their author."""
    aligned = domain.signatures[domain.signatures["aligned"]]
    return sorted(str(name) for name in aligned["dkim_domain"].unique())


def base_evidence(frame: pd.DataFrame, query: str, **thresholds: Any) -> dict[str, Any]:
    """What every finding about messages shows: reporters, messages a day, thresholds, query."""
    daily = (
        frame.groupby("day", observed=True)["messages"].sum()
        if len(frame)
        else pd.Series(dtype="float64")
    )
    return {
        "reporters": counts(frame, "reporter"),
        "messages_a_day": {f"{day:%Y-%m-%d}": round(float(n)) for day, n in daily.items()},
        "thresholds": thresholds,
        "number": total(frame),
        "query": query,
    }


def reporters(frame: pd.DataFrame) -> int:
    """How many reporters have messages in a frame."""
    names = frame.loc[frame["messages"] > 0, "reporter"].unique()
    return len({str(name).casefold() for name in names})


def by_reporters(frame: pd.DataFrame) -> str:
    """How many reporters, in a sentence."""
    return n_reporters(reporters(frame))
