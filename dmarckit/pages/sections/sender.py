"""One sender or address of one domain: its answer and tables, every value escaped.

What was traced of a sender or address → the small frames of its page.

Counts are messages (fractions of spread reports are rounded), shares are fractions [0-1], NaN
where there is nothing to divide by. Without records there are the same columns and no rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dmarckit.core import Window, _, ngettext, one_line, period, text as words
from dmarckit.facts import Trace, in_window, kind_word, organisations
from dmarckit.findings import requirement_meaning
from dmarckit.pages.charts import class_word, listed
from dmarckit.pages.html import Column, Html, table
from dmarckit.pages.links import PageLinks, row_link
from dmarckit.pages.sections import overview
from dmarckit.pages.sections.domain import most_first
from dmarckit.pages.sections.findings import Answer
from dmarckit.pages.sections.report import envelope, result_columns, with_results

_CODE = r"(?i)sender requirement failed:\s*\d{3}[- ](\d\.\d{1,3}\.\d{1,3})"
"""as in `facts_sql`: what Google writes into the comment of a reason"""


def headline_frame(trace: Trace, window: Window) -> pd.DataFrame:
    """As `domain_summary.headline`: messages, pass_share and failing; no other measure."""
    values = {}
    for name, part in (("value", window), ("before", window.before)):
        rows = in_window(trace.daily, part)
        messages = float(rows["messages"].sum())
        passing = float(rows.loc[rows["da"] | rows["sa"], "messages"].sum())
        values[name] = {
            "pass_share": passing / messages if messages else float("nan"),
            "failing": messages - passing,
            "messages": messages,
        }
    table = pd.DataFrame(values).rename_axis("measure").reset_index()
    return table[["measure", "value", "before"]]


def classes(trace: Trace, window: Window) -> dict[str, int]:
    """Class → messages in the window, most first."""
    sums = in_window(trace.daily, window).groupby("class")["messages"].sum()
    ordered = sums.round().astype("int64").sort_values(ascending=False, kind="stable")
    return {str(name): int(number) for name, number in ordered.items() if number}


def dispositions(trace: Trace, window: Window) -> dict[str, int]:
    """What receivers did (``none``, ``quarantine``, …; empty: not said) → failing messages."""
    rows = in_window(trace.daily, window)
    rows = rows[~rows["da"] & ~rows["sa"]]
    sums = rows.groupby("disposition")["messages"].sum().round().astype("int64")
    return {str(name): int(number) for name, number in sums.items() if number}


def addresses_frame(trace: Trace) -> pd.DataFrame:
    """One row an address, most messages first: `source_ip`, `host`, `country`, `network`,
    `sender`, `messages`, `pass_share`, `dkim_share`, `spf_share`, `first_day`, `last_day`."""
    frame = trace.addresses
    amount = frame["messages"].where(frame["messages"] > 0)
    frame = frame.assign(
        pass_share=frame["passing"] / amount,
        dkim_share=frame["dkim"] / amount,
        spf_share=frame["spf"] / amount,
    )
    columns = ["source_ip", "host", "country", "network", "sender", "messages", "pass_share"]
    columns += ["dkim_share", "spf_share", "first_day", "last_day"]
    return most_first(_whole(frame[columns]), "source_ip")


def signatures_frame(trace: Trace) -> pd.DataFrame:
    """One row a DKIM signature: `dkim_domain`, `selector`, `aligned` (of the author's
    organisation), `messages` that carry it, `results` (dict raw result → messages)."""
    return _by_result(trace.signatures, ["dkim_domain", "selector"])


def spf_frame(trace: Trace) -> pd.DataFrame:
    """One row a domain that SPF was checked for: `spf_domain`, `scope`, `aligned`, `messages`,
    `results` (dict raw result → messages)."""
    return _by_result(trace.spf.fillna({"spf_domain": ""}), ["spf_domain", "scope"])


def reasons_frame(trace: Trace) -> pd.DataFrame:
    """One row a reason for not following the policy, as receivers gave it: `type`, `comment`,
    `code` and `means` (of a sender requirement, else empty), `messages`, `reporters`."""
    frame = _whole(trace.reasons)
    text = frame["comment"].astype(object).where(frame["comment"].notna(), "").astype("str")
    code = text.str.extract(_CODE, expand=False).astype(object)
    code = code.where(code.notna(), "")
    means = [_(requirement_meaning(str(c)).means) if c else "" for c in code]
    return frame.assign(code=code, means=pd.Series(means, index=frame.index, dtype=object))[
        ["type", "comment", "code", "means", "messages", "reporters"]
    ]


def reporters_frame(trace: Trace) -> pd.DataFrame:
    """One row a reporter, most messages first; columns as `Trace.reporters`."""
    return most_first(_whole(trace.reporters), "reporter")


def _by_result(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row a pair of `keys` (a domain, and what goes with it)."""
    same = organisations(frame[keys[0]]) == organisations(frame["header_from"])
    rows = frame.assign(aligned=same.astype(bool))
    table = rows.groupby(keys).agg(aligned=("aligned", "max"), messages=("messages", "sum"))
    sums = rows.groupby([*keys, "result"])["messages"].sum().reset_index()
    ordered = sums.sort_values("messages", ascending=False, kind="stable")
    found: dict[Any, dict[str, int]] = {}
    for one, two, result, number in ordered.itertuples(index=False):
        found.setdefault((one, two), {})[str(result)] = round(number)
    results = [found[key] for key in table.index]
    table = table.assign(results=pd.Series(results, index=table.index, dtype=object))
    return most_first(_whole(table.reset_index()), keys[0])


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    counts = [c for c in ("messages", "failing", "blocked") if c in frame]
    return frame.assign(**{c: frame[c].fillna(0).round().astype("int64") for c in counts})


