"""Raw mails as Amazon SES stores them: reports, and what is there but should not be."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime

from dmarckit.demo.flows import Reporter
from dmarckit.demo.traffic import GeneratedReport, stream
from dmarckit.reports import TlsPolicy, TlsReport

RECIPIENT = "rua@dmarc.example.com"


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail as its author hands it over."""

    author: str  # address in From
    host: str  # the sending server
    subject: str
    text: str
    attachment: bytes | None = None
    name: str = ""
    content_type: str = "application/gzip"
    single: bool = False  # the file is the body, without a text beside it
    report_type: str | None = None  # ``tlsrpt`` makes it a multipart/report (RFC 8460 section 5.3)
    extra_headers: tuple[str, ...] = ()  # whole header lines, before the others


def message_id(rng: random.Random) -> str:
    """Return an id as SES gives to a mail it receives; it is also the object's key."""
    return "".join(rng.choices("0123456789abcdefghijklmnopqrstuv", k=40))


def _body(post: OutgoingMail, rng: random.Random) -> list[str]:
    text = ['Content-Type: text/plain; charset="utf-8"', "", *post.text.splitlines()]
    if post.attachment is None:
        return text
    file = [
        f'Content-Type: {post.content_type}; name="{post.name}"',
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{post.name}"',
        "",
        *base64.encodebytes(post.attachment).decode().splitlines(),
    ]
    if post.single:
        return file
    line = f"--=_{rng.getrandbits(80):020x}"
    kind = f'report; report-type="{post.report_type}"' if post.report_type else "mixed"
    head = f'Content-Type: multipart/{kind}; boundary="{line[2:]}"'
    return [head, "", line, *text, line, *file, f"{line}--"]


def _token(rng: random.Random, size: int) -> str:
    return base64.b64encode(rng.randbytes(size)).decode()


@dataclass(frozen=True, slots=True)
class GeneratedMail:
    """One object of the bucket, and what ingest should make of it."""

    key: str  # as SES names it, without the bucket's prefix
    raw: bytes
    received: datetime  # UTC
    outcome: str  # ``stored``, ``duplicate``, ``untrusted``, ``not_a_report`` or ``unreadable``
    truth: GeneratedReport | TlsReport | None = None


def _stored(
    post: OutgoingMail,
    received: datetime,
    rng: random.Random,
    outcome: str,
    truth: GeneratedReport | TlsReport | None = None,
    *,
    key: str = "",
    verdicts: tuple[str, ...] = ("pass", "pass", "pass"),
) -> GeneratedMail:
    """Return the object that SES stores, with its `verdicts` on SPF, DKIM and DMARC on top."""
    key = key or message_id(rng)
    spf, dkim, dmarc = verdicts
    domain, moment = post.author.partition("@")[2], received.astimezone(UTC)
    address = f"192.0.2.{rng.randrange(1, 255)}"
    allows = "designates" if spf == "pass" else "does not designate"
    check = (
        f"{spf} (spfCheck: domain of {domain} {allows} {address} as permitted sender) "
        f"client-ip={address}; envelope-from={post.author}; helo={post.host};"
    )
    lines = [
        f"Return-Path: <{post.author}>",
        f"Received: from {post.host} ({post.host} [{address}])",
        f" by inbound-smtp.eu-west-1.amazonaws.com with SMTP id {key}",
        f" for {RECIPIENT};",
        f" {moment:%a, %d %b %Y %H:%M:%S} +0000 (UTC)",
        "X-SES-Spam-Verdict: PASS",
        "X-SES-Virus-Verdict: PASS",
        f"Received-SPF: {check}",
        "Authentication-Results: amazonses.com;",
        f" spf={check}",
        f" dkim={dkim} header.i=@{domain};",
        f" dmarc={dmarc} header.from={domain};",
        f"X-SES-RECEIPT: {_token(rng, 90)}",
        f"X-SES-DKIM-SIGNATURE: a=rsa-sha256; q=dns/txt; b={_token(rng, 96)}; c=relaxed/simple;"
        f" s=ses1; d=amazonses.com; t={int(received.timestamp())}; v=1; bh={_token(rng, 32)};"
        " h=From:To:Cc:Bcc:Subject:Date:Message-ID:MIME-Version:Content-Type:X-SES-RECEIPT;",
        *post.extra_headers,
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s=mail;",
        f"\th=from:to:subject:date; bh={_token(rng, 32)};",
        f"\tb={_token(rng, 48)}",
        f"From: {post.author}",
        f"To: {RECIPIENT}",
        f"Subject: {post.subject}",
        f"Date: {format_datetime(moment)}",
        f"Message-ID: <{rng.getrandbits(64):016x}@{post.host}>",
        "MIME-Version: 1.0",
        *_body(post, rng),
    ]
    raw = "\r\n".join(lines).encode() + b"\r\n"
    return GeneratedMail(key, raw, received, outcome, truth)


def mails(made: Iterable[GeneratedReport], seed: int) -> Iterator[GeneratedMail]:
    """Yield the mails of honest reporters, one for each report."""
    for report in made:
        rng = stream(seed, "mail", report.reporter.org_name, report.report.report_id)
        yield _stored(_post(report), report.sent, rng, "stored", report)


