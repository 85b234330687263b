"""Hostile mails and files, made in memory; each function is one."""

from __future__ import annotations

import base64
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from tests.support.builders import (
    gz,
    make_mail,
    make_record,
    make_report,
    record_xml,
    report_xml,
    zipped,
)

HEAD, TAIL = report_xml(make_report()).split(b"</feedback>")[0], b"</feedback>"


def memory_peak() -> int:
    """The most memory that this process has held since the last reset, in bytes.

    Not ru_maxrss: a child inherits the peak of its parent there.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def reset_memory_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def packed(chunks: Iterable[bytes]) -> bytes:
    """The chunks gzipped, without holding them all."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as stream:
        for chunk in chunks:
            stream.write(chunk)
    return out.getvalue()


def zeros(megabytes: int) -> bytes:
    return packed([b"\0" * 1_000_000] * megabytes)


def gzip_of_zeros() -> bytes:
    return make_mail(zeros(400))


def gzip_of_gzip_of_zeros() -> bytes:
    return make_mail(gz(zeros(400)))


def zip_of_zeros() -> bytes:
    return make_mail(zipped(("report.xml", b"\0" * 200_000_000)), "report.zip")


def zip_with_overlapping_members() -> bytes:
    """Ninety directory entries for the same 20 MB of data."""
    content = b"<?xml?>" + random.Random(1).randbytes(500_000) * 40
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", content)
        first = archive.infolist()[0]
        for number in range(1, 90):
            entry = zipfile.ZipInfo(str(number))
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(entry, name, getattr(first, name))
            archive.filelist.append(entry)
        archive._didModify = True  # type: ignore[attr-defined]
    return packed.getvalue()


def zip_with_a_lying_size() -> bytes:
    """It says a thousand bytes and holds 50 MB, at a ratio that does not stand out."""
    archive = bytearray(zipped(("report.xml", b"<feedback>" + b"0123456789" * 5_000_000)))
    at = archive.index(b"PK\x01\x02") + 24
    archive[at : at + 4] = struct.pack("<I", 1_000)
    return make_mail(bytes(archive), "report.zip")


def zip_of_a_million_members() -> bytes:
    entry = b"PK\x01\x02" + bytes(42)
    directory = entry * 700_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 0, 0)
    return b"PK\x03\x04" + directory + end


def billion_laughs() -> bytes:
    entities = "".join(
        f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 12)
    )
    doctype = f'<!DOCTYPE feedback [<!ENTITY l0 "lol">{entities}]>'
    return (
        HEAD.replace(b"<feedback", doctype.encode() + b"<feedback").replace(b"r-1", b"&l11;") + TAIL
    )


def external_entity() -> bytes:
    doctype = b'<!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    return HEAD.replace(b"<feedback", doctype + b"<feedback").replace(b"r-1", b"&x;") + TAIL


def one_endless_text() -> bytes:
    text = zlib.compress(bytes(range(256)) * 4).hex().encode() * 2_000
    return gz(HEAD.replace(b"Example Mail", text * 30) + TAIL)


def one_endless_record() -> bytes:
    return gz(HEAD + b"<record>" + b"<dkim/><spf>x</spf>" * 500_000 + b"</record>" + TAIL)


def deep_xml() -> bytes:
    return gz(HEAD + b"<a>" * 2_000_000)


def deep_record() -> bytes:
    return gz(HEAD + b"<record>" + b"<a>" * 2_000_000)


def deep_json() -> bytes:
    return b'{"organization-name": "x", "policies": ' + b"[" * 1_000_000


def large_json() -> bytes:
    return gz(b'{"policies": [' + b"[]," * 5_000_000)


