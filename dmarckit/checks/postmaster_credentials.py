"""Who asks Google: the file or the key in `google_credentials` → credentials with scopes.

Either a service account's key, with `google_subject` in the name of a user (domain-wide
delegation) or in its own, or an authorised user (what ``gcloud`` or an OAuth flow writes).
Nothing of the file's content is ever part of an error or a log line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pydantic import SecretStr

from dmarckit.checks.postmaster_errors import LIST_SCOPE, STATS_SCOPE
from dmarckit.core.errors import MissingExtra, SettingsError, one_line
from dmarckit.core.settings import Settings

NOT_CONNECTED = (
    "Postmaster Tools is not connected: set google_credentials to the JSON file of a Google "
    "service account or authorised user that may read your domains there"
)
_GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"


@dataclass(frozen=True)
class Identity:
    """Credentials, and whom Google knows them as."""

    credentials: Any
    """`google.auth.credentials.Credentials`"""
    who: str
    """an address, for error messages"""
    client_id: str
    """what an administrator enters for domain-wide delegation"""


def scopes(settings: Settings) -> list[str]:
    """The least that suffices: reading statistics cannot list domains, so that needs a second."""
    return [STATS_SCOPE] if settings.postmaster_domains else [LIST_SCOPE, STATS_SCOPE]


def identity(settings: Settings) -> Identity:
    """Who asks, by the settings. Google is not asked yet.

    Raises:
        MissingExtra: the Google libraries are not installed.
        SettingsError: no file is named, or it cannot be read or is of another kind.
    """
    require_google()
    info = _read(settings)
    kind = info.get("type")
    if kind == "service_account":
        return _service_account(info, settings)
    if kind == "authorized_user" or (kind is None and "refresh_token" in info):
        return _authorised_user(info, settings)
    raise SettingsError(
        f"setting google_credentials: it is of type {one_line(repr(kind), 40)}; "
        "service_account and authorized_user are possible"
    )


def require_google() -> None:
    """Raises MissingExtra when the Google libraries are not installed."""
    if not all(find_spec(name) for name in ("googleapiclient", "google_auth_httplib2")):
        raise MissingExtra(
            "Postmaster Tools needs Google's libraries; install them with: "
            "pip install 'dmarckit[google]'"
        )


def _read(settings: Settings) -> Mapping[str, Any]:
    given = settings.google_credentials
    if given is None:
        raise SettingsError(NOT_CONNECTED)
    where = "its text" if isinstance(given, SecretStr) else one_line(given)
    try:
        text = (
            given.get_secret_value() if isinstance(given, SecretStr) else given.read_text("utf-8")
        )
        info = json.loads(text)
    except OSError as error:
        raise SettingsError(
            f"setting google_credentials: cannot read {where}: {error.strerror}"
        ) from error
    except ValueError:  # it may quote what it read
        info = None
    if not isinstance(info, Mapping):
        raise SettingsError(f"setting google_credentials: {where} holds no JSON object")
    return info


def _service_account(info: Mapping[str, Any], settings: Settings) -> Identity:
    from google.oauth2 import service_account

    try:
        made = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            info, scopes=scopes(settings), subject=settings.google_subject
        )
    except Exception:  # what the libraries raise for a broken key may quote it
        raise SettingsError(_BROKEN.format("service account's key")) from None
    email = str(info["client_email"])
    who = f"{settings.google_subject} (through {email})" if settings.google_subject else email
    return Identity(made, one_line(who, 120), str(info.get("client_id") or ""))


def _authorised_user(info: Mapping[str, Any], settings: Settings) -> Identity:
    from google.oauth2.credentials import Credentials

    if settings.google_subject:
        raise SettingsError(
            "setting google_subject: only a service account can ask in somebody's name; "
            "google_credentials is an authorised user"
        )
    needed = ("refresh_token", "client_id", "client_secret")
    if any(not isinstance(info.get(name), str) for name in needed):
        raise SettingsError(_BROKEN.format("authorised user"))
    # no scopes are asked for: the refresh token has those that its user agreed to
    made = Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=info["refresh_token"],
        token_uri=str(info.get("token_uri") or _GOOGLE_TOKENS),
        client_id=info["client_id"],
        client_secret=info["client_secret"],
        quota_project_id=info.get("quota_project_id"),
    )
    who = str(info.get("account") or "the authorised user")
    return Identity(made, one_line(who, 120), info["client_id"])


_BROKEN = "setting google_credentials: this is no complete {}; download it again"
