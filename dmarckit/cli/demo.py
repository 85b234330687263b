"""`dmarckit demo`: the whole system on this machine, on made-up mails or the user's own."""

from __future__ import annotations

import contextlib
import os
import tempfile
import textwrap
import time
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

from dmarckit import core, demo
from dmarckit.cli.output import console, ingest_progress, print_outcomes
from dmarckit.core import PREFIX, FolderStorage, Settings, one_line, open_storage, plural
from dmarckit.demo import GeneratedMail, GeneratedReport, S3Server, available, s3_server
from dmarckit.ingest import ingest_mails
from dmarckit.jobs import load_schedule, publish_and_notify, run_job
from dmarckit.lake import open_lake
from dmarckit.pages import BuiltPage, refresh_index
from dmarckit.slack import Message, message_text

BUCKET = "dmarckit-demo"
NEWEST = 20  # mails of which one arrives while one looks

NEXT = """
What to try next:
  dmarckit demo --keep                 leave the server up and look around
  dmarckit demo --mails FOLDER         the same on your own report mails or files
  dmarckit parse FILE --format table   read one file
  README.md                            point it at your own bucket"""


def run_demo(*, mails: Path | None, keep: bool, out: Path) -> int:
    """Run the demo and print what it does; return the exit status, 0 when it got to a page.

    Raises StorageError when `mails` does not exist, or `out` cannot be written.
    """
    if mails is not None and not mails.exists():
        raise core.StorageError(f"--mails {one_line(mails)}: no such file or folder")
    started = time.monotonic()
    screen = console()

    def step(text: str) -> None:
        screen.print(f"[{time.monotonic() - started:5.1f} s] {text} …")

    # a user's own files have not been through SES, so there is no verdict to go by
    trust = "pass" if mails is None else "any"
    with _place(step, trust) as (server, home):
        settings = core.load_settings()
        step("Storing report mails as SES does" if mails is None else f"Storing {mails}")
        now = datetime.now(UTC)
        made = demo.demo_mails(now.date()) if mails is None else []
        # the mail of which most is seen: it arrives while one looks
        arriving = max(made[-NEWEST:], key=_failing, default=None)
        storage = open_storage(settings.mail_url)
        if mails is None:
            raw = {mail.key: mail.raw for mail in made if mail is not arriving}
            count = store(storage, raw, raw.__getitem__)
        else:
            source = FolderStorage(mails if mails.is_dir() else mails.parent)
            found = source.list("" if mails.is_dir() else mails.name)
            count = store(storage, (item.key for item in found), source.get)
        step(f"Reading {plural(count, 'mail')} into the lake")
        with ingest_progress() as progress:
            ingested = ingest_mails(settings, progress=progress)
        print_outcomes(ingested)
        if mails is None:
            step("Asking DNS and Google Postmaster Tools, both made up")
            demo.fill_outside_tables(settings, now)
        schedule = load_schedule("daily")
        if not keep:  # the server ends, and with it whatever a page could link to
            schedule = schedule.model_copy(update={"fleet": False})
        if mails is not None:  # the page is about the time of the user's own reports
            query = "SELECT min(begin) AS a, max(begin) AS b FROM reports WHERE begin < $now"
            (span,) = open_lake().arrow(query, now=now).to_pylist()
            days = min((span["b"] - span["a"]).days + 1, 366) if span["b"] else 30
            end = {"end": f"{span['b']:%Y-%m-%d}"} if span["b"] else {}
            schedule = schedule.model_copy(update={"parameters": {"days": days, **end}})
        result = publish_and_notify(settings, schedule, ingested, now=now, step=step)
        published = result.published
        if published is None:
            raise core.SettingsError(
                "the demo shows the page of schedule daily: yours has no notebook"
            )
        refresh_index(settings)
        messages = list(result.delivery.messages)
        if arriving is not None:
            step("A mail arrives: running the schedule alerts")
            store(storage, [arriving.key], lambda _key: arriving.raw)
            done = run_job(settings, load_schedule("alerts"))
            messages = [*(done.delivery.messages if done else ()), *messages]
        written = _write(out, settings, published.page, messages)
        step("Done")
        _print_messages(messages, out, links=keep)
        for path in written:
            screen.print(f"  {path}", soft_wrap=True)
        screen.print(NEXT)
        if keep:
            _wait(server, home, published.link)
    return 0


