"""What stays of a run that fails, and that no secret stands in anything that is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_notebook

from dmarckit.core.errors import NotebookFailed, PageError
from dmarckit.core.redact import HIDDEN, redacted, secrets_in, secrets_of
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import FolderStorage
from dmarckit.pages import build
from dmarckit.pages.publish import publish_notebook, store_notebook
from tests.support.page_notebooks import write_notebook

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
TOKEN = 'xoxb-1&2"3-token-of-slack'
PRESIGN = "presign/secret+of/the+user"
AWS = "aws+secret/key-0123456789abcdefghijklmnop"
FROM_FILE = "salt-that-stands-in-a-file"
SPY = """
import html, json, os, urllib.parse
import pandas as pd
from dmarckit import load_settings
settings = load_settings()
print(settings, dict(os.environ), given)
values = [settings.slack_token.get_secret_value() if settings.slack_token else "none",
          settings.presign_secret.get_secret_value(), os.environ["AWS_SECRET_ACCESS_KEY"]]
print(*values, *map(repr, values), json.dumps(values), *map(urllib.parse.quote, values))
display({"text/html": html.escape(" ".join(values))}, raw=True)
display(pd.Series(values).str.slice(0, 20))
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Secrets from a settings file, the environment and a file that it names."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Path("salt.txt").write_text(FROM_FILE)
    Path("dmarckit.toml").write_text(f"home = '{tmp_path}'\npresign_secret = '{PRESIGN}'\n")
    monkeypatch.setenv("DMARCKIT_SLACK_TOKEN", TOKEN)
    monkeypatch.setenv("DMARCKIT_SALT_FILE", "salt.txt")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS)
    return load_settings()


def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "pages")


def notebook(*code: str) -> None:
    write_notebook(Path("notebooks/spy.ipynb"), *code, parameters='given: str = ""  # a text')


def leaks(text: str) -> list[str]:
    return [s for s in (TOKEN, PRESIGN, AWS, FROM_FILE) if s[:16] in text]


def test_a_run_that_fails_keeps_the_old_page_and_the_notebook_without_secrets(
    settings: Settings, tmp_path: Path
) -> None:
    pages = storage(tmp_path)
    pages.put("spy/2026-11-24.html", b"old", content_type="text/html")
    notebook(SPY, "raise ValueError(f'no {values}')")
    with pytest.raises(
        NotebookFailed, match=r"spy failed in cell \[3\]: ValueError: no "
    ) as caught:
        publish_notebook(settings, "spy", {}, NOW)
    assert pages.get("spy/2026-11-24.html") == b"old"
    key = "failed/spy/2026-11-24.ipynb"
    assert str(caught.value).endswith(f"(kept: {tmp_path}/pages/{key})")
    kept = pages.get(key).decode()
    executed = nbformat.reads(kept, as_version=4)
    nbformat.validate(executed)
    assert executed.cells[-1].outputs[-1].ename == "ValueError"
    assert kept.count(HIDDEN) > 10
    assert leaks(kept + str(caught.value)) == []
    assert "notebook spy" in str(caught.value)
    assert not list(tmp_path.glob("dmarckit-page-*")), "the storage has it"


def test_no_secret_is_on_a_page(settings: Settings, tmp_path: Path) -> None:
    notebook(SPY)
    published = publish_notebook(settings, "spy", {"given": PRESIGN}, NOW)
    page = storage(tmp_path).get(published.key).decode()
    assert "SecretStr" in page, "the settings were printed"
    assert page.count(HIDDEN) > 10
    assert leaks(page + published.key + json.dumps(published.page.executed)) == []


def test_the_notebook_stays_where_the_storage_fails(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "pages").write_text("a file where the folder should be")
    notebook("raise ValueError('x')")
    with pytest.raises(PageError) as caught:
        publish_notebook(settings, "spy", {}, NOW)
    kept = Path(str(caught.value).rpartition("(kept: ")[2].rstrip(")"))
    assert "ValueError" in kept.read_text()


def test_what_counts_as_a_secret(settings: Settings) -> None:
    assert secrets_of(settings) == {TOKEN, PRESIGN, FROM_FILE}
    environment = {
        "GITHUB_TOKEN": "t",
        "DB_PASSWORD": "p",
        "SOME_API_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HTTPS_PROXY": "http://user:in%20url@proxy.example:3128",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/file",
        "KEYBOARD": "us",
        "HOME": "/home/me",
    }
    assert secrets_in(environment) == {"t", "p", "k", "s", "in%20url", "in url"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a secret1 b", f"a {HIDDEN} b"),
        ({"k": ["secret1", 1, None]}, {"k": [HIDDEN, 1, None]}),
        ("secret", "secret"),
    ],
)
def test_striking_out(value: Any, expected: Any) -> None:
    assert redacted(value, {"secret1", "none"}) == expected


def test_the_beginning_of_a_long_secret_goes_too() -> None:
    secret = "0123456789" * 5
    assert redacted(f"{secret[:30]}… {secret}", {secret}) == f"{HIDDEN}{secret[16:30]}… {HIDDEN}"


@pytest.mark.parametrize(
    "secret", ["https://dmarc.example.com/hook/0123456789abcdef", "https://a.b/c"]
)
def test_the_host_of_a_secret_address_is_no_secret(secret: str) -> None:
    other = "https://dmarc.example.com/pages/overview.html https://a.b/pages"
    assert redacted(f"{secret} {other}", {secret}) == f"{HIDDEN} {other}"
    long = "https://dmarc.example.com/hook/0123456789abcdef"
    assert redacted(f"{long[:45]}…", {long}) == f"{HIDDEN}{long[41:45]}…"


def test_only_notebooks_that_ship_share_a_kernel(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, used = build.SharedKernel(), []

    def page(path: Path, _parameters: object, **options: Any) -> build.BuiltPage:
        used.append((path.stem, options["kernel"]))
        return build.BuiltPage(path.stem, f"{path.stem}.html", "", b"", new_notebook(), ())

    monkeypatch.setattr(build, "build_page", page)
    notebook("1")
    write_notebook(Path("notebooks/sender.ipynb"), "1", parameters="")
    for name in ("domain", "sender", "spy"):
        store_notebook(settings, name, {}, NOW, kernel=kernel)
    assert used == [("domain", kernel), ("sender", None), ("spy", None)]
