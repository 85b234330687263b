"""Messages to a webhook: signed, in the receiver's form, within its size, whatever is in them."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dmarckit.core import secrets_of
from dmarckit.core.errors import (
    ChannelUnavailable,
    DeliveryError,
    DmarckitError,
    MessageRefused,
)
from dmarckit.core.settings import Settings, load_settings
from dmarckit.slack.blocks import Message, build_message, image, link_lines, section
from dmarckit.slack.webhook import check_webhook, post_webhook
from tests.slack.test_slack_kinds import HOSTILE, KINDS
from tests.support.telling import addressed, stored
from tests.support.webhook_server import PATH, SECRET, WebhookServer, webhook_server

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
HELLO = build_message("hello", [section("hello *you* and `example.com`")])


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with webhook_server() as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """The pauses between tries; no test really waits."""
    return []


def settings(hook: WebhookServer, **other: Any) -> Settings:
    return load_settings(**({"webhook_url": hook.url, "webhook_secret": SECRET} | other))


def post(hook: WebhookServer, waits: list[float], message: Message = HELLO, **other: Any) -> None:
    config = settings(hook, **other)
    shown = addressed(message)
    post_webhook(shown, config, "report:1", "0a1b", NOW, sleep=waits.append)


# --- what is posted


def test_a_message_is_signed_json(hook: WebhookServer, waits: list[float]) -> None:
    page, chart = stored("https://pages.example/p"), stored("https://s3.example/c.png")
    blocks = [section("*98%* of `a.example` & more"), *link_lines([("Open the page", page)])]
    post(hook, waits, build_message("text &amp; more", [*blocks, *image(chart, "Per day")]))
    assert hook.body() == {
        "id": "0a1b",
        "kind": "alert",
        "sent": "2026-11-24T09:30:00+00:00",
        "title": "text & more",
        "text": "98% of a.example & more\n[Open the page]\n[chart] Per day\n",
        "links": [
            {"label": "Open the page", "url": "https://pages.example/p"},
            {"label": "Chart", "url": "https://s3.example/c.png"},
        ],
    }
    headers, _body = hook.taken[0]
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["x-dmarckit-id"] == "0a1b"
    assert hook.is_signed()
    assert not hook.is_signed(secret="another")
    assert abs(int(headers["x-dmarckit-timestamp"]) - time.time()) < 300, "the present time"


def test_without_a_secret_nothing_is_signed(hook: WebhookServer, waits: list[float]) -> None:
    post(hook, waits, webhook_secret=None)
    assert not {"x-dmarckit-signature", "x-dmarckit-timestamp"} & hook.taken[0][0].keys()


def test_teams_gets_an_adaptive_card(hook: WebhookServer, waits: list[float]) -> None:
    page, chart = stored("https://pages.example/p"), stored("https://s3.example/c.png")
    blocks = [*HELLO.blocks, *link_lines([("Page", page)]), *image(chart, "Per day")]
    post(hook, waits, build_message("hello", blocks), webhook_format="teams")
    (attachment,) = hook.body()["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    text, link, picture = attachment["content"]["body"]
    assert [run["text"] for run in text["inlines"]] == ["hello ", "you", " and ", "example.com"]
    assert text["inlines"][1]["weight"] == "Bolder"
    assert text["inlines"][3]["fontType"] == "Monospace"
    action = {"type": "Action.OpenUrl", "url": "https://pages.example/p"}
    assert link["inlines"][0]["selectAction"] == action
    assert picture == {
        "type": "Image", "url": "https://s3.example/c.png", "altText": "Per day", "size": "Stretch",
    }  # fmt: skip


def test_google_chat_gets_a_card_and_knows_a_message_that_comes_again(
    hook: WebhookServer, waits: list[float]
) -> None:
    page = stored("https://pages.example/p?a=1&b=2")
    blocks = [*HELLO.blocks, *link_lines([("Page", page)])]
    post(hook, waits, build_message("hello", blocks), webhook_format="chat")
    ((card,), fallback) = hook.body()["cardsV2"], hook.body()["fallbackText"]
    assert fallback == "hello"
    texts = [w["textParagraph"]["text"] for w in card["card"]["sections"][0]["widgets"]]
    assert texts == [
        "hello <b>you</b> and example.com",
        '<a href="https://pages.example/p?a=1&amp;b=2">Page</a>',
    ]
    assert hook.tries == [f"{PATH}&requestId=0a1b"]


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("prod-12.westeurope.logic.azure.com:443", "teams"),
        ("default0a.1b.environment.api.powerplatform.com", "teams"),
        ("example.webhook.office.com", "teams"),
        ("chat.googleapis.com", "chat"),
        ("evilchat.googleapis.com", "json"),
        ("logic.azure.com.example.net", "json"),
    ],
)
def test_the_host_says_which_form_it_takes(
    host: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("dmarckit.slack.webhook._request", lambda *given: seen.append(given))
    monkeypatch.setattr("dmarckit.slack.webhook._ask", lambda _url, request, _sleep: request())
    post_webhook(HELLO, load_settings(webhook_url=f"https://{host}/x"), "run:1", "0a", NOW)
    keys = {"teams": "attachments", "chat": "cardsV2", "json": "kind"}
    assert keys[kind] in json.loads(seen[0][1])


@pytest.mark.parametrize(("form", "limit"), [("teams", 28 * 1024), ("chat", 32_000)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", [HOSTILE, HOSTILE * 100, "漢字" * 9_000, "&" * 5_000, "", "\ud800"]
)
def test_whatever_is_in_it_the_size_is_taken_and_nothing_foreign_is_markup(
    hook: WebhookServer, waits: list[float], form: str, limit: int, kind: str, text: str
) -> None:
    post(hook, waits, KINDS[kind](text), webhook_format=form)
    assert len(hook.taken[0][1]) <= limit
    for found in texts_of(hook.body()):
        assert "\x1b" not in found
        assert "\u202e" not in found
    if form == "teams":
        for element in hook.body()["attachments"][0]["content"]["body"]:
            assert element["type"] in ("RichTextBlock", "Image"), "in others text is Markdown"
        return
    for widget in hook.body()["cardsV2"][0]["card"]["sections"][0]["widgets"]:
        shown = widget.get("textParagraph", {"text": ""})["text"]
        rest = re.sub(r'<a href="https://s3\.example/x*">|</?b>|<br>|</a>', "", shown)
        assert not re.search("[<>]", rest)


def texts_of(part: Any) -> Iterator[str]:
    """Every text in JSON."""
    if isinstance(part, str):
        yield part
    for inner in (
        part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    ):
        yield from texts_of(inner)


# --- what is answered


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_receiver_that_is_busy_is_asked_again_when_it_says(
    hook: WebhookServer, waits: list[float], status: int
) -> None:
    hook.will_answer(status, Retry_After=7)
    hook.will_answer(status)
    post(hook, waits)
    assert waits == [7, 2]
    assert len(hook.taken) == 1
    assert hook.is_signed()
    hook.will_answer(status, times=9)
    with pytest.raises(ChannelUnavailable, match=f"HTTP {status}"):
        post(hook, waits)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, MessageRefused), (413, MessageRefused), (302, DeliveryError), (401, DeliveryError),
     (404, DeliveryError), (410, DeliveryError)],
)  # fmt: skip
def test_a_refusal_is_named_without_the_address(
    hook: WebhookServer, waits: list[float], status: int, kind: type[DeliveryError]
) -> None:
    hook.will_answer(status, Location="https://elsewhere.example/")
    with pytest.raises(kind, match=f"HTTP {status}") as raised:
        post(hook, waits)
    assert "known-to-few" not in str(raised.value)
    assert (len(hook.tries), waits) == (1, [])


def test_nobody_listening_is_tried_again_then_named(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook_server() as gone:
        pass
    with pytest.raises(ChannelUnavailable, match="cannot be reached") as raised:
        post(gone, waits)
    assert "known-to-few" not in str(raised.value)
    assert waits == [1, 2, 4]
    monkeypatch.setattr("dmarckit.slack.webhook.PAUSES", ())
    with pytest.raises(ChannelUnavailable, match="cannot be reached"):
        check_webhook(settings(gone))


def test_a_check_posts_nothing(hook: WebhookServer) -> None:
    assert check_webhook(settings(hook)) == "json at 127.0.0.1"
    assert hook.tries == []


# --- secrets


def test_address_and_secret_are_in_no_log_and_hidden_everywhere(
    hook: WebhookServer, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    post(hook, waits)
    config = settings(hook)
    assert not re.search(f"known-to-few|{SECRET}", caplog.text + repr(config))
    assert {hook.url, SECRET} <= secrets_of(config)


@pytest.mark.parametrize(
    "url",
    ["ftp://host/hidden", "hidden", "https://", "https://host:hidden/", "https://h/a\nhidden"],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(DmarckitError, match="setting webhook_url") as raised:
        load_settings(webhook_url=url)
    assert "hidden" not in str(raised.value)
