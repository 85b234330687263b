"""One sender or address of one domain, down to the single reports."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.core import _, one_line, show_domain, text as words
from dmarckit.facts import Trace, classes_by_day, in_window, kind_word, organisations
from dmarckit.findings import requirement_meaning
from dmarckit.pages.charts import class_chart as draw_classes, class_word, counted, listed
from dmarckit.pages.html import Column
from dmarckit.pages.links import row_target
from dmarckit.pages.sections.base import PageData, Section, ordered, table_section, usual, whole
from dmarckit.pages.sections.findings import Answer
from dmarckit.pages.sections.overview import headline_html, passing
from dmarckit.pages.sections.report import result_columns, with_results

# as in `facts.sql`: what Google writes into the comment of a reason
_CODE = r"(?i)sender requirement failed:\s*\d{3}[- ](\d\.\d{1,3}\.\d{1,3})"


class SenderSections(PageData):
    """What one sender sent as one domain: the page's, else the one with the most messages.

    `sender` is a name as the other sections give it, an address or a network; unless it is
    given, it is the sender with the most failing messages, else with the most messages.
    """

    def sender(self, sender: str = "") -> Section:
        """Say what a sender's mail is and whether it passes.

        `.data`: one row a measure (`messages`, `pass_share` [0-1], `failing` messages):
        `measure`, `value` in the window, `before` (in the window before).
        """
        found, window = self._trace(sender), self.window
        rows = in_window(found.daily, window)
        values = {"value": passing(rows), "before": passing(in_window(found.daily, window.before))}
        frame = pd.DataFrame(values).rename_axis("measure").reset_index()
        names = {"sender": found.name, "domain": found.domain}
        names = {key: one_line(show_domain(name), 160) for key, name in names.items()}
        title = _("{sender}, sending as {domain}").format(**names) if found.name else ""
        return Section(frame, headline_html(_answer(found, rows, names), frame, window, title))

    def sender_classes(self, sender: str = "") -> Section:
        """Draw a sender's messages of each day, by what they prove. Data as `classes_by_day`."""
        found = self._trace(sender)
        daily = classes_by_day(found.daily, found.complete, self.window)
        return Section(daily, figure=draw_classes(daily))

    def sender_addresses(self, sender: str = "") -> Section:
        """Show where a sender sends from, the busiest addresses first.

        `.data`: one row an address: `source_ip`, `host` (confirmed name), `country`,
        `network`, `sender`, `messages`, `pass_share`, `dkim_share`, `spf_share` [0-1],
        `first_day`, `last_day` (UTC).
        """
        found = self._trace(sender)
        frame = found.addresses
        amount = frame["messages"].where(frame["messages"] > 0)
        counts = {"pass_share": "passing", "dkim_share": "dkim", "spf_share": "spf"}
        frame = frame.assign(**{share: frame[name] / amount for share, name in counts.items()})
        numbers = ["messages", *counts, "first_day", "last_day"]
        names = ["source_ip", "host", "country", "network", "sender", *numbers]
        return table_section(
            ordered(whole(frame[names], "messages"), "-messages", "source_ip"),
            Column("source_ip", _("Address"), under="host"),
            *(usual("sender") if found.is_address else ()),
            Column("network", _("Network")),
            Column("country", _("Country")),
            *usual(*numbers),
            caption=_("Addresses, the busiest first"),
            empty=_("No address sent anything in this period."),
        )

    def sender_signatures(self, sender: str = "") -> Section:
        """Show what a sender's messages are signed with, and the raw results.

        `.data`: one row a DKIM signature: `dkim_domain` (d=), `selector` (s=), `aligned` (of
        the author's organisation), `messages`, `results` (dict raw result → messages).
        """
        return _results_section(
            self._trace(sender).signatures,
            Column("dkim_domain", _("DKIM domain (d=)")),
            Column("selector", _("Selector (s=)")),
            caption=_("DKIM signatures, the most used first"),
            empty=_("None of its messages carries a DKIM signature."),
        )

    def sender_spf(self, sender: str = "") -> Section:
        """Show the domains that SPF was checked for, and the raw results.

        `.data`: one row a domain: `spf_domain`, `scope` (mfrom or helo), `aligned`,
        `messages`, `results` (dict raw result → messages).
        """
        return _results_section(
            self._trace(sender).spf.fillna({"spf_domain": ""}),
            Column("spf_domain", _("SPF domain")),
            Column("scope", _("Scope")),
            caption=_("SPF domains, the most used first"),
            empty=_("No receiver gave an SPF result."),
        )

    def sender_reporters(self, sender: str = "") -> Section:
        """Show who saw a sender's messages, and what became of them there.

        `.data`: one row a reporter, most messages first: `reporter`, `reports` (number),
        `messages`, `failing`, `blocked` (messages), `first_day`, `last_day` (UTC).
        """
        frame = whole(self._trace(sender).reporters, "messages", "failing", "blocked")
        return table_section(
            ordered(frame, "-messages", "reporter"),
            Column("reporter", _("Reporter")),
            *usual("messages", "failing", "blocked", "reports", "first_day", "last_day"),
            caption=_("Reporters, those with the most messages first"),
            empty=_("No reporter saw it in this period."),
        )

    def sender_reasons(self, sender: str = "") -> Section:
        """Show why receivers did not follow the policy, or what else they remarked.

        `.data`: one row a reason as receivers gave it: `type`, `comment`, `code` and `means`
        (of a sender requirement, else empty), `messages`, `reporters` (number).
        """
        frame = whole(self._trace(sender).reasons, "messages")
        code = frame["comment"].astype("str").str.extract(_CODE, expand=False)
        frame = frame.assign(code=code.astype(object).where(code.notna(), ""))
        means = [_(requirement_meaning(str(c)).means) if c else "" for c in frame["code"]]
        frame = frame.assign(means=pd.Series(means, frame.index, dtype=object))
        return table_section(
            frame[["type", "comment", "code", "means", "messages", "reporters"]],
            Column("type", _("Reason")),
            Column("comment", _("Comment"), under="means"),
            *usual("messages", "reporters"),
            caption=_("Reasons that receivers gave"),
            empty=_("No receiver gave a reason."),
        )

    def sender_records(self, sender: str = "") -> Section:
        """Show the single records of reports, the failing ones first, then the newest.

        `.data`: up to 1,000 rows of the table `records` (``lake.describe("records")``), with
        `report_id` and `class`.
        """
        found = self._trace(sender)
        shown = with_results(found.records, self.settings.mmdb)
        pairs = zip(shown["reporter"].fillna(""), shown["begin"], shown["end"], strict=True)
        seen = [f"{name}, {words.period(begin, end)}" for name, begin, end in pairs]
        link = row_target("report", "report_uid")
        return table_section(
            found.records,
            Column("seen", _("Report"), under="report_id", link=link),
            *result_columns(),
            caption=_("Reports, those with failing messages first"),
            empty=_("No report mentions it in this period."),
            shown=shown.assign(seen=seen),
            number=found.number,
            query=self._query("records", found.domain),
        )


