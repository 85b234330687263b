"""Log lines on stderr: JSON for machines, text for people, a run id on every one.

Commands that do work call `start_command` once; modules log through ``logging.getLogger``. Secrets
of the installation, presigned links and control characters never reach a line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import traceback
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dmarckit.core.errors import SettingsError, one_line
from dmarckit.core.redact import HIDDEN, redacted, secrets_in, secrets_of
from dmarckit.core.settings import PREFIX, Settings, load_settings

LOGGER = "dmarckit"
LONGEST = 2_000  # characters of a message or field
LONGEST_TRACE = 16_000
"""characters of an exception with its traceback; the end is kept, where the reason is"""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LINK = re.compile(r"(?i)((?:https?|s3|file)://[^\s\"'<>?]*\?)[^\s\"'<>]+")
_SIGNED = re.compile(
    r"(?i)\b(X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=[^\s&\"'<>]+"
)
_TOKEN = re.compile(r"\bxox[a-z]-[\w-]{6,}|(?i:\bBearer\s+)\S+")

log = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a line belongs to."""

    run: str
    job: str | None = None


_process = RunInfo("-")


def new_run() -> str:
    """Return a fresh run id, made as an ingest makes its own: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def run_info() -> RunInfo:
    """Return the run that this process works for; ``-`` before `start_logging`."""
    return _process


def start_command(job: str | None = None) -> Settings:
    """Return the settings in force, with logs started as they say: a command's first step.

    Raises SettingsError, which `log_failure` can then say in the right form.
    """
    try:
        settings = load_settings()
    except SettingsError:
        start_logging(None, job)
        raise
    start_logging(settings, job)
    return settings


def start_logging(settings: Settings | None, job: str | None = None) -> str:
    """Write log lines to stderr from now on, as `log_format` says; return their run id.

    A process works for one run, so that lines of its threads and libraries carry its id too.
    dmarckit logs from INFO on, libraries from WARNING on. Calling it again replaces what
    the call before has set. Without settings (they are faulty) the environment counts.
    """
    global _process
    _process = RunInfo(new_run(), job)
    form = settings.log_format if settings else os.environ.get(f"{PREFIX}LOG_FORMAT", "auto")
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    secrets = secrets_of(settings) if settings else frozenset()
    handler = _Stderr(as_json, {*secrets, *secrets_in(os.environ)})
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    return _process.run


def log_step(text: str, **fields: object) -> None:
    """Log one step of the work in words: what `run_job(step=…)` and others call."""
    log.info("%s", text, extra=fields)


def log_failure(error: BaseException) -> bool:
    """Log the error that ends a command; return False when nothing was started that prints it."""
    started = any(isinstance(h, _Stderr) and h.json for h in logging.getLogger().handlers)
    if started:
        log.error("%s", error)
    return started


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """Return the text without these secrets, Slack tokens, and what signs a link.

    >>> clean("GET https://b.example/k?X-Amz-Signature=abc failed")
    'GET https://b.example/k?••• failed'
    """
    text = _LINK.sub(rf"\1{HIDDEN}", str(redacted(text, secrets)))
    return _TOKEN.sub(HIDDEN, _SIGNED.sub(rf"\1={HIDDEN}", text))


class _Stderr(logging.Handler):
    """Writes to what stderr is at the moment: a progress bar replaces it while it is shown."""

    def __init__(self, as_json: bool, secrets: Collection[str]) -> None:
        super().__init__()
        self.json = as_json
        self.secrets = secrets

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or nothing when nobody reads stderr any more."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (BrokenPipeError, ValueError):
            return
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Replace the line of a call with wrong arguments; its values are never printed."""
        line = logging.makeLogRecord(
            {"name": record.name, "levelno": logging.ERROR, "levelname": "ERROR"}
        )
        line.msg = f"a log line of {record.pathname}:{record.lineno} could not be written"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(self.format(line) + "\n")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        values = self._values(record)
        return json.dumps(values, ensure_ascii=False) if self.json else _text(values)

    # Not python-json-logger: one dict of cleaned values serves JSON and text, and JSON is one
    # line of it. With the library a filter has to clean the record itself, which other
    # handlers see as well (a filter may return a copy from Python 3.12 on only).
    def _values(self, record: logging.LogRecord) -> dict[str, Any]:
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "run": _process.run,
            "job": _process.job,
            "message": self._safe(record.getMessage(), LONGEST),
            "module": record.name,
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in values:
                plain = isinstance(value, bool | int | float | None)
                values[name] = value if plain else self._safe(str(value), LONGEST)
        if record.exc_info and record.exc_info[1] is not None:
            trace = clean("".join(traceback.format_exception(record.exc_info[1])), self.secrets)
            shown = "\n".join(one_line(line, LONGEST) for line in trace.splitlines())
            values["exception"] = shown[-LONGEST_TRACE:]
        return {name: value for name, value in values.items() if value is not None}

    def _safe(self, text: str, limit: int) -> str:
        return one_line(clean(text, self.secrets), limit)


def _text(values: dict[str, Any]) -> str:
    """Return ``09:15:02 warning  message (module) name=value``, then any exception."""
    known = ("time", "level", "run", "job", "message", "module", "exception")
    more = "".join(f" {k}={v}" for k, v in values.items() if k not in known)
    module = values["module"]
    where = "" if module.split(".")[0] == LOGGER else f" ({module})"
    clock = datetime.fromisoformat(values["time"]).astimezone().strftime("%H:%M:%S")
    job = f" {values['job']}" if "job" in values else ""
    line = f"{clock} {values['level']:<7}{job} [{values['run']}] {values['message']}{where}{more}"
    return "\n".join([line, values["exception"]] if "exception" in values else [line])


def _uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("%s: %s", kind.__name__, one_line(error), exc_info=(kind, error, trace))
