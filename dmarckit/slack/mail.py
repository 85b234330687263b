"""Messages as mails, sent through Amazon SES or an SMTP server.

A mail is HTML with its charts inline and plain text beside it; nothing in it is loaded from
elsewhere. Outside text gets into headers through `Message.title` alone, which is one line.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jinja2

from dmarckit import core
from dmarckit.core import ChannelUnavailable, DeliveryError, Settings, _, one_line
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Block, Message
from dmarckit.slack.client import MAX_WAIT, PAUSES

POLICY = SMTP.clone(cte_type="7bit")  # not every server takes eight bits
TIMEOUT = 30  # seconds for each answer of the SMTP server
_BUSY = {  # SES's codes after which the same mail may pass later
    *("TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"),
    *("SendingPausedException", "AccountSuspendedException"),
}
_VERIFY = "verify mail_from in SES (in its sandbox the addresses of mail_to too), in AWS_REGION"


def mail_of(
    message: Message,
    settings: Settings,
    ident: str,
    now: datetime,
    picture: Callable[[Block], bytes | None],
) -> EmailMessage:
    """Return a message as a mail; `picture` gives the PNG of a chart, None where it has none.

    The same `ident` is the same Message-ID: most mailboxes show a mail that comes again once.
    """
    sender = _sender(settings)
    mail = EmailMessage(POLICY)
    mail["Subject"] = message.title
    mail["From"] = sender
    mail["To"] = [_address(text) for text in settings.mail_to]
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{ident}@{sender.domain}>"
    mail["List-Id"] = f"dmarckit <dmarckit.{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"  # Exchange's word for it
    mail.set_content(kit.message_text(message, inert=True))
    blocks: list[Block] = []
    pictures: list[tuple[str, bytes]] = []
    for block in message.blocks:
        data = picture(block) if block["type"] == "picture" else None
        if data is not None:
            cid = f"chart{len(pictures)}.{ident}@{sender.domain}"
            pictures.append((cid, data))
            block = block | {"cid": cid}
        blocks.append(block)
    why = _("Sent by dmarckit: its setting mail_to names this address.")
    made = _template().render(
        title=message.title, blocks=blocks, why=why, chart=_("Chart"),
        language=core.current_language(),
    )  # fmt: skip
    import css_inline

    html = css_inline.inline(made, load_remote_stylesheets=False)
    mail.add_alternative(html, subtype="html")
    for number, (cid, data) in enumerate(pictures, start=1):
        body: Any = mail.get_payload(1)
        body.add_related(
            data,
            "image",
            "png",
            cid=f"<{cid}>",
            disposition="inline",
            filename=f"chart{number}.png",
        )
    return mail


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )  # fmt: skip
    environment.globals |= {
        "spans": kit.spans, "is_number": kit.is_number, "is_web_address": kit.is_web_address,
        "tags": {"bold": "strong", "code": "code"},
    }  # fmt: skip
    return environment.get_template("mail.html.j2")


def _sender(settings: Settings) -> Address:
    return _address(settings.mail_from or settings.mail_to[0])


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(name, addr_spec=address)


def send_mail(
    mail: EmailMessage, settings: Settings, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Send a mail to all of `mail_to`, and return which of them the server refuses (else "").

    What may pass in a moment is tried again a few times. When a server took the mail but its
    answer was lost, trying again repeats it, under the same Message-ID.

    Raises:
        ChannelUnavailable: the server is out of reach or busy; the same mail may pass later.
        MessageRefused: the server refuses this very mail.
        DeliveryError: the server refuses every mail, with what to do about it.
    """
    send = _send_smtp if settings.smtp_url else _send_ses
    return core.with_retries(
        lambda: send(mail, settings), ChannelUnavailable, PAUSES, sleep=sleep, patience=MAX_WAIT
    )


def check_mail(settings: Settings) -> str:
    """Return, in words, that mails can be sent, as far as that shows without sending one.

    Raises DeliveryError as `send_mail` does.
    """
    if settings.smtp_url:
        with _smtp(settings) as server:
            server.noop()
        return f"{_host(settings)} lets us in"
    sender = _sender(settings)
    with _ses_errors("ses:GetEmailIdentity"):
        client = core.aws_client("sesv2")
        for identity in (sender.addr_spec, sender.domain):
            with contextlib.suppress(client.exceptions.NotFoundException):
                if client.get_email_identity(EmailIdentity=identity)["VerifiedForSendingStatus"]:
                    return f"SES sends for {identity}"
    raise DeliveryError(f"SES does not send for {sender.addr_spec}: {_VERIFY}")


