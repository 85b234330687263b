"""One message, every channel: each gets it once, whatever happens to the others."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.lease import Lease
from dmarckit.slack import outbox
from tests.slack.test_telling_crashes import Crash
from tests.support.model_builders import make_record
from tests.support.slack_server import CHANNEL, slack_server
from tests.support.smtp_server import PASSWORD, MailServer, mail_server
from tests.support.telling import ALERTS, DAILY, NOW, World, a_report
from tests.support.webhook_server import SECRET, WebhookServer, webhook_server

GROUP = {"name": "Shop", "domains": ["shop.example"], "slack_channel": "C0SHOP"}


class Receivers:
    """A world with Slack, a mail server and a webhook."""

    def __init__(self, world: World, mail: MailServer, hook: WebhookServer) -> None:
        self.world, self.slack, self.mail, self.hook = world, world.slack, mail, hook

    def titles(self) -> dict[str, Counter[str]]:
        """What each channel got: the domain of an alert, or the first word."""
        texts = {
            "slack": [body["text"].replace("\u2060", "") for body in self.slack.posted],
            "mail": self.mail.subjects(),
            "webhook": [self.hook.body(n)["title"] for n in range(len(self.hook.taken))],
        }
        return {name: Counter(t.split()[0] for t in found) for name, found in texts.items()}


@pytest.fixture
def all_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receivers]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("dmarckit.slack.mail.PAUSES", ())
    monkeypatch.setattr("dmarckit.slack.webhook.PAUSES", ())
    (tmp_path / "tls").mkdir()
    with slack_server() as slack, mail_server(tmp_path / "tls") as mail, webhook_server() as hook:
        world = World(tmp_path / "home", slack)
        world.more |= {"mail_to": ("ops@example.com",), "smtp_url": mail.url}
        world.more |= {"smtp_password": PASSWORD}
        world.more |= {"webhook_url": hook.url, "webhook_secret": SECRET}
        yield Receivers(world, mail, hook)


def test_alerts_and_summaries_go_to_all_channels_once(all_three: Receivers) -> None:
    world = all_three.world
    told = world.mail(a_report(1), a_report(2, domain="other.example")).run(DAILY)
    assert told.places == {CHANNEL: 3, "@mail": 3, "@webhook": 3}
    expected = Counter(["example.com:", "other.example:", "DMARC"])
    assert list(all_three.titles().values()) == [expected] * 3
    mail = all_three.mail.mail(0)
    assert mail["From"] == "ops@example.com", "the first of mail_to, unless mail_from is set"
    (picture,) = (part for part in mail.walk() if part.get_content_type() == "image/png")
    assert picture.get_content().startswith(b"\x89PNG")
    assert all(all_three.hook.is_signed(n) for n in range(3))
    assert world.run(DAILY, minutes=15).places == {CHANNEL: 1, "@mail": 1, "@webhook": 1}


def test_failure_and_recovery_go_to_all_channels(all_three: Receivers) -> None:
    all_three.world.mail(a_report(1, make_record())).fails()
    all_three.world.fails(minutes=1)
    all_three.world.run(minutes=5)
    for found in all_three.titles().values():
        assert found == {"Job": 2}


def test_a_failure_of_the_lake_reaches_all_channels_once_a_day(
    all_three: Receivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("no folder")
    all_three.world.more["lake"] = str(tmp_path / "file")
    all_three.mail.will_answer("451 later")
    all_three.world.fails()
    assert [sum(c.values()) for c in all_three.titles().values()] == [1, 0, 1]
    all_three.world.fails(minutes=1)
    all_three.world.fails(minutes=2)
    assert [sum(c.values()) for c in all_three.titles().values()] == [1, 1, 1]


@pytest.mark.usefixtures("undrawn_charts")
@pytest.mark.parametrize("down", ["slack", "mail", "webhook"])
def test_a_channel_that_is_down_gets_it_later_and_the_others_nothing_again(
    all_three: Receivers, down: str
) -> None:
    if down == "slack":
        all_three.slack.down = {CHANNEL}
    all_three.mail.will_answer("451 later", times=9 * (down == "mail"))
    all_three.hook.will_answer(503, times=9 * (down == "webhook"))
    told = all_three.world.mail(a_report(1), a_report(2, domain="other.example")).run()
    assert (told.sent, told.waiting) == (4, 2)
    (warning,) = told.warnings
    assert "wait in the outbox" in warning
    got = all_three.titles()
    assert got.pop(down) == {}
    all_three.slack.down = set()
    all_three.mail.planned.clear()
    all_three.hook.planned.clear()
    told = all_three.world.run(minutes=60)
    assert (told.sent, told.waiting) == (2, 0)
    found = all_three.titles()
    assert found.pop(down) == {"example.com:": 1, "other.example:": 1}
    assert found == got


def test_what_mail_refuses_is_offered_again_for_a_week(all_three: Receivers) -> None:
    all_three.world.more["smtp_password"] = "wrong-and-secret"
    told = all_three.world.mail(a_report(1)).run()
    assert (told.sent, told.waiting) == (2, 1)
    assert "check smtp_url and smtp_password" in told.warnings[0]
    assert "wrong-and-secret" not in told.warnings[0]
    told = all_three.world.run(minutes=8 * 24 * 60)
    assert all_three.world.waits() == []
    assert any("is given up after 7 days" in warning for warning in told.warnings)


def test_mail_gets_alerts_of_groups_and_one_summary_of_all(all_three: Receivers) -> None:
    all_three.slack.channels = {CHANNEL, "C0SHOP"}
    all_three.world.more["domains"] = ["example.com", GROUP]
    all_three.world.mail(a_report(1), a_report(2, domain="shop.example")).run(DAILY)
    found = all_three.titles()
    assert found["slack"] == {"example.com:": 1, "shop.example:": 1, "DMARC": 2}
    assert found["mail"] == found["webhook"] == {"example.com:": 1, "shop.example:": 1, "DMARC": 1}


def test_without_slack_mail_is_the_main_channel(all_three: Receivers, tmp_path: Path) -> None:
    all_three.world.more["slack_token"] = None
    told = all_three.world.mail(a_report(1)).run()
    assert told.places == {"@mail": 1, "@webhook": 1}
    assert told.saved is None
    assert not (tmp_path / "home/slack").exists()
    assert all_three.world.run(minutes=15).sent == 0


def test_a_copy_for_a_channel_that_is_set_no_more_is_dropped(all_three: Receivers) -> None:
    all_three.mail.will_answer("451 later")
    all_three.world.mail(a_report(1)).run()
    all_three.world.more["mail_to"] = ()
    told = all_three.world.run(minutes=15)
    assert (told.sent, told.waiting, all_three.world.waits()) == (0, 0, [])
    assert all_three.titles()["slack"] == {"example.com:": 1}


def test_a_channel_that_is_new_gets_no_history(all_three: Receivers) -> None:
    config = dict(all_three.world.more)
    all_three.world.more.clear()
    all_three.world.mail(a_report(1)).run()
    all_three.world.more |= config
    assert all_three.world.run(minutes=15).sent == 0


# --- crashes


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with failing reports, all of them in the lake."""
    home: Path = tmp_path_factory.mktemp("channels") / "home"
    with slack_server() as slack:
        World(home, slack).mail(a_report(1), a_report(2, domain="other.example")).begins()
    return home


