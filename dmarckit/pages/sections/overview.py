"""The headline of a page, and the sections about all domains."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from markupsafe import Markup

from dmarckit.checks import requirement_matrix, unmet_rules
from dmarckit.core import Window, _, later, ngettext, one_line, period, show_domain, text as words
from dmarckit.facts import Facts, in_window
from dmarckit.findings import BLOCKED, quoted_policies
from dmarckit.pages.charts import listed
from dmarckit.pages.html import Column, Html, escape, render_part
from dmarckit.pages.links import page_target, row_target
from dmarckit.pages.sections import base
from dmarckit.pages.sections.base import (
    DONE,
    PageData,
    Section,
    begun_in,
    ordered,
    table_section,
    usual,
)
from dmarckit.pages.sections.findings import Answer, answer, answer_html, issues_html
from dmarckit.pages.sections.messages import FORGED, is_own

MANY_SENDERS = 3  # of mails that are no reports, from which on they are not named
_OF_ALL = {  # notebooks about all domains → what a link to their page says
    "overview": later("All domains"),
    "requirements": later("Sender requirements"),
    "postmaster": later("Google Postmaster Tools"),
    "tls": later("TLS reports"),
}
_CARDS = {
    "own_share": later("of own mail authenticated"),
    "forged": later("forged messages"),
    "pass_share": later("pass DMARC"),
    "failing": later("failing messages"),
    "messages": later("messages"),
    "domains": later("domains"),
    "reporters": later("reporters"),
}


class OverviewSections(PageData):
    """The answer first, then what is known of all domains."""

    def navigation(self, of: str = "") -> Section:
        """Show the way to other pages; `of` is the notebook that this one is made from.

        From one about a domain it is up to all domains and, from a sender, to the domain; from
        one about all domains to its like. Pages that are not there are left out.

        `.data`: one row a link: `page`, `target` (notebook and parameters).
        """
        names = ["overview"] if self.domain else [name for name in _OF_ALL if name != of]
        pages = [(_(_OF_ALL[name]), page_target(name)) for name in names]
        if self.domain and of == "sender":
            label = _("All senders of {domain}").format(domain=show_domain(self.domain))
            pages.append((label, page_target("domain", domain=self.domain)))
        html = render_part("navigation", pages)
        return Section(pd.DataFrame(pages, columns=["page", "target"]), html)

    def headline(self) -> Section:
        """Say whether anything needs doing, and show the figures with their change.

        `.data`: one row a measure: `measure`, `value` in the window, `before` (in the window
        of the same length before it). Measures: `messages`, `pass_share` [0-1], `failing`,
        `forged` and `stopped` (of these; messages), `own_share` [0-1] (that passes, of what is
        neither forged nor was changed by forwarders), `reports`, `reporters`, `domains`.
        """
        measures, items = measure(self.facts, self.window), self.analysis.findings
        about = one_line(show_domain(self.domain), 160)
        names = ["own_share", "forged", "messages", "reporters"] + ([] if about else ["domains"])
        found, begin = answer(items, measures), None
        if found.level == "none":
            n = self.lake.sql("SELECT count(*) AS n FROM mails")["n"][0]
            begin = checklist(self.settings.mail_url, int(n))
        shown = headline_html(
            found,
            measures[measures["measure"].isin([*names, "stopped"])],
            self.window,
            _("DMARC of {domain}").format(domain=about) if about else "",
            issues_html(items, self.domain, self._is_first),
            begin,
        )
        return Section(measures, shown)

    def domains(self) -> Section:
        """Show how each domain with reports in the window is set up and what passes of its mail.

        Those of which most forged or failing mail was delivered come first.

        `.data`: one row a domain: `domain`, `messages`, `failing`, `delivered` (failing, and
        delivered all the same), `pass_share` [0-1], `before` (`pass_share` of the window
        before), `own_share` [0-1] (that passes, of own mail), `forged`, `forged_delivered`
        (messages), `policy` (p as quoted, or None), `dkim_bits` (shortest key), `spf_lookups`,
        `mta_sts`, `tls_rpt` (states of DNS; null: not checked), `not_met` (requirements of
        mailbox providers; null: none is known), `reporters` (number), `last_end` (UTC, of the
        newest report).
        """
        reports = begun_in(self.facts.reports, self.window)
        last = reports.groupby("domain").agg(**base.TOLD)
        frame, quoted = _shares(self.facts, self.window), quoted_policies(self.facts.policies)
        frame = frame.reindex(last.index)
        frame = frame.assign(
            before=_shares(self.facts, self.window.before)["pass_share"],
            policy=pd.Series({name: one.p for name, one in quoted.items()}, dtype=object),
            not_met=unmet_rules(requirement_matrix(self.facts, self.analysis.outside)),
        )
        frame = frame.join(dns_columns(self.analysis.outside.dns)).join(last)
        frame = frame.rename_axis("domain").reset_index()
        counts = ["messages", "failing", "delivered", "forged", "forged_delivered"]
        frame = base.whole(frame, *counts)
        rows = in_window(self.facts.messages, self.window)
        frame = ordered(frame, "-delivered", "-failing", "-messages", "domain")
        return table_section(
            frame,
            Column("domain", _("Domain"), link=row_target("domain", "domain")),
            Column("messages", _("Messages"), "count"),
            base.outcome_mark(frame, rows, "domain"),
            Column("own_share", _("Own mail"), "share"),
            Column("forged_delivered", _("Forged, delivered"), "bar"),
            Column("policy", _("Policy"), "policy"),
            Column("dkim_bits", _("DKIM keys, bits"), "count"),
            Column("spf_lookups", _("SPF lookups"), "count"),
            Column("mta_sts", "MTA-STS", "dns"),
            Column("tls_rpt", "TLS-RPT", "dns"),
            Column("not_met", _("Rules not met"), "count"),
            caption=_("Domains, those with the most failing mail delivered first"),
            empty=_("No domain has a report in this period."),
            note=base.outcome_key() if len(frame) else "",
        )

    def newest_reports(self, limit: int = 1000) -> Section:
        """Show the newest `limit` aggregate reports of the window, the latest period first.

        `.data`: one row a report: `reporter`, `domain`, `begin`, `end` (UTC), `messages`,
        `failing`, `pass_share` [0-1], `report_id`, `report_uid`.
        """
        stored = self._stored_reports
        rows = ordered(stored, "-end", "reporter", "domain").head(limit)
        passing = rows["messages"] - rows["failing"]
        rows = rows.assign(pass_share=passing / rows["messages"].where(rows["messages"] > 0))
        columns = ["reporter", "domain", "begin", "end", "messages", "failing", "pass_share"]
        link = row_target("report", "report_uid")
        return table_section(
            rows[[*columns, "report_id", "report_uid"]],
            Column("reporter", _("Reporter"), link=link),
            *usual("domain"),
            Column("period", _("Period (UTC)"), "period", text=lambda r: period(r.begin, r.end)),
            Column("messages", _("Messages"), "count"),
            *usual("failing", "pass_share"),
            caption=_("The newest reports"),
            empty=_("No report covers this period."),
            number=len(stored),
            query=self._query("reports", *self._domains),
        )

    def refused_mails(self) -> Section:
        """Show the mails that gave no report: not trusted, not readable, or no report.

        `.data`: one row a kind, untrusted ones first: `outcome`, `from_domain`, `reason`,
        `mails` (number), `first`, `last` (received, UTC), `key` (of the newest such mail).
        """
        rank = {"untrusted": 0, "unreadable": 1, "unreachable": 2, "not_a_report": 3}
        mails = self._stored_mails.rename(columns={"error": "reason"})
        rows = mails[mails["outcome"].isin(list(rank)) & mails["reason"].notna()]
        rows = rows.sort_values("received")
        others = rows["outcome"] == "not_a_report"
        if rows.loc[others, "from_domain"].nunique() > MANY_SENDERS:  # spam: a line is enough
            rows.loc[others, "from_domain"] = None
        keys = ["outcome", "from_domain", "reason"]
        frame = rows.groupby(keys, dropna=False, as_index=False).agg(
            mails=("key", "size"),
            first=("received", "min"),
            last=("received", "max"),
            key=("key", "last"),
        )
        frame["rank"] = frame["outcome"].map(rank)
        return table_section(
            ordered(frame, "rank", "-mails", "-last").drop(columns="rank"),
            Column("outcome", _("Outcome"), "outcome"),
            Column("from_domain", _("Sent by")),
            Column("reason", _("Why"), under=lambda r: _("newest: {key}").format(key=r.key)),
            Column("mails", _("Emails"), "count"),
            Column("last", _("Last received (UTC)"), "minute"),
            caption=_("Emails that were not processed"),
            empty=_("No email was rejected or unreadable in this period."),
        )

    def inputs(self) -> Section:
        """Say in a sentence what the page was made from.

        `.data`: one row an input: `input`, `number`, `first`, `last` (received or begin; UTC).
        """
        reports, mails = self._stored_reports, self._stored_mails
        begin, received = reports["begin"], mails["received"]
        n, last = int(reports["records"].sum()), received.max()
        rows = [
            ("mails", len(mails), received.min(), last),
            ("reports", len(reports), begin.min(), begin.max()),
            ("records", n, begin.min(), begin.max()),
        ]
        frame = pd.DataFrame(rows, columns=["input", "number", "first", "last"])
        text = _("Based on {mails}: {reports}, {records}; the newest arrived {time} UTC.")
        if words.is_missing(last):
            text = _("Based on {mails}: {reports}, {records}.")
        mail = ngettext("{n} email", "{n} emails", len(mails)).format(n=words.count(len(mails)))
        text = text.format(
            mails=mail,
            reports=words.n_reports(len(reports)),
            records=ngettext("{n} record", "{n} records", n).format(n=words.count(n)),
            time=words.minute(last),
        )
        return Section(frame, render_part("note", text))


def measure(facts: Facts, window: Window) -> pd.DataFrame:
    """Return one row a measure, as `OverviewSections.headline` describes."""
    values = {}
    for name, part in (("value", window), ("before", window.before)):
        rows = in_window(facts.messages, part)
        reports = begun_in(facts.reports, part)
        forged = rows["class"].isin(FORGED)
        values[name] = passing(rows) | {
            "own_share": passing(rows[is_own(rows)])["pass_share"],
            "forged": float(rows.loc[forged, "messages"].sum()),
            "stopped": float(
                rows.loc[forged & rows["disposition"].isin(BLOCKED), "messages"].sum()
            ),
            "reports": float(len(reports)),
            "reporters": float(reports["reporter"].nunique()),
            "domains": float(reports["domain"].nunique()),
        }
    return pd.DataFrame(values).rename_axis("measure").reset_index()


def passing(rows: pd.DataFrame) -> dict[str, float]:
    """Return of rows with `da`, `sa` and `messages`: messages, pass_share and failing."""
    messages = float(rows["messages"].sum())
    passed = float(rows.loc[rows["da"] | rows["sa"], "messages"].sum())
    share = passed / messages if messages else float("nan")
    return {"messages": messages, "pass_share": share, "failing": messages - passed}


def headline_html(
    answer: Answer,
    measures: pd.DataFrame,
    window: Window,
    title: str = "",
    issues: Html | None = None,
    below: Html | None = None,
) -> Html:
    """Return the answer, its reasons, `issues` and the figures of `measure` with their change.

    `below` stands in the answer; where there is no answer there are no figures.
    """
    rows = measures.set_index("measure")
    compared = ngettext(
        "{days} (UTC), compared with the day before.",
        "{days} (UTC), compared with the {n} days before.",
        window.days,
    ).format(days=window, n=words.count(window.days))
    cards = []
    for name in _CARDS:
        if name not in rows.index:
            continue
        value, before = map(float, rows.loc[name])
        shown, change = words.count(value), words.change(value, before)
        if name in ("pass_share", "own_share"):
            shown, change = words.percent(value), words.points(value - before)
        direction = {"pass_share": 1, "own_share": 1, "failing": -1}.get(name, 0) * (value - before)
        level = "good" if direction > 0 else "bad" if direction < 0 else "plain"
        level = "plain" if change == _("unchanged") else level
        has_before = rows["before"]["messages"] and not pd.isna(before)
        change = (change or _("unchanged")) if has_before else _("none before")
        if name == "forged" and value:
            stopped = words.percent(rows["value"]["stopped"] / value)
            change = listed(_("{share} stopped").format(share=stopped), change)
        cards.append({"label": _(_CARDS[name]), "value": shown, "change": change, "level": level})
    html = answer_html(answer, title, below) + (issues or Html())
    if answer.level == "none":
        return html + render_part("note", f"{window} (UTC)")
    return html + render_part("cards", cards) + render_part("note", compared)


def checklist(mail_url: str, mails: int) -> Html:
    """Return the steps from nothing to the first page."""
    steps = [
        _(
            "DNS: the DMARC record of each domain names your report address "
            "({rua}). Receivers report once a day."
        ),
        _("Bucket: email to that address is stored in {place}."),
        _("First email: {ingest} reads what has arrived; {n} emails were read so far."),
        _("All of it: {doctor} checks each setting and says how to fix it."),
    ]
    code = Markup("<code>{}</code>").format
    parts = {"rua": code("rua=mailto:…"), "place": code(one_line(mail_url, 200))}
    parts |= {"ingest": code("dmarckit ingest"), "doctor": code("dmarckit doctor")}
    items = (escape(step, 500).format(n=words.count(mails), **parts) for step in steps)
    shown = Markup().join(map(Markup("<li>{}</li>").format, items))
    return Html(Markup('<ol class="dk-begin">{}</ol>').format(shown))


def _shares(facts: Facts, window: Window) -> pd.DataFrame:
    """Return, indexed by domain, the counts and shares of `OverviewSections.domains`."""
    rows = in_window(facts.messages, window)
    passes, own = rows["da"] | rows["sa"], is_own(rows)
    delivered = rows["disposition"].astype("str").map(DONE) == "delivered"
    forged, n = rows["class"].isin(FORGED), rows["messages"]
    parts = {"failing": ~passes, "delivered": ~passes & delivered, "own": own}
    parts |= {"own_passing": own & passes}
    parts |= {"forged": forged, "forged_delivered": forged & delivered}
    rows = rows.assign(**{name: n * chosen for name, chosen in parts.items()})
    table: Any = rows.groupby("domain", observed=True)[["messages", *parts]].sum()
    table.index = table.index.astype("str")
    passing, some = table["messages"] - table["failing"], table.where(table > 0)
    table["pass_share"] = passing / some["messages"]
    table["own_share"] = table["own_passing"] / some["own"]
    shares: pd.DataFrame = table.drop(columns=["own", "own_passing"])
    return shares


def dns_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, indexed by domain, what DNS said, as `OverviewSections.domains` describes."""
    values = rows["values"].map(json.loads)
    rows = rows.assign(
        dkim_bits=[value.get("bits") for value in values],
        spf_lookups=[value.get("lookups") for value in values],
    )
    groups = rows.groupby("domain")
    found = groups[["dkim_bits", "spf_lookups"]].min().astype("float64")
    for name in ("mta_sts", "tls_rpt"):
        own = rows[rows["record"] == name].drop_duplicates("domain").set_index("domain")
        found[name] = own["state"].astype(object)
    return found
