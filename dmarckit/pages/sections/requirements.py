"""What Google, Yahoo and Microsoft ask of senders, and whether the domains do it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pandas as pd

from dmarckit.checks import (
    PROVIDERS,
    RULES,
    SOURCES,
    VERDICTS,
    VIEWS,
    requirement_matrix,
    verdict_word,
    views_text,
    wording,
)
from dmarckit.core import _, ngettext, one_line, text as words
from dmarckit.findings import join_names
from dmarckit.pages.html import Column, Html, render_part, table
from dmarckit.pages.links import row_link
from dmarckit.pages.sections.base import PageData, Section
from dmarckit.pages.sections.findings import SHOWN, Answer, answer_html, more_below
from dmarckit.pages.sections.postmaster import connection


class RequirementSections(PageData):
    """The rules of mailbox providers for senders.

    `.data` of each section is what it is about of the same frame, one row per domain, rule and
    provider: `domain`, `rule`, `provider`, `verdict` (met, not met or unknown), `why`, what
    each view shows (`reports`, `postmaster`, `dns`), `disagree` (they do), `applies`, `bulk`.
    """

    @cached_property
    def _rules(self) -> pd.DataFrame:
        return requirement_matrix(self.facts, self.outside, [self.domain] if self.domain else ())

    def requirements_answer(self) -> Section:
        """Say whether a rule is known not to be met; rules that bind the domain come first."""
        broken = _not_met(self._rules)
        rules = _by_rule(broken)
        points = [
            _("{domain}: {rule} ({providers}).").format(
                domain=one_line(row["domain"], 60),
                rule=wording(row["rule"]).name,
                providers=join_names(row["providers"]),
            )
            for row in rules[:SHOWN]
        ]
        if rules:
            n = broken["domain"].nunique()
            sentence = ngettext(
                "{n} domain does not meet all requirements.",
                "{n} domains do not meet all requirements.",
                n,
            ).format(n=words.count(n))
            level = "warning" if any(row["binding"] for row in rules) else "none"
            found = Answer(level, sentence, (*points, *more_below(len(rules) - SHOWN)))
        elif (self._rules["verdict"] != "unknown").any():
            found = Answer("good", _("No requirement is known to be missed."))
        else:
            found = Answer("none", _("Nothing is known yet."))
        return Section(broken, answer_html(found))

    def requirements_sources(self) -> Section:
        """Say when Google and DNS were asked, or how to ask them. `.data`: the DNS records."""
        records = self.outside.dns
        kind, text = "note", _("DNS was asked on {asked}, UTC.")
        if records.empty:
            kind, text = (
                "empty",
                _(
                    "DNS was not asked in the last 30 days: run dmarckit dns check (it needs "
                    "pip install 'dmarckit[dns]'), or name dns in the key before of a schedule."
                ),
            )
        else:
            text = text.format(asked=words.minute(records["checked"].max()))
        by_google = connection(self.settings, self.outside.postmaster)
        return Section(records, by_google + render_part(kind, text))

    def requirements(self) -> Section:
        """Show the rules by domain, those with the most broken rules first.

        On a page about one domain it is the rules of that domain that something is known of,
        by provider; the others are only named.
        """
        rules = self._rules
        return Section(rules, _of_domain(rules) if self.domain else self._of_all(rules))

    def requirements_not_met(self) -> Section:
        """Show each rule that is not met somewhere: what it asks, what to do, where and why."""
        broken = _not_met(self._rules)
        html = Html()
        for rule in RULES:
            rows = broken[broken["rule"] == rule]
            html = html if rows.empty else html + _rule(rule, rows)
        if broken.empty:
            html = render_part("empty", _("No requirement is known to be missed."))
        return Section(broken, html)

    def _of_all(self, rules: pd.DataFrame) -> Html:
        rows = [_domain_row(str(name), part) for name, part in rules.groupby("domain", sort=False)]
        rows.sort(key=lambda row: (-row["broken"], row["domain"]))
        wide = pd.DataFrame(rows, columns=["domain", "broken", *RULES, *(f"{r}_by" for r in RULES)])
        columns = [Column("domain", _("Domain"), link=row_link(self.links, "domain", "domain"))]
        columns += [Column(rule, wording(rule).name, "verdict", _by(rule)) for rule in RULES]
        caption = _("Domains and rules, those with the most broken rules first")
        return table(wide, columns, caption=caption, empty=_("No domain is known."))


def _not_met(rules: pd.DataFrame) -> pd.DataFrame:
    return rules[rules["verdict"] == "not met"]


def _by(rule: str) -> Callable[[Any], str]:
    return lambda row: getattr(row, f"{rule}_by") or ""


def _domain_row(domain: str, part: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"domain": domain}
    for rule, cells in part.groupby("rule"):
        by_provider = dict(zip(cells["provider"], cells["verdict"], strict=True))
        worst = next(verdict for verdict in VERDICTS if verdict in by_provider.values())
        row |= {str(rule): worst, f"{rule}_by": _providers(by_provider, worst)}
    return row | {"broken": sum(row.get(rule) == "not met" for rule in RULES)}


def _providers(by_provider: dict[str, str], worst: str) -> str:
    """Return whose verdict which is; nothing when all say the same."""
    if set(by_provider.values()) == {worst}:
        return ""
    parts = []
    for verdict in VERDICTS:
        if names := [name for name, said in by_provider.items() if said == verdict]:
            text = _("{providers}: {verdict}")
            parts.append(text.format(providers=join_names(names), verdict=verdict_word(verdict)))
    return " · ".join(parts)


def _rule(rule: str, rows: pd.DataFrame) -> Html:
    """Return one rule that is not met at the domains of `rows`."""
    said, asking = wording(rule), set(rows["provider"])
    sources = " · ".join(
        _("{provider}: {address}").format(provider=name, address=SOURCES[name])
        for name in PROVIDERS
        if name in asking
    )
    shown = pd.DataFrame(
        {
            "domain": domain,
            "providers": join_names(list(part["provider"])),
            "why": part["why"].iloc[0],
            "disagree": _disagreement(part),
            "binds": "" if _is_binding(part) else _("for senders of much mail only"),
        }
        for domain, part in rows.groupby("domain", sort=False)
    )
    columns = [
        Column("domain", _("Domain")),
        Column("providers", _("Asked by"), under=lambda row: str(row.binds)),
        Column("why", _("What is seen"), under=lambda row: str(row.disagree)),
    ]
    found = table(shown, columns, caption=said.name, empty="")
    return render_part("rule", said, _("To do:"), sources, found)


def _disagreement(part: pd.DataFrame) -> str:
    rows = part[part["disagree"]]
    return (
        ""
        if rows.empty
        else _("The views disagree: {views}").format(views=views_text(rows.iloc[0]))
    )


def _is_binding(part: pd.DataFrame) -> bool:
    """Return whether a rule binds a domain, rather than senders of much mail only."""
    return any(row["applies"] == "all" or row["bulk"] is True for row in part.to_dict("records"))


def _by_rule(broken: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one entry a domain and rule, what binds the domain first."""
    found = [
        {
            "domain": domain,
            "rule": rule,
            "providers": list(part["provider"]),
            "binding": _is_binding(part),
        }
        for (domain, rule), part in broken.groupby(["domain", "rule"], sort=False)
    ]
    return sorted(found, key=lambda row: not row["binding"])


