"""The AWS SDK: sessions and clients as every room makes them, and its errors in words.

Credentials, region and endpoint are the SDK's own. boto3 is imported on first use.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from dmarckit.core.errors import DmarckitError, one_line

_DENIED = "access denied; allow {permission} for these credentials"
_HINTS = {
    "NoSuchBucket": "the bucket does not exist; check its name and the account",
    "AccessDenied": _DENIED,
    "UnauthorizedOperation": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": "the access key is unknown; check AWS_PROFILE or the keys",
    "InvalidClientTokenId": "the access key is unknown; check AWS_PROFILE or the keys",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_PROFILE or the keys",
    "ExpiredToken": "the credentials have expired; sign in again",
    "InvalidToken": "the session token is not valid; sign in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "wrong region for this bucket; set AWS_REGION",
    "IllegalLocationConstraint": "wrong region for this bucket; set AWS_REGION",
    "InvalidBucketName": "that is not a bucket's name",
    "QueueDoesNotExist": "there is no such queue; check the URL, the account and AWS_REGION",
    "NonExistentQueue": "there is no such queue; check the URL, the account and AWS_REGION",
    "InvalidAddress": "that is not a queue's URL",
}
"""AWS's error code (without its service and "Exception") → what to check"""
_SDK_HINTS = {
    "NoCredentialsError": "no AWS credentials found; set AWS_PROFILE, or use a role",
    "PartialCredentialsError": "AWS credentials are incomplete; set key id and secret",
    "ProfileNotFound": "AWS_PROFILE names a profile that does not exist",
    "NoRegionError": "no AWS region; set AWS_REGION",
    "EndpointConnectionError": "nothing answers there; check network and AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "no answer in time; check network and AWS_ENDPOINT_URL",
    "ReadTimeoutError": "no answer in time; try again",
    "ParamValidationError": "that is not a bucket's name",
    "InvalidEndpointConfigurationError": "AWS_ENDPOINT_URL is not an address",
}
"""class of the SDK's error when AWS has not answered → what to check"""
_lock = threading.Lock()
_ACTION = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z*]+)")


def aws_session(**own: Any) -> Any:
    """Return a boto3 session; its region is also AWS_REGION's, which boto3 alone ignores.

    It is shared by all who ask while variables and files of the SDK are as they were. `own` keys
    make another. Raises what botocore raises, such as ProfileNotFound.
    """
    variables = (pair for pair in os.environ.items() if pair[0].startswith(("AWS_", "HOME")))
    names = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}
    changed: list[int] = []
    for variable, name in names.items():
        with contextlib.suppress(OSError, RuntimeError):  # there is none, or no home
            path = os.environ.get(variable) or f"~/.aws/{name}"
            changed.append(Path(path).expanduser().stat().st_mtime_ns)
    return _session(*sorted(variables), *changed, **own)


@functools.lru_cache(maxsize=4)
def _session(*_surroundings: object, **own: Any) -> Any:
    import boto3
    import botocore.session

    core = botocore.session.Session()
    loader = _loader(core.get_config_variable("data_path"))
    core.register_component("data_loader", loader)
    parsers = core.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_timestamp)
    region = os.environ.get("AWS_REGION") or None
    session = boto3.session.Session(botocore_session=core, region_name=region, **own)
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each session adds boto3's
    return session


def _timestamp(sent: Any) -> datetime:
    """Return a time that AWS sends; the SDK's own way takes most of the time of a listing."""
    for read in (datetime.fromisoformat, parsedate_to_datetime) if isinstance(sent, str) else ():
        with contextlib.suppress(ValueError):
            return read(sent)
    from botocore.utils import parse_timestamp

    found: datetime = parse_timestamp(sent)
    return found


@functools.cache
def _loader(data_path: str | None) -> Any:
    """Return the SDK's descriptions of AWS: 0.1 s a client, if each reads them anew."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def aws_client(service: str, session: Any = None, **config: Any) -> Any:
    """Return a client of `service` with retries and timeouts; `config` is botocore's.

    Raises what botocore raises, such as NoRegionError, or ValueError for an endpoint.
    """
    from botocore.config import Config

    usual: dict[str, Any] = {
        "retries": {"mode": "standard", "max_attempts": 5},
        "connect_timeout": 10,
        "read_timeout": 60,
        "user_agent_extra": "dmarckit",
    }
    with _lock:  # threads may share a client, but not a session
        return (session or aws_session()).client(service, config=Config(**(usual | config)))


@contextlib.contextmanager
def aws_errors(
    what: str, kind: type[DmarckitError], permission: str = "", refused: str = ""
) -> Iterator[None]:
    """Raise what the SDK raises within as an error of this kind: ``what: reason``.

    `permission` and `refused` are those of `aws_reason`.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, ValueError, KeyError) as error:
        raise kind(f"{what}: {aws_reason(error, permission, refused)}") from error


def aws_reason(error: Exception, permission: str = "", refused: str = "") -> str:
    """Return what to check about an error of the AWS SDK, with its code or class.

    Args:
        error: what botocore raised.
        permission: the IAM action that is needed, unless AWS names it.
        refused: what is said of a code that we do not know; empty: AWS's own message.
    """
    code = error_code(error)
    if not code:
        name = type(error).__name__
        if name in ("ResponseParserError", "KeyError"):  # the latter: a field is missing
            return "what answers there is not AWS; check network, proxy and AWS_ENDPOINT_URL"
        return f"{_SDK_HINTS.get(name, one_line(error, 120))} ({name})"
    message = str(getattr(error, "response", {})["Error"].get("Message", ""))
    if denied := _ACTION.search(message):
        permission = denied[1]
    known = code_hint(code, permission) or refused or one_line(message, 300)
    return f"{known} ({one_line(code, 60)})"


def error_code(error: BaseException) -> str:
    """Return AWS's code of an error that it answered with; empty for all others."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "unknown")) if isinstance(answer, dict) else ""


def code_hint(code: str, permission: str) -> str:
    """Return what to check where AWS answers with this code; empty: we do not know it.

    >>> code_hint("AWS.SimpleQueueService.NonExistentQueue", "")
    'there is no such queue; check the URL, the account and AWS_REGION'
    """
    name = re.split(r"[.#]", code)[-1].removesuffix("Exception")
    return _HINTS.get(name, "").format(permission=permission)
