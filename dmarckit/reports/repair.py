"""Text of a damaged aggregate report → well-formed XML, each repair with a warning.

Only what can be decided is repaired: an element that holds only text ends at the next tag, and a
tag of no known element that is never closed is text; comments and attributes go. Encodings: byte
order marks beat all, then valid UTF-8, then the declared one, then windows-1252 byte by byte.
"""

from __future__ import annotations

import codecs
import contextlib
import html
import html.entities
import json
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dmarckit.core import LimitExceeded, NotAReport, UnreadableReport
from dmarckit.reports.feed import DEPTH
from dmarckit.reports.values import KNOWN, Names, Warnings, quoted

MAX_REPAIRS = 100_000  # places of one report; beyond it nothing in it can be trusted
_TOKEN = re.compile(
    r"(?P<opener><!--|<\?|<!\[CDATA\[|<!DOCTYPE)"
    r"|<(?P<end>/?)\s*(?P<name>[A-Za-z_][\w.:-]{0,80})"
    # an end tag may have lost its bracket; a start tag without one is text
    r"(?:(?=[\s/>])(?P<rest>[^<>]*)>|(?<=[\w.:-])(?P<bare>\s*)(?=<))"
)
_LOST_BRACKET = re.compile(r"\s*/\s*([A-Za-z_][\w.:-]{0,80})>\s*\Z")
_CLOSERS = {"<!--": "-->", "<?": "?>", "<![CDATA[": "]]>", "<!DOCTYPE": ">"}
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"&(?:#(\d{1,7}|[xX][0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));|&")
_XML_NAMES = frozenset({"amp", "lt", "gt", "quot", "apos"})
CONTAINERS = frozenset({
    "feedback", "report_metadata", "date_range", "policy_published", "record", "row",
    "policy_evaluated", "reason", "identifiers", "auth_results", "extension",
})  # fmt: skip
_EITHER = frozenset({"dkim", "spf"})  # hold text in policy_evaluated and elements in auth_results


def repaired(text: str, names: Names, warnings: Warnings) -> Iterator[bytes]:
    """Yield well-formed UTF-8 XML of one ``<feedback>`` element, in pieces.

    Raises `UnreadableReport` naming the element that is not closed.
    """
    mender = _Mender(names, warnings)
    for token, before in _tokens(text):
        mender.text(before)
        if token is None:
            break
        if token["bare"] is not None and not token["end"]:
            mender.text(token[0])
        elif token["name"]:
            name = names[token["name"]]
            if token["end"]:
                mender.end(name)
            else:
                mender.start(name, token[0])
                if token["rest"].rstrip().endswith("/"):
                    mender.end(name)
        elif token["opener"] == "<![CDATA[":
            start, end = token.end(), text.find("]]>", token.end())
            mender.verbatim(text[start:end])
        if len(mender.open) <= 1:
            yield mender.flush()
    if mender.open:
        raise UnreadableReport(f"element <{mender.open[-1].name}> is not closed")
    yield mender.flush()


def _tokens(text: str) -> Iterator[tuple[re.Match[str] | None, str]]:
    """Yield each tag, and opener of what ends elsewhere, with the text before it; last None.

    An opener that nothing closes is text: that is searched for once.
    """
    position = searched = 0
    unclosed: set[str] = set()
    while token := _TOKEN.search(text, searched):
        opener, end = token["opener"], token.end()
        if opener:
            closer = -1 if opener in unclosed else text.find(_CLOSERS[opener], end)
            if closer < 0:
                unclosed.add(opener)
                searched = end
                continue
            end = closer + len(_CLOSERS[opener])
        yield token, text[position : token.start()]
        position = searched = end
    yield None, text[position:]


@dataclass(slots=True)
class _Open:
    """An element that is open: where its tag is in the output, and as it was written."""

    name: str
    index: int
    written: str
    has_children: bool = False


