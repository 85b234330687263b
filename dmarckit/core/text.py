"""How numbers, shares, days and domains are written for people, in the language in use.

Days in tables are ISO 8601 in every language. Everywhere inside dmarckit a rate is a share from
0 to 1, and what is beyond 1 is refused; only text for people is a percentage.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dmarckit.core.errors import DmarckitError, one_line
from dmarckit.core.language import _, current_language, later, ngettext

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # what IDNA takes for a dot (RFC 3490, 3.1)
NO_DATA = later("no data")
_LISTED, _COMPARED = 10, 20_000  # names that an error lists, and that it looks for a like one in
MISSING = "–"


def is_missing(value: object) -> bool:
    """Return True for None, NaN and NaT: there is no value to show.

    >>> is_missing(float("nan")), is_missing(0)
    (True, False)
    """
    return value is None or value != value


def normalize_domain(name: str) -> str:
    """Return a domain name as it is compared: lower-case A-labels, without the root's dot.

    A label that IDNA refuses stays as it is, in lower case.

    >>> normalize_domain("Mail.Example."), normalize_domain("B\u00fccher.example")
    ('mail.example', 'xn--bcher-kva.example')
    """
    if name.isascii():
        return name.lower().rstrip(".")
    import idna

    labels = _DOTS.split(name.lower())
    for i, label in enumerate(labels):
        if not label.isascii() and len(label) <= 63:
            with contextlib.suppress(UnicodeError):  # IDNAError is one
                labels[i] = idna.encode(label, uts46=True).decode()
    return ".".join(labels).rstrip(".")


@lru_cache(maxsize=1)
def public_suffixes() -> PublicSuffixList:
    """Return the public suffix list; reading it takes 30 ms."""
    from publicsuffixlist import PSLFILE, PublicSuffixList

    lines = Path(PSLFILE).read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("//")]
    # the library makes an A-label of each rule, also where there is nothing to make: half its time
    rules += [rule.encode("idna").decode() for rule in rules if not rule.isascii()]
    return PublicSuffixList(rules, accept_encoded_idn=False)


def _u_labels(name: str, *, safe: bool = True) -> str:
    """Return a name with U-labels, where they lead back to it; if `safe`, of one script each."""
    if "xn--" not in name:
        return name
    import idna

    with contextlib.suppress(UnicodeError):
        labels = [
            idna.decode(label) if label.startswith("xn--") else label for label in name.split(".")
        ]
        shown = ".".join(labels)
        if normalize_domain(shown) == name and not (safe and any(map(_is_misleading, labels))):
            return shown
    return name


def _is_misleading(label: str) -> bool:
    """Return True if a label may be read as another one: it mixes scripts, or looks like Latin."""
    letters = [c for c in label if not (c.isascii() and not c.isalpha())]
    scripts = {unicodedata.name(c, "").partition(" ")[0] for c in letters}
    if scripts <= {"LATIN"}:  # beyond Extended-B they are phonetic ones, which look like others
        return any(unicodedata.normalize("NFD", c)[0] > "\u024f" for c in letters)
    plain = scripts <= _JAPANESE or scripts <= _KOREAN or len(scripts) == 1
    return not plain or set(letters) <= _LIKE_LATIN or any(c in "\u200c\u200d" for c in letters)


_JAPANESE = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}
_KOREAN = {"CJK", "HANGUL"}
_LIKE_LATIN = set("асԁеһіјӏорԛѕԝхуъьҽпгѵѡкмтвнαεικνορτυχγη")
"""Cyrillic and Greek letters that pass for Latin ones"""


def domain_forms(name: str) -> list[str]:
    """Return the forms in which former versions may have stored a normalised name.

    >>> domain_forms("xn--bcher-kva.example"), domain_forms("example.com")
    (['xn--bcher-kva.example', 'b\u00fccher.example'], ['example.com'])
    """
    return list(dict.fromkeys([name, _u_labels(name, safe=False)]))


def show_domain(name: str) -> str:
    """Return a domain name for people: U-labels, with the A-labels beside them where they differ.

    A name whose U-labels do not lead back to it, mix scripts or pass for Latin ones stays as it is.

    >>> show_domain("example.com"), show_domain("xn--bcher-kva.example")
    ('example.com', 'b\u00fccher.example (xn--bcher-kva.example)')
    """
    shown = _u_labels(name)
    return name if shown == name else f"{shown} ({name})"


def show_domains(text: str) -> str:
    """Return a text with its domain names as `show_domain`, each with its A-labels once.

    What is there to be copied keeps its A-labels: addresses, parts of records, and commands.

    >>> show_domains("xn--bcher-kva.example/s1 fails: a@xn--bcher-kva.example")
    'b\u00fccher.example/s1 (xn--bcher-kva.example) fails: a@xn--bcher-kva.example'
    >>> show_domains("xn--p1ai: dmarckit senders deny A --domain xn--p1ai. Then xn--p1ai.")
    '\u0440\u0444 (xn--p1ai): dmarckit senders deny A --domain xn--p1ai. Then \u0440\u0444.'
    """
    known = set[str]()

    def shown(found: re.Match[str]) -> str:
        name, rest, before = found["name"], found["rest"] or "", text[: found.start()]
        u = _u_labels(name)
        done = before.endswith("(") and u in before
        if u == name or done or _COPIED.search(before) or text.startswith("…", found.end()):
            return found[0]
        beside = f" ({name})" if name not in known and f"{u} ({name})" not in text else ""
        known.add(name)
        return f"{u}{rest}{beside}"

    return _A_LABELS.sub(shown, text) if "xn--" in text else text


_A_LABELS = re.compile(
    r"(?P<name>(?:[\w-]+\.)*xn--[a-z0-9-]+(?:\.[\w-]+)*)(?P<rest>/[\w.-]*\w)?", re.ASCII
)
_COPIED = re.compile(r"(?:[@=:/]| --[\w-]* ['\"]?|dmarckit senders \w+ (?:-- )?'?)$")


def unknown_name(name: str, known: Sequence[str]) -> str:
    """Return in English, for an error, that a name is not known, what is, and what is meant.

    >>> unknown_name("exmaple.com", ["example.com", "shop.example"])
    'exmaple.com is not known; did you mean example.com? There are: example.com, shop.example'
    """
    listed = ", ".join(one_line(other, 80) for other in known[:_LISTED])
    if len(known) > _LISTED:
        listed += f" and {count(len(known) - _LISTED)} more"
    near = difflib.get_close_matches(name, known[:_COMPARED], 1)
    meant = f"did you mean {one_line(near[0], 80)}? There" if near else "there"
    return f"{one_line(name, 80)} is not known; {meant} are: {listed or 'none'}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the most similar known word, or nothing.

    >>> did_you_mean("hme", ["home", "mail"])
    '; did you mean home?'
    """
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), list(by_lower), n=1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def count(value: float | None) -> str:
    """Return a whole number with thousands separators.

    >>> count(1234567)
    '1,234,567'
    """
    return MISSING if value is None or is_missing(value) else f"{round(value):,}"


