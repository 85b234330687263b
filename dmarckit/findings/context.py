"""What the families look at: the facts of one domain, the window, the clock, the thresholds.

Policies as the DNS records that publish them, and the steps between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from dmarckit.core import Thresholds
from dmarckit.facts import Facts
from dmarckit.findings import queries
from dmarckit.findings.model import clean, n_reporters
from dmarckit.reports import Policy

DAY = timedelta(days=1)
SHOWN = 10  # names or addresses in evidence and sentences; more is not read
SPOOFED = ("unauthenticated", "spoofed_subdomain")
BLOCKED = ("quarantine", "reject")


@dataclass(frozen=True)
class Context:
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


def day_span(frame: pd.DataFrame) -> tuple[date | None, date | None]:
    """First and last day of a frame's rows that have messages."""
    days = frame.loc[frame["messages"] > 0, "day"]
    if days.empty:
        return None, None
    return days.min().date(), days.max().date()


def top_counts(frame: pd.DataFrame, column: str, at_most: int = SHOWN) -> dict[str, int]:
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


def sender_predicate(domain: DomainFacts, senders: Sequence[str]) -> str:
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


def unknown_source_predicate(domain: DomainFacts) -> str:
    """SQL: the record fails, and nothing says that a known sender or a relay delivered it."""
    known = domain.messages.loc[domain.messages["class"] == "unaligned_sender", "sender"].unique()
    ours = domain.messages.loc[
        domain.messages["in_inventory"] & domain.messages["class"].isin(SPOOFED), "sender"
    ].unique()
    signed = domain.signatures[domain.signatures["sender"].isin(list(known))]
    signers = signed.loc[signed["passed"], "dkim_domain"].unique()
    spf = domain.spf[domain.spf["sender"].isin(list(known)) & (domain.spf["result"] == "pass")]
    return queries.unknown_source(
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
        "reporters": top_counts(frame, "reporter"),
        "messages_a_day": {f"{day:%Y-%m-%d}": round(float(n)) for day, n in daily.items()},
        "thresholds": thresholds,
        "number": total(frame),
        "query": query,
    }


def count_reporters(frame: pd.DataFrame) -> int:
    """How many reporters have messages in a frame."""
    names = frame.loc[frame["messages"] > 0, "reporter"].unique()
    return len({str(name).casefold() for name in names})


def by_reporters(frame: pd.DataFrame) -> str:
    """How many reporters, in a sentence."""
    return n_reporters(count_reporters(frame))


RUA = "rua=<as in your present record>"  # reports do not say it; it must not get lost
_FRESH = pd.Timedelta(hours=48)


def dns_record(policy: Policy) -> str:
    """The TXT record, without tags that only repeat a default (RFC 9989 section 4.7).

    >>> dns_record(Policy("example.com", p="quarantine", sp="quarantine", testing="y", adkim="s"))
    'v=DMARC1; p=quarantine; t=y; adkim=s; rua=<as in your present record>'
    """
    tags = [("p", policy.p or "none")]
    if policy.sp and policy.sp != policy.p:
        tags.append(("sp", policy.sp))
    if policy.np and policy.np != subdomain_policy(policy):
        tags.append(("np", policy.np))
    if policy.testing == "y":
        tags.append(("t", "y"))
    if policy.pct is not None and policy.pct < 100:
        tags.append(("pct", str(policy.pct)))
    tags += [(n, v) for n, v in (("adkim", policy.adkim), ("aspf", policy.aspf)) if v == "s"]
    return "; ".join(["v=DMARC1", *(f"{name}={value}" for name, value in tags), RUA])


def subdomain_policy(policy: Policy) -> str:
    """What holds for subdomains: sp, else p."""
    return policy.sp or policy.p or "none"


def with_tags(policy: Policy, **tags: str | None) -> Policy:
    """The policy with other tags (`Policy`'s field names)."""
    return replace(policy, **tags)  # type: ignore[arg-type]


def next_step(policy: Policy) -> Policy | None:
    """One step up the ladder none → quarantine; t=y → quarantine → reject; t=y → reject.

    pct below 100 counts as testing, as RFC 9989 has no pct any more. None on the last
    step, and when no reporter has quoted a policy.
    """
    testing = policy.testing == "y" or (policy.pct is not None and policy.pct < 100)
    steps = {
        ("none", False): ("quarantine", "y"),
        ("none", True): ("quarantine", "y"),
        ("quarantine", True): ("quarantine", None),
        ("quarantine", False): ("reject", "y"),
        ("reject", True): ("reject", None),
    }
    step = steps.get((policy.p or "", testing))
    if step is None:
        return None
    # an sp that was only as strict as p was filled in by reporters, or follows p anyway
    sp = None if policy.sp == policy.p else policy.sp
    return replace(policy, p=step[0], testing=step[1], pct=None, sp=sp)


def tags_of(step: Policy) -> str:
    """The step's own tags, as subject of a finding.

    >>> tags_of(Policy("example.com", p="quarantine", testing="y"))
    'p=quarantine; t=y'
    """
    return f"p={step.p}" + ("; t=y" if step.testing == "y" else "")


def fill_policy_defaults(policies: pd.DataFrame) -> pd.DataFrame:
    """Quoted policies with their defaults filled in, since only some reporters write them.

    Columns and rows as `Facts.policies`; RFC 9989 section 4.7 has the defaults.
    """
    p = policies["p"].where(policies["p"] != "", "none")
    sp = policies["sp"].where(policies["sp"] != "", p)
    return policies.assign(
        p=p,
        sp=sp,
        np=policies["np"].where(policies["np"] != "", sp),
        pct=policies["pct"].fillna(100).astype("int64"),
        testing=policies["testing"].where(policies["testing"] == "y", "n"),
        adkim=policies["adkim"].where(policies["adkim"] == "s", "r"),
        aspf=policies["aspf"].where(policies["aspf"] == "s", "r"),
    )


def quoted_policy(domain: str, policies: pd.DataFrame) -> Policy:
    """The policy in force: what most reporters quote in their last report.

    Only last reports within 48 hours of the newest count, so that a reporter that has not
    written since a change has no vote. `t` and `np` are believed when anybody quotes them
    by the majority's p, since receivers that know only RFC 7489 leave them out.
    """
    if policies.empty:
        return Policy(domain)
    ordered = policies[policies["p"] != ""].sort_values("begin", kind="stable")
    last = ordered.groupby("reporter", sort=False, observed=True).tail(1)
    if last.empty:
        return Policy(domain)
    last = last[last["begin"] >= last["begin"].max() - _FRESH].iloc[::-1]
    p = _most(last["p"]) or "none"
    last = last[last["p"] == p]
    sp = _most(last["sp"].where(last["sp"] != "", p))
    testing = "y" if (last["testing"] == "y").any() else None
    return Policy(
        domain,
        p=p,
        sp=None if sp == p else sp,
        np=_most(last["np"]),
        pct=_pct(last["pct"]),
        testing=testing,
        adkim="s" if _most(last["adkim"]) == "s" else None,
        aspf="s" if _most(last["aspf"]) == "s" else None,
    )


def _most(values: pd.Series[str]) -> str | None:
    """The most frequent value; of equal ones the first, which is the newest."""
    known = Counter(str(value) for value in values if value != "")
    return known.most_common(1)[0][0] if known else None


def _pct(values: pd.Series[int]) -> int | None:
    known = Counter(int(value) for value in values.dropna())
    most = known.most_common(1)[0][0] if known else 100
    return None if most >= 100 else most
