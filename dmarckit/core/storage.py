"""Bytes by key: an S3 bucket below a prefix, or a folder.

Keys are paths below the storage's root, with ``/``. Credentials, region and endpoint are
the AWS SDK's own. Every failure becomes a `StorageError` of one line that names bucket
and key and says what to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from dmarckit.core.errors import StorageError, one_line
from dmarckit.core.objects import StoredObject
from dmarckit.core.storage_folder import TEMPORARY, FolderStorage
from dmarckit.core.storage_s3 import HINTS, POOL, S3Storage, aws_session, sdk_hint

__all__ = [
    "HINTS",
    "POOL",
    "TEMPORARY",
    "FolderStorage",
    "S3Storage",
    "Storage",
    "aws_session",
    "open_storage",
    "sdk_hint",
]


class Storage(Protocol):
    """What the rest of dmarckit asks of a bucket or a folder."""

    url: str
    compresses: bool
    """True where readers understand Content-Encoding, so that text is stored gzipped"""
    remote: bool
    """True where each `get` waits for a network, so that several at once are faster"""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object below `prefix`, in key order, one page at a time."""

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises MissingObject when it is not there."""

    def put(
        self, key: str, data: bytes, *, content_type: str, content_encoding: str | None = None
    ) -> None:
        """Store the object whole or not at all, over one of the same key."""

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """Store the object unless there is one of this key; True when it was stored.

        Of any number who try at once exactly one gets True.
        """

    def delete(self, key: str) -> None:
        """Take the object away; nothing happens when it is not there."""

    def link(self, key: str, expires: int) -> str:
        """An address that opens the object for `expires` seconds (for ever in a folder)."""


def open_storage(url: str, presign_keys: tuple[str, str] | None = None) -> Storage:
    """The storage at ``s3://bucket/prefix`` or at a folder's path.

    `presign_keys` (access key id, secret) sign links on S3 instead of the session's own.
    Nothing is contacted yet.
    """
    if url.startswith("s3://"):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise StorageError(f"{one_line(url)} names no bucket; write s3://bucket/prefix")
        return S3Storage(bucket, prefix.strip("/"), presign_keys)
    if "://" in url and not url.startswith("file://"):
        raise StorageError(f"{one_line(url)} is neither s3://bucket/prefix nor a folder")
    return FolderStorage(Path(url.removeprefix("file://")))
