"""Post messages to Slack, or show them as text, and warn of links that end too early."""

from __future__ import annotations

import logging
import re
import time
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPException, RemoteDisconnected
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackRequestError

from dmarckit import core
from dmarckit.core import Settings, SlackError, SlackUnavailable, one_line
from dmarckit.slack.blocks import Block, Message, duration, plain_text

SLACK_API = "https://slack.com/api/"
PAUSES = (1.0, 2.0, 4.0)  # seconds before a message is sent again, where Slack asks for no others
MAX_WAIT = 120.0  # seconds for one message altogether; Slack's Retry-After is usually 1 to 30

_APP_HINT = "set slack_token to the app's bot token (xoxb-…); reinstall the app if it was revoked"
_APP_ERRORS = """invalid_auth not_authed account_inactive token_revoked token_expired
    not_allowed_token_type"""
_MEMBERS_HINT = "the workspace lets only some members post there: ask its administrator"
_BLOCKS_HINT = "this is a fault of dmarckit: please report it with the saved message"
_BLOCKS_ERRORS = """msg_too_long msg_blocks_too_long invalid_blocks invalid_blocks_format
    invalid_arguments"""
_HINTS = {
    "channel_not_found": "check slack_channel (best the channel's ID, C…), and invite the app to it"
    " if it is private",
    "not_in_channel": "invite the app to the channel (/invite), or give it the scope"
    " chat:write.public",
    "is_archived": "the channel is archived: set slack_channel to another one",
    "missing_scope": "add the scope chat:write to the app and reinstall it to the workspace",
    **dict.fromkeys(("restricted_action", "no_permission"), _MEMBERS_HINT),
    **dict.fromkeys(_APP_ERRORS.split(), _APP_HINT),
    **dict.fromkeys(_BLOCKS_ERRORS.split(), _BLOCKS_HINT),
}
_BUSY = {
    *("ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error"),
    *("service_unavailable", "request_timeout"),
}


def web_client(token: str, base_url: str = SLACK_API, timeout: int = 15) -> WebClient:
    """Return a client of Slack's Web API that logs nothing and does not try again."""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        # http.client would refuse it too, and print it
        raise SlackError(f"slack_token is empty or no token: {_APP_HINT}")
    # A logger of its own, outside logging's tree and silent: at level DEBUG the SDK logs whole
    # requests with the presigned links in them.
    silent = logging.Logger("dmarckit.slack.client.sdk", level=logging.CRITICAL + 1)
    return WebClient(token, base_url, timeout, logger=silent, retry_handlers=[])


