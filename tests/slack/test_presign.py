"""How long links last, and that it is said when that is shorter than asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials

from dmarckit.core.settings import Settings, load_settings
from dmarckit.slack import client

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def settings(**more: Any) -> Settings:
    return load_settings(**{"home": "s3://reports/dmarc", **more})


def session(monkeypatch: pytest.MonkeyPatch, token: str = "") -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE" if token else "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-session")
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)


def role(hours: float) -> RefreshableCredentials:
    return RefreshableCredentials(
        "ASIAEXAMPLE", "secret", "token", NOW + timedelta(hours=hours), lambda: None, "sts",
        time_fetcher=lambda: NOW,
    )  # fmt: skip


def test_an_iam_users_links_last_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch)
    assert client.presign_warning(settings(), NOW) is None


def test_a_session_of_unknown_length_is_said_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, token="session-token")
    said = client.presign_warning(settings(), NOW)
    assert said is not None
    assert said.startswith("links in messages should last 7 days (presign_expires), but")
    assert "within 36 hours" in said
    assert "set presign_key_id and presign_secret" in said
    assert "session-token" not in said
    assert "secret-of-the-session" not in said


@pytest.mark.parametrize(("asked", "warns"), [(3600, False), (6 * 3600, True)])
def test_a_roles_links_end_with_its_session(
    monkeypatch: pytest.MonkeyPatch, asked: int, warns: bool
) -> None:
    monkeypatch.setattr(client, "_session_credentials", lambda: role(hours=2))
    said = client.presign_warning(settings(presign_expires=asked), NOW)
    assert (said is not None) == warns
    if said is not None:
        assert "in 2 hours" in said


def test_own_keys_replace_the_session_unless_they_are_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session(monkeypatch, token="session-token")
    own = {"presign_key_id": "AKIAOWN", "presign_secret": "own-secret"}
    assert client.presign_warning(settings(**own), NOW) is None
    said = client.presign_warning(settings(**own | {"presign_key_id": "ASIAOWN"}), NOW)
    assert said is not None
    assert "presign_key_id is that of a session" in said


def test_links_into_a_folder_last_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    session(monkeypatch, token="session-token")
    assert client.presign_warning(settings(home="./somewhere"), NOW) is None


def test_without_credentials_there_is_nothing_to_say_here() -> None:
    assert client.presign_warning(settings(), NOW) is None
