"""Messages to a webhook: signed JSON, or what Microsoft Teams and Google Chat show as cards."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from dmarckit import core
from dmarckit.core import ChannelUnavailable, DeliveryError, Settings, one_line
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Block, Message
from dmarckit.slack.client import MAX_WAIT, PAUSES, passes, pause

SIGNATURE, TIMESTAMP = "X-Dmarckit-Signature", "X-Dmarckit-Timestamp"
TIMEOUT = 15  # seconds for the answer
_HOSTS = {  # ends of host names; the setting says it for others
    ".logic.azure.com": "teams",
    ".api.powerplatform.com": "teams",
    ".webhook.office.com": "teams",
    ".chat.googleapis.com": "chat",
}
_LIMITS = {"teams": 26_000, "chat": 30_000, "json": 200_000}
"""bytes; Teams takes 28 KB, Google Chat 32,000 bytes"""
_KINDS = {"report": "alert", "run": "summary", "again": "summary"}


def post_webhook(
    message: Message,
    settings: Settings,
    subject: str,
    ident: str,
    now: datetime,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Post a message to `webhook_url`, in the form of its host or of `webhook_format`.

    With `webhook_secret` it is signed: the signature is the HMAC-SHA256 of the time in
    X-Dmarckit-Timestamp, a dot, and the body. `ident` is the same when it comes again. Neither the
    address nor what is answered is in any error.

    Raises:
        ChannelUnavailable: nobody answers, or is busy; the same message may pass later.
        MessageRefused: this very message is refused.
        DeliveryError: every message is refused, with what to do about it.
    """
    url = settings.webhook_url.get_secret_value() if settings.webhook_url else ""
    host = urlsplit(url).hostname or ""
    kind = _kind(settings)
    about = {"id": ident, "kind": _KINDS.get(name := subject.partition(":")[0], name)}
    about["sent"] = now.isoformat(timespec="seconds")
    body = _body(message, kind, about)
    if kind == "chat":  # an id that Google has seen makes no second message
        url += f"{'&' if urlsplit(url).query else '?'}requestId={ident}"
    try:
        core.with_retries(
            lambda: _post(url, body, ident, settings),
            passes, PAUSES, sleep=sleep, pause=pause, patience=MAX_WAIT,
        )  # fmt: skip
    except HTTPError as error:
        raise _refused(error.code, one_line(host)) from None  # the cause holds the address
    except (OSError, HTTPException, ValueError) as error:
        raise _unreachable(error, host) from None


def check_webhook(settings: Settings) -> str:
    """Return, in words, that somebody listens there; nothing is posted.

    Raises ChannelUnavailable.
    """
    url = urlsplit(settings.webhook_url.get_secret_value() if settings.webhook_url else "")
    host, kind = url.hostname or "", _kind(settings)
    proxies = urllib.request.getproxies()
    if url.scheme in proxies and not urllib.request.proxy_bypass(host):
        return f"{kind} at {one_line(host)}, behind a proxy"
    connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = connect(host, url.port, timeout=TIMEOUT)
    try:
        connection.connect()
    except OSError as error:
        raise _unreachable(error, host) from None
    finally:
        connection.close()
    return f"{kind} at {one_line(host)}"


def _kind(settings: Settings) -> str:
    url = settings.webhook_url.get_secret_value() if settings.webhook_url else ""
    host, kind = urlsplit(url).hostname or "", settings.webhook_format
    if kind != "auto":
        return kind
    return next((kind for end, kind in _HOSTS.items() if f".{host}".endswith(end)), "json")


def _unreachable(error: Exception, host: str) -> ChannelUnavailable:
    why = ""
    if isinstance(error, OSError):
        why = f" ({one_line(getattr(error, 'reason', None) or error.strerror or 'no answer')})"
    return ChannelUnavailable(
        f"the webhook at {one_line(host)} cannot be reached{why}: check network and proxy"
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Take a redirect for an error: it would become a GET, and go where nobody said."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Return no request."""


def _post(url: str, body: bytes, ident: str, settings: Settings) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "dmarckit"}
    headers["X-Dmarckit-Id"] = ident
    if settings.webhook_secret:
        headers[TIMESTAMP] = stamp = str(int(time.time()))
        key = settings.webhook_secret.get_secret_value().encode()
        signed = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256)
        headers[SIGNATURE] = f"sha256={signed.hexdigest()}"
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the settings check it
    try:
        urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT).close()
    except HTTPError as error:
        error.close()
        raise