SHOWN = 50
"""rows of a table; the rest is only counted"""


def headline(trace: Trace, window: Window) -> Html:
    """What this sender's mail is and whether it passes; the page is named after it."""
    measures = headline_frame(trace, window)
    shown = overview.headline(_answer(trace, window), measures, window)
    if not trace.name:
        return shown
    title = _("{sender}, sending as {domain}").format(
        sender=one_line(trace.name, 80), domain=one_line(trace.domain, 80)
    )
    return Html(shown.markup, title)


def _answer(trace: Trace, window: Window) -> Answer:
    values = headline_frame(trace, window).set_index("measure")["value"]
    messages, failing = values["messages"], values["failing"]
    if not round(messages):
        text = _("{sender} sent nothing as {domain} on these days.")
        if not trace.name:
            text = _("Nobody sent anything as {domain} on these days.")
        names = {"sender": one_line(trace.name, 80), "domain": one_line(trace.domain, 80)}
        return Answer("none", text.format(**names), ())
    points = [_who(trace)]
    if round(failing):
        text = (
            _("All of {messages} fail DMARC.")
            if round(failing) == round(messages)
            else _("{failing} of {messages} fail DMARC.")
        )
        points += [_what(trace, window), _done(trace, window)]
        level = "warning" if _can_be_mended(trace, window) else "plain"
    else:
        text, level = _("All of {messages} pass DMARC."), "good"
        points.append(_what(trace, window))
    sentence = text.format(failing=words.count(failing), messages=_messages(messages))
    return Answer(level, sentence, tuple(points))


def _can_be_mended(trace: Trace, window: Window) -> bool:
    """Some of it fails and is not merely mail that was forwarded or changed on its way."""
    rows = in_window(trace.daily, window)
    harmless = rows["class"].isin(["forwarded", "modified"])
    return bool(rows.loc[~rows["da"] & ~rows["sa"] & ~harmless, "messages"].sum() >= 1)


def _who(trace: Trace) -> str:
    kinds = listed(*(one_line(kind_word(kind), 80) for kind in trace.kinds[:3]))
    if trace.is_address:
        return _("From here come messages of: {senders}.").format(senders=kinds)
    if trace.in_inventory:
        return _("A sender of yours ({kind}).").format(kind=kinds)
    return _("Not known as a sender of yours ({kind}).").format(kind=kinds)


def _what(trace: Trace, window: Window) -> str:
    parts = [
        f"{class_word(name)} {words.count(number)}"
        for name, number in classes(trace, window).items()
    ]
    return _("What its messages are: {classes}.").format(classes=listed(*parts[:4]))


def _done(trace: Trace, window: Window) -> str:
    done = dispositions(trace, window)
    stopped = done.get("quarantine", 0) + done.get("reject", 0)
    failing = sum(done.values())
    if not stopped:
        return _("Receivers delivered the failing ones all the same.")
    if stopped >= failing:
        return _("Receivers blocked all failing ones.")
    return _("Receivers blocked {stopped} of the failing ones.").format(
        stopped=words.count(stopped)
    )


def addresses(trace: Trace) -> Html:
    """Where it sends from. Takes `trace.trace`."""
    frame = addresses_frame(trace)
    columns = [
        Column("source_ip", _("Address"), under=lambda r: _plain(r.host)),
        Column("network", _("Network")),
        Column("country", _("Country")),
        Column("messages", _("Messages"), "volume"),
        Column("pass_share", _("Pass DMARC"), "share"),
        Column("dkim_share", "DKIM", "share"),
        Column("spf_share", "SPF", "share"),
        Column("first_day", _("First day"), "day"),
        Column("last_day", _("Last day"), "day"),
    ]
    if trace.is_address:
        columns.insert(1, Column("sender", _("Sender")))
    empty = _("No address sent anything on these days.")
    return _cut(frame, columns, _("Addresses, the busiest first"), empty)


