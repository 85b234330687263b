"""`dmarckit demo`, as its first user sees it, and the wheel without the checkout."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from dmarckit import demo as company
from dmarckit.cli import demo
from dmarckit.demo.server import available
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing

ROOT = Path(__file__).parent.parent.parent
PAGE = Path("dmarckit-demo/overview.html")


def test_the_demo_goes_from_mails_to_a_page_and_messages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_SLACK_TOKEN", "xoxb-of-the-user")
    monkeypatch.setenv("AWS_PROFILE", "of-the-user")
    demo.run_demo(mails=None, keep=False, out=Path("dmarckit-demo"))
    said = capsys.readouterr().out
    for outcome in ("stored", "duplicate", "untrusted", "not_a_report", "unreadable"):
        assert re.search(rf"^{outcome} +[\d,]+ ", said, re.MULTILINE), outcome
    assert "dmarckit-demo/overview.html" in said
    assert "messages pass" in said
    assert "A mail arrives" in said
    assert ": report as CSV" in said  # its alert
    assert "What to try next" in said
    page = PAGE.read_text("utf-8")
    assert "Gmail users marked" in page
    assert "no forward-confirmed PTR" in page
    assert os.environ["AWS_PROFILE"] == "of-the-user"
    assert "xoxb-of-the-user" not in said + page


def test_the_demo_on_the_users_own_files_without_a_server_for_this_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(company, "available", lambda: False)
    Path("own/2026").mkdir(parents=True)
    report = make_report(make_record(messages=7), make_failing(messages=1))
    Path("own/2026/report.xml").write_bytes(report_xml(report))
    Path("own/mail.eml").write_bytes(make_mail(gz(report_xml(report)), dmarc="none"))
    Path("own/broken.xml.gz").write_bytes(gz(report_xml(report))[:-30])
    demo.run_demo(mails=Path("own"), keep=False, out=Path("out"))
    said = capsys.readouterr().out
    assert "pip install 'dmarckit[demo]'" in said
    assert "using a folder instead" in said
    assert re.search(r"unreadable: broken\.xml\.gz: \S+", said)
    assert re.search(r"^stored +1 ", said, re.MULTILINE)
    assert re.search(r"^duplicate +1 ", said, re.MULTILINE)
    assert "87.5% of 8 messages pass" in said
    assert "87.5" in Path("out/overview.html").read_text("utf-8")
    (link,) = re.findall(r"file://\S+overview/\S+\.html", said)
    assert Path(unquote(link.removeprefix("file://"))).is_file(), "what it links to stays"


@pytest.mark.slow
@pytest.mark.s3
def test_what_keep_prints_opens_the_demo_in_another_terminal() -> None:
    Path("one.xml").write_bytes(report_xml(make_report(make_record(messages=7))))
    command = [sys.executable, "-m", "dmarckit", "demo", "--keep", "--mails", "one.xml"]
    demo_ = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert demo_.stdout is not None
        said = list(itertools.takewhile(lambda line: "Ctrl-C" not in line, demo_.stdout))
        exports = "".join(line for line in said if line.startswith("  export "))
        query = f"{sys.executable} -m dmarckit export 'SELECT messages FROM reports'"
        # none of this process's variables: what is printed is all that is needed
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("DMARCKIT_", "AWS_"))}
        there = subprocess.run(
            ["sh", "-c", f"{exports}\n{query}"], env=clean, capture_output=True, text=True
        )
        assert there.stdout.split() == ["messages", "7"], there.stderr
    finally:
        demo_.send_signal(signal.SIGINT)
        demo_.communicate(timeout=60)
    assert demo_.returncode == 0


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    """What it needs of others is here already; all of its own must be in the wheel."""
    wheels, place, empty = tmp_path / "wheels", tmp_path / "place", tmp_path / "empty"
    empty.mkdir()
    build = ("-m", "build", "--no-isolation", "--wheel", "--outdir", str(wheels), str(ROOT))
    run(sys.executable, *build)
    (wheel,) = wheels.glob("*.whl")
    install = ("-m", "pip", "install", "-q", "--no-deps", "--target", str(place), str(wheel))
    run(sys.executable, *install)

    def dmarckit(*arguments: str, status: int = 0) -> str:
        command = (sys.executable, "-m", "dmarckit", *arguments)
        return run(*command, cwd=empty, status=status, path=place)

    where = run(
        sys.executable, "-c", "import dmarckit; print(dmarckit.__file__)", cwd=empty, path=place
    )
    assert str(place) in where
    report = empty / "one.xml"  # the demo's own mails are tested above
    report.write_bytes(report_xml(make_report(make_record())))
    said = dmarckit("demo", "--mails", str(report))
    assert (empty / PAGE).stat().st_size > 1_000_000
    assert ("Starting an S3 server" in said) == available()
    assert "notebook nope is not known" in dmarckit("page", "nope", status=2)
    assert "daily" in dmarckit("run", "nope", status=2)
    for topic in ("settings", "schedules", "notebooks", "aws"):
        assert dmarckit("help", topic).startswith("# ")


def run(*command: str, cwd: Path | None = None, status: int = 0, path: Path | None = None) -> str:
    """What a command says; `path` is where Python looks for packages first."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    ran = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
