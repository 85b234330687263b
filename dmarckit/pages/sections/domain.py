"""Who sends as a domain: senders, signatures, forwarders, and what Gmail says they miss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd

from dmarckit.core import _, ngettext, text
from dmarckit.facts import countries, in_window, kind_word
from dmarckit.findings import BLOCKED, requirement_meaning
from dmarckit.pages import marks
from dmarckit.pages.charts import CLASSES, GROUPS, OUTCOMES, class_word, counted
from dmarckit.pages.html import Column, render_part
from dmarckit.pages.links import page_target, row_target
from dmarckit.pages.sections import base
from dmarckit.pages.sections.base import PageData, Section, ordered, table_section, usual
from dmarckit.pages.sections.messages import FORGED

FLOWS = 6  # senders that the flow of messages names
SMALL = 0.02  # share of forged mail below which networks are one row
SOURCES = 500  # of forged mail, of which the operator is looked up


class DomainSections(PageData):
    """Who sends as the page's domain, or as any of its domains."""

    def senders(self) -> Section:
        """Show who delivered the mail of the window, and what became of it.

        Senders of yours come first, then those that nobody has decided about, forwarders, and
        all that is forged as one row.

        `.data`: one row a sender, most messages first: `sender`, `sender_kind`,
        `in_inventory`, `messages`, `before` (messages in the window before), `dkim_share`,
        `spf_share` [0-1] (of messages for which it passes for the author's domain), `classes`
        (dict class → messages, most first), `blocked` (messages quarantined or rejected),
        `first_seen`, `last_seen` (days, UTC, within the history of the facts), `countries`
        (most first).
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
            classes=_classes(rows),
            countries=_countries(self._mine(self.facts.sources)),
            domain=base.largest(
                rows.astype({"sender": "str", "domain": "str"}), ["sender"], "domain"
            ),
        )
        columns = ["sender", "sender_kind", "in_inventory", "messages", "before", "dkim_share"]
        columns += ["spf_share", "classes", "blocked", "first_seen", "last_seen", "countries"]
        counts = ["messages", "before", "blocked"]
        frame = base.whole(frame.rename_axis("sender").reset_index(), *counts)
        frame = ordered(frame, "-messages", "sender")
        shown, forged = self._grouped(frame)
        frame = frame[columns]
        rows = rows.assign(sender=rows["sender"].map(lambda name: forged.get(name, name)))
        return table_section(
            frame,
            Column("sender", _("Sender"), under=_kind, link=_sender_page),
            *(() if self.domain else usual("domain")),
            Column(
                "messages", _("Messages"), "volume", lambda r: text.change(r.messages, r.before)
            ),
            *base.marks(shown, rows, self.window, "sender"),
            Column("classes", _("Type"), text=lambda r: counted(r.classes, 4, class_word)),
            *(usual("dkim_share", "spf_share") if self.domain else ()),
            Column("network", _("Network"), under="countries"),
            caption=_("Senders: yours, undecided, forwarders, and all forged mail as one"),
            empty=_("Nobody sent as this domain in this period."),
            shown=self._with_network(shown, "sender"),
            note=base.outcome_key(),
        )

    def _grouped(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
        """Return senders by group, forged ones as one row, and the name of that by theirs."""
        most = frame["classes"].map(lambda classes: next(iter(classes), ""))
        group = most.map({name: of for name, (_label, of) in CLASSES.items()})
        rank = (most == "unidentified") + 2 * (group == "indirect")
        forged = frame[group == "forged"]
        shown = frame.assign(rank=rank)[group != "forged"].sort_values("rank", kind="stable")
        if forged.empty:
            return shown, {}
        name, counts = base.sources_of_forged(len(forged)), ["messages", "before", "blocked"]
        classes: Counter[str] = Counter()
        for found in forged["classes"]:
            classes.update(found)
        one = forged[counts].sum().to_dict() | {"sender": name, "classes": dict(classes)}
        one["last_seen"] = forged["last_seen"].max()
        rows = [*shown.to_dict("records"), one]
        return pd.DataFrame(rows, columns=shown.columns), dict.fromkeys(forged["sender"], name)

    def flow(self) -> Section:
        """Draw the way of messages: who sent them, what they prove, what receivers did.

        `.data`: one row a sender (the largest, others and forged ones as one), check that
        passes, outcome and group of classes: `sender`, `check`, `outcome`, `group`, `messages`.
        """
        rows = in_window(self._mine(self.facts.messages), self.window)
        rows = rows.assign(
            group=rows["class"].astype("str").map({n: g for n, (_label, g) in CLASSES.items()}),
            outcome=rows["disposition"].astype("str").map(base.DONE).fillna("unstated"),
            check=(rows["da"] + 2 * rows["sa"]).map(["none", "dkim", "spf", "both"].__getitem__),
            sender=rows["sender"].astype("str").mask(rows["class"].isin(FORGED), _("forged")),
        )
        largest = rows.groupby("sender")["messages"].sum().nlargest(FLOWS).index
        rows = rows.assign(sender=rows["sender"].where(rows["sender"].isin(largest), _("others")))
        sums = rows.groupby(["sender", "check", "outcome", "group"])["messages"].sum()
        frame = base.whole(sums[sums > 0].reset_index(), "messages")
        if frame.empty:
            return Section(frame, render_part("empty", _("There were no messages in this period.")))
        checks = {"both": _("DKIM and SPF"), "dkim": _("only DKIM"), "spf": _("only SPF")}
        checks["none"] = _("neither")
        # the columns from the best to the worst, the bands by what the messages prove
        order = {name: n for n, name in enumerate([*checks, *OUTCOMES, *GROUPS])}
        size = frame.groupby("sender")["messages"].transform("sum")
        ranks = frame[["check", "outcome", "group"]].map(order.__getitem__)
        ranks = ranks.assign(size=-size).sort_values(["size", "check", "outcome", "group"])
        bands = [
            (row.group, (row.sender, checks[row.check], _(OUTCOMES[row.outcome][0])), row.messages)
            for row in base.rows_of(frame.loc[ranks.index])
        ]
        label = _("Messages by sender, by what passes, and by what receivers did")
        picture = render_part("picture", marks.flow(bands, label), label)
        key = [(f"c-{name}", _(text)) for name, text in GROUPS.items()]
        return Section(frame, picture + render_part("key", key))

    def forged(self) -> Section:
        """Show where forged mail came from, by operator and country, most messages first.

        `.data`: one row per operator and country: `network`, `country`, `messages`,
        `delivered`, `quarantined`, `rejected`, `unstated` (messages), `domains`, `sources`
        (numbers). Beyond 500 sources the rest is one row without an operator.
        """
        rows = in_window(self._mine(self.facts.messages), self.window)
        rows = rows[rows["class"].isin(FORGED)].astype({"sender": "str", "domain": "str"})
        done = rows["disposition"].astype("str").map(base.DONE).astype(object).fillna("unstated")
        sizes: Any = rows.groupby("sender")["messages"].sum()
        largest = sizes.nlargest(SOURCES).reset_index()
        sources = self._with_network(largest, "sender")
        about = sources.set_index("sender")[["network", "country"]]
        rows = rows.join(about, on="sender").fillna({"network": "", "country": ""})
        rows = rows.assign(**{name: rows["messages"].where(done == name, 0) for name in OUTCOMES})
        keys = ["network", "country"]
        frame = _by_operator(rows)
        small = frame[frame["messages"] < SMALL * frame["messages"].sum()]
        if len(small) > 1:  # of a botnet each is as good as any other
            name = _("{n} networks with under {share} each")
            name = name.format(n=text.count(len(small)), share=f"{SMALL:.0%}")
            is_small = rows["network"].isin(small["network"])
            named = {"network": rows["network"].mask(is_small, name)}
            rows = rows.assign(**named, country=rows["country"].mask(is_small, ""))
        shown = _by_operator(rows)
        last = shown["network"].isin(frame["network"])
        return table_section(
            frame,
            Column("network", _("Operator")),
            Column("country", _("Country")),
            Column("messages", _("Forged"), "bar"),
            *base.marks(shown, rows, self.window, *keys),
            Column("delivered", _("Delivered"), "count"),
            Column("domains", _("Domains"), "count"),
            Column("sources", _("Sources"), "count"),
            caption=_("Forged mail by operator and country, the most first"),
            empty=_("No forged mail was seen in this period."),
            shown=pd.concat([shown[last], shown[~last]]),
            note=base.outcome_key() if len(frame) else "",
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


def _by_operator(rows: pd.DataFrame) -> pd.DataFrame:
    frame = rows.groupby(["network", "country"], as_index=False).agg(
        **base.sums("messages", *OUTCOMES),
        domains=("domain", "nunique"),
        sources=("sender", "nunique"),
    )
    return ordered(base.whole(frame, "messages", *OUTCOMES), "-messages", "network")


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


def _sender_page(row: Any) -> str:
    if text.is_missing(row.sender_kind):  # forged mail of many
        return ""
    return page_target("sender", domain=row.domain, sender=row.sender)


def _kind(row: Any) -> str:
    if text.is_missing(row.sender_kind):
        return ""
    if not row.in_inventory and row.sender_kind == "unknown":
        return _("unknown sender")
    about = "{kind}" if row.in_inventory else _("{kind}, not a known sender of yours")
    return about.format(kind=kind_word(row.sender_kind))


def _yes_or_no(value: bool) -> str:
    return _("yes") if value else _("no")
