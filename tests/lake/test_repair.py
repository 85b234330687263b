"""A damaged lake: doctor sees it, `maintain --repair` mends it, and Slack tells no old news."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmarckit.cli.doctor import machine
from dmarckit.cli.doctor.command import CheckContext, CheckResult
from dmarckit.cli.main import app
from dmarckit.core.errors import StorageError
from dmarckit.core.storage import open_storage
from dmarckit.lake import marked_tables
from tests.support.builders import make_record
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support.telling import DAILY, World, a_report

REBUILT = ("mails", "reports", "records", "tls")


@pytest.fixture(scope="module")
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, slack: SlackServer) -> Path:
    """The home of an installation that has told all; its second ingest has its own files."""
    world = World(tmp_path_factory.mktemp("told") / "home", slack)
    world.mail(a_report(1), a_report(2, make_record(), domain="other.example")).run(DAILY)
    world.mail(a_report(3)).broken("r-4")
    mails = Path(world.home) / "mail"
    (mails / "z-again").write_bytes((mails / "m-r-2").read_bytes())
    world.run(DAILY, minutes=15)
    return Path(world.home)


@pytest.fixture
def world(tmp_path: Path, told: Path, slack: SlackServer, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy of that installation, which may be damaged."""
    world = World(shutil.copytree(told, tmp_path / "home"), slack, runs=2)
    for name, value in {
        "home": world.home,
        "trust": "any",
        "slack_token": TOKEN,
        "slack_channel": CHANNEL,
        "slack_url": slack.url,
    }.items():
        monkeypatch.setenv(f"DMARCKIT_{name.upper()}", str(value))
    return world


def doctor(world: World) -> CheckResult:
    return machine.tables(CheckContext(world.settings, clock=lambda: datetime.now(UTC)))


def repair(*more: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["maintain", "--repair", *more])
    assert done.exit_code == status, done.output
    return done.output


def content(world: World) -> dict[str, list[tuple[object, ...]]]:
    """The rows of the tables that mails bring back, but for the run that read them."""
    found = {}
    for name in REBUILT:
        rows = world.lake.arrow(f"SELECT * FROM {name}")
        rows = rows.drop_columns("run") if "run" in rows.column_names else rows
        found[name] = sorted(map(str, rows.to_pylist()))
    return found


def files(world: World, table: str) -> list[Path]:
    return sorted((Path(world.home) / "lake" / table).rglob("*.parquet"))


def take_away(world: World, table: str) -> None:
    files(world, table)[-1].unlink()


def cut_off(world: World, table: str) -> None:
    file = files(world, table)[0]
    file.write_bytes(file.read_bytes()[:-100])


