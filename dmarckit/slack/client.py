"""Slack: messages as Block Kit, within its limits, posted; and links that end too early.

Limits: docs.slack.dev/reference/block-kit.
"""

from __future__ import annotations

import html
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPException, RemoteDisconnected
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from dmarckit import core
from dmarckit.core import ChannelUnavailable, DeliveryError, Settings, _, count, one_line
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Block, Message, duration

if TYPE_CHECKING:
    from slack_sdk import WebClient

SLACK_API = "https://slack.com/api/"
PAUSES = (1.0, 2.0, 4.0)  # seconds before a message is sent again, where Slack asks for no others
MAX_WAIT = 120.0  # seconds for one message altogether; Slack's Retry-After is usually 1 to 30

MESSAGE_TEXT = 11_000  # characters; beyond some 12,000 Slack answers `msg_blocks_too_long`
URL_LIMIT = 3000

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


def slack_json(message: Message) -> str:
    """Return the message as `chat.postMessage` takes it, without channel and token."""
    return json.dumps({"text": message.text, "blocks": block_kit(message)}, indent=2)


def block_kit(message: Message) -> list[Block]:
    """Return the blocks of a message as Slack takes them."""
    return list(map(_block, kit.fitting(message, _size, MESSAGE_TEXT).blocks))


def _size(message: Message) -> int:
    """Return the characters that Slack counts; escaped text is longer than it looks."""
    found = 0
    for block in map(_block, message.blocks):
        cells = [cell for row in block.get("rows", ()) for cell in row]
        texts = [*block.get("fields", ()), *block.get("elements", ()), *cells]
        texts += [block["text"]] if "text" in block else []
        found += sum(len(text["text"]) for text in texts) + len(block.get("alt_text", ""))
    return found


def _block(block: Block) -> Block:
    kind = block["type"]
    if kind == "header":
        text = {"type": "plain_text", "text": block["text"], "emoji": False}
        return {"type": "header", "text": text}
    if kind == "context":
        return {"type": "context", "elements": [_mrkdwn(block["text"])]}
    if kind == "fields":
        cells = [_mrkdwn(f"*{label}*\n{value}") for label, value in block["pairs"]]
        return {"type": "section", "fields": cells}
    if kind == "table":
        # raw text: Slack reads nothing into it
        rows = [[{"type": "raw_text", "text": cell} for cell in row] for row in block["rows"]]
        columns = zip(*block["rows"][1:], strict=True)
        sides = ["right" if all(map(kit.is_number, column)) else "left" for column in columns]
        return {"type": "table", "rows": rows, "column_settings": [{"align": s} for s in sides]}
    if kind == "picture" and kit.is_web_address(block["url"]) and len(block["url"]) <= URL_LIMIT:
        return {"type": "image", "image_url": block["url"], "alt_text": block["alt"]}
    if kind in ("link", "picture"):
        return {"type": "section", "text": _mrkdwn(_link(block["url"], block.get("label")))}
    return {"type": "section", "text": _mrkdwn(block["text"])}


def _link(url: str, label: str | None) -> str:
    """Return a link; a place that no browser opens (a folder's path) is shown as code.

    One that is too long for Slack is a line that says so: presigned URLs made with a role's
    session token can be longer than a text may be.
    """
    label = label or _("Chart")
    text = f"{label}: {kit.code(url, kit.SECTION_LIMIT // 2)}"
    if kit.is_web_address(url):
        # all that may stand in a URL; "|" and blanks would end it within <url|label>
        quoted = quote(url, safe="%:/?#[]@!$&'()*+,;=~")
        text = f"<{html.escape(quoted, quote=False)}|{label}>"
    if len(text) > kit.SECTION_LIMIT:
        too_long = _("{label}: the link is too long for Slack ({n} characters)")
        return too_long.format(label=label, n=count(len(url)))
    return text


