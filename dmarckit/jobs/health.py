"""Is the work being done? ``/health`` for a watchdog, ``/metrics`` for Prometheus.

`schedules start` serves them. Both read the lake, and numbers about mail that runs keep in the
home, so that a restart forgets nothing, at most once in some seconds. The server takes GET only,
few requests at once, and cuts off slow clients.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dmarckit import __version__
from dmarckit.core import DmarckitError, Settings, SettingsError, clean, open_storage, secrets_of
from dmarckit.ingest import OUTCOMES
from dmarckit.jobs.metrics import FAMILIES, MailMetrics, read_metrics
from dmarckit.jobs.record import (
    Clock,
    JobState,
    LakeStatus,
    Result,
    RunnerState,
    job_states,
    read_status,
)
from dmarckit.jobs.run import utc_now
from dmarckit.lake import open_lake

MAX_REQUESTS = 8  # requests under way at once; further ones are asked to come back
REQUEST_SECONDS = 5.0  # that a client has for sending its whole request
ANSWER_SECONDS = 10.0  # that one write of the answer may wait for the client
LAKE_SECONDS = 20.0  # that a request waits for the lake
CACHE_TIME = timedelta(seconds=15)  # how long what the lake said is used again
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
_HEADERS = [
    ("Server", "dmarckit"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
]
_TEXT = "text/plain; charset=utf-8"

log = logging.getLogger(__name__)


def metrics(
    status: LakeStatus | None, jobs: Sequence[JobState], mail: MailMetrics | None = None
) -> Iterator[Metric]:
    """Yield every metric, also those that are 0, so that a query never finds nothing.

    `jobs` are those that are scheduled. Without `status` the lake could not be read: only
    that, and the version, are given. Without `mail` no run has kept its numbers yet.
    """

    def gauge(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
        family = GaugeMetricFamily(f"dmarckit_{name}", about, labels=[label])
        for value, number in values.items():
            family.add_metric([value], number)
        return family

    yield gauge("build_info", "Version of dmarckit.", "version", {__version__: 1})
    readable = "1: the tables could be read; 0: not."
    yield GaugeMetricFamily("dmarckit_lake_readable", readable, value=int(status is not None))
    if status is None:
        return
    last = dict(sorted(status.last.items()))
    names = sorted({*(job.name for job in jobs), *last})
    runs = CounterMetricFamily("dmarckit_job_runs", "Runs by result.", labels=["job", "result"])
    for key in itertools.product(names, get_args(Result)):
        runs.add_metric(key, status.runs.get(key, 0))
    yield runs
    ends = dict.fromkeys(names, 0.0)
    ends |= {job: run.success.timestamp() for job, run in last.items() if run.success}
    about = "End of the newest run that did its work; 0: there is none."
    yield gauge("job_last_success_timestamp_seconds", about, "job", ends)
    late = {job.name: int(job.overdue) for job in sorted(jobs, key=lambda job: job.name)}
    yield gauge("job_overdue", "1: the run of the newest slot is missing.", "job", late)
    failing = {job.name: int(job.failing) for job in sorted(jobs, key=lambda job: job.name)}
    about = "1: the newest run did not do its work, or is missing."
    yield gauge("job_failing", about, "job", failing)
    lengths = {n: max(0.0, (run.ended - run.started).total_seconds()) for n, run in last.items()}
    yield gauge("run_duration_seconds", "How long the newest run took.", "job", lengths)
    mails = CounterMetricFamily("dmarckit_mails", "Mails by outcome.", labels=["outcome"])
    for outcome in OUTCOMES:
        mails.add_metric([outcome], status.mails.get(outcome, 0))
    yield mails
    waiting = "Messages that wait in the outbox."
    yield GaugeMetricFamily("dmarckit_outbox_messages", waiting, value=status.outbox)
    if mail is None:
        return
    about = "Moment of the analysis that the numbers about mail and the findings are from."
    as_of = mail.as_of.timestamp()
    yield GaugeMetricFamily("dmarckit_analysis_timestamp_seconds", about, value=as_of)
    for name, kept in FAMILIES.items():
        family = GaugeMetricFamily(f"dmarckit_{name}", kept.about, labels=kept.labels)
        for labels, number in mail.of(name):
            family.add_metric(labels, number)
        yield family


@contextlib.contextmanager
def serve(settings: Settings, state: RunnerState, clock: Clock = utc_now) -> Iterator[str | None]:
    """Serve at `health_host`:`health_port` while the block runs; SettingsError if it cannot.

    Yields:
        The address; None with port 0, which means off: nothing listens.
    """
    if not settings.health_port:
        yield None
        return
    host = f"[{settings.health_host}]" if ":" in settings.health_host else settings.health_host
    place = f"{host}:{settings.health_port}"
    pages = _Pages(settings, state, clock)
    try:
        server = _Server((settings.health_host, settings.health_port), pages)
    except OSError as error:
        raise SettingsError(
            f"cannot serve /health at {place}: {error.strerror}; set health_port to a free port "
            "(0: off), and health_host to an address of this machine"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=[0.1], name="health", daemon=True)
    thread.start()
    try:
        yield f"http://{place}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Pages(Collector):
    """The two pages as a WSGI application. One thread at a time asks the lake; others wait."""

    def __init__(self, settings: Settings, state: RunnerState, clock: Clock) -> None:
        self._settings, self._state, self._clock = settings, state, clock
        self._turn = threading.Lock()
        self._read: datetime | None = None
        self._status: LakeStatus | None = None
        self._home = open_storage(settings.home)
        self._mail: MailMetrics | None = None
        self._problem = "the lake has not answered yet"
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "GET" and path == "/metrics":
            found: Iterable[bytes] = self._metrics(
                environ, lambda status, headers: start_response(status, [*headers, *_HEADERS])
            )
            return found
        kind, more = _TEXT, list[tuple[str, str]]()
        if method != "GET":
            status, body, more = "405 Method Not Allowed", b"only GET\n", [("Allow", "GET")]
        elif path == "/health":
            content = self._health()
            status = "200 OK" if content["status"] == "ok" else "503 Service Unavailable"
            kind, body = "application/json", json.dumps(content, indent=1).encode() + b"\n"
        else:
            status, body = "404 Not Found", b"there are /health and /metrics\n"
        start_response(status, [("Content-Type", kind), *_HEADERS, *more])
        return [b"" if method == "HEAD" else body]

    def _health(self) -> dict[str, Any]:
        """Return the content of ``/health``: `status`, each job's last result and its age."""
        status, now = self._current(), self._clock()
        if status is None:
            return {"status": "failing", "error": self._problem}

        def shown(moment: datetime | None) -> str | None:
            return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else None

        jobs = {}
        states = job_states(self._state, status.last, now)
        for job in states:
            last = status.last.get(job.name)
            success = last.success if last else None
            jobs[job.name] = {
                "result": last.result if last else None,
                "ended": shown(last.ended if last else None),
                "last_success": shown(success),
                "age_seconds": round((now - success).total_seconds()) if success else None,
                "overdue": job.overdue,
            }
        health = "failing" if any(job.failing for job in states) else "ok"
        return {"status": health, "time": now.isoformat(timespec="seconds"), "jobs": jobs}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of ``/metrics``."""
        status = self._current()
        jobs = job_states(self._state, status.last, self._clock()) if status else []
        return metrics(status, jobs, self._mail)

    def _current(self) -> LakeStatus | None:
        """Return the status, at most `CACHE_TIME` old; None: no lake, or not in time."""
        if not self._turn.acquire(timeout=LAKE_SECONDS):
            self._problem = f"the lake did not answer within {LAKE_SECONDS:.0f} s"
            return None
        try:
            if self._read is not None and self._clock() - self._read < CACHE_TIME:
                return self._status
            self._status, self._read = None, self._clock()
            self._status = read_status(open_lake(self._settings))
            self._mail = read_metrics(self._home)
        except DmarckitError as error:
            self._problem = clean(str(error), secrets_of(self._settings))
            log.warning("cannot read the lake for /health: %s", error)
        except Exception:
            self._problem = "the lake could not be read; the log says why"
            log.exception("cannot read the lake for /health")
        finally:
            self._turn.release()
        return self._status


class _Server(ThreadingWSGIServer):
    """Serve a WSGI application to a few clients at once, for a short time each."""

    allow_reuse_port = False
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], application: WSGIApplication) -> None:
        self._places = threading.BoundedSemaphore(MAX_REQUESTS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.set_app(application)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.setblocking(False)
        with contextlib.suppress(OSError):
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # a client that went away is nobody's fault
        log.debug("a request was not answered", exc_info=True)


class _Handler(WSGIRequestHandler):
    server_version, sys_version = "dmarckit", ""
    timeout = ANSWER_SECONDS
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = _TEXT

    def setup(self) -> None:
        """Start the time that the whole request has, however slowly its bytes drip in."""
        super().setup()

        def cut_off() -> None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        self._limit = threading.Timer(REQUEST_SECONDS, cut_off)
        self._limit.daemon = True
        self._limit.start()

    def parse_request(self) -> bool:
        whole = super().parse_request()
        self._limit.cancel()
        return whole

    def finish(self) -> None:
        self._limit.cancel()
        super().finish()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: what clients ask is outside text."""
