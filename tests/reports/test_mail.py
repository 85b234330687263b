"""Mails: what they carry, who sent them, and what SES found (and what a forger claims)."""

from __future__ import annotations

import base64
import binascii
import quopri

import pytest

from dmarckit.core.errors import LimitExceeded, NotAReport
from dmarckit.core.thresholds import Limits
from dmarckit.reports.mail import is_mail, read_mail
from dmarckit.reports.model import AggregateReport, Mail, Unreadable
from dmarckit.reports.verdict import without_comments
from tests.support.builders import (
    gz,
    make_mail,
    make_record,
    make_report,
    read,
    read_one,
    report_xml,
    zipped,
)

REPORT = make_report(make_record(messages=3), make_record("2001:db8::1"))
XML = report_xml(REPORT)
LIMITS = Limits()


def mail(raw: bytes) -> Mail:
    return read_mail(raw, LIMITS)


def simple_mail(body: bytes, content_type: str, encoding: str = "7bit", more: str = "") -> bytes:
    """A mail of one part, or of what `body` makes of it."""
    head = (
        "From: noreply@mail.example\r\nTo: dmarc@example.com\r\nSubject: report\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n{more}\r\n"
    )
    return head.encode() + body


# --- what is a mail -------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        make_mail(b"x"),
        b"From MAILER-DAEMON Mon Nov  2 05:00:00 2026\n" + make_mail(b"x"),
        b"\r\n\r\n" + make_mail(b"x"),
        b"Subject: hello\n\nbody",
    ],
)
def test_a_message_is_a_mail(raw: bytes) -> None:
    assert is_mail(raw)


@pytest.mark.parametrize(
    "raw", [b"", XML, gz(XML), zipped(("a", XML)), b'{"from": 1}', b"Note: text\n", b"\0" * 99]
)
def test_a_bare_file_is_no_mail(raw: bytes) -> None:
    assert not is_mail(raw)
    with pytest.raises(NotAReport):
        mail(raw)


# --- who sent it, and the verdict ------------------------------------------------------


def test_the_verdict_is_what_ses_found() -> None:
    read_ = mail(make_mail(b"x"))
    assert read_.from_domain == "mail.example"
    assert read_.subject == "Report domain: example.com Submitter: mail.example Report-ID: <r-1>"
    assert read_.message_id == "<r-1@mail.example>"
    verdict = read_.verdict
    assert (verdict.dmarc, verdict.dmarc_domain) == ("pass", "mail.example")
    assert (verdict.spf, verdict.dkim) == ("pass", "pass")
    assert (verdict.spam, verdict.virus) == ("PASS", "PASS")


FORGED = "Authentication-Results: amazonses.com; dmarc=pass header.from=mail.example"


def test_a_forged_header_below_that_of_ses_does_not_count() -> None:
    assert mail(make_mail(b"x", dmarc="fail", below=FORGED)).verdict.dmarc == "fail"


@pytest.mark.parametrize("authserv", ["mx.attacker.example", "amazonses.com.attacker.example", ""])
def test_another_server_s_header_does_not_count(authserv: str) -> None:
    found = mail(make_mail(b"x", authserv=authserv, below=FORGED)).verdict
    assert (found.dmarc, found.spf, found.dkim) == (None, None, None)


