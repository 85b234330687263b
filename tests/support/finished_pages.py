"""Finished pages to look at: from a demo, an empty and a hostile lake, in both languages."""

from __future__ import annotations

import contextlib
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from dmarckit.core.language import current_language, use
from dmarckit.core.storage import StoredObject
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import tls_rows
from dmarckit.lake.schema import TLS
from dmarckit.pages import index
from dmarckit.pages.build import build_page
from dmarckit.reports.model import TlsFailure, TlsPolicy, TlsReport
from tests.pages.test_notebooks import FOLDER
from tests.support import frames
from tests.support.lakes import day
from tests.support.outside_rows import faulty, keep

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOSTILE = (
    "<script>document.title='run'</script>\"><img src=x onerror=\"document.title='run'\">"
    "\u202ejavascript:alert(1)"
)
LAKES = ("demo", "empty", "hostile")
NOTEBOOKS = ("overview", "domain", "sender", "report", "explore", "tls", "requirements")
NOTEBOOKS += ("postmaster", "index")
PAGES = [f"{notebook}-{lake}" for notebook in NOTEBOOKS for lake in LAKES]
JAPANESE = [f"{notebook}-{lake}-ja" for notebook in NOTEBOOKS for lake in LAKES[:2]]
TITLES = {
    "overview": "DMARC overview",
    "domain": "DMARC of <script>document.title='run'</script>",
    "sender": "<script>document.title='run'</script>",
    "report": "Report of <script>document.title='run'</script>",
    "explore": "Explore the reports",
    "tls": "TLS reports",
    "requirements": "Sender requirements",
    "postmaster": "Google Postmaster Tools",
    "index": "dmarckit pages",
}
"""how the titles of the hostile pages begin"""


def hostile() -> tuple[Any, Any, Any]:
    """A lake in which whatever a stranger can write is an attack."""
    names = ["domain", "reporter", "source_ip", "header_from", "envelope_from"]
    record = frames.FAILS | dict.fromkeys(names, HOSTILE) | {"messages": 50}
    signature = {"domain": HOSTILE, "selector": HOSTILE, "result": "fail", "human_result": HOSTILE}
    requirement = f"Sender requirement failed: 550-5.7.30 {HOSTILE}"
    said = [{"type": HOSTILE, "comment": HOSTILE}, {"type": "other", "comment": requirement}]
    record |= {"dkim": [signature], "reasons": said}
    report = dict.fromkeys(["domain", "reporter", "report_id", "p", "contact"], HOSTILE)
    mail = {"outcome": "unreadable"} | dict.fromkeys(["key", "from_domain", "error"], HOSTILE)
    return frames.records(record), frames.reports(report), frames.mails(mail)


def tls_report(days_ago: int, name: str = "") -> TlsReport:
    """A day of TLS sessions, some of them failing; `name` replaces all outside text."""
    failure = TlsFailure("certificate-expired", 40, receiving_mx_hostname=name or "mx.example.com")
    host = name or "example.com"
    policy = TlsPolicy("sts", host, (), (), 4000, 40, (failure,))
    who = name or "Receiver One"
    return TlsReport(who, None, f"{days_ago}", day(days_ago), day(days_ago - 1), (policy,))


def runs(hostile_text: str = "") -> list[dict[str, Any]]:
    """Runs of two jobs as the table `runs` has them: good, with problems, failed, interrupted."""
    numbers = ["duplicate", "untrusted", "not_a_report", "waiting", "unreachable"]
    usual = dict.fromkeys(numbers, 0) | dict.fromkeys(["page", "error", "notebook"], None)
    usual |= {"mails": 12, "stored": 11, "unreadable": 1, "findings": 3, "told": 1}
    failed = {"error": hostile_text or "notebook overview failed: KeyError: 'x'"}
    failed |= {"notebook": hostile_text or "/data/pages/failed/overview/2026-11-23.ipynb"}
    rows: list[dict[str, Any]] = [
        {"job": "daily", "result": "ok", "started": NOW, "page": "overview/2026-11-24.html"},
        {"job": "daily", "result": "failed", "started": day(1, 9)} | failed,
        {"job": "daily", "result": "problems", "started": day(2, 9)},
        {"job": hostile_text or "watch", "result": "interrupted", "started": day(2, 9)},
    ]
    return [usual | row | {"run": f"run{n}"} for n, row in enumerate(rows)]


class FinishedPages:
    """Makes each page once, below a folder that test processes may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        """The file of a page such as ``overview-demo`` or ``domain-empty-ja``."""
        path = self._folder / f"{name}.html"
        if not path.exists():
            notebook, lake, tongue = (*name.split("-"), "en")[:3]
            half = path.with_suffix(f".{uuid.uuid4().hex}")
            half.write_bytes(self._in_language(tongue, notebook, lake))
            half.replace(path)
        return path

    def _in_language(self, tongue: str, notebook: str, lake: str) -> bytes:
        before = current_language()
        use(tongue)
        os.environ["DMARCKIT_LANGUAGE"] = tongue  # the kernel's
        try:
            return self._index(lake) if notebook == "index" else self._page(notebook, lake)
        finally:
            del os.environ["DMARCKIT_LANGUAGE"]
            use(before)

    def _index(self, lake: str) -> bytes:
        keys = ["overview/2026-11-24.html", "overview/2026-11-23.days-7.0123abcd.html"]
        keys += [f"domain/brand{n}.example/2026-11-2{d}.html" for n in range(12) for d in range(5)]
        objects = [StoredObject(key, "e", 1, NOW) for key in keys]
        if lake == "empty":
            return index.index_page([])
        return index.index_page(objects, runs(HOSTILE if lake == "hostile" else ""))

    def _page(self, notebook: str, lake: str) -> bytes:
        given: dict[str, Any] = {} if notebook == "report" else {"end": "2026-11-23"}
        if lake == "hostile" and notebook in ("domain", "sender"):
            given["domain"] = HOSTILE
        config = str(self._lake(lake))
        return build_page(FOLDER / f"{notebook}.ipynb", given, config=config, now=NOW).html

    def _lake(self, name: str) -> Path:
        home = self._folder / "lakes" / name
        settings = home / "dmarckit.toml"
        if settings.exists():
            return settings
        half = home.with_name(f"{name}-{uuid.uuid4().hex}")
        rows = {
            "demo": lambda: frames.lake(days=60, domains=3, reporters=4),
            "empty": lambda: (frames.records(), frames.reports(), frames.mails()),
            "hostile": hostile,
        }[name]()
        frames.fill(half, *rows)
        if name != "empty":
            text = HOSTILE if name == "hostile" else ""
            reports = [tls_report(ago, text) for ago in range(1, 20)]
            made = [row for n, r in enumerate(reports) for row in tls_rows(r, f"mail/tls{n}")]
            table = pa.Table.from_pylist(made, schema=TLS.schema)
            lake = Lake(str(half / "lake"))
            lake.write.append_new("tls", table)
            keep(lake, *faulty(text or "brand1.example", text))
        settings_there = half / "dmarckit.toml"
        settings_there.write_text(f'home = "{home.as_posix()}"\n', encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was faster
            half.rename(home)
        return settings
