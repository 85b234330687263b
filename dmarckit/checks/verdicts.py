"""Three independent looks at a sender requirement: reports, Postmaster Tools, DNS.

A DNS record that is fine does not prove that mail passes, and today's DNS proves nothing about
yesterday's mail.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from dmarckit.checks.record import DnsRow
from dmarckit.core import _, count, ngettext, percent, rate_text

Verdict = Literal["met", "not met", "unknown"]

ENOUGH = 50
"""own messages at a provider below which their share says nothing"""
NOISE = 0.02
"""share of own messages that may fail before a rule counts as broken: relays and single
faults of receivers make up as much on domains in good order"""
SHORT_KEY, MOST_LOOKUPS = 1024, 10
TARGET, MITIGATION = 0.001, 0.003
"""Google's spam rate to stay below, and the one never to reach"""
CODES = {
    "7.23": "ptr", "7.25": "ptr", "7.26": "alignment", "7.27": "spf", "7.29": "tls",
    "7.30": "dkim", "7.31": "dmarc_record", "7.32": "alignment", "7.40": "dmarc_record",
}  # fmt: skip
"""Gmail's enhanced status code (without its class) → rule. 7.26: neither SPF nor DKIM passes."""
COMPLIANCE = {
    "spf": "SPF", "dkim": "DKIM", "dmarc_record": "DMARC_POLICY", "alignment": "DMARC_ALIGNMENT",
    "spam_rate": "USER_REPORTED_SPAM_RATE", "ptr": "DNS_RECORDS", "tls": "ENCRYPTION",
    "one_click_unsubscribe": "ONE_CLICK_UNSUBSCRIBE", "honour_unsubscribe": "HONOR_UNSUBSCRIBE",
    "message_format": "MESSAGE_FORMATTING",
}  # fmt: skip
"""Rule → requirement of Postmaster Tools' compliance status (API v2)."""


@dataclass(frozen=True)
class View:
    """What one source says about one rule."""

    verdict: Verdict
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
    if rule not in ("spf", "dkim", "alignment"):
        return None
    own, n = seen["own"], count(seen["own"])
    if own < ENOUGH:
        text = _("only {n} messages of own senders; {least} are needed")
        return View("unknown", text.format(n=n, least=ENOUGH))
    least, most = (passed / own for passed in seen[rule])
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
    day = f"{asked:%Y-%m-%d}"
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
        known = row["record"], row["name"], row["state"], (), tuple(row["problems"]), None, values
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
        return View("not met", _first_problem(bad))
    for entry in entries:
        applies = entry.values.get("applies")
        found = list(applies.values()) if isinstance(applies, dict) else []
        # one of the two ways to look for the DMARC record finds none
        if all(isinstance(a, dict) for a in found) and None in [a.get("location") for a in found]:
            return View("unknown", _first_problem(entries))
    if entries[0].record == "ptr":
        return View("met", _("own addresses with a name: {n}").format(n=count(len(entries))))
    return View("met", _("published"))


def _spf(entries: Sequence[DnsRow]) -> View:
    """Judge SPF: an error is one for all; a missing record may not be needed."""
    missing = _bad(entries, "missing")
    needed = [e for e in missing if "missing_unused" not in e.values.get("faults", ())]
    broken = _bad(entries, "invalid") or (needed if len(needed) == len(entries) else [])
    if broken:
        return View("not met", _first_problem(broken))
    if missing:  # the return paths may all be below other names
        return View("unknown", _first_problem(missing))
    return View("unknown", _("the record is fine; whether mail passes, reports tell"))


def _signing(entries: Sequence[DnsRow]) -> View:
    bad = _bad(entries)
    if len(bad) == len(entries):
        return View("not met", _first_problem(bad))
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
        return View("unknown", _first_problem(entries))
    name, most = max(counted.items(), key=lambda item: item[1])
    said = ngettext("{name} needs {n} lookup", "{name} needs {n} lookups", most)
    said = said.format(name=name, n=count(most))
    return View("not met" if most > MOST_LOOKUPS else "met", said)


def _numbers(entries: Sequence[DnsRow], name: str) -> dict[str, int]:
    values = {entry.name: entry.values.get(name) for entry in entries}
    return {at: value for at, value in values.items() if isinstance(value, int)}


_CHECKS: Mapping[str, tuple[str, Callable[[Sequence[DnsRow]], View]]] = {
    "spf": ("spf", _spf),
    "spf_lookups": ("spf", _lookups),
    "dmarc_record": ("dmarc", _published),
    "dkim": ("dkim", _signing),
    "dkim_key": ("dkim", _keys),
    "ptr": ("ptr", _published),
}
"""Rule → record of the table `dns`, and what it says about the rule."""


def _first_problem(entries: Sequence[DnsRow]) -> str:
    problems = [text for entry in entries for text in entry.problems]
    return str(problems[0]) if problems else _("no record")
