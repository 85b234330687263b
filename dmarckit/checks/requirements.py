"""The sender requirements of the large mailbox providers: rule × domain, from three views.

The views are reports, Postmaster Tools and DNS. A DNS record that is fine does not prove that
mail passes, and today's DNS proves nothing about yesterday's mail.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, cast

import pandas as pd

from dmarckit.checks.dns import Outside
from dmarckit.checks.record import DnsRow, problem_texts
from dmarckit.checks.rules import BULK_LINE, RULES, VERDICTS, provider_of, view_word
from dmarckit.core import _, count, ngettext, normalize_domain, percent, rate_text, short_day
from dmarckit.facts import Facts, organisation

DAYS = 30
"""days that are looked at: a month has every kind of campaign"""
ENOUGH = 50
"""own messages at a provider below which their share says nothing"""
NOISE = 0.02
"""share of own messages that may fail before a rule counts as broken: relays and single
faults of receivers make up as much on domains in good order"""
SHORT_KEY, MOST_LOOKUPS = 1024, 10
TARGET, MITIGATION = 0.001, 0.003
"""Google's spam rate to stay below, and the one never to reach"""
CODES = {
    "6.0": "message_format", "7.1": "message_format", "7.23": "ptr", "7.24": "spf", "7.25": "ptr",
    "7.26": "authentication", "7.27": "spf", "7.29": "tls", "7.30": "dkim", "7.31": "dmarc_record",
    "7.32": "alignment", "7.40": "dmarc_record",
}  # fmt: skip
"""Gmail's enhanced status code (without its class) → rule. 7.26: neither SPF nor DKIM passes."""
COMPLIANCE = {
    "spf": "SPF", "dkim": "DKIM", "dmarc_record": "DMARC_POLICY", "alignment": "DMARC_ALIGNMENT",
    "spam_rate": "USER_REPORTED_SPAM_RATE", "ptr": "DNS_RECORDS", "tls": "ENCRYPTION",
    "one_click_unsubscribe": "ONE_CLICK_UNSUBSCRIBE", "honour_unsubscribe": "HONOR_UNSUBSCRIBE",
    "message_format": "MESSAGE_FORMATTING",
}  # fmt: skip
"""Rule → requirement of Postmaster Tools' compliance status (API v2)."""

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
    reports = facts.reports.loc[facts.reports["end"] >= since, ["domain", "provider"]]
    for domain, reporter in reports.drop_duplicates().itertuples(index=False):
        if provider := provider_of(str(reporter)):
            found[str(domain), provider] = _nothing()
    messages = _of_providers(facts.messages, since)
    daily = messages.groupby([*_KEY, "day"], observed=True)["messages"].sum()
    for key, most in _sums(daily.groupby(level=_KEY, observed=True).max()):
        found[key]["busiest"] = most
    own = messages[messages["in_inventory"] & (messages["class"].astype("str") != "forwarded")]
    aligned = own["messages"].where(own["da"] | own["sa"], 0)
    parts = own.assign(aligned=aligned, signed=own["messages"].where(own["da"], 0))
    sums = parts.groupby(_KEY, observed=True)[["messages", "aligned", "signed"]].sum()
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
    names = frame["provider"].astype("category")
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
    sums = rows.assign(passing=passing).groupby(_KEY, observed=True)[["messages", "passing"]].sum()
    for (domain, provider), reported, passed in sums.itertuples(name=None):
        here = found[str(domain), str(provider)]
        least = min(passed, here["own"])
        # messages whose report gives no SPF result at all may have passed
        silent = max(here["own"] - reported, 0.0)
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
        # what is aligned passes, and so does what the strongest signature of a day covers
        least = min(max(here["dkim"][0], at_least.get(key, 0.0)), here["own"])
        here["dkim"] = (least, max(least, min(at_most.get(key, 0.0), here["own"])))


