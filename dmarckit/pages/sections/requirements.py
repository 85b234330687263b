"""The matrix of sender requirements → its page. Takes frames of `requirements.matrix`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from dmarckit.checks import (
    PROVIDERS,
    RULES,
    SOURCES,
    VERDICTS,
    VIEWS,
    Outside,
    sees,
    verdict_word,
    wording,
)
from dmarckit.core import Settings, _, ngettext, normalize_domain, one_line, text as words
from dmarckit.findings import LedgerEntry, join_names
from dmarckit.pages.html import Column, Html, escape, table
from dmarckit.pages.links import PageLinks, row_link
from dmarckit.pages.sections.postmaster import connection as google_connection

SHOWN = 5
"""things named in the answer; more is not read in ten seconds"""

KINDS = (
    "spam_rate",
    "delivery_errors",
    "dns_record",
    "dns_changed",
    "requirement_not_met",
    "gmail_requirement",
)
"""findings that the page shows"""


def answer(frame: pd.DataFrame) -> Html:
    """Whether a rule is known not to be met, and which. Rules that bind the domain come first."""
    broken = _by_rule(frame[frame["verdict"] == "not met"])
    known = (frame["verdict"] != "unknown").any()
    level, points = "good", [_point(row) for row in broken[:SHOWN]]
    if broken:
        level = "warning" if any(row["binding"] for row in broken) else "none"
        n = len({row["domain"] for row in broken})
        sentence = ngettext(
            "{n} domain does not meet all requirements.",
            "{n} domains do not meet all requirements.",
            n,
        ).format(n=words.count(n))
        if len(broken) > SHOWN:
            more = len(broken) - SHOWN
            text = ngettext("And {n} more thing below.", "And {n} more things below.", more)
            points.append(text.format(n=words.count(more)))
    elif known:
        sentence = _("No requirement is known to be missed.")
    else:
        level, sentence = "none", _("Nothing is known yet.")
    listed_ = "".join(f"<li>{escape(point)}</li>" for point in points)
    return Html(
        f'<div class="dk-answer {level}"><p class="dk-sentence">{escape(sentence)}</p>'
        f"{f'<ul>{listed_}</ul>' if points else ''}</div>"
    )


def connection(settings: Settings, outside: Outside) -> Html:
    """When Google and DNS were asked, or how to ask them."""
    text = _(
        "DNS was not asked in the last 30 days: run dmarckit dns check (it needs "
        "pip install 'dmarckit[dns]'), or name dns in the key before of a schedule."
    )
    if not outside.dns.empty:
        text = _("DNS was asked on {asked}, UTC.").format(
            asked=words.minute(outside.dns["checked"].max())
        )
    kind = "dk-empty" if outside.dns.empty else "dk-note"
    by_google = google_connection(settings, outside.postmaster)
    return Html(f'{by_google.markup}<p class="{kind}">{escape(text)}</p>')


def matrix_table(frame: pd.DataFrame, links: PageLinks | None = None) -> Html:
    """Domains × rules, those with the most broken rules first; with `links` to their pages."""
    rows = [_domain_row(str(name), part) for name, part in frame.groupby("domain", sort=False)]
    rows.sort(key=lambda row: (-row["broken"], row["domain"]))
    wide = pd.DataFrame(rows, columns=["domain", "broken", *RULES, *(f"{r}_by" for r in RULES)])
    columns = [Column("domain", _("Domain"), link=row_link(links, "domain", "domain"))]
    columns += [Column(rule, wording(rule).name, "verdict", _under(rule)) for rule in RULES]
    caption = _("Domains and rules, those with the most broken rules first")
    return table(wide, columns, caption=caption, empty=_("No domain is known."))


def _domain_row(domain: str, part: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"domain": domain}
    for rule, cells in part.groupby("rule"):
        by_provider = dict(zip(cells["provider"], cells["verdict"], strict=True))
        worst = next(verdict for verdict in VERDICTS if verdict in by_provider.values())
        row |= {str(rule): worst, f"{rule}_by": _providers(by_provider, worst)}
    return row | {"broken": sum(row.get(rule) == "not met" for rule in RULES)}


def _providers(by_provider: dict[str, str], worst: str) -> str:
    """Whose verdict the worst is, and what the others say; nothing when all say the same."""
    if set(by_provider.values()) == {worst}:
        return ""
    parts = []
    for verdict in VERDICTS:
        if names := [name for name, said in by_provider.items() if said == verdict]:
            text = _("{providers}: {verdict}")
            parts.append(text.format(providers=join_names(names), verdict=verdict_word(verdict)))
    return " · ".join(parts)


def _under(rule: str) -> Any:
    return lambda row: getattr(row, f"{rule}_by") or ""


def not_met(frame: pd.DataFrame) -> Html:
    """Each rule that is not met somewhere: what it asks, what to do, its source; by domain why."""
    broken = frame[frame["verdict"] == "not met"]
    if broken.empty:
        text = _("No requirement is known to be missed.")
        return Html(f'<p class="dk-empty">{escape(text)}</p>')
    parts = [_rule(rule, broken[broken["rule"] == rule]) for rule in RULES]
    return Html("".join(part for part in parts if part))


def _rule(rule: str, rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    said, providers = wording(rule), [p for p in PROVIDERS if p in set(rows["provider"])]
    sources = " · ".join(
        _("{provider}: {address}").format(provider=name, address=SOURCES[name])
        for name in providers
    )
    shown = pd.DataFrame(
        {
            "domain": domain,
            "providers": join_names(list(part["provider"])),
            "why": part["why"].iloc[0],
            "disagree": _disagreement(part),
            "binds": _binds(part),
        }
        for domain, part in rows.groupby("domain", sort=False)
    )
    columns = [
        Column("domain", _("Domain")),
        Column("providers", _("Asked by"), under=lambda row: str(row.binds)),
        Column("why", _("What is seen"), under=lambda row: str(row.disagree)),
    ]
    found = table(shown, columns, caption=said.name, empty="")
    label, where = escape(_("To do:")), escape(sources, 1000)
    return (
        f'<div class="dk-rule"><h3>{escape(said.name)}</h3><p>{escape(said.asks)}</p>'
        f'<p class="dk-action"><b>{label}</b> {escape(said.action)}</p>'
        f'<p class="dk-note">{where}</p>{found.markup}</div>'
    )


def _disagreement(part: pd.DataFrame) -> str:
    rows = part[part["disagree"]]
    if rows.empty:
        return ""
    return _("The views disagree: {views}").format(views=sees(rows.iloc[0]))


def _binds(part: pd.DataFrame) -> str:
    if any(_is_binding(row) for row in part.to_dict("records")):
        return ""
    return _("for senders of much mail only")


def _is_binding(row: dict[Any, Any]) -> bool:
    return row["applies"] == "all" or row["bulk"] is True


def _by_rule(broken: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry a domain and rule, what binds the domain first."""
    found = [
        {
            "domain": domain,
            "rule": rule,
            "providers": list(part["provider"]),
            "binding": any(_is_binding(row) for row in part.to_dict("records")),
        }
        for (domain, rule), part in broken.groupby(["domain", "rule"], sort=False)
    ]
    return sorted(found, key=lambda row: not row["binding"])


