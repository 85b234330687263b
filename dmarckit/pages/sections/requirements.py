"""What Google, Yahoo and Microsoft ask of senders, and whether the domains do it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pandas as pd

from dmarckit import checks
from dmarckit.checks import PROVIDERS, RULES, VERDICTS, wording
from dmarckit.core import _, ngettext, one_line, text as words
from dmarckit.findings import join_names
from dmarckit.pages.html import Column, Html, render_part, table
from dmarckit.pages.links import row_target
from dmarckit.pages.sections.base import PageData, Section, usual
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
        names = [self.domain] if self.domain else ()
        return checks.requirement_matrix(self.facts, self.analysis.outside, names)

    def requirements_answer(self) -> Section:
        """Say whether a rule is known not to be met; rules that bind the domain come first."""
        broken = _not_met(self._rules)
        binding: list[str] = []
        others: list[str] = []
        for (domain, rule), part in broken.groupby(["domain", "rule"], sort=False):
            text = _("{domain}: {rule} ({providers}).").format(
                domain=one_line(domain, 60),
                rule=wording(str(rule)).name,
                providers=join_names(list(part["provider"])),
            )
            (binding if _is_binding(part) else others).append(text)
        if points := binding + others:
            n = broken["domain"].nunique()
            sentence = ngettext(
                "{n} domain misses a requirement.",
                "{n} domains miss a requirement.",
                n,
            ).format(n=words.count(n))
            more = more_below(len(points) - SHOWN)
            found = Answer("warning" if binding else "none", sentence, (*points[:SHOWN], *more))
        elif (self._rules["verdict"] != "unknown").any():
            found = Answer("good", _("All known requirements are met."))
        else:
            found = Answer("none", _("No data yet."))
        return Section(broken, answer_html(found))

    def requirements_sources(self) -> Section:
        """Say when Google and DNS were asked, or how to ask them. `.data`: the DNS records."""
        records = self.analysis.outside.dns
        html = connection(self.settings, self.analysis.outside.postmaster)
        if records.empty:
            text = _(
                "DNS was not asked in the last 30 days: run dmarckit dns check (it needs "
                "pip install 'dmarckit[dns]'), or name dns in the key before of a schedule."
            )
            return Section(records, html + render_part("empty", text))
        text = _("DNS checked {asked}.")
        asked = words.moment(records["checked"].max())
        return Section(records, html + render_part("note", text.format(asked=asked)))

    def requirements(self) -> Section:
        """Show the rules by domain, those with the most broken rules first.

        On a page about one domain it is its rules by provider; unknown ones are only named.
        """
        rules = self._rules
        return Section(rules, _of_domain(rules) if self.domain else self._of_all())

    def requirements_not_met(self) -> Section:
        """Show each rule that is not met somewhere: what it asks, what to do, where and why."""
        broken = _not_met(self._rules)
        if broken.empty:
            is_known = (self._rules["verdict"] != "unknown").any()
            text = _("All known requirements are met.") if is_known else _("No data yet.")
            return Section(broken, render_part("empty", text))
        found = dict(list(broken.groupby("rule")))
        parts = (_rule(rule, found[rule]) for rule in RULES if rule in found)
        return Section(broken, sum(parts, Html()))

    def _of_all(self) -> Html:
        rows = []
        asked = self._rules[self._rules["applies"] != "advice"]
        for domain, part in asked.groupby("domain", sort=False):
            row: dict[str, Any] = {"domain": str(domain)}
            for rule, cells in part.groupby("rule"):
                providers = cells.groupby("verdict")["provider"].agg(list)
                first = next(verdict for verdict in VERDICTS if verdict in providers)
                # whose verdict it is, unless all say the same
                whose = join_names(providers[first]) if len(providers) > 1 else ""
                row |= {str(rule): first, f"{rule}_by": whose}
            rows.append(row | {"broken": list(row.values()).count("not met")})
        rows.sort(key=lambda row: (-row["broken"], row["domain"]))
        wide = pd.DataFrame(rows, columns=["domain", "broken", *RULES, *(f"{r}_by" for r in RULES)])
        columns = [Column("domain", _("Domain"), link=row_target("domain", "domain"))]
        columns += [Column(rule, wording(rule).name, "verdict", f"{rule}_by") for rule in RULES]
        caption = _("Domains and rules, those with the most broken rules first")
        return table(wide, columns, caption=caption, empty=_("No domain is known."))


def _not_met(rules: pd.DataFrame) -> pd.DataFrame:
    return rules[(rules["verdict"] == "not met") & (rules["applies"] != "advice")]


def _rule(rule: str, rows: pd.DataFrame) -> Html:
    """Return one rule that is not met at the domains of `rows`."""
    said, text = wording(rule), _("{provider}: {address}")
    asking = [name for name in PROVIDERS if name in set(rows["provider"])]
    sources = [text.format(provider=name, address=checks.SOURCES[name]) for name in asking]
    shown = pd.DataFrame(
        {
            "domain": domain,
            "providers": join_names(list(part["provider"])),
            "why": part["why"].iloc[0],
            "disagree": _disagreement(part),
            "binds": "" if _is_binding(part) else _("bulk senders only"),
        }
        for domain, part in rows.groupby("domain", sort=False)
    )
    columns = [
        *usual("domain"),
        Column("providers", _("Asked by"), under="binds"),
        Column("why", _("Observed"), under="disagree"),
    ]
    found = table(shown, columns, caption=said.name, empty="")
    return render_part("rule", said, _("To do:"), " · ".join(sources), found)


def _disagreement(part: pd.DataFrame) -> str:
    rows = part[part["disagree"]]
    text = _("The views disagree: {views}")
    return "" if rows.empty else text.format(views=checks.views_text(rows.iloc[0]))


def _is_binding(part: pd.DataFrame) -> bool:
    """Return whether a rule binds a domain, rather than senders of much mail only."""
    return any(row["applies"] == "all" or row["bulk"] is True for row in part.to_dict("records"))


def _of_domain(mine: pd.DataFrame) -> Html:
    rules = {str(rule): part for rule, part in mine.groupby("rule", sort=False)}
    views = list(checks.VIEWS)
    seen = [rule for rule, part in rules.items() if part[views].notna().any(axis=None)]
    keys = {provider: f"provider{n}" for n, provider in enumerate(PROVIDERS)}
    rows = []
    for rule in seen:
        part = rules[rule].sort_values("verdict", key=lambda v: v.map(list(VERDICTS).index))
        row = {"rule": wording(rule).name, "why": part["why"].iloc[0]}
        row |= dict(zip(part["provider"].map(keys), part["verdict"], strict=True))
        rows.append(row | {"disagree": _disagreement(part)})
    shown = pd.DataFrame(rows, columns=["rule", *keys.values(), "why", "disagree"])
    columns = [
        Column("rule", _("Requirement")),
        *(Column(key, provider, "verdict") for provider, key in keys.items()),
        Column("why", _("Observed"), under="disagree"),
    ]
    caption = _("Requirements of mailbox providers")
    html = table(shown, columns, caption=caption, empty=_("No data yet."))
    if names := [wording(rule).name for rule in rules if rule not in seen]:
        note = _("No evidence yet for: {rules}.").format(rules=join_names(names, len(names)))
        html += render_part("note", note, 600)
    return html
