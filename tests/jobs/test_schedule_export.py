"""Schedules for other schedulers, each read by a real parser of what it takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from cronsim import CronSim

from dmarckit.jobs.export import (
    Place,
    calendar,
    cron_lines,
    eventbridge_cron,
    export_files,
    local_place,
)
from dmarckit.jobs.schedule import Schedule, load_schedules

PLACE = Place(
    program=("/opt/dmarc kit/bin/dmarckit", "--config", "/etc/dmarc 100%.toml"),
    folder=Path("/srv/dmarc reports"),
    variables={"AWS_REGION": "eu-west-1", "DMARCKIT_HOME": "s3://example-bucket/100%"},
    secrets=("DMARCKIT_SLACK_TOKEN",),
    user="dmarc",
    zone=UTC,
)
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def make_schedule(
    cron: str = "0 7 * * *", timezone: str = "Europe/Berlin", **more: Any
) -> Schedule:
    return Schedule(name="daily", cron=cron, timezone=timezone, notebook="overview", **more)


def lines_of(crontab: str) -> list[str]:
    return [line for line in crontab.splitlines() if line[:1] in "*0123456789" and line]


def test_every_line_of_the_crontab_is_one_for_cron() -> None:
    crontab = export_files("crontab", load_schedules(), PLACE)["crontab"]
    lines = lines_of(crontab)
    assert len(lines) == 5
    for line in lines:
        CronSim(" ".join(line.split()[:5]), NOW)
        assert "run " in line
        assert "--slot newest" in line
    assert 'AWS_REGION="eu-west-1"' in crontab.splitlines()
    assert crontab.count(r"100\%.toml") == 5  # cron takes a bare % for the end of the line


@pytest.mark.parametrize("clock", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "cron", ["0 7 * * *", "*/15 * * * *", "30 0 2 * *", "15 22 * * mon", "7,37 1-3 * * *"]
)
def test_by_another_clock_no_slot_of_a_year_is_missed(cron: str, zone: str, clock: str) -> None:
    schedule = make_schedule(cron, zone)
    assert schedule.times is not None
    lines = cron_lines(schedule.times, schedule.zone, ZoneInfo(clock), NOW)
    slots = set(schedule.next_slots(NOW, 400))
    until = max(slots)
    fired: set[datetime] = set()
    for line in lines:
        for moment in CronSim(line, NOW.astimezone(ZoneInfo(clock))):
            if moment > until:
                break
            fired.add(moment.astimezone(UTC))
    # at the hour that a clock change skips or repeats, a line may fire up to an hour later
    late = {s for s in slots - fired if not any(s < f <= s + timedelta(hours=1) for f in fired)}
    assert late == set()
    assert len(slots - fired) <= 8


def test_where_the_clock_is_the_schedules_own_the_line_is_as_written() -> None:
    for cron in ("0 7 * * *", "*/15 * * * *", "0 9 2 * *"):
        times = make_schedule(cron).times
        assert times is not None
        assert cron_lines(times, ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Berlin"), NOW) == [
            cron
        ]


def test_the_shell_line_runs_in_the_folder_with_the_secrets_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    program = folder / "a program"
    program.write_text('#!/bin/sh\necho "$PWD|$*|$DMARCKIT_SLACK_TOKEN"\n')
    program.chmod(0o755)
    (folder / "dmarckit.env").write_text("DMARCKIT_SLACK_TOKEN=not-a-token\n")
    place = Place((str(program),), folder, {}, (), "dmarc", UTC)
    said = subprocess.run(
        ["/bin/sh", "-c", place.shell_line("daily")], check=True, capture_output=True, text=True
    )
    assert said.stdout == f"{folder}|run daily --slot newest|not-a-token\n"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the PATH")
    program = tmp_path / "dmarc kit"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    place = Place((str(program),), tmp_path, PLACE.variables, (), "root", UTC)
    files = export_files("systemd", load_schedules(), place)
    assert len(files) == 10
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in files]
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in said.stderr.splitlines() if "dmarckit" in line]
    assert ours == []


def test_a_unit_may_write_its_folder_and_its_stores_and_gain_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = tmp_path.parent / "the store"
    (tmp_path / "dmarckit.toml").write_text(f'home = "{store}"\nmail = "s3://example-mails/rua"\n')
    text = export_files("systemd", load_schedules(), local_place({}))["dmarckit-daily.service"]
    for line in ("PrivateTmp=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryMax=4G"):
        assert f"\n{line}\n" in text
    writable = [line for line in text.splitlines() if line.startswith("ReadWritePaths=")]
    assert writable[0] == f"ReadWritePaths=-{tmp_path}"
    assert f'ReadWritePaths="-{store}"' in writable
    assert "s3://" not in "".join(writable)
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the PATH")
    (tmp_path / "dmarckit-daily.service").write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager",
         str(tmp_path / "dmarckit-daily.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("cron", ["0 7 * * *", "*/15 * * * *", "0 9 2 * *", "5 8 * 1,7 mon-fri"])
def test_systemd_means_the_same_times(cron: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the PATH")
    schedule = make_schedule(cron)
    said = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            "--iterations=3",
            f"--base-time={NOW:%Y-%m-%d %H:%M:%S} UTC",
            calendar(schedule),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout
    found = [line.split("UTC")[0].split()[-2:] for line in said.splitlines() if "UTC" in line]
    times = [datetime.fromisoformat(" ".join(words)).replace(tzinfo=UTC) for words in found]
    assert times[-3:] == schedule.next_slots(NOW, 3)


def test_cloudformation_takes_the_template(tmp_path: Path) -> None:
    (text,) = export_files("eventbridge", load_schedules(), PLACE).values()
    file = tmp_path / "schedules.yaml"
    file.write_text(text)
    said = subprocess.run(
        [str(Path(sys.executable).parent / "cfn-lint"), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout + said.stderr == ""
    template = yaml.safe_load(text)
    daily = template["Resources"]["RunDaily"]["Properties"]
    assert daily["ScheduleExpression"] == "cron(0 7 * * ? *)"
    assert daily["ScheduleExpressionTimezone"] == "UTC"
    assert "<aws.scheduler.scheduled-time>" in daily["Target"]["Input"]["Fn::Sub"]


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("*/15 * * * *", "cron(0,15,30,45 * * * ? *)"),
        ("0 9 2 * *", "cron(0 9 2 * ? *)"),
        ("0 8 * * 0,6", "cron(0 8 ? * SUN,SAT *)"),
        ("5 8 * jan mon", "cron(5 8 ? 1 MON *)"),
    ],
)
def test_eventbridge_has_its_own_way_of_writing_cron(cron: str, said: str) -> None:
    times = make_schedule(cron).times
    assert times is not None
    assert eventbridge_cron(times) == said


def test_github_runs_at_both_hours_that_a_slot_has_in_utc() -> None:
    (text,) = export_files("github", [make_schedule(owner="mail\nteam")], PLACE).values()
    workflow = yaml.safe_load(text)
    assert [entry["cron"] for entry in workflow["on"]["schedule"]] == ["0 5 * * *", "0 6 * * *"]
    assert "only one run does something" in text
    job = workflow["jobs"]["run"]
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert set(job) == {"runs-on", "timeout-minutes", "env", "steps"}
    assert job["env"]["DMARCKIT_SLACK_TOKEN"] == "${{ secrets.DMARCKIT_SLACK_TOKEN }}"
    assert job["timeout-minutes"] == 62


@pytest.mark.parametrize(("status", "is_fine"), [(0, True), (1, True), (2, False)])
def test_a_workflow_fails_when_a_run_could_not_run_not_when_it_found_something(
    status: int, is_fine: bool, tmp_path: Path
) -> None:
    program = tmp_path / "dmarckit"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    place = replace(PLACE, program=(str(program),), folder=tmp_path)
    (text,) = export_files("github", [make_schedule()], place).values()
    (step,) = yaml.safe_load(text)["jobs"]["run"]["steps"]
    ended = subprocess.run(["/bin/sh", "-ec", step["run"]], check=False)
    assert (ended.returncode == 0) == is_fine
    elsewhere = replace(place, folder=tmp_path / "missing")
    (text,) = export_files("github", [make_schedule()], elsewhere).values()
    (step,) = yaml.safe_load(text)["jobs"]["run"]["steps"]
    lost = subprocess.run(["/bin/sh", "-ec", step["run"]], check=False, capture_output=True)
    assert lost.returncode


def test_secrets_are_named_and_never_written() -> None:
    place = local_place(
        {
            "DMARCKIT_SLACK_TOKEN": "xoxb-secret-value",
            "AWS_SECRET_ACCESS_KEY": "secret-value",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "DMARCKIT_SLACK_TOKEN_FILE": "/run/secrets/slack",
            "DMARCKIT_PAGE_BASE_URL": "https://user:secret-value@pages.example",
            "DMARCKIT_CONFIG": "dmarc.toml",
            "AWS_REGION": "eu-west-1",
            "OTHER": "secret-value",
        }
    )
    assert set(place.variables) == {"AWS_REGION", "DMARCKIT_SLACK_TOKEN_FILE"}
    assert place.program[-2:] == ("--config", str(Path("dmarc.toml").absolute()))
    assert Path(place.program[0]).is_absolute()
    for target in ("crontab", "systemd", "eventbridge", "github"):
        text = "".join(export_files(target, load_schedules(), place).values())
        assert "secret-value" not in text
        assert "AKIDEXAMPLE" not in text
