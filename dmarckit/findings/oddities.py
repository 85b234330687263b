"""Reporters whose reports cannot be taken as they are: sent twice, misplaced, contradictory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from dmarckit.core import _, later, n_messages, n_reports, ngettext, short_day
from dmarckit.facts import Facts, organisation
from dmarckit.findings import model, queries
from dmarckit.findings.context import Context, reporter_tests
from dmarckit.findings.counts import SHOWN, groups, total
from dmarckit.findings.model import Family, Finding, Kind, Severity, join_names, reporter_name, safe
from dmarckit.findings.reporters import reporter_families
from dmarckit.findings.rows import Rows


@dataclass(frozen=True)
class _Oddity:
    domain: str
    summary: str
    action: str
    number: int
    query: str
    first: date
    last: date
    severity: Severity = "info"
    messages: int = 0


def reporter_odd(facts: Facts, context: Context) -> list[Finding]:
    """Find reporters whose reports cannot be taken as they are; the subject is the reporter.

    info: it writes everything twice (counted once), sends other contents under the same id,
    names a policy domain whose record is elsewhere, or contradicts itself. warning: it writes
    from a new domain, which only a person can tell from somebody else who uses its name.
    One finding a reporter, without a domain where several are concerned.
    """
    found: dict[str, list[_Oddity]] = {}
    reports = facts.reports
    odd = reports[(reports["oddity"] != "") & (reports["end"] > context.start)]
    for name, rows in odd.groupby("reporter"):
        found.setdefault(str(name), []).extend(_of_reports(facts, str(name), rows, context))
    for name, said in groups(context.window(Rows.of(facts.contradictions)), "reporter"):
        found.setdefault(name, []).extend(_contradictions(facts, name, said, context))
    for name, oddity in _new_domains(facts, context):
        found.setdefault(name, []).append(oddity)
    return [_finding(name, oddities) for name, oddities in found.items() if oddities]


def _finding(name: str, oddities: list[_Oddity]) -> Finding:
    domains = sorted({oddity.domain for oddity in oddities})
    worst = next((o for o in oddities if o.severity == "warning"), oddities[0])
    others = [o for o in oddities if o is not worst][: SHOWN - 1]
    return Finding(
        kind="reporter_odd",
        domain=domains[0] if len(domains) == 1 else "",
        subject=name,
        severity=worst.severity,
        messages=sum(o.messages for o in oddities),
        first_day=min(o.first for o in oddities),
        last_day=max(o.last for o in oddities),
        since=min(o.first for o in oddities),
        reporters=1,
        summary=model.join_sentences(worst.summary, *(o.summary for o in others)),
        action=model.join_sentences(*dict.fromkeys([worst.action, *(o.action for o in others)])),
        evidence={
            "reporters": [reporter_name(name)],
            "domains": [safe(domain) for domain in domains[:SHOWN]],
            "number": worst.number,
            "query": worst.query,
        },
    )


def _of_reports(facts: Facts, name: str, rows: pd.DataFrame, context: Context) -> Iterator[_Oddity]:

    for (domain, oddity), part in rows.groupby(["domain", "oddity"]):
        n, named = len(part), str(oddity).partition(" ")[2]
        days = part["begin"].min().date(), part["begin"].max().date()
        query = queries.count_listed(part["report_uid"])
        if oddity == "repeated":
            text = ngettext(
                "{reporter} sends its reports about {domain} twice under different ids: {n} says "
                "again what another says, and is not counted.",
                "{reporter} sends its reports about {domain} twice under different ids: {n} say "
                "again what others say, and are not counted.",
                n,
            )
            action = _("No action needed: the facts count each report once.")
        elif oddity == "rival" and n >= 2:  # once is an accident
            text = ngettext(
                "{reporter} sent {n} about {domain} under the id of another with other contents; "
                "of each pair the one with more messages counts.",
                "{reporter} sent {n} about {domain} under the ids of others with other contents; "
                "of each pair the one with more messages counts.",
                n,
            )
            action = _(
                "Mail admin: if it goes on, tell the reporter that its report ids come again."
            )
            test = reporter_tests(facts.reports, [name])[name]
            query = queries.rivals(str(domain), test, context.start, context.now)
        elif named:
            text = ngettext(
                "{reporter} names {named} as policy domain in {n}, but the record that applies is "
                "that of {domain}; it is counted there.",
                "{reporter} names {named} as policy domain in {n}, but the record that applies is "
                "that of {domain}; they are counted there.",
                n,
            )
            action = _(
                "No action needed: it is a known fault of receivers (OpenDMARC). If {named} does "
                "have a DMARC record of its own, run: dmarckit dns check"
            ).format(named=safe(named))
        else:
            continue
        text = text.format(
            reporter=reporter_name(name), domain=safe(domain), named=safe(named), n=n_reports(n)
        )
        yield _Oddity(str(domain), text, action, n, query, *days)


def _contradictions(facts: Facts, name: str, rows: Rows, context: Context) -> Iterator[_Oddity]:
    """Yield the domains of which the reporter calls messages failed that it says pass."""
    for domain, part in groups(rows, "domain"):
        n = total(part)
        if n < context.thresholds.unhonoured_messages:
            continue
        signed, others = total(part, part["dkim"]), total(part, ~part["dkim"])
        authors = join_names(sorted(part["header_from"].unique()))
        text = _(
            "{reporter} contradicts itself: it says that {messages} of {domain} fail DMARC, and "
            "beside it that a DKIM signature passes for just their From domain ({authors})."
        )
        if not signed:
            text = _(
                "{reporter} contradicts itself: it says that {messages} of {domain} fail DMARC, "
                "and beside it that SPF passes for just their From domain ({authors})."
            )
        elif others:
            text = _(
                "{reporter} contradicts itself: it says that {messages} of {domain} fail DMARC, "
                "and beside it that DKIM or SPF passes for just their From domain ({authors})."
            )
        test = reporter_tests(facts.reports, [name])[name]
        such = test, queries.FAILS, queries.passes_exactly()
        days = part["day"][part["messages"] > 0]
        parts = {"reporter": reporter_name(name), "domain": safe(domain), "authors": authors}
        action = _(
            "Nothing is wrong with your mail or DNS as far as this reporter shows; mail admin: "
            "if it goes on, ask {reporter} (contact in its reports) why it fails them."
        )
        yield _Oddity(
            domain=domain,
            summary=text.format(messages=n_messages(n), **parts),
            action=action.format(reporter=reporter_name(name)),
            number=n,
            query=queries.messages(domain, context.window_days, context.now, *such),
            first=days.min().date(),
            last=days.max().date(),
            messages=n,
        )


def _new_domains(facts: Facts, context: Context) -> Iterator[tuple[str, _Oddity]]:
    """Yield reporters (name) that have begun to write from another domain in the last 30 days.

    Those of the shipped table write from its domains; the setting `reporters` decides on others.
    """
    rows = facts.reports
    rows = rows[(rows["sent_by"] != "") & (rows["provider"] == "") & (rows["oddity"] != "settled")]
    if rows["sent_by"].nunique() < 2:
        return
    families = rows["reporter"].map(reporter_families(facts.reports))
    places = {name: organisation(str(name)) for name in rows["sent_by"].unique()}
    rows = rows.assign(family=families, place=rows["sent_by"].map(places))
    for _family, part in rows.groupby("family"):
        first = part.groupby("place")["begin"].min().sort_values()
        if len(first) < 2 or first.iloc[-1] < context.now - timedelta(days=30):
            continue
        if first.iloc[-1] - first.iloc[0] < timedelta(days=7):
            continue  # it was hardly known by the other domain
        new = first.index[-1]
        sent = part[part["place"] == new]
        spelt = str(sent.sort_values("end")["spelling"].iloc[-1])
        old = sorted(str(p) for p in first.index[:-1])
        n, since = len(sent), first.iloc[-1].date()
        name = reporter_name(spelt)
        domains = ", ".join(f'"{safe(place)}"' for place in [*old, str(new)])
        summary = ngettext(
            "{reporter} has written from {old} so far, and from {new} since {day} ({n}).",
            "{reporter} has written from {old} so far, and from {new} since {day} ({n}).",
            n,
        ).format(
            reporter=name, old=join_names(old), new=safe(new), day=short_day(since), n=n_reports(n)
        )
        action = _(
            "Mail admin: find out whether {new} is the same reporter, for anybody may use its "
            'name. If it is, say so in dmarckit.toml, section [reporters]: "{reporter}" = '
            "[{domains}]. If it is not, name only the domains there that are its own."
        ).format(new=safe(new), reporter=name, domains=domains)
        tests = reporter_tests(facts.reports, set(sent["reporter"])).values()
        query = queries.sent_by(tests, sent["sent_by"].unique(), facts.start, context.now)
        domain = str(sent["domain"].iloc[0]) if sent["domain"].nunique() == 1 else ""
        last = sent["begin"].max().date()
        yield spelt, _Oddity(domain, summary, action, n, query, since, last, "warning")


FAMILY = Family(
    (
        Kind(
            "reporter_odd",
            later("Inconsistent reports from {subject}"),
            ("warning", "info"),
            {"domains": later("Domains")},
        ),
    ),
    of_all=(reporter_odd,),
)