def _refused(status: int, host: str) -> DeliveryError:
    if status in (408, 429) or status >= 500:
        return ChannelUnavailable(f"the webhook at {host} is busy or down (HTTP {status})")
    kind = core.MessageRefused if status in (400, 413, 422) else DeliveryError
    return kind(
        f"the webhook at {host} refuses the message (HTTP {status}): "
        "check webhook_url, webhook_secret and webhook_format"
    )


def _body(message: Message, kind: str, about: dict[str, str]) -> bytes:
    """Return the body of a post, within what the kind of webhook takes."""
    form = {"teams": _teams, "chat": _chat, "json": _plain}[kind]

    def made(shown: Message) -> bytes:
        return json.dumps(form(shown, about), ensure_ascii=False).encode("utf-8", "replace")

    return made(kit.fitting(message, lambda shown: len(made(shown)), _LIMITS[kind]))


def _plain(message: Message, about: dict[str, str]) -> dict[str, Any]:
    pairs = [pair for block in message.blocks for pair in block.get("pairs", ())]
    links = [block for block in message.blocks if block["type"] == "link"]
    charts = [block for block in message.blocks if block["type"] == "picture"]
    return about | {
        "title": message.title,
        "text": kit.message_text(message, links=False),
        "fields": {kit.plain_text(name): kit.plain_text(value) for name, value in pairs},
        "links": [{"label": kit.plain_text(b["label"]), "url": b["url"]} for b in links],
        "charts": [{"alt": b["alt"], "url": b["url"]} for b in charts],
    }


def _teams(message: Message, _about: dict[str, str]) -> dict[str, Any]:
    """Return an Adaptive Card; its text is in text runs, in which nothing is markup."""
    card = {
        "type": "AdaptiveCard",
        "$schema": "https://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "fallbackText": message.title,
        "msteams": {"width": "Full"},
        "body": [
            element
            for block in kit.simplified(message, pictures=True).blocks
            for element in _elements(block)
        ],
    }
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


def _elements(block: Block) -> Iterator[dict[str, Any]]:
    kind, url = block["type"], block.get("url", "")
    is_web = kit.is_web_address(url)
    if kind == "picture" and is_web:
        yield {"type": "Image", "url": url, "altText": block["alt"], "size": "Stretch"}
        return
    common: dict[str, Any] = {"type": "TextRun"}
    common |= {"size": "Large"} if kind == "header" else {}
    common |= {"size": "Small", "isSubtle": True} if kind == "context" else {}
    common |= {"selectAction": {"type": "Action.OpenUrl", "url": url}} if is_web else {}
    styles = {"bold": {"weight": "Bolder"}, "code": {"fontType": "Monospace"}}
    for n, line in enumerate(_lines(block)):
        runs = [common | styles.get(style, {}) | {"text": text} for text, style in line]
        yield {"type": "RichTextBlock", "inlines": runs} | ({"spacing": "None"} if n else {})


def _lines(block: Block) -> Iterator[list[tuple[str, str]]]:
    """Yield the lines of a block of any kind but table as spans."""
    kind = block["type"]
    if kind == "fields":
        for label, value in block["pairs"]:
            yield [(f"{kit.plain_text(label)}: ", "bold"), *kit.spans(value)]
    elif kind == "header":
        yield [(block["text"], "bold")]
    elif kind in ("link", "picture"):
        label = list(kit.spans(block["label"])) if kind == "link" else [(block["alt"], "")]
        is_web = kit.is_web_address(block["url"])
        yield label if is_web else [*label, (": ", ""), (block["url"], "code")]
    else:
        yield from (list(kit.spans(line)) for line in block["text"].split("\n"))


def _chat(message: Message, _about: dict[str, str]) -> dict[str, Any]:
    """Return a card of Google Chat, whose paragraphs are a subset of HTML."""
    widgets = [_widget(block) for block in kit.simplified(message, pictures=True).blocks]
    card = {"cardId": "dmarckit", "card": {"sections": [{"widgets": widgets}]}}
    return {"cardsV2": [card], "fallbackText": message.title}


def _widget(block: Block) -> dict[str, Any]:
    url = block.get("url", "")
    is_web = kit.is_web_address(url)
    if block["type"] == "picture" and is_web:
        return {"image": {"imageUrl": url, "altText": block["alt"]}}
    tags = {"bold": "<b>{}</b>"}
    text = "<br>".join(
        "".join(tags.get(style, "{}").format(html.escape(text)) for text, style in line)
        for line in _lines(block)
    )
    if is_web:
        text = f'<a href="{html.escape(url)}">{text}</a>'
    return {"textParagraph": {"text": text}}
