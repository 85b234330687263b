"""Finished pages to look at: from a demo, an empty and a hostile lake, in both languages."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from dmarckit.core.language import current_language, use
from dmarckit.core.settings import CONFIG_VARIABLE
from dmarckit.core.storage import StoredObject
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import tls_rows
from dmarckit.lake.schema import TLS
from dmarckit.pages import index
from dmarckit.pages.build import SharedKernel, build_page
from dmarckit.reports.model import TlsFailure, TlsPolicy, TlsReport
from tests.pages.test_notebooks import FOLDER
from tests.support import frames
from tests.support.lakes import day
from tests.support.once import Once
from tests.support.outside_rows import faulty, keep

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOSTILE = (
    "<script>document.title='run'</script>\"><img src=x onerror=\"document.title='run'\">"
    "\u202ejavascript:alert(1)"
)
LAKES = ("demo", "empty", "hostile")
NOTEBOOKS = ("overview", "domain", "sender", "report", "explore", "tls", "requirements")
NOTEBOOKS += ("postmaster", "index")
# those of one lake behind one another: they share a kernel
PAGES = [f"{notebook}-{lake}" for lake in LAKES for notebook in NOTEBOOKS]
JAPANESE = [f"{notebook}-{lake}-ja" for lake in LAKES[:2] for notebook in NOTEBOOKS]
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
AUDITED = [f"{notebook}-demo" for notebook in TITLES]
AUDITED += ["overview-empty", "domain-empty", "sender-empty", "index-empty"]
AUDITED += ["overview-demo-ja", "sender-demo-ja", "index-demo-ja"]
"""pages whose every colour, name and role is looked at"""


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
    """Makes each page once, below a folder that test processes may share.

    Pages of one lake in one language are made on one kernel: a kernel's start is half a page.
    """

    def __init__(self, once: Once) -> None:
        self._once = once
        self._kernel: tuple[tuple[str, str], SharedKernel] | None = None

    def __call__(self, name: str) -> Path:
        """The file of a page such as ``overview-demo`` or ``domain-empty-ja``."""
        notebook, lake, tongue = (*name.split("-"), "en")[:3]
        return self._once(
            f"finished-pages/{name}.html",
            lambda path: path.write_bytes(self._in_language(tongue, notebook, lake)),
        )

    def close(self) -> None:
        """End the kernel, if there is one."""
        if self._kernel:
            self._kernel[1].close()
            self._kernel = None

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
        with mock.patch.dict(os.environ, {CONFIG_VARIABLE: config}):  # the kernel's
            kernel = self._shared(lake, current_language())
            source = FOLDER / f"{notebook}.ipynb"
            return build_page(source, given, config=config, now=NOW, kernel=kernel).html

    def _shared(self, lake: str, tongue: str) -> SharedKernel:
        """The kernel of a lake and a language: it is given its settings when it starts."""
        if self._kernel is None or self._kernel[0] != (lake, tongue):
            self.close()
            self._kernel = (lake, tongue), SharedKernel()
        return self._kernel[1]

    def _lake(self, name: str) -> Path:
        """The settings of a lake."""
        home = self._once(f"lakes/{name}", lambda folder: make_lake(name, folder))
        text = f'home = "{home.as_posix()}"\n'
        return self._once(f"lakes/{name}.toml", lambda file: file.write_text(text, "utf-8"))


def make_lake(name: str, home: Path) -> None:
    """The lake of that name below a folder."""
    rows = {
        "demo": lambda: frames.lake(days=60, domains=3, reporters=4),
        "empty": lambda: (frames.records(), frames.reports(), frames.mails()),
        "hostile": hostile,
    }[name]()
    frames.fill(home, *rows)
    if name != "empty":
        text = HOSTILE if name == "hostile" else ""
        reports = [tls_report(ago, text) for ago in range(1, 20)]
        made = [row for n, r in enumerate(reports) for row in tls_rows(r, f"mail/tls{n}")]
        table = pa.Table.from_pylist(made, schema=TLS.schema)
        lake = Lake(str(home / "lake"))
        lake.write.append_new("tls", table)
        keep(lake, *faulty(text or "brand1.example", text))
