"""Who sends as a domain: senders, signatures, forwarders, and what Gmail says they miss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from dmarckit.core import _, ngettext, text
from dmarckit.facts import countries, in_window, kind_word
from dmarckit.findings import BLOCKED, requirement_meaning
from dmarckit.pages.charts import class_word, counted
from dmarckit.pages.html import Column
from dmarckit.pages.links import row_target
from dmarckit.pages.sections import base
from dmarckit.pages.sections.base import PageData, Section, ordered, table_section, usual


class DomainSections(PageData):
    """Who sends as the page's domain, or as any of its domains."""

    def senders(self) -> Section:
        """Show who delivered the mail of the window, most messages first.

        `.data`: one row a sender: `sender`, `sender_kind`, `in_inventory`, `messages`,
        `before` (messages in the window before), `dkim_share`, `spf_share` [0-1] (of
        messages for which it passes for the author's domain), `classes` (dict class →
        messages, most first), `blocked` (messages quarantined or rejected), `first_seen`,
        `last_seen` (days, UTC, within the history of the facts), `countries` (most first).
        """
        mine = self._mine(self.facts.messages)
        rows, before = in_window(mine, self.window), in_window(mine, self.window.before)
        amount = rows["messages"]
        rows = rows.assign(
            dkim=amount.where(rows["da"], 0),
            spf=amount.where(rows["sa"], 0),
            blocked=amount.where(rows["disposition"].isin(BLOCKED), 0),
        )
        groups = rows.groupby("sender", observed=True)
        frame = groups[["messages", "dkim", "spf", "blocked"]].sum()
        ever = mine.groupby("sender", observed=True)["day"]
        frame = frame.assign(
            before=before.groupby("sender", observed=True)["messages"].sum(),
            sender_kind=groups["sender_kind"].first().astype("str"),
            in_inventory=groups["in_inventory"].max(),
            dkim_share=frame["dkim"] / frame["messages"],
            spf_share=frame["spf"] / frame["messages"],
            first_seen=ever.min(),
            last_seen=ever.max(),
        )
        frame.index = frame.index.astype("str")
        frame = frame.assign(
            classes=_classes(rows), countries=_countries(self._mine(self.facts.sources))
        )
        columns = ["sender", "sender_kind", "in_inventory", "messages", "before", "dkim_share"]
        columns += ["spf_share", "classes", "blocked", "first_seen", "last_seen", "countries"]
        counts = ["messages", "before", "blocked"]
        frame = base.whole(frame.rename_axis("sender").reset_index(), *counts)[columns]
        frame = ordered(frame, "-messages", "sender")
        return table_section(
            frame,
            Column("sender", _("Sender"), under=_kind, link=self._sender_link()),
            Column(
                "messages", _("Messages"), "volume", lambda r: text.change(r.messages, r.before)
            ),
            *usual("dkim_share", "spf_share"),
            Column("classes", _("Type"), text=lambda r: counted(r.classes, 4, class_word)),
            Column("blocked", _("Receivers"), text=_receivers),
            Column("first_seen", _("First seen"), "day"),
            Column("last_seen", _("Last seen"), "day"),
            Column("network", _("Network"), under="countries"),
            caption=_("Senders, the largest first"),
            empty=_("Nobody sent as this domain in this period."),
            shown=self._with_network(frame, "sender"),
        )

    def selectors(self) -> Section:
        """Show the DKIM signatures, the most used first.

        `.data`: one row a signature: `dkim_domain` (d=), `selector` (s=), `aligned` (counts
        for the author's domain), `messages` that carry it, `pass_share` [0-1], `senders`
        (number), `sender` (with the most messages).
        """
        rows = in_window(self._mine(self.facts.signatures), self.window)
        rows = rows.astype({"dkim_domain": "str", "selector": "str", "sender": "str"})
        rows = rows.assign(passing=rows["messages"].where(rows["passed"], 0))
        keys = ["dkim_domain", "selector"]
        frame = rows.groupby(keys).agg(
            aligned=("aligned", "max"),
            senders=("sender", "nunique"),
            **base.sums("messages", "passing"),
        )
        share, most = frame["passing"] / frame["messages"], base.largest(rows, keys, "sender")
        frame = frame.assign(pass_share=share, sender=most)
        columns = [*keys, "aligned", "messages", "pass_share", "senders", "sender"]
        frame = base.whole(frame.reset_index(), "messages")[columns]

        def others(row: Any) -> str:
            text = ngettext("and {n} other", "and {n} others", row.senders - 1)
            return text.format(n=row.senders - 1) if row.senders > 1 else ""

        return table_section(
            ordered(frame, "-messages", "dkim_domain"),
            Column("dkim_domain", _("Domain (d=)")),
            Column("selector", _("Selector (s=)")),
            *usual("messages"),
            Column("pass_share", _("Verified"), "share"),
            Column("aligned", _("Aligned"), text=lambda row: _yes_or_no(row.aligned)),
            Column("sender", _("Signed by"), under=others),
            caption=_("DKIM signatures, the most used first"),
            empty=_("No message carries a DKIM signature."),
        )

    def forwarders(self) -> Section:
        """Show who passed on what others sent, the largest first.

        `.data`: one row a sender of the classes forwarded and modified: `sender`,
        `sender_kind`, `messages`, `survived` (messages whose signature still passes),
        `broken` (all others), `blocked` (messages), `reporters` (number).
        """
        rows = in_window(self._mine(self.facts.messages), self.window)
        rows = rows[rows["class"].isin(["forwarded", "modified"])]
        amount = rows["messages"]
        rows = rows.assign(
            sender=rows["sender"].astype("str"),
            sender_kind=rows["sender_kind"].astype("str"),
            survived=amount.where(rows["da"], 0),
            blocked=amount.where(rows["disposition"].isin(BLOCKED), 0),
        )
        counts = ["messages", "survived", "blocked"]
        kind, seen = ("sender_kind", "first"), ("reporter", "nunique")
        groups = rows.groupby("sender")
        frame = groups.agg(sender_kind=kind, **base.sums(*counts), reporters=seen)
        frame = base.whole(frame.reset_index(), *counts)
        frame.insert(4, "broken", frame["messages"] - frame["survived"])
        frame = ordered(frame, "-messages", "sender")
        return table_section(
            frame,
            Column("sender", _("Forwarder"), under=lambda r: kind_word(r.sender_kind)),
            *usual("messages"),
            Column("survived", _("Signature survived"), "count"),
            Column("broken", _("Signature broken or none"), "count"),
            *usual("blocked", "reporters"),
            Column("network", _("Network"), under="country"),
            caption=_("Forwarders, the largest first"),
            empty=_("No message was forwarded in this period."),
            shown=self._with_network(frame, "sender"),
        )

    def gmail_requirements(self) -> Section:
        """Show what receivers say a sender misses: codes in the comments of reports, decoded.

        `.data`: one row an enhanced code (such as ``5.7.30``) and sender, most messages
        first: `code`, `sender`, `in_inventory`, `messages`, `refused` (messages with SMTP
        reply 5xx, the others were delayed), `reporters` (number), `first_day`, `last_day` (UTC).
        """
        rows = in_window(self._mine(self.facts.requirements), self.window)
        rows = rows.astype({"code": "str", "sender": "str", "smtp": "str"})
        rows = rows.assign(refused=rows["messages"].where(rows["smtp"].str.startswith("5"), 0))
        frame = rows.groupby(["code", "sender"], as_index=False).agg(
            **base.sums("messages", "refused"), **base.SEEN
        )
        mine = self._mine(self.facts.inventory)["sender"].astype("str")
        frame.insert(2, "in_inventory", frame["sender"].isin(set(mine)))
        return table_section(
            ordered(base.whole(frame, "messages", "refused"), "-messages", "code"),
            Column("sender", _("Sender"), link=self._sender_link()),
            Column("code", _("Code")),
            Column(
                "means", _("What is missing"), text=lambda r: _(requirement_meaning(r.code).means)
            ),
            *usual("messages"),
            Column("refused", _("Rejected"), "count"),
            Column("whose", _("A sender of yours"), text=lambda r: _yes_or_no(r.in_inventory)),
            *usual("reporters"),
            Column("last_day", _("Last seen"), "day"),
            caption=_("Requirements that receivers miss, by sender"),
            empty=_("No receiver says that a requirement is missed."),
        )

    def _sender_link(self) -> Callable[[Any], str] | None:
        link = row_target("sender", "sender", domain=self.domain)
        return link if self.domain else None  # a sender's page is about one domain


