"""A run dies anywhere while it tells: the next one loses nothing, and repeats one message at
most. A table that cannot be written repeats none."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import deltalake
import pytest

from dmarckit.core.errors import DmarckitError
from dmarckit.core.lease import Lease
from dmarckit.jobs.run import run_job
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake.write import Writer
from dmarckit.slack import outbox
from tests.support.slack_server import SlackServer, slack_server
from tests.support.telling import ALERTS, DAILY, NOW, World, a_report

pytestmark = pytest.mark.usefixtures("undrawn_charts")

STEPS = {"alerts": 9, "digest": 8}
"""writes to the lake and posts of a run that tells two alerts, or a digest, and its summary"""
CASES = [("alerts", n) for n in range(STEPS["alerts"])] + [("digest", n) for n in (2, 3, 4)]
"""the run is killed after this step: before it is after the one before it"""


LATER = NOW + timedelta(minutes=60)
"""after the mails came in"""


class Crash(BaseException):
    """The process is killed."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with failing reports and a mail that cannot be read, all of them in the lake."""
    home: Path = tmp_path_factory.mktemp("crashes") / "home"
    with slack_server() as slack:
        world = World(home, slack)
        world.mail(a_report(1), a_report(2, domain="other.example")).broken("3").begins()
    return home


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


class Steps:
    """Notes what a run does to the world, and kills it after one of these steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.done: list[str] = []
        self.at = at
        self._watch(monkeypatch, Writer, "append_new", lambda arguments: arguments[1])
        self._watch(monkeypatch, outbox, "post_message", lambda _: "post")

    def _watch(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, label: Callable[[Any], str]
    ) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **more: Any) -> Any:
            result = real(*arguments, **more)
            self.done.append(label(arguments))
            if len(self.done) == self.at + 1:
                raise Crash
            return result

        patch.setattr(owner, name, watched)


def schedule(kind: str) -> Schedule:
    return DAILY.model_copy(update={"alerts": 1 if kind == "digest" else 5})


@pytest.mark.parametrize("kind", STEPS)
def test_these_are_all_the_steps(
    filled: Path, tmp_path: Path, slack: SlackServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shutil.copytree(filled, tmp_path / "home")
    world = World(tmp_path / "home", slack)
    steps = Steps(monkeypatch, at=-1)
    world.begins(schedule(kind))(now=LATER)
    assert len(steps.done) == STEPS[kind], steps.done
    assert steps.done[:3] == ["outbox", "findings", "outbox"]


@pytest.mark.parametrize(("kind", "step"), CASES)
def test_after_a_crash_nothing_is_lost_and_one_message_repeated_at_most(
    filled: Path,
    tmp_path: Path,
    slack: SlackServer,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    step: int,
) -> None:
    shutil.copytree(filled, tmp_path / "home")
    world = World(tmp_path / "home", slack)
    with monkeypatch.context() as patch:
        tells = world.begins(schedule(kind))
        Steps(patch, step)
        patch.setattr(Lease, "release", lambda _: None)  # who is killed releases nothing
        with pytest.raises(Crash):
            tells(now=LATER)
    told = world.run(schedule(kind), minutes=75)
    assert told.waiting == 0
    assert world.waits() == []
    heard = Counter(matters(slack))
    expected = {"example.com", "other.example"} if kind == "alerts" else {"digest"}
    assert set(heard) == {*expected, "news"}
    assert sum(heard.values()) <= len(heard) + 1, heard


def matters(slack: SlackServer) -> Iterator[str]:
    """What the messages were about: a report, the digest, news in a summary."""
    for body, text in zip(slack.posted, slack.texts(), strict=True):
        if "New or worse" in str(body["blocks"]):
            yield "news"
        elif "with failing messages" in text:
            yield "digest"
        elif found := re.match(r"(.+?): \d+ of", text):
            yield found[1]


# --- the note that a message went out cannot be written


class ReadOnly:
    """The table `alerts` takes nothing: its commits number `at` and later, `times` of them."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int = 0, times: int = 10**6) -> None:
        self.refused, self.open = 0, False
        self._at, self._times, self._real = at, times, deltalake.write_deltalake
        patch.setattr(deltalake, "write_deltalake", self._write)
        patch.setattr(outbox, "NOTE_PAUSES", (0.0, 0.0, 0.0))

    def _write(self, table: Any, *arguments: Any, **more: Any) -> None:
        if "/alerts" in str(table.table_uri) and not self.open:
            self._at -= 1
            if self._at < 0 and self.refused < self._times:
                self.refused += 1
                raise OSError("Generic S3 error: AccessDenied")
        self._real(table, *arguments, **more)


def slot(world: World, number: int, day: int = 0) -> None:
    """A run of the schedule in the morning, with all its tries; it may fail."""
    moment = NOW + timedelta(days=day, minutes=15 * number)
    try:
        run_job(world.settings, ALERTS, slot=moment, clock=lambda: moment, sleep=lambda _: None)
    except DmarckitError as error:
        assert "alerts" in str(error)  # noqa: PT017 - or it passes


@pytest.mark.parametrize("commits", [0, 1, 2], ids=["at once", "after the probe", "between two"])
def test_what_went_out_is_not_posted_again_when_that_cannot_be_recorded(
    filled: Path,
    tmp_path: Path,
    slack: SlackServer,
    monkeypatch: pytest.MonkeyPatch,
    commits: int,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shutil.copytree(filled, tmp_path / "home")
    world = World(tmp_path / "home", slack)
    table = ReadOnly(monkeypatch, at=commits)
    for number in range(5):
        slot(world, number)
    assert len(alerts_of(slack)) == commits
    failures = [text for text in slack.texts() if text.startswith("Job alerts failed")]
    assert len(failures) == 1, "once a day"
    slot(world, 0, day=1)
    assert len(slack.posted) == commits + 2
    table.open = True
    slot(world, 1, day=1)
    assert sorted(alerts_of(slack)) == ["example.com", "other.example"], "each once"
    assert sum("has recovered" in text for text in slack.texts()) == 1
    slot(world, 2, day=1)
    assert len(slack.posted) == 2 + 2 + 1
    assert world.waits() == []


def test_a_note_that_fails_for_a_moment_is_tried_again_alone(
    filled: Path, tmp_path: Path, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled, tmp_path / "home")
    world = World(tmp_path / "home", slack)
    table = ReadOnly(monkeypatch, at=1, times=3)
    slot(world, 0)
    assert table.refused == 3
    assert sorted(alerts_of(slack)) == ["example.com", "other.example"]
    assert len(slack.posted) == 2
    assert not list((tmp_path / "home").glob("sent/*"))


def alerts_of(slack: SlackServer) -> list[str]:
    """The domains that alerts were about."""
    return [found[1] for text in slack.texts() if (found := re.match(r"(\S+): \d+ of", text))]
