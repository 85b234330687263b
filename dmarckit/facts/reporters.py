"""Who reports: one name for each reporter, and the reports that do not count as they stand.

A reporter is the organisation that its mail is authenticated as, together with that of its
contact address, not the letters of its name. Everything here is asked of all reports of the
time, whatever domains are looked at, so that each part of an analysis knows the same reporters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd

from dmarckit.facts.networks import organisation
from dmarckit.lake import CONTENT, Snapshot
from dmarckit.reports import is_within, listed_reporter, reporter_key

SPELT = ("reporter", "contact", "sent_by")
"""what a report says of its reporter: org_name, contact, the From domain that passed DMARC"""
_SPELT = (
    "coalesce(reporter, '') AS reporter, coalesce(contact, '') AS contact, "
    "coalesce(authenticated_from, '') AS sent_by"
)
TWICE_PERIODS = 3
"""periods in which a reporter sends the same twice before it is counted once"""
_MOST = 0.8
"""share of a reporter's periods that come twice; two hosts that saw the same are a coincidence"""
_RECENT = timedelta(days=14)
"""time in which reporters are compared: a record that was published since explains the rest"""
_OVERLAP = pd.Timedelta(days=2)
"""by which a reporter's last report from one domain may be later than the first from the next"""
_ADDRESS = re.compile(r"[^\s<>@,;:\"']+@([^\s<>@,;:\"']+)")

_SEEN = f"""
SELECT {_SPELT}, min(begin) AS first, max("end") AS last
FROM reports WHERE {{where}} GROUP BY ALL ORDER BY ALL
"""  # noqa: S608
_AGAIN = """
SELECT DISTINCT reporter, domain FROM (
    SELECT reporter, domain, begin, "end" FROM reports
    WHERE {where} AND messages > 0 AND rival_of IS NULL
    GROUP BY reporter, domain, begin, "end", records, messages, failing HAVING count(*) > 1)
GROUP BY ALL HAVING count(DISTINCT begin) >= {periods}
"""
_SAID = f"""
SELECT {_SPELT}, domain, begin, "end", report_uid FROM reports
WHERE {{where}} AND messages > 0 AND rival_of IS NULL
    AND (coalesce(reporter, ''), domain) IN (SELECT (reporter, domain) FROM again)
"""  # noqa: S608
_CONTENT = f"""
SELECT report_uid, sum(hash({", ".join(f'"{name}"' for name in CONTENT["records"])})::HUGEINT)
    ::VARCHAR AS content
FROM records WHERE report_uid IN (SELECT report_uid FROM alike) GROUP BY ALL
"""  # noqa: S608
_QUOTED = f"""
SELECT {_SPELT}, domain, max(begin) AS last
FROM reports WHERE {{where}} AND domain IN (SELECT domain FROM family) GROUP BY ALL
"""  # noqa: S608
_AUTHORS = """
SELECT DISTINCT coalesce(reporter, '') AS reporter, domain,
    coalesce(name(header_from), domain) AS author
FROM records WHERE {where} AND messages > 0 AND domain IN (SELECT domain FROM family)
"""
_RECORDS = """
SELECT domain, "day", len(coalesce(found, [])) > 0 AS there FROM dns
WHERE record = 'dmarc' AND state <> 'unknown' AND domain IN (SELECT domain FROM family)
ORDER BY "day"
"""


@dataclass(frozen=True)
class Reporters:
    """The reporters of a time, and the reports that do not count as they stand."""

    names: pd.DataFrame
    """one row a spelling: what `identify` returns"""
    misplaced: pd.DataFrame
    """`name`, `domain` (that a reporter names as policy domain), `parent` (whose record it is),
    `since`: reports that begin then or later are about the parent"""
    repeated: tuple[str, ...]
    """report_uid of reports that say again what another of the same reporter and period says"""

    @property
    def by_spelling(self) -> pd.DataFrame:
        """Return `reporter` (as records have it in the view `counted`), `name`, `provider`."""
        unclear = self.names["unclear"].astype(bool)
        spelt = self.names["reporter"].where(~unclear, self.names["name"])
        rows = self.names[["name", "provider"]].assign(reporter=spelt)
        return rows.drop_duplicates("reporter")

    def below(self, domains: Sequence[str]) -> list[str]:
        """Return the names that stand in reports about the domains in place of theirs."""
        rows = self.misplaced[self.misplaced["parent"].isin(list(domains))]
        return list(rows["domain"].unique())


