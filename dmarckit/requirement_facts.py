"""What reports tell about sender requirements, by domain and provider, in one pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from dmarckit.facts import Facts
from dmarckit.requirement_rules import provider_of
from dmarckit.requirement_views import CODES

DAYS = 30
"""days that are looked at: a month has every kind of campaign"""

Seen = dict[tuple[str, str], dict[str, Any]]


def seen(facts: Facts, days: int = DAYS) -> Seen:
    """(domain, provider) → what the provider's reports of the last `days` days say.

    own: messages of senders in the inventory, without forwarded ones; `spf`, `dkim` and
    `alignment`: how many of them pass at least, and at most (reports do not always say which
    results belong to the same message); `codes`: rule → own messages that were marked with
    Gmail's code for it; `busiest`: most messages on one day, of all senders, which is an upper
    bound of what the provider counts (mail to its business customers is in its reports too).
    A pair without a report is not there.
    """
    since = pd.Timestamp(facts.now).floor("D") - timedelta(days=days)
    found: Seen = {}
    reports = facts.reports[facts.reports["end"] >= since]
    for domain, reporter in (
        reports[["domain", "reporter"]].drop_duplicates().itertuples(index=False)
    ):
        if provider := provider_of(str(reporter)):
            found.setdefault((str(domain), provider), _nothing())
    messages = _of_providers(facts.messages, since)
    _volumes(found, messages)
    own = messages[messages["in_inventory"] & (messages["class"].astype("str") != "forwarded")]
    for key, part in _groups(own):
        seen_here = found.setdefault(key, _nothing())
        n = float(part["messages"].sum())
        aligned = float(part.loc[part["da"] | part["sa"], "messages"].sum())
        signed = float(part.loc[part["da"], "messages"].sum())
        seen_here |= {"own": n, "spf": (0.0, n), "dkim": (signed, n)}
        seen_here["alignment"] = (aligned, aligned)
    _spf(found, facts, since)
    _signatures(found, facts, since)
    _codes(found, facts, since)
    return found


def _nothing() -> dict[str, Any]:
    none = (0.0, 0.0)
    return {"own": 0.0, "spf": none, "dkim": none, "alignment": none, "codes": {}, "busiest": 0.0}


def _of_providers(frame: pd.DataFrame, since: pd.Timestamp) -> pd.DataFrame:
    """The rows since that day that providers reported, with `provider`."""
    names = frame["reporter"].astype("category")
    by_name = {name: provider_of(str(name)) for name in names.cat.categories}
    provider = names.map(by_name).astype("object")
    chosen = (frame["day"] >= since) & provider.notna()
    return frame[chosen].assign(provider=provider[chosen].astype("str"))


def _groups(frame: pd.DataFrame) -> Any:
    for (domain, provider), part in frame.groupby(["domain", "provider"], observed=True):
        yield (str(domain), str(provider)), part


def _volumes(found: Seen, messages: pd.DataFrame) -> None:
    for key, part in _groups(messages):
        daily = part.groupby("day", observed=True)["messages"].sum()
        found.setdefault(key, _nothing())["busiest"] = float(daily.max())


def _mine(facts: Facts) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(facts.inventory[["domain", "sender"]].astype("str"))


def _own_rows(frame: pd.DataFrame, mine: pd.MultiIndex) -> pd.DataFrame:
    keys = pd.MultiIndex.from_frame(frame[["domain", "sender"]].astype("str"))
    return frame[keys.isin(mine)]


def _spf(found: Seen, facts: Facts, since: pd.Timestamp) -> None:
    rows = _own_rows(_of_providers(facts.spf, since), _mine(facts))
    for key, part in _groups(rows):
        here = found.setdefault(key, _nothing())
        passing = float(part.loc[part["result"].astype("str") == "pass", "messages"].sum())
        # messages whose report gives no SPF result at all may have passed
        silent = max(here["own"] - float(part["messages"].sum()), 0.0)
        least = min(passing, here["own"])
        here["spf"] = (least, min(least + silent, here["own"]))


def _signatures(found: Seen, facts: Facts, since: pd.Timestamp) -> None:
    """At most as many messages pass DKIM as the passing signatures of a sender add up to."""
    rows = _of_providers(facts.signatures, since)
    rows = rows[rows["in_inventory"] & rows["passed"]]
    at_most: dict[tuple[str, str], float] = defaultdict(float)
    at_least: dict[tuple[str, str], float] = defaultdict(float)
    for key, part in _groups(rows):
        by_signature = part.groupby(["sender", "day", "dkim_domain", "selector"], observed=True)
        sums = by_signature["messages"].sum()
        at_most[key] = float(sums.sum())
        at_least[key] = float(sums.groupby(level=["sender", "day"], observed=True).max().sum())
    for key, here in found.items():
        least, _most = here["dkim"]
        # what is aligned passes, and so does what the strongest signature of a day covers
        least = min(max(least, at_least[key]), here["own"])
        here["dkim"] = (least, max(least, min(at_most[key], here["own"])))


def _codes(found: Seen, facts: Facts, since: pd.Timestamp) -> None:
    rows = _of_providers(facts.requirements, since)
    known = facts.messages[~facts.messages["sender_kind"].isin(["unknown", "hosting"])]
    services = set(known["sender"].astype("str").unique())
    keys = pd.MultiIndex.from_frame(rows[["domain", "sender"]].astype("str"))
    rows = rows[keys.isin(_mine(facts)) | rows["sender"].astype("str").isin(services)]
    for key, part in _groups(rows):
        sums: dict[str, float] = defaultdict(float)
        for code, n in zip(part["code"].astype("str"), part["messages"], strict=True):
            if rule := CODES.get(code.partition(".")[2]):
                sums[rule] += float(n)
        found.setdefault(key, _nothing())["codes"] = dict(sums)


def busiest(
    seen_by: Mapping[tuple[str, str], Mapping[str, Any]], domain: str, provider: str
) -> float | None:
    """Most messages of a domain on one day at a provider; None when it never reported."""
    here = seen_by.get((domain, provider))
    return None if here is None else float(here["busiest"])