def post_message(
    message: Message,
    *,
    token: str,
    channel: str,
    base_url: str = SLACK_API,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Post a message and return its ``ts``, Slack's name for it in the channel.

    Rate limits are waited out as Slack says (for `MAX_WAIT` seconds altogether), server
    and connection errors are tried again a few times. When Slack took a message but its
    answer was lost, trying again repeats it: at most one message, and rarely. The token and
    the message's links are in no error and no log.

    Raises:
        SlackUnavailable: Slack is out of reach, down or busy; the same message may succeed later.
        MessageRefused: Slack refuses this very message.
        SlackError: Slack refuses every message, with what to do about it.
    """
    request = partial(
        web_client(token, base_url).chat_postMessage,
        channel=channel,
        text=message.text,
        blocks=list(message.blocks),
        parse="none",
        link_names=False,
        unfurl_links=False,
        unfurl_media=False,
    )
    try:
        answer = core.with_retries(
            request, _passes, PAUSES, sleep=sleep, pause=_pause, patience=MAX_WAIT
        )
        return str(answer["ts"])
    except SlackApiError as error:
        # "from None" everywhere: the causes hold the request with its token
        raise _refused(error.response, channel) from None
    except SlackRequestError:
        raise SlackError(f"slack_url {one_line(base_url)!r} is no http(s) address") from None
    except (OSError, HTTPException, ValueError, AttributeError, TypeError, KeyError) as error:
        host = one_line(urlsplit(base_url).hostname or base_url)
        text = f"{host} does not answer as Slack does: check slack_url and the proxy"
        if isinstance(error, OSError):
            why = one_line(getattr(error, "reason", None) or error)
            text = f"Slack at {host} cannot be reached ({why}): check network and proxy"
        raise SlackUnavailable(text) from None


def _refused(answer: Any, channel: str) -> SlackError:
    """Return the error for an answer that is not ok."""
    data = answer.data if isinstance(answer.data, dict) else {}
    name = str(data.get("error") or "")
    if answer.status_code == 429 or answer.status_code >= 500 or name in _BUSY:
        what = one_line(name) if name in _BUSY else f"HTTP {answer.status_code}"
        return SlackUnavailable(f"Slack is busy or down ({what}): try again in some minutes")
    if not re.fullmatch(r"[a-z0-9_.-]+", name):
        return SlackUnavailable(
            f"Slack's answer (HTTP {answer.status_code}) is not JSON: check slack_url and the proxy"
        )
    hint = _HINTS.get(name, "see https://docs.slack.dev/reference/methods/chat.postMessage")
    details = "; ".join(map(str, (data.get("response_metadata") or {}).get("messages") or ()))
    details = re.sub(r"https?://\S+", "(a link)", details)  # ours are secrets
    detail = f" [{one_line(details)}]" if details else ""
    kind = core.MessageRefused if hint == _BLOCKS_HINT else SlackError
    return kind(f"Slack refused the message to {one_line(channel)}: {name}{detail}: {hint}")


def _passes(error: BaseException) -> bool:
    """Return True for rate limits, faults on Slack's side (or a proxy's) and lost connections."""
    if isinstance(error, SlackApiError):
        return bool(error.response.status_code == 429 or error.response.status_code >= 500)
    return isinstance(error, URLError | ConnectionResetError | RemoteDisconnected)


def _pause(error: BaseException, planned: float) -> float:
    """Return the seconds that Slack asks for in Retry-After, else the planned ones."""
    headers = error.response.headers if isinstance(error, SlackApiError) else {}
    asked = [str(value) for name, value in headers.items() if name.lower() == "retry-after"]
    return float(asked[0]) if asked and asked[0].isdecimal() else planned


def message_text(shown: Message, *, links: bool = True) -> str:
    """Return the message as plain text for the terminal, for when there is no token.

    Without `links` their addresses are left out: presigned ones are several lines long.
    """
    return "\n".join(line for block in shown.blocks for line in _plain(block, links)) + "\n"


def _plain(block: Block, links: bool) -> list[str]:
    kind = block["type"]
    if kind == "image":
        return [f"[chart] {block['alt_text']}" + (f": {block['image_url']}" if links else "")]
    if kind == "header":
        return [block["text"]["text"], ""]
    if kind == "table":
        return _table([[cell["text"] for cell in row] for row in block["rows"]])
    if "fields" in block:
        shown = [plain_text(text["text"], links=links) for text in block["fields"]]
        return ["  ".join(text.replace("\n", ": ") for text in shown)]
    texts = block.get("elements") or [block["text"]]
    return [plain_text(text["text"], links=links) for text in texts]


def _table(rows: list[list[str]]) -> list[str]:
    """Align cells under each other; wide characters count twice, as terminals draw them."""

    def width(text: str) -> int:
        return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)

    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(c + " " * (w - width(c)) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def presign_warning(settings: Settings, now: datetime | None = None) -> str | None:
    """Return why links end before `presign_expires`, in one sentence; None: they do not.

    Without `presign_key_id` the session's credentials sign. Those of a role end within hours, and
    its links with them (Amazon S3 User Guide, "Sharing objects with presigned URLs").
    """
    if not any(url.startswith("s3://") for url in (settings.exports_url, settings.pages_url)):
        return None
    asked = timedelta(seconds=settings.presign_expires)
    keys = settings.presign_keys()
    credentials = keys or _session_credentials()
    if credentials is None or (keys and not keys[0].startswith("ASIA")):  # AKIA… are a user's own
        return None
    # botocore keeps it to itself; a token from the environment comes without
    expiry = getattr(credentials, "_expiry_time", None)
    left = None if expiry is None else expiry - (now or datetime.now(UTC))
    if left is not None and left >= asked:
        return None
    whose = "presign_key_id is that" if keys else "the credentials are those"
    with core.speaking("en"):
        # no session is longer (STS GetSessionToken); that of a role ends after 12 at most
        within = f"in {duration(left)}" if left is not None else "within 36 hours"
        return (
            f"links in Slack should last {duration(asked)} (presign_expires), but {whose} "
            f"of a session, which ends {within} and its links with it: "
            "set presign_key_id and presign_secret to the keys of an IAM user that may read it"
        )


def _session_credentials() -> Any:
    """Return those of a session; None: there are none, or they are a user's own."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        credentials = boto3.session.Session().get_credentials()
        return credentials if credentials and credentials.get_frozen_credentials().token else None
    except BotoCoreError:
        return None  # what is wrong with them is said by whoever needs them
