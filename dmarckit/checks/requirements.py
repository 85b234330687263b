"""The sender requirements of the large mailbox providers: rule × domain, from three views."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dmarckit.checks.outside import Outside
from dmarckit.checks.requirement_facts import busiest, seen
from dmarckit.checks.requirement_rules import BULK_LINE, RULES
from dmarckit.checks.requirement_views import (
    Verdict,
    View,
    from_dns,
    from_postmaster,
    from_reports,
    said_by_postmaster,
    shown_by_dns,
)
from dmarckit.checks.requirement_words import view_word
from dmarckit.core.language import _
from dmarckit.facts.facts import Facts
from dmarckit.facts.organisation import organisation

COLUMNS = [
    "domain", "provider", "rule", "applies", "bulk", "verdict", "why", "disagree",
    "reports", "reports_why", "postmaster", "postmaster_why", "dns", "dns_why",
]  # fmt: skip
"""Columns of `matrix`."""


def matrix(facts: Facts, outside: Outside, domains: Sequence[str] = ()) -> pd.DataFrame:
    """One row per domain, provider and rule that the provider has.

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
    names = [d.lower().rstrip(".") for d in domains] or _known(facts, outside)
    reported, shown = seen(facts), shown_by_dns(outside.dns)
    said = said_by_postmaster(outside.postmaster)
    rows = []
    for domain in names:
        by_google = said.get(domain) or said.get(organisation(domain))
        records = shown.get(domain, [])
        for rule, providers in RULES.items():
            in_dns = from_dns(rule, records)
            for provider, applies in providers.items():
                views = {
                    "reports": from_reports(rule, reported.get((domain, provider))),
                    "postmaster": from_postmaster(rule, by_google)
                    if provider == "Google"
                    else None,
                    "dns": in_dns,
                }
                busy, line = busiest(reported, domain, provider), BULK_LINE[provider]
                bulk = None if busy is None or line is None else busy >= line
                rows.append(
                    {
                        "domain": domain,
                        "provider": provider,
                        "rule": rule,
                        "applies": applies,
                        "bulk": bulk,
                    }
                    | _judged(views)
                )
    # as objects, so that nothing stays None
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).astype({"disagree": bool})


def not_met(table: pd.DataFrame) -> pd.Series[float]:
    """Domain → rules of `matrix` that are not met for some provider; null: nothing is known."""
    broken = table[table["verdict"] == "not met"].groupby("domain")["rule"].nunique()
    known = table.loc[table["verdict"] != "unknown", "domain"].unique()
    counts = broken.reindex(known, fill_value=0).reindex(table["domain"].unique())
    return counts.astype("float64")


def _known(facts: Facts, outside: Outside) -> list[str]:
    frames = (facts.reports, outside.postmaster, outside.dns)
    seen_somewhere = {str(name) for frame in frames for name in frame["domain"].unique()}
    return list(outside.domains) or sorted(seen_somewhere)


def _judged(views: dict[str, View | None]) -> dict[str, object]:
    given = {name: view for name, view in views.items() if view is not None}
    verdict, why = _together(given)
    said = {view.verdict for view in given.values()}
    row: dict[str, object] = {
        "verdict": verdict,
        "why": why,
        "disagree": {"met", "not met"} <= said,
    }
    for name, view in views.items():
        row |= {name: view.verdict if view else None, f"{name}_why": view.why if view else None}
    return row


def _together(views: dict[str, View]) -> tuple[Verdict, str]:
    for verdict in ("not met", "met", "unknown"):
        said = [(name, view.why) for name, view in views.items() if view.verdict == verdict]
        if said:
            return verdict, "; ".join(f"{view_word(name)}: {why}" for name, why in said)
    return "unknown", _("nothing tells: no report of this provider, Postmaster Tools or DNS check")