def records(number: int) -> bytes:
    """A gzipped report with so many records, in a mail."""
    chance = random.Random(number)
    record = record_xml(make_record("198.51.100.77", 3)).replace("s1", "selector-%08x")
    sources = record.replace("198.51.100.77", "192.0.%d.%d")

    def thousand() -> bytes:
        made = (
            sources % (chance.randrange(256), chance.randrange(256), chance.getrandbits(32))
            for _ in range(1_000)
        )
        return "".join(made).encode()

    return make_mail(packed([HEAD, *(thousand() for _ in range(number // 1_000)), TAIL]))


def a_hundred_thousand_records() -> bytes:
    return records(100_000)


def noise(number: int, size: int = 2_000) -> bytes:
    """A comment that packs badly, so that no ratio stands out."""
    return b"<!--" + random.Random(number).randbytes(size).hex().encode() + b"-->"


def too_many_records() -> bytes:
    """More than the tenth of the usual limit that `test_limits` sets."""
    tiny = b"<record><row><count>1</count></row></record>" * 1_000
    return packed([HEAD, *(part for n in range(201) for part in (tiny, noise(n)))])


def hundred_thousand_attachments() -> bytes:
    part = b"--=_report\r\nContent-Type: application/gzip\r\n\r\nx\r\n"
    return make_mail(b"x").replace(b"--=_report--", part * 100_000 + b"--=_report--")


def mail_of_60_megabytes() -> bytes:
    return make_mail(bytes(45_000_000))


def deep_multiparts() -> bytes:
    parts = "".join(
        f'--b{n}\r\nContent-Type: multipart/mixed; boundary="b{n + 1}"\r\n\r\n'
        for n in range(10_000)
    )
    return make_mail(b"x").replace(b'boundary="=_report"', b'boundary="b0"') + parts.encode()


def deep_mails() -> bytes:
    inner = b"Content-Type: message/rfc822\r\n\r\n" * 10_000
    return b"From: a@mail.example\r\n" + inner


def header_of_10_megabytes() -> bytes:
    return make_mail(b"x", below="X-Long: " + "x" * 10_000_000)


def million_header_lines() -> bytes:
    return make_mail(b"x", below="\n".join(["X: y"] * 1_000_000))


def million_part_headers() -> bytes:
    part = b"--=_report\r\n" + b"a:\r\n" * 5_000 + b"\r\n\r\n"
    return make_mail(b"x").replace(b"--=_report--", part * 900 + b"--=_report--")


def many_parameters() -> bytes:
    """Quotes and semicolons, for which naive parameter parsing takes quadratic time."""
    disposition = b"attachment; filename*0=" + b'"a;' * 200_000
    return make_mail(b"x").replace(
        b"Content-Disposition: attachment", b"Content-Disposition: " + disposition
    )


def broken_20_megabytes() -> bytes:
    record = record_xml(make_record()).encode() * 1_000
    pieces = (part for number in range(40) for part in (record, noise(number, 20_000)))
    return packed([HEAD, *pieces, b"&", TAIL])


def blank_continuations() -> bytes:
    """One header of fifteen million folded lines."""
    return b"From: a@mail.example\nTo: b" + b"\n \t" * 15_000_000


def nothing_but_padding() -> bytes:
    raw = make_mail(b"x")
    body = raw.rindex(b"\r\n\r\n") + 4
    return raw[:body] + b"=" * 45_000_000 + b"\r\n--=_report--"


def distinct_names() -> bytes:
    """A million elements, each with a name of its own."""
    return gz(HEAD + b"<record>" + b"".join(b"<n%d/>" % n for n in range(1_000_000)))


def comments_never_closed() -> bytes:
    """Whoever looks for each end anew takes quadratic time."""
    return HEAD + b"<!--" * 2_000_000 + b"&" + TAIL


def nothing_but_ampersands() -> bytes:
    return HEAD + b"&" * 3_000_000 + TAIL


def a_thousand_packed_bombs() -> bytes:
    bomb = base64.b64encode(gz(b"\0" * 9_900_000))
    part = b"--=_report\r\nContent-Transfer-Encoding: base64\r\n\r\n" + bomb + b"\r\n"
    return make_mail(b"x").replace(b"--=_report--", part * 900 + b"--=_report--")
