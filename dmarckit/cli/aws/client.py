"""The AWS services that a stack needs, and their errors in one line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from dmarckit.core import AwsError, aws_client, aws_errors, aws_session


class Aws:
    """Clients of one session, made on first use."""

    def __init__(self, session: Any = None) -> None:
        self._given = session

    @property
    def region(self) -> str:
        """Region of the stack. Raises AwsError when none is set."""
        if not self._session.region_name:
            raise AwsError("no AWS region; set AWS_REGION to one where SES receives mail")
        return str(self._session.region_name)

    @cached_property
    def account(self) -> str:
        """Number of the account. Raises AwsError when AWS does not know the credentials."""
        with explained("ask who we are", "sts:GetCallerIdentity"):
            return str(self.client("sts").get_caller_identity()["Account"])

    @property
    def partition(self) -> str:
        """Partition, as it stands in ARNs: ``aws``, ``aws-cn``, …."""
        return str(self._session.get_partition_for_region(self.region))

    cloudformation: Any = cached_property(lambda self: self.client("cloudformation"))
    s3: Any = cached_property(lambda self: self.client("s3"))
    ses: Any = cached_property(lambda self: self.client("ses"))

    def client(self, service: str) -> Any:
        """Return a client with retries and timeouts, or raise AwsError."""
        region = self.region
        with explained(f"use {service}", ""):
            return aws_client(service, self._session, region_name=region)

    @cached_property
    def _session(self) -> Any:
        with explained("use AWS", ""):
            return self._given or aws_session()


def explained(doing: str, action: str) -> AbstractContextManager[None]:
    """Raise what botocore raises within as an AwsError; `action` is the permission needed."""
    return aws_errors(f"cannot {doing}", AwsError, action)