def _codes(found: ProviderCounts, facts: Facts, since: pd.Timestamp) -> None:
    rows = _of_providers(facts.requirements, since)
    known = facts.messages[~facts.messages["sender_kind"].isin(["unknown", "hosting"])]
    services = set(known["sender"].astype("str").unique())
    rows = rows[_in_inventory(rows, facts) | rows["sender"].astype("str").isin(services)]
    codes = rows["code"].astype("str").str.partition(".")[2] if len(rows) else rows["code"]
    known_rules = rows.assign(rule=codes.map(CODES))
    sums = known_rules.groupby([*_KEY, "rule"], observed=True)[["messages"]].sum()
    for (domain, provider, rule), n in sums.itertuples(name=None):
        found[str(domain), str(provider)]["codes"][str(rule)] = float(n)


@dataclass(frozen=True)
class View:
    """What one source says about one rule."""

    verdict: Literal["met", "not met", "unknown"]
    why: str


def from_reports(rule: str, seen: Mapping[str, Any] | None) -> View | None:
    """Return what a provider's reports say; `seen` is a row of `provider_counts`.

    None when the provider sent no report about the domain, or reports cannot tell.
    """
    if seen is None:
        return None
    refused = seen["codes"].get(rule, 0)
    if refused:
        text = _("{n} messages of own senders were marked with its code")
        return View("not met", text.format(n=count(refused)))
    if rule == "dmarc_record":
        return View("met", _("its reports quote the record"))
    if rule not in ("spf", "dkim", "alignment", "authentication"):
        return None
    own, n = seen["own"], count(seen["own"])
    if own < ENOUGH:
        text = _("only {n} messages of own senders; {least} are needed")
        return View("unknown", text.format(n=n, least=ENOUGH))
    bounds = seen.get(rule)
    if rule == "authentication":
        spf, dkim, either = seen["spf"], seen["dkim"], seen["alignment"][0]
        bounds = max(spf[0], dkim[0], either), min(max(spf[1] + dkim[1], either), own)
    least, most = (passed / own for passed in bounds or (0.0, own))
    if least >= 1 - NOISE:
        return View("met", _("{share} of {n} own messages").format(share=percent(least), n=n))
    if most < 1 - NOISE:
        text = _("only {share} of {n} own messages")
        return View("not met", text.format(share=percent(most), n=n))
    text = _("between {least} and {most} of {n} own messages")
    return View("unknown", text.format(least=percent(least), most=percent(most), n=n))


@dataclass(frozen=True)
class PostmasterStates:
    """What Postmaster Tools says of a domain."""

    states: Mapping[str, tuple[str, pd.Timestamp]]
    """requirement → its newest state, and the day that Google was asked"""
    rates: tuple[float, ...]
    """spam rates of the last 7 days with data"""


def postmaster_states(metrics: pd.DataFrame) -> dict[str, PostmasterStates]:
    """Return what of `latest_metrics` the rules need, by domain."""
    states = metrics[metrics["metric"] == "compliance"].sort_values("day", kind="stable")
    states = states.drop_duplicates(["domain", "detail"], keep="last")
    rates = metrics[(metrics["metric"] == "spam_rate") & metrics["share"].notna()]
    newest = rates.groupby("domain")["day"].transform("max")
    rates = rates[rates["day"] > newest - pd.Timedelta(days=7)] if len(rates) else rates
    found = {str(name): PostmasterStates({}, ()) for name in metrics["domain"].unique()}
    for domain, part in states.groupby("domain"):
        days = zip(part["text"], part["day"], strict=True)
        found[str(domain)] = PostmasterStates(dict(zip(part["detail"], days, strict=True)), ())
    for domain, shares in rates.groupby("domain")["share"]:
        found[str(domain)] = replace(found[str(domain)], rates=tuple(shares))
    return found


