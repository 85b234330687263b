"""Attachment bytes → the documents in them, inflated under limits.

gzip, zip and zlib data, base64 of any of them, and one within another, are known by their
first bytes, never by their name. What is inflated is counted as it comes, so that neither a
lying size nor a bomb costs more than the limits say. A wrong checksum makes a document unreadable.
"""

from __future__ import annotations

import binascii
import contextlib
import io
import quopri
import re
import string
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from dmarckit.core import (
    LimitExceeded,
    Limits,
    MailLimitExceeded,
    UnreadableReport,
    one_line,
)

CHUNK = 262_144  # bytes inflated at a time
PACKED = 65_536  # and packed bytes that are given for that
Path = tuple[int, ...]  # which member of which member a stream is
_UUENCODED = re.compile(rb"(?m)^begin [0-7]{3,4} ([^\r\n]{1,255})\r?\n")
_LINE = re.compile(rb"[^\r\n]+")
_NO_LETTERS = bytes(set(range(256)) - set(f"{string.ascii_letters}{string.digits}+/".encode()))
PIECES = 200_000  # padded pieces of one base64 text; the rest is read as one
_PLAIN = (b"<?xml", b"<feedback", b"{", b"\x1f\x8b", b"PK\x03\x04")
BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]{40,}")
_FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!\x1a\x07": "RAR", b"\xfd7zXZ\x00": "xz",
            b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}  # fmt: skip


