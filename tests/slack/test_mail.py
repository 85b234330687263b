"""Messages as mails: well made, through a real SMTP server or SES, whatever is in them."""

from __future__ import annotations

import email.policy
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from dmarckit.core import aws_client
from dmarckit.core.errors import (
    ChannelUnavailable,
    DeliveryError,
    DmarckitError,
    MessageRefused,
)
from dmarckit.core.settings import Settings, load_settings
from dmarckit.slack.blocks import Message, build_message, image, link_lines, mrkdwn, section
from dmarckit.slack.mail import check_mail, mail_of, send_mail
from tests.slack.test_slack_kinds import HOSTILE, KINDS
from tests.support.moto_server import environment, moto_server
from tests.support.smtp_server import HOST, PASSWORD, MailServer, mail_server
from tests.support.telling import addressed, stored

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\nchart"
TO = ("ops@example.com", "Mail Team <mail-team@example.net>")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with mail_server(tmp_path) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """The pauses between tries; no test really waits."""
    return []


def settings(server: MailServer | None = None, **other: Any) -> Settings:
    values: dict[str, Any] = {"mail_to": TO, "mail_from": "DMARC <dmarc@example.com>"}
    if server:
        values |= {"smtp_url": server.url, "smtp_password": PASSWORD}
    return load_settings(**(values | other))


def mail_about(message: Message, ident: str = "0a1b", picture: bytes | None = PNG) -> EmailMessage:
    """A message as the receiver reads it."""
    made = mail_of(addressed(message), settings(), ident, NOW, lambda _block: picture)
    read: Any = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)
    return read


HELLO = build_message("hello `example.com` &amp; all", [section("hello")])


def send(config: Settings, waits: list[float], message: Message = HELLO) -> str:
    mail = mail_of(addressed(message), config, "0a1b", NOW, lambda _block: None)
    return send_mail(mail, config, sleep=waits.append)


def html_of(mail: EmailMessage) -> str:
    body = mail.get_body(("html",))
    assert body is not None
    return str(body.get_content())