class _Mender:
    """Writes well-formed XML from a stream of tags that need not fit each other."""

    def __init__(self, names: Names, warnings: Warnings) -> None:
        self._names = names
        self._warnings = warnings
        self._repairs = 0
        self.out: list[str] = []
        self.open: list[_Open] = []

    def _note(self, repair: str) -> None:
        self._repairs += 1
        if self._repairs > MAX_REPAIRS:
            raise LimitExceeded(f"damaged in more than {MAX_REPAIRS:,} places")
        self._warnings.add(repair)

    def flush(self) -> bytes:
        piece = "".join(self.out).encode()
        self.out.clear()
        return piece

    def text(self, text: str) -> None:
        if not text:
            return
        if "&" in text or "<" in text or "]]>" in text or _FORBIDDEN.search(text):
            clean = _FORBIDDEN.sub("", text)
            if clean != text:
                self._note(f"{self._path()}: characters removed that XML forbids")
            text = _REFERENCE.sub(_reference, clean).replace("<", "&lt;").replace("]]>", "]]&gt;")
            if text != clean:
                self._note(f"{self._path()}: {quoted(clean.strip())} read as text")
        self.out.append(text)

    def verbatim(self, text: str) -> None:  # of a CDATA section, in which nothing is markup
        text = _FORBIDDEN.sub("", text)
        self.out.append(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))

    def start(self, name: str, written: str) -> None:
        if self.open and self._is_text_only(self.open[-1].name) and name in KNOWN:
            self._close("is not closed, ends before the next element")
        if self.open:
            self.open[-1].has_children = True
        if len(self.open) >= DEPTH:
            raise LimitExceeded(f"elements are nested deeper than {DEPTH}")
        self.open.append(_Open(name, len(self.out), written))
        self.out.append(f"<{name}>")

    def end(self, name: str) -> None:
        if not any(each.name == name for each in self.open):
            self._end_by_other_name(name)
            return
        while (top := self.open[-1]).name != name:
            if top.name not in KNOWN:
                self._note(f"{quoted(top.written)} in {self._path(-1)} read as text")
                self.open.pop()
                self.out[top.index] = top.written.replace("&", "&amp;").replace("<", "&lt;")
            elif self._is_text_only(top.name):
                self._close(f"is not closed before </{name}>")
            else:
                raise UnreadableReport(f"element <{top.name}> is not closed before </{name}>")
        self.open.pop()
        self.out.append(f"</{name}>")

    def _end_by_other_name(self, name: str) -> None:
        top = self.open[-1] if self.open else None
        if top is None or top.has_children or top.name in CONTAINERS:
            self._note(f"end tag {quoted(f'</{name}>')} of nothing passed over")
            return
        if top.name not in KNOWN and name in KNOWN:
            self._warnings.changed("element", top.name, name)
            top.name = name
            self.out[top.index] = f"<{name}>"
        self._close(f"is closed by </{name}>")

    def _close(self, how: str) -> None:
        name = self.open.pop().name
        last = _LOST_BRACKET.search(self.out[-1][-200:])
        if last and self._names[last[1]] == name:  # value/name> for value</name>
            self.out[-1] = self.out[-1][: -len(last[0])]
        self._note(f"element {quoted(name)} {how}")
        self.out.append(f"</{name}>")

    def _is_text_only(self, name: str) -> bool:
        if name in _EITHER:
            return len(self.open) > 1 and self.open[-2].name == "policy_evaluated"
        return name in KNOWN and name not in CONTAINERS

    def _path(self, up_to: int | None = None) -> str:
        return "/".join(each.name for each in self.open[1:up_to]) or "feedback"


def _reference(match: re.Match[str]) -> str:
    """Return a reference of XML as it is; one of HTML as its character; else an ampersand."""
    number, name = match[1], match[2]
    if name in _XML_NAMES:
        return match[0]
    if number:
        code = int(number[1:], 16) if number[0] in "xX" else int(number)
        allowed = code <= 0x10FFFF and not _FORBIDDEN.match(chr(code))
        return f"&#{code};" if allowed else ""
    if name and name in html.entities.name2codepoint:
        return chr(html.entities.name2codepoint[name])
    return "&amp;" + match[0][1:]


_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*(?:3D)?[\"']?([A-Za-z][\w.:-]{0,40})")
# others have a codec in Python as well, but are no character sets or take quadratic time
_CHARACTER_SET = re.compile(
    r"(iso|windows|cp|utf.?(8|16|32)|us.ascii|ascii|latin|koi8|euc|s(hift)?.?jis|gb|big5|hz|ks|mac|tis)",
    re.IGNORECASE,
)
_SOFT_BREAK = re.compile(rb"=[ \t]*\r?\n|=3D[\"']")
_ESCAPED_ROOT = re.compile(r"&lt;(?:[\w.-]{1,40}:)?feedback", re.IGNORECASE)
_FEEDBACK = r"(?:[\w.-]{1,40}:)?feedback"
_ROOT = re.compile(rf"<{_FEEDBACK}(?:\s[^<>]*)?>", re.IGNORECASE)
_NAMESPACE = re.compile(
    r"<(?:([\w.-]{1,40}):)?feedback\b[^<>]*?\sxmlns(?(1):\1)\s*=\s*[\"']([^\"'<>]{0,200})",
    re.IGNORECASE,
)
_ROOT_END = re.compile(rf"</\s*{_FEEDBACK}\s*>", re.IGNORECASE)
_PROLOGUE = re.compile(r"<\?[^<>]{0,500}\?>|<!DOCTYPE[^<>]{0,500}>|<!--[^<>]{0,500}-->")
# what surrogateescape makes of a byte that is no UTF-8 → the character of windows-1252
_WINDOWS = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(128, 256)
}