def overwrite(world: World, table: str) -> None:
    for file in files(world, table):
        data = file.read_bytes()
        file.write_bytes(b"PAR1" + bytes(len(data) // 2) + data[4 + len(data) // 2 :])


def spoil_log(world: World, table: str) -> None:
    for entry in (Path(world.home) / "lake" / table / "_delta_log").glob("*"):
        entry.write_text("{")


def remove(world: World, table: str) -> None:
    shutil.rmtree(Path(world.home) / "lake" / table, ignore_errors=True)


@pytest.mark.parametrize(
    ("table", "harm"),
    [
        ("mails", take_away),
        ("mails", spoil_log),
        ("reports", cut_off),
        ("reports", remove),
        ("records", overwrite),
        ("records", spoil_log),
    ],
)
def test_what_the_mails_hold_comes_back(
    world: World, slack: SlackServer, table: str, harm: Callable[[World, str], None]
) -> None:
    before, told = content(world), len(slack.posted)
    assert doctor(world).status == "ok"
    harm(world, table)
    if harm is not remove:  # a table that never was is no damage
        result = doctor(world)
        assert result.status == "fail"
        assert table in result.message
        assert "maintain --repair" in result.fix
        assert f"{table}: would rebuild from the mails" in repair("--dry-run")
    repair()
    assert content(world) == before
    assert doctor(world).status == "ok"
    world.run(minutes=30)
    assert len(slack.posted) == told, "nothing of it is news"
    world.mail(a_report(5, reporter="Late Mail")).run(minutes=45)
    assert len(slack.posted) == told + 1


@pytest.mark.parametrize(
    ("table", "harm"),
    [
        ("alerts", take_away),
        ("alerts", spoil_log),
        ("alerts", remove),
        ("findings", take_away),
        ("runs", spoil_log),
    ],
)
def test_what_cannot_come_back_is_said_and_slack_tells_no_old_news(
    world: World, slack: SlackServer, table: str, harm: Callable[[World, str], None]
) -> None:
    before, told = content(world), len(slack.posted)
    harm(world, table)
    said = repair(status=0 if harm is remove else 1)
    assert (f"{table}: mend" in said) == (harm is not remove)
    assert ("cannot come back" in said) == (harm is not remove)
    assert doctor(world).status == "ok"
    assert content(world) == before
    world.run(DAILY, minutes=60)
    new = slack.texts()[told:]
    assert len(new) == 1, new
    assert "New or worse" not in str(slack.posted[-1]["blocks"])
    assert world.waits() == []


def test_a_repair_that_was_cut_off_goes_on_and_slack_tells_no_old_news(
    world: World, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, told = content(world), len(slack.posted)
    overwrite(world, "alerts")
    take_away(world, "records")

    def end(*_: object, **__: object) -> None:
        raise StorageError("the connection is gone")

    for step in ("dmarckit.ingest.ingest_mails", "dmarckit.jobs.record_old_news"):
        with monkeypatch.context() as patch:
            patch.setattr(step, end)
            done = CliRunner().invoke(app, ["maintain", "--repair"])
            assert isinstance(done.exception, StorageError)
    repair()
    assert content(world) == before
    world.run(DAILY, minutes=30)
    assert not [t for t in slack.texts()[told:] if "fail DMARC" in t]
    assert marked_tables(world.lake) == set()


def test_rows_whose_mails_are_gone_stay(world: World) -> None:
    before = content(world)
    mail = Path(world.home) / "mail"
    for path in mail.iterdir():
        if path.name != "m-r-3":
            path.unlink()
    take_away(world, "mails")
    said = repair()
    assert "rows kept whose mails are no longer in the storage" in said
    after = content(world)
    assert after["reports"] == before["reports"]
    assert after["records"] == before["records"]
    shutil.rmtree(mail)
    refused = CliRunner().invoke(app, ["maintain", "--repair"])
    assert refused.exit_code != 0
    assert content(world) == after, "without the mails nothing was begun"


def test_a_lake_that_was_deleted_is_made_again_in_silence(world: World, slack: SlackServer) -> None:
    before, told = content(world), len(slack.posted)
    shutil.rmtree(Path(world.home) / "lake")
    repair()
    assert content(world) == before
    world.run(DAILY, minutes=60)
    assert len(slack.posted) == told + 1
    assert "New or worse" not in str(slack.posted[-1]["blocks"])


@pytest.mark.s3
def test_a_lake_in_a_bucket_is_mended_too(
    bucket: str, slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", bucket)
    monkeypatch.setenv("DMARCKIT_TRUST", "any")
    world = World(bucket, slack)
    world.mail(a_report(1), a_report(2, make_record())).run()
    before, lake = content(world), open_storage(world.settings.lake_url)
    for table in ("records", "alerts"):
        key = max(item.key for item in lake.list(f"{table}/month"))
        lake.delete(key)
    lake.put("reports/_delta_log/00000000000000000001.json", b"{", content_type="text/plain")
    assert doctor(world).status == "fail"
    assert "alerts: mend" in repair(status=1)
    assert content(world) == before
    assert doctor(world).status == "ok"
    assert world.run(minutes=15).sent == 0
