"""What Slack hears: each thing once, in order, in the right channel, through outages."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.errors import LakeError, SettingsError
from dmarckit.core.settings import load_settings
from dmarckit.core.storage import open_storage
from dmarckit.jobs.notify import check_slack
from dmarckit.jobs.schedule import Schedule
from dmarckit.reports.model import Policy, Reason
from dmarckit.slack import outbox
from dmarckit.slack.blocks import build_message, section
from dmarckit.slack.outbox import OutboxMessage, queue_messages
from tests.support.model_builders import make_failing, make_record
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support.telling import ALERTS, DAILY, NOW, World, a_report

pytestmark = pytest.mark.usefixtures("undrawn_charts")

SHOP, OTHER = "C0SHOP", "C0OTHER"
GROUP = {"name": "Shop", "domains": ["shop.example"], "slack_channel": SHOP}

ONE_OF_11 = "example.com: 1 of 11 messages fail DMARC (9.1%), reported by "


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with slack_server() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, slack: SlackServer) -> World:
    return World(tmp_path / "home", slack)


def posted(slack: SlackServer, number: int = -1) -> str:
    """A message as its reader sees it."""
    return slack.shown(number)


# --- alerts and the digest


def test_a_new_failing_report_is_told_once(world: World, slack: SlackServer) -> None:
    told = world.mail(a_report(1), a_report(2, make_record())).run()
    assert (told.sent, told.waiting, told.warnings) == (1, 0, [])
    assert slack.texts() == [f"{ONE_OF_11}Example Mail"]
    assert world.run(minutes=15).sent == 0
    assert len(slack.posted) == 1


def test_a_mail_that_was_stored_anew_is_told_once(world: World, slack: SlackServer) -> None:
    world.mail(a_report(1)).begins()
    assert world.mail(a_report(1)).run().sent == 1  # another time, another etag
    assert len(slack.posted) == 1


@pytest.mark.parametrize("about", ["stranger.example", "shop.example.stranger.example"])
def test_reports_about_domains_of_others_are_not_told(
    world: World, slack: SlackServer, about: str
) -> None:
    world.more["domains"] = ["Example.COM.", GROUP]
    world.mail(a_report(1, domain=about), a_report(2, reporter="Other Mail"))
    assert world.run().sent == 1
    assert slack.texts() == [f"{ONE_OF_11}Other Mail"]
    world.run(DAILY, minutes=15)
    assert not [number for number in range(len(slack.posted)) if "strang" in posted(slack, number)]
    files = [item.key for item in open_storage(world.settings.exports_url).list()]
    assert not [name for name in files if "stranger" in name or "unknown" in name]


def test_a_report_without_policy_and_names_stops_no_alert(world: World, slack: SlackServer) -> None:
    nameless = replace(a_report(1, reporter=None), policy=Policy(None))
    world.mail(nameless, a_report(2, reporter="Other Mail", domain="other.example"))
    assert world.run().sent == 2
    assert f"{ONE_OF_11}mail.example" in slack.texts(), (
        "names stand elsewhere too: in header_from, and in the mail's From"
    )
    assert world.run(DAILY, minutes=15).sent == 1


def test_an_alert_names_the_command_that_shows_the_report(world: World, slack: SlackServer) -> None:
    world.mail(a_report(1)).run()
    (uid,) = (s.removeprefix("report:") for s in world.told())
    assert f"Details: dmarckit page report -p report_uid {uid}" in posted(slack)


def test_many_failing_reports_are_one_digest(world: World, slack: SlackServer) -> None:
    reports = [
        a_report(n, make_failing(messages=n), reporter=f"Mail {n}", domain=f"d{n}.example")
        for n in range(1, 41)
    ]
    assert world.mail(*reports).run().sent == 1
    shown = posted(slack)
    assert "40 new reports with failing messages" in shown
    assert re.search(r"^Mail 40 +d40\.example +\S+ +40 +40$", shown, re.MULTILINE)
    assert "and 15 more" in shown
    assert len(world.told()) == 41
    assert world.run(minutes=15).sent == 0


def test_reports_about_nothing_but_forwarded_mail_are_noted_and_not_told(
    world: World, slack: SlackServer
) -> None:
    forwarded = make_failing(reasons=(Reason("forwarded", None),))
    sealed = make_failing(reasons=(Reason("local_policy", "arc=pass"),))
    mixed = a_report(2, forwarded, make_failing(messages=3))
    world.mail(a_report(1, forwarded, sealed), mixed).run()
    assert len(slack.posted) == 1
    assert "4 of 4 messages" in slack.texts()[0]
    world.more["alert_forwarded"] = True
    assert world.run(minutes=15).sent == 0, "they do not come back"
    assert world.mail(a_report(3, forwarded)).run(minutes=30).sent == 1


@pytest.mark.parametrize(("ran_before", "sent"), [(False, 0), (True, 1)])
def test_history_is_not_told_but_what_came_while_nothing_ran_is(
    world: World, ran_before: bool, sent: int
) -> None:
    world.mail(a_report(1))
    if ran_before:
        world.recorded("daily", "before", NOW - timedelta(hours=1))
    assert world.run(minutes=4 * 24 * 60).sent == sent


# --- channels


def test_a_group_hears_of_its_domains_and_the_main_channel_of_the_others(
    world: World, slack: SlackServer
) -> None:
    slack.channels = {CHANNEL, SHOP}
    world.more["domains"] = ["example.com", GROUP]
    world.mail(a_report(1), a_report(2, domain="shop.example")).run()
    assert [text.split(":")[0] for text in slack.texts(SHOP)] == ["shop.example"]
    assert [text.split(":")[0] for text in slack.texts()] == ["example.com"]


def test_digests_and_summaries_go_by_channel(world: World, slack: SlackServer) -> None:
    slack.channels = {CHANNEL, SHOP}
    world.more["domains"] = ["example.com", GROUP]
    shop = [a_report(n, make_failing(messages=n), domain="shop.example") for n in range(1, 6)]
    world.mail(a_report(9), *shop).run(DAILY)
    digest, summary = slack.texts(SHOP)
    assert digest == "shop.example: 15 of 15 messages fail DMARC (100%), reported by Example Mail"
    assert "Shop" in summary
    assert "15 messages pass DMARC, 15 fail (5 reports from 1 reporter)" in summary
    alert, everything = slack.texts()
    assert alert.startswith("example.com: ")
    assert "26 messages pass DMARC, 16 fail" in everything
    assert {s for s in world.told() if s.startswith("run:")} == {"run:run-1", f"run:run-1@{SHOP}"}


def test_a_channel_that_slack_refuses_is_replaced_by_the_main_one(
    world: World, slack: SlackServer
) -> None:
    world.more["domains"] = ["example.com", GROUP]
    reports = [a_report(n, domain="shop.example") for n in (1, 2)]
    told = world.mail(*reports).run()
    assert len(slack.texts()) == 1
    assert len(told.warnings) == 1
    assert "C0SHOP: channel_not_found: check slack_channel" in told.warnings[0]


def test_a_schedule_may_have_a_channel_of_its_own(world: World, slack: SlackServer) -> None:
    slack.channels = {OTHER}
    own = Schedule(name="alerts", slack={"channel": OTHER})
    told = world.mail(a_report(1)).run(own)
    assert len(slack.texts(OTHER)) == 1
    assert told.channel == OTHER


def test_a_token_without_any_channel_is_a_mistake() -> None:
    settings = load_settings(slack_token=TOKEN)
    with pytest.raises(SettingsError, match="slack_channel is not"):
        check_slack(settings, DAILY)
    check_slack(settings, Schedule(name="alerts", slack={"channel": OTHER}))


# --- what a run says of itself


@pytest.mark.parametrize(
    ("when", "failing", "summaries"),
    [
        ("always", False, 1),
        ("findings", False, 0),
        ("failing", False, 0),
        ("failing", True, 1),
    ],
)
def test_a_schedule_says_when_a_summary_goes_out(
    world: World, slack: SlackServer, when: Any, failing: bool, summaries: int
) -> None:
    schedule = DAILY.model_copy(update={"slack": DAILY.slack.model_copy(update={"when": when})})
    told = world.mail(a_report(1) if failing else a_report(1, make_record())).run(schedule)
    assert len([t for t in slack.texts() if t.startswith("DMARC")]) == summaries
    assert told.open_findings == 0


def test_what_is_found_is_told_once_and_then_counted(world: World, slack: SlackServer) -> None:
    for number in range(12):
        world.broken(str(number))
    world.run(DAILY, minutes=15)
    assert "New or worse\n• " in posted(slack)
    told = world.run(DAILY, minutes=60)
    assert told.open_findings == 1
    assert "Nothing new; 1 finding still open. No reports received" in slack.texts()[-1]


def test_mails_that_other_jobs_could_not_read_are_in_the_summary(
    world: World, slack: SlackServer
) -> None:
    world.mail(a_report(1, make_record())).run(DAILY)
    world.broken("1").run(ALERTS, minutes=15)
    world.run(DAILY, minutes=30)
    assert "1 report email could not be read" in posted(slack)
    world.run(DAILY, minutes=45)
    assert "could not be read" not in posted(slack)


# --- failure and recovery


def test_a_failing_job_is_told_when_it_starts_then_once_a_day_and_when_it_ends(
    world: World, slack: SlackServer
) -> None:
    world.mail(a_report(1, make_record()))
    day = 24 * 60
    for minutes in (0, 1, day + 1, day + 2):
        world.fails(minutes=minutes)
    assert [t.split(":")[0] for t in slack.texts()] == ["Job alerts failed"] * 2
    shown = posted(slack)
    assert "check its name and the account (NoSuchBucket)" in shown
    assert "for 24 hours" in shown
    assert "dmarckit doctor" in shown
    world.run(DAILY, minutes=day + 5)
    assert "recovered" not in slack.texts()[-1], "another job"
    world.run(minutes=2 * day)
    assert slack.texts()[-1].startswith("Job alerts has recovered. It had been failing since ")
    assert slack.texts()[-1].endswith("UTC, for 2 days.")
    before = len(slack.posted)
    world.run(minutes=2 * day + 15)
    assert len(slack.posted) == before
    world.fails(minutes=2 * day + 20, since=2 * day + 20)
    assert len(slack.posted) == before + 1


def test_a_failure_of_the_lake_itself_is_told_once_a_day_all_the_same(
    world: World, slack: SlackServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world.more["lake"] = str(tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    for minutes in (0, 1, 24 * 60):
        told = world.fails(minutes=minutes)
    assert len(slack.posted) == 2
    assert "the outbox cannot be used" in told.warnings[0]


def test_a_failure_of_lake_and_machine_is_told_too(
    world: World, slack: SlackServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A full or read-only disk has no place for the mark that it was told."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    world.more["lake"] = str(tmp_path / "file")
    (tmp_path / "file").write_text("no folder")
    world.fails()
    assert len(slack.posted) == 1


# --- Slack is down, or refuses


def test_what_slack_cannot_take_waits_and_goes_out_in_order_with_its_age(
    world: World, slack: SlackServer
) -> None:
    slack.down = {CHANNEL}
    told = world.mail(a_report(1, make_failing(messages=3))).run(DAILY)
    assert (told.sent, told.waiting) == (0, 2)
    assert told.warnings == [
        "Slack is busy or down (ratelimited): try again in some minutes; messages for "
        f"{CHANNEL} wait in the outbox"
    ]
    assert len(slack.requests) == 1, "the others were not even tried"
    slack.down = set()
    told = world.mail(a_report(2, make_failing(messages=5))).run(minutes=5 * 60)
    assert (told.sent, told.waiting) == (3, 0)
    assert [text.split(",")[0][:17] for text in slack.texts()] == [
        "example.com: 3 of",
        slack.texts()[1].split(",")[0][:17],
        "example.com: 5 of",
    ]
    assert slack.texts()[1].startswith("DMARC · daily · ")
    assert posted(slack, 0).startswith("Sent 5 hours late (created ")
    assert "late" not in posted(slack, 2)
    assert world.run(minutes=6 * 60).sent == 0


def test_one_channel_that_is_down_holds_up_no_other(world: World, slack: SlackServer) -> None:
    slack.channels, slack.down = {CHANNEL, SHOP}, {SHOP}
    world.more["domains"] = ["example.com", GROUP]
    shop = [a_report(n, domain="shop.example") for n in (1, 2)]
    told = world.mail(*shop, a_report(3)).run()
    assert (told.sent, told.waiting) == (1, 1)
    assert len(slack.texts()) == 1


def test_a_refusal_is_said_kept_and_offered_again_for_a_week(
    world: World, slack: SlackServer
) -> None:
    slack.channels = set()
    told = world.mail(a_report(1), a_report(2, domain="other.example")).run()
    assert (told.sent, told.waiting, len(told.warnings)) == (0, 2, 1)
    assert f"{CHANNEL}: channel_not_found" in told.warnings[0]
    assert len(world.waits()) == 2
    slack.channels = {CHANNEL}
    assert world.run(minutes=6 * 24 * 60).sent == 2
    slack.channels = set()
    world.mail(a_report(3)).run()
    told = world.run(minutes=8 * 24 * 60)
    assert world.waits() == []
    assert any("is given up after 7 days" in warning for warning in told.warnings)


@pytest.mark.parametrize("kind", ["image", "table"])
def test_what_slack_does_not_take_is_posted_in_a_simpler_form(
    tmp_path: Path, slack: SlackServer, kind: str
) -> None:
    world = World(tmp_path / "home", slack, {"page_base_url": "https://pages.example"})
    world.more["exports_to"] = str(tmp_path / "exports")
    slack.refuses = {kind}
    reports = [a_report(n, reporter=f"Mail {n}") for n in range(5 if kind == "table" else 1)]
    told = world.mail(*reports).run()
    assert told.sent == 1
    assert told.waiting == 0
    if kind == "table":
        assert "Mail 4 · r-4 · " in posted(slack)


# --- without a token


def test_without_a_token_messages_are_saved_with_their_links(
    tmp_path: Path, slack: SlackServer
) -> None:
    world = World(tmp_path / "home", slack, {"slack_token": None})
    told = world.mail(a_report(1)).run(DAILY)
    saved = sorted((tmp_path / "home/slack").iterdir())
    assert [json.loads(path.read_text())["text"] for path in saved] == [
        message.text for message in told.messages
    ]
    assert told.saved == str(tmp_path / "home/slack")
    assert "file://" in saved[0].read_text()
    assert slack.requests == []
    assert world.run(minutes=15).sent == 0


# --- two at once


def test_two_runs_at_once_tell_each_report_once(world: World, slack: SlackServer) -> None:
    world.mail(*(a_report(n, domain=f"d{n}.example") for n in range(3)))
    runs = [world.begins(ALERTS), world.begins(DAILY.model_copy(update={"notebook": None}))]
    sent: list[int] = []
    threads = [
        threading.Thread(target=lambda tells=tells: sent.append(tells(NOW).sent)) for tells in runs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sent) == 3
    assert len(slack.posted) == 3


def test_who_does_not_get_to_tell_leaves_it_to_the_one_who_does(
    world: World, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.slack.outbox.LOCK_PAUSES", ())
    with outbox.delivery_lock(world.settings, "other", lambda: NOW):
        told = world.mail(a_report(1)).run(DAILY)
    assert (told.sent, told.waiting) == (0, 1)
    assert "another run is still sending messages" in told.warnings[0]
    told = world.run(minutes=15)
    assert told.sent == 2
    assert [text.split(",")[0][:5] for text in slack.texts()] == ["DMARC", "examp"]


def test_what_comes_in_while_a_run_tells_goes_out_with_it(
    world: World, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = outbox.post_message
    late = OutboxMessage(
        "run:other", CHANNEL, build_message("summary of another run", [section("text")])
    )

    def posting(*arguments: Any, **more: Any) -> str:
        queue_messages(world.lake, [late], "other", NOW)
        return real(*arguments, **more)

    monkeypatch.setattr(outbox, "post_message", posting)
    assert world.mail(a_report(1)).run().sent == 2
    assert slack.texts()[-1] == "summary of another run"


def test_no_link_is_in_a_table(world: World) -> None:
    world.slack.down = {CHANNEL}
    world.mail(a_report(1)).run(DAILY)
    kept = "".join(world.lake.sql("SELECT message FROM outbox")["message"])
    assert '"place": "exports"' in kept
    assert "://" not in kept


def test_the_lake_being_away_is_no_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LakeError("cannot write")

    world.mail(a_report(1))
    monkeypatch.setattr("dmarckit.slack.queue_messages", broken)
    with pytest.raises(LakeError):
        world.run()
    assert world.told() == set()
