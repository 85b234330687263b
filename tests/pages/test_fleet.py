"""A page for each domain, with a small notebook made here and real kernels in real processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dmarckit.cli import pages as fleet_command
from dmarckit.core.errors import PageError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import FolderStorage
from dmarckit.core.window import last_days
from dmarckit.findings.ledger import record_findings
from dmarckit.findings.model import Finding
from dmarckit.lake.lake import Lake
from dmarckit.lake.rows import tls_rows
from dmarckit.lake.schema import TLS
from dmarckit.pages import fleet, inputs
from dmarckit.pages.fleet import FleetPage, fleet_domains, publish_fleet
from tests.support import frames
from tests.support.finished_pages import tls_report
from tests.support.page_notebooks import write_notebook

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
WINDOW = last_days(30, today=NOW.date())
CELL = "assert domain != 'bad.example', 'no data'; print('Mail of', domain, days)"
PARAMETERS = 'domain: str = "a.example"  # of this domain\ndays: int = 30  # days'


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A lake with reports about two domains, and ./notebooks with a notebook named domain."""
    write_notebook(Path("notebooks/domain.ipynb"), CELL, parameters=PARAMETERS)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frames.fill(tmp_path, *reports("a.example", "b.example"))
    return load_settings(home=str(tmp_path))


def reports(*domains: str, uid: str = "uid") -> tuple[Any, Any, Any]:
    made = [{"domain": d, "report_uid": f"{uid}-{d}", "messages": i} for i, d in enumerate(domains)]
    return frames.records(*made), frames.reports(*made), frames.mails()


def outcomes(pages: list[FleetPage]) -> list[tuple[str, str]]:
    return [(page.domain, page.outcome) for page in pages]


@pytest.mark.slow
def test_pages_in_parallel_of_which_one_fails(settings: Settings, tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "pages")
    old = "domain/bad.example/2026-11-24.html"
    storage.put(old, b"old", content_type="text/html")
    domains = ["a.example", "bad.example", "b.example"]
    heard: list[FleetPage] = []
    settings = settings.model_copy(update={"domains": tuple(domains), "workers": 2})
    pages = publish_fleet(settings, domains, now=NOW, progress=heard.append)
    built, failed = "built", "failed"
    assert outcomes(pages) == list(zip(domains, [built, failed, built], strict=True))
    assert sorted(heard, key=lambda page: page.key) == sorted(pages, key=lambda page: page.key)
    assert b"Mail of b.example 30" in storage.get("domain/b.example/2026-11-24.html")
    assert storage.get(old) == b"old"
    assert "AssertionError: no data (kept: " in pages[1].error
    assert b"no data" in storage.get("failed/domain/bad.example/2026-11-24.ipynb")
    index = storage.get("index.html").decode()
    assert '<a href="domain/a.example/2026-11-24.html">a.example</a>' in index
    assert "failed/" not in index

    again = publish_fleet(settings, domains[:1] + domains[2:], now=NOW)
    assert outcomes(again) == [("a.example", "unchanged"), ("b.example", "unchanged")]
    assert again[0].link == pages[0].link


def test_a_page_is_built_again_when_something_it_shows_has_changed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def build(task: Any) -> FleetPage:
        built.append(task.page.domain)
        storage.put(task.page.key, b"page", content_type="text/html")
        made = json.dumps(task.manifest).encode()
        storage.put(task.page.key + fleet.MANIFEST, made, content_type="application/json")
        return task.page

    storage = FolderStorage(tmp_path / "pages")
    monkeypatch.setattr(fleet, "_build", build)

    def run(settings: Settings = settings, now: datetime = NOW, **more: Any) -> list[str]:
        built.clear()
        alone = settings.model_copy(update={"workers": 1})
        publish_fleet(alone, ["a.example", "b.example"], now=now, **more)
        return sorted(built)

    both = ["a.example", "b.example"]
    assert run() == both
    assert run() == []
    assert run(force=True) == both
    assert run(parameters={"days": 7}) == both, "they have a place of their own"
    assert run(now=NOW + timedelta(days=1)) == both
    frames.fill(tmp_path, *reports("b.example", uid="later"))
    assert run() == ["b.example"]
    assert run(settings.model_copy(update={"language": "ja"})) == both
    write_notebook(Path("notebooks/domain.ipynb"), CELL + "  # more", parameters=PARAMETERS)
    assert run() == both
    monkeypatch.setattr(inputs, "code_hash", lambda: "edited")
    assert run() == both
    storage.delete("domain/a.example/2026-11-24.html")
    assert run() == ["a.example"]


