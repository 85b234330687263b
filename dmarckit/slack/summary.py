"""Slack messages about runs: the summary, a failure, and that a job works again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dmarckit.core import Window, _, change, count, n_messages, n_reports, ngettext, percent, points
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Message, code, mrkdwn

if TYPE_CHECKING:
    import pandas as pd

LIST_LIMIT = 2900  # characters of a list; its heading needs some room too


@dataclass(frozen=True)
class Addition:
    """What the notebook of a run adds to its message; plain text, escaped here."""

    headline: str
    numbers: Mapping[str, str]
    chart: kit.Target | None = None


def summary_message(
    headline: pd.DataFrame,
    window: Window,
    page: kit.Target | None,
    chart: kit.Target | None = None,
    findings: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    still_open: int = 0,
    group: str = "",
    additions: Sequence[Addition] = (),
) -> Message:
    """Build the message about a run; without findings and notes it is one line and the link.

    `headline` has one row a measure, as `pages.measure` gives it: messages, pass_share,
    failing, reports, reporters. `findings` are plain lines about what is new or worse (None:
    nobody looked, and failing messages are the news), `notes` such about mails that could not be
    read or trusted. `still_open` findings were told before. `group` names the domains that the
    message is about; empty: all. `additions` come before the link to the page.
    """
    value = dict(zip(headline["measure"], headline["value"], strict=True))
    before = dict(zip(headline["measure"], headline["before"], strict=True))
    said = _said(value)
    name = _about(window, mrkdwn(group, 60) if group else "")
    ending = [*_added(additions), *kit.link_lines([(_("Open the page"), page)])]
    if not (findings or notes or (findings is None and value["failing"] > 0)):
        text = _("{about}: All quiet: {what}") if value["reports"] else _("{about}: {what}")
        if still_open:
            text = ngettext(
                "{about}: Nothing new, {n} finding still needs doing: {what}",
                "{about}: Nothing new, {n} findings still need doing: {what}",
                still_open,
            )
        text = text.format(about=name, n=count(still_open), what=said)
        return kit.build_message(text, [kit.section(text), *ending])
    blocks = [
        kit.header(_about(window, group)),  # plain text there, mrkdwn elsewhere
        kit.section(f"*{said}*"),
        kit.fields(_headline_fields(value, before)),
    ]
    for title, items in ((_("New or worse"), findings), (_("Please look"), notes)):
        if items:
            escaped = [kit.escape_with_records(item, 600) for item in items]
            blocks.append(kit.section(f"*{title}*\n{kit.bullet_list(escaped, limit=LIST_LIMIT)}"))
    if still_open:
        text = ngettext(
            "{n} finding that was told before still needs doing.",
            "{n} findings that were told before still need doing.",
            still_open,
        )
        blocks.append(kit.context(text.format(n=count(still_open))))
    alt = _("Passing and failing messages a day: {what}").format(what=said)
    blocks += [*ending, *kit.image(chart, alt)]
    return kit.build_message(_("{about}: {what}").format(about=name, what=said), blocks)


def _added(additions: Sequence[Addition]) -> list[kit.Block]:
    blocks: list[kit.Block] = []
    for part in additions:
        if headline := mrkdwn(part.headline, 300):
            blocks.append(kit.section(f"*{headline}*"))
        if part.numbers:
            pairs = [(mrkdwn(label, 60), mrkdwn(n, 80)) for label, n in part.numbers.items()]
            blocks.append(kit.fields(pairs))
        blocks += kit.image(part.chart, part.headline or _("chart"))
    return blocks


def _about(window: Window, group: str) -> str:
    text = _("DMARC, {group}, {days}") if group else _("DMARC, {days}")
    return text.format(group=group, days=window)


def _said(value: dict[str, float]) -> str:
    if not value["reports"]:
        return _("no reports came in")
    if not value["messages"]:
        return _("{reports} without any message").format(reports=n_reports(value["reports"]))
    reporters = value["reporters"]
    text = _("{share} of {messages} pass ({reports} by {reporters})")
    if value["failing"]:
        text = _("{share} of {messages} pass, {failing} fail ({reports} by {reporters})")
    return text.format(
        share=percent(value["pass_share"]),
        messages=n_messages(value["messages"]),
        failing=count(value["failing"]),
        reports=n_reports(value["reports"]),
        reporters=ngettext("{n} reporter", "{n} reporters", reporters).format(n=count(reporters)),
    )


def _headline_fields(value: dict[str, float], before: dict[str, float]) -> list[tuple[str, str]]:
    moved = points(value["pass_share"] - before["pass_share"])
    shown = [(_("Pass rate"), percent(value["pass_share"]), moved)]
    counted = {"failing": _("Failing messages"), "messages": _("Messages")}
    counted |= {"reports": _("Reports"), "reporters": _("Reporters")}
    for measure, label in counted.items():
        moved = change(value[measure], before[measure]) if before["reports"] else ""
        shown.append((label, count(value[measure]), moved))
    return [(label, f"{now} ({moved})" if moved else now) for label, now, moved in shown]


def failure_message(
    job: str,
    error: str,
    since: datetime,
    now: datetime,
    run: str,
    notebook: str | None = None,
    owner: str | None = None,
) -> Message:
    """Build the message about a run that failed: what, since when, the notebook, what to do.

    `since` is the start of the first failed run since the last good one.
    """
    title = _("The job {job} failed").format(job=job)
    lasts = _("{moment}, for {length}")
    if now - since < timedelta(minutes=1):
        lasts = _("{moment}, the first run that failed")
    lasts = lasts.format(moment=kit.utc(since), length=kit.duration(now - since))
    pairs = [(_("Failing since"), lasts), (_("Run"), code(run))]
    todo = _("What to do: {doctor} checks the settings, and {run} tries again now.")
    if notebook is not None:
        pairs.append((_("Notebook with the error"), code(notebook, 300)))
        todo = _(
            "What to do: open the notebook, whose last cell shows the error; {doctor} checks the "
            "settings, and {run} tries again now."
        )
    if owner:
        pairs.append((_("Owner"), mrkdwn(owner)))
    blocks = [
        kit.header(title),
        kit.section(f"*{kit.escape_with_records(error, 1500)}*"),
        kit.fields(pairs),
        kit.section(todo.format(doctor=code("dmarckit doctor"), run=code(f"dmarckit run {job}"))),
        kit.context(_("Until it works again, this is said once a day.")),
    ]
    text = _("{title}: {error}").format(title=mrkdwn(title), error=mrkdwn(error, 300))
    return kit.build_message(text, blocks)


def recovery_message(job: str, *, since: datetime, now: datetime) -> Message:
    """Build the message that a job works again, with how long it did not."""
    text = _("The job {job} works again. It had failed since {moment}, for {length}.").format(
        job=mrkdwn(job), moment=kit.utc(since), length=kit.duration(now - since)
    )
    return kit.build_message(text, [kit.section(text)])
