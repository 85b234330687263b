"""A raw mail as Amazon SES stores it in S3: SES's own headers, then the reporter's mail."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

RECIPIENT = "rua@dmarc.example.com"
_REGION = "eu-west-1"
_BASE32 = "0123456789abcdefghijklmnopqrstuv"


@dataclass(frozen=True, slots=True)
class Post:
    """A mail as its author hands it over."""

    author: str
    """address in From"""
    host: str
    """the sending server"""
    subject: str
    text: str
    attachment: bytes | None = None
    name: str = ""
    content_type: str = "application/gzip"
    single: bool = False
    """the file is the body, without a text beside it"""
    report_type: str | None = None
    """``tlsrpt`` makes it a multipart/report (RFC 8460 section 5.3)"""
    extra_headers: tuple[str, ...] = ()
    """whole header lines, before the others"""


@dataclass(frozen=True, slots=True)
class Findings:
    """What SES finds about a mail."""

    spf: str = "pass"
    dkim: str = "pass"
    dmarc: str = "pass"
    spam: str = "PASS"
    virus: str = "PASS"


def message_id(rng: random.Random) -> str:
    """An id as SES gives to a mail it receives; it is also the object's key."""
    return "".join(rng.choices(_BASE32, k=40))


def raw_mail(
    post: Post, identifier: str, received: datetime, rng: random.Random, found: Findings
) -> bytes:
    """The object that SES stores: CRLF line ends, SES's headers on top."""
    lines = [*_ses_headers(post, identifier, received, rng, found), *post.extra_headers]
    lines += _headers(post, received, rng)
    lines += _body(post, rng)
    return "\r\n".join(lines).encode() + b"\r\n"


def _ses_headers(
    post: Post, identifier: str, received: datetime, rng: random.Random, found: Findings
) -> list[str]:
    domain = post.author.partition("@")[2]
    address = f"192.0.2.{rng.randrange(1, 255)}"
    allows = "designates" if found.spf == "pass" else "does not designate"
    check = (
        f"{found.spf} (spfCheck: domain of {domain} {allows} {address} as permitted sender) "
        f"client-ip={address}; envelope-from={post.author}; helo={post.host};"
    )
    arrived = f"{received.astimezone(UTC):%a, %d %b %Y %H:%M:%S} +0000 (UTC)"
    return [
        f"Return-Path: <{post.author}>",
        f"Received: from {post.host} ({post.host} [{address}])",
        f" by inbound-smtp.{_REGION}.amazonaws.com with SMTP id {identifier}",
        f" for {RECIPIENT};",
        f" {arrived}",
        f"X-SES-Spam-Verdict: {found.spam}",
        f"X-SES-Virus-Verdict: {found.virus}",
        f"Received-SPF: {check}",
        "Authentication-Results: amazonses.com;",
        f" spf={check}",
        f" dkim={found.dkim} header.i=@{domain};",
        f" dmarc={found.dmarc} header.from={domain};",
        f"X-SES-RECEIPT: {_token(rng, 90)}",
        f"X-SES-DKIM-SIGNATURE: a=rsa-sha256; q=dns/txt; b={_token(rng, 96)}; c=relaxed/simple;"
        f" s=ses1; d=amazonses.com; t={int(received.timestamp())}; v=1; bh={_token(rng, 32)};"
        " h=From:To:Cc:Bcc:Subject:Date:Message-ID:MIME-Version:Content-Type:X-SES-RECEIPT;",
    ]


def _headers(post: Post, received: datetime, rng: random.Random) -> list[str]:
    domain = post.author.partition("@")[2]
    return [
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s=mail;",
        f"\th=from:to:subject:date; bh={_token(rng, 32)};",
        f"\tb={_token(rng, 48)}",
        f"From: {post.author}",
        f"To: {RECIPIENT}",
        f"Subject: {post.subject}",
        f"Date: {format_datetime(received.astimezone(UTC))}",
        f"Message-ID: <{rng.getrandbits(64):016x}@{post.host}>",
        "MIME-Version: 1.0",
    ]


def _body(post: Post, rng: random.Random) -> list[str]:
    text = post.text.splitlines()
    if post.attachment is None:
        return ['Content-Type: text/plain; charset="utf-8"', "", *text]
    if post.single:
        return _file(post, post.attachment)
    boundary = f"=_{rng.getrandbits(80):020x}"
    kind = f'report; report-type="{post.report_type}"' if post.report_type else "mixed"
    return [
        f'Content-Type: multipart/{kind}; boundary="{boundary}"',
        "",
        f"--{boundary}",
        'Content-Type: text/plain; charset="utf-8"',
        "",
        *text,
        f"--{boundary}",
        *_file(post, post.attachment),
        f"--{boundary}--",
    ]


def _file(post: Post, content: bytes) -> list[str]:
    return [
        f'Content-Type: {post.content_type}; name="{post.name}"',
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{post.name}"',
        "",
        *base64.encodebytes(content).decode().splitlines(),
    ]


def _token(rng: random.Random, size: int) -> str:
    return base64.b64encode(rng.randbytes(size)).decode()
