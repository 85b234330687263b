"""Rows of Postmaster Tools (`postmaster.latest`) → the small frames of its page and command.

Shares are [0-1] and null where Google has no data; each function leaves its input as it is.
Google gives no volumes, so rates of several domains cannot be averaged: where they come
together it is the worst that counts.
"""

from __future__ import annotations

import json

import pandas as pd

from dmarckit.core.window import Window
from dmarckit.facts.class_summary import days_of

REQUIREMENT_ORDER = {"NEEDS_WORK": 0, "COMPLIANT": 1}


def worst_by_day(
    metrics: pd.DataFrame, metric: str, details: tuple[str, ...], window: Window, *, lowest: bool
) -> pd.DataFrame:
    """One row a day of the window: `day`, and the worst share of all domains for each detail.

    The worst is the lowest of a success rate, the highest of a spam or error rate. A detail
    that is empty in the table (all of a metric) is the column ``all``.
    """
    rows = metrics[(metrics["metric"] == metric) & metrics["share"].notna()]
    shares = rows.pivot_table(
        index="day", columns="detail", values="share", aggfunc="min" if lowest else "max"
    )
    whole = shares.reindex(index=days_of(window), columns=list(details)).astype("float64")
    return whole.rename(columns={"": "all"}).rename_axis(columns=None).reset_index()


_NEWEST = {
    "spam_rate": ("spam_rate", ""),
    "spf": ("auth_success_rate", "spf"),
    "dkim": ("auth_success_rate", "dkim"),
    "dmarc": ("auth_success_rate", "dmarc"),
    "tls": ("tls_encryption_rate", "inbound"),
    "errors": ("delivery_error_rate", ""),
}
"""column of `by_domain` → metric and detail"""


def by_domain(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain, the highest spam rate first.

    `domain`; the newest share of `spam_rate`, `spf`, `dkim`, `dmarc`, `tls` (mail sent to
    Gmail) and `errors` (delivery errors of all kinds); `spam_worst`, the highest spam rate of
    all days; `needs_work`, requirements that are not met (number; null: no status);
    `last_day`, the newest day with a rate.
    """
    table = pd.DataFrame({"domain": sorted(metrics["domain"].unique())}).set_index("domain")
    rates = metrics[metrics["share"].notna()].sort_values("day")
    for column, (metric, detail) in _NEWEST.items():
        rows = rates[(rates["metric"] == metric) & (rates["detail"] == detail)]
        table[column] = rows.groupby("domain")["share"].last().astype("float64")
        if column == "spam_rate":
            table["spam_worst"] = rows.groupby("domain")["share"].max().astype("float64")
    states = compliance(metrics)
    failing = (states["state"] == "NEEDS_WORK").groupby(states["domain"]).sum()
    table["needs_work"] = failing.astype("float64")
    table["last_day"] = rates.groupby("domain")["day"].max()
    order = ["spam_worst", "domain"]
    return table.reset_index().sort_values(order, ascending=[False, True], ignore_index=True)


def refusals(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain and kind of refusal that happened, the highest share first.

    A kind as a whole, such as ``reject``, only where Google names no reason of it.
    `domain`, `kind` (such as ``reject/ip_in_rbls``), `worst` (highest share of a day),
    `worst_day`, `days` (with any), `messages` (sum of the days that Google counted; null:
    none were), `last_day`.
    """
    rows = metrics[(metrics["detail"] != "") & metrics["metric"].str.startswith("delivery_error")]
    rates = rows[(rows["metric"] == "delivery_error_rate") & (rows["share"] > 0)]
    keys = ["domain", "detail"]
    found = (
        rates.sort_values("share", kind="stable")
        .groupby(keys, as_index=False)
        .agg(
            worst=("share", "last"),
            worst_day=("day", "last"),
            days=("day", "nunique"),
            last_day=("day", "max"),
        )
    )
    counts = rows[rows["metric"] == "delivery_error_count"].groupby(keys)["number"].sum(min_count=1)
    found = found.merge(counts.rename("messages").reset_index(), on=keys, how="left")
    has_reason = found["detail"].str.contains("/")
    kinds = found["detail"].str.replace("/.*", "", regex=True)
    explained = has_reason.groupby([found["domain"], kinds]).transform("any")
    found = found[has_reason | ~explained]
    return found.rename(columns={"detail": "kind"}).sort_values(
        ["worst", "domain", "kind"], ascending=[False, True, True], ignore_index=True
    )


def compliance(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain and requirement, those that need work first.

    `domain`, `requirement`, `state` (``COMPLIANT`` or ``NEEDS_WORK``), `reason` (empty: none),
    `since` (first day it was asked and had this state without a change after it), `asked`
    (the last day it was asked).
    """
    columns = ["domain", "requirement", "state", "reason", "since", "asked"]
    states = metrics[metrics["metric"] == "compliance"]
    reasons = metrics[metrics["metric"] == "compliance_reason"].set_index(
        ["domain", "detail", "day"]
    )["text"]
    rows = []
    for (domain, requirement), part in states.sort_values("day").groupby(["domain", "detail"]):
        newest = part.iloc[-1]
        other = part.loc[part["text"] != newest["text"], "day"]
        same = part if other.empty else part[part["day"] > other.max()]
        reason = reasons.get((domain, requirement, newest["day"]), "")
        since, asked = same["day"].min(), newest["day"]
        rows.append([domain, requirement, newest["text"], reason, since, asked])
    found = pd.DataFrame(rows, columns=columns)
    order = found["state"].map(REQUIREMENT_ORDER).fillna(2)
    return (
        found.assign(order=order)
        .sort_values(["order", "domain", "requirement"], ignore_index=True)
        .drop(columns="order")
    )


def feedback_loops(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per domain and feedback loop, the highest spam rate first.

    `domain`, `loop` (its id), `kind` (``from_header``: of mail from the domain; ``all_dkim``:
    of all that it signed), `worst` (highest share of a day; null: none was given), `days`.
    """
    ids = metrics[metrics["metric"] == "feedback_loop_ids"]
    named = pd.DataFrame(
        [
            (row.domain, row.detail, f"{row.detail}/{loop}", loop, row.day)
            for row in ids.itertuples()
            for loop in json.loads(str(row.text))
        ],
        columns=["domain", "kind", "detail", "loop", "day"],
    )
    rates = metrics[metrics["metric"] == "feedback_loop_rate"]
    worst = rates.groupby(["domain", "detail"])["share"].max().rename("worst").reset_index()
    keys = ["domain", "kind", "detail", "loop"]
    found = named.groupby(keys, as_index=False).agg(days=("day", "nunique"))
    found = found.merge(worst, on=["domain", "detail"], how="left")
    return found[["domain", "loop", "kind", "worst", "days"]].sort_values(
        ["worst", "domain", "loop"], ascending=[False, True, True], ignore_index=True
    )
