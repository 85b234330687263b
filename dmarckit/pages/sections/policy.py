"""The published policy day by day, as reporters quoted it: a strip with its changes marked.

The policy that a page asks "what if" about, and what it would do, in words and a table.
"""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from dmarckit.core import Window, _, later, normalize_domain, text as words
from dmarckit.facts import Facts, days_of
from dmarckit.findings import (
    WhatIf,
    dns_record,
    fill_policy_defaults,
    next_step,
    parse_policy,
    quoted_policy,
)
from dmarckit.pages.charts import class_word
from dmarckit.pages.html import Column, Html, escape, table
from dmarckit.pages.sections.domain import of_domain
from dmarckit.pages.sections.findings import records_to_paste
from dmarckit.pages.sections.messages import matrix
from dmarckit.reports import Policy

REPORTERS = 12
"""reporters with a row of their own: those that quoted it most often"""

_TAGS = ("p", "sp", "np", "pct", "testing", "adkim", "aspf")
_LEVELS = {"reject": "a", "quarantine": "c", "none": "d"}


DAYS = 90
"""length of the strip: changes of a policy are rare"""


def span(window: Window) -> Window:
    """The days of the strip: `DAYS` up to the end of the window, or the window if it is longer."""
    return Window(min(window.start, window.end - timedelta(days=DAYS)), window.end)


def by_day(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row a day and reporter (empty: the policy that most of them quoted that day).

    Columns: `day`, `reporter`, `p`, `policy` (its tags, defaults left out), `changed`
    (another one than on the last day before on which it was quoted, the days before the
    window included). A reporter's last quote of a day counts.
    """
    rows = fill_policy_defaults(of_domain(facts.policies, domain))
    policy = [_text(row) for row in rows[list(_TAGS)].itertuples(index=False)]
    rows = rows.assign(day=rows["begin"].dt.floor("D"), policy=pd.Series(policy, rows.index))
    keys = ["reporter", "day"]
    last = rows.sort_values("begin", kind="stable").drop_duplicates(keys, keep="last")
    votes = rows.groupby(["day", "policy"]).agg(p=("p", "first"), n=("begin", "size"))
    most = votes.reset_index().sort_values(["n", "policy"], ascending=[False, True], kind="stable")
    most = most.drop_duplicates("day").assign(reporter="")
    busiest = rows.groupby("reporter").size().sort_values(ascending=False, kind="stable")
    last = last[last["reporter"].isin(busiest.index[:REPORTERS])]
    columns = ["day", "reporter", "p", "policy"]
    table = pd.concat([most[columns], last[columns]]).sort_values(["reporter", "day"])
    before = table.groupby("reporter")["policy"].shift()
    table = table.assign(changed=before.notna() & (before != table["policy"]))
    return table[table["day"].isin(days_of(window))].reset_index(drop=True)


def _text(row: tuple[object, ...]) -> str:
    """The tags that decide, those left out that say nothing: ``p=quarantine; sp=none``."""
    tags = dict(zip(_TAGS, row, strict=True))
    usual = {"sp": tags["p"], "np": tags["sp"], "pct": 100, "testing": "n"}
    usual |= {"adkim": "r", "aspf": "r"}
    names = {"testing": "t"}
    return "; ".join(
        f"{names.get(name, name)}={value}"
        for name, value in tags.items()
        if value not in ("", usual.get(name))
    )


def policy_days(frame: pd.DataFrame, window: Window) -> Html:
    """Reporter × day, coloured by the policy, changes marked. Takes `by_day`."""
    said = _("{policy} (changed)")
    cells = frame.assign(
        name=frame["reporter"].replace("", _("most reporters")),
        level=[
            _LEVELS.get(str(p), "grey") + (" changed" if changed else "")
            for p, changed in zip(frame["p"], frame["changed"], strict=True)
        ],
        text=[
            said.format(policy=policy) if changed else policy
            for policy, changed in zip(frame["policy"], frame["changed"], strict=True)
        ],
        messages=[1_000_000 if not reporter else 1 for reporter in frame["reporter"]],
    )
    key = {
        "d": "p=none",
        "c": "p=quarantine",
        "a": "p=reject",
        "grey": _("another"),
        "changed": _("changed on that day"),
        "none": _("not quoted"),
    }
    caption = _("The policy that reporters quoted, by day")
    return matrix(cells, window, caption=caption, first=_("Quoted by"), key=key)


SHOWN = 50


def present(facts: Facts, domain: str) -> Policy:
    """The policy in force as most reporters quote it; p is None when nobody has."""
    name = normalize_domain(domain)
    return quoted_policy(name, facts.policies[facts.policies["domain"] == name])


def proposed(facts: Facts, domain: str, tags: str = "") -> Policy:
    """The policy written in `tags` (``p=reject; sp=none``); without it the next step.

    On the last step of the ladder, and when nobody has quoted a policy, it is ``p=reject``.
    Raises SettingsError for tags that are no policy.
    """
    name = normalize_domain(domain)
    if tags:
        return parse_policy(name, tags)
    return next_step(present(facts, name)) or Policy(name, p="reject")


def whatif(result: WhatIf, now_in_force: Policy, days: int) -> Html:
    """What a policy would have done, whom it would have hit, and the record to publish."""
    if not result.messages:
        text = _("Nobody sent as {domain} on these days.").format(domain=result.domain)
        return Html(f'<p class="dk-empty">{escape(text)}</p>')
    stopped = result.quarantined + result.rejected
    tags = dns_record(result.policy).removeprefix("v=DMARC1; ").rpartition("; rua")[0]
    text = f"<p>{_stopped(result, tags, stopped, days)}</p>"
    if result.legitimate:
        text += f"<p>{escape(_(_NOT_YET))}</p>"
    rows = result.senders.head(SHOWN)
    rows = rows.assign(
        today=rows["class"].map(class_word),
        nature=[_(_NATURE[nature]) for nature in rows["nature"]],
    )
    columns = [
        Column("sender", _("Sender")),
        Column("header_from", _("From domain")),
        Column("today", _("Today")),
        Column("action", _("Would be")),
        Column("nature", _("It is")),
        Column("messages", _("Messages"), "bar"),
    ]
    caption = _("What {tags} would stop, by sender").format(tags=tags)
    shown = table(rows, columns, caption=caption, empty=_("It would have stopped nothing."))
    more = len(result.senders) - SHOWN
    note = f'<p class="dk-note">{words.more_rows(more)}</p>' if more > 0 else ""
    back = dns_record(now_in_force) if now_in_force.p else None
    paste = records_to_paste(dns_record(result.policy), back).markup
    return Html(f"{text}{shown.markup}{note}{paste}")


def _stopped(result: WhatIf, tags: str, stopped: int, days: int) -> str:
    text = _(
        "{tags} would have stopped {stopped} of {messages} in {days} ({quarantined} quarantined, "
        "{rejected} rejected): {legitimate} that may be legitimate, {indirect} forwarded or "
        "changed on the way, {unwanted} unwanted."
    )
    numbers = {
        name: words.count(getattr(result, name))
        for name in ("quarantined", "rejected", "legitimate", "indirect", "unwanted")
    }
    return escape(text, 1000).format(
        tags=f"<b>{escape(tags)}</b>",
        stopped=words.count(stopped),
        messages=escape(words.n_messages(result.messages)),
        days=escape(words.n_days(days)),
        **numbers,
    )


_NOT_YET = later(
    "Some of it may be legitimate: set up these senders first, or know that their mail is lost."
)
_NATURE = {
    "legitimate": later("perhaps legitimate"),
    "indirect": later("forwarded or changed"),
    "unwanted": later("unwanted"),
}
