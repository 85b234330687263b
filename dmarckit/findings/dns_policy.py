"""The policy that reporters quote, against the record that DNS shows."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from dmarckit.core.language import _
from dmarckit.findings import queries
from dmarckit.findings.look import Look
from dmarckit.findings.model import Finding
from dmarckit.findings.policy import TAGS
from dmarckit.findings.record import normal
from dmarckit.findings.say import clean, n_reporters


def policy_differs(policies: pd.DataFrame, rows: pd.DataFrame, look: Look) -> list[Finding]:
    """Tags that reporters quote with another value than DNS shows: `policy_changed` as well.

    `policies` as in `Facts`, `rows` as `dns.snapshot` gives them. A report counts when it
    begins a TTL and a day after the first check that found the present record: before that,
    DNS may have shown another one, or a receiver may have had it in its cache. Two reporters
    must agree. Tags that only receivers of RFC 9989 know (np, t), or only older ones (pct),
    count where they are quoted.
    """
    found = []
    recent = policies[policies["begin"] >= look.start]
    rows = rows[rows["record"] == "dmarc"]
    if rows.empty or recent.empty:
        return []
    rows = rows[rows["since"].notna()]
    published = _published(rows[rows["domain"].isin(set(recent["domain"].astype("str")))])
    others = set(recent.loc[_other_than(recent, published), "domain"].astype("str"))
    recent = recent[recent["domain"].isin(list(others))]
    quoted = {str(name): part for name, part in recent.groupby("domain", observed=True)}
    for row in rows[rows["domain"].isin(list(others))].to_dict("records"):
        known = published[str(row["domain"])]
        hours = look.thresholds.dns_differ_hours
        after = row["since"] + pd.Timedelta(hours=hours, seconds=known["ttl"])
        mine = quoted[str(row["domain"])]
        mine = mine[mine["begin"] >= after].sort_values("begin", kind="stable")
        last = mine.assign(who=mine["reporter"].str.casefold()).groupby("who").tail(1)
        found += _differences(row, last, known, look)
    return found


def _published(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Domain → column of `Facts.policies` → value in DNS, and the TTL; where there is a record."""
    found = []
    for row in rows.to_dict("records"):
        if row["state"] not in ("ok", "weak") or len(row["found"]) != 1:
            continue
        values = json.loads(str(row["values"]))
        tags = values.get("tags") or {}
        pct = str(tags.get("pct", "100"))
        read = {column: str(tags.get(tag, "")).lower() for column, tag in TAGS.items()}
        numbers = {"pct": int(pct) if pct.isdecimal() else 100, "ttl": int(values.get("ttl") or 0)}
        found.append(read | {"domain": str(row["domain"])} | numbers)
    if not found:
        return {}
    frame = normal(pd.DataFrame(found)).set_index("domain")
    indexed = frame.to_dict("index").items()
    return {str(name): {str(k): value for k, value in row.items()} for name, row in indexed}


def _other_than(quoted: pd.DataFrame, published: dict[str, dict[str, Any]]) -> pd.Series[bool]:
    """Quotes in which some tag is another than DNS shows: few, so only these are looked into."""
    known = pd.DataFrame.from_dict(published, orient="index", columns=[*TAGS, "ttl"])
    shown = known.reindex(quoted["domain"].astype("str")).set_index(quoted.index)
    there = shown["p"].notna()
    said = normal(quoted)
    same = pd.DataFrame({column: said[column] == shown[column] for column in TAGS})
    return there & ~same.all(axis=1)


def _differences(
    row: dict[Any, Any], last: pd.DataFrame, published: dict[str, Any], look: Look
) -> list[Finding]:
    found = []
    quoted = normal(last)
    for column, tag in TAGS.items():
        other = quoted[quoted[column] != published[column]]
        if column in ("np", "testing"):
            other = other[last.loc[other.index, column] != ""]
        if column == "pct":
            other = other[last.loc[other.index, column].notna()]
        if other.empty or (tag in ("sp", "np") and _follows(other, published)):
            continue
        value = other[column].mode().iloc[0]
        seen = other[other[column] == value]
        if len(seen) >= look.thresholds.dns_differ_reporters:
            found.append(_differs(row, column, published[column], value, seen, look))
    return found


def _follows(other: pd.DataFrame, published: dict[str, Any]) -> bool:
    """sp and np that equal p on both sides are no difference of their own."""
    same = (other["sp"] == other["p"]) & (other["np"] == other["p"])
    return bool(same.all()) and published["sp"] == published["p"] == published["np"]


def _differs(
    row: dict[Any, Any], column: str, shown: object, value: object, seen: pd.DataFrame, look: Look
) -> Finding:
    names = sorted(str(name) for name in seen["reporter"].unique())
    domain, tag = str(row["domain"]), TAGS[column]
    text = _(
        "{reporters} quote {tag}={value} for {domain}, but DNS has shown {tag}={shown} since {day}."
    )
    action = _(
        "DNS admin: ask each name server of {domain} for _dmarc.{domain}: one may still have an "
        "old record, or show another to the outside. This is what was found: {record}"
    )
    begin = seen["begin"].min()
    return Finding(
        kind="policy_changed",
        domain=domain,
        subject=tag,
        severity="warning",
        messages=0,
        first_day=begin.date(),
        last_day=seen["begin"].max().date(),
        reporters=len(names),
        summary=text.format(
            reporters=n_reporters(len(names)),
            tag=tag,
            value=clean(value),
            domain=clean(domain),
            shown=clean(shown),
            day=row["since"].date(),
        ),
        action=action.format(domain=clean(domain), record=clean(row["found"][0], 2000)),
        evidence={
            "reporters": [clean(name) for name in names],
            "old": str(value),
            "new": str(shown),
            "record": clean(row["found"][0], 2000),
            "thresholds": {"reporters": look.thresholds.dns_differ_reporters},
            "number": len(names),
            "query": queries.quoting(domain, column, str(value), begin, look.now, names),
        },
    )
