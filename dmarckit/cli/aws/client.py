"""The AWS services that a stack needs, and their errors in one line."""

from __future__ import annotations

import contextlib
import re
from functools import cached_property
from typing import Any

from dmarckit.core import HINTS, AwsError, aws_session, one_line, sdk_hint

_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")
_ACTION = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z*]+)")
_KEYS = {"InvalidClientTokenId": HINTS["InvalidAccessKeyId"]}


class Aws:
    """Clients of one session, made on first use."""

    def __init__(self, session: Any | None = None) -> None:
        self._given = session

    @property
    def region(self) -> str:
        """Where the stack is. Raises AwsError when no region is set."""
        if not self._session.region_name:
            raise AwsError("no AWS region; set AWS_REGION to one where SES receives mail")
        return str(self._session.region_name)

    @cached_property
    def account(self) -> str:
        """The account's number. Raises AwsError when AWS does not know the credentials."""
        with explained("ask who we are", "sts:GetCallerIdentity"):
            return str(self.client("sts").get_caller_identity()["Account"])

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn``, …: the beginning of ARNs."""
        return str(self._session.get_partition_for_region(self.region))

    @cached_property
    def cloudformation(self) -> Any:
        """The client of CloudFormation."""
        return self.client("cloudformation")

    @cached_property
    def s3(self) -> Any:
        """The client of S3."""
        return self.client("s3")

    @cached_property
    def ses(self) -> Any:
        """The client of SES."""
        return self.client("ses")

    def client(self, service: str) -> Any:
        """A client with retries and timeouts. Raises AwsError when there can be none."""
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=10,
            read_timeout=60,
            user_agent_extra="dmarckit",
        )
        region = self.region
        with explained(f"use {service}", ""):
            return self._session.client(service, region_name=region, config=config)

    @cached_property
    def _session(self) -> Any:
        with explained("use AWS", ""):
            return self._given or aws_session()


@contextlib.contextmanager
def explained(doing: str, action: str) -> Any:
    """Turns what botocore raises into one line; `action` is the permission that is needed.

    Raises AwsError.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise AwsError(f"cannot {doing}: {client_hint(error, action)}") from error
    except ResponseParserError as error:
        why = "what answers there is not AWS; check network, proxy and AWS_ENDPOINT_URL"
        raise AwsError(f"cannot {doing}: {why}") from error
    except (BotoCoreError, ValueError) as error:
        raise AwsError(f"cannot {doing}: {sdk_hint(error)}") from error


def client_hint(error: Any, action: str) -> str:
    """What to check when AWS refused a request."""
    code, message = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    if code in _DENIED:
        denied = _ACTION.search(message)
        return f"access denied; allow {denied[1] if denied else action} ({code})"
    hint = _KEYS.get(code) or HINTS.get(code)
    if hint:
        return f"{hint.format(permission=action)} ({code})"
    return f"{one_line(message, 300)} ({one_line(code, 60)})"


def code_of(error: Any) -> str:
    """AWS's code of an error."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))
