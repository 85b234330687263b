"""The commands as a person types them: output, exit status, errors of one line."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.main import get_command

from dmarckit import __version__, pages
from dmarckit.cli.main import app, main
from dmarckit.cli.options import parameter_values
from dmarckit.cli.output import print_outcomes
from dmarckit.core.settings import load_settings
from dmarckit.core.storage import open_storage
from dmarckit.ingest.commit import IngestResult
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.jobs.record import Run, record_run
from dmarckit.lake.lake import Lake
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.model_builders import make_failing

REPORT = make_report(make_record(messages=3), make_failing(messages=2))


def mail(**more: Any) -> bytes:
    return make_mail(gz(report_xml(REPORT)), **more)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line; its exit status, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dmarckit", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        code = end.value.code
        return (code if isinstance(code, int) else 0), said.out, said.err

    return run


def error_of(err: str) -> str:
    """The one error on stderr: a line of its own, or of the log of a command that works."""
    *before, last = err.splitlines()
    assert all(json.loads(line)["level"] == "info" for line in before)
    if last.startswith("{"):
        return str(json.loads(last)["message"])
    assert last.startswith("dmarckit: ")
    return last


def test_parse_prints_one_json_line_a_report(run: Any) -> None:
    Path("reports").mkdir()
    Path("reports/mail.eml").write_bytes(mail())
    status, out, _ = run("parse", "reports")
    (line,) = out.splitlines()
    report = json.loads(line)
    assert status == 0
    assert list(report)[:10] == [
        "kind",
        "file",
        "reporter",
        "report_id",
        "domain",
        "begin",
        "end",
        "policy",
        "records",
        "warnings",
    ]
    assert (report["kind"], report["file"]) == ("aggregate", "reports/mail.eml")
    assert report["begin"] == "2026-11-01T00:00:00Z"
    assert [record["messages"] for record in report["records"]] == [3, 2]
    assert [record["dkim_aligned"] for record in report["records"]] == [True, False]


def test_parse_goes_on_after_an_unreadable_file(run: Any) -> None:
    Path("a.xml").write_bytes(b"<feedback><report_metadata>")
    Path("b.xml").write_bytes(report_xml(REPORT))
    Path("c.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    status, out, err = run("parse", "a.xml", "b.xml", "c.png")
    kinds = [(line["kind"], line["file"]) for line in map(json.loads, out.splitlines())]
    assert kinds == [("error", "a.xml"), ("aggregate", "b.xml"), ("error", "c.png")]
    assert (status, err) == (1, "")


def test_parse_streams_a_report_with_very_many_records(run: Any) -> None:
    count = 20_001
    long = make_report(*(make_record(messages=i) for i in range(count)))
    Path("long.xml").write_bytes(report_xml(long))
    status, out, _ = run("parse", "long.xml")
    records = json.loads(out)["records"]
    assert status == 0
    assert [record["messages"] for record in records] == list(range(count))


def test_parse_as_csv_and_table(run: Any) -> None:
    Path("b.xml").write_bytes(report_xml(REPORT))
    _, out, _ = run("parse", "b.xml", "--format", "csv")
    assert out.splitlines()[0].startswith("email_provider,domain_policy,source_ip,email_volume")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["email_volume"], row["dmarc_pass"]) for row in rows] == [("3", "3"), ("2", "0")]
    assert {(row["reporter"], row["domain"], row["header_from"]) for row in rows} == {
        ("Example Mail", "example.com", "example.com")
    }
    assert rows[0]["begin"] == f"{REPORT.begin:%Y-%m-%dT%H:%M:%SZ}"
    _, out, _ = run("parse", "b.xml", "--format", "table")
    assert re.search(r"example\.com +Example Mail .* 2 +5 +2\s", out)
    _, out, _ = run("parse", "b.xml", "--format", "table", "--records")
    assert len(re.findall(r"example\.com +Example Mail .* 192\.0\.2\.\d+ +example\.com ", out)) == 2
    status, _, errors = run("parse", "b.xml", "--records")
    assert status == 2
    assert "--format table" in errors


def test_ingest_ends_with_a_table_of_outcomes_and_the_reasons(run: Any) -> None:
    folder = Path("dmarckit-data/mail")
    folder.mkdir(parents=True)
    (folder / "good").write_bytes(mail())
    (folder / "bad").write_bytes(make_mail(b"\x1f\x8b\x08broken"))
    status, out, _ = run("ingest")
    assert status == 1
    assert re.search(r"stored +1 ", out)
    assert re.search(r"unreadable +1 ", out)
    assert re.search(r"unreadable: bad: \S+", out)
    assert "1 new report with 2 records" in out
    assert run("ingest")[:2] == (0, "No new mails.\n")


def test_an_ingest_says_when_it_merged_small_files(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = Counter({"stored": 1})
    print_outcomes(IngestResult("run", outcomes, compacted=["mails", "records"]))
    assert "Small files were merged in: mails, records." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ingest"], r"folder .*dmarckit-data/mail does not exist; create it"),
        (["ingest", "--retry", "lost"], r"--retry lost: outcomes are stored, duplicate"),
        (["parse", "gone.xml"], r"no file or folder gone\.xml"),
        (["parse", ".", "--format", "yaml"], r"--format yaml: formats are jsonl, csv, table"),
        (["page", "overveiw"], r"overveiw is not known; did you mean overview\? There are: domain"),
        (["page", "overview", "-p", "dys", "7"], r"no parameter dys; it has: days, end, domains"),
        (["run", "nope"], r"no schedule 'nope'; there are: .*daily"),
        (["schema", "nope"], r"no table 'nope'; tables are mails, reports"),
        (["demo", "--mails", "gone"], r"--mails gone: no such file or folder"),
        (["--config", "gone.toml", "ingest"], r"cannot read settings file .*gone\.toml"),
    ],
)
def test_what_cannot_run_is_one_line_and_status_2(
    run: Any, arguments: list[str], said: str
) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert re.search(said, error_of(err)), err
    assert out == ""


@pytest.mark.s3
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DMARCKIT_HOME": "s3://no-such-bucket"}, "s3://no-such-bucket.*does not exist"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "AKIDWRONG"}, "the access key is unknown"),
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE names a profile that does not exist"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_line_and_status_2(
    run: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", bucket)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    status, _, err = run("ingest")
    assert status == 2
    assert re.search(said, error_of(err))


@pytest.fixture(scope="module")
def one_mail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home into which one report was read."""
    home = tmp_path_factory.mktemp("read") / "home"
    (home / "mail").mkdir(parents=True)
    (home / "mail" / "good").write_bytes(mail())
    ingest_mails(load_settings(home=str(home), trust="any"))
    return home


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["findings", "--domain", "exmaple.com"], "domain exmaple.com .*did you mean example.com"),
        (["findings", "-d", "example.com", "-d", "nope.test"], "nope.test is not known; there are"),
        (["senders", "-d", "news.example.com"], "did you mean example.com"),
        (["whatif", "example.org", "p=reject"], "did you mean example.com"),
        (["requirements", "-d", "exmaple.com"], "did you mean example.com"),
        (["page", "domain", "-p", "domain", "exmaple.com"], "did you mean example.com"),
        (["page", "sender", "-p", "domain", "exmaple.com"], "did you mean example.com"),
        (["page", "overview", "-p", "domains", "[exmaple.com]"], "did you mean example.com"),
        (
            ["page", "report", "-p", "report_uid", "zzz"],
            "report zzz is not known; there are: ",
        ),
    ],
)
def test_a_name_that_nothing_knows_is_not_believed(
    run: Any, one_mail: Path, arguments: list[str], said: str
) -> None:
    shutil.copytree(one_mail, "dmarckit-data")
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert re.search(said, error_of(err)), err
    assert not list(Path("dmarckit-data").glob("pages/**/*.html"))


