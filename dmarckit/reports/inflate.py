"""gzip, zlib and zip data → bytes, piece by piece and within a budget.

What is inflated is counted as it comes, so that neither a lying size nor a bomb costs more
than the limits say.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from dmarckit.core.errors import LimitExceeded, UnreadableReport, one_line
from dmarckit.core.limits import Limits

CHUNK = 262_144
"""bytes inflated at a time"""
Path = tuple[int, ...]
"""which member of which member a stream is"""


@dataclass(slots=True)
class Budget:
    """What all attachments of one mail may still inflate to, members and layers together."""

    limits: Limits
    attachments: int = 0
    total: int = 0
    spent: dict[Path, int] = field(default_factory=dict)

    def note(self, path: Path, size: int) -> None:
        """Count `size` bytes so far of the stream `path`, which may be read again."""
        self.total += size - self.spent.get(path, 0)
        self.spent[path] = size
        if self.total > self.limits.document_bytes:
            raise LimitExceeded(
                f"inflates to more than {self.limits.document_bytes:,} bytes "
                "(limit 'document_bytes')"
            )


def inflated(packed: bytes, wbits: int, path: Path, budget: Budget) -> Iterator[bytes]:
    """The inflated bytes of gzip members (one after the other) or of one zlib stream.

    What follows the last member is passed over: mail gateways append to attachments.
    """
    limits = budget.limits
    total = 0
    rest = packed
    while True:
        inflater = zlib.decompressobj(wbits)
        while not inflater.eof:
            try:
                chunk = inflater.decompress(rest, CHUNK)
            except zlib.error as error:
                raise UnreadableReport(f"damaged packed data: {one_line(error)}") from None
            rest = inflater.unconsumed_tail
            total += len(chunk)
            _check_ratio(total, len(packed), limits)
            budget.note(path, total)
            if chunk:
                yield chunk
            elif not inflater.eof and not rest:
                raise UnreadableReport("packed data is cut off")
        rest = inflater.unused_data
        if wbits != 31 or rest[:2] != b"\x1f\x8b":
            return


def pieces(data: bytes) -> Iterator[bytes]:
    if len(data) <= CHUNK:
        return iter((data,))
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def _check_ratio(inflated: int, packed: int, limits: Limits) -> None:
    if inflated > limits.ratio_from and inflated > limits.ratio * packed:
        raise LimitExceeded(f"inflates to more than {limits.ratio} times its size (limit 'ratio')")


def members(payload: bytes, limits: Limits) -> list[zipfile.ZipInfo]:
    """The directory of a zip archive."""
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
    """The bytes of one member of a zip archive, checked against its size and checksum."""
    if member.flag_bits & 0x1:
        raise UnreadableReport("the zip archive is encrypted")
    start = _data_start(payload, member)
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


def _data_start(payload: bytes, member: zipfile.ZipInfo) -> int:
    """Where a member's data begins: behind its local header (APPNOTE 4.3.7)."""
    offset = member.header_offset
    header = payload[offset : offset + 30] if offset >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise UnreadableReport("damaged zip archive: its directory points to no member")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return offset + 30 + int(name_length) + int(extra_length)
