"""The published policy day by day, as reporters quoted it, and what another one would do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
from markupsafe import Markup

from dmarckit import findings
from dmarckit.core import Window, _, later, one_line, text as words
from dmarckit.facts import days_of
from dmarckit.findings import fill_policy_defaults
from dmarckit.pages.charts import class_word
from dmarckit.pages.html import Column, Html, escape, render_part, table
from dmarckit.pages.sections.base import PageData, Section, ordered, rows_of, sources_of_forged
from dmarckit.pages.sections.messages import matrix
from dmarckit.reports import Policy

DAYS = 90  # least length of the strip of policies: they change rarely
REPORTERS = 12  # reporters with a row of their own: those that quoted it most often
MISSING = 5  # senders that the road to p=reject names

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
        voted = most.set_index("day")["policy"]
        differs = last["policy"] != last["day"].map(voted)
        agree = set(last["reporter"]) - set(last.loc[differs, "reporter"])
        frame = pd.concat([most[columns], last[columns]]).sort_values(["reporter", "day"])
        before = frame.groupby("reporter")["policy"].shift()
        frame = frame.assign(changed=before.notna() & (before != frame["policy"]))
        frame = frame[frame["day"].isin(days_of(window))].reset_index(drop=True)
        changed, policies = frame["changed"], frame["policy"]
        text = policies.map(lambda policy: _("{policy} (changed)").format(policy=policy))
        level = frame["p"].map(_LEVELS).fillna("c-partly")
        cells = frame[~frame["reporter"].isin(agree)]
        who = _("most reporters") if cells["reporter"].any() else _("all reporters")
        cells = cells.assign(
            name=cells["reporter"].replace("", who),
            level=level + changed.map({True: " changed", False: ""}),
            text=text.where(changed, policies),
            messages=frame["reporter"].map(lambda reporter: 1 if reporter else 1_000_000),
        )
        caption = _("The policy that reporters quoted, by day")
        return Section(frame, matrix(cells, window, caption, _("Seen by"), _KEY))

    def road(self) -> Section:
        """Show the steps to p=reject, where the domain is, and what is missing for the next one.

        `.data`: one row a step: `policy` (its tags), `state` (done, now, next or later).
        """
        name = self._one_domain
        present = findings.quoted_policy(name, self._policies())
        step, steps = Policy(name, p="none"), []
        while step:
            steps.append(_step(step))
            step = findings.next_step(step)  # type: ignore[assignment]
        following = findings.next_step(present)
        at = steps.index(_step(following)) if following else len(steps) * (present.p == "reject")
        states = ["done"] * (at - 1) + ["now"] * (at > 0) + ["next"] + ["later"] * len(steps)
        states = states[: len(steps)]
        frame = pd.DataFrame({"policy": steps, "state": states})
        shown = render_part("road", list(zip(steps, states, strict=True)), _("Steps to p=reject"))
        ready = [e for e in self.analysis.findings if e.finding.kind == "policy_ready"]
        if not following:
            text = _("The policy is at its last step.") if at else _("No policy was quoted.")
            return Section(frame, shown + render_part("note", text))
        meant = replace(following, testing=None)
        stopped = findings.what_if(self.facts, name, meant, self.window.days)
        wanted = stopped.senders[stopped.senders["nature"] == "legitimate"]
        sums = wanted.groupby("sender")["messages"].sum().nlargest(MISSING)
        missing = [
            _("{sender}: {messages} that may be legitimate would be stopped.").format(
                sender=one_line(sender, 80), messages=words.n_messages(number)
            )
            for sender, number in sums.items()
        ]
        text = _("Missing for {policy}:") if missing else _("Nothing is missing for {policy}.")
        if not missing and not ready:
            text = _("No sender is missing for {policy}; the findings say what else to wait for.")
        text = text.format(policy=_step(following))
        return Section(frame, shown + render_part("missing", text, missing))

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
        rows = result.senders.rename(columns={"class": "today"})
        is_forged = rows["nature"] == "unwanted"
        forged = (
            rows[is_forged]
            .groupby(["today", "action", "nature"], as_index=False)
            .agg(
                sender=("sender", lambda names: sources_of_forged(names.nunique())),
                header_from=(
                    "header_from",
                    lambda names: findings.join_names(list(names.unique())),
                ),
                messages=("messages", "sum"),
            )
        )
        senders = table(
            pd.concat([rows[~is_forged], forged]),
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


def _step(policy: Policy) -> str:
    """Return the tags by which a step is known, without those that the domain may choose."""
    return findings.policy_tags(Policy(policy.domain, p=policy.p, testing=policy.testing))


def _tags(row: Any, *names: str) -> str:
    """Return tags of a policy, those left out that say nothing: ``p=quarantine; sp=none``."""
    usual = {"sp": row.p, "np": row.sp, "pct": 100, "testing": "n", "adkim": "r", "aspf": "r"}
    tags = {name: getattr(row, name) for name in names}
    return "; ".join(
        f"{'t' if name == 'testing' else name}={value}"
        for name, value in tags.items()
        if value not in ("", usual.get(name))
    )