def test_what_a_page_links_to_is_built_where_something_changed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(task: Any) -> FleetPage:
        storage.put(task.page.key, b"page", content_type="text/html")
        made = json.dumps(task.manifest).encode()
        storage.put(task.page.key + fleet.MANIFEST, made, content_type="application/json")
        built.append(f"{task.notebook} {task.page.domain}".strip())
        return task.page

    built: list[str] = []
    targets = ["domain?domain=a.example", "sender?domain=b.example&sender=Mail", "tls"]
    targets += ["report?report_uid=x", "requirements", "domain?domain=b.example"]
    storage, key = FolderStorage(tmp_path / "pages"), "overview/2026-11-24.html"
    page = "".join(f'<a data-page="{escape(target)}">x</a>' for target in targets)
    storage.put(key, page.encode(), content_type="text/html")
    monkeypatch.setattr(fleet, "_build", build)

    def run(now: datetime = NOW, job: str = "daily") -> list[str]:
        built.clear()
        fleet.publish_linked(settings, key, job=job, now=now)
        return sorted(built)

    monkeypatch.setattr(fleet, "MOST_WORKERS", 1)
    assert run() == ["domain a.example", "domain b.example", "sender b.example"]
    assert run(NOW + timedelta(days=1), "weekly") == [], "the pages of yesterday show the same"
    linked = storage.get(key).decode()
    assert linked.count("href=") == 3
    assert 'href="../domain/a.example/2026-11-24.html"' in linked
    frames.fill(tmp_path, *reports("b.example", uid="later"))
    tomorrow = NOW + timedelta(days=1)
    assert run(tomorrow) == ["domain b.example", "sender b.example"]
    assert 'href="../domain/b.example/2026-11-25.html"' in storage.get(key).decode()
    sessions = pa.Table.from_pylist(list(tls_rows(tls_report(1), "mail/t")), schema=TLS.schema)
    Lake(settings.lake_url).write.append_new("tls", sessions)
    assert run(tomorrow) == ["tls"]


def test_a_finding_that_is_no_longer_new_changes_a_page_once(settings: Settings) -> None:
    lake = Lake(settings.lake_url)
    found = {"severity": "info", "messages": 1, "first_day": NOW.date(), "last_day": None}
    texts = {"summary": "", "action": "", "evidence": {}}
    one = Finding("spf_only", "a.example", "Mail", reporters=1, **found, **texts)
    states = [inputs.table_states(lake)]
    for day, findings in enumerate([[one], [one], [one], [], []]):
        now = NOW + timedelta(days=day)
        record_findings(lake, findings, run=f"run-{9 - day}", job="daily", now=now)
        states.append(inputs.table_states(lake))
    first, new, same, still, fixed, none = states
    assert new == same == still, "the next run is compared with the same"
    assert new["a.example"]["findings"] != first["a.example"].get("findings")
    assert fixed == none == first


def test_a_manifest_is_small_and_holds_no_secret(settings: Settings) -> None:
    private = settings.model_copy(update={"slack_token": "xoxb-private"})
    given = {"domain": "a.example"}
    made = inputs.page_manifest(
        Path("notebooks/domain.ipynb"),
        given,
        private,
        WINDOW,
        {"a.example": {"reports": ["1", "2"]}},
    )
    assert made["window"] == ["2026-10-25", "2026-11-23"]
    assert made["tables"] == {"reports": ["1", "2"]}
    assert "xoxb" not in json.dumps(made)
    assert len(json.dumps(made)) < 1500


def test_the_domains_of_a_fleet(settings: Settings) -> None:
    assert fleet_domains(settings, WINDOW) == ["b.example", "a.example"], "the busiest first"
    earlier = last_days(30, end="2026-05-01")
    assert fleet_domains(settings, earlier) == []
    named = settings.model_copy(update={"domains": ("X.example",)})
    assert fleet_domains(named, earlier) == ["x.example"]


def test_a_notebook_without_domain_makes_no_fleet(settings: Settings) -> None:
    write_notebook(Path("notebooks/small.ipynb"), "1", parameters="days: int = 30")
    with pytest.raises(PageError, match="small has no parameter domain; it has: days"):
        publish_fleet(settings, ["a.example"], notebook="small", now=NOW)


def test_the_command_tells_of_every_page(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = [
        FleetPage("a.example", "a", "built", "file:///a", seconds=2.04),
        FleetPage("b.example", "b", "unchanged", "file:///b"),
        FleetPage("c.example", "c", "failed", "", error="notebook domain failed: x (kept: y)"),
    ]

    def publish(*_: object, progress: Any, **__: object) -> list[FleetPage]:
        for page in pages:
            progress(page)
        return pages

    monkeypatch.setattr("dmarckit.pages.publish_fleet", publish)
    assert fleet_command.build_fleet(settings, "domain", {}, now=NOW) == 1
    shown = capsys.readouterr().out
    assert "  a.example: built (2.0 s)\n  b.example: unchanged, not built again\n" in shown
    assert "c.example: notebook domain failed: x (kept: y)\n" in shown
    assert "3 pages: 1 built, 1 unchanged, not built again, 1 failed\n" in shown
    assert "/pages/index.html\n" in shown
    del pages[2]
    assert fleet_command.build_fleet(settings, "domain", {}, now=NOW) == 0
