"""`make check` asks for known vulnerabilities, and is not held up where nobody answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import audit

CLEAN = {"name": "idna", "version": "3.20", "vulns": []}
BAD = {"name": "old", "version": "1", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "idna", "skip_reason": "Dependency not found on PyPI"}


def tool(tmp_path: Path, *found: dict[str, Any], code: str = "") -> str:
    """A pip-audit that says so of every question, after this code."""
    path = tmp_path / "pip-audit"
    said = json.dumps({"dependencies": found})
    path.write_text(f"#!{sys.executable}\nimport sys, time\n{code}\nprint({said!r})\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        ([CLEAN], 0, "pip-audit: 0 known vulnerabilities in 1 packages"),
        ([CLEAN, BAD], 1, "old 1: CVE-2026-1; fixed in 1.1"),
        ([UNKNOWN], 0, "skipped, since no index answers it"),
        ([], 0, "skipped, since no index answers it"),
    ],
)
def test_what_the_index_knows_decides(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    found: list[dict[str, Any]],
    status: int,
    text: str,
) -> None:
    assert audit.main(tool(tmp_path, *found)) == status
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("code", ["sys.exit('ConnectionError')", "time.sleep(600)", "print('{')"])
def test_no_answer_fails_nothing_and_is_not_waited_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    monkeypatch.setattr(audit, "SECONDS", 20)
    assert audit.main(tool(tmp_path, CLEAN, code=code)) == 0
    assert "skipped" in capsys.readouterr().out


def test_a_tool_that_could_not_be_installed_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(str(tmp_path / "missing")) == 0
    assert "skipped" in capsys.readouterr().out
