"""An S3 bucket below a prefix as storage. The only place for boto3's S3."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

from dmarckit.core.errors import MissingObject, StorageError, one_line
from dmarckit.core.objects import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

POOL = 32  # connections of one client; fetching uses as many threads at the most
CONFLICTS = 5  # tries while another's write of the same key is under way (Amazon answers 409)

HINTS = {
    "NoSuchBucket": "the bucket does not exist; check its name and the account",
    "AccessDenied": "access denied; allow {permission} for these credentials",
    "403": "access denied; allow {permission} for these credentials",
    "InvalidAccessKeyId": "the access key is unknown; check AWS_PROFILE or the keys",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_PROFILE or the keys",
    "ExpiredToken": "the credentials have expired; sign in again",
    "InvalidToken": "the session token is not valid; sign in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "wrong region for this bucket; set AWS_REGION",
    "IllegalLocationConstraintException": "wrong region for this bucket; set AWS_REGION",
    "InvalidBucketName": "that is not a bucket's name",
}
"""S3's error code → what to check"""


class S3Storage:
    """A bucket below a prefix, through boto3 with retries and timeouts set."""

    compresses = True
    remote = True

    def __init__(
        self, bucket: str, prefix: str = "", presign_keys: tuple[str, str] | None = None
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._presign_keys = presign_keys

    @functools.cached_property
    def client(self) -> S3Client:
        """The boto3 client, made on first use (threads may share it)."""
        return _client(None)

    @functools.cached_property
    def _signer(self) -> S3Client:
        return _client(self._presign_keys) if self._presign_keys else self.client

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object below `prefix`, in key order, 1,000 a request."""
        full = self.prefix + prefix
        pages = self.client.get_paginator("list_objects_v2")
        with self._explained("list", full, "s3:ListBucket"):
            for page in pages.paginate(Bucket=self.bucket, Prefix=full):
                for entry in page.get("Contents", ()):
                    if entry["Key"].endswith("/"):
                        continue  # a "folder" made by a console, no object of anyone's
                    yield StoredObject(
                        key=entry["Key"].removeprefix(self.prefix),
                        etag=entry["ETag"].strip('"'),
                        size=entry["Size"],
                        modified=entry["LastModified"].astimezone(UTC),
                    )

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        with self._explained("read", self.prefix + key, "s3:GetObject"):
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            return answer["Body"].read()

    def head(self, key: str) -> StoredObject:
        """The object as a listing shows it. Raises MissingObject when it is not there."""
        with self._explained("read", self.prefix + key, "s3:GetObject"):
            answer = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            return StoredObject(
                key=key,
                etag=answer["ETag"].strip('"'),
                size=answer["ContentLength"],
                modified=answer["LastModified"].astimezone(UTC),
            )

    def put(
        self, key: str, data: bytes, *, content_type: str, content_encoding: str | None = None
    ) -> None:
        """One PutObject, which S3 makes visible whole or not at all."""
        more: dict[str, Any] = {"ContentEncoding": content_encoding} if content_encoding else {}
        with self._explained("write", self.prefix + key, "s3:PutObject"):
            self.client.put_object(
                Bucket=self.bucket,
                Key=self.prefix + key,
                Body=data,
                ContentType=content_type,
                **more,
            )

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """One PutObject that S3 takes only where there is no object (If-None-Match)."""
        from botocore.exceptions import ClientError

        with self._explained("write", self.prefix + key, "s3:PutObject"):
            for attempt in range(CONFLICTS):
                try:
                    self.client.put_object(
                        Bucket=self.bucket,
                        Key=self.prefix + key,
                        Body=data,
                        ContentType=content_type,
                        IfNoneMatch="*",
                    )
                except ClientError as error:
                    code = error.response.get("Error", {}).get("Code")
                    if code in ("PreconditionFailed", "412"):
                        return False
                    if code != "ConditionalRequestConflict" or attempt == CONFLICTS - 1:
                        raise
                else:
                    return True
        return False

    def delete(self, key: str) -> None:
        """One DeleteObject, which S3 takes as well when there is no such object."""
        with self._explained("delete", self.prefix + key, "s3:DeleteObject"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def link(self, key: str, expires: int) -> str:
        """A presigned GET (SigV4); it ends earlier when the session's credentials do."""
        with self._explained("sign a link to", self.prefix + key, "s3:GetObject"):
            return self._signer.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": self.prefix + key},
                ExpiresIn=expires,
            )

    def _explained(self, doing: str, key: str, permission: str) -> _Explained:
        return _Explained(f"cannot {doing} s3://{self.bucket}/{one_line(key)}", permission)


class _Explained(contextlib.AbstractContextManager[None]):
    """Turns what botocore raises into one line with the thing to check."""

    def __init__(self, what: str, permission: str) -> None:
        self.what = what
        self.permission = permission

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None or isinstance(error, StorageError | GeneratorExit):
            return
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in ("NoSuchKey", "404"):
                raise MissingObject(f"{self.what}: there is no such object") from error
            raise StorageError(f"{self.what}: {self._hint(code)}") from error
        if isinstance(error, BotoCoreError):
            raise StorageError(f"{self.what}: {sdk_hint(error)}") from error

    def _hint(self, code: str) -> str:
        text = HINTS.get(code, "S3 refused it").format(permission=self.permission)
        return f"{text} ({one_line(code, 60)})"


def sdk_hint(error: Exception) -> str:
    """What to check when the AWS SDK fails before S3 has answered."""
    name = type(error).__name__
    hints = {
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
    return f"{hints.get(name, one_line(error, 120))} ({name})"


def aws_session(**own: Any) -> Any:
    """A boto3 session. Its region is also AWS_REGION's, which boto3 alone does not read.

    Raises what botocore raises, such as ProfileNotFound.
    """
    import boto3
    import botocore.session

    core = botocore.session.Session()
    loader = _loader(core.get_config_variable("data_path"))
    core.register_component("data_loader", loader)
    region = os.environ.get("AWS_REGION") or None
    session = boto3.session.Session(botocore_session=core, region_name=region, **own)
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each session adds boto3's
    return session


@functools.cache
def _loader(data_path: str | None) -> Any:
    """What the SDK has read of its own descriptions of AWS: 0.1 s a client, if each does."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def _client(keys: tuple[str, str] | None) -> S3Client:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    own: dict[str, Any] = (
        {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]} if keys else {}
    )
    try:
        client: S3Client = aws_session(**own).client(
            "s3",
            config=Config(
                signature_version="s3v4",
                retries={"mode": "standard", "max_attempts": 5},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=POOL,
                user_agent_extra="dmarckit",
            ),
        )
        return client
    except (BotoCoreError, ValueError) as error:
        raise StorageError(f"cannot use S3: {sdk_hint(error)}") from error
