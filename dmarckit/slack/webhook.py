"""Messages to a webhook: signed JSON, or what Microsoft Teams and Google Chat show as cards."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import html
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from dmarckit import core
from dmarckit.core import ChannelUnavailable, DeliveryError, MessageRefused, Settings, one_line
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Block, Message
from dmarckit.slack.client import MAX_WAIT, PAUSES, passes, pause

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
    kind = _kind(settings)
    about = {"id": ident, "kind": _KINDS.get(name := subject.partition(":")[0], name)}
    body = _body(message, kind, about | {"sent": now.isoformat(timespec="seconds")})
    if kind == "chat":  # an id that Google has seen makes no second message
        url += f"{'&' if urlsplit(url).query else '?'}requestId={ident}"
    try:
        _ask(url, lambda: _request(url, body, ident, settings), sleep)
    except HTTPError as error:
        text = f"the webhook at {one_line(urlsplit(url).hostname)} answers HTTP {error.code}"
        if error.code in (408, 429) or error.code >= 500:
            raise ChannelUnavailable(f"{text}: it is busy or down") from None
        refused = MessageRefused if error.code in (400, 413, 422) else DeliveryError
        hint = "check webhook_url, webhook_secret and webhook_format"
        raise refused(f"{text}: {hint}") from None


def check_webhook(settings: Settings) -> str:
    """Return, in words, that somebody answers there; nothing is posted.

    Raises ChannelUnavailable.
    """
    url = settings.webhook_url.get_secret_value() if settings.webhook_url else ""
    options = urllib.request.Request(url, method="OPTIONS")  # noqa: S310 - the settings check it
    with contextlib.suppress(HTTPError):  # whatever it says to that
        _ask(url, lambda: options, lambda _seconds: None)
    return f"{_kind(settings)} at {one_line(urlsplit(url).hostname)}"


def _kind(settings: Settings) -> str:
    url = settings.webhook_url.get_secret_value() if settings.webhook_url else ""
    if settings.webhook_format != "auto":
        return settings.webhook_format
    host = f".{urlsplit(url).hostname}"
    return next((kind for end, kind in _HOSTS.items() if host.endswith(end)), "json")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Take a redirect for an error: it would become a GET, and go where nobody said."""

    def redirect_request(self, *_arguments: Any) -> None:
        """Follow no redirect: return no request."""


def _request(url: str, body: bytes, ident: str, settings: Settings) -> urllib.request.Request:
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Dmarckit-Id": ident}
    if settings.webhook_secret:
        headers["X-Dmarckit-Timestamp"] = stamp = str(int(time.time()))
        key = settings.webhook_secret.get_secret_value().encode()
        signed = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256)
        headers["X-Dmarckit-Signature"] = f"sha256={signed.hexdigest()}"
    return urllib.request.Request(url, body, headers)  # noqa: S310 - the settings check it


def _ask(
    url: str, request: Callable[[], urllib.request.Request], sleep: Callable[[float], None]
) -> None:
    """Send a request; an answer that is an error is raised as HTTPError, whose text holds no URL.

    Raises ChannelUnavailable.
    """

    def ask() -> None:
        try:
            urllib.request.build_opener(_NoRedirect).open(request(), timeout=TIMEOUT).close()
        except HTTPError as error:
            error.close()
            raise

    try:
        core.with_retries(ask, passes, PAUSES, sleep=sleep, pause=pause, patience=MAX_WAIT)
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "no answer"
        text = f"the webhook at {one_line(urlsplit(url).hostname)} cannot be reached"
        text += f" ({one_line(why)}): check network and proxy"
        raise ChannelUnavailable(text) from None  # the causes hold the address


def _body(message: Message, kind: str, about: dict[str, str]) -> bytes:
    """Return the body of a post, within what the kind of webhook takes."""
    form = {"teams": _teams, "chat": _chat, "json": _plain}[kind]

    def made(shown: Message) -> bytes:
        return json.dumps(form(shown, about), ensure_ascii=False).encode("utf-8", "replace")

    return made(kit.fitting(message, lambda shown: len(made(shown)), _LIMITS[kind]))


def _plain(message: Message, about: dict[str, str]) -> dict[str, Any]:
    links = [block for block in kit.simplified(message).blocks if block["type"] == "link"]
    return about | {
        "title": message.title,
        "text": kit.message_text(message, links=False),
        "links": [{"label": kit.plain_text(b["label"]), "url": b["url"]} for b in links],
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
