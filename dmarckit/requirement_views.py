"""Three independent looks at a sender requirement: reports, Postmaster Tools, DNS.

Each says ``met``, ``not met``, or ``unknown`` with the reason; none says more than it can
know. A DNS record that is fine does not prove that mail passes, and today's DNS proves
nothing about yesterday's mail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from dmarckit.language import _, ngettext
from dmarckit.rates import rate_text
from dmarckit.words import count, percent

Verdict = Literal["met", "not met", "unknown"]

ENOUGH = 50
"""own messages at a provider below which their share says nothing"""
NOISE = 0.02
"""share of own messages that may fail before a rule counts as broken: relays and single
faults of receivers make up as much on domains in good order"""
SHORT_KEY, MOST_LOOKUPS = 1024, 10
UNUSED = "missing_unused"
"""the fault of an SPF record that is missing where no mail passes"""
TARGET, MITIGATION = 0.001, 0.003
"""Google's spam rate to stay below, and the one never to reach"""
CODES = {
    "7.23": "ptr", "7.25": "ptr", "7.26": "alignment", "7.27": "spf", "7.29": "tls",
    "7.30": "dkim", "7.31": "dmarc_record", "7.32": "alignment", "7.40": "dmarc_record",
}  # fmt: skip
"""Gmail's enhanced status code (without its class) → rule. 7.26: neither SPF nor DKIM passes."""
COMPLIANCE = {
    "spf": "SPF",
    "dkim": "DKIM",
    "dmarc_record": "DMARC_POLICY",
    "alignment": "DMARC_ALIGNMENT",
    "spam_rate": "USER_REPORTED_SPAM_RATE",
    "ptr": "DNS_RECORDS",
    "tls": "ENCRYPTION",
    "one_click_unsubscribe": "ONE_CLICK_UNSUBSCRIBE",
    "honour_unsubscribe": "HONOR_UNSUBSCRIBE",
    "message_format": "MESSAGE_FORMATTING",
}
"""Rule → requirement of Postmaster Tools' compliance status (API v2)."""


@dataclass(frozen=True)
class View:
    """What one source says about one rule."""

    verdict: Verdict
    why: str


def from_reports(rule: str, seen: Mapping[str, Any] | None) -> View | None:
    """What a provider's reports say; `seen` is a row of `requirement_facts.seen`.

    None when the provider sent no report about the domain, or reports cannot tell.
    """
    if seen is None:
        return None
    refused = seen["codes"].get(rule, 0)
    if refused:
        return View(
            "not met",
            _("{n} messages of own senders were marked with its code").format(n=count(refused)),
        )
    if rule == "dmarc_record":
        return View("met", _("its reports quote the record"))
    if rule not in ("spf", "dkim", "alignment"):
        return None
    own = seen["own"]
    if own < ENOUGH:
        return View(
            "unknown",
            _("only {n} messages of own senders; {least} are needed").format(
                n=count(own), least=ENOUGH
            ),
        )
    least, most = seen[rule]
    if least / own >= 1 - NOISE:
        return View(
            "met", _("{share} of {n} own messages").format(share=percent(least / own), n=count(own))
        )
    if most / own < 1 - NOISE:
        return View(
            "not met",
            _("only {share} of {n} own messages").format(share=percent(most / own), n=count(own)),
        )
    return View(
        "unknown",
        _("between {least} and {most} of {n} own messages").format(
            least=percent(least / own), most=percent(most / own), n=count(own)
        ),
    )


def from_postmaster(rule: str, rows: pd.DataFrame) -> View | None:
    """What Postmaster Tools says of a domain; `rows` as `postmaster.latest` gives them.

    None when the domain is not connected, or Postmaster Tools has nothing about the rule.
    """
    if rows.empty or rule not in COMPLIANCE:
        return None
    if rule == "spam_rate" and (view := _spam_rate(rows)):
        return view
    states = rows[(rows["metric"] == "compliance") & (rows["detail"] == COMPLIANCE[rule])]
    if states.empty:
        return None
    newest = states.sort_values("day").iloc[-1]
    day = f"{newest['day']:%Y-%m-%d}"
    if newest["text"] == "COMPLIANT":
        return View("met", _("compliant on {day}").format(day=day))
    if newest["text"] == "NEEDS_WORK":
        return View("not met", _("needs work, as of {day}").format(day=day))
    return View("unknown", _("no verdict on {day}").format(day=day))