def from_postmaster(rule: str, said: PostmasterStates | None) -> View | None:
    """Return what Postmaster Tools says of a domain.

    None when the domain is not connected, or Postmaster Tools has nothing about the rule.
    """
    if said is None or rule not in COMPLIANCE:
        return None
    if rule == "spam_rate" and said.rates:
        highest = max(said.rates)  # 0.30 % must never be reached
        why = _("at most {rate} on the last {n} days with data")
        why = why.format(rate=rate_text(highest), n=len(said.rates))
        broken = highest >= MITIGATION or sum(rate >= TARGET for rate in said.rates) >= 2
        return View("not met" if broken else "met", why)
    if COMPLIANCE[rule] not in said.states:
        return None
    state, asked = said.states[COMPLIANCE[rule]]
    day = short_day(asked)
    if state == "COMPLIANT":
        return View("met", _("compliant on {day}").format(day=day))
    if state == "NEEDS_WORK":
        return View("not met", _("needs work, as of {day}").format(day=day))
    return View("unknown", _("no verdict on {day}").format(day=day))


def dns_entries(rows: pd.DataFrame) -> dict[str, list[DnsRow]]:
    """Return what of `dns_snapshot` the rules need, by domain."""
    found: dict[str, list[DnsRow]] = {}
    records = {record for record, _check in _CHECKS.values()}
    for row in rows[rows["record"].isin(records)].to_dict("records"):
        try:
            read = json.loads(str(row["values"]))
        except ValueError:
            read = None
        values = read if isinstance(read, dict) else {}
        # no rule looks at the text of the record
        known = (
            row["record"],
            row["name"],
            row["state"],
            (),
            problem_texts(row["problems"], values),
            None,
            values,
        )
        found.setdefault(str(row["domain"]), []).append(DnsRow(*known))
    return found


def from_dns(rule: str, entries: Sequence[DnsRow]) -> View | None:
    """Return what DNS shows of a domain today.

    None when DNS was not asked, or cannot tell.
    """
    record, check = _CHECKS.get(rule, ("", _published))
    found = [entry for entry in entries if entry.record == record]
    if not found:
        return None
    known = [entry for entry in found if entry.state != "unknown"]
    return check(known) if known else View("unknown", _("DNS did not answer"))


def _bad(entries: Sequence[DnsRow], *states: str) -> list[DnsRow]:
    return [entry for entry in entries if entry.state in (states or ("missing", "invalid"))]


def _published(entries: Sequence[DnsRow]) -> View:
    if bad := _bad(entries):
        return View("not met", _problem(bad))
    for entry in entries:
        applies = entry.values.get("applies")
        found = list(applies.values()) if isinstance(applies, dict) else []
        # one of the two ways to look for the DMARC record finds none
        if all(isinstance(a, dict) for a in found) and None in [a.get("location") for a in found]:
            return View("unknown", _problem(entries))
    if entries[0].record == "ptr":
        return View("met", _("own addresses with a name: {n}").format(n=count(len(entries))))
    return View("met", _("published"))


def _judge_spf(entries: Sequence[DnsRow]) -> View:
    """Judge SPF: an error is one for all; a missing record may not be needed."""
    missing = _bad(entries, "missing")
    needed = [e for e in missing if "missing_unused" not in e.values.get("faults", ())]
    broken = _bad(entries, "invalid") or (needed if len(needed) == len(entries) else [])
    if broken:
        return View("not met", _problem(broken))
    if missing:  # the return paths may all be below other names
        return View("unknown", _problem(missing))
    return View("unknown", _("the record is fine; whether mail passes, reports tell"))


def _signing(entries: Sequence[DnsRow]) -> View:
    bad = _bad(entries)
    if len(bad) == len(entries):
        return View("not met", _problem(bad))
    return View("unknown", _("keys are published; whether mail passes, reports tell"))


