"""Attachment bytes → the documents in them, inflated under limits.

gzip, zip and zlib data, base64 of any of them, and one within another, are told by their
first bytes, never by their name. Nothing is written to disk; names in archives are only
words for messages. What is inflated is counted as it comes, so that neither a lying size
nor a bomb costs more than the limits say.

A checksum that does not fit makes a document unreadable, even where its XML would parse:
one flipped digit in a count cannot be seen otherwise.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from dmarckit.core.errors import LimitExceeded, UnreadableReport
from dmarckit.core.limits import Limits
from dmarckit.reports.inflate import CHUNK, Budget, Path, inflated, member_data, members, pieces
from dmarckit.reports.transfer import from_base64

BASE64 = re.compile(rb"[A-Za-z0-9+/=\s]{40,}")
_FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True, slots=True)
class Document:
    """One inflated document: a name for messages, and its bytes as often as needed."""

    name: str
    open: Callable[[], Iterator[bytes]]


def documents(
    payload: bytes, name: str, limits: Limits, budget: Budget | None = None
) -> Iterator[Document]:
    """The documents in `payload`, in their order; `payload` itself when it is not packed.

    Empty members, folders and ``__MACOSX/`` litter are passed over. Raises
    `UnreadableReport` for damaged or foreign archives and `LimitExceeded`. Damage in one
    member of a zip archive, or deep in a stream, comes up only when that document is read.
    """
    budget = budget or Budget(limits)
    budget.attachments += 1
    yield from _documents(payload, name, budget, (budget.attachments,))


def packing(head: bytes) -> str | None:
    """How bytes that begin with `head` are packed: gzip, zip, zlib, base64, or not at all."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return "zip"
    if head[:1] == b"\x78" and head[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        return "zlib" if _is_zlib(head) else None
    return "base64" if _is_base64(head) else None


def _is_zlib(head: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(head[:4096], 64)) or len(head) < 64
    except zlib.error:
        return False


def _is_base64(head: bytes) -> bool:
    start = head[:4096].lstrip()
    if not BASE64.fullmatch(start):
        return False
    letters = b"".join(start.split())[:400]
    try:
        inside = binascii.a2b_base64(letters[: len(letters) // 4 * 4])
    except binascii.Error:
        return False
    return packing(inside) in ("gzip", "zip", "zlib") or inside.lstrip()[:1] in (b"<", b"{")


def _documents(payload: bytes, name: str, budget: Budget, path: Path) -> Iterator[Document]:
    kind = packing(payload[:4096])
    if kind is None and payload[:1] in (b"\r", b"\n") and packing(payload[:4096].lstrip()):
        yield from _documents(payload.lstrip(), name, budget, path)
        return
    for magic, tool in _FOREIGN.items():
        if payload.startswith(magic):
            raise UnreadableReport(f"packed with {tool}, which no report uses")
    if kind is None:
        yield Document(name, partial(pieces, payload))
        return
    if len(path) > budget.limits.nesting:
        raise LimitExceeded(f"packed more than {budget.limits.nesting} times (limit 'nesting')")
    if kind == "base64":
        yield from _documents(from_base64(payload), name, budget, (*path, 0))
        return
    if kind == "zip":
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
        return
    wbits = 31 if kind == "gzip" else 15
    inner = (*path, 0)
    stream = partial(inflated, payload, wbits, inner, budget)
    yield from _inner(_without_suffix(name), stream, budget, inner)


def _inner(
    name: str, stream: Callable[[], Iterator[bytes]], budget: Budget, path: Path
) -> Iterator[Document]:
    """The document in one inflated stream, or those in the archive that it turns out to be."""
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