def _spam_rate(rows: pd.DataFrame) -> View | None:
    """The highest of the last 7 days with data: 0.30 % must never be reached."""
    rates = rows[(rows["metric"] == "spam_rate") & rows["share"].notna()].sort_values("day")
    if rates.empty:
        return None
    recent = rates[rates["day"] > rates["day"].max() - pd.Timedelta(days=7)]
    worst = recent.loc[recent["share"].idxmax()]
    said = _("at most {rate} on the last {n} days with data").format(
        rate=rate_text(float(worst["share"])), n=len(recent)
    )
    if worst["share"] >= MITIGATION:
        return View("not met", said)
    if (recent["share"] >= TARGET).sum() >= 2:
        return View("not met", said)
    return View("met", said)


def from_dns(rule: str, rows: pd.DataFrame) -> View | None:
    """What DNS shows today; `rows` as `dns.snapshot` gives them for a domain.

    None when DNS was not asked, or cannot tell.
    """
    record = {
        "spf": "spf",
        "spf_lookups": "spf",
        "dmarc_record": "dmarc",
        "dkim": "dkim",
        "dkim_key": "dkim",
        "ptr": "ptr",
    }.get(rule)
    found = rows[rows["record"] == record] if record else rows.iloc[:0]
    if found.empty:
        return None
    if (found["state"] == "unknown").all():
        return View("unknown", _("DNS did not answer"))
    known = found[found["state"] != "unknown"]
    check = {"dkim_key": _keys, "spf_lookups": _lookups, "dkim": _signing}.get(rule, _published)
    return check(known, rule)


def _published(rows: pd.DataFrame, rule: str) -> View:
    bad = rows[rows["state"].isin(["missing", "invalid"])]
    if rule == "spf":
        return _spf(rows, bad)
    if len(bad):
        return View("not met", _first_problem(bad))
    if rule == "ptr":
        return View("met", _("own addresses with a name: {n}").format(n=count(len(rows))))
    if any(_elsewhere_none(text) for text in rows["values"]):
        return View("unknown", _first_problem(rows))
    return View("met", _("published"))


def _spf(rows: pd.DataFrame, bad: pd.DataFrame) -> View:
    """A record that is an error is one for all; one that is missing may not be needed."""
    if (bad["state"] == "invalid").any():
        return View("not met", _first_problem(bad[bad["state"] == "invalid"]))
    needed = bad[[UNUSED not in _faults(text) for text in bad["values"]]]
    if len(needed) and len(needed) == len(rows):
        return View("not met", _first_problem(needed))
    if len(bad):  # the return paths may all be below other names
        return View("unknown", _first_problem(bad))
    return View("unknown", _("the record is fine; whether mail passes, reports tell"))


def _elsewhere_none(text: object) -> bool:
    """Of the two ways in which receivers look for the DMARC record, one finds none."""
    applies = _read(text).get("applies")
    if not isinstance(applies, dict) or not all(isinstance(a, dict) for a in applies.values()):
        return False
    return any(found.get("location") is None for found in applies.values())


def _signing(rows: pd.DataFrame, rule: str) -> View:
    bad = rows[rows["state"].isin(["missing", "invalid"])]
    if len(bad) == len(rows):
        return View("not met", _first_problem(bad))
    return View("unknown", _("keys are published; whether mail passes, reports tell"))


def _keys(rows: pd.DataFrame, rule: str) -> View:
    named = zip(rows["name"], rows["values"], strict=True)
    sizes = {str(name): size for name, text in named if (size := _whole(text, "bits"))}
    short = {name: size for name, size in sizes.items() if size < SHORT_KEY}
    if not sizes:
        return View("unknown", _("no RSA key was found"))
    if short:
        name, size = min(short.items(), key=lambda item: item[1])
        return View("not met", _("{name} has {bits} bits").format(name=name, bits=size))
    return View("met", _("the shortest has {bits} bits").format(bits=min(sizes.values())))


def _lookups(rows: pd.DataFrame, rule: str) -> View:
    named = zip(rows["name"], rows["values"], strict=True)
    counted = {str(name): n for name, text in named if (n := _whole(text, "lookups")) is not None}
    if not counted:
        return View("unknown", _first_problem(rows))
    name, most = max(counted.items(), key=lambda item: item[1])
    said = ngettext("{name} needs {n} lookup", "{name} needs {n} lookups", most)
    verdict: Verdict = "not met" if most > MOST_LOOKUPS else "met"
    return View(verdict, said.format(name=name, n=count(most)))


def _read(text: object) -> dict[str, Any]:
    """The `values` of a row."""
    try:
        read = json.loads(str(text))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _whole(text: object, name: str) -> int | None:
    value = _read(text).get(name)
    return value if isinstance(value, int) else None


def _faults(text: object) -> list[object]:
    faults = _read(text).get("faults")
    return faults if isinstance(faults, list) else []


def _first_problem(rows: pd.DataFrame) -> str:
    problems = [str(text) for listed in rows["problems"] for text in listed]
    return problems[0] if problems else _("no record")
