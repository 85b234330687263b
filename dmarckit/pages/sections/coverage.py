"""Coverage → one sentence on whether the numbers can be trusted, and what it rests on."""

from __future__ import annotations

from dmarckit.core import _, ngettext, period, text as words
from dmarckit.facts import Coverage
from dmarckit.pages.html import Html, escape

NAMED = 8
"""reporters that are named; more are only counted"""

_LEVELS = {"whole": "good", "incomplete": "plain", "unknown": "plain"}


def coverage(found: Coverage) -> Html:
    """The sentence, then the facts as a list. Takes `coverage.coverage`."""
    rows = "".join(
        f"<dt>{escape(label)}</dt><dd>{text}</dd>" for label, text in _rows(found).items() if text
    )
    return Html(f'{trust(found).markup}<dl class="dk-about-report">{rows}</dl>')


def trust(found: Coverage) -> Html:
    """Only the sentence."""
    level = _LEVELS.get(found.trust, "warning")
    return Html(f'<p class="dk-trust {level}">{escape(sentence(found), 400)}</p>')


def sentence(found: Coverage) -> str:
    """Whether the numbers can be trusted, in one sentence of plain text."""
    newest, until = words.day(found.newest), words.day(found.whole_until)
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
    return text.format(day=until, newest=newest)


def _rows(found: Coverage) -> dict[str, str]:
    """Label → HTML of what it is."""
    if not found.reports and found.last_mail is None:
        return {}
    day = words.day(found.newest)
    return {
        _("Expected reports"): escape(_expected(found)),
        _("Reporters"): escape(_reporters(found)),
        _("Missing for {day}").format(day=day): _missing(found),
        _("Reports"): escape(_reports(found)),
        _("Last mail"): escape(_last_mail(found)),
        _("Mails without a report"): escape(_refused(found)),
    }


def _expected(found: Coverage) -> str:
    if not found.expected:
        return ""
    text = _("{came} of {expected} are there ({share})")
    return text.format(
        came=words.count(found.came),
        expected=words.count(found.expected),
        share=words.percent(found.came / found.expected),
    )


def _reporters(found: Coverage) -> str:
    n = ngettext("{n} reporter", "{n} reporters", found.reporters)
    text = n.format(n=words.count(found.reporters))
    if not found.usual:
        return text
    late = found.usual - len(found.missing)
    usual = _("{n}; of the {usual} usual ones {came} have told of {day}")
    return usual.format(
        n=text,
        usual=words.count(found.usual),
        came=words.count(late),
        day=words.day(found.newest),
    )


def _missing(found: Coverage) -> str:
    if not found.usual:
        return ""
    rows = found.missing[["reporter", "last_end"]].head(NAMED).itertuples(index=False)
    shown = []
    for reporter, end in rows:
        since = _("last report until {time}").format(time=words.minute(end))
        shown.append(f"<bdi>{escape(reporter)}</bdi> ({escape(since)})")
    more = len(found.missing) - NAMED
    if more > 0:
        shown.append(escape(_("and {n} more").format(n=words.count(more))))
    return ", ".join(shown) or escape(_("nobody"))


def _reports(found: Coverage) -> str:
    if found.first_begin is None or found.last_end is None:
        return _("none")
    n = ngettext("{n} report", "{n} reports", found.reports).format(n=words.count(found.reports))
    return _("{n}, about {period}").format(n=n, period=period(found.first_begin, found.last_end))


def _last_mail(found: Coverage) -> str:
    if found.last_mail is None:
        return ""
    return _("{time} UTC").format(time=words.minute(found.last_mail))


def _refused(found: Coverage) -> str:
    text = _("{unreadable} unreadable, {untrusted} not trusted, of {mails} (all domains)")
    n = ngettext("{n} mail", "{n} mails", found.mails).format(n=words.count(found.mails))
    return text.format(
        unreadable=words.count(found.unreadable), untrusted=words.count(found.untrusted), mails=n
    )