SENDERS = ("post_message", "send_mail", "post_webhook")


@pytest.mark.usefixtures("undrawn_charts")
@pytest.mark.parametrize("killed", range(12))
def test_after_a_crash_nothing_is_lost_and_one_message_of_one_channel_repeated_at_most(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_three: Receivers, killed: int
) -> None:
    """The run is killed before (even) or after (odd) each of its six messages."""
    shutil.copytree(filled, tmp_path / "home")
    world, steps = all_three.world, iter(range(99))
    with monkeypatch.context() as patch:
        for name in SENDERS:
            real = getattr(outbox, name)

            def watched(*given: Any, real: Any = real, **named: Any) -> Any:
                if next(steps) == killed:
                    raise Crash
                result = real(*given, **named)
                if next(steps) == killed:
                    raise Crash
                return result

            patch.setattr(outbox, name, watched)
        patch.setattr(Lease, "release", lambda _: None)  # who is killed releases nothing
        tells = world.begins(ALERTS)
        with pytest.raises(Crash):
            tells(now=NOW + timedelta(minutes=60))
    assert world.run(ALERTS, minutes=75).waiting == 0
    assert world.waits() == []
    heard = {(c, t): n for c, found in all_three.titles().items() for t, n in found.items()}
    assert len(heard) == 6
    assert sum(heard.values()) == 6 + killed % 2
    ids = [all_three.mail.mail(n)["Message-ID"] for n in range(len(all_three.mail.taken))]
    assert len(set(ids)) == 2, "a mail that comes again has the same id"
    assert len({all_three.hook.body(n)["id"] for n in range(len(all_three.hook.taken))}) == 2
