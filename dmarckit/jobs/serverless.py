"""dmarckit as a function of AWS Lambda: a call takes a batch of the queue, or runs one slot.

A function is one process (no /dev/shm: no pools of processes), may write below /tmp alone, and is
killed at its deadline. A run gets less time than that, so that it ends in order; the call fails
then, and Lambda makes it again. Memory bounds the mails that it reads: larger ones are left.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dmarckit import core
from dmarckit.core import PREFIX, DmarckitError, Settings
from dmarckit.ingest import BatchResult, QueueMessage
from dmarckit.jobs.export import CONTAINER
from dmarckit.jobs.record import Clock
from dmarckit.jobs.run import JobResult, run_job, utc_now
from dmarckit.jobs.schedule import Schedule, load_schedule
from dmarckit.jobs.timeout import time_limit
from dmarckit.jobs.watch import COMPACTED_EVERY, Arrivals

RESERVE = 60.0  # seconds of a call for writing how it ended; a quarter of a short one
BUSY = 30.0  # seconds between tries while another holds the job
BUSY_TRIES = 11  # as long as the lease of a call that was killed may last
MAIL_SHARE = 50  # the largest mail takes this part of the memory
ARN = "_ARN"  # of a variable that names a secret: DMARCKIT_SLACK_TOKEN_ARN gives the token
TASK = f"{PREFIX}TASK"  # JSON: what ECS is asked with for a task of the same image

log = logging.getLogger("dmarckit")

_arrivals: tuple[Settings, Arrivals] | None = None  # a process that is called again goes on with it


class CallFailed(DmarckitError):
    """The call failed, and Lambda is to make it again; the reason holds no secret."""


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Take a batch of SQS, or run the slot of ``{"run": "daily", "slot": "2026-11-24T07:00Z"}``.

    Without `slot` the schedule is run as by hand. Returns the messages that could not be taken
    (`batchItemFailures`), or how the run ended.

    Raises:
        CallFailed: it could not be done, or not in time.
    """
    root = logging.getLogger()
    for runtimes in [h for h in root.handlers if hasattr(h, "log_sink")]:
        root.removeHandler(runtimes)  # it would write each line once more, secrets included
    try:
        _fetch_secrets()
        job = event.get("run")
        if not isinstance(job, str) and not isinstance(event.get("Records"), list):
            raise core.SettingsError('no event for this function: {"run": NAME, "slot": TIME}')
        settings = core.start_command(job or "watch")
        memory = int(context.memory_limit_in_mb or 0) * 1_000_000
        most = settings.largest_mail or memory // MAIL_SHARE
        settings = settings.model_copy(update={"workers": 1, "largest_mail": most})
        seconds = context.get_remaining_time_in_millis() / 1000
        seconds -= min(RESERVE, seconds / 4)
        if job is None:
            dead = _take(settings, event["Records"], seconds).dead
            return {"batchItemFailures": [{"itemIdentifier": name} for name in dead]}
        slot = event.get("slot")
        run, schedule = core.run_info().run, load_schedule(job)
        result = run_slot(settings, schedule, slot, seconds=seconds, run=run)
        return {"run": job, "slot": slot, "result": result and result.run and result.run.result}
    except Exception as error:
        known = isinstance(error, DmarckitError)
        log.error("the call failed: %s", error, exc_info=not known)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        # not raised from it: the runtime prints all that an error holds
        text = core.clean(core.one_line(text, 600), core.secrets_in(os.environ))
        raise CallFailed(text) from None


def run_slot(
    settings: Settings,
    schedule: Schedule,
    slot: str | None,
    *,
    seconds: float,
    run: str | None = None,
    clock: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> JobResult | None:
    """Run the schedule's slot at or before that time, within the seconds; None: it is done.

    A job that another holds is waited for: a call that was killed cannot release it.

    Raises:
        JobBusy: another still runs it.
        DmarckitError: the run failed; `run_job` has recorded that.
    """
    due = None
    if slot is not None:
        moment = datetime.fromisoformat(slot)
        due = schedule.newest_slot(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    hint = f"; a task may take longer: dmarckit aws deploy -p Tasks {shlex.quote(schedule.name)}"
    hint = hint if seconds < schedule.timeout else ""
    with time_limit(min(seconds, schedule.timeout), schedule.name, hint) as end:
        for left in reversed(range(BUSY_TRIES)):
            try:
                return run_job(
                    settings, schedule, slot=due, run=run, clock=clock, step=core.log_step,
                    sleep=sleep, lost=end,
                )  # fmt: skip
            except core.JobBusy as busy:
                if not left:
                    raise
                log.info("waiting: %s", busy)
                sleep(BUSY)
    raise AssertionError("the last try returns or raises")


def _take(settings: Settings, records: list[dict[str, Any]], seconds: float) -> BatchResult:
    """Ingest what the messages name, and alert; what is in the lake stays, also without time."""
    global _arrivals
    if _arrivals is None or _arrivals[0] != settings:
        queue = str(records[0]["eventSourceARN"]).rpartition(":")[2]
        stop, alerts = threading.Event(), load_schedule("alerts")
        made = Arrivals(settings, alerts, queue, stop=stop, once=True, hand_over=start_task)
        _arrivals = settings, made
    arrivals, run = _arrivals[1], core.run_info().run
    messages = [QueueMessage(r["messageId"], r["receiptHandle"], r["body"]) for r in records]
    batch: BatchResult | None = None
    try:
        with time_limit(seconds, "watch"):
            batch = arrivals.take(messages, run)
            arrivals.alert(run)
            if arrivals.batches >= COMPACTED_EVERY:
                arrivals.compact()
    except core.JobTimeout:
        if batch is None:
            raise
        log.warning("alerts wait for the next call: the time was over")
    return batch


def start_task(key: str) -> bool:
    """Have a task ingest a mail that is too large here; False when there is none to start."""
    if not (about := os.environ.get(TASK)):
        return False
    command = {"name": CONTAINER, "command": ["ingest", "--prefix", key]}
    try:
        with core.aws_errors("cannot start a task", core.AwsError, "ecs:RunTask"):
            given = json.loads(about)
            overrides = {"containerOverrides": [command]}
            failures = core.aws_client("ecs").run_task(**given, overrides=overrides)["failures"]
        if failures:
            raise core.AwsError(f"cannot start a task: {core.one_line(failures[0], 200)}")
    except core.AwsError as error:
        log.error("%s is not taken: %s", core.one_line(key, 120), error)
        return False
    core.log_step("A task takes a large mail", key=core.one_line(key, 120))
    return True


def _fetch_secrets() -> None:
    """Put the secrets that variables name into the environment, as they are now."""
    named = [n for n in os.environ if n.startswith(PREFIX) and n.endswith(ARN) and os.environ[n]]
    for name in named:
        with core.aws_errors(
            "cannot read a secret", core.AwsError, "secretsmanager:GetSecretValue"
        ):
            client = core.aws_client("secretsmanager")
            answer = client.get_secret_value(SecretId=os.environ[name])
        os.environ[name.removesuffix(ARN)] = answer["SecretString"]
