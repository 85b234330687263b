"""Archives: every packing is opened by its content; damage and tricks are refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import zipfile
import zlib
from typing import Any

import hypothesis
import pytest
from hypothesis import given, settings, strategies as st

from dmarckit.core.errors import LimitExceeded, UnreadableReport
from dmarckit.core.thresholds import Limits
from dmarckit.reports.unpack import CHUNK, PACKED, Budget, documents, inflated, packing
from tests.support.builders import WRAPPINGS, gz, zipped

XML = b"<feedback>" + bytes(range(32, 127)) * 20 + b"</feedback>"
LARGE = b"<feedback>" + b"<!-- %d -->" * 60_000 % tuple(range(60_000)) + b"</feedback>"


def contents(payload: bytes, limits: Limits | None = None) -> list[bytes]:
    return [b"".join(each.open()) for each in documents(payload, "name", limits or Limits())]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("document", [XML, LARGE], ids=["small", "large"])
def test_a_document_comes_out_as_it_went_in(wrapping: str, document: bytes) -> None:
    assert contents(WRAPPINGS[wrapping](document)) == [document]


def test_line_breaks_before_an_archive_are_passed_over() -> None:
    for packed in (gz(XML), zipped(("a", XML))):
        assert contents(b"\r\n" + packed) == [XML]


def test_a_document_can_be_read_again_and_comes_in_chunks() -> None:
    (document,) = documents(gz(LARGE), "report.xml.gz", Limits())
    first, second = list(document.open()), list(document.open())
    assert first == second
    assert max(map(len, first)) == CHUNK < len(LARGE)
    assert document.name == "report.xml"


def test_the_members_of_an_archive_come_in_order_without_litter() -> None:
    archive = zipped(
        ("folder/", b""),
        ("b.xml", XML),
        ("__MACOSX/._b.xml", b"x"),
        ("empty", b""),
        ("a.gz", gz(LARGE)),
    )
    found = list(documents(archive, "reports.zip", Limits()))
    assert [each.name for each in found] == ["b.xml", "a"]
    assert [b"".join(each.open()) for each in found] == [XML, LARGE]


def test_what_is_not_packed_is_the_document() -> None:
    for plain in (XML, b"", b"x\x9c is no zlib data", b"A" * 100, b"UEsDBA", b"eJx", b"PK"):
        assert packing(plain) is None
        assert contents(plain) == [plain]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (gz(LARGE)[:-10], "packed data is cut off"),
        (gz(LARGE)[:100], "packed data is cut off"),
        (flipped(gz(LARGE), 5000), "damaged packed data"),
        (flipped(gz(LARGE), -6), "damaged packed data"),
        (zlib.compress(LARGE)[:-1], "packed data is cut off"),
        (zipped(("a", LARGE))[:5000], "damaged zip archive"),
        (flipped(zipped(("a", XML), method=zipfile.ZIP_STORED), 60), "checksum does not fit"),
        (zipped(("a", XML), method=zipfile.ZIP_BZIP2), "compression method 12"),
        (zipped(("a", XML), method=zipfile.ZIP_LZMA), "compression method 14"),
        (bz2.compress(XML), "packed with bzip2"),
        (lzma.compress(XML), "packed with xz"),
        (b"7z\xbc\xaf\x27\x1c" + XML, "packed with 7-Zip"),
    ],
)
def test_damaged_and_foreign_archives_are_refused_with_a_reason(
    payload: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableReport, match=reason):
        contents(payload)


def test_one_damaged_member_does_not_spoil_the_others() -> None:
    archive = zipped(("a", XML), ("b", XML[::-1]), method=zipfile.ZIP_STORED)
    damaged, whole = documents(flipped(archive, 60), "reports.zip", Limits())
    with pytest.raises(UnreadableReport, match="checksum"):
        list(damaged.open())
    assert b"".join(whole.open()) == XML[::-1]


def test_a_small_gzip_member_before_a_large_one_is_streamed() -> None:
    (document,) = documents(gz(b"<feedback>") + gz(LARGE), "report.xml.gz", Limits())
    assert max(map(len, document.open())) <= CHUNK


@given(st.lists(st.binary(max_size=3 * PACKED), min_size=1, max_size=4), st.binary(max_size=40))
@settings(max_examples=30, deadline=None)
def test_gzip_members_may_end_anywhere(contents_: list[bytes], after: bytes) -> None:
    """Also where the packed bytes are cut for the inflater; what follows them is passed over."""
    hypothesis.assume(not after.startswith(b"\x1f\x8b"))
    packed = b"".join(map(gz, contents_)) + after
    inflated_ = inflated(packed, 31, (0,), Budget(Limits()))
    assert b"".join(inflated_) == b"".join(contents_)


def test_each_packed_byte_is_given_a_few_times_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = 0

    class Counting:
        def __init__(self, wbits: int) -> None:
            self.inflater = decompressobj(wbits)

        def decompress(self, packed: bytes, most: int) -> bytes:
            nonlocal given
            given += len(packed)
            return self.inflater.decompress(packed, most)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inflater, name)

    decompressobj = zlib.decompressobj
    monkeypatch.setattr("dmarckit.reports.unpack.zlib.decompressobj", Counting)
    numbers = random.Random(1).sample(range(10**9), 200_000)
    document = b"".join(b"<count>%d</count>\n" % number for number in numbers)
    packed = gz(document)
    assert len(packed) > 5 * PACKED
    assert b"".join(inflated(packed, 31, (0,), Budget(Limits()))) == document
    assert given < 5 * len(packed)


def test_an_encrypted_archive_says_so() -> None:
    archive = bytearray(zipped(("a", XML)))
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive[archive.index(header) + flags] |= 1
    with pytest.raises(UnreadableReport, match="encrypted"):
        contents(bytes(archive))


@pytest.mark.parametrize("size", [0, 10, len(XML) - 1, len(XML) + 1, 2**31])
def test_an_archive_whose_directory_lies_about_a_size_is_refused(size: int) -> None:
    archive = bytearray(zipped(("a", XML)))
    at = archive.index(b"PK\x01\x02") + 24
    archive[at : at + 4] = struct.pack("<I", size)
    with pytest.raises(UnreadableReport, match="directory says"):
        contents(bytes(archive))


def test_an_archive_whose_directory_points_nowhere_is_refused() -> None:
    archive = bytearray(zipped(("a", XML)))
    at = archive.index(b"PK\x01\x02") + 42
    archive[at : at + 4] = struct.pack("<I", 7)
    with pytest.raises(UnreadableReport, match="points to no member"):
        contents(bytes(archive))


# --- limits ----------------------------------------------------------------------------

SMALL = Limits(document_bytes=3_000_000, ratio_from=1_000_000, members=5, nesting=3)
ZEROS = b"\0" * 2_000_000


@pytest.mark.parametrize("wrap", [gz, zlib.compress, lambda data: zipped(("a", data))])
def test_the_ratio_is_limited(wrap: object) -> None:
    assert callable(wrap)
    with pytest.raises(LimitExceeded, match="limit 'ratio'"):
        contents(wrap(ZEROS), SMALL)
    assert contents(wrap(ZEROS[:900_000]), SMALL) == [ZEROS[:900_000]]


def test_the_size_is_limited() -> None:
    noise = random.Random(1).randbytes(4_000_000)
    with pytest.raises(LimitExceeded, match="limit 'document_bytes'"):
        contents(gz(noise), SMALL)


def test_the_size_of_all_members_together_is_limited() -> None:
    noise = random.Random(1).randbytes(1_100_000)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        members = [(str(number), b"<" + noise) for number in range(3)]
        assert len(contents(zipped(*members[:2], method=method), SMALL)) == 2
        with pytest.raises(LimitExceeded, match="limit 'document_bytes'"):
            contents(zipped(*members, method=method), SMALL)


def test_the_number_of_members_is_limited() -> None:
    members = [(str(number), XML) for number in range(60)]
    assert len(contents(zipped(*members[:5]), SMALL)) == 5
    with pytest.raises(LimitExceeded, match="limit 'members'"):
        contents(zipped(*members[:6]), SMALL)
    with pytest.raises(LimitExceeded, match="limit 'members'"):
        contents(zipped(*members), SMALL)


def test_the_nesting_is_limited() -> None:
    assert contents(gz(gz(gz(XML))), SMALL) == [XML]
    with pytest.raises(LimitExceeded, match="limit 'nesting'"):
        contents(gz(gz(gz(gz(XML)))), SMALL)


def test_an_archive_within_an_archive_has_a_size_limit() -> None:
    inner = gzip.compress(LARGE, compresslevel=0)
    with pytest.raises(LimitExceeded, match="archive within an archive"):
        contents(gz(inner), Limits(mail_bytes=len(inner) // 2))
