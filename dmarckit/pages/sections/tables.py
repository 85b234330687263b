"""Small frames (from `summary`) → HTML tables and the headline, every value escaped.

This is the only place that writes HTML by hand: `_escape` is applied to whatever comes from
a frame, and the few fixed tags are in the functions below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from dmarckit.core import words
from dmarckit.core.errors import one_line
from dmarckit.core.language import _, later, ngettext
from dmarckit.core.periods import period
from dmarckit.core.window import Window
from dmarckit.facts.sender_words import kind_word
from dmarckit.pages.markup import Closer, Column, Html, escape, table
from dmarckit.pages.page_links import PageLinks
from dmarckit.pages.sections.answer import Answer
from dmarckit.pages.table_words import class_word, what_was_done

Closes = Callable[[Any], Closer]
"""row → the page about it"""


def headline(
    answer: Answer, measures: pd.DataFrame, window: Window, about: str | None = None
) -> Html:
    """The answer, its reasons and the figures with their change. Takes `domain_summary.headline`.

    A page `about` one domain is named after it, and does not count domains.
    """
    points = "".join(f"<li>{escape(point)}</li>" for point in answer.points)
    cards = "".join(
        _card(name, _(label), _row(measures, name))
        for name, label in _CARDS.items()
        if name in set(measures["measure"]) and not (about and name == "domains")
    )
    help_text = f"<p>{_no_data()}</p>" if answer.level == "none" else ""
    compared = ngettext(
        "{days} (UTC), compared with the day before.",
        "{days} (UTC), compared with the {n} days before.",
        window.days,
    ).format(days=window, n=words.count(window.days))
    return Html(
        f'<div class="dk-answer {answer.level}">'
        f'<p class="dk-sentence">{escape(answer.sentence)}</p>'
        f"{f'<ul>{points}</ul>' if points else ''}{help_text}</div>"
        f'<dl class="dk-cards">{cards}</dl>'
        f'<p class="dk-note">{escape(compared)}</p>',
        _("DMARC of {domain}").format(domain=one_line(about, 80)) if about else "",
    )


_CARDS = {
    "pass_share": later("pass DMARC"),
    "failing": later("failing messages"),
    "messages": later("messages"),
    "domains": later("domains"),
    "reporters": later("reporters"),
    "reports": later("reports"),
}
_GOOD_IS = {"pass_share": 1, "failing": -1}


def _no_data() -> str:
    text = escape(
        _(
            "Reports come once a day from each receiver. If mails have arrived, run {command}; "
            "if none have, check that the {tag} address in the DMARC record of each domain leads "
            "to the bucket in the settings, or ask for more days."
        ),
        500,
    )
    return text.format(command="<code>dmarckit ingest</code>", tag="<code>rua</code>")


def domains(frame: pd.DataFrame, links: PageLinks | None = None) -> Html:
    """Takes `fleet_summary.domains`; with `links` each domain leads to its page."""
    columns = [
        Column("domain", _("Domain"), closer=_domain_page(links)),
        Column("messages", _("Messages"), "count"),
        Column("pass_share", _("Pass DMARC"), "share", lambda r: _before(r.pass_share, r.before)),
        Column("failing", _("Failing"), "bar"),
        Column("delivered", _("Failing, delivered"), "count"),
        Column("policy", _("Policy"), "policy"),
        Column("not_met", _("Rules not met"), "count"),
        Column("reporters", _("Reporters"), "count"),
        Column("last_end", _("Reported until"), "minute"),
    ]
    caption = _("Domains, the one with the most failing messages first")
    return table(frame, columns, caption=caption, empty=_("No domain has a report on these days."))


def failing_senders(frame: pd.DataFrame, links: PageLinks | None = None, limit: int = 20) -> Html:
    """Takes `fleet_summary.failing_senders`; beyond `limit` rows only says how many there are.

    With `links` each sender leads to its page.
    """
    rows = frame.head(limit)
    rows = rows.assign(
        what=rows["class"].map(class_word),
        done=[what_was_done(row) for row in rows.itertuples(index=False)],
    )
    columns = [
        Column(
            "sender",
            _("Sender"),
            under=lambda r: kind_word(r.sender_kind),
            closer=sender_closer(links),
        ),
        Column("messages", _("Failing"), "bar"),
        Column("domain", _("Sent as")),
        Column("what", _("What it is")),
        Column("done", _("What receivers did")),
        Column("reporters", _("Reporters"), "count"),
        Column("first_day", _("First day"), "day"),
        Column("last_day", _("Last day"), "day"),
    ]
    caption = _("Senders of failing messages, the largest first")
    shown = table(rows, columns, caption=caption, empty=_("No message failed DMARC on these days."))
    rest = frame.iloc[limit:]
    if rest.empty:
        return shown
    text = ngettext(
        "And {n} smaller sender with {messages} in all.",
        "And {n} smaller senders with {messages} in all.",
        len(rest),
    )
    return _and_more(shown, text, rest)


def _and_more(shown: Html, text: str, rest: pd.DataFrame) -> Html:
    sent = rest["messages"].sum()
    messages = ngettext("{n} failing message", "{n} failing messages", sent)
    told = text.format(n=words.count(len(rest)), messages=messages.format(n=words.count(sent)))
    return Html(f'{shown.markup}<p class="dk-note">{escape(told)}</p>')


def ladder(frame: pd.DataFrame) -> Html:
    """Takes `fleet_summary.ladder`."""
    columns = [
        Column("step", _("Policy")),
        Column("domains", _("Domains"), "volume"),
        Column("names", _("Which")),
    ]
    frame = frame.assign(step=frame["step"].map(_))
    rows = frame if frame["domains"].any() else frame.iloc[:0]
    empty = _("No domain has a report.")
    return table(rows, columns, caption=_("Domains by policy, from open to strict"), empty=empty)


def reports(frame: pd.DataFrame, links: PageLinks | None = None) -> Html:
    """Takes `summary.newest_reports`; with `links` each report leads to its page."""
    columns = [
        Column(
            "reporter",
            _("Reporter"),
            under=lambda r: str(r.report_id or ""),
            closer=_report_page(links),
        ),
        Column("domain", _("Domain")),
        Column("period", _("Period (UTC)"), "period"),
        Column("messages", _("Messages"), "count"),
        Column("failing", _("Failing"), "count"),
        Column("pass_share", _("Pass DMARC"), "share"),
    ]
    caption = _("The newest reports")
    periods = [period(begin, end) for begin, end in zip(frame["begin"], frame["end"], strict=True)]
    return table(
        frame.assign(period=periods),
        columns,
        caption=caption,
        empty=_("No report covers these days."),
    )


def refused(frame: pd.DataFrame) -> Html:
    """Takes `summary.refused_mails`."""
    columns = [
        Column("outcome", _("Outcome"), "outcome"),
        Column("from_domain", _("Sent by")),
        Column("reason", _("Why"), under=_newest),
        Column("mails", _("Mails"), "count"),
        Column("last", _("Last received (UTC)"), "minute"),
    ]
    caption = _("Mails that gave no report")
    empty = _("No mail of these days was refused or unreadable.")
    return table(frame, columns, caption=caption, empty=empty)


def inputs(frame: pd.DataFrame) -> Html:
    """What the page was made from, in a sentence. Takes `fleet_summary.inputs`."""
    rows = frame.set_index("input")
    number = rows["number"]
    n = number["records"]
    records = ngettext("{n} record", "{n} records", n).format(n=words.count(n))
    n = number["mails"]
    mails = ngettext("{n} mail", "{n} mails", n).format(n=words.count(n))
    newest: Any = rows["last"]["mails"]
    text = _("Made from {mails} with {reports} and {records}.")
    if not words.is_missing(newest):
        text = _(
            "Made from {mails} with {reports} and {records}; the newest mail came on {time} UTC."
        )
    told = text.format(
        mails=mails,
        reports=words.n_reports(number["reports"]),
        records=records,
        time=words.minute(newest),
    )
    return Html(f'<p class="dk-note">{escape(told)}</p>')


def sender_closer(links: PageLinks | None, domain: str = "") -> Closes | None:
    """Row with `sender`, and `domain` unless it is given → the sender's page."""
    if links is None:
        return None
    return lambda r: links.closer("sender", domain=domain or str(r.domain), sender=str(r.sender))


def _domain_page(links: PageLinks | None) -> Closes | None:
    return None if links is None else lambda r: links.closer("domain", domain=str(r.domain))


def _report_page(links: PageLinks | None) -> Closes | None:
    return None if links is None else lambda r: links.closer("report", report_uid=r.report_uid)


def _card(name: str, label: str, row: pd.Series[Any]) -> str:
    is_share = name == "pass_share"
    value = words.percent(row["value"]) if is_share else words.count(row["value"])
    if is_share:
        change = words.points(row["value"] - row["before"])
    else:
        change = words.change(row["value"], row["before"])
    direction = _GOOD_IS.get(name, 0) * (row["value"] - row["before"])
    level = "good" if direction > 0 else "bad" if direction < 0 else "plain"
    if change == _("unchanged"):
        level = "plain"
    change = escape(change or _("no earlier data"))
    return (
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd>"
        f'<dd class="dk-change {level}">{change}</dd></div>'
    )


def _row(measures: pd.DataFrame, name: str) -> pd.Series[Any]:
    return measures[measures["measure"] == name].iloc[0]


def _newest(row: Any) -> str:
    return _("newest: {key}").format(key=row.key)


def _before(now: float, before: float) -> str:
    return words.points(now - before)
