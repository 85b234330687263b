"""Small frames (from `domain_summary`) → the tables of a domain's page, every value escaped."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.core import words
from dmarckit.core.language import _, ngettext
from dmarckit.facts.sender_words import kind_word
from dmarckit.findings.requirements import meaning
from dmarckit.pages.markup import Column, Html, table
from dmarckit.pages.page_links import PageLinks
from dmarckit.pages.sections.tables import sender_closer
from dmarckit.pages.table_words import class_words

SHOWN = 60
"""rows of a table; the rest is only counted"""


def checks(frame: pd.DataFrame) -> Html:
    """SPF × DKIM. Takes `domain_summary.checks`."""
    total = int(frame[["spf_passes", "spf_fails"]].to_numpy().sum())
    if not total:
        return table(
            frame.iloc[:0], [], caption="", empty=_("There were no messages on these days.")
        )
    columns = [
        Column("check", ""),
        Column(
            "spf_passes", _("SPF passes"), "count", lambda r: words.percent(r.spf_passes / total)
        ),
        Column("spf_fails", _("SPF fails"), "count", lambda r: words.percent(r.spf_fails / total)),
    ]
    caption = _("Messages by DKIM and SPF, each for the author's domain")
    frame = frame.assign(check=frame["check"].map(_))
    return table(frame, columns, caption=caption, empty="")


def senders(frame: pd.DataFrame, domain: str = "", links: PageLinks | None = None) -> Html:
    """Takes `domain_summary.senders`; with `links` each sender of `domain` leads to its page."""
    frame = frame.assign(
        classes_text=[class_words(found) for found in frame["classes"]],
        done=[_done(row) for row in frame.itertuples(index=False)],
    )
    columns = [
        Column(
            "sender",
            _("Sender"),
            under=lambda r: _kind(r.sender_kind, r.in_inventory),
            closer=sender_closer(links, domain),
        ),
        Column("messages", _("Messages"), "volume", lambda r: words.change(r.messages, r.before)),
        Column("dkim_share", "DKIM", "share"),
        Column("spf_share", "SPF", "share"),
        Column("classes_text", _("What it is")),
        Column("done", _("Receivers")),
        Column("first_seen", _("First seen"), "day"),
        Column("last_seen", _("Last seen"), "day"),
        Column("countries", _("Countries")),
    ]
    empty = _("Nobody sent as this domain on these days.")
    return _cut(frame, columns, _("Senders, the largest first"), empty)


def selectors(frame: pd.DataFrame) -> Html:
    """Takes `domain_summary.selectors`."""
    frame = frame.assign(
        counts_text=[_("yes") if aligned else _("no") for aligned in frame["aligned"]]
    )
    columns = [
        Column("dkim_domain", _("Domain (d=)")),
        Column("selector", _("Selector (s=)")),
        Column("messages", _("Messages"), "volume"),
        Column("pass_share", _("Verify"), "share"),
        Column("counts_text", _("Counts for DMARC")),
        Column("sender", _("Signed by"), under=_others),
    ]
    empty = _("No message carries a DKIM signature.")
    return _cut(frame, columns, _("DKIM signatures, the most used first"), empty)


def forwarders(frame: pd.DataFrame) -> Html:
    """Takes `domain_summary.forwarders`."""
    columns = [
        Column("sender", _("Forwarder"), under=lambda r: kind_word(r.sender_kind)),
        Column("messages", _("Messages"), "volume"),
        Column("survived", _("Signature survived"), "count"),
        Column("modified", _("Changed on the way"), "count"),
        Column("blocked", _("Blocked"), "count"),
        Column("reporters", _("Reporters"), "count"),
    ]
    empty = _("No message was forwarded on these days.")
    return _cut(frame, columns, _("Forwarders, the largest first"), empty)


def requirements(frame: pd.DataFrame, domain: str = "", links: PageLinks | None = None) -> Html:
    """Codes of Gmail's sender requirements, decoded. Takes `domain_summary.requirements`."""
    frame = frame.assign(
        means=[_(meaning(str(code)).means) for code in frame["code"]],
        whose=[_("yes") if mine else _("no") for mine in frame["in_inventory"]],
    )
    columns = [
        Column("sender", _("Sender"), closer=sender_closer(links, domain)),
        Column("code", _("Code")),
        Column("means", _("What is missing")),
        Column("messages", _("Messages"), "volume"),
        Column("refused", _("Refused"), "count"),
        Column("whose", _("A sender of yours")),
        Column("reporters", _("Reporters"), "count"),
        Column("last_day", _("Last seen"), "day"),
    ]
    empty = _("No receiver says that a requirement is missed.")
    return _cut(frame, columns, _("Requirements that receivers miss, by sender"), empty)


def policies(frame: pd.DataFrame) -> Html:
    """Takes `domain_summary.policy_history`."""
    frame = frame.assign(rest=[_tags(row) for row in frame.itertuples(index=False)])
    columns = [
        Column("p", _("Policy (p)"), "policy"),
        Column("sp", _("Subdomains (sp)"), "policy"),
        Column("rest", _("Other tags")),
        Column("first", _("First quoted"), "day"),
        Column("last", _("Last quoted"), "day"),
        Column("reports", _("Reports"), "count"),
        Column("reporters", _("Reporters"), "count"),
    ]
    empty = _("No reporter has quoted a policy.")
    return _cut(frame, columns, _("Policies as reporters quoted them, the newest first"), empty)


def _cut(frame: pd.DataFrame, columns: list[Column], caption: str, empty: str) -> Html:
    shown = table(frame.head(SHOWN), columns, caption=caption, empty=empty)
    more = len(frame) - SHOWN
    if more <= 0:
        return shown
    return Html(f'{shown.markup}<p class="dk-note">{words.more_rows(more)}</p>')


def _kind(kind: str, in_inventory: bool) -> str:
    if in_inventory:
        return kind_word(kind)
    return _("{kind}, not known as a sender of yours").format(kind=kind_word(kind))


def _done(row: Any) -> str:
    if not row.blocked:
        return _("delivered all")
    if row.blocked >= row.messages:
        return _("blocked all")
    return _("blocked {n}").format(n=words.count(row.blocked))


def _others(row: Any) -> str:
    more = row.senders - 1
    return ngettext("and {n} other", "and {n} others", more).format(n=more) if more > 0 else ""


def _tags(row: Any) -> str:
    tags = {"np": row.np if row.np != row.sp else "", "t": "y" if row.testing == "y" else ""}
    tags["pct"] = str(row.pct) if row.pct < 100 else ""
    tags |= {"adkim": "s" if row.adkim == "s" else "", "aspf": "s" if row.aspf == "s" else ""}
    return "; ".join(f"{name}={value}" for name, value in tags.items() if value)