class Elements(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# --- how a mail is made


def test_a_mail_has_the_headers_of_a_machine_that_expects_no_answer() -> None:
    mail = mail_about(HELLO)
    assert str(mail["Subject"]) == "hello example.com & all"
    assert str(mail["From"]) == "DMARC <dmarc@example.com>"
    assert str(mail["To"]) == "ops@example.com, Mail Team <mail-team@example.net>"
    assert parsedate_to_datetime(mail["Date"]) == NOW
    assert mail["Message-ID"] == "<0a1b@example.com>"
    assert mail["List-Id"] == "dmarckit <dmarckit.example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["MIME-Version"] == "1.0"


def test_a_mail_is_plain_text_beside_html_with_its_chart_inside() -> None:
    page, chart = stored("https://pages.example/p?a=1&b=2"), stored("https://s3.example/c.png")
    blocks = [*link_lines([("Open the page", page)]), *image(chart, "Messages per day")]
    mail = mail_about(build_message("text", [section("*98%* of `a.example` & more"), *blocks]))
    assert mail.get_content_type() == "multipart/alternative"
    plain, related = mail.iter_parts()
    assert plain.get_content().splitlines()[:2] == [
        "98% of a.example & more",
        "Open the page: https://pages.example/p?a=1&b=2",
    ]
    assert related.get_content_type() == "multipart/related"
    _html, picture = related.iter_parts()
    assert picture.get_content() == PNG
    assert picture.get_content_disposition() == "inline"
    elements = Elements(html_of(mail))
    (shown,) = (attrs for tag, attrs in elements.found if tag == "img")
    assert f"<{str(shown['src']).removeprefix('cid:')}>" == picture["Content-ID"]
    assert shown["alt"] == "Messages per day"
    assert [a["href"] for t, a in elements.found if t == "a"] == ["https://pages.example/p?a=1&b=2"]


def test_a_chart_that_cannot_be_read_is_a_link() -> None:
    message = build_message("text", image(stored("https://s3.example/c.png"), "Per day"))
    elements = Elements(html_of(mail_about(message, picture=None)))
    assert [a["href"] for t, a in elements.found if t == "a"] == ["https://s3.example/c.png"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", [HOSTILE, HOSTILE * 100, "a\r\nBcc: x@evil.example", "", "漢字" * 999]
)
def test_whatever_is_in_it_nothing_foreign_gets_into_headers_or_markup(
    kind: str, text: str
) -> None:
    mail = mail_about(KINDS[kind](text))
    expected = mail_about(HELLO)
    assert mail.keys() == expected.keys()
    assert mail["To"] == expected["To"]
    assert not mail.defects
    assert len(str(mail["Subject"])) <= 152
    elements = Elements(html_of(mail))
    known = "html head meta title body main h1 p a b strong code br table tbody tr th td img"
    assert {tag for tag, _attrs in elements.found} <= set(known.split())
    for tag, attrs in elements.found:
        if tag == "a":
            assert urlsplit(str(attrs["href"])).hostname == "s3.example"
        assert not {name for name in attrs if name.startswith("on")}
        assert str(attrs.get("src", "cid:")).startswith("cid:")
        assert "url(" not in str(attrs.get("style"))
    assert not re.search("[\x1b\u202e]|\r(?!\n)", elements.text)


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_passes_any_server(kind: str) -> None:
    message = addressed(KINDS[kind]("漢字 & <b>" * 500))
    raw = mail_of(message, settings(), "0a1b", NOW, lambda _block: PNG).as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "value",
    ["o@a.example\r\nBcc: x@b.example", "nobody", "a@b", "a..b@a.example", "o@a b", "o@ü.example"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_by_the_settings(value: str) -> None:
    for name in ("mail_from", "mail_to"):
        with pytest.raises(DmarckitError, match=f"setting {name}"):
            load_settings(**{"mail_to": "ops@example.com", name: value})


def test_no_reader_links_what_others_wrote() -> None:
    mail = mail_about(build_message("x", [section(mrkdwn("see https://evil.example/login"))]))
    for part in (mail.get_body(("plain",)), mail.get_body(("html",))):
        assert part is not None
        assert "//evil" not in part.get_content().replace("\u2060//", "")


# --- SMTP


def test_a_mail_goes_out_over_tls_with_a_login(server: MailServer, waits: list[float]) -> None:
    assert send(settings(server), waits) == ""
    ((recipients, _raw),) = server.taken
    assert recipients == ["ops@example.com", "mail-team@example.net"]
    assert server.subjects() == ["hello example.com & all"]
    assert server.mail()["Message-ID"] == "<0a1b@example.com>"
    assert check_mail(settings(server)) == f"{HOST} lets us in"
    assert len(server.taken) == 1, "a check sends nothing"


def test_smtps_is_encrypted_from_the_start(tmp_path: Path, waits: list[float]) -> None:
    with mail_server(tmp_path, implicit=True) as server:
        send(settings(server), waits)
    assert len(server.taken) == 1


def test_nothing_is_sent_to_a_server_without_tls(tmp_path: Path, waits: list[float]) -> None:
    with mail_server(tmp_path, tls=False) as server:
        with pytest.raises(DeliveryError, match="STARTTLS") as raised:
            send(settings(server), waits)
        assert PASSWORD not in str(raised.value)
        here = server.url.replace(HOST, "127.0.0.1")
        send(settings(server, smtp_url=here), waits)
    assert len(server.taken) == 1, "to a relay on this machine"


def test_a_certificate_that_nobody_trusts_is_no_server(tmp_path: Path, waits: list[float]) -> None:
    with (
        mail_server(tmp_path, trusted=False) as server,
        pytest.raises(ChannelUnavailable, match="self-signed certificate"),
    ):
        send(settings(server), waits)
    assert server.taken == []


def test_a_wrong_password_is_named_and_not_shown(server: MailServer, waits: list[float]) -> None:
    with pytest.raises(
        DeliveryError, match=r"refuses the login \(535\): check smtp_url and smtp_password"
    ) as raised:
        send(settings(server, smtp_password="wrong-and-secret"), waits)
    assert "wrong-and-secret" not in str(raised.value)
    assert waits == []


def test_a_server_that_is_busy_is_asked_again(server: MailServer, waits: list[float]) -> None:
    server.will_answer("451 4.7.1 later", times=2)
    send(settings(server), waits)
    assert waits == [1, 2]
    assert len(server.taken) == 1
    server.will_answer("451 4.7.1 later", times=9)
    with pytest.raises(ChannelUnavailable, match="451"):
        send(settings(server), waits)


def test_a_mail_that_is_refused_is_not_tried_again(server: MailServer, waits: list[float]) -> None:
    server.will_answer("552 5.3.4 too\x1b[31m big")
    with pytest.raises(MessageRefused, match=r"552 5\.3\.4 too"):
        send(settings(server), waits)
    assert (server.tries, waits) == (1, [])


def test_who_is_refused_does_not_keep_the_others_from_it(
    server: MailServer, waits: list[float]
) -> None:
    server.refuses = {"ops@example.com": "550 5.1.1 unknown"}
    assert send(settings(server), waits) == "ops@example.com (550)"
    assert server.taken[0][0] == ["mail-team@example.net"]
    server.refuses["mail-team@example.net"] = "550 5.1.1 unknown"
    with pytest.raises(DeliveryError, match=r"check ops@example\.com in mail_to"):
        send(settings(server), waits)


def test_a_bad_goodbye_does_not_repeat_a_mail(server: MailServer, waits: list[float]) -> None:
    server.goodbye = "421 going down"
    send(settings(server), waits)
    assert (len(server.taken), waits) == (1, [])


def test_nobody_listening_is_tried_again_then_named(tmp_path: Path, waits: list[float]) -> None:
    with mail_server(tmp_path) as gone:
        config = settings(gone, smtp_url=gone.url.replace(HOST, "127.0.0.1"))
    with pytest.raises(ChannelUnavailable, match="cannot be reached"):
        send(config, waits)
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(
    "url",
    ["mail.example.com", "smtp://", "https://mail.example.com", "smtp://user:hidden-word@mail.example",
     "smtp://host:port", "imap://user:hidden-word@host", "smtp://a\nb"],
)  # fmt: skip
def test_a_server_that_is_none_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(DmarckitError, match="setting smtp_url") as raised:
        load_settings(smtp_url=url)
    assert "hidden-word" not in str(raised.value)


# --- SES


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def ses(aws: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """SES, where example.com is verified, as a test sees it."""
    for name, value in environment(aws).items():
        monkeypatch.setenv(name, value)
    aws_client("sesv2").create_email_identity(EmailIdentity="example.com")
    backend = ses_backends[DEFAULT_ACCOUNT_ID]["eu-west-1"]
    backend.sent_messages.clear()
    yield backend
    aws_client("sesv2").delete_email_identity(EmailIdentity="example.com")


def test_without_a_server_ses_sends(ses: Any, waits: list[float]) -> None:
    send(settings(), waits)
    (sent,) = ses.sent_messages
    assert sent.destinations[:2] == ["ops@example.com", "mail-team@example.net"]
    mail = email.message_from_string(sent.raw_data)
    assert mail["Subject"] == "hello example.com & all"
    assert mail["Auto-Submitted"] == "auto-generated"


def test_a_sender_that_ses_does_not_know_is_named(ses: Any, waits: list[float]) -> None:
    config = settings(mail_from="dmarc@other.example")
    with pytest.raises(DeliveryError, match="verify mail_from in SES"):
        send(config, waits)
    with pytest.raises(DeliveryError, match="verify mail_from in SES"):
        check_mail(config)
    assert ses.sent_messages == []


def test_ses_out_of_reach_may_pass_later(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    for name, value in environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ChannelUnavailable, match="SES: "):
        send(settings(), waits)
