"""Handlers for a function that goes wrong: the event says how, all else is dmarckit's own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from dmarckit.ingest import arrivals, read
from dmarckit.jobs import run, serverless

_ingest, _read = run.ingest_mails, read.read_object


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """What `serverless.handler` does, with ``{"fault": …}`` on the way."""
    fault = event.get("fault")
    slow = slowly if fault == "slow" else _ingest
    run.ingest_mails = arrivals.ingest_mails = slow  # type: ignore[assignment]
    read.read_object = deadly if fault == "die" else _read  # type: ignore[assignment]
    return serverless.handler(event, context)


def slowly(*given: Any, **named: Any) -> Any:
    """Read the mails, and then sleep until somebody ends that."""
    _ingest(*given, **named)
    time.sleep(3600)


def deadly(raw: bytes, name: str, *more: Any) -> Any:
    """Die as a process does that takes more memory than there is."""
    os.kill(os.getpid(), signal.SIGKILL)