def _send_ses(mail: EmailMessage, settings: Settings) -> str:
    recipients = [_address(text).addr_spec for text in settings.mail_to]
    with _ses_errors("ses:SendEmail and ses:SendRawEmail"):
        core.aws_client("sesv2").send_email(
            FromEmailAddress=_sender(settings).addr_spec,
            Destination={"ToAddresses": recipients},
            Content={"Raw": {"Data": mail.as_bytes()}},
        )
    return ""


@contextlib.contextmanager
def _ses_errors(permission: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, ValueError) as error:
        code, reason = core.error_code(error), core.aws_reason(error, permission)
        answer: Any = getattr(error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if not code or code in _BUSY or status >= 500:
            raise ChannelUnavailable(f"SES: {reason}") from error
        hint = f"; {_VERIFY}" if code in ("MessageRejected", "MailFromDomainNotVerified") else ""
        raise DeliveryError(f"SES refuses the mail: {reason}{hint}") from error


def _send_smtp(mail: EmailMessage, settings: Settings) -> str:
    recipients = [_address(text).addr_spec for text in settings.mail_to]
    with _smtp(settings) as server:
        refused = server.send_message(mail, _sender(settings).addr_spec, recipients)
    return ", ".join(f"{one_line(who)} ({code})" for who, (code, _text) in refused.items())


@contextlib.contextmanager
def _smtp(settings: Settings) -> Iterator[smtplib.SMTP]:
    """Connect to the server of `smtp_url`, encrypted unless it is this machine, and log in."""
    url, trusted = urlsplit(settings.smtp_url or ""), ssl.create_default_context()
    host, is_tls = url.hostname or "", url.scheme == "smtps"
    secret = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
    server: smtplib.SMTP | None = None
    try:
        if is_tls:
            server = smtplib.SMTP_SSL(host, url.port or 465, timeout=TIMEOUT, context=trusted)
        else:
            server = smtplib.SMTP(host, url.port or 587, timeout=TIMEOUT)
        if not is_tls and not re.fullmatch(r"localhost|127(\.\d+){3}|::1", host):
            server.starttls(context=trusted)
        if url.username:
            server.login(unquote(url.username), secret)
        yield server
    except OSError as error:  # all of smtplib's and ssl's are; the causes may hold the password
        raise _smtp_error(error, _host(settings)) from None
    finally:
        if server is not None:
            # a mail that was taken stays taken, whatever is answered to the goodbye
            with contextlib.suppress(OSError):
                server.quit()
            server.close()


def _smtp_error(error: OSError, host: str) -> DeliveryError:
    """Return the error in words; the answer to a login is not shown, it may hold what was sent."""
    kind, hint, answer = DeliveryError, "smtp_url and smtp_password", b""
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return kind(f"{host}: {one_line(error)}; use a server with STARTTLS, or smtps://")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        who, (code, answer) = next(iter(error.recipients.items()))
        hint = f"{who} in mail_to"
    elif isinstance(error, smtplib.SMTPResponseException):
        code = error.smtp_code
        if not isinstance(error, smtplib.SMTPAuthenticationError):
            answer = error.smtp_error if isinstance(error.smtp_error, bytes) else b""
        if isinstance(error, smtplib.SMTPDataError):
            kind, hint = core.MessageRefused, "what the server takes"
    else:
        why = getattr(error, "verify_message", "") or error.strerror or error
        text = f"SMTP server {host} cannot be reached ({one_line(why)}): check smtp_url and network"
        return ChannelUnavailable(text)
    said = one_line(" ".join(answer.decode("utf-8", "replace").split()), 120)
    what = "the mail" if said else "the login"
    text = f"{host} refuses {what} ({f'{code} {said}'.strip()}): check {hint}"
    return (ChannelUnavailable if 400 <= code < 500 else kind)(text)


def _host(settings: Settings) -> str:
    return one_line(urlsplit(settings.smtp_url or "").hostname)