@pytest.mark.parametrize(
    ("results", "dmarc"),
    [
        ("AmazonSES.com 1; dmarc=PASS header.from=mail.example", "pass"),
        ("amazonses.com (a (nested) comment); dmarc = pass", "pass"),
        ("amazonses.com;\r\n\tspf=pass;\r\n dmarc/1=pass\r\n\theader.from=mail.example", "pass"),
        ("amazonses.com; dmarc=none header.from=mail.example", "none"),
        ("amazonses.com; none", None),
        ("", None),
        # an envelope sender, a HELO or a comment that speaks of DMARC
        ('amazonses.com; envelope-from="a; dmarc=pass"@x.example; dmarc=fail', "fail"),
        ('amazonses.com; envelope-from="a; dmarc=pass "@x.example', None),
        ('amazonses.com; envelope-from="a\\"; dmarc=pass "@x.example', None),
        ("amazonses.com; spf=pass (domain of a(; dmarc=pass) x); dmarc=fail", "fail"),
        ("amazonses.com; spf=pass (domain of a\\); dmarc=pass )", None),
        ("amazonses.com; spf=pass (not closed; dmarc=pass", None),
        ("amazonses.com; helo=x; dmarc=pass@x.example; dmarc=fail", "fail"),
        # two results: the worse one counts, wherever it stands
        ("amazonses.com; dmarc=pass header.from=bank.example; dmarc=fail", "fail"),
        ("amazonses.com; dmarc=fail; dmarc=pass", "fail"),
        ("amazonses.com; dmarc=none; dmarc=pass", "none"),
        ("amazonses.com; dmarc=pass; dmarc=temperror", "temperror"),
        ("amazonses.com; dmarc=splendid; dmarc=pass", "splendid"),
    ],
)
def test_only_a_result_of_the_server_itself_counts(results: str, dmarc: str | None) -> None:
    raw = make_mail(b"x").replace(
        make_mail(b"x").partition(b"Authentication-Results: ")[2].partition(b"\r\n")[0],
        results.encode(),
    )
    assert mail(raw).verdict.dmarc == dmarc


def test_without_comments_takes_linear_time() -> None:
    assert without_comments("(" * 200_000 + '"' * 200_001) == " " * 200_000


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("noreply@Mail.Example.", "mail.example"),
        ('"a@b.example" <noreply@mail.example>', "mail.example"),
        ("noreply@mail.example (via relay@other.example)", "mail.example"),
        ("=?utf-8?q?M=C3=BCller?= <noreply@mail.example>", "mail.example"),
        ("=?utf-8?q?noreply=40mail.example?=", "mail.example"),
        ("Reports: a@mail.example, b@other.example;", "mail.example"),
        ("<noreply@bücher.example>", "xn--bcher-kva.example"),
        ("nobody", None),
        ("=?utf-8?b?broken", None),
        ("", None),
    ],
)
def test_the_from_domain_is_that_of_the_first_address(sender: str, domain: str | None) -> None:
    assert mail(make_mail(b"x", from_=sender)).from_domain == domain


def test_of_several_from_headers_the_topmost_counts() -> None:
    raw = make_mail(b"x", below="From: first@first.example")
    assert mail(raw).from_domain == "first.example"


# --- what it carries -------------------------------------------------------------------


@pytest.mark.parametrize("line", [0, 4, 76, 998])
@pytest.mark.parametrize("name", ["report.xml.gz", None, "=?utf-8?q?r=C3=A9port.gz?=", "a.png"])
@pytest.mark.parametrize(
    "content_type", ["application/gzip", "application/octet-stream", "text/plain", "nonsense"]
)
def test_an_attachment_is_found_whatever_it_is_called(
    content_type: str, name: str | None, line: int
) -> None:
    assert read_one(make_mail(gz(XML), name, content_type, line=line)) == REPORT


def test_a_file_name_is_decoded_and_only_a_name() -> None:
    raw = make_mail(gz(b"<feedback>"), "=?utf-8?q?..=2F..=2Fetc=2Fp=C3=A4ss?=")
    assert mail(raw).attachments[1].name == "../../etc/päss"
    raw = raw.replace(b"filename=", b"filename*0*=utf-8''r%C3%A4; filename*1=b; x=")
    assert mail(raw).attachments[1].name == "räb"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("base64", base64.encodebytes(XML)),
        ("BASE64 ", base64.b64encode(XML).rstrip(b"=")),
        ("base64", base64.b64encode(XML) + b"\r\n_______\r\nA list footer, appended\r\n"),
        ("base64", b"\n".join(base64.b64encode(XML[i : i + 50]) for i in range(0, len(XML), 50))),
        ("base64; format=flowed", base64.encodebytes(XML)),
        ("quoted-printable", quopri.encodestring(XML)),
        ("8bit", XML),
        ("binary", gz(XML)),
        ("no-such-encoding", XML),
        ("base64", XML),
        ("base64", gz(XML)),
        ("quoted-printable", zipped(("report.xml", XML))),
        ("7bit", base64.encodebytes(gz(XML))),
        ("7bit", quopri.encodestring(XML.replace(b"<org_name>", b"<org_name>" + b"x" * 80))),
    ],
)
def test_any_transfer_encoding_is_read(encoding: str, body: bytes) -> None:
    report = read_one(simple_mail(body, "application/octet-stream", encoding))
    assert isinstance(report, AggregateReport)
    assert report.records == REPORT.records


