"""Whether the numbers can be trusted: one sentence, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from dmarckit.core import _, ngettext, text as words
from dmarckit.facts import Coverage
from dmarckit.findings import left_out
from dmarckit.pages.html import Html, render_part
from dmarckit.pages.sections.base import PageData, Section

NAMED = 8  # reporters that are named; more are only counted

_LEVELS = {"whole": "good", "incomplete": "plain", "unknown": "plain"}


class CoverageSections(PageData):
    """Which reports are there, and which are missing."""

    def trust(self) -> Section:
        """Say in one sentence whether the numbers can be trusted. Data as `coverage`."""
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
            others = left_out(self.settings, self.lake, self.window.start, self.window.end)
            pairs += [(_("Without findings"), others)] if others else []
        return Section(trust.data, (trust.html or Html()) + render_part("facts", pairs))


def sentence(found: Coverage) -> str:
    """Return whether the numbers can be trusted, as a sentence of plain text."""
    if found.trust == "nothing":
        return _("No report has come in for these days: there are no numbers to trust.")
    if found.trust == "silent":
        text = _("No mail has come in since {time} UTC: what was sent later is not counted here.")
        return text.format(time=words.minute(found.last_mail))
    if found.trust == "unknown":
        return _(
            "There are too few days of reports yet to say who reports usually, so what is "
            "missing is not known."
        )
    if found.trust == "whole":
        return _("The numbers can be trusted: enough of the usual reporters tell of every day.")
    if found.trust == "gaps":
        return _("Do not trust the numbers of every day: on the grey ones too many reports lack.")
    if found.whole_until is None:
        return _("Do not trust the numbers yet: of every day too many reports are still missing.")
    text = _("The numbers can be trusted up to {day}; reports of {newest} are still coming in.")
    return text.format(day=words.day(found.whole_until), newest=words.day(found.newest))


def _pairs(found: Coverage) -> list[tuple[str, str | Html]]:
    """Return the facts, each with its label; the empty text where one is not known."""
    if not found.reports and found.last_mail is None:
        return []
    count, day = words.count, words.day(found.newest)
    expected, about, last_mail = "", _("none"), ""
    reporters = ngettext("{n} reporter", "{n} reporters", found.reporters)
    reporters = reporters.format(n=count(found.reporters))
    missing: str | Html = ""
    if found.usual:
        rows = found.missing[["reporter", "last_end"]].head(NAMED).itertuples(index=False)
        since = _("last report until {time}")
        named = [(name, f" ({since.format(time=words.minute(end))})") for name, end in rows]
        if (more := len(found.missing) - NAMED) > 0:
            named.append(("", _("and {n} more").format(n=count(more))))
        missing = render_part("named", named) if named else _("nobody")
        usual, came = count(found.usual), count(found.usual - len(found.missing))
        text = _("{n}; of the {usual} usual ones {came} have told of {day}")
        reporters = text.format(n=reporters, usual=usual, came=came, day=day)
    if found.expected:
        share = words.percent(found.came / found.expected)
        text = _("{came} of {expected} are there ({share})")
        expected = text.format(came=count(found.came), expected=count(found.expected), share=share)
    if found.first_begin is not None and found.last_end is not None:
        period = words.period(found.first_begin, found.last_end)
        about = _("{n}, about {period}").format(n=words.n_reports(found.reports), period=period)
    if found.last_mail is not None:
        last_mail = _("{time} UTC").format(time=words.minute(found.last_mail))
    mails = ngettext("{n} mail", "{n} mails", found.mails).format(n=count(found.mails))
    text = _("{unreadable} unreadable, {untrusted} not trusted, of {mails} (all domains)")
    unreadable, untrusted = count(found.unreadable), count(found.untrusted)
    return [
        (_("Expected reports"), expected),
        (_("Reporters"), reporters),
        (_("Missing for {day}").format(day=day), missing),
        (_("Reports"), about),
        (_("Last mail"), last_mail),
        (
            _("Mails without a report"),
            text.format(unreadable=unreadable, untrusted=untrusted, mails=mails),
        ),
    ]