def plural(value: float, one: str, many: str | None = None) -> str:
    """Return a number with its noun, in English: for the terminal.

    >>> plural(1, "message"), plural(1200, "message"), plural(2, "reply", "replies")
    ('1 message', '1,200 messages', '2 replies')
    """
    return f"{count(value)} {one if round(value) == 1 else many or one + 's'}"


def n_messages(n: float) -> str:
    """Return a number of messages with its noun.

    >>> n_messages(1), n_messages(1200)
    ('1 message', '1,200 messages')
    """
    return ngettext("{n} message", "{n} messages", n).format(n=count(n))


def n_reports(n: float) -> str:
    """Return a number of reports with its noun."""
    return ngettext("{n} report", "{n} reports", n).format(n=count(n))


def n_reporters(n: float) -> str:
    """Return a number of reporters with its noun."""
    return ngettext("{n} reporter", "{n} reporters", n).format(n=count(n))


def n_days(n: float) -> str:
    """Return a number of days with its noun."""
    return ngettext("{n} day", "{n} days", n).format(n=count(n))


def percent(value: float | None) -> str:
    """Return a share [0-1] as a percentage that is 0 or 100 only when it is exactly that.

    >>> percent(0.98249), percent(0.99996), percent(0.0001), percent(1), percent(None)
    ('98.2%', '99.9%', '<0.1%', '100%', 'no data')
    """
    if value is None or is_missing(value):
        return _(NO_DATA)
    if value in (0, 1):
        return _percentage(value * 100, 0)
    if value < 0.001:
        return f"<{_percentage(0.1, 1)}"
    # rounded down near 100, so that it is never said of what is not all
    return _percentage(math.floor(value * 1000 + 1e-9) / 10 if value > 0.999 else value * 100, 1)


