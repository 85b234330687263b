"""The policy that a page asks "what if" about, and what it would do, in words and a table."""

from __future__ import annotations

from dmarckit.core import words
from dmarckit.core.language import _, later
from dmarckit.facts.facts_frames import Facts
from dmarckit.findings.policy_text import parse_policy
from dmarckit.findings.record import dns_record, next_step, quoted_policy
from dmarckit.findings.whatif import WhatIf
from dmarckit.pages.markup import Column, Html, escape, table
from dmarckit.pages.sections.finding_cards import records_to_paste
from dmarckit.pages.table_words import class_word
from dmarckit.reports.models import Policy

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