def find_reporters(
    snapshot: Snapshot,
    where: str,
    first_month: str,
    now: datetime,
    own: Mapping[str, frozenset[str]],
) -> Reporters:
    """Return the reporters of the reports under a SQL condition.

    `own` (`reporter_key` → domains) is the setting `reporters`.

    Raises:
        LakeError: the lake cannot be read.
    """
    connection = snapshot.see("reports", first_month=first_month)
    seen = _table(connection, _SEEN.format(where=where))
    again = _table(connection, _AGAIN.format(where=where, periods=TWICE_PERIODS))
    domains = _table(connection, f"SELECT DISTINCT domain FROM reports WHERE {where}")  # noqa: S608
    names = identify(seen, own)
    children = [str(d) for d in domains["domain"].dropna() if d and organisation(str(d)) != d]
    misplaced, repeated = _misplaced_rows(()), tuple[str, ...]()
    if len(again) or children:
        snapshot.see("records", "dns", first_month=first_month)
    if len(again):
        repeated = _repeated(connection, again.fillna(""), where)
    if children:
        known = {*map(str, domains["domain"].dropna())}
        misplaced = _misplaced(connection, names, children, known, where, now)
    return Reporters(names, misplaced, repeated)


def _table(connection: Any, query: str) -> pd.DataFrame:
    frame: pd.DataFrame = connection.sql(query).to_arrow_table().to_pandas()
    return frame


def _repeated(connection: Any, again: pd.DataFrame, where: str) -> tuple[str, ...]:
    """Return the reports that say what another of the same reporter, domain and period says.

    Only of reporters that send nearly everything twice, in at least `TWICE_PERIODS` periods.
    """
    connection.register("again", again)
    said = _table(connection, _SAID.format(where=where))
    connection.register("alike", said)
    said = said.merge(_table(connection, _CONTENT), on="report_uid").sort_values("report_uid")
    period = [*SPELT, "domain", "begin", "end"]
    said["copy"] = said.duplicated([*period, "content"])
    periods = said.groupby(period)["copy"].any().reset_index().sort_values("begin")
    # from the first period on that came twice
    periods = periods[periods.groupby([*SPELT, "domain"])["copy"].cummax()]
    sums = periods.groupby([*SPELT, "domain"])["copy"].agg(["sum", "mean"]).reset_index()
    odd = sums[(sums["sum"] >= TWICE_PERIODS) & (sums["mean"] >= _MOST)]
    found = said[said["copy"]].merge(odd, on=[*SPELT, "domain"])
    return tuple(found["report_uid"])


def _misplaced(
    connection: Any,
    names: pd.DataFrame,
    children: Sequence[str],
    known: set[str],
    where: str,
    now: datetime,
) -> pd.DataFrame:
    """Return which reporters name a policy domain whose record is at a domain above it.

    DNS decides where it was asked: no record at the name. Where it was not, others do: for
    mail of just this author domain, now, at least as many quote the domain above it.
    """
    parents = {child: _parent(child, known) for child in children}
    family = pd.DataFrame({"domain": [*parents, *parents.values()]}).drop_duplicates()
    connection.register("family", family)
    dns: dict[str, tuple[bool, Any]] = {}
    for domain, day, there in _table(connection, _RECORDS).itertuples(index=False, name=None):
        before = dns.get(domain)
        dns[domain] = there, before[1] if before and before[0] == there else day
        if not before:
            dns[domain] = there, pd.Timestamp(0, tz="UTC")
    missing = {child: dns[child][1] for child in children if child in dns and not dns[child][0]}
    unknown = [c for c in children if c not in dns and parents[c] in known]
    if not missing and not unknown:
        return _misplaced_rows(())
    recent = f"{where} AND begin >= TIMESTAMPTZ '{now - _RECENT:%Y-%m-%d %H:%M:%S}+00'"
    quoted = _table(connection, _QUOTED.format(where=recent)).merge(names, on=list(SPELT))
    authors = _table(connection, _AUTHORS.format(where=recent))
    spelt = quoted[["reporter", "domain", "name"]].drop_duplicates()
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for domain, author, name in (
        authors.merge(spelt, on=["reporter", "domain"])[["domain", "author", "name"]]
        .itertuples(index=False, name=None)
    ):  # fmt: skip
        told[domain, author].add(name)
    rows = []
    for child, parent in parents.items():
        here, above = told[child, child], told[parent, child]
        if child in missing:
            rows += [(name, child, parent, missing[child]) for name in sorted(here)]
        elif child in unknown and here and above - here and len(above) >= len(here):
            rows += [(n, child, parent, pd.Timestamp(0, tz="UTC")) for n in sorted(here - above)]
    return _misplaced_rows(rows)


