"""reports: what says that it is a report and cannot be opened is named, all else is other mail."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given, settings as tried, strategies as st

from dmarckit.core.settings import load_settings
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.reports.model import Attachment, Mail, Unreadable, Verdict
from dmarckit.reports.read import read_object, read_reports
from tests.support.builders import make_mail, report_xml, zipped
from tests.support.model_builders import make_report

TNEF = b"\x78\x9f\x3e\x22" + bytes(200)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ARMOURED = b"-----BEGIN PGP MESSAGE-----\n\nhQEMA0\n-----END PGP MESSAGE-----\n"
SAYS = "Report Domain: example.com Submitter: mail.example Report-ID: <1>"


def encrypted_zip() -> bytes:
    packed = bytearray(zipped(("r.xml", report_xml(make_report()))))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


def mail(
    content: bytes, name: str | None, kind: str, *, subject: str = "hello", head: str = ""
) -> bytes:
    """A mail whose only part is the content."""
    lines = [
        "Authentication-Results: amazonses.com; dmarc=pass header.from=mail.example;",
        "From: a@mail.example",
        f"Subject: {subject}",
        *head.splitlines(),
        f"Content-Type: {kind}",
        *([f'Content-Disposition: attachment; filename="{name}"'] if name else []),
        "Content-Transfer-Encoding: base64",
        "",
        base64.encodebytes(content).decode(),
    ]
    return "\r\n".join(lines).encode()


def outcome(raw: bytes, name: str = "m") -> Unreadable:
    (found,) = read_reports(read_object(raw, name))
    assert isinstance(found, Unreadable)
    return found


WRAPPINGS = [
    (TNEF, "winmail.dat", "application/ms-tnef", "winmail.dat"),
    (TNEF, "att0001.dat", "application/octet-stream", "TNEF"),
    (OLE, "report.msg", "application/vnd.ms-outlook", ".msg"),
    (OLE, None, "application/octet-stream", ".msg"),
    (b"0\x82\x01\x00" + bytes(256), "smime.p7m", "application/pkcs7-mime", "S/MIME"),
    (b"0\x82\x01\x00" + bytes(256), "smime.p7m", "application/octet-stream", "S/MIME"),
    (ARMOURED, "encrypted.asc", "application/octet-stream", "PGP"),
    (encrypted_zip(), "a.zip", "application/zip", "the zip archive is encrypted"),
    (b"7z\xbc\xaf\x27\x1c" + bytes(40), "a.7z", "application/x-7z-compressed", "7-Zip"),
    (b"\x80\x00\x01" * 300, "a.bin", "application/octet-stream", "not known"),
]


@pytest.mark.parametrize(("content", "name", "kind", "said"), WRAPPINGS)
def test_a_report_that_cannot_be_opened_names_what_it_is_wrapped_in(
    content: bytes, name: str | None, kind: str, said: str
) -> None:
    declared = outcome(mail(content, name, kind, subject=SAYS))
    assert declared.is_report
    assert said in declared.reason
    assert not outcome(mail(content, name, kind, subject="Your invoice")).is_report


@pytest.mark.parametrize("content", [b"junk", b"%PDF-1.7", b"<html>moved</html>", b"{}"])
def test_a_report_of_which_nothing_is_left_is_unreadable_too(content: bytes) -> None:
    name = "mail.example!example.com!1793750400!1793836799.xml"
    assert outcome(mail(content, name, "text/xml", subject="")).is_report
    assert outcome(mail(content, "a.bin", "application/octet-stream", subject=SAYS)).is_report
    assert not outcome(mail(content, "a.bin", "application/octet-stream", subject="Hi")).is_report


@pytest.mark.parametrize(
    "subject",
    [
        "[External] Report domain: example.com Submitter: mail.example",
        "Fwd: Report Domain: example.com",
        "REPORT DOMAIN:example.com SUBMITTER:mail.example",
        "=?utf-8?q?Report_Domain=3A_example=2Ecom_Submitter=3A_x?=",
    ],
)
def test_subjects_that_say_it(subject: str) -> None:
    assert outcome(mail(TNEF, "winmail.dat", "application/ms-tnef", subject=subject)).is_report


@pytest.mark.parametrize(
    "subject",
    [
        "Re: Report Domain: example.com Submitter: mail.example",
        "Automatic reply: Report Domain: example.com",
        "How to read a report about your domain",
        "",
    ],
)
def test_subjects_that_do_not(subject: str) -> None:
    assert not outcome(mail(TNEF, "winmail.dat", "application/ms-tnef", subject=subject)).is_report


def test_names_types_and_the_header_of_tls_reports_say_it_too() -> None:
    name = "mail.example!example.com!1793750400!1793836799.zip"
    assert outcome(mail(encrypted_zip(), name, "application/zip")).is_report
    assert outcome(mail(encrypted_zip(), "a.zip", "application/tlsrpt+gzip")).is_report
    head = "TLS-Report-Domain: example.com"
    assert outcome(mail(encrypted_zip(), "a.zip", "application/zip", head=head)).is_report
    assert not outcome(mail(encrypted_zip(), "invoice!.zip", "application/zip")).is_report


def test_a_report_beside_a_wrapping_is_read() -> None:
    raw = make_mail(report_xml(make_report()), body="-----BEGIN PGP MESSAGE-----")
    (found,) = read_reports(read_object(raw, "m"))
    assert not isinstance(found, Unreadable)


PIECES = (
    "a word", "This is a report.", "x", " ", ".", ":", "\r\n", "<feedback>", "&lt;feedback>", "{",
    "[", "From: a", "From a b\n", "BZh", "x^", "QUJD" * 12, report_xml(make_report()).decode(),
    base64.b64encode(report_xml(make_report())).decode(), "\0", "\t", "é",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=5).map("".join))
@tried(max_examples=300, deadline=None)
def test_prose_is_known_by_one_look_and_nothing_else_is_taken_for_it(text: str) -> None:
    mail = Mail(None, Verdict(), (Attachment("note.txt", "text/plain", text.encode()),))
    found = list(read_reports(mail))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmarckit.reports.read.PROSE_BYTES", -1)
        assert list(read_reports(mail)) == found


def test_other_mail_is_no_report_whatever_its_authentication(tmp_path: Path) -> None:
    settings = load_settings(home=str(tmp_path), trust="pass", workers=1)
    folder = tmp_path / "mail" / "rua"
    folder.mkdir(parents=True)
    xml = report_xml(make_report())
    mails = {
        "AMAZON_SES_SETUP_NOTIFICATION": b"From: no-reply-aws@amazon.com\nSubject: Setup\n\nHello",
        "spam": b"From: x@spam.example\nSubject: You won\n\nclick",
        "spam-zip": mail(encrypted_zip(), "a.zip", "application/zip").replace(b"pass", b"fail"),
        "marker": b"",
        "forged": make_mail(xml, dmarc="fail"),
        "forged-without-signs": mail(xml, None, "text/xml").replace(b"dmarc=pass", b"dmarc=fail"),
        "forged-wrapped": mail(TNEF, "w.dat", "application/ms-tnef", subject=SAYS).replace(
            b"dmarc=pass", b"dmarc=none"
        ),
        "genuine": make_mail(xml),
    }
    for name, raw in mails.items():
        (folder / name).write_bytes(raw)
    result = ingest_mails(settings)
    assert result.outcomes == {"not_a_report": 4, "untrusted": 3, "stored": 1}
    assert "AMAZON" not in str(result.problems)