def test_a_name_is_known_however_it_is_written(run: Any, one_mail: Path) -> None:
    shutil.copytree(one_mail, "dmarckit-data")
    assert run("findings", "--domain", "Example.COM.")[0] == 0


def test_a_page_about_one_domain_asks_which(run: Any) -> None:
    folder = Path("dmarckit-data/mail")
    folder.mkdir(parents=True)
    (folder / "good").write_bytes(mail())
    assert run("ingest")[0] == 0
    for notebook in ("domain", "sender"):
        status, _, err = run("page", notebook)
        assert status == 2
        assert "which domain? With their messages: example.com (5); write: " in error_of(err)
    assert not list(Path("dmarckit-data").glob("pages/**/*.html"))


def test_days_end_and_domain_are_options_of_a_page(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []

    def publish(_settings: Any, notebook: str, parameters: dict[str, Any]) -> SimpleNamespace:
        given.append({"notebook": notebook, **parameters})
        return SimpleNamespace(link="file:///x.html")

    monkeypatch.setattr(pages, "publish_notebook", publish)
    window = ("--days", "7", "--end", "2026-11-01")
    assert run("page", "overview", *window, "-d", "a.example", "-d", "b.example")[0] == 0
    assert run("page", "domain", *window, "-d", "a.example", "-p", "policy", "p=reject")[0] == 0
    seven = {"days": 7, "end": "2026-11-01"}
    assert given == [
        {"notebook": "overview", **seven, "domains": ["a.example", "b.example"]},
        {"notebook": "domain", "policy": "p=reject", **seven, "domain": "a.example"},
    ]
    for wrong, said in (
        (("report", "--days", "7"), "notebook report does not take days; its parameters: report_"),
        (("domain", "-d", "a.example", "-d", "b.example"), "does not take more than one domain"),
        (("overview", "--days", "7", "-p", "days", "9"), "days is given twice"),
        (("overview", "--end", "tomorrow"), "end is 'tomorrow': write the day as YYYY-MM-DD"),
        (("overview", "-p", "days"), "-p days: write -p NAME VALUE"),
    ):
        status, _, err = run("page", *wrong)
        assert (status, said in error_of(err)) == (2, True), err


def test_an_ingest_takes_only_what_is_selected(run: Any) -> None:
    folder = Path("dmarckit-data/mail/2026")
    folder.mkdir(parents=True)
    for day in (1, 2, 3):
        report = replace(REPORT, report_id=f"r{day}")
        (folder / f"m{day}").write_bytes(make_mail(gz(report_xml(report))))
        time = datetime(2026, 11, day, tzinfo=UTC).timestamp()
        os.utime(folder / f"m{day}", (time, time))
    assert "stored       1  " in run("ingest", "--since", "2026-11-02", "--until", "2026-11-03")[1]
    assert "stored       1  " in run("ingest", "--prefix", "2026/m1")[1]
    status, _, err = run("ingest", "--prefix", "2025/")
    assert (status, "has a key that begins with 2025/" in error_of(err)) == (2, True)
    assert "--since soon: write a time" in error_of(run("ingest", "--since", "soon")[2])
    status, _, err = run("ingest", "--since", "2026-11-03", "--until", "2026-11-02")
    assert (status, "2026-11-02 is not after --since" in error_of(err)) == (2, True)
    assert "stored       1  " in run("ingest")[1]


def test_any_name_is_right_while_nothing_is_known(run: Any) -> None:
    Path("dmarckit.toml").write_text('domains = ["soon.example"]')
    assert run("findings", "--domain", "soon.example")[0] == 0
    assert run("findings", "--domain", "sooner.example")[0] == 0


@pytest.mark.s3
def test_a_prefix_without_mails_names_those_beside_it(
    run: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", f"{bucket}/home")
    monkeypatch.setenv("DMARCKIT_MAIL", f"{bucket}/dmrac")
    monkeypatch.setenv("DMARCKIT_TRUST", "any")
    status, out, err = run("ingest")
    assert (status, out) == (0, "No new mails.\n")
    assert f"there is no object in {bucket}/dmrac" in err
    open_storage(f"{bucket}/dmarc").put("good", mail(), content_type="message/rfc822")
    status, _, err = run("ingest")
    assert status == 2
    assert re.search(r"dmrac/ is not known; did you mean s3://\S+/dmarc/\?", error_of(err))
    monkeypatch.setenv("DMARCKIT_MAIL", f"{bucket}/dmarc/")
    assert run("ingest")[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932"])
def test_a_terminal_that_is_not_utf_8_shows_replacements(encoding: str) -> None:
    name = "R\u00e9seau \u2192 \u65e5\u672c \U0001f4e7 \u20ac"
    Path("b.xml").write_bytes(report_xml(replace(REPORT, reporter=name)))
    forms = [["parse", "b.xml", "--format", how] for how in ("table", "csv")]
    for arguments in (*forms, ["parse", f"{name}.xml"], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "dmarckit", *arguments],
            env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict", "PYTHONUTF8": "0"},
            capture_output=True,
            timeout=120,
        )
        # Click writes UTF-8 where it is told ASCII, which it takes for a mistake
        said = (done.stdout + done.stderr).decode(encoding, "replace")
        assert done.returncode == (2 if arguments[-1].startswith("R") else 0), said
        assert "Traceback" not in said
        assert "?" in said or arguments == ["--help"] or encoding == "ascii"


def test_outside_text_cannot_write_to_the_terminal(run: Any) -> None:
    folder = Path("dmarckit-data/mail")
    folder.mkdir(parents=True)
    (folder / "evil\x1b[2Jname").write_bytes(b"From: a@b.example\n\n\x1b]0;owned\x07")
    status, out, err = run("ingest")
    assert status == 0, out + err
    assert "\x1b" not in out + err
    assert "\\x1b[2Jname" in out


def test_schema_prints_every_column_with_its_meaning(run: Any) -> None:
    _, out, _ = run("schema", "records")
    assert "records: one row per record of an aggregate report" in out
    assert re.search(r"messages +whole +number of messages", out)


def test_values_of_parameters_are_what_they_look_like() -> None:
    pairs = ["days=7", "domains=[example.com, shop.example]", "end=2026-11-01", "name=a=b"]
    assert parameter_values(pairs) == {
        "days": 7,
        "domains": ["example.com", "shop.example"],
        "end": "2026-11-01",
        "name": "a=b",
    }


HEAVY = {
    *("pandas", "numpy", "pyarrow", "deltalake", "duckdb", "boto3", "botocore", "slack_sdk"),
    *("papermill", "nbconvert", "plotly", "matplotlib", "checkdmarc", "rich", "yaml"),
    "pydantic_settings",
}

NOT_ASKED = {
    *("pandas", "duckdb", "slack_sdk", "papermill", "nbconvert", "plotly", "matplotlib"),
    *("checkdmarc", "rich", "prometheus_client", "jinja2", "googleapiclient", "distributed"),
}
"""what no check of the doctor needs while its setting is not set"""


def loaded_modules(*arguments: str) -> set[str]:
    """Run a command in a process of its own; return the libraries that it has loaded."""
    code = (
        "import atexit, sys; from dmarckit.cli.main import main; "
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules})); main()"
    )
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(ran.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["ingest", "findings"])
def test_a_process_ends_in_silence(command: str, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "m").write_bytes(mail())
    environment = os.environ | {"DMARCKIT_HOME": str(tmp_path), "DMARCKIT_LOG_FORMAT": "json"}
    ran = subprocess.run(
        [sys.executable, "-m", "dmarckit", command], env=environment, capture_output=True, text=True
    )
    said = [line for line in ran.stderr.splitlines() if not line.startswith("{")]
    assert said == [], "such as libraries that miss their garbage"


