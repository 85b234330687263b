"""The published policy day by day, as reporters quoted it, and what another one would do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
from markupsafe import Markup

from dmarckit import findings
from dmarckit.core import Window, _, later, text as words
from dmarckit.facts import days_of
from dmarckit.findings import fill_policy_defaults
from dmarckit.pages.charts import class_word
from dmarckit.pages.html import Column, Html, escape, render_part, table
from dmarckit.pages.sections.base import PageData, Section, ordered, rows_of, table_section, usual
from dmarckit.pages.sections.messages import matrix
from dmarckit.reports import Policy

DAYS = 90  # least length of the strip of policies: they change rarely
REPORTERS = 12  # reporters with a row of their own: those that quoted it most often

_TAGS = ["p", "sp", "np", "pct", "testing", "adkim", "aspf"]
_LEVELS = {"reject": "c-rejected", "quarantine": "c-quarantined", "none": "c-unknown"}
_KEY = {
    "c-unknown": "p=none",
    "c-quarantined": "p=quarantine",
    "c-rejected": "p=reject",
    "c-partly": later("another"),
    "changed": later("changed on that day"),
    "none": later("not reported"),
}
_NATURE = {
    "legitimate": later("possibly legitimate"),
    "indirect": later("forwarded or modified"),
    "unwanted": later("spoofed"),
}


class PolicySections(PageData):
    """The policy of one domain: the page's, else the one with the most messages."""

    def policy_days(self) -> Section:
        """Show the policy that reporters quoted, by reporter and day, its changes marked.

        `.data`: one row a day and reporter (empty: the policy that most of them quoted that
        day), of at least 90 days: `day` (UTC), `reporter`, `p`, `policy` (its tags, defaults
        left out), `changed` (another one than on the last day before on which it was quoted).
        """
        start = min(self.window.start, self.window.end - timedelta(days=DAYS))
        window = Window(start, self.window.end)
        rows = fill_policy_defaults(self._policies())
        policy = [_tags(row, *_TAGS) for row in rows_of(rows)]
        rows = rows.assign(day=rows["begin"].dt.floor("D"), policy=pd.Series(policy, rows.index))
        # a reporter's last quote of a day counts
        last = rows.sort_values("begin", kind="stable")
        last = last.drop_duplicates(["reporter", "day"], keep="last")
        votes = rows.groupby(["day", "policy"], as_index=False).agg(
            p=("p", "first"), n=("p", "size")
        )
        most = ordered(votes, "-n", "policy").drop_duplicates("day").assign(reporter="")
        busiest = rows.groupby("reporter").size().sort_values(ascending=False, kind="stable")
        last = last[last["reporter"].isin(busiest.index[:REPORTERS])]
        columns = ["day", "reporter", "p", "policy"]
        frame = pd.concat([most[columns], last[columns]]).sort_values(["reporter", "day"])
        before = frame.groupby("reporter")["policy"].shift()
        frame = frame.assign(changed=before.notna() & (before != frame["policy"]))
        frame = frame[frame["day"].isin(days_of(window))].reset_index(drop=True)
        changed, policies = frame["changed"], frame["policy"]
        text = policies.map(lambda policy: _("{policy} (changed)").format(policy=policy))
        level = frame["p"].map(_LEVELS).fillna("c-partly")
        cells = frame.assign(
            name=frame["reporter"].replace("", _("most reporters")),
            level=level + changed.map({True: " changed", False: ""}),
            text=text.where(changed, policies),
            messages=frame["reporter"].map(lambda reporter: 1 if reporter else 1_000_000),
        )
        caption = _("The policy that reporters quoted, by day")
        return Section(frame, matrix(cells, window, caption, _("Seen by"), _KEY))

    def policies(self) -> Section:
        """Show the policies as reporters quoted them, the newest first.

        `.data`: one row a policy, defaults filled in: `p`, `sp`, `np`, `pct` (per cent),
        `testing`, `adkim`, `aspf`, `first`, `last` (begin of its first and last report in the
        history of the facts, UTC), `reports`, `reporters` (numbers).
        """
        quoted = fill_policy_defaults(self._policies())
        frame = quoted.groupby(_TAGS, as_index=False).agg(
            first=("begin", "min"),
            last=("begin", "max"),
            reports=("begin", "size"),
            reporters=("reporter", "nunique"),
        )
        rest = ("np", "testing", "pct", "adkim", "aspf")
        return table_section(
            ordered(frame, "-last", "-reports"),
            Column("p", _("Policy (p)"), "policy"),
            Column("sp", _("Subdomains (sp)"), "policy"),
            Column("rest", _("Other tags"), text=lambda row: _tags(row, *rest)),
            Column("first", _("First seen"), "day"),
            Column("last", _("Last seen"), "day"),
            *usual("reports", "reporters"),
            caption=_("Policies as reporters quoted them, the newest first"),
            empty=_("No reporter has quoted a policy."),
        )

    def what_if(self, policy: str = "") -> Section:
        """Show what another policy would have done to the mail of the window.

        `policy`: its tags, such as ``p=reject; sp=none``; unless given the next step, without t=y
        (``p=reject`` on the last step, and when nobody has quoted a policy). Raises SettingsError
        when it is none.

        `.data`: one row a sender, From domain and class that it would have stopped, most
        messages first: `sender`, `header_from`, `class` (today's), `action`, `nature`
        (legitimate, indirect or unwanted), `messages`.
        """
        name, days = self._one_domain, self.window.days
        present = findings.quoted_policy(name, self._policies())
        asked = findings.parse_policy(name, policy) if policy else findings.next_step(present)
        asked = asked or Policy(name, p="reject")
        # a test is judged by what comes after it: t=y lowers the policy by one step
        meant = asked if policy else replace(asked, testing=None)
        result = findings.what_if(self.facts, name, meant, days)
        if not result.messages:
            text = _("Nobody sent as {domain} in this period.").format(domain=result.domain)
            return Section(result.senders, render_part("empty", text))
        tags = findings.policy_tags(meant)
        text = _(
            "{tags} would have stopped {stopped} of {messages} in {days} ({quarantined} "
            "quarantined, {rejected} rejected): {legitimate} that may be legitimate, {indirect} "
            "forwarded or modified in transit, {unwanted} spoofed."
        )
        names = ("quarantined", "rejected", "legitimate", "indirect", "unwanted")
        head = Html(
            escape(text, 1000).format(
                tags=Markup("<b>{}</b>").format(escape(tags)),
                stopped=words.count(result.quarantined + result.rejected),
                messages=words.n_messages(result.messages),
                days=words.n_days(days),
                **{name: words.count(getattr(result, name)) for name in names},
            )
        )
        warning = _(
            "Not ready: this would block mail that may be legitimate. Fix these senders first."
        )
        senders = table(
            result.senders.rename(columns={"class": "today"}),
            [
                Column("sender", _("Sender")),
                Column("header_from", _("From domain")),
                Column("today", _("Today"), text=lambda row: class_word(row.today)),
                Column("action", _("Would be")),
                Column("nature", _("Type"), text=lambda row: _(_NATURE[row.nature])),
                Column("messages", _("Messages"), "bar"),
            ],
            caption=_("What {tags} would stop, by sender").format(tags=tags),
            empty=_("Nothing would have been blocked."),
        )
        above = render_part("paragraphs", [head, warning] if result.legitimate else [head])
        return Section(result.senders, above + senders)

    def _policies(self) -> pd.DataFrame:
        policies = self.facts.policies
        return policies[policies["domain"] == self._one_domain]


def _tags(row: Any, *names: str) -> str:
    """Return tags of a policy, those left out that say nothing: ``p=quarantine; sp=none``."""
    usual = {"sp": row.p, "np": row.sp, "pct": 100, "testing": "n", "adkim": "r", "aspf": "r"}
    tags = {name: getattr(row, name) for name in names}
    return "; ".join(
        f"{'t' if name == 'testing' else name}={value}"
        for name, value in tags.items()
        if value not in ("", usual.get(name))
    )