def _classes(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return, indexed by sender, a dict of classes with their messages, most first."""
    rows = rows.astype({"sender": "str", "class": "str"})
    sums: Any = rows.groupby(["sender", "class"])["messages"].sum().round().astype("int64")
    found: dict[str, dict[str, int]] = {}
    for (name, value), number in sums[sums > 0].sort_values(ascending=False, kind="stable").items():
        found.setdefault(name, {})[value] = int(number)
    return pd.Series(found, dtype=object)


def _countries(sources: pd.DataFrame) -> pd.Series[Any]:
    """Return, indexed by sender, the countries of its addresses, most messages first."""
    rows = sources.astype({"sender": "str", "source_ip": "str"}).reset_index(drop=True)
    rows = rows.assign(country=countries(rows["source_ip"])).dropna(subset="country")
    sums = rows.groupby(["sender", "country"])["messages"].sum().sort_values(ascending=False)
    codes = sums.reset_index().groupby("sender")["country"]
    return codes.agg(lambda names: ", ".join(names.head(4)))


def _kind(row: Any) -> str:
    text = "{kind}" if row.in_inventory else _("{kind}, not a known sender of yours")
    return text.format(kind=kind_word(row.sender_kind))


def _receivers(row: Any) -> str:
    if not row.blocked:
        return _("all delivered")
    if row.blocked >= row.messages:
        return _("all blocked")
    return _("{n} blocked").format(n=text.count(row.blocked))


def _yes_or_no(value: bool) -> str:
    return _("yes") if value else _("no")
