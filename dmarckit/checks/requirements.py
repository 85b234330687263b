"""The sender requirements of the large mailbox providers: rule × domain, from three views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

import pandas as pd

from dmarckit.checks.outside import Outside
from dmarckit.checks.rules import BULK_LINE, RULES, VERDICTS, provider_of, view_word
from dmarckit.checks.verdicts import (
    CODES,
    View,
    dns_entries,
    from_dns,
    from_postmaster,
    from_reports,
    postmaster_states,
)
from dmarckit.core import _, normalize_domain
from dmarckit.facts import Facts, organisation

DAYS = 30
"""days that are looked at: a month has every kind of campaign"""

_KEY = ["domain", "provider"]
ProviderCounts = defaultdict[tuple[str, str], dict[str, Any]]


def provider_counts(facts: Facts) -> ProviderCounts:
    """Return what the provider's reports of the last `DAYS` days say, by (domain, provider).

    own: messages of senders in the inventory, without forwarded ones; `spf`, `dkim` and
    `alignment`: how many of them pass at least, and at most (reports do not always say which
    results belong to the same message); `codes`: rule → own messages that were marked with
    Gmail's code for it; `busiest`: most messages on one day, of all senders, which is an upper
    bound of what the provider counts (mail to its business customers is in its reports too).
    A pair without a report is not there.
    """
    since = pd.Timestamp(facts.now).floor("D") - timedelta(days=DAYS)
    found: ProviderCounts = defaultdict(_nothing)
    reports = facts.reports.loc[facts.reports["end"] >= since, ["domain", "reporter"]]
    for domain, reporter in reports.drop_duplicates().itertuples(index=False):
        if provider := provider_of(str(reporter)):
            found[str(domain), provider] = _nothing()
    messages = _of_providers(facts.messages, since)
    daily = messages.groupby([*_KEY, "day"], observed=True)["messages"].sum()
    for key, most in _sums(daily.groupby(level=_KEY, observed=True).max()):
        found[key]["busiest"] = most
    own = messages[messages["in_inventory"] & (messages["class"].astype("str") != "forwarded")]
    amount, either = own["messages"], own["da"] | own["sa"]
    parts = own[_KEY].assign(
        own=amount, aligned=amount.where(either, 0), signed=amount.where(own["da"], 0)
    )
    sums = parts.groupby(_KEY, observed=True)[["own", "aligned", "signed"]].sum()
    for (domain, provider), n, aligned, signed in sums.itertuples(name=None):
        found[str(domain), str(provider)] |= {
            "own": n, "spf": (0.0, n), "dkim": (signed, n), "alignment": (aligned, aligned)
        }  # fmt: skip
    _spf(found, facts, since)
    _signatures(found, facts, since)
    _codes(found, facts, since)
    return found


def _nothing() -> dict[str, Any]:
    none = (0.0, 0.0)
    return {"own": 0.0, "spf": none, "dkim": none, "alignment": none, "codes": {}, "busiest": 0.0}


def _of_providers(frame: pd.DataFrame, since: pd.Timestamp) -> pd.DataFrame:
    """Return the rows since that day that providers reported, with `provider`."""
    names = frame["reporter"].astype("category")
    by_name = {name: provider_of(str(name)) for name in names.cat.categories}
    provider = names.map(by_name).astype("object")
    chosen = (frame["day"] >= since) & provider.notna()
    return frame[chosen].assign(provider=provider[chosen].astype("str"))


def _sums(series: pd.Series[float]) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield domain and provider, and the number that stands under them."""
    for key, value in series.items():
        domain, provider = cast("tuple[object, object]", key)
        yield (str(domain), str(provider)), float(value)


def _in_inventory(frame: pd.DataFrame, facts: Facts) -> Any:
    """Return where a row's sender is in the inventory of its domain."""
    frames = frame, facts.inventory
    keys, mine = (pd.MultiIndex.from_frame(f[["domain", "sender"]].astype("str")) for f in frames)
    return keys.isin(mine)


def _spf(found: ProviderCounts, facts: Facts, since: pd.Timestamp) -> None:
    rows = _of_providers(facts.spf, since)
    rows = rows[_in_inventory(rows, facts)]
    passing = rows["messages"].where(rows["result"].astype("str") == "pass", 0)
    parts = rows[[*_KEY, "messages"]].assign(passing=passing)
    sums = parts.groupby(_KEY, observed=True)[["messages", "passing"]].sum()
    for (domain, provider), told, passed in sums.itertuples(name=None):
        here = found[str(domain), str(provider)]
        # messages whose report gives no SPF result at all may have passed
        silent = max(here["own"] - told, 0.0)
        least = min(passed, here["own"])
        here["spf"] = (least, min(least + silent, here["own"]))


