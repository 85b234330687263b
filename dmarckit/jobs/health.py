"""Is the work being done? ``/health`` for a watchdog, ``/metrics`` for Prometheus.

`schedules start` serves them. Both read the lake, not the memory of this process, so that
a restart forgets nothing. The answer is kept for some seconds: whoever asks more often
costs nothing.

A small HTTP server that a stranger cannot keep busy: GET only, few threads, short waits.

What the lake says of the work so far, as numbers for monitoring.

`read_facts` asks the tables, `exposition` writes them as Prometheus reads them. Counters
count rows of tables, so that they go on after a restart.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dmarckit import __version__
from dmarckit.core import DmarckitError, Settings, SettingsError, clean, secrets_of
from dmarckit.ingest import OUTCOMES
from dmarckit.jobs.schedule import Schedule
from dmarckit.lake import Lake, open_lake

MOST = 8
"""requests under way at once; further ones are told to come back"""
REQUEST_SECONDS = 5.0
"""that a client has for sending its whole request"""
ANSWER_SECONDS = 10.0
"""that one write of the answer may wait for the client"""
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    status: int
    kind: str
    """its Content-Type"""
    body: bytes


class HealthServer(ThreadingMixIn, TCPServer):
    """Answers GET by `answer(path)`; listens once it is made. Raises OSError when it cannot."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self._places = threading.BoundedSemaphore(MOST)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serves from a thread until the block ends."""
        thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the request, if there is room."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.setblocking(False)
        with contextlib.suppress(OSError):
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's work; its place is free afterwards."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's fault; anything else belongs into the log."""
        log.debug("a request was not answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: HealthServer
    server_version = "dmarckit"
    sys_version = ""
    timeout = ANSWER_SECONDS
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def setup(self) -> None:
        """A whole request must be there in time, however slowly its bytes drip in."""
        super().setup()
        self._limit = threading.Timer(REQUEST_SECONDS, self._too_slow)
        self._limit.daemon = True
        self._limit.start()

    def finish(self) -> None:
        """The end of the connection."""
        self._limit.cancel()
        super().finish()

    def _too_slow(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def parse_request(self) -> bool:
        """As the library's, but with one method only; the wait for the request is over."""
        whole = super().parse_request()
        self._limit.cancel()
        if whole and self.command != "GET":
            self._send(Answer(405, "text/plain; charset=utf-8", b"only GET\n"))
            return False
        return whole

    def do_GET(self) -> None:
        """The server's answer to the path, without its query."""
        self._send(self.server.answer(urlsplit(self.path).path))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if answer.status == 405:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, *_arguments: object) -> None:
        """What clients ask is of no interest to the log, and outside text."""


SUCCESSES = ("ok", "problems")
"""results of a run that did its work; `problems`: a mail among others was unreadable"""
RESULTS = ("ok", "problems", "failed", "interrupted")
SEVERITIES = ("critical", "warning", "info", "good")

_NEWEST_RUNS = """
    SELECT job, result, started, ended,
        max(slot) OVER (PARTITION BY job) AS slot,
        max(ended) FILTER (result IN ('ok', 'problems')) OVER (PARTITION BY job) AS success
    FROM runs QUALIFY row_number() OVER (PARTITION BY job ORDER BY started DESC, run) = 1
"""
_RUNS = "SELECT job, result, count(*) AS number FROM runs GROUP BY ALL"
_MAILS = "SELECT outcome, count(*) AS number FROM mails GROUP BY ALL"
# a run without findings leaves no row, but the one that ends a finding leaves RESOLVED
_FINDINGS = """
    SELECT severity, count(DISTINCT fingerprint) AS number FROM (
        SELECT * FROM findings QUALIFY "at" = max("at") OVER (PARTITION BY job)
    ) WHERE status <> 'RESOLVED' AND mute_reason IS NULL GROUP BY ALL
"""
_OUTBOX = """
    SELECT count(*) AS number FROM outbox
    WHERE subject NOT IN (SELECT subject FROM alerts)
"""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a job, and when the job last went well. Times are UTC."""

    result: str
    started: datetime
    ended: datetime
    slot: datetime | None
    """newest slot that any run of the job was for; None: all were started by hand"""
    success: datetime | None
    """end of the newest run that did its work; None: there is none"""

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return max(0.0, (self.ended - self.started).total_seconds())


@dataclass(frozen=True)
class Facts:
    """What the lake says; all numbers are 0 in an empty one."""

    last: Mapping[str, LastRun] = field(default_factory=dict)
    """job → its newest run; jobs that never ran are not in"""
    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(job, result) → runs"""
    mails: Mapping[str, int] = field(default_factory=dict)
    """outcome → mails"""
    findings: Mapping[str, int] = field(default_factory=dict)
    """severity → findings open and not muted in the newest run of each job"""
    outbox: int = 0
    """messages that wait for Slack"""