def declared_encoding(head: bytes) -> str | None:
    """Return the encoding that the XML declaration names, in lower case."""
    found = _DECLARED.search(head[:1000].replace(b"\0", b""))
    return found[1].decode("ascii").lower() if found else None


def expat_encoding(head: bytes, warnings: Warnings) -> str | None:
    """Return the encoding in which expat should read a document that begins with `head`.

    That is UTF-8 wherever the bytes are, since a declaration of something else would make
    every letter beyond ASCII wrong. None when expat cannot read it as it is.
    """
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in head[:4]:
        return None
    declared = declared_encoding(head)
    if declared in (None, "utf-8", "us-ascii"):
        return "utf-8"
    if not head.isascii() or declared.startswith(("utf", "ucs")):
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder("utf-8")().decode(head)
            warnings.changed("encoding", declared, "utf-8")
            return "utf-8"
    if _CHARACTER_SET.match(declared):
        with contextlib.suppress(LookupError, UnicodeError):
            single_byte = len(bytes(range(256)).decode(declared, "replace")) == 256
            return declared if single_byte else None
    return None


def decode_escapes(data: bytes, warnings: Warnings) -> str:
    """Return the text of `data`, any quoted-printable or HTML escaping left on taken off."""
    if _SOFT_BREAK.search(data) and (b"=3D" in data or b"=\n" in data or b"=\r\n" in data):
        data = quopri.decodestring(data)
        warnings.add("quoted-printable encoding taken off")
    text = _decoded(data, warnings)
    if not _ROOT.search(text) and _ESCAPED_ROOT.search(text):
        text = html.unescape(text)
        warnings.add("HTML escaping taken off")
    return text


def _decoded(data: bytes, warnings: Warnings) -> str:
    declared = declared_encoding(data)
    wide: str = json.detect_encoding(data)  # by a byte order mark, or zero bytes about the first <
    if wide.startswith(("utf-16", "utf-32")):
        if wide[-2:] not in ("le", "be"):
            wide += "-le" if data[0] == 0xFF else "-be"
        text = data.decode(wide, "replace").removeprefix("\ufeff")
        if declared and not declared.startswith(wide[:6]):
            warnings.changed("encoding", declared, wide)
        if "\ufffd" in text:
            warnings.add(f"characters that are no {wide} replaced by \ufffd")
        return text
    if not data.startswith(codecs.BOM_UTF8):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("utf-8")
            if declared not in (None, "utf-8", "utf8", "us-ascii") and not data.isascii():
                warnings.changed("encoding", declared, "utf-8")
            return text
        if declared and declared not in ("utf-8", "utf8") and _CHARACTER_SET.match(declared):
            with contextlib.suppress(LookupError, UnicodeError):
                return data.decode(declared)
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    repaired = text.translate(_WINDOWS)
    if repaired != text:
        warnings.changed("encoding", declared or "utf-8", "windows-1252 where it is no UTF-8")
    return repaired


def root_namespace(text: str) -> str | None:
    """Return the namespace that the root's tag, at the start of `text`, declares for itself."""
    found = _NAMESPACE.match(text[:1000])
    return found[2].strip() or None if found else None


def roots(text: str, warnings: Warnings) -> list[str]:
    """Return each ``<feedback>…</feedback>`` in `text`, in order.

    Raises `NotAReport` when there is none, `UnreadableReport` when the last has no end.
    """
    found: list[str] = []
    position = 0
    while root := _ROOT.search(text, position):
        end = _ROOT_END.search(text, root.end())
        if end is None and found:
            break
        if end is None:
            raise UnreadableReport("cut off: <feedback> has no end")
        found.append(text[root.start() : end.end()])
        _note_junk(text[position : root.start()], "before", warnings)
        position = end.end()
    if not found:
        raise NotAReport("no <feedback> element")
    _note_junk(text[position:], "after", warnings)
    return found


def _note_junk(text: str, where: str, warnings: Warnings) -> None:
    if junk := _PROLOGUE.sub("", text).strip(" \t\r\n\0\ufeff"):
        warnings.add(f"{len(junk):,} characters {where} <feedback> passed over: {quoted(junk)}")