def _signatures(found: ProviderCounts, facts: Facts, since: pd.Timestamp) -> None:
    """Bound what passes DKIM by the passing signatures of a sender."""
    rows = _of_providers(facts.signatures, since)
    rows = rows[rows["in_inventory"] & rows["passed"]]
    one = [*_KEY, "sender", "day", "dkim_domain", "selector"]
    by_signature = rows.groupby(one, observed=True)["messages"].sum()
    at_most = dict(_sums(by_signature.groupby(level=_KEY, observed=True).sum()))
    strongest = by_signature.groupby(level=one[:4], observed=True).max()
    at_least = dict(_sums(strongest.groupby(level=_KEY, observed=True).sum()))
    for key, here in found.items():
        least, _most = here["dkim"]
        # what is aligned passes, and so does what the strongest signature of a day covers
        least = min(max(least, at_least.get(key, 0.0)), here["own"])
        here["dkim"] = (least, max(least, min(at_most.get(key, 0.0), here["own"])))


def _codes(found: ProviderCounts, facts: Facts, since: pd.Timestamp) -> None:
    rows = _of_providers(facts.requirements, since)
    known = facts.messages[~facts.messages["sender_kind"].isin(["unknown", "hosting"])]
    services = set(known["sender"].astype("str").unique())
    rows = rows[_in_inventory(rows, facts) | rows["sender"].astype("str").isin(services)]
    codes = rows["code"].astype("str").str.partition(".")[2] if len(rows) else rows["code"]
    known_rules = rows.assign(rule=codes.map(CODES))
    sums = known_rules.groupby([*_KEY, "rule"], observed=True)["messages"].sum()
    for key, n in sums.items():
        domain, provider, rule = cast("tuple[object, object, object]", key)
        found[str(domain), str(provider)]["codes"][str(rule)] = float(n)


COLUMNS = [
    "domain", "provider", "rule", "applies", "bulk", "verdict", "why", "disagree",
    "reports", "reports_why", "postmaster", "postmaster_why", "dns", "dns_why",
]  # fmt: skip
"""Columns of `requirement_matrix`."""


def requirement_matrix(facts: Facts, outside: Outside, domains: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per domain, provider and rule that the provider has.

    domain, provider, rule; applies: ``all`` or ``bulk`` (only senders of much mail); bulk:
    True when one day had more messages than the provider's line (`BULK_LINE`), null where
    there is no line or no report; verdict: met, not met or unknown, and why; disagree: two
    views say opposite things; reports, postmaster, dns: the verdict of each view, null when
    it has none, each with its reason in …_why. `domains`: only these; else those that the
    outside was asked about by name, or all that reports, Postmaster Tools or DNS know.

    One view that says "not met" is enough: each sees faults that the others cannot. "met"
    needs a view that says so. Postmaster Tools of the organisation speaks for a domain that is
    not in it by itself. No row when no domain is known.
    """
    names = [normalize_domain(d) for d in domains] or list(outside.domains)
    if not names:
        frames = (facts.reports, outside.postmaster, outside.dns)
        names = sorted({str(name) for frame in frames for name in frame["domain"].unique()})
    reported, shown = provider_counts(facts), dns_entries(outside.dns)
    said = postmaster_states(outside.postmaster)
    rows = []
    for domain in names:
        by_google = said.get(domain) or said.get(organisation(domain))
        for rule, providers in RULES.items():
            in_dns = from_dns(rule, shown.get(domain, []))
            for provider, applies in providers.items():
                seen, line = reported.get((domain, provider)), BULK_LINE[provider]
                bulk = None if seen is None or line is None else seen["busiest"] >= line
                row = {"domain": domain, "provider": provider, "rule": rule}
                listed = from_postmaster(rule, by_google) if provider == "Google" else None
                views = {"reports": from_reports(rule, seen), "postmaster": listed, "dns": in_dns}
                rows.append(row | {"applies": applies, "bulk": bulk} | _judged(views))
    # as objects, so that nothing stays None
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).astype({"disagree": bool})


def unmet_rules(table: pd.DataFrame) -> pd.Series[float]:
    """Return how many rules of each domain some provider finds not met; null: nothing is known.

    `table` is that of `requirement_matrix`; the index is the domain.
    """
    broken = table[table["verdict"] == "not met"].groupby("domain")["rule"].nunique()
    known = table.loc[table["verdict"] != "unknown", "domain"].unique()
    counts = broken.reindex(known, fill_value=0).reindex(table["domain"].unique())
    return counts.astype("float64")


def _judged(views: dict[str, View | None]) -> dict[str, object]:
    row: dict[str, object] = {}
    said: dict[str, list[str]] = {}
    for name, view in views.items():
        row |= {name: view.verdict if view else None, f"{name}_why": view.why if view else None}
        if view:
            said.setdefault(view.verdict, []).append(f"{view_word(name)}: {view.why}")
    row["disagree"] = {"met", "not met"} <= said.keys()
    for verdict in VERDICTS:
        if verdict in said:
            return row | {"verdict": verdict, "why": "; ".join(said[verdict])}
    why = _("nothing tells: no report of this provider, Postmaster Tools or DNS check")
    return row | {"verdict": "unknown", "why": why}