def read_facts(lake: Lake) -> Facts:
    """The numbers as the tables stand now. Raises LakeError or StorageError."""
    with lake.session("runs", "mails", "findings", "outbox", "alerts") as connection:

        def rows(query: str) -> Iterable[dict[str, Any]]:
            found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
            return found

        return Facts(
            last={
                r["job"]: LastRun(r["result"], r["started"], r["ended"], r["slot"], r["success"])
                for r in rows(_NEWEST_RUNS)
            },
            runs={(r["job"], r["result"]): r["number"] for r in rows(_RUNS)},
            mails={r["outcome"]: r["number"] for r in rows(_MAILS)},
            findings={r["severity"]: r["number"] for r in rows(_FINDINGS)},
            outbox=sum(r["number"] for r in rows(_OUTBOX)),
        )


def exposition(facts: Facts | None, overdue: Mapping[str, bool]) -> bytes:
    """The metrics in Prometheus' text format.

    `overdue` names the jobs that are scheduled, and whether their run is missing. Without
    `facts` the lake could not be read: only that, and the version, are said.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Lake(facts, overdue))
    return generate_latest(registry)


class _Lake(Collector):
    def __init__(self, facts: Facts | None, overdue: Mapping[str, bool]) -> None:
        self.facts = facts
        self.overdue = overdue

    def collect(self) -> Iterator[Metric]:
        """Every metric, also those that are 0, so that a query never finds nothing."""
        yield _gauge("build_info", "Version of dmarckit.", "version", {__version__: 1})
        readable = int(self.facts is not None)
        yield GaugeMetricFamily(
            "dmarckit_lake_readable", "1: the tables could be read; 0: not.", value=readable
        )
        if self.facts is None:
            return
        yield from _jobs(self.facts, self.overdue)
        mails = CounterMetricFamily("dmarckit_mails", "Mails by outcome.", labels=["outcome"])
        for outcome in OUTCOMES:
            mails.add_metric([outcome], self.facts.mails.get(outcome, 0))
        yield mails
        findings = {s: self.facts.findings.get(s, 0) for s in SEVERITIES}
        yield _gauge("findings", "Open findings that are not muted.", "severity", findings)
        yield GaugeMetricFamily(
            "dmarckit_outbox_messages", "Messages that wait for Slack.", value=self.facts.outbox
        )


def _jobs(facts: Facts, overdue: Mapping[str, bool]) -> Iterator[Metric]:
    names = sorted({*overdue, *facts.last})
    runs = CounterMetricFamily("dmarckit_job_runs", "Runs by result.", labels=["job", "result"])
    for job in names:
        for result in RESULTS:
            runs.add_metric([job, result], facts.runs.get((job, result), 0))
    yield runs
    yield _gauge(
        "job_last_success_timestamp_seconds",
        "End of the newest run that did its work; 0: there is none.",
        "job",
        {job: _epoch(facts.last[job].success if job in facts.last else None) for job in names},
    )
    yield _gauge(
        "job_overdue",
        "1: the run of the newest slot is missing.",
        "job",
        {job: int(late) for job, late in sorted(overdue.items())},
    )
    yield _gauge(
        "run_duration_seconds",
        "How long the newest run took.",
        "job",
        {job: run.seconds for job, run in sorted(facts.last.items())},
    )


def _gauge(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"dmarckit_{name}", help_, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _epoch(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0


GRACE = timedelta(minutes=5)
"""beyond the timeout of a job, before its run counts as missing"""
FRESH = timedelta(seconds=15)
"""how long an answer of the lake is used again"""
PATIENCE = 20.0
"""seconds that a request waits for the lake"""
PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class State:
    """What the runner has taken on."""

    schedules: Sequence[Schedule]
    started: datetime
    """when the runner started; slots before that are not missed by a job that is new"""


@dataclass(frozen=True, slots=True)
class Job:
    """How a job stands."""

    name: str
    last: LastRun | None
    overdue: bool
    """the newest slot passed longer ago than timeout and grace, and nothing ran for it"""

    @property
    def failing(self) -> bool:
        """Its run is missing, or the newest one did not do its work."""
        return self.overdue or (self.last is not None and self.last.result not in SUCCESSES)


def judge(state: State, facts: Facts, now: datetime) -> list[Job]:
    """How each scheduled job stands at a moment; jobs without cron are never overdue."""
    return [
        Job(s.name, facts.last.get(s.name), _overdue(s, facts.last.get(s.name), state, now))
        for s in state.schedules
    ]


def _overdue(schedule: Schedule, last: LastRun | None, state: State, now: datetime) -> bool:
    # the newest slot may be a moment old; the one that should be done by now counts
    slot = schedule.newest_slot(now - timedelta(seconds=schedule.timeout) - GRACE)
    if slot is None:
        return False
    if last is None:
        return slot >= state.started
    return max(last.started, last.slot or last.started) < slot


def report(jobs: Sequence[Job], now: datetime) -> dict[str, Any]:
    """What ``/health`` says: `status`, and of each job its last result and how old it is."""
    return {
        "status": "failing" if any(job.failing for job in jobs) else "ok",
        "time": now.isoformat(timespec="seconds"),
        "jobs": {
            job.name: {
                "result": job.last.result if job.last else None,
                "ended": _time(job.last.ended if job.last else None),
                "last_success": _time(success := job.last.success if job.last else None),
                "age_seconds": round((now - success).total_seconds()) if success else None,
                "overdue": job.overdue,
            }
            for job in jobs
        },
    }


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else None


@contextlib.contextmanager
def serve(settings: Settings, state: State, clock: Clock | None = None) -> Iterator[str | None]:
    """The server at `health_host`:`health_port` while the block runs; its address.

    Port 0 means off: nothing listens, and the address is None. Raises SettingsError when
    the address cannot be used.
    """
    if not settings.health_port:
        yield None
        return
    answers = _Answers(settings, state, clock or (lambda: datetime.now(UTC)))
    host = f"[{settings.health_host}]" if ":" in settings.health_host else settings.health_host
    place = f"{host}:{settings.health_port}"
    try:
        server = HealthServer((settings.health_host, settings.health_port), answers.answer)
    except OSError as error:
        raise SettingsError(
            f"cannot serve /health at {place}: {error.strerror}; set health_port to a free port "
            "(0: off), and health_host to an address of this machine"
        ) from error
    with server.running():
        yield f"http://{place}"


class _Answers:
    """What is said to which path. One thread at a time asks the lake; others wait for it."""

    def __init__(self, settings: Settings, state: State, clock: Clock) -> None:
        self.settings = settings
        self.state = state
        self.clock = clock
        self._turn = threading.Lock()
        self._read: datetime | None = None
        self._facts: Facts | None = None
        self._problem = "the lake has not answered yet"

    def answer(self, path: str) -> Answer:
        """The answer to GET `path`."""
        if path == "/health":
            return self._health()
        if path == "/metrics":
            facts = self._current()
            jobs = judge(self.state, facts, self.clock()) if facts else []
            return Answer(200, PROMETHEUS, exposition(facts, {j.name: j.overdue for j in jobs}))
        return Answer(404, "text/plain; charset=utf-8", b"there are /health and /metrics\n")

    def _health(self) -> Answer:
        facts, now = self._current(), self.clock()
        if facts is None:
            said: dict[str, Any] = {"status": "failing", "error": self._problem}
        else:
            said = report(judge(self.state, facts, now), now)
        status = 200 if said["status"] == "ok" else 503
        return Answer(status, "application/json", json.dumps(said, indent=1).encode() + b"\n")

    def _current(self) -> Facts | None:
        """The facts, not older than `FRESH`; None: the lake cannot be read, or not in time."""
        if not self._turn.acquire(timeout=PATIENCE):
            self._problem = f"the lake did not answer within {PATIENCE:.0f} s"
            return None
        try:
            if self._read is None or self.clock() - self._read >= FRESH:
                self._facts = self._asked()
                self._read = self.clock()
            return self._facts
        finally:
            self._turn.release()

    def _asked(self) -> Facts | None:
        try:
            return read_facts(open_lake(self.settings))
        except DmarckitError as error:
            self._problem = clean(str(error), secrets_of(self.settings))
            log.warning("cannot read the lake for /health: %s", error)
        except Exception:
            self._problem = "the lake could not be read; the log says why"
            log.exception("cannot read the lake for /health")
        return None
