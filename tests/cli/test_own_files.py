"""What commands write for their user: settings, copies of notebooks, exported files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import typer
from pyarrow import parquet

from dmarckit.cli import init as init_command
from dmarckit.cli.lab import copy_states, prepare_copies
from dmarckit.core import settings as core_settings
from dmarckit.core.storage import open_storage
from dmarckit.pages.publish import load_page
from tests.support import frames
from tests.support.command_line import run

NOW = "2026-11-24T09:00:00Z"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the notebooks that come with dmarckit: name → text of its one cell."""
    place = tmp_path / "package/_shipped/notebooks"
    place.mkdir(parents=True)
    (place.parent.parent / "core").mkdir()
    monkeypatch.setattr(
        core_settings, "__file__", str(place.parent.parent / "core" / "settings.py")
    )

    def set_(**cells: str) -> None:
        for name, text in cells.items():
            write(place / f"{name}.ipynb", text)

    return set_


def write(path: Path, text: str, **metadata: Any) -> None:
    cell = {"cell_type": "code", "source": text.splitlines(keepends=True), "outputs": []}
    cell |= {"metadata": metadata, "execution_count": metadata.get("count")}
    path.write_text(json.dumps({"cells": [cell], "metadata": metadata, "nbformat": 4}))


def test_the_lab_works_on_copies_and_says_so(
    shipped: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    shipped(overview="days = 30", domain="x = 1")
    prepare_copies()
    assert "Copied in ./notebooks: domain, overview" in capsys.readouterr().err
    write(Path("notebooks/overview.ipynb"), "days = 7")
    prepare_copies()
    assert capsys.readouterr().err == ""
    assert copy_states() == {"domain": "same", "overview": "changed"}
    assert "days = 7" in Path("notebooks/overview.ipynb").read_text()


def test_of_a_newer_notebook_an_unchanged_copy_is_replaced_and_a_changed_one_compared(
    shipped: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    shipped(overview="days = 30\nshow()", domain="x = 1", tls="y = 1")
    prepare_copies()
    write(Path("notebooks/overview.ipynb"), "days = 7\nshow()", count=5)
    write(Path("notebooks/domain.ipynb"), "x = 1", count=5)  # only run, not changed
    shipped(overview="days = 30\nshow()\nnew()", domain="x = 2")
    capsys.readouterr()
    assert copy_states() == {"domain": "old", "overview": "behind", "tls": "same"}
    prepare_copies()
    said = capsys.readouterr().err
    assert "Replaced by newer ones, since unchanged in ./notebooks: domain" in said
    assert "A newer overview came with dmarckit" in said
    assert "  -days = 7\n" in said
    assert "  +new()\n" in said
    assert "dmarckit notebook copy overview --force" in said
    assert "days = 7" in Path("notebooks/overview.ipynb").read_text()
    assert run("notebook", "copy", "overview").status == 2
    assert run("notebook", "copy", "overview", "--force").status == 0
    assert set(copy_states().values()) == {"same"}


def test_a_folder_that_cannot_be_written_is_one_line(shipped: Callable[..., None]) -> None:
    shipped(overview="x")
    Path("notebooks").write_text("a file")
    assert (
        run("notebook", "copy", "overview").err == "dmarckit: cannot use notebooks: File exists\n"
    )
    assert "did you mean overview?" in run("notebook", "copy", "overwiev").err


def test_sigterm_ends_jupyterlab_and_its_temporary_folder(tmp_path: Path) -> None:
    child, temporary = tmp_path / "child", tmp_path / "tmp"
    temporary.mkdir()
    waits = f"import os, time; open({str(child)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    code = (
        "import sys; from dmarckit import demo, ingest; from dmarckit.cli import lab\n"
        "demo.demo_mails = lambda _: []\n"
        "ingest.ingest_mails = lambda *_, **__: None\n"
        "demo.fill_outside_tables = lambda *_: None\n"
        f"lab.lab_command = lambda *_: [sys.executable, '-c', {waits!r}]\n"
        "sys.exit(lab.run_lab([]))"
    )
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=tmp_path)
    end = time.monotonic() + 100
    while not (child.exists() and child.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    assert list(temporary.glob("dmarckit-lab-*"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not list(temporary.glob("dmarckit-lab-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)


@pytest.fixture
def no_doctor(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings that the doctor was asked about, who finds nothing."""
    seen: list[Any] = []
    monkeypatch.setattr(init_command, "print_checks", lambda loaded: seen.append(loaded) or 0)
    return seen


def test_init_writes_settings_with_comments_and_tries_them(no_doctor: list[Any]) -> None:
    places = ("--home", "./kit", "--mail", "./rua \u201cnew\u201d")
    ended = run("init", *places, "-d", "example.com", "-d", "example.org")
    assert ended.status == 0, ended.err
    assert "dmarckit run daily" in ended.out
    text = Path("dmarckit.toml").read_text("utf-8")
    said = tomllib.loads(text)
    assert said == {
        "home": "./kit",
        "mail": "./rua \u201cnew\u201d",
        "domains": ["example.com", "example.org"],
    }
    assert '# slack_channel = "C0123456789"' in text
    assert "Made: rua \u201cnew\u201d, a folder for report mails" in ended.out
    assert Path("rua \u201cnew\u201d").is_dir()
    assert [settings.home for settings in no_doctor] == ["./kit"]
    again = run("init", *places)
    assert (again.status, "is there already" in again.err) == (2, True)
    assert run("init", "--home", "./other", "--force").status == 0
    assert tomllib.loads(Path("dmarckit.toml").read_text()) == {"home": "./other"}


@pytest.mark.usefixtures("no_doctor")
def test_init_leaves_no_settings_that_do_not_load() -> None:
    ended = run("init", "--home", "s3://b/kit", "--mail", "s3://b")
    assert (ended.status, ended.err) == (
        2,
        "dmarckit: setting mail: it holds the lake (s3://b/kit/lake); mails need a place of their "
        "own\n",
    )
    assert not Path("dmarckit.toml").exists()


def test_init_asks_on_a_terminal_for_what_no_option_gives(
    no_doctor: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(
        [
            "s3://example-dmarc",  # mails among the tables: asked again
            "s3://example-dmarc/rua",
            "example.com, example.org",
            "",
            "ops",
            "ops@example.com, dns@example.com",
        ]
    )

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    with pytest.raises(typer.Exit) as ended:
        init_command.init(home="s3://example-dmarc/kit")
    assert ended.value.exit_code == 0
    assert tomllib.loads(Path("dmarckit.toml").read_text()) == {
        "home": "s3://example-dmarc/kit",
        "mail": "s3://example-dmarc/rua",
        "domains": ["example.com", "example.org"],
        "mail_to": ["ops@example.com", "dns@example.com"],
    }
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in said] == [
        "setting mail: it holds the lake (s3://example-dmarc/kit/lake)",
        "setting mail_to.0: 'ops': give an address like ops@example.com (a domain in its ASCII "
        "form)",
    ]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("export")
    frames.fill(home, *frames.lake(days=12, domains=2, reporters=2))
    return {"home": str(home)}


def test_a_table_is_exported_as_csv_parquet_and_excel(settings: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(run("export", "reports", **settings).out)))
    assert len(rows) > 20
    for name in ("r.csv", "r.parquet", "r.xlsx"):
        ended = run("export", "reports", "--to", name, **settings)
        assert (ended.status, ended.out) == (0, f"{len(rows)} rows in {name}\n"), ended.err
    assert list(csv.DictReader(io.StringIO(Path("r.csv").read_text("utf-8")))) == rows
    table = parquet.read_table("r.parquet")
    assert table.column("report_uid").to_pylist() == [row["report_uid"] for row in rows]
    assert str(table.schema.field("begin").type).startswith("timestamp")
    assert sorted(path.name for path in Path().glob("*r.*")) == ["r.csv", "r.parquet", "r.xlsx"]


def test_findings_senders_and_queries_are_exported(settings: dict[str, Any]) -> None:
    asked = ("--now", NOW, "--days", "10")
    for what in ("findings", "senders"):
        shown = json.loads(run(what, *asked, "--format", "json", **settings).out)
        ended = run("export", what, *asked, "--to", "x.parquet", **settings)
        assert ended.status == 0, ended.err
        assert parquet.read_table("x.parquet").num_rows == len(shown) > 0
    query = "SELECT domain, sum(messages)::BIGINT AS n FROM records GROUP BY 1 ORDER BY 1"
    assert run("export", query, **settings).out.startswith("domain,n\r\n")
    counted = run("export", "SELECT count(*) AS n FROM messages", **settings)
    assert counted.status == 0, counted.err


def test_what_is_exported_runs_in_no_spreadsheet(tmp_path: Path) -> None:
    evil = {"reporter": "=HYPERLINK(1)", "report_uid": "u"}
    frames.fill(tmp_path, frames.records(evil), frames.reports(evil), frames.mails())
    query = "SELECT reporter, -1 AS n FROM reports"
    assert run("export", query, home=str(tmp_path)).out == "reporter,n\r\n'=HYPERLINK(1),-1\r\n"
    assert run("export", query, "--to", "x.xlsx", home=str(tmp_path)).status == 0
    import zipfile

    with zipfile.ZipFile("x.xlsx") as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "=HYPERLINK(1)" in sheet


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recrods"], "the table recrods is not known; did you mean records?"),
        (
            ["SELECT * FROM nothing"],
            "failed: Catalog Error: Table with name nothing does not exist! ",
        ),
        (["SELEC x"], 'syntax error at or near "SELEC"\n'),
        (["records", "--days", "3"], "--days and --domain are for findings and senders"),
        (["records", "--to", "x.doc"], "--to x.doc: the file ends in .csv, .parquet, .xlsx"),
        (["records", "--to", "away/x.csv"], "cannot write away/x.csv: No such file"),
        (["records", "--domain", "example.com"], "are for findings and senders: write a query"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    settings: dict[str, Any], arguments: list[str], said: str
) -> None:
    ended = run("export", *arguments, **settings)
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    assert said in ended.err
    assert not list(Path().glob(".*part"))


def test_open_shows_the_newest_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"home": str(tmp_path)}
    assert "no page in" in run("open", **settings).err
    for number, key in enumerate(
        ("overview/2026-11-22", "overview/2026-11-23", "domain/a.example/2026-11-24")
    ):
        page = tmp_path / "pages" / f"{key}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<html>")
        os.utime(page, (number, number))
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(shown.append(url)) or True)
    assert run("open", **settings).status == 0
    assert shown == [(tmp_path / "pages/overview/2026-11-23.html").as_uri()]
    printed = run("open", "domain/a.example", "--print", **settings).out.strip()
    assert printed == (tmp_path / "pages/domain/a.example/2026-11-24.html").as_uri()
    assert len(shown) == 1
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert run("open", **settings).out.strip() == shown[0], "no browser here: it is printed"
    assert "did you mean domain?" in run("open", "domian", **settings).err


@pytest.mark.s3
@pytest.mark.parametrize(("age", "renewed"), [(timedelta(days=6), True), (timedelta(1), False)])
def test_a_page_whose_links_end_soon_is_opened_with_new_ones(
    bucket: str, monkeypatch: pytest.MonkeyPatch, age: timedelta, renewed: bool
) -> None:
    stored = open_storage(f"{bucket}/pages")
    link = '<a data-page="domain?domain=a.example" href="https://s3.example/ended">a.example</a>'
    for key in ("overview/2026-11-23.html", "domain/a.example/2026-11-22.html"):
        stored.put(key, gzip.compress(link.encode()), content_type="text/html")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return cls.fromtimestamp((datetime.now(tz) + age).timestamp(), tz)

    monkeypatch.setattr("dmarckit.cli.pages.datetime", Later)
    opened = run("open", "--print", home=bucket).out.strip()
    with urllib.request.urlopen(opened) as answer:
        page = gzip.decompress(answer.read()).decode()
    assert ("s3.example/ended" not in page) == renewed
    if renewed:
        with urllib.request.urlopen(unescape(page.split('href="')[1].split('"')[0])) as answer:
            assert b"a.example" in gzip.decompress(answer.read())
        assert "overview/2026-11-23.html" in load_page(stored, "index.html")