@dataclass(slots=True)
class Budget:
    """What reading one mail costs: what it inflates to, members and layers together, and time."""

    limits: Limits
    attachments: int = 0
    total: int = 0
    spent: dict[Path, int] = field(default_factory=dict)
    began: float = field(default_factory=time.thread_time)

    def note(self, path: Path, size: int) -> None:
        """Count `size` bytes so far of the stream `path`, which may be read again."""
        self.total += size - self.spent.get(path, 0)
        self.spent[path] = size
        if self.total > self.limits.document_bytes:
            raise LimitExceeded(
                f"inflates to more than {self.limits.document_bytes:,} bytes "
                "(limit 'document_bytes')"
            )
        self.check_time()

    def check_time(self) -> None:
        """Raise MailLimitExceeded when this thread has worked on the mail for too long."""
        if time.thread_time() - self.began > self.limits.seconds:
            raise MailLimitExceeded(
                f"takes more than {self.limits.seconds} s of processor time (limit 'seconds')"
            )

    def timed(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces of a document while there is time. Raises MailLimitExceeded."""
        for piece in pieces:
            self.check_time()
            yield piece


def inflated(packed: bytes, wbits: int, path: Path, budget: Budget) -> Iterator[bytes]:
    """Yield the inflated bytes of gzip members (one after the other) or of one zlib stream.

    What follows the last member is passed over: mail gateways append to attachments.
    """
    limits, total, at = budget.limits, 0, 0
    while True:
        inflater = zlib.decompressobj(wbits)
        while not inflater.eof:
            given = inflater.unconsumed_tail  # a copy: of all that is packed it would be quadratic
            if not given:
                given = packed[at : at + PACKED]
                at += len(given)
            try:
                chunk = inflater.decompress(given, CHUNK)
            except zlib.error as error:
                raise UnreadableReport(f"damaged packed data: {one_line(error)}") from None
            total += len(chunk)
            if total > limits.ratio_from and total > limits.ratio * len(packed):
                raise LimitExceeded(
                    f"inflates to more than {limits.ratio} times its size (limit 'ratio')"
                )
            budget.note(path, total)
            if chunk:
                yield chunk
            elif not given and not inflater.eof:
                raise UnreadableReport("packed data is cut off")
        at -= len(inflater.unused_data)
        if wbits != 31 or packed[at : at + 2] != b"\x1f\x8b":
            return


def pieces(data: bytes) -> Iterator[bytes]:
    """Return the bytes in chunks; one, empty, for no bytes."""
    return (data[start : start + CHUNK] for start in range(0, len(data) or 1, CHUNK))


def members(payload: bytes, limits: Limits) -> list[zipfile.ZipInfo]:
    """Return the directory of a zip archive."""
    # zipfile reads the whole directory at once, however long it is
    if payload.count(b"PK\x01\x02") > 10 * limits.members:
        raise LimitExceeded(f"more than {limits.members} members (limit 'members')")
    try:
        members = zipfile.ZipFile(io.BytesIO(payload)).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise UnreadableReport(f"damaged zip archive: {one_line(error)}") from None
    if len(members) > limits.members:
        raise LimitExceeded(f"{len(members)} members, more than {limits.members} (limit 'members')")
    return members


def member_data(
    payload: bytes, member: zipfile.ZipInfo, path: Path, budget: Budget
) -> Iterator[bytes]:
    """Yield the bytes of one member of a zip archive, checked against its size and checksum.

    Not by `zipfile.ZipFile.open`, which takes a wrong size for a wrong checksum, and refuses
    members whose local header has another name than the directory.
    """
    if member.flag_bits & 0x1:
        raise UnreadableReport("the zip archive is encrypted")
    offset = member.header_offset
    header = payload[offset : offset + 30] if offset >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise UnreadableReport("damaged zip archive: its directory points to no member")
    start = offset + 30 + sum(struct.unpack("<HH", header[26:30]))  # name and extra (APPNOTE 4.3.7)
    packed = payload[start : start + member.compress_size]
    if member.compress_type == zipfile.ZIP_STORED:
        budget.note(path, len(packed))
        chunks = pieces(packed)
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        chunks = inflated(packed, -15, path, budget)
    else:
        raise UnreadableReport(
            f"zip compression method {member.compress_type} is not one that reports use"
        )
    size = checksum = 0
    for chunk in chunks:
        size += len(chunk)
        checksum = zlib.crc32(chunk, checksum)
        if size > member.file_size:
            break
        yield chunk
    if size != member.file_size:
        raise UnreadableReport(
            f"the zip directory says {member.file_size:,} bytes, but its member holds "
            f"{'more' if size > member.file_size else f'{size:,}'}"
        )
    if checksum != member.CRC:
        raise UnreadableReport("the zip checksum does not fit the data")


def transfer_decoded(body: bytes, encoding: str) -> bytes:
    """Return `body` without the content transfer encoding that its header names.

    A body that plainly is not encoded so (XML, JSON, gzip or zip data) is taken as it is.
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
    """Return what base64 `text` holds.

    Lines may be of any length, padding may be missing, or stand within the text where an
    encoder worked piece by piece. What is no base64 letter is passed over, and so is a
    single letter left over at the end of a piece.
    """
    padding = text.find(b"=")
    if padding < 0 or len(text[padding:].strip()) <= 2:
        with contextlib.suppress(binascii.Error):
            return binascii.a2b_base64(text)
    decoded = bytearray()
    for piece in text.split(b"=", PIECES):
        letters = piece.translate(None, _NO_LETTERS)
        whole = letters[: len(letters) - (len(letters) % 4 == 1)]
        decoded += binascii.a2b_base64(whole + b"==") if whole else b""
    return bytes(decoded)


def uuencoded(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files uuencoded within `text`; damaged ones not."""
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


@dataclass(frozen=True, slots=True)
class Document:
    """One inflated document: a name for messages, and its bytes as often as needed."""

    name: str
    open: Callable[[], Iterator[bytes]]
    timed: Callable[[Iterable[bytes]], Iterator[bytes]] = iter
    """what is made of its bytes, while there is time for the mail"""


def documents(
    payload: bytes, name: str, limits: Limits, budget: Budget | None = None
) -> Iterator[Document]:
    """Yield the documents in `payload`, in their order; `payload` itself when it is not packed.

    Empty members, folders and ``__MACOSX/`` litter are passed over. Raises
    `UnreadableReport` for damaged or foreign archives and `LimitExceeded`. Damage in one
    member of a zip archive, or deep in a stream, comes up only when that document is read.
    """
    budget = budget or Budget(limits)
    budget.attachments += 1
    for found in _documents(payload, name, budget, (budget.attachments,)):
        opened = partial(lambda open_: budget.timed(open_()), found.open)
        yield Document(found.name, opened, budget.timed)


def packing(head: bytes) -> str | None:
    """Return how bytes that begin so are packed: gzip, zip, zlib, base64; None: not at all."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return "zip"
    if head[:1] == b"\x78" and head[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        with contextlib.suppress(zlib.error):
            whole = zlib.decompressobj().decompress(head[:4096], 64) or len(head) < 64
            return "zlib" if whole else None
        return None
    start = head[:4096].lstrip()
    if BASE64.fullmatch(start):
        letters = b"".join(start.split())[:400]
        with contextlib.suppress(binascii.Error):
            inside = binascii.a2b_base64(letters[: len(letters) // 4 * 4])
            packed = packing(inside) in ("gzip", "zip", "zlib")
            return "base64" if packed or inside.lstrip()[:1] in (b"<", b"{") else None
    return None


def _documents(payload: bytes, name: str, budget: Budget, path: Path) -> Iterator[Document]:
    kind = packing(payload[:4096])
    if kind is None and payload[:1] in (b"\r", b"\n") and packing(payload[:4096].lstrip()):
        yield from _documents(payload.lstrip(), name, budget, path)
        return
    if tool := next((tool for magic, tool in _FOREIGN.items() if payload.startswith(magic)), ""):
        raise UnreadableReport(f"packed with {tool}, which no report uses")
    if kind is None:
        yield Document(name, partial(pieces, payload))
        return
    inner = (*path, 0)
    if len(path) > budget.limits.nesting:
        raise LimitExceeded(f"packed more than {budget.limits.nesting} times (limit 'nesting')")
    if kind == "base64":
        yield from _documents(from_base64(payload), name, budget, inner)
    elif kind == "zip":
        for number, member in enumerate(members(payload, budget.limits)):
            if member.filename.endswith("/") or member.filename.startswith("__MACOSX/"):
                continue
            inner = (*path, number)
            label = member.filename or f"{_without_suffix(name)} member {number + 1}"
            stream = partial(member_data, payload, member, inner, budget)
            try:
                yield from _inner(label, stream, budget, inner)
            except LimitExceeded:
                raise
            except UnreadableReport as error:  # the other members may be whole
                yield Document(label, partial(_damaged, error))
    else:
        stream = partial(inflated, payload, 31 if kind == "gzip" else 15, inner, budget)
        yield from _inner(_without_suffix(name), stream, budget, inner)


def _inner(
    name: str, stream: Callable[[], Iterator[bytes]], budget: Budget, path: Path
) -> Iterator[Document]:
    """Yield the document in an inflated stream, or those in the archive that it holds."""
    opened = stream()
    head = b""
    for chunk in opened:
        head += chunk
        if len(head) >= CHUNK:
            break
    else:
        if packing(head[:4096]) is not None:
            yield from _documents(head, name, budget, path)
        elif head:
            yield Document(name, partial(pieces, head))
        return
    if packing(head[:4096]) is None:
        yield Document(name, stream)
        return
    whole = bytearray(head)
    for chunk in opened:
        whole += chunk
        if len(whole) > budget.limits.mail_bytes:
            raise LimitExceeded(
                f"an archive within an archive is larger than {budget.limits.mail_bytes:,} bytes"
                " (limit 'mail_bytes')"
            )
    yield from _documents(bytes(whole), name, budget, path)


def _damaged(error: UnreadableReport) -> Iterator[bytes]:
    raise error


def _without_suffix(name: str) -> str:
    return re.sub(r"\.(gz|gzip|zip|z|zlib)$", "", name, flags=re.IGNORECASE) or name
