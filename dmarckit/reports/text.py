"""Bytes of a damaged XML document → the text of each report in it, in any encoding.

Byte order marks beat everything, then valid UTF-8, then the encoding that the document
declares. A byte that still does not fit is taken as windows-1252, which is what mail
software that knows nothing of encodings writes. Each of these leaves a warning.
"""

from __future__ import annotations

import codecs
import html
import quopri
import re

from dmarckit.core.errors import NotAReport, UnreadableReport
from dmarckit.reports.values import Warnings, quoted

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
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
_ROOT_END = re.compile(rf"</\s*{_FEEDBACK}\s*>", re.IGNORECASE)
_PROLOGUE = re.compile(r"<\?[^<>]{0,500}\?>|<!DOCTYPE[^<>]{0,500}>|<!--[^<>]{0,500}-->")
# what surrogateescape makes of a byte that is no UTF-8 → the character of windows-1252
_WINDOWS = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(128, 256)
}


def declared_encoding(head: bytes) -> str | None:
    """The encoding that the XML declaration names, in lower case."""
    found = _DECLARED.search(head[:1000].replace(b"\0", b""))
    return found[1].decode("ascii").lower() if found else None


def expat_encoding(head: bytes, warnings: Warnings) -> str | None:
    """The encoding in which expat should read a document that begins with `head`.

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
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            pass
        else:
            warnings.changed("encoding", declared, "utf-8")
            return "utf-8"
    return declared if _is_single_byte(declared) else None


def _is_single_byte(encoding: str) -> bool:
    if not _CHARACTER_SET.match(encoding):
        return False
    try:
        return len(bytes(range(256)).decode(encoding, "replace")) == 256
    except (LookupError, UnicodeError):
        return False


def decoded(data: bytes, warnings: Warnings) -> str:
    """The text of `data`, with quoted-printable or HTML escaping taken off that was left on."""
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
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _with_repairs(data[len(mark) :], encoding, declared, warnings)
    wide = _unmarked_wide(data)
    if wide:
        return _with_repairs(data, wide, declared, warnings)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        if declared not in (None, "utf-8", "utf8", "us-ascii") and not data.isascii():
            warnings.changed("encoding", declared, "utf-8")
        return text
    if declared and declared not in ("utf-8", "utf8") and _CHARACTER_SET.match(declared):
        try:
            return data.decode(declared)
        except (LookupError, UnicodeError):
            pass
    return _with_repairs(data, "utf-8", declared, warnings)


def _unmarked_wide(data: bytes) -> str | None:
    """UTF-16 without a mark, told by the zero bytes of ``<`` and what follows it."""
    start = data[:4]
    if start[:1] == b"<" and start[1:2] == b"\0":
        return "utf-16-le" if start[2:3] != b"\0" else "utf-32-le"
    if start[:1] == b"\0":
        return "utf-16-be" if start[1:2] == b"<" else "utf-32-be"
    return None


def _with_repairs(data: bytes, encoding: str, declared: str | None, warnings: Warnings) -> str:
    if encoding != "utf-8":
        text = data.decode(encoding, "replace")
        if declared and not declared.startswith(encoding[:6]):
            warnings.changed("encoding", declared, encoding)
        if "\ufffd" in text:
            warnings.add(f"characters that are no {encoding} replaced by \ufffd")
        return text
    text = data.decode("utf-8", "surrogateescape")
    repaired = text.translate(_WINDOWS)
    if repaired != text:
        warnings.changed("encoding", declared or "utf-8", "windows-1252 where it is no UTF-8")
    return repaired


def roots(text: str, warnings: Warnings) -> list[str]:
    """Each ``<feedback>…</feedback>`` in `text`, in order.

    Raises `NotAReport` when there is none, `UnreadableReport` when the last has no end.
    """
    found: list[str] = []
    position = 0
    while root := _ROOT.search(text, position):
        end = _ROOT_END.search(text, root.end())
        if end is None:
            if found:
                break
            raise UnreadableReport("cut off: <feedback> has no end")
        found.append(text[root.start() : end.end()])
        _note_junk(text[position : root.start()], "before", warnings)
        position = end.end()
    if not found:
        raise NotAReport("no <feedback> element")
    _note_junk(text[position:], "after", warnings)
    return found


def _note_junk(text: str, where: str, warnings: Warnings) -> None:
    junk = _PROLOGUE.sub("", text).strip(" \t\r\n\0\ufeff")
    if junk:
        warnings.add(f"{len(junk):,} characters {where} <feedback> passed over: {quoted(junk)}")
