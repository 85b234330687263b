"""A bad day, by a seed: S3 fails, breaks off and is late, runs are killed, Slack refuses.

Two processes at once read the mails and send alerts, through a proxy that spoils answers, and are
killed at any point. What the tables hold at the end is compared with an undisturbed run's.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from dmarckit.core import DmarckitError, load_settings, open_storage
from dmarckit.ingest import ingest_mails
from dmarckit.jobs import Schedule, run_job
from dmarckit.lake import Lake
from tests.support.builders import (
    gz,
    make_mail,
    make_record,
    make_report,
    report_xml,
)
from tests.support.model_builders import make_failing
from tests.support.s3_proxy import Fault, S3Proxy, s3_proxy
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server

FAULTS: dict[Fault, float] = {"truncate": 0.02, "refuse": 0.02, "lose": 0.01, "delay": 0.01}
SLACK_REFUSES = 0.5
LONGEST_PAUSE = 0.02  # seconds; what waits between two tries waits no longer
TABLES = {
    "mails": "key, etag, size, outcome, error, reports",
    "reports": "*",
    "records": "*",
    "tls": "*",
}
"""table → what of its rows does not depend on when they were written, and by which run"""


@dataclass
class Outcome:
    """What happened to an installation, and how its tables differ from an undisturbed one's."""

    rounds: int = 0
    kills: int = 0
    faults: int = 0
    slack_refused: int = 0
    different: list[str] = field(default_factory=list)
    """tables whose content is not that of an undisturbed run"""
    never: list[str] = field(default_factory=list)
    """reports about which there is no alert"""
    again: int = 0
    """alerts that came more than once: a run was killed between posting and recording"""


def put_mails(url: str, number: int, seed: int) -> None:
    """Put reports, two copies, unreadable ones and spam into a storage."""
    chance, mails = random.Random(seed), open_storage(url)
    for n in range(number):
        make = make_failing if n % 4 == 0 else make_record
        records = [make(f"192.0.2.{i}") for i in range(chance.randint(1, 5))]
        report = make_report(*records, report_id=f"r-{n}")
        raw = make_mail(gz(report_xml(report)))
        if n % 10 == 7:
            raw = make_mail(b"\x1f\x8b broken")
        mails.put(f"{n:05}", raw, content_type="message/rfc822")
        if n % 10 == 3:
            mails.put(f"{n:05}-copy", raw, content_type="message/rfc822")


def contents(home: str) -> dict[str, str]:
    """Table → hash of what it says, whatever the order of its rows."""
    lake, found = Lake(f"{home}/lake"), {}
    for table, columns in TABLES.items():
        rows = lake.arrow(f"SELECT {columns} FROM {table}").to_pylist()
        lines = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)
        found[table] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


def work(what: str, home: str, environment: Mapping[str, str], log: str) -> None:
    """Ingest, or run the job that sends alerts; the process's status says whether it went well."""
    os.environ.update(environment)
    sys.stderr = Path(log).open("a", buffering=1)  # noqa: SIM115
    import dmarckit.core.retry

    def short(seconds: float) -> None:
        time.sleep(min(seconds, LONGEST_PAUSE))

    defaults = dmarckit.core.retry.with_retries.__kwdefaults__
    assert defaults is not None
    defaults["sleep"] = short
    settings = load_settings(home=home, workers=1, exports="failing")
    try:
        if what == "ingest":
            ingest_mails(settings)
        else:
            run_job(settings, Schedule(name="alerts", alerts=50), sleep=short)
    except DmarckitError as error:
        sys.exit(f"{what}: {error}")


def bad_day(
    bucket: Callable[[], str],
    environment: Mapping[str, str],
    endpoint: str,
    log: Path,
    *,
    seed: int,
    mails: int,
    rounds: int = 0,
    seconds: float = 0.0,
) -> Outcome:
    """Let so many rounds happen (or for so long), then a good one; return what came of it.

    `bucket` makes another empty one each time.
    """
    chance, result, calm, stormy = random.Random(seed), Outcome(), bucket(), bucket()
    for home in (calm, stormy):
        put_mails(f"{home}/mail", mails, seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    warm = context.Process(target=time.sleep, args=[0])  # the imports are no part of a run
    warm.start()
    warm.join()
    with s3_proxy(endpoint) as proxy, slack_server() as slack, slack_server() as quiet:
        given = {**environment, "DMARCKIT_SLACK_TOKEN": TOKEN, "DMARCKIT_SLACK_CHANNEL": CHANNEL}
        through = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"), proxy.endpoint)
        proxied = given | through | {"DMARCKIT_SLACK_URL": slack.url}

        def start(what: str, home: str, variables: Mapping[str, str]) -> ForkServerProcess:
            process = context.Process(target=work, args=[what, home, dict(variables), str(log)])
            process.start()
            return process

        def good_run(home: str, variables: Mapping[str, str]) -> None:
            process = start("alerts", home, variables)
            process.join()
            assert process.exitcode == 0, log.read_text("utf-8")[-2000:]

        begun = time.monotonic()
        good_run(calm, given | {"DMARCKIT_SLACK_URL": quiet.url})
        length = time.monotonic() - begun
        spoil(proxy, slack, chance, result)
        until = time.monotonic() + seconds
        while result.rounds < rounds or time.monotonic() < until:
            pair = [start(what, stormy, proxied) for what in ("ingest", "alerts")]
            for process in pair:
                if chance.random() < 0.8:
                    process.join(chance.uniform(0, 0.7 * length))
                    result.kills += process.is_alive()
                    process.kill()
            for process in pair:
                process.join()
            result.rounds += 1
        proxy.fault = lambda _method, _path: ""
        slack.refuse = lambda: False
        good_run(stormy, proxied)
        before, after = contents(calm), contents(stormy)
        result.different = [table for table in TABLES if before[table] != after[table]]
        told = Counter(alerts(slack))
        wanted = set(alerts(quiet))
        result.never = sorted(wanted - set(told))
        result.again = sum(told.values()) - len(told)
        assert set(told) <= wanted
        assert wanted
    return result


def alerts(slack: SlackServer) -> list[str]:
    """The uids of the reports about which alerts were taken."""
    return re.findall(r"report_uid ([0-9a-f]{32})", json.dumps(slack.posted))


def spoil(proxy: S3Proxy, slack: SlackServer, chance: random.Random, result: Outcome) -> None:
    """Let both fail now and then."""
    lots, weights = random.Random(chance.random()), [*FAULTS.values()]

    def fault(_method: str, _path: str) -> Fault:
        (drawn,) = lots.choices([*FAULTS, ""], [*weights, 1 - sum(weights)])
        result.faults += bool(drawn)
        return drawn  # type: ignore[return-value]

    def refuse() -> bool:
        refused = lots.random() < SLACK_REFUSES
        result.slack_refused += refused
        return refused

    proxy.fault, slack.refuse = fault, refuse
