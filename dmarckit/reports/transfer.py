"""Content transfer encodings: base64, quoted-printable, uuencode, and bodies that lie.

The standard library's decoders do the work; what they refuse or cut short is read as far as
it goes, since the archive or document in it has checks of its own.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator

_UUENCODED = re.compile(rb"(?m)^begin [0-7]{3,4} ([^\r\n]{1,255})\r?\n")
_LINE = re.compile(rb"[^\r\n]+")
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NO_LETTERS = bytes(set(range(256)) - set(_LETTERS))
PIECES = 200_000
"""padded pieces of one base64 text; the rest is read as one"""
_PLAIN = (b"<?xml", b"<feedback", b"{", b"\x1f\x8b", b"PK\x03\x04")


def transfer_decoded(body: bytes, encoding: str) -> bytes:
    """`body` without the content transfer encoding that its header names.

    A body that plainly is not encoded as its header says (XML, JSON, gzip or zip data) is
    taken as it is.
    """
    encoding = encoding.partition(";")[0].strip().lower()
    start = body[:64].lstrip()
    if encoding == "quoted-printable" and not start.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        return quopri.decodestring(body)
    if start.startswith(_PLAIN):
        return body
    if encoding == "base64":
        return from_base64(body)
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        return next((payload for _, payload in uuencoded(body)), body)
    return body


def from_base64(text: bytes) -> bytes:
    """What base64 `text` holds.

    Lines may be of any length, padding may be missing, or stand within the text where an
    encoder worked piece by piece. What is no base64 letter is passed over, and so is a
    single letter left over at the end of a piece.
    """
    padding = text.find(b"=")
    if padding < 0 or len(text[padding:].strip()) <= 2:
        try:
            return binascii.a2b_base64(text)
        except binascii.Error:
            pass
    pieces = text.split(b"=", PIECES)
    return b"".join(map(_base64_piece, pieces))


def _base64_piece(text: bytes) -> bytes:
    letters = text.translate(None, _NO_LETTERS)
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + b"==") if whole else b""


def uuencoded(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files that are uuencoded within `text`; damaged ones not."""
    position = 0
    while begin := _UUENCODED.search(text, position):
        end = text.find(b"\nend", begin.end())
        position = len(text) if end < 0 else end
        payload = bytearray()
        try:
            for line in _LINE.finditer(text, begin.end(), position):
                payload += binascii.a2b_uu(line[0])
        except binascii.Error:
            continue
        yield begin[1].decode("utf-8", "replace").strip(), bytes(payload)
