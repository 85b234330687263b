"""Single values of a report: how text becomes a number, a time, an address or a name.

A value that had to be changed leaves a warning of element, value found and value taken; what
cannot be read raises `UnreadableReport` naming the element. An empty value is ``None``.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import islice

from dmarckit.core import UnreadableReport, normalize_domain, one_line

MAX_WARNINGS = 50  # distinct warnings kept of one report; the rest is only counted
MAX_COUNT = 2**63 - 1  # largest count a table can hold; what is larger is nonsense
CACHED_CHARACTERS = 100  # longest text whose address is remembered; longer ones are none
FIELD_CHARACTERS = 1_000  # of a field of a record, a TLS report or a failure report
LATEST = datetime(2262, 1, 1, tzinfo=UTC)  # nanosecond timestamps end in 2262

IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}", re.ASCII)
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_DECIMAL = re.compile(r"([0-9]{1,20})\.[0-9]*")


class Warnings:
    """The repairs of one report: each distinct one once, with the place it was first seen."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._more = 0

    def add(self, what: str, place: str = "") -> None:
        """Note `what` (already one line); `place` says where, such as ``record 3``."""
        if what in self._places:
            return
        if len(self._places) < MAX_WARNINGS:
            self._places[what] = place
        else:
            self._more += 1

    def lead(self, what: str) -> None:
        """Note `what` before all others, however many there are."""
        self._places = {what: "", **self._places}

    def changed(self, element: str, found: object, taken: object, place: str = "") -> None:
        """Note that `found` in `element` was read as `taken`."""
        self.add(f"{element}: {quoted(found)} read as {quoted(taken)}", place)

    def lines(self) -> tuple[str, ...]:
        """Return one line a warning, in order of first sight; empty when nothing was repaired."""
        lines = [f"{place}: {what}" if place else what for what, place in self._places.items()]
        if self._more:
            lines.append(f"… and {self._more} more")
        return tuple(lines)


def quoted(value: object) -> str:
    """Return an outside value as a warning shows it: quoted, on one line, at most 80 characters."""
    if value is None:
        return "nothing"
    text = str(value)
    return f"'{text}'" if len(text) <= 80 and text.isprintable() else f"'{one_line(text, 80)}'"


def cut(
    text: str, element: str, warnings: Warnings, place: str = "", most: int = FIELD_CHARACTERS
) -> str:
    """Return at most so many characters of the text of an element; a warning says of how many."""
    if len(text) > most:
        warnings.add(f"{element}: {len(text):,} characters, cut to {most:,}", place)
    return text[:most]


def text_within(found: object) -> str | None:
    """Return the text of an element that holds elements too; None where it has none."""
    if not isinstance(found, dict):
        return None
    texts = [each for each in found.values() if isinstance(each, str)]
    text = found.get("#text", texts[0] if len(texts) == 1 else None)
    return text if isinstance(text, str) else None


def read_count(text: str | None, element: str, warnings: Warnings, place: str = "") -> int:
    """Return a whole number, 0 or more; ``1,234`` and ``3.0`` are read with a warning.

    Raises `UnreadableReport` when it is absent, negative or no number: it cannot be guessed.
    """
    found = (text or "").strip()
    if found.isdecimal() and found.isascii() and len(found) < 20:
        number = int(found)
        if number <= MAX_COUNT:
            return number
    where = f"{place}: {element}" if place else element
    if not found:
        raise UnreadableReport(f"{where} is missing")
    plain = found.removeprefix("+")
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    elif plain.rstrip("0").endswith(".") and _DECIMAL.fullmatch(plain):
        plain = plain.partition(".")[0]
    if not (plain.isdecimal() and plain.isascii()) or len(plain) > 18:
        raise UnreadableReport(f"{where} is not a whole number: {quoted(found)}")
    warnings.changed(element, found, int(plain), place)
    return int(plain)


@lru_cache(maxsize=1024)
def _moment(text: str) -> tuple[datetime, str | None]:
    """Return the time that `text` gives, and the warning's text when it is not epoch seconds."""
    if text.isdecimal() and text.isascii() and len(text) <= 11:
        return datetime.fromtimestamp(int(text), UTC), None
    seconds = text
    if match := _DECIMAL.fullmatch(text):
        seconds = match[1]
    if seconds.isdecimal() and seconds.isascii() and len(seconds) <= 19:
        number = int(seconds)
        # 12 digits and more are seconds only after the year 5138: milli-, micro-, nanoseconds
        while number >= 10**11:
            number //= 1000
        when = datetime.fromtimestamp(number, UTC)
    else:
        try:
            when = datetime.fromisoformat(text.replace("UTC", "Z").replace(" Z", "Z"))
        except ValueError:
            when = parsedate_to_datetime(text)
        # RFC 9990 knows no local time: a date without a zone is UTC
        when = (when.replace(tzinfo=UTC) if when.tzinfo is None else when).astimezone(UTC)
    return when, when.isoformat()


