"""Small frames (from `summary`) → HTML tables and the headline, every value escaped.

This is the only place that writes HTML by hand: `_escape` is applied to whatever comes from
a frame, and the few fixed tags are in the functions below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from dmarckit import words
from dmarckit.answer import Answer
from dmarckit.class_charts import LABELS
from dmarckit.errors import one_line
from dmarckit.language import _
from dmarckit.markup import Closer, Column, Html, escape, table
from dmarckit.page_links import PageLinks
from dmarckit.periods import period
from dmarckit.window import Window

Closes = Callable[[Any], Closer]
"""row → the page about it"""


def headline(
    answer: Answer, measures: pd.DataFrame, window: Window, about: str | None = None
) -> Html:
    """The answer, its reasons and the figures with their change. Takes `summary.headline`.

    A page `about` one domain is named after it, and does not count domains.
    """
    points = "".join(f"<li>{escape(point)}</li>" for point in answer.points)
    cards = "".join(
        _card(name, label, _row(measures, name))
        for name, label in _CARDS.items()
        if name in set(measures["measure"]) and not (about and name == "domains")
    )
    help_text = f"<p>{_NO_DATA}</p>" if answer.level == "none" else ""
    return Html(
        f'<div class="dk-answer {answer.level}">'
        f'<p class="dk-sentence">{escape(answer.sentence)}</p>'
        f"{f'<ul>{points}</ul>' if points else ''}{help_text}</div>"
        f'<dl class="dk-cards">{cards}</dl>'
        f'<p class="dk-note">{escape(window)} (UTC), compared with the '
        f"{'day' if window.days == 1 else words.plural(window.days, 'day')} before.</p>",
        _("DMARC of {domain}").format(domain=one_line(about, 80)) if about else "",
    )


_CARDS = {
    "pass_share": "pass DMARC",
    "failing": "failing messages",
    "messages": "messages",
    "domains": "domains",
    "reporters": "reporters",
    "reports": "reports",
}
_NO_DATA = (
    "Reports come once a day from each receiver. If mails have arrived, run "
    "<code>dmarckit ingest</code>; if none have, check that the <code>rua</code> address in the "
    "DMARC record of each domain leads to the bucket in the settings, or ask for more days."
)
_GOOD_IS = {"pass_share": 1, "failing": -1}


def domains(frame: pd.DataFrame, links: PageLinks | None = None) -> Html:
    """Takes `fleet_summary.domains`; with `links` each domain leads to its page."""
    columns = [
        Column("domain", "Domain", closer=_domain_page(links)),
        Column("messages", "Messages", "count"),
        Column("pass_share", "Pass DMARC", "share", lambda r: _before(r.pass_share, r.before)),
        Column("failing", "Failing", "bar"),
        Column("delivered", "Failing, delivered", "count"),
        Column("policy", "Policy", "policy"),
        Column("reporters", "Reporters", "count"),
        Column("last_end", "Reported until", "minute"),
    ]
    caption = "Domains, the one with the most failing messages first"
    return table(frame, columns, caption=caption, empty="No domain has a report on these days.")


def failing_sources(frame: pd.DataFrame, limit: int = 15) -> Html:
    """Takes `summary.failing_sources`; beyond `limit` rows only says how many there are."""
    rest = frame.iloc[limit:]
    frame = frame.head(limit)
    what = [_what_failed(row) for row in frame.itertuples(index=False)]
    done = [_what_was_done(row) for row in frame.itertuples(index=False)]
    columns = [
        Column("source", "Source", under=lambda r: _addresses(r.addresses)),
        Column("messages", "Failing", "bar"),
        Column("domain", "Sent as"),
        Column("what", "What failed"),
        Column("done", "What receivers did"),
        Column("reporters", "Reporters", "count"),
        Column("first_day", "First seen", "day"),
        Column("last_day", "Last seen", "day"),
    ]
    caption = "Sources of failing messages, the largest first"
    empty = "No message failed DMARC on these days."
    rows = frame.assign(what=what, done=done)
    shown = table(rows, columns, caption=caption, empty=empty)
    if rest.empty:
        return shown
    more = words.plural(len(rest), "smaller source")
    sent = words.plural(rest["messages"].sum(), "failing message")
    return Html(f'{shown.markup}<p class="dk-note">And {more} with {sent} in all.</p>')


def failing_senders(frame: pd.DataFrame, links: PageLinks | None = None, limit: int = 20) -> Html:
    """Takes `fleet_summary.failing_senders`; beyond `limit` rows only says how many there are.

    With `links` each sender leads to its page.
    """
    rows = frame.head(limit)
    rows = rows.assign(
        what=rows["class"].map(LABELS),
        done=[_what_was_done(row) for row in rows.itertuples(index=False)],
    )
    columns = [
        Column(
            "sender",
            "Sender",
            under=lambda r: str(r.sender_kind),
            closer=sender_closer(links),
        ),
        Column("messages", "Failing", "bar"),
        Column("domain", "Sent as"),
        Column("what", "What it is"),
        Column("done", "What receivers did"),
        Column("reporters", "Reporters", "count"),
        Column("first_day", "First day", "day"),
        Column("last_day", "Last day", "day"),
    ]
    caption = "Senders of failing messages, the largest first"
    shown = table(rows, columns, caption=caption, empty="No message failed DMARC on these days.")
    rest = frame.iloc[limit:]
    if rest.empty:
        return shown
    more = words.plural(len(rest), "smaller sender")
    sent = words.plural(rest["messages"].sum(), "failing message")
    return Html(f'{shown.markup}<p class="dk-note">And {more} with {sent} in all.</p>')


def ladder(frame: pd.DataFrame) -> Html:
    """Takes `fleet_summary.ladder`."""
    columns = [
        Column("step", "Policy"),
        Column("domains", "Domains", "volume"),
        Column("names", "Which"),
    ]
    rows = frame if frame["domains"].any() else frame.iloc[:0]
    empty = "No domain has a report."
    return table(rows, columns, caption="Domains by policy, from open to strict", empty=empty)


def reports(frame: pd.DataFrame, links: PageLinks | None = None) -> Html:
    """Takes `summary.newest_reports`; with `links` each report leads to its page."""
    columns = [
        Column(
            "reporter",
            "Reporter",
            under=lambda r: str(r.report_id or ""),
            closer=_report_page(links),
        ),
        Column("domain", "Domain"),
        Column("period", "Period (UTC)", "period"),
        Column("messages", "Messages", "count"),
        Column("failing", "Failing", "count"),
        Column("pass_share", "Pass DMARC", "share"),
    ]
    caption = "The newest reports"
    periods = [period(begin, end) for begin, end in zip(frame["begin"], frame["end"], strict=True)]
    return table(
        frame.assign(period=periods), columns, caption=caption, empty="No report covers these days."
    )


def refused(frame: pd.DataFrame) -> Html:
    """Takes `summary.refused_mails`."""
    columns = [
        Column("outcome", "Outcome", "outcome"),
        Column("from_domain", "Sent by"),
        Column("reason", "Why", under=lambda r: f"newest: {r.key}"),
        Column("mails", "Mails", "count"),
        Column("last", "Last received (UTC)", "minute"),
    ]
    caption = "Mails that gave no report"
    empty = "No mail of these days was refused or unreadable."
    return table(frame, columns, caption=caption, empty=empty)


def inputs(frame: pd.DataFrame) -> Html:
    """What the page was made from, in a sentence. Takes `summary.inputs`."""
    rows = frame.set_index("input")
    number = rows["number"]
    parts = [words.plural(number[name], name[:-1]) for name in ("mails", "reports", "records")]
    newest: Any = rows["last"]["mails"]
    text = f"Made from {parts[0]} with {parts[1]} and {parts[2]}"
    if not words.is_missing(newest):
        text += f"; the newest mail came on {words.minute(newest)} UTC"
    return Html(f'<p class="dk-note">{escape(text)}.</p>')


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
    if change == "unchanged":
        level = "plain"
    return (
        f"<div><dt>{label}</dt><dd>{value}</dd>"
        f'<dd class="dk-change {level}">{change or "no earlier data"}</dd></div>'
    )


def _row(measures: pd.DataFrame, name: str) -> pd.Series[Any]:
    return measures[measures["measure"] == name].iloc[0]


def _before(now: float, before: float) -> str:
    return words.points(now - before)


def _addresses(number: int) -> str:
    return words.plural(number, "address", "addresses") if number > 1 else ""


_FAILED = {
    "dkim": {
        "none": "no DKIM signature",
        "fail": "DKIM signature does not verify",
        "other_domain": "DKIM passes for another domain only",
        "aligned": "",
    },
    "spf": {
        "none": "no SPF result",
        "fail": "SPF fails",
        "other_domain": "SPF passes for another domain only",
        "aligned": "",
    },
}


def _what_failed(row: Any) -> str:
    text = f"{_FAILED['dkim'][row.dkim]}; {_FAILED['spf'][row.spf]}"
    return text[0].upper() + text[1:]


def _what_was_done(row: Any) -> str:
    done = {
        "delivered": row.delivered,
        "sent to spam": row.quarantined,
        "rejected": row.rejected,
        "not said": row.unstated,
    }
    some = {name: number for name, number in done.items() if number}
    if len(some) == 1:
        return f"all {next(iter(some))}"
    return ", ".join(f"{words.count(number)} {name}" for name, number in some.items())