def _misplaced_rows(rows: Sequence[tuple[str, str, str, pd.Timestamp]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["name", "domain", "parent", "since"], dtype="str")
    since = pd.Series([row[3] for row in rows], dtype="datetime64[us, UTC]")
    return frame.assign(since=since)


def _parent(domain: str, known: set[str]) -> str:
    """Return the nearest domain above one that is known, else its organisational domain."""
    top = organisation(domain)
    labels = domain.split(".")
    above = (".".join(labels[i:]) for i in range(1, len(labels) - top.count(".")))
    return next((name for name in above if name in known), top)


def identify(seen: pd.DataFrame, own: Mapping[str, frozenset[str]]) -> pd.DataFrame:
    """Return which reporter each spelling is: the columns of `SPELT`, `name`, `provider`.

    `unclear`: the reporter's spelling alone does not say which it is; `settled`: `own` has it.

    One reporter are, in this order: what shares the organisations of From and contact; what
    lacks one of them and agrees in the other with one reporter only, or has its name; what
    lacks both and has its name; the same contact address; a name that goes on from another
    domain when it stops at the first. `own` decides on a name that it has. `name` is the one
    spelt last; where two reporters have the same, their domain is added.

    Args:
        seen: the columns of `SPELT`, `first` and `last` (times); one row a spelling.
        own: `reporter_key` → domains that reporters write from: the setting `reporters`.
    """
    rows = [_Spelling.of(*values) for values in seen[[*SPELT, "first", "last"]].to_numpy(object)]
    groups = _Groups(len(rows))
    whole = defaultdict[Hashable, list[int]](list)
    for i, row in enumerate(rows):
        if row.sender and row.contact:
            whole[row.sender, row.contact].append(i)
        elif not row.sender and not row.contact and row.listed:
            whole[row.listed, row.listed].append(i)
    groups.join_each(whole.values())
    _join_parts(rows, groups)
    for place, by_key in ((0, "address"), (1, "key")):
        same = defaultdict[str, list[int]](list)
        for i, row in enumerate(rows):
            if value := getattr(row, by_key):
                same[value].append(i)
        for members in same.values():
            if len(members) > 1:
                _join_moved(rows, groups, members, own, any_time=place == 0)
    names = pd.Series(_names(rows, groups), index=seen.index, dtype="str")
    providers = pd.Series([row.provider for row in rows], index=seen.index, dtype="str")
    found = seen[list(SPELT)].assign(name=names, provider=providers)
    which = found.groupby("reporter")[["name", "provider"]].transform("nunique")
    settled = pd.Series([row.key in own for row in rows], index=seen.index, dtype=bool)
    return found.assign(unclear=(which > 1).any(axis=1), settled=settled)


@dataclass(frozen=True)
class _Spelling:
    """One way in which a reporter writes of itself."""

    reporter: str
    key: str
    """`reporter_key` of the name"""
    listed: str
    """the reporter of the shipped table that has the name"""
    address: str
    """contact address"""
    contact: str
    """organisation of the contact, or the listed reporter that it is"""
    sender: str
    """organisation that the mail is authenticated as, or the listed reporter that it is"""
    sent_by: str
    first: pd.Timestamp
    last: pd.Timestamp

    @classmethod
    def of(cls, reporter: str, contact: str, sent_by: str, first: Any, last: Any) -> _Spelling:
        address = _ADDRESS.search(contact.casefold())
        domain = address[1].strip(".") if address else ""
        return cls(
            reporter=reporter,
            key=reporter_key(reporter),
            listed=listed_reporter(reporter) or "",
            address=address[0] if address else "",
            contact=_organisation(domain),
            sender=_organisation(sent_by),
            sent_by=sent_by,
            first=first,
            last=last,
        )

    @property
    def provider(self) -> str:
        """Return the listed reporter that it is; Microsoft's business mailboxes apart."""
        who = self.sender or self.contact or self.listed
        if self.sender or self.contact:
            who = next((n for n in (self.sender, self.contact) if listed_reporter(n) == n), "")
        return "Enterprise Outlook" if self.key == "enterprise outlook" and who else who


def _organisation(domain: str) -> str:
    return (listed_reporter(domain) or organisation(domain)) if domain else ""


class _Groups:
    """Rows that are joined to groups."""

    def __init__(self, rows: int) -> None:
        self._first = list(range(rows))

    def of(self, row: int) -> int:
        """Return the group of a row."""
        while self._first[row] != row:
            self._first[row] = self._first[self._first[row]]
            row = self._first[row]
        return row

    def join(self, rows: Iterable[int]) -> None:
        """Make one group of the groups of some rows."""
        places = [self.of(row) for row in rows]
        for place in places:
            self._first[place] = min(places)

    def join_each(self, parts: Iterable[Sequence[int]]) -> None:
        """Make one group of each part."""
        for part in parts:
            self.join(part)


def _join_parts(rows: Sequence[_Spelling], groups: _Groups) -> None:
    """Join spellings that lack From or contact with those that agree in what is there."""
    keys: dict[tuple[str, str], set[int]] = defaultdict(set)
    for i, row in enumerate(rows):
        if row.sender and row.contact:
            keys["sender", row.sender].add(i)
            keys["contact", row.contact].add(i)
        elif not row.sender and not row.contact:
            keys["sender", row.listed].add(i)
    partial: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if bool(row.sender) != bool(row.contact):
            side = "sender" if row.sender else "contact"
            partial[side, row.sender or row.contact].append(i)
        elif not row.sender and not row.listed:
            partial["key", row.key].append(i)
    for part, members in partial.items():
        if part[0] == "key":
            groups.join(members)  # nothing but its name says who it is
            found = [i for i, row in enumerate(rows) if row.key == part[1]]
            if len({groups.of(i) for i in found} - {groups.of(members[0])}) == 1:
                groups.join(found)
            continue
        agreeing = keys.get(part, set())
        if len({groups.of(i) for i in agreeing}) <= 1:
            groups.join([*members, *agreeing])
            continue
        rest = []
        for i in members:
            named = {j for j in agreeing if rows[j].key == rows[i].key}
            if len({groups.of(j) for j in named}) == 1:
                groups.join([i, *named])
            else:
                rest.append(i)
        groups.join(rest)


def _join_moved(
    rows: Sequence[_Spelling],
    groups: _Groups,
    members: Sequence[int],
    own: Mapping[str, frozenset[str]],
    *,
    any_time: bool,
) -> None:
    """Join the groups of rows with one name or contact that follow each other in time.

    With `any_time` whenever they wrote. Those that the shipped table knows stay what they are.
    """
    decided = own.get(rows[members[0]].key) if not any_time else None
    if decided:
        groups.join([i for i in members if is_within(rows[i].sent_by, decided)])
        return
    spans: dict[int, tuple[pd.Timestamp, pd.Timestamp]] = {}
    for i in members:
        row, group = rows[i], groups.of(i)
        if any(listed_reporter(name) == name for name in (row.sender, row.contact)):
            continue
        first, last = spans.get(group, (row.first, row.last))
        spans[group] = min(first, row.first), max(last, row.last)
    ordered = sorted(spans.items(), key=lambda item: item[1])
    for (one, before), (other, after) in pairwise(ordered):
        if any_time or after[0] >= before[1] - _OVERLAP:
            groups.join([one, other])


def _names(rows: Sequence[_Spelling], groups: _Groups) -> list[str]:
    """Return each row's name: that which its group spelt last, with a domain where two have it."""
    last: dict[int, _Spelling] = {}
    for i, row in enumerate(rows):
        group = groups.of(i)
        if group not in last or (row.last, row.reporter) > (last[group].last, last[group].reporter):
            last[group] = row
    same: dict[str, list[int]] = defaultdict(list)
    for group, row in last.items():
        same[row.key].append(group)
    names = {group: row.reporter for group, row in last.items()}
    for key, alike in same.items():
        if len(alike) < 2 or not key:
            continue
        senders = len({last[group].sender for group in alike}) == len(alike)
        for group in alike:
            row = last[group]
            domain = (row.sent_by if senders else "") or row.address.partition("@")[2]
            names[group] += f" ({domain or row.sent_by})" if domain or row.sent_by else ""
    return [names[groups.of(i)] for i in range(len(rows))]
