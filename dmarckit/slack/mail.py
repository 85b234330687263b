"""Messages as mails, sent through Amazon SES or an SMTP server.

A mail is HTML with its charts inline and plain text beside it; nothing in it is loaded from
elsewhere. Outside text gets into headers through `Message.title` alone, which is one line.
"""

from __future__ import annotations

import contextlib
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
from ipaddress import ip_address
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


def check_mail(settings: Settings) -> str | None:
    """Return, in words, that mails can be sent, as far as that shows without sending one.

    None: these credentials may not ask SES. Raises DeliveryError as `send_mail` does.
    """
    if settings.smtp_url:
        with _smtp(settings) as server:
            server.noop()
        return f"{_host(settings)} lets us in"
    from botocore.exceptions import ClientError

    sender = _sender(settings)
    for identity in (sender.addr_spec, sender.domain):
        with _ses_errors("ses:GetEmailIdentity"):
            try:
                asked = core.aws_client("sesv2").get_email_identity(EmailIdentity=identity)
            except ClientError as error:
                if "AccessDenied" in (code := core.error_code(error)):
                    return None
                if code != "NotFoundException":
                    raise
            else:
                if asked["VerifiedForSendingStatus"]:
                    return f"SES sends for {one_line(identity)}"
    raise DeliveryError(f"SES does not send for {one_line(sender.addr_spec)}: {_VERIFY}")


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
    """Connect to the server of `smtp_url`, encrypted unless it is this machine, and log in.

    No text of the server's answers to a login is shown: it may hold what was sent.
    """
    url, host = urlsplit(settings.smtp_url or ""), _host(settings)
    secret = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
    kind = smtplib.SMTPResponseException  # whose answer says that it is for now, or for ever
    server: smtplib.SMTP | None = None
    try:
        trusted = ssl.create_default_context()
        if url.scheme == "smtps":
            server = smtplib.SMTP_SSL(
                url.hostname or "", url.port or 465, timeout=TIMEOUT, context=trusted
            )
        else:
            server = smtplib.SMTP(url.hostname or "", url.port or 587, timeout=TIMEOUT)
            if not _is_here(url.hostname or ""):
                server.starttls(context=trusted)
        if url.username:
            server.login(unquote(url.username), secret)
        yield server
    except smtplib.SMTPAuthenticationError as error:
        text = f"{host} refuses the login ({error.smtp_code}): check smtp_url and smtp_password"
        raise _error_of(error.smtp_code, DeliveryError)(text) from None
    except smtplib.SMTPNotSupportedError as error:
        text = f"{host}: {one_line(error)}; use a server with STARTTLS, or smtps://"
        raise DeliveryError(text) from None
    except smtplib.SMTPRecipientsRefused as error:
        who, (code, answer) = next(iter(error.recipients.items()))
        text = f"{host} refuses {one_line(who)} ({code} {_said(answer)}): check mail_to"
        raise _error_of(code, DeliveryError)(text) from None
    except kind as error:
        is_mail = isinstance(error, smtplib.SMTPDataError)
        text = f"{host} refuses the mail ({error.smtp_code} {_said(error.smtp_error)})"
        raise _error_of(error.smtp_code, core.MessageRefused if is_mail else DeliveryError)(
            text
        ) from None
    except OSError as error:  # all of smtplib's and ssl's are
        why = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error
        text = f"SMTP server {host} cannot be reached ({one_line(why)}): check smtp_url and network"
        raise ChannelUnavailable(text) from None
    finally:
        if server is not None:
            # a mail that was taken stays taken, whatever is answered to the goodbye
            with contextlib.suppress(OSError):
                server.quit()
            server.close()


def _error_of(code: int, refused: type[DeliveryError]) -> type[DeliveryError]:
    return ChannelUnavailable if 400 <= code < 500 else refused


def _said(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return one_line(" ".join(text.split()), 120)


def _host(settings: Settings) -> str:
    return one_line(urlsplit(settings.smtp_url or "").hostname)


def _is_here(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
