"""`dmarckit demo`: the whole system on this machine, on made-up mails or the user's own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import tempfile
import textwrap
import time
import tomllib
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmarckit import core, demo as company, ingest, jobs, lake, pages, slack
from dmarckit.cli.output import ingest_progress, print_outcomes
from dmarckit.core import one_line, plural

if TYPE_CHECKING:
    from dmarckit.demo import GeneratedMail

BUCKET = "dmarckit-demo"
NEWEST = 20  # mails of which one arrives while one looks

NEXT = """
What to try next:
  dmarckit demo --keep                 leave the server up and look around
  dmarckit demo --mails FOLDER         the same on your own report mails or files
  dmarckit parse FILE --format table   read one file
  dmarckit init                        point it at your own bucket"""


def demo(
    mails: Annotated[
        Path | None,
        typer.Option(help="Use these mails or report files (a file or folder), not made-up ones."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server up and the page open; Ctrl-C ends it.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the page and the message go.")] = Path(
        "dmarckit-demo"
    ),
) -> None:
    """Show the whole system on this machine, from mails to page."""
    run_demo(mails=mails, keep=keep, out=out)


def run_demo(*, mails: Path | None, keep: bool, out: Path) -> None:
    """Run the demo and print what it does.

    Raises StorageError when `mails` does not exist, or `out` cannot be written.
    """
    if mails is not None and not mails.exists():
        raise core.StorageError(f"--mails {one_line(mails)}: no such file or folder")
    started = time.monotonic()

    def step(text: str) -> None:
        typer.echo(f"[{time.monotonic() - started:5.1f} s] {text} …")

    # a user's own files have not been through SES, so there is no verdict to go by
    trust = "pass" if mails is None else "any"
    with _place(step, trust, out) as names:
        settings = core.load_settings()
        step("Storing report mails as SES does" if mails is None else f"Storing {mails}")
        now = datetime.now(UTC)
        made = company.demo_mails(now.date()) if mails is None else []
        # the mail of which most is seen: it arrives while one looks
        arriving = max(made[-NEWEST:], key=_failing, default=None)
        storage = core.open_storage(settings.mail_url)
        if mails is None:
            raw = {mail.key: mail.raw for mail in made if mail is not arriving}
            count = store(storage, raw, raw.__getitem__)
        else:
            source = core.FolderStorage(mails if mails.is_dir() else mails.parent)
            found = source.list("" if mails.is_dir() else mails.name)
            count = store(storage, (item.key for item in found), source.get)
        step(f"Reading {plural(count, 'mail')} into the lake")
        with ingest_progress() as progress:
            ingested = ingest.ingest_mails(settings, progress=progress)
        print_outcomes(ingested)
        if mails is None:
            step("Asking DNS and Google Postmaster Tools, both made up")
            company.fill_outside_tables(settings, now)
        schedule = jobs.load_schedule("daily")
        if not keep:  # the server ends, and with it whatever a page could link to
            schedule = schedule.model_copy(update={"fleet": False})
        if mails is not None:  # the page is about the time of the user's own reports
            query = "SELECT min(begin) AS a, max(begin) AS b FROM reports WHERE begin < $now"
            (span,) = lake.open_lake().arrow(query, now=now).to_pylist()
            days = min((span["b"] - span["a"]).days + 1, 366) if span["b"] else 30
            end = {"end": f"{span['b']:%Y-%m-%d}"} if span["b"] else {}
            schedule = schedule.model_copy(update={"parameters": {"days": days, **end}})
        result = jobs.publish_and_notify(settings, schedule, ingested, now=now, step=step)
        published = result.published
        if published is None:
            raise core.SettingsError(
                "the demo shows the page of schedule daily: yours has no notebook"
            )
        pages.refresh_index(settings)
        messages = list(result.delivery.messages)
        if arriving is not None:
            step("A mail arrives: running the schedule alerts")
            store(storage, [arriving.key], lambda _key: arriving.raw)
            done = jobs.run_job(settings, jobs.load_schedule("alerts"))
            messages = [*(done.delivery.messages if done else ()), *messages]
        written = _write(out, settings, published.page, messages)
        step("Done")
        stays = keep or settings.home != f"s3://{BUCKET}"
        _print_messages(messages, out, links=stays)
        for path in written:
            typer.echo(f"  {path}")
        typer.echo(NEXT)
        if keep:
            _wait(names, published.link)


@contextlib.contextmanager
def _place(step: Callable[[str], None], trust: str, out: Path) -> Iterator[dict[str, str]]:
    """Yield the variables that point at a bucket on an own server, in force while it is there.

    Where there is no server it is a folder in `out`, which stays.
    """
    from unittest import mock

    # none of the user's variables for us (but the language) or for the AWS SDK
    theirs, language = (core.PREFIX, "AWS_"), f"{core.PREFIX}LANGUAGE"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs) or k == language}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, kept, clear=True))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarckit-demo-")))
        home, names = f"s3://{BUCKET}", dict[str, str]()
        if company.available():
            step("Starting an S3 server")
            names |= stack.enter_context(company.s3_server()).environment()
        else:
            install = "pip install 'dmarckit[demo]'"
            step(f"The S3 server is missing (install it: {install}); using a folder instead")
            out.mkdir(parents=True, exist_ok=True)
            home = tempfile.mkdtemp(prefix="home-", dir=out.absolute())
        config = folder / "dmarckit.toml"  # of its own, so that the user's is not read
        config.touch()
        names |= {
            core.CONFIG_VARIABLE: str(config),
            f"{core.PREFIX}HOME": home,
            f"{core.PREFIX}TRUST": trust,
            f"{core.PREFIX}SENDERS": json.dumps(tomllib.loads(company.demo_settings())["senders"]),
        }
        os.environ |= names
        if home.startswith("s3://"):
            core.aws_client("s3").create_bucket(Bucket=BUCKET)
        yield names


def _failing(mail: GeneratedMail) -> int:
    truth = mail.truth
    records = truth.report.records if isinstance(truth, company.GeneratedReport) else ()
    return sum(r.messages for r in records if not r.passes)


def store(storage: core.Storage, keys: Iterable[str], read: Callable[[str], bytes]) -> int:
    """Store what `read` gives for each key; return how many there were."""

    def put(key: str) -> None:
        storage.put(key, read(key), content_type="application/octet-stream")

    with ThreadPoolExecutor(core.POOL) as pool:
        return len(list(pool.map(put, keys)))


def _write(
    out: Path, settings: core.Settings, page: pages.BuiltPage, messages: Sequence[slack.Message]
) -> list[Path]:
    storage = core.FolderStorage(out)
    storage.put("overview.html", page.html, content_type="text/html; charset=utf-8")
    for i, message in enumerate(messages, start=1):
        name = "slack-summary.json" if i == len(messages) else f"slack-alert-{i}.json"
        storage.put(name, slack.slack_json(message).encode(), content_type="application/json")
    exports = core.open_storage(settings.exports_url)
    for key in (item.key for item in exports.list() if item.key.endswith(".png")):
        storage.put(f"exports/{key}", exports.get(key), content_type="image/png")
    return [out / "overview.html", out / "slack-summary.json"]


def _print_messages(messages: Sequence[slack.Message], out: Path, *, links: bool) -> None:
    typer.echo("\nThe demo sends nothing; with a Slack token, these messages would be in Slack:\n")
    *alerts, summary = messages
    for message in (summary, *alerts[:1]):
        typer.echo(
            textwrap.indent(slack.message_text(message, links=links), "  │ ", lambda _: True)
        )
        typer.echo()
    if len(alerts) > 1:
        typer.echo(f"… and {plural(len(alerts) - 1, 'more message')}, in {out}.\n")
    typer.echo("Written:")


def _wait(names: dict[str, str], link: str) -> None:
    typer.echo(f"\nThe page is open at\n  {link}\n")
    typer.echo("To look around from another terminal:")
    for name, value in names.items():
        typer.echo(f"  export {name}={shlex.quote(value)}")
    typer.echo("  dmarckit findings\n  dmarckit lab\nCtrl-C ends it.")
    if sys.stdout.isatty():
        webbrowser.open(link)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
