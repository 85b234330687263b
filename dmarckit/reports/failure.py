"""Failure (ruf) reports: the parts of a mail → `FailureReport` (RFC 6591, RFC 9991; ARF).

Only feedback of type ``auth-failure`` is one: complaints come in the same format. Exim writes
plain text without a feedback part; that is read too. A missing field is None: nothing is taken
from the original message that the report itself would have to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import Message
from email.parser import Parser

from dmarckit.core import NotAReport, UnreadableReport
from dmarckit.reports.mail import utf8_or_latin1
from dmarckit.reports.model import FailureReport, Mail
from dmarckit.reports.values import (
    FIELD_CHARACTERS,
    Warnings,
    domain,
    moment,
    noted_address,
    quoted,
)
from dmarckit.reports.verdict import without_comments

FEEDBACK = "message/feedback-report"
MOST_CHARACTERS = 10_000  # of a field, what comments are looked for in
BODY_CHARACTERS = 20_000  # of the original message's body, what is kept
_FEEDBACK_TYPE = re.compile(rb"\s{0,20}Feedback-Type[ \t]*:", re.IGNORECASE)
_TEXT_REPORT = re.compile(r"failed the published DMARC policy", re.IGNORECASE)
_TEXT_FIELD = re.compile(r"^[ \t]*(Sender Domain|Sender IP Address|Received date):[ \t]*(.+)$",
                         re.MULTILINE | re.IGNORECASE)  # fmt: skip
_HEADERS_COPY = re.compile(
    r"^-+ This is a copy of the (?:headers|message)[^\n]*\n\s*", re.MULTILINE
)
_ORIGINAL = ("message/rfc822", "text/rfc822-headers", "text/rfc822", "message/rfc822-headers",
             "message/global")  # fmt: skip


def find_failure(mail: Mail) -> FailureReport | None:
    """Return the failure report that `mail` is, or None when it is something else.

    Raises `NotAReport` for feedback of another type, `UnreadableReport` for an
    authentication failure without any of source, domain and arrival.
    """
    for attachment in mail.attachments:
        if attachment.content_type == FEEDBACK or _FEEDBACK_TYPE.match(attachment.payload):
            lines = utf8_or_latin1(attachment.payload[:500_000]).splitlines()
            fields = _parse("\n".join(line for line in lines if line.strip()))
            kind = (_plain(fields, "feedback-type") or "").lower()
            if kind != "auth-failure":
                raise NotAReport(
                    f"feedback of type {quoted(kind or None)}, not of an authentication failure"
                )
            originals = (a.payload for a in mail.attachments if a.content_type in _ORIGINAL)
            payload = next(originals, None)
            if payload is None:
                return _report(mail, fields, None, Warnings())
            original = _parse(utf8_or_latin1(payload[:1_000_000]).lstrip())
            return _report(mail, fields, original, Warnings())
    for attachment in mail.attachments:
        if attachment.content_type == "text/plain":
            text = utf8_or_latin1(attachment.payload[:200_000])
            if _TEXT_REPORT.search(text):
                return _from_text(text, mail)
    return None


def _from_text(text: str, mail: Mail) -> FailureReport | None:
    found = {name.lower(): value.strip() for name, value in reversed(_TEXT_FIELD.findall(text))}
    if not {"sender domain", "sender ip address"} <= found.keys():
        return None
    fields = Message()
    fields["Source-IP"] = found["sender ip address"]
    fields["Reported-Domain"] = found["sender domain"]
    fields["Arrival-Date"] = found.get("received date", "")
    warnings = Warnings()
    warnings.add("no feedback-report part: read from the text")
    copy = _HEADERS_COPY.search(text)
    return _report(mail, fields, _parse(text[copy.end() :]) if copy else None, warnings)


def _report(
    mail: Mail, fields: Message, original: Message | None, warnings: Warnings
) -> FailureReport:
    source_ip = noted_address(_plain(fields, "source-ip"), "Source-IP", warnings)
    reported = domain(_plain(fields, "reported-domain") or "")
    arrival = _plain(fields, "arrival-date") or _plain(fields, "received-date")
    when = None
    if arrival is not None:
        try:
            when = moment(arrival[:200], "Arrival-Date", Warnings())
        except UnreadableReport:
            warnings.add(f"Arrival-Date: {quoted(arrival)} is not a time, passed over")
    body = original.get_payload() if original is not None else None
    if source_ip is None and reported is None and when is None:
        raise UnreadableReport("Source-IP, Reported-Domain and Arrival-Date are missing")
    return FailureReport(
        reporter=_field(fields, "user-agent") or mail.from_domain,
        feedback_type="auth-failure",
        source_ip=source_ip,
        domain=reported,
        arrival=when,
        auth_failure=_all(fields, "auth-failure", _without_comments),
        delivery_result=_plain(fields, "delivery-result"),
        identity_alignment=_plain(fields, "identity-alignment"),
        dkim_domain=_plain(fields, "dkim-domain"),
        dkim_selector=_plain(fields, "dkim-selector"),
        original_mail_from=_field(fields, "original-mail-from"),
        original_rcpt_to=_all(fields, "original-rcpt-to"),
        authentication_results=_field(fields, "authentication-results"),
        header_from=_field(original, "from"),
        subject=_field(original, "subject"),
        message_id=_field(original, "message-id") or _field(fields, "message-id"),
        body=body[:BODY_CHARACTERS].strip() or None if isinstance(body, str) else None,
        warnings=warnings.lines(),
    )


def _parse(text: str) -> Message:
    return Parser().parsestr(text, headersonly=True)


def _field(fields: Message | None, name: str) -> str | None:
    """Return the first field `name` on one line; None when it is not there or empty."""
    found = fields.get(name) if fields is not None else None
    return " ".join(str(found).split())[:FIELD_CHARACTERS] or None if found is not None else None


def _plain(fields: Message, name: str) -> str | None:
    """Return the first field `name` without comments, which any field may have (RFC 5965 3.5)."""
    found = _field(fields, name)
    return _without_comments(found) if found else None


def _without_comments(text: str) -> str | None:
    if "(" not in text:
        return text
    return " ".join(without_comments(text[:MOST_CHARACTERS]).split()) or None


def _all(
    fields: Message, name: str, made: Callable[[str], str | None] = lambda text: text
) -> str | None:
    """Return all fields `name`, joined with commas: these may stand several times."""
    found = [made(" ".join(str(each).split())) for each in fields.get_all(name, [])]
    return ", ".join(each for each in found if each)[:FIELD_CHARACTERS] or None