@contextlib.contextmanager
def _place(step: Any, trust: str) -> Iterator[tuple[S3Server | None, str]]:
    """Yield a bucket on an own server (or a folder), with the environment that points at it."""
    # none of the user's variables for us (but the language) or for the AWS SDK
    theirs, language = (PREFIX, "AWS_"), f"{PREFIX}LANGUAGE"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs) or k == language}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, kept, clear=True))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarckit-demo-")))
        server = None
        if available():
            step("Starting an S3 server")
            server = stack.enter_context(s3_server())
            home = f"s3://{BUCKET}"
        else:
            step("No wheel of the S3 server for this machine: using a folder instead")
            home = str(folder / "home")
        config = folder / "dmarckit.toml"  # of its own, so that the user's is not read
        config.write_text(demo.demo_settings(), "utf-8")
        os.environ |= {
            f"{PREFIX}HOME": home,
            f"{PREFIX}TRUST": trust,
            core.CONFIG_VARIABLE: str(config),
            **(server.environment() if server else {}),
        }
        if server is not None:
            boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
        yield server, home


def _failing(mail: GeneratedMail) -> int:
    truth = mail.truth
    records = truth.report.records if isinstance(truth, GeneratedReport) else ()
    return sum(r.messages for r in records if not r.passes)


def store(storage: core.Storage, keys: Iterable[str], read: Callable[[str], bytes]) -> int:
    """Store what `read` gives for each key; return how many there were."""

    def put(key: str) -> None:
        storage.put(key, read(key), content_type="application/octet-stream")

    with ThreadPoolExecutor(core.POOL) as pool:
        return len(list(pool.map(put, keys)))


def _write(
    out: Path, settings: Settings, page: BuiltPage, messages: Sequence[Message]
) -> list[Path]:
    storage = FolderStorage(out)
    storage.put("overview.html", page.html, content_type="text/html; charset=utf-8")
    for i, message in enumerate(messages, start=1):
        name = "slack-summary.json" if i == len(messages) else f"slack-alert-{i}.json"
        storage.put(name, message.as_json().encode(), content_type="application/json")
    exports = open_storage(settings.exports_url)
    for key in (item.key for item in exports.list() if item.key.endswith(".png")):
        storage.put(f"exports/{key}", exports.get(key), content_type="image/png")
    return [out / "overview.html", out / "slack-summary.json"]


def _print_messages(messages: Sequence[Message], out: Path, *, links: bool) -> None:
    screen = console()
    screen.print(
        "\nThe demo sends nothing; with a Slack token, these messages would be in Slack:\n"
    )
    *alerts, summary = messages
    for message in (summary, *alerts[:1]):
        screen.print(textwrap.indent(message_text(message, links=links), "  │ ", lambda _: True))
        screen.print()
    if len(alerts) > 1:
        screen.print(f"… and {plural(len(alerts) - 1, 'more message')}, in {out}.\n")
    screen.print("Written:")


def _wait(server: S3Server | None, home: str, link: str) -> None:
    screen = console()
    screen.print(f"\nThe page is open at\n  {link}\n", soft_wrap=True)
    screen.print("To look around from another terminal:")
    names = server.environment() if server else {}
    for name, value in (*names.items(), (f"{PREFIX}HOME", home), (f"{PREFIX}TRUST", "any")):
        screen.print(f"  export {name}={value}", soft_wrap=True)
    screen.print("  dmarckit lab\nCtrl-C ends it.")
    if screen.is_terminal:
        webbrowser.open(link)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
