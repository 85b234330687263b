"""The first hour: a stranger with the wheel and a bucket, and every example of the help."""

from __future__ import annotations

import os
import re
import shlex
import site
import subprocess
import sys
import venv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer.main
from playwright.sync_api import Browser

from dmarckit.cli.main import GROUPS, app
from dmarckit.cli.options import join_parameters
from dmarckit.core.storage import open_storage
from tests.cli.test_cli import shown_commands
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.command_line import run
from tests.support.model_builders import make_failing

ROOT = Path(__file__).parent.parent.parent


def recent_mail(days_ago: int) -> bytes:
    """An authentic mail with a report about a day: most of it is fine, some of it is not."""
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin -= timedelta(days=days_ago)
    records = make_record(messages=90), make_failing(messages=10)
    end = begin + timedelta(hours=24)
    report = make_report(*records, begin=begin, end=end, report_id=f"r{days_ago}")
    return make_mail(gz(report_xml(report)))


@pytest.mark.slow
@pytest.mark.s3
@pytest.mark.chromium
def test_a_stranger_has_the_first_page_after_four_commands(
    bucket: str, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 8):
        open_storage(f"{bucket}/rua").put(
            f"mail{day}", recent_mail(day), content_type="message/rfc822"
        )
    wheels, place, here = tmp_path / "wheels", tmp_path / "venv", tmp_path / "here"
    here.mkdir()
    monkeypatch.delenv("PYTHONPATH", raising=False)
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    venv.create(place, with_pip=True)
    (packages,) = place.glob("lib/python*/site-packages")
    # what dmarckit needs of others is here already, behind what is installed there
    own = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "others.pth").write_text("\n".join(own))
    browsed = tmp_path / "address"
    shower = tmp_path / "browser"
    shower.write_text(f'#!/bin/sh\nprintf %s "$1" > {browsed}\n')
    shower.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{shower} %s")

    def typed(*words: str, allowed: tuple[int, ...] = (0,)) -> str:
        environment = os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
        ran = subprocess.run(
            words, cwd=here, env=environment, capture_output=True, text=True, timeout=250
        )
        assert ran.returncode in allowed, ran.stdout + ran.stderr
        return ran.stdout

    typed("pip", "install", "-q", "--no-deps", "--force-reinstall", str(wheel))
    said = typed("dmarckit", "init", "--home", f"{bucket}/kit", "--mail", f"{bucket}/rua")
    assert "Written: dmarckit.toml" in said
    assert re.search(r"^ok +mails +7 objects", said, re.M)
    assert "dmarckit run daily" in said
    # 1: what the reports say needs somebody, which is no failure of the run
    said = typed("dmarckit", "run", "daily", allowed=(0, 1))
    assert re.search(r"^stored +7 ", said, re.M)
    typed("dmarckit", "open")
    tab = browser.new_page()
    tab.goto(browsed.read_text())
    assert tab.title().startswith("DMARC")
    assert tab.get_by_text("example.com").count()
    links = [link.get_attribute("href") for link in tab.locator("a[data-page][href]").all()]
    assert any("/domain/example.com/" in str(link) for link in links)
    for link in dict.fromkeys(links):
        answer = tab.request.get(str(link))
        assert (answer.status, "<title>" in answer.text()) == (200, True), link
    tab.close()


def examples() -> list[Any]:
    found = []
    for _typed, command in shown_commands():
        for line in re.findall(r"dmarckit [^\n]+", command.epilog or ""):
            found.append(pytest.param(line, id=line))
    return found


@pytest.mark.parametrize("line", examples())
def test_every_example_is_one_that_the_command_line_takes(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        if words[0] not in command.commands:
            break
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, join_parameters(words))


QUICK = {
    "doctor", "export", "findings", "ingest", "init", "maintain", "notebook", "parse",
    "requirements", "schedules list", "schema", "senders", "whatif", "help",
}  # fmt: skip


@pytest.mark.parametrize("line", [e for e in examples() if any(
    e.values[0].startswith(f"dmarckit {name}") for name in QUICK
) and "s3://" not in e.values[0] and "doctor" not in e.values[0]])  # fmt: skip
def test_an_example_does_what_it_says(line: str, tmp_path: Path) -> None:
    (tmp_path / "home/mail").mkdir(parents=True)
    (tmp_path / "home/mail/one").write_bytes(recent_mail(2))
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/one.eml").write_bytes(recent_mail(2))
    settings = {"home": str(tmp_path / "home")}
    assert run("ingest", **settings).status == 0
    spf = ("--spf", "postwagon.example")
    run("senders", "declare", "Postwagon", "-d", "example.com", *spf, **settings)
    ended = run(*shlex.split(line)[1:], **settings)
    assert ended.status in (0, 1), ended.err
    assert not ended.err.startswith("dmarckit: ")


def test_help_lists_each_command_once_in_its_group() -> None:
    out = run("--help").out
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    places = [out.index(f"{title}:") for title in GROUPS]
    assert places == sorted(places)
    for name in listed:
        assert len(re.findall(rf"^  {name} ", out, re.M)) == 1
    assert "--install-completion" in out
