"""One report as the receiver sent it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dmarckit.core import _, one_line, show_domain, text as words
from dmarckit.facts import about_addresses, network_key
from dmarckit.pages.charts import listed
from dmarckit.pages.html import REACHED, Column, render_part
from dmarckit.pages.links import page_target
from dmarckit.pages.sections.base import PageData, Section, table_section

_TAGS = ("p", "sp", "np", "pct", "testing", "adkim", "aspf", "fo", "discovery_method")


class ReportSections(PageData):
    """One aggregate report, whatever the page's window."""

    def report(self, report_uid: str = "") -> Section:
        """Show what a report says of itself.

        `report_uid` is as in the table `reports`; unless given it is the newest report with
        failing messages, else the newest. `.data`: its row of the table `reports`
        (``lake.describe("reports")``); none when it is not in the lake.
        """
        found = self._report(report_uid)
        if found.empty:
            return Section(found, render_part("empty", _("There is no such report in the lake.")))
        row, missing = found.iloc[0], words.is_missing
        tags = {name: row[name] for name in _TAGS if not (missing(row[name]) or row[name] == "")}
        tags = {n: int(v) if isinstance(v, float) else v for n, v in tags.items()}
        about, reporter = one_line(row["domain"], 80), one_line(row["reporter"], 80)
        if missing(row["domain"]):
            about = _("an unnamed domain")
        if missing(row["reporter"]):
            reporter = _("an unnamed reporter")
            if not missing(row["contact"]):
                text = _("an unnamed reporter (contact {contact})")
                reporter = text.format(contact=one_line(row["contact"], 80))
        title = _("Report of {reporter} about {domain}")
        title = title.format(reporter=reporter, domain=show_domain(about))
        facts = [
            (_("Reporter"), row["reporter"]),
            (_("Domain"), show_domain(about)),
            (_("Period (UTC)"), words.period(row["begin"], row["end"])),
            (_("Report id"), row["report_id"]),
            (_("Messages"), words.count(row["messages"])),
            (_("Failing"), words.count(row["failing"])),
            (_("Contact"), row["contact"]),
            (_("Generator"), row["generator"]),
            (_("Policy seen"), "; ".join(f"{name}={value}" for name, value in tags.items())),
            (_("Repaired while reading"), "; ".join(map(str, _items(row["warnings"])))),
            (_("Errors it names"), "; ".join(map(str, _items(row["errors"])))),
            (_("Mail"), row["mail_key"]),
            (_("Report"), row["report_uid"]),
        ]
        facts = [(label, value) for label, value in facts if not missing(value)]
        pages = [(_("All domains"), page_target("overview"))]
        if not missing(row["domain"]):
            target = page_target("domain", domain=row["domain"])
            pages.append((_("DMARC of {domain}").format(domain=show_domain(about)), target))
        shown = render_part("navigation", pages) + render_part("facts", facts, title=title)
        return Section(found, shown)

    def report_records(self, report_uid: str = "") -> Section:
        """Show the records of a report as the receiver wrote them, the failing ones first.

        `report_uid` is as in `report`. `.data`: its rows of the table `records`
        (``lake.describe("records")``), in their order in the report.
        """
        uid = str(next(iter(self._report(report_uid)["report_uid"]), ""))
        query = "SELECT * FROM records WHERE report_uid = $uid ORDER BY position"
        frame = self.lake.sql(query, uid=uid)
        failing = ~(frame["dkim_aligned"].fillna(False) | frame["spf_aligned"].fillna(False))
        rows = frame.assign(failing=failing)
        rows = rows.sort_values(["failing", "messages"], ascending=False, kind="stable")
        return table_section(
            frame,
            *result_columns(),
            caption=_("Records"),
            empty=_("The report holds no records."),
            shown=with_results(rows.head(REACHED), self.settings.mmdb),
            number=len(rows),
            query=query.replace("$uid", f"'{uid}'"),
        )

    def _report(self, report_uid: str) -> pd.DataFrame:
        if report_uid:
            query = "SELECT * FROM reports WHERE report_uid = $uid"
            return self.lake.sql(query, uid=report_uid)
        return self.lake.sql(
            "SELECT * FROM reports WHERE len($names) = 0 OR domain IN (SELECT unnest($names)) "
            "ORDER BY (failing > 0) DESC, begin DESC, report_uid LIMIT 1",
            names=list(self.settings.domain_names),
        )


def with_results(frame: pd.DataFrame, mmdb: Path | None) -> pd.DataFrame:
    """Return rows of `records` with what `result_columns` show; `failing`: it fails DMARC."""
    dkim, spf = (frame[c].fillna(False).astype(bool) for c in ("dkim_aligned", "spf_aligned"))
    about = about_addresses(frame["source_ip"].dropna(), {}, mmdb)
    verdict = {True: _("aligned, pass"), False: _("not aligned")}
    return frame.join(about[["network", "country"]]).assign(
        failing=~(dkim | spf),
        raw_dkim=frame["dkim"].map(_raw_results),
        raw_spf=frame["spf"].map(_raw_results),
        why=frame["reasons"].map(_reasons),
        dkim_result=dkim.map(verdict),
        spf_result=spf.map(verdict),
        result=(dkim | spf).map({True: _("passes"), False: _("fails")}),
    )


def result_columns() -> list[Column]:
    """Return what a receiver says about a record, as columns of the tables of records."""
    return [
        Column("source_ip", _("Source"), under=_about),
        Column("messages", _("Messages"), "count"),
        Column("header_from", _("From")),
        Column("result", "DMARC"),
        Column("raw_dkim", "DKIM", under="dkim_result"),
        Column("raw_spf", "SPF", under="spf_result"),
        Column("disposition", _("Disposition"), under="why"),
    ]


def _about(row: Any) -> str:
    """Return operator, country, return path and recipient domain of a record, where known."""
    found = [row.network, row.country, row.envelope_from, row.envelope_to]
    if row.source_ip and row.network == network_key(row.source_ip):  # nobody is known to run it
        found[0] = None
    texts = ["{domain}", "{domain}", _("return path {domain}"), _("to {domain}")]
    pairs = zip(texts, found, strict=True)
    return listed(*(text.format(domain=v) for text, v in pairs if v and not words.is_missing(v)))


def _items(cell: Any) -> Iterable[Any]:
    """Return a list cell, which pandas may hold as a list, an array or an absent value."""
    return () if cell is None or not hasattr(cell, "__len__") else cell


def _raw_results(results: Any) -> str:
    """Return DKIM or SPF results as the receiver gave them."""
    parts, missing = [], _("no result")
    for found in _items(results):
        text = found["domain"] or "–"
        if "selector" in found:
            text = f"d={text}, s={found['selector'] or '–'}"
        remarks = (found.get("scope"), found["human_result"])
        text += "".join(f" ({remark})" for remark in remarks if remark)
        parts.append(f"{found['result'] or missing}: {text}")
    return "; ".join(parts)


def _reasons(reasons: Any) -> str:
    return "; ".join(
        ": ".join(str(part) for part in (r["type"], r["comment"]) if part) for r in _items(reasons)
    )
