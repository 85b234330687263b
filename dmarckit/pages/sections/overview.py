"""Small frames (from `summary`) → HTML tables and the headline, every value escaped.

This is the only place that writes HTML by hand: `_escape` is applied to whatever comes from
a frame, and the few fixed tags are in the functions below.

Frames of the lake → small frames that answer one question each.

Counts are messages, never rows; shares are fractions [0-1], and NaN when there is nothing
to divide by (0 of 0 is no data, not 0 %). An empty frame gives an empty frame with the same
columns, or rows of zeros where the docstring says so. No function changes its input.

Facts of all domains → the frames of the overview. No function changes its input.

Counts are messages; fractions of spread reports are rounded. Without facts there are the same
columns and no rows, or rows of zeros where the docstring says so.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.checks import Outside, matrix, not_met
from dmarckit.core import Window, _, later, ngettext, one_line, period, text as words
from dmarckit.facts import Facts, days_of, in_window, kind_word, whole_days
from dmarckit.findings import quoted_policy
from dmarckit.pages.charts import class_word, what_was_done
from dmarckit.pages.html import Column, Html, escape, table
from dmarckit.pages.links import PageLinks, row_link
from dmarckit.pages.sections.domain import most_first
from dmarckit.pages.sections.findings import Answer


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
        Column("domain", _("Domain"), link=row_link(links, "domain", "domain")),
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
            link=row_link(links, "sender", "domain", "sender"),
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
            link=row_link(links, "report", "report_uid"),
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


OUTCOMES = ("delivered", "quarantined", "rejected", "unstated")
"""what the receiver did with a message (``disposition``)"""


def newest_reports(reports: pd.DataFrame, limit: int = 15) -> pd.DataFrame:
    """One row a report, the latest period first; at most `limit` rows.

    Columns: `reporter`, `domain`, `begin`, `end`, `messages`, `failing`, `pass_share`,
    `report_id`, `report_uid`.
    """
    table = reports.sort_values(["end", "reporter", "domain"], ascending=[False, True, True])
    table = table.head(limit).reset_index(drop=True)
    passing = table["messages"] - table["failing"]
    table = table.assign(pass_share=(passing / table["messages"].where(table["messages"] > 0)))
    columns = ["reporter", "domain", "begin", "end", "messages", "failing", "pass_share"]
    return table[[*columns, "report_id", "report_uid"]]


def refused_mails(mails: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of mail that gave no report: not trusted, not readable, or no report.

    Columns: `outcome`, `from_domain`, `reason`, `mails` (number), `first`, `last` (received),
    `key` (of the newest such mail). Untrusted first, then unreadable, then not_a_report.
    """
    rank = {"untrusted": 0, "unreadable": 1, "not_a_report": 2}
    rows = mails[mails["outcome"].isin(list(rank))].sort_values("received")
    table = (
        rows.assign(reason=rows["error"])
        .groupby(["outcome", "from_domain", "reason"], dropna=False)
        .agg(
            mails=("key", "size"),
            first=("received", "min"),
            last=("received", "max"),
            key=("key", "last"),
        )
        .reset_index()
    )
    table = table.assign(rank=table["outcome"].map(rank))
    order = ["rank", "mails", "last"]
    table = table.sort_values(order, ascending=[True, False, False], ignore_index=True)
    return table.drop(columns="rank")


STEPS = (
    later("not quoted"),
    "p=none",
    "p=quarantine; t=y",
    "p=quarantine",
    "p=reject; t=y",
    "p=reject",
)
"""the ladder of policies; pct below 100 counts as testing"""

_DONE = {"none": "delivered", "pass": "delivered", "quarantine": "quarantined"}
_DONE |= {"reject": "rejected"}


