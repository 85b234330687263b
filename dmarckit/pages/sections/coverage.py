"""How complete the reports are: one sentence, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import pandas as pd

from dmarckit.core import _, ngettext, text as words
from dmarckit.facts import Coverage
from dmarckit.findings import left_out
from dmarckit.pages.html import Html, render_part
from dmarckit.pages.sections.base import PageData, Section

NAMED = 8  # reporters that are named; more are only counted

_LEVELS = {"whole": "good"} | dict.fromkeys(("incomplete", "gaps", "unknown"), "plain")


class CoverageSections(PageData):
    """Which reports are there, and which are missing."""

    def trust(self) -> Section:
        """Say in one sentence how complete the reports are. Data as `coverage`."""
        found = self._coverage
        frame = pd.DataFrame([asdict(found) | {"missing": list(found.missing["reporter"])}])
        level = _LEVELS.get(found.trust, "warning")
        return Section(frame, render_part("trust", sentence(found), level))

    def coverage(self) -> Section:
        """Say which of the usual reports are there, and which are missing.

        `.data`, one row: `trust` (whole, incomplete, gaps, silent, unknown or nothing),
        `reports`, `reporters`, `expected` (reports of usual reporters), `came` (of them),
        `usual` (reporters), `missing` (their names), `whole_until`, `newest` (days),
        `first_begin`, `last_end`, `last_mail` (times, UTC), `mails`, `unreadable`, `untrusted`.
        """
        trust, pairs = self.trust(), _pairs(self._coverage)
        if not self.domain:
            period = self.window.start, self.window.end
            others = left_out(self.settings, self.lake, self.facts, *period)
            pairs += [(_("Without findings"), others)] if others else []
        return Section(trust.data, (trust.html or Html()) + render_part("facts", pairs))


def sentence(found: Coverage) -> str:
    """Return how complete the reports are, as a sentence of plain text."""
    if found.trust == "nothing":
        return _("No reports for this period.")
    if found.trust == "silent":
        text = _("Last report email arrived {time}; anything later is not included.")
        return text.format(time=words.moment(found.last_mail))
    if found.trust == "unknown":
        return _("Not enough history yet to know which reports to expect.")
    if found.trust == "whole" and found.came < found.expected:
        text = _("Nearly complete: {came} of {expected} expected reports have arrived.")
        return text.format(came=words.count(found.came), expected=words.count(found.expected))
    if found.trust == "whole":
        return _("Complete: the usual reporters have reported on every day.")
    if found.trust == "gaps":
        text = _(
            "Incomplete: {missing} of {expected} expected reports are missing. Grey days will "
            "still change."
        )
        missing = words.count(found.expected - found.came)
        return text.format(missing=missing, expected=words.count(found.expected))
    if found.whole_until is None:
        return _("Too few reports have arrived to rely on these numbers yet.")
    text = _("Complete through {day}; reports for {newest} are still arriving.")
    return text.format(day=words.short_day(found.whole_until), newest=words.short_day(found.newest))


def _pairs(found: Coverage) -> list[tuple[str, str | Html]]:
    """Return the facts, each with its label; the empty text where one is not known."""
    if not found.reports and found.last_mail is None:
        return []
    count, day = words.count, words.short_day(found.newest)
    expected, about, last_mail = "", _("none"), ""
    reporters = words.n_reporters(found.reporters)
    missing: str | Html = ""
    if found.usual:
        rows = found.missing[["reporter", "last_end"]].head(NAMED).itertuples(index=False)
        since = _("last report covers up to {time}")
        named = [(name, f" ({since.format(time=words.moment(end))})") for name, end in rows]
        if (more := len(found.missing) - NAMED) > 0:
            named.append(("", _("and {n} more").format(n=count(more))))
        missing = render_part("named", named) if named else _("none")
        usual, came = count(found.usual), count(found.usual - len(found.missing))
        text = _("{n}; {came} of the {usual} usual ones have reported for {day}")
        reporters = text.format(n=reporters, usual=usual, came=came, day=day)
    if found.expected:
        share = words.percent(found.came / found.expected)
        text = _("{came} of {expected} received ({share})")
        expected = text.format(came=count(found.came), expected=count(found.expected), share=share)
    if found.first_begin is not None and found.last_end is not None:
        period = words.short_days(found.first_begin, found.last_end - timedelta(seconds=1))
        about = _("{n}, covering {period}").format(n=words.n_reports(found.reports), period=period)
    if found.last_mail is not None:
        last_mail = words.moment(found.last_mail)
    mails = ngettext("{n} email", "{n} emails", found.mails).format(n=count(found.mails))
    text = _("{unreadable} unreadable, {untrusted} not trusted, of {mails} (all domains)")
    unreadable, untrusted = count(found.unreadable), count(found.untrusted)
    return [
        (_("Expected reports"), expected),
        (_("Reporters"), reporters),
        (_("Not yet received for {day}").format(day=day), missing),
        (_("Reports"), about),
        (_("Last mail"), last_mail),
        (
            _("Emails that were not reports"),
            text.format(unreadable=unreadable, untrusted=untrusted, mails=mails),
        ),
    ]