def signatures(trace: Trace) -> Html:
    """What its messages are signed with, and the raw results."""
    columns = [
        Column("dkim_domain", _("DKIM domain (d=)")),
        Column("selector", _("Selector (s=)")),
        Column("messages", _("Messages"), "volume"),
        Column("results", _("Raw results")),
        Column("counts", _("Counts for DMARC")),
    ]
    empty = _("None of its messages carries a DKIM signature.")
    caption = _("DKIM signatures, the most used first")
    return _cut(_in_words(signatures_frame(trace)), columns, caption, empty)


def spf(trace: Trace) -> Html:
    """The domains that SPF was checked for, and the raw results."""
    columns = [
        Column("spf_domain", _("SPF domain")),
        Column("scope", _("Taken from")),
        Column("messages", _("Messages"), "volume"),
        Column("results", _("Raw results")),
        Column("counts", _("Counts for DMARC")),
    ]
    empty = _("No receiver gave an SPF result.")
    caption = _("SPF domains, the most used first")
    return _cut(_in_words(spf_frame(trace)), columns, caption, empty)


def reporters(trace: Trace) -> Html:
    """Who saw its messages, and what became of them there."""
    columns = [
        Column("reporter", _("Reporter")),
        Column("messages", _("Messages"), "volume"),
        Column("failing", _("Failing"), "count"),
        Column("blocked", _("Blocked"), "count"),
        Column("reports", _("Reports"), "count"),
        Column("first_day", _("First day"), "day"),
        Column("last_day", _("Last day"), "day"),
    ]
    empty = _("No reporter saw it on these days.")
    caption = _("Reporters, those with the most messages first")
    return _cut(reporters_frame(trace), columns, caption, empty)


def reasons(trace: Trace) -> Html:
    """Why receivers did not follow the policy, or what else they remarked."""
    frame = reasons_frame(trace)
    columns = [
        Column("type", _("Reason")),
        Column("comment", _("Comment"), under=lambda r: str(r.means)),
        Column("messages", _("Messages"), "volume"),
        Column("reporters", _("Reporters"), "count"),
    ]
    empty = _("No receiver gave a reason.")
    return _cut(frame, columns, _("Reasons that receivers gave"), empty)


def records(trace: Trace, links: PageLinks) -> Html:
    """The single reports with their raw results, the failing ones first, then the newest."""
    frame = with_results(trace.records)
    spans = zip(frame["begin"], frame["end"], strict=True)
    frame = frame.assign(period=[period(begin, end) for begin, end in spans])
    columns = [
        Column(
            "report_id",
            _("Report"),
            under=lambda r: f"{_plain(r.reporter)}, {r.period}",
            link=row_link(links, "report", "report_uid"),
        ),
        Column("source_ip", _("Source"), under=envelope),
        *result_columns(),
    ]
    empty = _("No report speaks of it on these days.")
    caption = _("Reports, those with failing messages first")
    return _cut(frame, columns, caption, empty, trace.number, len(frame))


def _in_words(frame: pd.DataFrame) -> pd.DataFrame:
    yes, no = _("yes, when it passes"), _("no: another domain")
    return frame.assign(
        counts=[yes if aligned else no for aligned in frame["aligned"]],
        results=[_results(found) for found in frame["results"]],
    )


def _results(found: Mapping[str, int]) -> str:
    """``pass`` alone, or each result with its messages."""
    names = {name or _("no result"): number for name, number in found.items()}
    if len(names) == 1:
        return next(iter(names))
    return listed(*(f"{name} {words.count(number)}" for name, number in list(names.items())[:6]))


def _cut(
    frame: pd.DataFrame,
    columns: list[Column],
    caption: str,
    empty: str,
    number: int = 0,
    limit: int = SHOWN,
) -> Html:
    """The table of the first rows, and how many more of `number` there are."""
    shown = table(frame.head(limit), columns, caption=caption, empty=empty)
    more = (number or len(frame)) - limit
    if more <= 0:
        return shown
    text = ngettext("And {n} more row.", "And {n} more rows.", more).format(n=words.count(more))
    return Html(f'{shown.markup}<p class="dk-note">{text}</p>')


def _messages(number: float) -> str:
    return ngettext("{n} message", "{n} messages", number).format(n=words.count(number))


def _plain(value: Any) -> str:
    return "" if words.is_missing(value) else str(value)
