"""Slack messages about runs: the summary, a failure, and that a job works again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dmarckit import core
from dmarckit.core import Window, _, count, n_days, n_messages, ngettext, percent
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Message, code, mrkdwn

if TYPE_CHECKING:
    import pandas as pd

CAUSES = 5  # that a message names; the page has them all


@dataclass(frozen=True)
class News:
    """What is new or worse from one cause; plain text, escaped here."""

    title: str
    state: str  # severity and status
    about: str  # where, how much and since when
    action: str = ""
    records: Sequence[str] = ()  # what to publish, whole


@dataclass(frozen=True)
class Addition:
    """What the notebook of a run adds to its message; plain text, escaped here."""

    headline: str
    numbers: Mapping[str, str]
    chart: kit.StoredFile | None = None


def summary_message(
    headline: pd.DataFrame,
    window: Window,
    page: kit.StoredFile | None,
    chart: kit.StoredFile | None = None,
    news: Sequence[News] | None = None,
    notes: Sequence[str] = (),
    still_open: int = 0,
    group: str = "",
    additions: Sequence[Addition] = (),
    job: str = "",
    title: str = "",
    days: int = 0,
) -> Message:
    """Build the message about a run; without news and notes it is one line and the link.

    `headline` is that of `pages.measure`. `news` has what is new or worse in the last `days` days
    (None: nobody looked, and failing messages are the news), `notes` lines about mails that could
    not be read or trusted. `still_open` causes were sent before. `group` names the domains that
    the message is about; empty: all. `job` and `title` name the run and its page; `additions`
    come before the link to it.
    """
    value = dict(zip(headline["measure"], headline["value"], strict=True))
    before = dict(zip(headline["measure"], headline["before"], strict=True))
    said = _said(value)
    names = [part for part in ("DMARC", group, job) if part]
    about = " · ".join([*(mrkdwn(name, 60) for name in names), str(window)])
    link = _("Open the page")
    if title:
        link = _("Open the page: {title}").format(title=mrkdwn(title, 80))
    ending = [*_added(additions), *kit.link_lines([(link, page)])]
    open_now = count(still_open)
    if not (news or notes or (news is None and value["failing"] > 0)):
        text = _("{about}: {what}.")
        if still_open:
            text = ngettext(
                "{about}: Nothing new; {n} finding still open. {what}.",
                "{about}: Nothing new; {n} findings still open. {what}.",
                still_open,
            )
        elif value["reports"]:
            text = _("{about}: No open findings. {what}.")
        text = text.format(about=about, n=open_now, what=said)
        return kit.build_message(text, [kit.section(text), *ending])
    state = _("{n} new or worse").format(n=count(len(news or ())))
    if still_open:
        state = _("{news}, {n} still open").format(news=state, n=open_now)
    lines = [f"*{state}*"] if news is not None else []
    lines.append(_("{sentence}.").format(sentence=said))
    if before["reports"] and value["messages"]:
        text = _("Previous {days}: {share} of {messages} passed, {failing} failed.")
        lines.append(text.format(days=n_days(window.days), **_numbers(before)))
    plain = " · ".join([*(core.one_line(name, 60) for name in names), str(window)])
    blocks = [kit.header(plain), kit.section("\n".join(lines))]
    heading = _("New or worse")
    if days and days != window.days:
        heading = _("New or worse, last {n} days").format(n=count(days))
    told = [_news_line(item) for item in news or ()]
    needed = [mrkdwn(note, 300) for note in notes]
    for name, items in ((heading, told), (_("Needs attention"), needed)):
        if items:
            listed = kit.bullet_list(items, most=CAUSES)
            blocks.append(kit.section(f"*{name}*\n{listed}"))
    alt = _("Passing and failing messages per day: {what}").format(what=said)
    blocks += [*ending, *kit.image(chart, alt)]
    return kit.build_message(_("{about}: {what}").format(about=about, what=said), blocks)


def _news_line(item: News) -> str:
    """Return one cause: what, where and how much, what to do; its records where they fit whole."""
    text = _("*{title}* ({state})").format(title=mrkdwn(item.title, 150), state=mrkdwn(item.state))
    lines = [text, mrkdwn(item.about, 300), item.action and f"→ {mrkdwn(item.action, 400)}"]
    lines += [code(record, 400) for record in item.records if len(record) <= 400]
    return "\n   ".join(filter(None, lines))


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


def _said(value: dict[str, float]) -> str:
    if not value["reports"]:
        return _("No reports received")
    if not value["messages"]:
        return _("{reports} without any message").format(reports=core.n_reports(value["reports"]))
    text = _("{share} of {messages} pass DMARC ({reports} from {reporters})")
    if value["failing"]:
        text = _("{share} of {messages} pass DMARC, {failing} fail ({reports} from {reporters})")
    reports, reporters = core.n_reports(value["reports"]), core.n_reporters(value["reporters"])
    return text.format(**_numbers(value), reports=reports, reporters=reporters)


def _numbers(value: dict[str, float]) -> dict[str, str]:
    share, failing = percent(value["pass_share"]), count(value["failing"])
    return {"share": share, "messages": n_messages(value["messages"]), "failing": failing}


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
    title = _("Job {job} failed").format(job=job)
    lasts = _("{moment}, for {length}")
    if now - since < timedelta(minutes=1):
        lasts = _("{moment}, the first run that failed")
    lasts = lasts.format(moment=core.moment(since), length=kit.duration(now - since))
    pairs = [(_("Failing since"), lasts), (_("Run"), code(run))]
    todo = _("Next: {doctor} checks the settings; {run} retries now.")
    if notebook is not None:
        pairs.append((_("Notebook with the error (last cell)"), code(notebook, 300)))
    if owner:
        pairs.append((_("Owner"), mrkdwn(owner)))
    blocks = [
        kit.header(title),
        kit.section(f"*{mrkdwn(error, 1500)}*"),
        kit.fields(pairs),
        kit.section(todo.format(doctor=code("dmarckit doctor"), run=code(f"dmarckit run {job}"))),
        kit.context(_("You will be reminded daily until it recovers.")),
    ]
    text = _("{title}: {error}").format(title=mrkdwn(title), error=mrkdwn(error, 300))
    return kit.build_message(text, blocks)


def recovery_message(job: str, *, since: datetime, now: datetime) -> Message:
    """Build the message that a job works again, with how long it did not."""
    text = _("Job {job} has recovered. It had been failing since {moment}, for {length}.").format(
        job=mrkdwn(job), moment=core.moment(since), length=kit.duration(now - since)
    )
    return kit.build_message(text, [kit.section(text)])
