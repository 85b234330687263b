"""What dmarckit says in Slack when a job does not work, and when it works again."""

from __future__ import annotations

from datetime import datetime

from dmarckit.core.language import _
from dmarckit.core.slack_words import duration, moment
from dmarckit.slack.slack_blocks import Message, context, fields, header, message, section
from dmarckit.slack.slack_text import code, escape, escape_with_records


def failure_message(
    job: str,
    *,
    error: str,
    since: datetime,
    now: datetime,
    run: str,
    notebook: str | None = None,
    owner: str | None = None,
) -> Message:
    """The message about a run that failed: what, since when, where the notebook is, what to do.

    `error` is the line that names the thing, the value and the fix. `since` is the start of
    the first failed run since the last good one.
    """
    title = _("The job {job} failed").format(job=job)
    length = now - since
    lasts = _("{moment}, the first run that failed").format(moment=moment(since))
    if length.total_seconds() >= 60:
        lasts = _("{moment}, for {length}").format(moment=moment(since), length=duration(length))
    pairs = [(_("Failing since"), lasts), (_("Run"), code(run))]
    if notebook is not None:
        pairs.append((_("Notebook with the error"), code(notebook, 300)))
    if owner:
        pairs.append((_("Owner"), escape(owner)))
    blocks = [
        header(title),
        section(f"*{escape_with_records(error, 1500)}*"),
        fields(pairs),
        section(_todo(job, notebook)),
        context(_("Until it works again, this is said once a day.")),
    ]
    text = _("{title}: {error}").format(title=escape(title), error=escape(error, 300))
    return message(text, blocks)


def _todo(job: str, notebook: str | None) -> str:
    run, doctor = code(f"dmarckit run {job}"), code("dmarckit doctor")
    if notebook is not None:
        text = _(
            "What to do: open the notebook, whose last cell shows the error; {doctor} checks the "
            "settings, and {run} tries again now."
        )
    else:
        text = _("What to do: {doctor} checks the settings, and {run} tries again now.")
    return text.format(doctor=doctor, run=run)


def recovery_message(job: str, *, since: datetime, now: datetime) -> Message:
    """The message that a job works again, with how long it did not."""
    text = _("The job {job} works again. It had failed since {moment}, for {length}.").format(
        job=escape(job), moment=moment(since), length=duration(now - since)
    )
    return message(text, [section(text)])
