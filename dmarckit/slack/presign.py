"""How long links last: a presigned link ends with the credentials that signed it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dmarckit.core.language import speaking
from dmarckit.core.settings import Settings
from dmarckit.core.slack_words import duration

_OWN_KEYS = "set presign_key_id and presign_secret to the keys of an IAM user that may read it"


def lasting(settings: Settings, now: datetime | None = None) -> str | None:
    """Why links do not last as long as `presign_expires` asks, in one sentence; None: they do.

    Links are signed with `presign_key_id` and `presign_secret` when both are given, and else
    with the credentials of the session. Those of a role (AWS session token) end within hours,
    and every link that they signed with them, whatever it says of itself (Amazon S3 User
    Guide, "Sharing objects with presigned URLs"). Nothing is contacted, except what gives
    credentials out.
    """
    if not any(url.startswith("s3://") for url in (settings.exports_url, settings.pages_url)):
        return None
    asked = timedelta(seconds=settings.presign_expires)
    if keys := settings.presign_keys():
        if not keys[0].startswith("ASIA"):  # AKIA… are an IAM user's own
            return None
        return _sentence("presign_key_id is that of a session, which ends", None, asked)
    credentials = _session_credentials()
    if credentials is None:
        return None
    # botocore keeps it to itself; a token from the environment comes without
    expiry = getattr(credentials, "_expiry_time", None)
    left = None if expiry is None else expiry - (now or datetime.now(UTC))
    if left is not None and left >= asked:
        return None
    return _sentence("the credentials are those of a session, which ends", left, asked)


def _session_credentials() -> Any:
    """Those of a session; None: there are none, or they are a user's own."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        credentials = boto3.session.Session().get_credentials()
        return credentials if credentials and credentials.get_frozen_credentials().token else None
    except BotoCoreError:
        return None  # what is wrong with them is said by whoever needs them


def _sentence(why: str, left: timedelta | None, asked: timedelta) -> str:
    with speaking("en"):
        # no session is longer (STS GetSessionToken); that of a role ends after 12 at most
        within = f"in {duration(left)}" if left is not None else "within 36 hours"
        return (
            f"links in Slack should last {duration(asked)} (presign_expires), but {why} "
            f"{within} and its links with it: {_OWN_KEYS}"
        )
