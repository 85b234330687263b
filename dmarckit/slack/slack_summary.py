"""What dmarckit says in Slack about a run that went well: the summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dmarckit.core.language import _, ngettext
from dmarckit.core.slack_words import reporters
from dmarckit.core.window import Window
from dmarckit.core.words import change, count, n_messages, n_reports, percent, points
from dmarckit.slack.slack_blocks import (
    Block,
    Message,
    Target,
    context,
    fields,
    header,
    image,
    links,
    message,
    section,
)
from dmarckit.slack.slack_text import escape, escape_with_records, lines

if TYPE_CHECKING:
    import pandas as pd

LIST_LIMIT = 2900
"""characters of a list; its heading needs some room too"""


def summary_message(
    headline: pd.DataFrame,
    window: Window,
    page: Target | None,
    chart: Target | None = None,
    findings: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    still_open: int = 0,
    group: str = "",
) -> Message:
    """The message about a run: headline, findings, notes, link to the page, chart.

    `headline` has one row a measure, as `domain_summary.headline` gives it: messages, pass_share,
    failing, reports, reporters. `findings` are plain lines about what is new or worse;
    None means that nobody looked for any, and failing messages are then the news.
    `notes` are plain lines about mails that could not be read or trusted. A quiet run,
    without news and notes, is one line and the link; `still_open` findings that ask for
    something, but were told before, are counted in it. `group` names the domains that the
    message is about; empty: all.
    """
    value = dict(zip(headline["measure"], headline["value"], strict=True))
    before = dict(zip(headline["measure"], headline["before"], strict=True))
    said = _said(value)
    # plain text in a header, mrkdwn elsewhere
    plain, name = (_about(window, group), _about(window, escape(group, 60) if group else ""))
    news = bool(findings) or bool(notes) or (findings is None and value["failing"] > 0)
    if not news:
        text = _quiet(name, said, still_open, bool(value["reports"]))
        return message(text, [section(text), *links([(_("Open the page"), page)])])
    blocks: list[Block] = [
        header(plain),
        section(f"*{said}*"),
        fields(_headline_fields(value, before)),
    ]
    if findings:
        blocks.append(
            section("*{title}*\n{list}".format(title=_("New or worse"), list=_list(findings)))
        )
    if notes:
        blocks.append(
            section("*{title}*\n{list}".format(title=_("Please look"), list=_list(notes)))
        )
    if still_open:
        blocks.append(context(_still_open(still_open)))
    blocks += links([(_("Open the page"), page)])
    alt = _("Passing and failing messages a day: {what}").format(what=said)
    blocks += image(chart, alt)
    return message(_("{about}: {what}").format(about=name, what=said), blocks)


def _about(window: Window, group: str) -> str:
    if group:
        return _("DMARC, {group}, {days}").format(group=group, days=window)
    return _("DMARC, {days}").format(days=window)


def _quiet(about: str, said: str, still_open: int, reported: bool) -> str:
    if still_open:
        text = ngettext(
            "{about}: Nothing new, {n} finding still needs doing: {what}",
            "{about}: Nothing new, {n} findings still need doing: {what}",
            still_open,
        )
        return text.format(about=about, n=count(still_open), what=said)
    text = _("{about}: All quiet: {what}") if reported else _("{about}: {what}")
    return text.format(about=about, what=said)


def _still_open(number: int) -> str:
    text = ngettext(
        "{n} finding that was told before still needs doing.",
        "{n} findings that were told before still need doing.",
        number,
    )
    return text.format(n=count(number))


def _said(value: dict[str, float]) -> str:
    if not value["reports"]:
        return _("no reports came in")
    if not value["messages"]:
        return _("{reports} without any message").format(reports=n_reports(value["reports"]))
    text = _("{share} of {messages} pass ({reports} by {reporters})")
    if value["failing"]:
        text = _("{share} of {messages} pass, {failing} fail ({reports} by {reporters})")
    return text.format(
        share=percent(value["pass_share"]),
        messages=n_messages(value["messages"]),
        failing=count(value["failing"]),
        reports=n_reports(value["reports"]),
        reporters=reporters(value["reporters"]),
    )


def _headline_fields(value: dict[str, float], before: dict[str, float]) -> list[tuple[str, str]]:
    moved = points(value["pass_share"] - before["pass_share"])
    shown = [(_("Pass rate"), percent(value["pass_share"]), moved)]
    for label, measure in (
        (_("Failing messages"), "failing"),
        (_("Messages"), "messages"),
        (_("Reports"), "reports"),
        (_("Reporters"), "reporters"),
    ):
        moved = change(value[measure], before[measure]) if before["reports"] else ""
        shown.append((label, count(value[measure]), moved))
    return [(label, f"{now} ({moved})" if moved else now) for label, now, moved in shown]


def _list(plain: Sequence[str]) -> str:
    return lines([escape_with_records(line, 600) for line in plain], limit=LIST_LIMIT)