def _answer(trace: Trace, rows: pd.DataFrame, names: dict[str, str]) -> Answer:
    """Return the answer from the sender's messages of the window."""
    values = passing(rows)
    messages, failing = round(values["messages"]), round(values["failing"])
    if not messages:
        text = _("{sender} sent nothing as {domain} in this period.")
        if not trace.name:
            text = _("Nobody sent anything as {domain} in this period.")
        return Answer("none", text.format(**names))
    kinds = listed(*(one_line(kind_word(kind), 80) for kind in trace.kinds[:3]))
    if trace.is_address:
        who = _("Senders at this address: {senders}.").format(senders=kinds)
    elif trace.in_inventory:
        who = _("A sender of yours ({kind}).").format(kind=kinds)
    else:
        who = _("Not known as a sender of yours ({kind}).").format(kind=kinds)
    sums = rows.groupby("class")["messages"].sum().round().astype("int64")
    sums = sums[sums > 0].sort_values(ascending=False, kind="stable").head(4)
    parts = [f"{class_word(str(name))} {words.count(number)}" for name, number in sums.items()]
    points = [who, _("Classification: {classes}.").format(classes=listed(*parts))]
    text, level = _("All {messages} pass DMARC."), "good"
    if failing:
        text = _("{failing} of {messages} fail DMARC.")
        if failing == messages:
            text = _("All {messages} failed DMARC.")
        fails = rows[~rows["da"] & ~rows["sa"]]
        done = fails.groupby("disposition")["messages"].sum().round()
        stopped = int(done.reindex(["quarantine", "reject"]).fillna(0).sum())
        fate = _("Receivers blocked {stopped} of the failing ones.")
        if not stopped:
            fate = _("Receivers delivered the failing ones anyway.")
        elif stopped >= done.sum():
            fate = _("Receivers blocked all of them.")
        points.append(fate.format(stopped=words.count(stopped)))
        # what was forwarded or changed on its way cannot be mended here
        harmless = fails["class"].isin(["forwarded", "modified"])
        level = "warning" if fails.loc[~harmless, "messages"].sum() >= 1 else "plain"
    sentence = text.format(failing=words.count(failing), messages=words.n_messages(messages))
    return Answer(level, sentence, tuple(points))


def _results_section(frame: pd.DataFrame, *columns: Column, caption: str, empty: str) -> Section:
    """Return one row a pair of two columns (a domain, and what goes with it) with its results."""
    keys = [column.key for column in columns]
    same = organisations(frame[keys[0]]) == organisations(frame["header_from"])
    rows = frame.assign(aligned=same.astype(bool))
    table = rows.groupby(keys).agg(aligned=("aligned", "max"), messages=("messages", "sum"))
    sums: Any = rows.groupby([*keys, "result"])["messages"].sum()
    found: dict[Any, dict[str, int]] = {}
    for (one, two, result), number in sums.sort_values(ascending=False, kind="stable").items():
        found.setdefault((one, two), {})[str(result)] = round(number)
    results = pd.Series([found[key] for key in table.index], table.index, dtype=object)
    table = table.assign(results=results)
    yes, no = _("aligned"), _("not aligned")
    return table_section(
        ordered(whole(table.reset_index(), "messages"), "-messages", keys[0]),
        *columns,
        *usual("messages"),
        Column("results", _("Raw results"), text=lambda row: counted(row.results, 6, _result)),
        Column("counts", _("Aligned"), text=lambda row: yes if row.aligned else no),
        caption=caption,
        empty=empty,
    )


def _result(name: str) -> str:
    return name or _("no result")