def _point(row: dict[str, Any]) -> str:
    return _("{domain}: {rule} ({providers}).").format(
        domain=one_line(row["domain"], 60),
        rule=wording(row["rule"]).name,
        providers=join_names(row["providers"]),
    )


def of_domain(frame: pd.DataFrame, domain: str) -> Html:
    """The rules of one domain that something is known of; the others are only named."""
    mine = frame[frame["domain"] == normalize_domain(domain)]
    rules = [(str(rule), part) for rule, part in mine.groupby("rule", sort=False)]
    seen = [pair for pair in rules if pair[1][list(VIEWS)].notna().any(axis=None)]
    shown = pd.DataFrame(
        [_rule_row(*pair) for pair in seen], columns=["rule", *PROVIDERS, "why", "disagree"]
    )
    columns = [Column("rule", _("Requirement"))]
    columns += [Column(provider, provider, "verdict") for provider in PROVIDERS]
    columns += [Column("why", _("What is seen"), under=lambda row: str(row.disagree))]
    caption = _("Requirements of mailbox providers")
    found = table(shown, columns, caption=caption, empty=_("Nothing is known yet."))
    names = [wording(rule).name for rule, _part in rules if rule not in dict(seen)]
    note = _("Nothing tells of: {rules}.").format(rules=join_names(names, len(names)))
    return Html(found.markup + (f'<p class="dk-note">{escape(note, 600)}</p>' if names else ""))


def _rule_row(rule: str, part: pd.DataFrame) -> dict[str, Any]:
    order = part.assign(rank=part["verdict"].map(list(VERDICTS).index)).sort_values("rank")
    row = {"rule": wording(rule).name, "why": order["why"].iloc[0]}
    row |= {"disagree": _disagreement(order)} | dict.fromkeys(PROVIDERS)
    return row | dict(zip(part["provider"], part["verdict"], strict=True))


def about(items: Iterable[LedgerEntry]) -> Sequence[LedgerEntry]:
    """The findings that concern requirements, Postmaster Tools and DNS."""
    return [item for item in items if item.finding.kind in KINDS]