def _of_domain(mine: pd.DataFrame) -> Html:
    rules = {str(rule): part for rule, part in mine.groupby("rule", sort=False)}
    seen = [rule for rule, part in rules.items() if part[list(VIEWS)].notna().any(axis=None)]
    rows = [_rule_row(rule, rules[rule]) for rule in seen]
    shown = pd.DataFrame(rows, columns=["rule", *PROVIDERS, "why", "disagree"])
    columns = [Column("rule", _("Requirement"))]
    columns += [Column(provider, provider, "verdict") for provider in PROVIDERS]
    columns += [Column("why", _("What is seen"), under=lambda row: str(row.disagree))]
    caption = _("Requirements of mailbox providers")
    html = table(shown, columns, caption=caption, empty=_("Nothing is known yet."))
    names = [wording(rule).name for rule in rules if rule not in seen]
    note = _("Nothing tells of: {rules}.").format(rules=join_names(names, len(names)))
    return html + render_part("note", note, 600) if names else html


def _rule_row(rule: str, part: pd.DataFrame) -> dict[str, Any]:
    order = part.assign(rank=part["verdict"].map(list(VERDICTS).index)).sort_values("rank")
    row = {"rule": wording(rule).name, "why": order["why"].iloc[0]}
    row |= {"disagree": _disagreement(order)} | dict.fromkeys(PROVIDERS)
    return row | dict(zip(part["provider"], part["verdict"], strict=True))
