"""The policy that a page asks "what if" about, and what it would do, in words and a table."""

from __future__ import annotations

from dmarckit import words
from dmarckit.analysis_command import parse_policy
from dmarckit.class_charts import LABELS
from dmarckit.facts_frames import Facts
from dmarckit.finding_cards import records_to_paste
from dmarckit.findings.record import dns_record, next_step, quoted_policy
from dmarckit.markup import Column, Html, escape, table
from dmarckit.models import Policy
from dmarckit.whatif import WhatIf

SHOWN = 50


def present(facts: Facts, domain: str) -> Policy:
    """The policy in force as most reporters quote it; p is None when nobody has."""
    name = domain.lower().rstrip(".")
    return quoted_policy(name, facts.policies[facts.policies["domain"] == name])


def proposed(facts: Facts, domain: str, tags: str = "") -> Policy:
    """The policy written in `tags` (``p=reject; sp=none``); without it the next step.

    On the last step of the ladder, and when nobody has quoted a policy, it is ``p=reject``.
    Raises SettingsError for tags that are no policy.
    """
    name = domain.lower().rstrip(".")
    if tags:
        return parse_policy(name, tags)
    return next_step(present(facts, name)) or Policy(name, p="reject")


def whatif(result: WhatIf, now_in_force: Policy, days: int) -> Html:
    """What a policy would have done, whom it would have hit, and the record to publish."""
    name = escape(result.domain)
    if not result.messages:
        return Html(f'<p class="dk-empty">Nobody sent as {name} on these days.</p>')
    stopped = result.quarantined + result.rejected
    tags = dns_record(result.policy).removeprefix("v=DMARC1; ").rpartition("; rua")[0]
    text = (
        f"<p><b>{escape(tags)}</b> would have stopped {words.count(stopped)} of "
        f"{words.plural(result.messages, 'message')} in {words.plural(days, 'day')} "
        f"({words.count(result.quarantined)} quarantined, {words.count(result.rejected)} "
        f"rejected): {words.count(result.legitimate)} that may be legitimate, "
        f"{words.count(result.indirect)} forwarded or changed on the way, "
        f"{words.count(result.unwanted)} unwanted.</p>"
    )
    if result.legitimate:
        text += f"<p>{_NOT_YET}</p>"
    rows = result.senders.head(SHOWN)
    rows = rows.assign(
        **{"today": rows["class"].map(LABELS), "nature": rows["nature"].map(_NATURE)}
    )
    columns = [
        Column("sender", "Sender"),
        Column("header_from", "From domain"),
        Column("today", "Today"),
        Column("action", "Would be"),
        Column("nature", "It is"),
        Column("messages", "Messages", "bar"),
    ]
    caption = f"What {tags} would stop, by sender"
    shown = table(rows, columns, caption=caption, empty="It would have stopped nothing.")
    more = len(result.senders) - SHOWN
    note = f'<p class="dk-note">And {words.plural(more, "more row")}.</p>' if more > 0 else ""
    back = dns_record(now_in_force) if now_in_force.p else None
    paste = records_to_paste(dns_record(result.policy), back).markup
    return Html(f"{text}{shown.markup}{note}{paste}")


_NOT_YET = (
    "Some of it may be legitimate: set up these senders first, or know that their mail is lost."
)
_NATURE = {
    "legitimate": "perhaps legitimate",
    "indirect": "forwarded or changed",
    "unwanted": "unwanted",
}