def _mrkdwn(text: str) -> Block:
    # verbatim: Slack links no bare URL, channel or name on its own
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def web_client(token: str, base_url: str = SLACK_API, timeout: int = 15) -> WebClient:
    """Return a client of Slack's Web API that logs nothing and does not try again."""
    from slack_sdk import WebClient

    if not re.fullmatch(r"[\x21-\x7e]+", token):
        # http.client would refuse it too, and print it
        raise DeliveryError(f"slack_token is empty or no token: {_APP_HINT}")
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
        ChannelUnavailable: Slack is out of reach, down or busy; the same message may succeed later.
        MessageRefused: Slack refuses this very message.
        DeliveryError: Slack refuses every message, with what to do about it.
    """
    from slack_sdk.errors import SlackApiError, SlackRequestError

    request = partial(
        web_client(token, base_url).chat_postMessage,
        channel=channel,
        text=message.text,
        blocks=block_kit(message),
        parse="none",
        link_names=False,
        unfurl_links=False,
        unfurl_media=False,
    )
    try:
        answer = core.with_retries(
            request, passes, PAUSES, sleep=sleep, pause=pause, patience=MAX_WAIT
        )
        return str(answer["ts"])
    except SlackApiError as error:
        # "from None" everywhere: the causes hold the request with its token
        raise _refused(error.response, channel) from None
    except SlackRequestError:
        raise DeliveryError(f"slack_url {one_line(base_url)!r} is no http(s) address") from None
    except (OSError, HTTPException, ValueError, AttributeError, TypeError, KeyError) as error:
        host = one_line(urlsplit(base_url).hostname or base_url)
        text = f"{host} does not answer as Slack does: check slack_url and the proxy"
        if isinstance(error, OSError):
            why = one_line(getattr(error, "reason", None) or error)
            text = f"Slack at {host} cannot be reached ({why}): check network and proxy"
        raise ChannelUnavailable(text) from None


def _refused(answer: Any, channel: str) -> DeliveryError:
    """Return the error for an answer that is not ok."""
    data = answer.data if isinstance(answer.data, dict) else {}
    name = str(data.get("error") or "")
    if answer.status_code == 429 or answer.status_code >= 500 or name in _BUSY:
        what = one_line(name) if name in _BUSY else f"HTTP {answer.status_code}"
        return ChannelUnavailable(f"Slack is busy or down ({what}): try again in some minutes")
    if not re.fullmatch(r"[a-z0-9_.-]+", name):
        return ChannelUnavailable(
            f"Slack's answer (HTTP {answer.status_code}) is not JSON: check slack_url and the proxy"
        )
    hint = _HINTS.get(name, "see https://docs.slack.dev/reference/methods/chat.postMessage")
    details = "; ".join(map(str, (data.get("response_metadata") or {}).get("messages") or ()))
    details = re.sub(r"https?://\S+", "(a link)", details)  # ours are secrets
    detail = f" [{one_line(details)}]" if details else ""
    kind = core.MessageRefused if hint == _BLOCKS_HINT else DeliveryError
    return kind(f"Slack refused the message to {one_line(channel)}: {name}{detail}: {hint}")


def passes(error: BaseException) -> bool:
    """Return True for rate limits, faults on a server's side (or a proxy's), lost connections."""
    if (status := _answer(error)[0]) is not None:
        return status == 429 or status >= 500
    return isinstance(error, URLError | ConnectionResetError | RemoteDisconnected)


def pause(error: BaseException, planned: float) -> float:
    """Return the seconds that a server asks for in Retry-After, else the planned ones."""
    headers = _answer(error)[1].items()
    asked = [str(value) for name, value in headers if name.lower() == "retry-after"]
    return float(asked[0]) if asked and asked[0].isdecimal() else planned


def _answer(error: BaseException) -> tuple[int | None, Mapping[str, Any]]:
    """Return status and headers of an answer that is an error."""
    from slack_sdk.errors import SlackApiError

    if isinstance(error, SlackApiError):
        return int(error.response.status_code), error.response.headers
    return (error.code, dict(error.headers)) if isinstance(error, HTTPError) else (None, {})


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
            f"links in messages should last {duration(asked)} (presign_expires), but {whose} "
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