def test_uuencoded_files_are_found() -> None:
    packed = gz(XML)
    lines = b"".join(binascii.b2a_uu(packed[i : i + 45]) for i in range(0, len(packed), 45))
    encoded = b"begin 644 report.xml.gz\n" + lines + b"`\nend\n"
    assert read_one(simple_mail(encoded, "application/gzip", "x-uuencode")) == REPORT
    assert read_one(simple_mail(b"Hello,\n\n" + encoded, "text/plain")) == REPORT


def test_a_report_pasted_into_the_text_is_read() -> None:
    report = read_one(simple_mail(b"Hello,\r\nhere it is:\r\n" + XML, "text/plain", "8bit"))
    assert isinstance(report, AggregateReport)
    assert report.records == REPORT.records


def test_texts_pictures_and_signatures_beside_a_report_are_passed_over() -> None:
    beside = "".join(
        f"--=_report\r\nContent-Type: {kind}\r\n\r\n{text}\r\n"
        for kind, text in (
            ("text/html", "<p>&lt;feedback&gt;</p>"),
            ("image/png", "<feedback>"),
            ("application/pgp-signature; name=signature.asc", "-----BEGIN PGP SIGNATURE-----"),
        )
    )
    raw = make_mail(gz(XML)).replace(b"--=_report\r\n", beside.encode() + b"--=_report\r\n", 1)
    assert read(raw) == [REPORT]


def test_forwarded_mails_are_opened() -> None:
    inner = make_mail(gz(XML))
    once = simple_mail(inner, "message/rfc822", "8bit")
    twice = simple_mail(once, "message/rfc822", "8bit")
    encoded = simple_mail(base64.encodebytes(inner), "message/rfc822", "base64")
    assert read_one(once) == read_one(twice) == read_one(encoded) == REPORT


def test_a_mail_that_is_attached_as_a_file_is_opened() -> None:
    inner = make_mail(gz(XML))
    assert read_one(make_mail(inner, "report.eml", "application/octet-stream")) == REPORT
    assert read_one(make_mail(zipped(("report.eml", inner)), "reports.zip")) == REPORT
    for _ in range(5):
        inner = make_mail(inner, "report.eml", "application/octet-stream")
    (found,) = read(inner)
    assert isinstance(found, Unreadable)
    assert "nested deeper" in found.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\r\n", b"\n"),
        (b"\r\n", b"\r"),
        (b"--=_report--\r\n", b""),
        (b'boundary="=_report"', b"boundary==_report"),
        (b'boundary="=_report"', b"x=y"),
        (b'boundary="=_report"', b"boundary*=us-ascii''%3D_report"),
        (b"--=_report\r\n", b"--=_report  \r\n"),
        (b"--=_report\r\n", b"\r\n--=_report-and-more\r\n--=_report\r\n"),
        (b"multipart/mixed", b"Multipart/Report; report-type=dmarc"),
        (b"\r\n\r\n", b"\r\n \r\n"),
        (b"X-SES-Spam", b"not a header\r\nX-SES-Spam"),
        (b"Subject: ", b"Subject: \xff\xfe "),
    ],
)
def test_malformed_mails_are_read(before: bytes, after: bytes) -> None:
    raw = make_mail(gz(XML))
    assert before in raw
    assert read_one(raw.replace(before, after)) == REPORT


def test_a_mail_without_a_report_says_so_once() -> None:
    (found,) = read(simple_mail(b"Dear postmaster,\r\n<hello>", "text/plain"))
    assert isinstance(found, Unreadable)
    assert not found.is_report


def test_a_mail_that_is_too_large_is_refused() -> None:
    with pytest.raises(LimitExceeded, match=r"limit 'mail_bytes'"):
        read_mail(make_mail(b"x"), Limits(mail_bytes=100))