def _keys(entries: Sequence[DnsRow]) -> View:
    sizes = _numbers(entries, "bits")
    if not sizes:
        return View("unknown", _("no RSA key was found"))
    name, bits = min(sizes.items(), key=lambda item: item[1])
    if bits < SHORT_KEY:
        return View("not met", _("{name} has {bits} bits").format(name=name, bits=bits))
    return View("met", _("the shortest has {bits} bits").format(bits=bits))


def _lookups(entries: Sequence[DnsRow]) -> View:
    counted = _numbers(entries, "lookups")
    if not counted:
        return View("unknown", _problem(entries))
    name, most = max(counted.items(), key=lambda item: item[1])
    said = ngettext("{name} needs {n} lookup", "{name} needs {n} lookups", most)
    said = said.format(name=name, n=count(most))
    return View("not met" if most > MOST_LOOKUPS else "met", said)


def _numbers(entries: Sequence[DnsRow], name: str) -> dict[str, int]:
    values = {entry.name: entry.values.get(name) for entry in entries}
    return {at: value for at, value in values.items() if isinstance(value, int)}


_CHECKS: Mapping[str, tuple[str, Callable[[Sequence[DnsRow]], View]]] = {
    "spf": ("spf", _judge_spf),
    "spf_lookups": ("spf", _lookups),
    "dmarc_record": ("dmarc", _published),
    "dkim": ("dkim", _signing),
    "dkim_key": ("dkim", _keys),
    "ptr": ("ptr", _published),
}
"""Rule → record of the table `dns`, and what it says about the rule."""


def _problem(entries: Sequence[DnsRow]) -> str:
    problems = [text for entry in entries for text in entry.problems]
    return str(problems[0]) if problems else _("no record")


COLUMNS = [
    "domain", "provider", "rule", "applies", "bulk", "verdict", "why", "disagree",
    "reports", "reports_why", "postmaster", "postmaster_why", "dns", "dns_why",
]  # fmt: skip
"""Columns of `requirement_matrix`."""


def requirement_matrix(facts: Facts, outside: Outside, domains: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per domain, provider and rule that the provider has.

    domain, provider, rule; applies: ``all``, ``bulk`` (only senders of much mail) or ``advice``
    (for information, see `asked_rules`); bulk: True when one day had more messages than the
    provider's line (`BULK_LINE`), null where there is no line or no report; verdict: met, not
    met or unknown, and why; disagree: two views say opposite things; reports, postmaster, dns:
    the verdict of each view, null when it has none, each with its reason in …_why.
    `domains`: only these; else those that the
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
            listed = from_postmaster(rule, by_google)
            in_dns = from_dns(rule, shown.get(domain, []))
            for provider, applies in providers.items():
                seen, line = reported.get((domain, provider)), BULK_LINE[provider]
                bulk = None if seen is None or line is None else seen["busiest"] >= line
                row = {"domain": domain, "provider": provider, "rule": rule}
                views = {
                    "reports": from_reports(rule, seen),
                    "postmaster": listed if provider == "Google" else None,
                    "dns": in_dns,
                }
                rows.append(row | {"applies": applies, "bulk": bulk} | _judged(views))
    # as objects, so that nothing stays None
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).astype({"disagree": bool})


def asked_rules(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `requirement_matrix` that are asked of the domain.

    Not those for senders of much mail where it sends little, unless Postmaster Tools asks for
    them (who was a bulk sender once stays one at Google), and not what is for information.
    """
    little = (table["applies"] == "bulk") & table["bulk"].map(lambda bulk: bulk is False)
    little &= table["postmaster"] != "not met"
    return table[~little & (table["applies"] != "advice")]


def unmet_rules(table: pd.DataFrame) -> pd.Series[float]:
    """Return how many rules of each domain some provider finds not met; null: nothing is known.

    `table` is that of `requirement_matrix`; the index is the domain.
    """
    asked = asked_rules(table)
    broken = asked[asked["verdict"] == "not met"].groupby("domain")["rule"].nunique()
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