def moment(text: str | None, element: str, warnings: Warnings) -> datetime:
    """Return a time in UTC: epoch seconds; other forms are read with a warning.

    Others are decimals, milliseconds, ISO 8601 and RFC 5322 dates. Raises `UnreadableReport`
    when it is absent, no time, before 1970 or after 2261.
    """
    found = (text or "").strip()
    if not found:
        raise UnreadableReport(f"{element} is missing")
    try:
        when, taken = _moment(found[:100])
    except (ValueError, OverflowError, TypeError, IndexError, OSError):
        raise UnreadableReport(f"{element} is not a time: {quoted(found)}") from None
    if not datetime.fromtimestamp(0, UTC) <= when < LATEST:
        raise UnreadableReport(f"{element} is outside 1970 to 2261: {quoted(found)}")
    if taken is not None:
        warnings.changed(element, found, taken)
    return when


def address(text: str) -> tuple[str, str | None]:
    """Return an IP address in its canonical form, and what is wrong with it (None: nothing).

    IPv6 is lower-cased and compressed (RFC 5952). An IPv4 address mapped into IPv6 is given
    as IPv4, since that is what was connected. What is not an address is kept as sent.
    """
    return _address(text) if len(text) <= CACHED_CHARACTERS else _not_an_address(text)


def noted_address(
    text: str | None, element: str, warnings: Warnings, place: str = ""
) -> str | None:
    """Return the address as `address` does; what is wrong with it becomes a warning."""
    if text is None:
        return None
    ip, wrong = address(text)
    if wrong:
        warnings.add(f"{element}: {quoted(text)} {wrong}", place)
    return ip


@lru_cache(maxsize=8192)
def _address(text: str) -> tuple[str, str | None]:
    if IPV4.fullmatch(text):
        return text, None
    bare = text.strip("[]").removeprefix("IPv6:").removeprefix("ipv6:")
    try:
        ip = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return _not_an_address(text)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    taken = str(mapped or ip)
    return taken, None if bare == text and mapped is None else f"read as {quoted(taken)}"


def _not_an_address(text: str) -> tuple[str, str]:
    host, _, port = text.partition("/" if "/" in text else ":")
    if IPV4.fullmatch(host) and port.isdecimal() and port.isascii():
        return host, f"read as {quoted(host)}"
    return text, "is not an IP address, kept as sent"


def domain(text: str) -> str | None:
    """Return a domain in lower case without its root dot (RFC 4343); empty is None."""
    return normalize_domain(text.strip()) or None


KNOWN = frozenset({
    "feedback", "version", "extension",
    "report_metadata", "org_name", "email", "extra_contact_info", "report_id", "error", "generator",
    "date_range", "begin", "end",
    "policy_published", "domain", "adkim", "aspf", "p", "sp", "np", "pct", "fo", "testing",
    "discovery_method",
    "record", "row", "source_ip", "count",
    "policy_evaluated", "disposition", "dkim", "spf", "reason", "type", "comment",
    "identifiers", "header_from", "envelope_from", "envelope_to",
    "auth_results", "selector", "scope", "result", "human_result",
})  # fmt: skip
"""the elements of RFC 7489 appendix C and RFC 9990; the latter added ``testing`` and ``np``"""
MISSPELT = {
    **{name.replace("_", ""): name for name in KNOWN},
    "datarange": "date_range",
    "identities": "identifiers",
    "identityalignment": "policy_evaluated",
    "extracontact": "extra_contact_info",
    "genertor": "generator",
}
"""how names are written, in lower case and without ``_`` and ``-`` → the name"""
_AS_THEY_ARE = {name: name for name in KNOWN}
_NAMES_KEPT = 2_000
UNKNOWN_NAMED = 5  # elements of no RFC that a warning names


class Names(dict[str, str]):
    """Element name as written → the name it is read as, noting what was bent."""

    def __init__(self, warnings: Warnings, *, notes_unknown: bool = True) -> None:
        super().__init__(_AS_THEY_ARE)
        self._warnings = warnings
        self._notes_unknown = notes_unknown
        self.unknown: dict[str, None] = {}  # names that no RFC has, in order of first sight

    def plain(self, written: str) -> str:
        """Return a name of which nothing is noted."""
        return self.get(written) or written.rpartition(":")[2]

    def note_unknown(self) -> None:
        """Warn of the elements that no RFC has: something newer may be said there."""
        if self.unknown:
            named = ", ".join(map(quoted, islice(self.unknown, UNKNOWN_NAMED)))
            more = " and more" if len(self.unknown) > UNKNOWN_NAMED else ""
            self._warnings.add(f"unknown elements passed over: {named}{more}")

    def __missing__(self, written: str) -> str:
        local = written.rpartition(":")[2]
        name = local
        if local not in KNOWN:
            name = MISSPELT.get(local.lower().replace("-", "").replace("_", ""), local)
            if name in KNOWN:
                self._warnings.add(f"element {quoted(local)} read as '{name}'")
            elif self._notes_unknown and not written.startswith(("xs:", "xsd:")):
                self.unknown.setdefault(local)
        if len(self) < _NAMES_KEPT:
            self[written] = name
        return name