def process_of(work: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process whose command does this."""
    code = (
        "import atexit, sys, threading, time, dmarckit.cli.main as cli\n"
        "from dmarckit.__main__ import run\n"
        f"def main():\n    {work}\n"
        "cli.main = main\nrun()"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_process_ends_with_its_status_and_all_its_output(status: int) -> None:
    ended = process_of(
        "atexit.register(print, 'the end'); sys.stdout.write('x' * 1_000_000 + '\\n')\n"
        f"    sys.exit({status})"
    )
    assert ended.stdout == "x" * 1_000_000 + "\nthe end\n"
    assert (ended.returncode, ended.stderr) == (status, "")


def test_a_process_ends_once_its_threads_have() -> None:
    ended = process_of("threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()")
    assert (ended.returncode, ended.stdout) == (0, "late\n")


def test_libraries_start_no_threads_for_matrices_unless_people_compute() -> None:
    names = ("OPENBLAS_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL")
    show = f"import os; print(*map(os.environ.get, {names}))"
    assert process_of(show, "ingest").stdout == "1 system\n"
    assert process_of(show, "lab", OPENBLAS_NUM_THREADS="4").stdout == "4 system\n"
    chosen = {"OPENBLAS_NUM_THREADS": "2", "ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}
    assert process_of(show, "ingest", **chosen).stdout == "2 mimalloc\n"


def test_a_process_whose_command_fails_says_why() -> None:
    assert process_of("sys.exit('no such thing')").stderr == "no such thing\n"
    assert "ZeroDivisionError" in process_of("1 / 0").stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["findings", "--help"]])
def test_help_is_quick_because_libraries_wait(arguments: list[str]) -> None:
    assert not HEAVY & loaded_modules(*arguments)


def test_a_run_without_anything_new_loads_nothing_that_makes_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail").mkdir()
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
    loaded = loaded_modules("run", "alerts")
    assert "deltalake" in loaded
    heavy = {"papermill", "nbconvert", "nbformat", "plotly", "matplotlib", "pandas", "checkdmarc"}
    assert not (heavy | {"rich", "slack_sdk"}) & loaded
    assert (tmp_path / "pages/index.html").is_file()


@pytest.mark.s3
def test_a_run_without_anything_new_in_a_bucket_loads_no_pandas(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", bucket)
    open_storage(f"{bucket}/mail").put("good", mail(), content_type="message/rfc822")
    loaded_modules("run", "alerts")
    assert not {"pandas", "nbconvert", "matplotlib"} & loaded_modules("run", "alerts")


def test_an_ingest_does_without_pandas_that_arrow_would_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/one").write_bytes(make_mail(gz(report_xml(make_report(make_record())))))
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
    monkeypatch.setenv("DMARCKIT_TRUST", "any")
    loaded = loaded_modules("ingest")
    assert "pyarrow" in loaded
    assert "pandas" not in loaded
    assert Lake(str(tmp_path / "lake")).arrow("SELECT * FROM records").num_rows == 1


def test_a_list_of_schedules_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
    now = datetime.now(UTC)
    record_run(Lake(str(tmp_path / "lake")), Run("r1", "daily", None, now, now, "ok"))
    loaded = loaded_modules("schedules", "list")
    assert "deltalake" in loaded
    heavy = {"pandas", "duckdb", "papermill", "nbconvert", "plotly", "checkdmarc", "pyarrow"}
    assert not heavy & loaded


def test_a_doctor_loads_nothing_that_it_does_not_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/one").write_bytes(mail())
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
    monkeypatch.setenv("DMARCKIT_TRUST", "any")
    loaded_modules("ingest")
    loaded = loaded_modules("doctor")
    assert {"pyarrow", "nbformat"} <= loaded
    assert not NOT_ASKED & loaded
    assert "botocore" not in loaded


@pytest.mark.s3
def test_a_doctor_of_a_bucket_loads_no_more(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_HOME", bucket)
    open_storage(f"{bucket}/mail").put("good", mail(), content_type="message/rfc822")
    loaded_modules("run", "alerts")
    loaded = loaded_modules("doctor")
    assert "botocore" in loaded
    assert not NOT_ASKED & loaded


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError, typer.Abort])
def test_what_is_interrupted_says_so_and_asks_nobody_to_look(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted() -> None:
        raise error

    monkeypatch.setattr("dmarckit.core.load_settings", interrupted)
    status, out, err = run("findings")
    assert (status, out, err.strip()) == (130, "", "dmarckit: interrupted")


def test_a_fault_of_ours_is_no_finding(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("dmarckit.core.load_settings", fault)
    status, _, err = run("findings")
    assert (status, err.splitlines()[-1]) == (2, "ZeroDivisionError")


def test_a_reader_that_goes_away_is_no_finding() -> None:
    command = [sys.executable, "-m", "dmarckit", "schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(100), process.stderr.read()) == (2, b"")


def test_a_place_that_cannot_be_written_is_one_line(run: Any) -> None:
    Path("taken").touch()
    status, _, err = run("schedules", "export", "--to", "systemd", "--output", "taken")
    assert (status, err) == (2, "dmarckit: cannot use taken: File exists\n")


def test_no_command_is_cut_short_in_the_list(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in run("--help")[1].partition("Every day:")[2]


def test_the_version_is_printed_without_a_command(run: Any) -> None:
    assert run("--version") == (0, f"dmarckit {__version__}\n", "")


def shown_commands(group: Any = None, path: str = "dmarckit") -> Iterator[tuple[str, Any]]:
    """Every command that `--help` lists, as it is typed."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from shown_commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


def test_every_command_says_what_it_does_and_has_an_example() -> None:
    found = dict(shown_commands())
    assert {"dmarckit demo", "dmarckit schedules list", "dmarckit aws plan"} <= set(found)
    for typed, command in found.items():
        assert command.help, typed
        assert command.epilog.startswith(f"Example: {typed}"), typed


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/scratch/x"),
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/scratch']"),
    ],
)
def test_a_full_temporary_folder_is_one_line(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/one").write_bytes(mail())
    monkeypatch.setenv("DMARCKIT_HOME", str(tmp_path))
    monkeypatch.setenv("DMARCKIT_TRUST", "any")
    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    status, _, errors = run("ingest")
    assert status == 2
    last = errors.strip().splitlines()[-1]
    assert "no room for /" in last
    assert "set TMPDIR to a folder on another disk" in last
    assert "Traceback" not in errors