def _percentage(value: float, digits: int) -> str:
    if current_language() == "en":
        return f"{value:.{digits}f}%"
    from babel.numbers import format_percent

    pattern = "#,##0" + (f".{'0' * digits}" if digits else "") + "%"
    shown: str = format_percent(f"{value:.{digits}f}e-2", pattern, locale=current_language())
    return shown


def points(change: float | None) -> str:
    """Return the difference of two shares, in percentage points.

    >>> points(0.0123), points(-0.5), points(0.0)
    ('+1.2 points', '−50.0 points', 'unchanged')
    """
    if change is None or is_missing(change):
        return ""
    if abs(change) < 0.0005:
        return _("unchanged")
    signed = f"{'+' if change > 0 else '−'}{abs(change) * 100:.1f}"
    return _("{number} points").format(number=signed)


def change(now: float | None, before: float | None) -> str:
    """Return a count against the one before it; a percentage unless one of them is too small.

    >>> change(150, 100), change(3, 1), change(7, 7), change(5, 0), change(5, None)
    ('+50%', '+2', 'unchanged', '+5', '')
    """
    if now is None or before is None or is_missing(now) or is_missing(before):
        return ""
    if now == before:
        return _("unchanged") if now else ""
    sign, difference = ("+" if now > before else "−"), abs(now - before)
    if before < 20 or difference / before >= 10:
        return f"{sign}{count(difference)}"
    share = difference / before * 100
    return f"{sign}{_percentage(share, 0)}" if share >= 0.5 else _("almost unchanged")


def day(value: datetime | None) -> str:
    """Return a day, as in the tables.

    >>> day(datetime(2026, 11, 3))
    '2026-11-03'
    """
    return MISSING if value is None or is_missing(value) else f"{value:%Y-%m-%d}"


def short_day(value: date | None) -> str:
    """Return a day, as in a sentence.

    >>> short_day(date(2026, 11, 3))
    '3 Nov'
    """
    return MISSING if value is None or is_missing(value) else short_days(value, value)


def short_days(first: date, last: date, *, year: bool = False) -> str:
    """Return a span of days, as in a sentence; with its year, or where it crosses one.

    >>> short_days(date(2026, 11, 21), date(2026, 11, 27))
    '21–27 Nov'
    >>> short_days(date(2026, 10, 29), date(2026, 11, 3), year=True)
    '29 Oct – 3 Nov 2026'
    >>> short_days(date(2026, 12, 31), date(2027, 1, 1))
    '31 Dec 2026 – 1 Jan 2027'
    """
    crosses = first.year != last.year
    one = not crosses and (first.month, first.day) == (last.month, last.day)
    if current_language() != "en":
        begin = f"{first.year}/" * (year or crosses) + f"{first.month}/{first.day}"
        end = f"{last.year}/" * crosses + f"{last.month}/{last.day}"
        return begin if one else f"{begin}〜{end}"
    end = f"{last.day} {last:%b}" + f" {last.year}" * (year or crosses)
    if one:
        return end
    if crosses or first.month != last.month:
        return f"{first.day} {first:%b}" + f" {first.year}" * crosses + f" – {end}"
    return f"{first.day}–{end}"