def _post(made: GeneratedReport) -> OutgoingMail:
    style, host = made.reporter.style, made.reporter.host
    return OutgoingMail(
        author=made.report.contact or f"dmarc-reports@{host}",
        host=f"out.{host}",
        subject=style.subject.format(
            domain=made.report.policy.domain, host=host, report_id=made.report.report_id
        ),
        text="This is an aggregate report.\n",
        attachment=made.attachment(),
        name=made.name(),
        content_type=style.content_type,
        single=style.mail == "single",
    )


def forged(made: GeneratedReport, seed: int, *, claims_pass: bool = False) -> GeneratedMail:
    """Return a report that somebody else sent in the reporter's name; SES finds DMARC fails.

    With `claims_pass` it carries a header of its own that says the contrary, below SES's.
    """
    rng = stream(seed, "forged", made.report.report_id, claims_pass)
    claim = (
        "Authentication-Results: amazonses.com;",
        f" spf=pass; dkim=pass header.i=@{made.reporter.host};",
        f" dmarc=pass header.from={made.reporter.host};",
    )
    post = replace(_post(made), host="host.scam.example")
    post = replace(post, extra_headers=claim if claims_pass else ())
    return _stored(post, made.sent, rng, "untrusted", verdicts=("fail", "none", "fail"))


def broken(made: GeneratedReport, seed: int) -> GeneratedMail:
    """Return a report whose attachment was cut off half-way."""
    rng = stream(seed, "broken", made.report.report_id)
    content = made.attachment()
    post = replace(_post(made), attachment=content[: len(content) // 2])
    return _stored(post, made.sent, rng, "unreadable")


def duplicate(mail: GeneratedMail, seed: int, *, later: timedelta) -> GeneratedMail:
    """Return the same mail once more, under a key of its own."""
    key = message_id(stream(seed, "duplicate", mail.key))
    return replace(mail, key=key, received=mail.received + later, outcome="duplicate")


def newsletter(received: datetime, seed: int) -> GeneratedMail:
    """Return a mail to the report address that is no report at all."""
    post = OutgoingMail(
        author="news@stationery.example",
        host="out.stationery.example",
        subject="Pens, paper, and 10 % off this week",
        text="Dear customer,\n\nour autumn catalogue is here.\n",
    )
    return _stored(post, received, stream(seed, "newsletter", received), "not_a_report")


def tls_mail(
    reporter: Reporter, day: date, policies: tuple[TlsPolicy, ...], seed: int
) -> GeneratedMail:
    """Return a TLS report (RFC 8460) about one day, as mail."""
    begin = datetime.combine(day, time(), UTC)
    domain = policies[0].policy_domain or ""
    rng = stream(seed, "tls", reporter.org_name, day, domain)
    report = TlsReport(
        reporter=reporter.org_name,
        contact=f"smtp-tls-reports@{reporter.host}",
        report_id=f"{day}_{domain}",
        begin=begin,
        end=begin + timedelta(days=1, seconds=-1),
        policies=policies,
    )
    key = message_id(rng)
    received = begin + timedelta(days=1, seconds=rng.randrange(3600, 20000))
    post = OutgoingMail(
        author=f"smtp-tls-reports@{reporter.host}",
        host=f"out.{reporter.host}",
        subject=f"Report Domain: {domain} Submitter: {reporter.host} Report-ID: <{day}_{domain}>",
        text="This is an aggregate TLS report.\n",
        attachment=gzip.compress(_tls_json(report), mtime=0),
        name=f"{reporter.host}!{domain}!{begin.timestamp():.0f}!{report.end.timestamp():.0f}.json.gz",
        content_type="application/tlsrpt+gzip",
        report_type="tlsrpt",
        extra_headers=(f"TLS-Report-Domain: {domain}", f"TLS-Report-Submitter: {reporter.host}"),
    )
    return _stored(post, received, rng, "stored", report, key=key)


def _tls_json(report: TlsReport) -> bytes:
    """Return the report's JSON (RFC 8460 section 4.4); what is None is left out."""
    policies = []
    for policy in report.policies:
        about = {
            "policy-type": policy.policy_type,
            "policy-string": policy.policy_string,
            "policy-domain": policy.policy_domain,
            "mx-host": policy.mx_host,
        }
        sessions = {
            "total-successful-session-count": policy.successful,
            "total-failure-session-count": policy.failed,
        }
        renamed = {"sessions": "failed_session_count"}
        details = [
            {renamed.get(n, n).replace("_", "-"): v for n, v in asdict(d).items() if v is not None}
            for d in policy.details
        ]
        policies.append({"policy": about, "summary": sessions, "failure-details": details})
    document = {
        "organization-name": report.reporter,
        "date-range": {
            "start-datetime": f"{report.begin:%Y-%m-%dT%H:%M:%SZ}",
            "end-datetime": f"{report.end:%Y-%m-%dT%H:%M:%SZ}",
        },
        "contact-info": report.contact,
        "report-id": report.report_id,
        "policies": policies,
    }
    return json.dumps(document).encode()