def failing_by_day(messages: pd.DataFrame, complete: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row a day of the window: `day`, `messages`, `fail`, the failing messages by what the
    receivers did (`summary.OUTCOMES`), and `complete` as in `class_summary.classes_by_day`."""
    days = days_of(window)
    rows = in_window(messages, window)
    failing = _failing(rows)
    parts = {
        "messages": rows.groupby("day")["messages"].sum(),
        "fail": failing.groupby("day")["messages"].sum(),
    }
    done = failing.groupby(["day", "done"])["messages"].sum()
    parts |= {name: done[done.index.get_level_values("done") == name] for name in OUTCOMES}
    table = pd.DataFrame(
        {n: p.groupby("day").sum().reindex(days, fill_value=0) for n, p in parts.items()}
    )
    table = table.round().astype("int64").assign(complete=whole_days(complete, window))
    return table.rename_axis("day").reset_index()


def domains_frame(facts: Facts, window: Window, outside: Outside | None = None) -> pd.DataFrame:
    """One row a domain with reports in the window, most failing messages first.

    Columns: `domain`, `messages`, `failing`, `delivered` (failing, and delivered all the
    same), `pass_share`, `before` (the pass share of the window before), `policy` (p as
    quoted; None when nobody has), `reporters`, `last_end` (of the newest report),
    `not_met` (requirements of mailbox providers that are not met; null: none is known).
    """
    reports = facts.reports
    reports = reports[(reports["begin"] >= window.start) & (reports["begin"] < window.end)]
    groups = reports.groupby("domain")
    table = pd.DataFrame(
        {"reporters": groups["reporter"].nunique(), "last_end": groups["end"].max()}
    )
    policies = facts.policies.groupby("domain")
    table["policy"] = pd.Series({n: quoted_policy(str(n), p).p for n, p in policies}, dtype=object)
    now, before = _shares(facts, window), _shares(facts, window.before)
    table = table.join(now)
    table["before"] = before["pass_share"].reindex(table.index)
    counts = ["messages", "failing", "delivered"]
    table[counts] = table[counts].fillna(0).round().astype("int64")
    table["not_met"] = not_met(matrix(facts, outside or Outside())).reindex(table.index)
    columns = ["domain", *counts, "pass_share", "before", "policy", "not_met", "reporters"]
    table = table.rename_axis("domain").reset_index()[[*columns, "last_end"]]
    order = ["failing", "messages", "domain"]
    return table.sort_values(order, ascending=[False, False, True], ignore_index=True)


def failing_senders_frame(facts: Facts, window: Window) -> pd.DataFrame:
    """One row a domain and sender with failing messages, most of them first.

    Columns: `domain`, `sender`, `sender_kind`, `class` (of most of them), `messages` (failing
    ones), the same by `summary.OUTCOMES`, `reporters` (number), `first_day`, `last_day`.
    """
    rows = _failing(in_window(facts.messages, window))
    rows = rows.astype(dict.fromkeys(["domain", "sender", "sender_kind", "class"], "str"))
    keys = ["domain", "sender"]
    table = rows.groupby(keys).agg(
        sender_kind=("sender_kind", "first"),
        messages=("messages", "sum"),
        reporters=("reporter", "nunique"),
        first_day=("day", "min"),
        last_day=("day", "max"),
    )
    done = rows.groupby([*keys, "done"])["messages"].sum().unstack("done")
    table = table.join(done.reindex(columns=list(OUTCOMES)).fillna(0))
    sums = rows.groupby([*keys, "class"])["messages"].sum().sort_values(ascending=False)
    table["class"] = sums.reset_index().drop_duplicates(keys).set_index(keys)["class"]
    whole = ["messages", *OUTCOMES]
    table[whole] = table[whole].round().astype("int64")
    columns = [*keys, "sender_kind", "class", *whole, "reporters", "first_day", "last_day"]
    return most_first(table.reset_index()[columns], "sender")


def ladder_frame(facts: Facts) -> pd.DataFrame:
    """One row a step of the ladder (`STEPS`): `step`, `domains` (number), `names` (up to 20)."""
    names: dict[str, list[str]] = {step: [] for step in STEPS}
    quoted = {str(n): quoted_policy(str(n), p) for n, p in facts.policies.groupby("domain")}
    for name in sorted(set(facts.reports["domain"].astype("str"))):
        policy = quoted.get(name)
        p = policy.p if policy else None
        testing = bool(policy and (policy.testing == "y" or policy.pct is not None))
        step = f"p={p}" + ("; t=y" if testing and p in ("quarantine", "reject") else "")
        names[step if step in names else STEPS[0]].append(name)
    return pd.DataFrame(
        {
            "step": list(names),
            "domains": [len(found) for found in names.values()],
            "names": [", ".join(found[:20]) for found in names.values()],
        }
    )


def inputs_frame(reports: pd.DataFrame, mails: pd.DataFrame) -> pd.DataFrame:
    """What a page was made from, one row an input: `input`, `number`, `first`, `last`."""
    begin, received = reports["begin"], mails["received"]
    rows = [
        ("mails", len(mails), received.min(), received.max()),
        ("reports", len(reports), begin.min(), begin.max()),
        ("records", int(reports["records"].sum()), begin.min(), begin.max()),
    ]
    return pd.DataFrame(rows, columns=["input", "number", "first", "last"])


def _failing(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that fail DMARC, with `done`: what the receivers did (`summary.OUTCOMES`)."""
    failing = rows[~rows["da"] & ~rows["sa"]]
    done = failing["disposition"].astype("str").map(_DONE).astype(object).fillna("unstated")
    return failing.assign(done=done)


def _shares(facts: Facts, window: Window) -> pd.DataFrame:
    """Indexed by domain: messages, failing, delivered (failing ones), pass_share."""
    rows = in_window(facts.messages, window)
    failing = rows["messages"].mask(rows["da"] | rows["sa"], 0)
    done = rows["disposition"].astype("str").map(_DONE)
    rows = rows.assign(failing=failing, delivered=failing.where(done == "delivered", 0))
    columns = ["messages", "failing", "delivered"]
    table = rows.groupby("domain", observed=True)[columns].sum()
    table.index = table.index.astype("str")
    some = table["messages"].where(table["messages"] > 0)
    return table.assign(pass_share=(table["messages"] - table["failing"]) / some)