def moment(value: datetime | None) -> str:
    """Return a point in time (UTC) to the minute, as in a sentence.

    >>> moment(datetime(2026, 11, 3, 4, 5))
    '3 Nov 04:05 UTC'
    """
    if value is None or is_missing(value):
        return MISSING
    return _("{time} UTC").format(time=f"{short_day(value)} {value:%H:%M}")


def minute(value: datetime | None) -> str:
    """Return a point in time to the minute (the pages say UTC beside it).

    >>> minute(datetime(2026, 11, 3, 4, 5))
    '2026-11-03 04:05'
    """
    return MISSING if value is None or is_missing(value) else f"{value:%Y-%m-%d %H:%M}"


def period(begin: datetime, end: datetime) -> str:
    """Return a period in UTC: whole days as dates, the last one included; else with its times.

    Reporters end a day with its last second as often as with the next midnight.

    >>> period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC))
    '2026-11-01'
    >>> period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC))
    '2026-11-01 to 2026-11-07'
    >>> period(datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2026, 11, 2, 6, tzinfo=UTC))
    '2026-11-01 06:00 to 2026-11-02 06:00 UTC'
    """
    first, last = begin.astimezone(UTC), end.astimezone(UTC)
    if last.second == 59 and last > first:
        last += timedelta(seconds=1)
    midnights = {(t.hour, t.minute, t.second) for t in (first, last)} == {(0, 0, 0)}
    if midnights and last - first == timedelta(days=1):
        return day(first)
    if midnights and last > first:
        final = last - timedelta(days=1)
        return _("{first} to {last}").format(first=day(first), last=day(final))
    return _("{first} to {last} UTC").format(first=minute(first), last=minute(last))


class NotARate(DmarckitError):
    """A number that cannot be a share from 0 to 1: very likely a percentage."""


@dataclass(frozen=True, order=True)
class Rate:
    """A part of a whole. Raises `NotARate` for a share that is not from 0 to 1.

    Spam rates are judged at 0.10% and 0.30%, hence two decimals. Further ones are cut, not
    rounded: what reads 0.30% has reached it, and only everything is 100%.

    >>> str(Rate(0.003)), str(Rate(0.3)), str(Rate(0.00299)), str(Rate(0.00001))
    ('0.30%', '30.00%', '0.29%', '<0.01%')
    >>> Rate(99.5)
    Traceback (most recent call last):
    dmarckit.core.text.NotARate: 99.5 is no share from 0 to 1; is it a percentage?
    """

    share: float  # from 0 to 1

    def __post_init__(self) -> None:
        if 1 < self.share <= 1 + 1e-6:  # a single-precision 1 may come as 1.0000001
            object.__setattr__(self, "share", 1.0)
        if not 0 <= self.share <= 1:
            raise NotARate(f"{self.share:g} is no share from 0 to 1; is it a percentage?")

    def __str__(self) -> str:
        if self.share in (0, 1):
            return f"{self.share * 100:.0f}%"
        hundredths = math.floor(self.share * 10_000 + 1e-6)  # 0.9999 * 10_000 is a hair below
        return f"{hundredths / 100:.2f}%" if hundredths else "<0.01%"


def rate_text(share: float | None) -> str:
    """Return a cell of a frame that holds a share, or nothing.

    >>> rate_text(0.003), rate_text(None), rate_text(float("nan"))
    ('0.30%', 'no data', 'no data')
    """
    return _(NO_DATA) if share is None or is_missing(share) else str(Rate(share))
