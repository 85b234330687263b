"""progress: how an ingest shows itself in a log."""

from __future__ import annotations

import io
import logging
import time
from collections import Counter

import pytest

from dmarckit.cli.output import ingest_progress


def test_the_log_tells_rate_remaining_time_and_outcomes_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="dmarckit")
    times = iter([0.0, 5.0, 20.0, 20.0, 25.0])
    with ingest_progress(lambda: next(times)) as show:
        show(10_000, 300_000, Counter(stored=9_990, unreadable=10))
        assert caplog.messages == []
        show(20_000, 300_000, Counter(stored=19_990, unreadable=10))
        show(25_000, 300_000, Counter(stored=24_990, unreadable=10))
    assert caplog.messages == [
        "read 20000 of 300000 mails, 1000/s, 5 min left (19,990 stored, 10 unreadable)"
    ]


def test_the_bar_is_there_while_mails_are_read_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with ingest_progress() as show:
        assert terminal.getvalue() == ""
        show(8, 8, Counter())
        assert "Reading mails" in terminal.getvalue()
        show(8, 8, Counter(stored=8))
        shown = terminal.getvalue()
        time.sleep(0.3)  # a bar would have been drawn again
        assert terminal.getvalue() == shown
