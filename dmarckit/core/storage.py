"""Bytes by key: an S3 bucket below a prefix, or a folder.

Keys are paths below the storage's root, with ``/``. Credentials, region and endpoint are the AWS
SDK's own. Every failure is a `StorageError`: `get` of what is not there `MissingObject`, of one
that is refused while others may be readable `RefusedObject`, or `EncryptedObject`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from dmarckit.core.aws import aws_client, aws_errors, aws_reason, aws_session, error_code
from dmarckit.core.errors import (
    EncryptedObject,
    MissingObject,
    RefusedObject,
    StorageError,
    one_line,
)
from dmarckit.core.retry import with_retries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Credential, S3Store

log = logging.getLogger("dmarckit")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket or a file in a folder, as a listing shows it."""

    key: str  # path below the storage's root, with ``/``
    etag: str  # changes when the content changes
    size: int  # bytes
    modified: datetime = field(compare=False)  # UTC


_PLAIN_KEY = re.compile(r"(?!\.\.?(?:/|$))[\w!.=@,+-]+(?:/(?!\.\.?(?:/|$))[\w!.=@,+-]+)*", re.ASCII)
"""keys that are paths as they are, for files as for obstore"""
TEMPORARY = ".dmarckit-"  # files half written; never listed
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # some file systems have none


class FolderStorage:
    """A folder. The etag is made of size and modification time, so that a listing is cheap."""

    compresses = False  # readers do not understand Content-Encoding
    remote = False  # several `get` at once are no faster

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.url = str(self.root)
        self._below = f"{self.root.as_posix().rstrip('/')}/"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every file below `prefix`, in key order; links are followed, hidden files too."""
        top = self.root / prefix
        if top.is_file():
            yield self._stored(top.as_posix(), top.stat())
        elif top.exists():
            yield from self._walk(top.as_posix().rstrip("/"))
        elif not (prefix and self.root.exists()):
            raise StorageError(f"folder {top} does not exist; create it or set another one")

    def _walk(self, folder: str) -> Iterator[StoredObject]:
        try:
            # "a.b" sorts before "a/": as S3 lists keys
            found = [(e.name + ("/" if e.is_dir() else ""), e) for e in os.scandir(folder or "/")]
        except OSError as error:
            raise StorageError(f"cannot list folder {folder}: {error.strerror}") from error
        for name, entry in sorted(found, key=itemgetter(0)):
            if name.endswith("/"):
                yield from self._walk(f"{folder}/{entry.name}")
            elif entry.is_file() and not name.startswith(TEMPORARY):
                with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                    yield self._stored(f"{folder}/{name}", entry.stat())

    def _stored(self, path: str, status: os.stat_result) -> StoredObject:
        key = path.removeprefix(self._below)
        return StoredObject(
            key=key if key.isascii() else os.fsencode(key).decode("utf-8", "replace"),
            etag=f"{status.st_size:x}-{status.st_mtime_ns:x}",
            size=status.st_size,
            modified=datetime.fromtimestamp(status.st_mtime, UTC),
        )

    def get(self, key: str) -> bytes:
        """Return the file's bytes."""
        path = self._path(key)
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError as error:
            raise MissingObject(f"no file {one_line(key)} in {self.root}") from error
        except PermissionError as error:
            reason = "permission denied; let this user read the file"
            raise RefusedObject(f"cannot read {path}", reason, "EACCES") from error
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error

    def put(
        self, key: str, data: bytes, *, content_type: str, content_encoding: str | None = None
    ) -> None:
        """Write a temporary file, then rename it, so that no reader sees half a file."""
        with self._temporary(key, data) as (temporary, path):
            os.replace(temporary, path)

    def put_new(self, key: str, data: bytes, *, content_type: str, private: bool = False) -> bool:
        """Give a temporary file its second name, which the system lets only one do."""
        mode = 0o600 if private else 0o666
        with self._temporary(key, data, mode) as (temporary, path):
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                try:
                    _write_new(path, data, mode)  # a reader may see half of it
                except FileExistsError:
                    return False
            finally:  # whoever has the key has it, even where the other name stays
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            return True

    def delete(self, key: str) -> None:
        """Remove the file."""
        path = self._path(key)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"cannot delete {path}: {error.strerror}") from error

    @contextlib.contextmanager
    def _temporary(self, key: str, data: bytes, mode: int = 0o666) -> Iterator[tuple[str, str]]:
        """Return a file beside the key's that holds the data, and the key's own path.

        Whoever asks takes the file away, unless that fails.
        """
        path = self._path(key)
        folder = os.path.dirname(path)
        temporary = f"{folder}/{TEMPORARY}{uuid.uuid4().hex}"
        try:
            try:
                _write_new(temporary, data, mode)
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)
                _write_new(temporary, data, mode)
            yield temporary, path
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            if isinstance(error, OSError):
                raise StorageError(
                    f"cannot write {path}: {error.strerror}; is the folder writable for this user?"
                ) from error
            raise

    def link(self, key: str, expires: int) -> str:
        """Return a file:// address; `expires` has no meaning in a folder."""
        return Path(self._path(key)).as_uri()

    def _path(self, key: str) -> str:
        if _PLAIN_KEY.fullmatch(key):  # paths as objects take longer than the files
            return self._below + key
        path, depth = self.root / key, len(self.root.parts)
        if path.parts[:depth] != self.root.parts or ".." in path.parts[depth:]:
            raise StorageError(f"key {one_line(key)} points outside {self.root}")
        return str(path)


def _write_new(path: str, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet, with these rights and never more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


POOL = 32  # connections of one client; fetching uses as many threads at the most
CONFLICTS = (0.0,) * 4  # pauses while another's write of the key is under way (Amazon: 409)
BROKE_OFF = "broke off"  # code of an object whose body did not come whole
PAUSES_OF_BODY = (1.0,)  # before it is fetched a third time
# what clients that encrypt by themselves (SES is one) leave with the object
ARCHIVED = "InvalidObjectState"
_OF_OBJECT = frozenset({ARCHIVED, "AccessDenied", "403", "InvalidRequest", "MethodNotAllowed"})
"""codes about one object; the last two: another's encryption key (SSE-C), a delete marker"""
_CLIENT_SIDE = frozenset({"x-amz-key", "x-amz-key-v2", "x-amz-c"})


WITHOUT_OBSTORE = "DMARCKIT_WITHOUT_OBSTORE"
"""environment variable that leaves everything to boto3, where it has any value"""
LISTED = 1_000  # objects a request
CREDENTIALS = timedelta(minutes=10)
"""for which obstore keeps them; it asks five minutes earlier, and boto3's last ten or longer"""


class S3Storage:
    """A bucket below a prefix, through boto3 with retries and timeouts set.

    Where obstore is installed it gets, puts and lists, for a fifth of the processor time. What it
    cannot do, boto3 does once more, so that retries and errors are boto3's.
    """

    compresses = True  # text is stored gzipped
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
        """Return the boto3 client, made on first use (threads may share it)."""
        return self._client()

    @functools.cached_property
    def _signer(self) -> S3Client:
        if self._presign_keys is None:
            return self.client
        key, secret = self._presign_keys
        return self._client(aws_access_key_id=key, aws_secret_access_key=secret)

    def _client(self, **keys: str) -> S3Client:
        with aws_errors("cannot use S3", StorageError):
            session = aws_session(**keys) if keys else self._session
            client: S3Client = aws_client(
                "s3", session, signature_version="s3v4", max_pool_connections=POOL
            )
            return client

    @functools.cached_property
    def _session(self) -> Any:
        return aws_session()

    @functools.cached_property
    def _store(self) -> S3Store | None:
        """Return obstore's access to the bucket as boto3 would reach it; None: without it."""
        if os.environ.get(WITHOUT_OBSTORE):
            return None
        try:
            from obstore.store import S3Store

            place = {"Bucket": self.bucket, "Key": "key"}
            url = urlsplit(self.client.generate_presigned_url("get_object", Params=place))
            return S3Store(
                self.bucket,
                endpoint=f"{url.scheme}://{url.netloc}",
                region=self.client.meta.region_name,
                virtual_hosted_style_request=not url.path.startswith(f"/{self.bucket}/"),
                checksum_algorithm="sha256",  # a bucket with object lock wants one
                credential_provider=functools.partial(_credentials, self._session),
                client_options={"allow_http": True, "connect_timeout": "10s", "timeout": "60s"},
                retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=60)},
            )
        except Exception as error:  # it is not installed, or boto3 says what is wrong
            log.debug("obstore is not used: %s", one_line(error))
            return None

    def _quickly(
        self, key: str, ask: Callable[[S3Store], Result], plainly: Callable[[], Result]
    ) -> Result:
        """Return what obstore answers, else what boto3 does.

        Once boto3 has an answer where obstore has none, obstore is not asked again.
        """
        store = self._store if _PLAIN_KEY.fullmatch(key) else None
        if store is None:
            return plainly()
        try:
            return ask(store)
        except Exception as error:
            result = plainly()
            log.debug("obstore is not used any more: %s", one_line(error))
            self._store = None
            return result

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object below `prefix`, in key order, 1,000 a request."""
        full, last = self.prefix + prefix, ""
        if self._store and full.endswith("/") and _PLAIN_KEY.fullmatch(full[:-1]):
            with contextlib.suppress(Exception):  # boto3 goes on, or explains it
                for some in self._store.list(full, chunk_size=LISTED):
                    for item in some:
                        key, size = item["path"], item["size"]
                        if not size and key == full[:-1]:
                            continue  # the "folder" itself
                        if not size:
                            raise ValueError(key)  # a folder loses its slash, a file is as empty
                        etag = (item["e_tag"] or "").strip('"')
                        name = key.removeprefix(self.prefix)
                        yield StoredObject(name, etag, size, item["last_modified"])
                        last = key
                return
        pages = self.client.get_paginator("list_objects_v2")
        with self._explained("list", full, "s3:ListBucket"):
            after: Any = {"StartAfter": last} if last else {}
            for page in pages.paginate(Bucket=self.bucket, Prefix=full, **after):
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
        """Return the object's bytes; a body that breaks off is fetched again as a whole."""
        full = self.prefix + key

        def ask(store: S3Store) -> tuple[bytes, Iterable[str]]:
            answer = store.get(full)
            return answer.bytes().to_bytes(), answer.attributes

        body, metadata = self._quickly(full, ask, lambda: self._read(full))
        if not _CLIENT_SIDE.isdisjoint(map(str.lower, metadata)):
            where = f"s3://{self.bucket}/{one_line(full)}"
            raise EncryptedObject(f"{where} was encrypted on the client side before it was stored")
        return body

    def _read(self, full: str) -> tuple[bytes, Iterable[str]]:
        with self._explained("read", full, "s3:GetObject"):
            try:
                return self._fetched(full)
            except RefusedObject as error:
                if error.code != BROKE_OFF:
                    raise
            return with_retries(
                lambda: self._fetched(full),
                lambda error: getattr(error, "code", "") == BROKE_OFF,
                PAUSES_OF_BODY,
            )

    def _fetched(self, full: str) -> tuple[bytes, Iterable[str]]:
        what = f"cannot read s3://{self.bucket}/{one_line(full)}"
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=full)
        except Exception as error:
            if (reason := _refusal(error)) and not self._is_missing(error, full):
                raise RefusedObject(what, reason, error_code(error)) from error
            raise
        try:
            return answer["Body"].read(), answer.get("Metadata") or {}
        except Exception as error:
            reason = f"its content broke off ({type(error).__name__}); a later run tries again"
            raise RefusedObject(what, reason, BROKE_OFF) from error

    def head(self, key: str) -> StoredObject:
        """Return the object as a listing shows it. Raises MissingObject when it is not there."""
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
        """Send one PutObject, which S3 makes visible whole or not at all."""
        full = self.prefix + key
        kinds = {"Content-Type": content_type}
        if content_encoding:
            kinds["Content-Encoding"] = content_encoding

        def plainly() -> None:
            named: dict[str, Any] = {name.replace("-", ""): kind for name, kind in kinds.items()}
            with self._explained("write", full, "s3:PutObject"):
                self.client.put_object(Bucket=self.bucket, Key=full, Body=data, **named)

        def ask(store: S3Store) -> None:
            store.put(full, data, attributes=kinds, use_multipart=False)

        self._quickly(full, ask, plainly)

    def put_new(self, key: str, data: bytes, *, content_type: str, private: bool = False) -> bool:
        """Send one PutObject that S3 takes only where there is no object (If-None-Match)."""
        put = functools.partial(
            self.client.put_object, Bucket=self.bucket, Key=self.prefix + key, Body=data
        )
        with self._explained("write", self.prefix + key, "s3:PutObject"):
            try:
                with_retries(
                    lambda: put(ContentType=content_type, IfNoneMatch="*"),
                    lambda error: error_code(error) == "ConditionalRequestConflict",
                    CONFLICTS,
                )
            except Exception as error:
                if error_code(error) not in ("PreconditionFailed", "412"):
                    raise
                return False
        return True

    def delete(self, key: str) -> None:
        """Send one DeleteObject, which S3 takes as well when there is no such object."""
        with self._explained("delete", self.prefix + key, "s3:DeleteObject"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def link(self, key: str, expires: int) -> str:
        """Return a presigned GET (SigV4); it ends earlier when the session's credentials do."""
        with self._explained("sign a link to", self.prefix + key, "s3:GetObject"):
            return self._signer.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": self.prefix + key},
                ExpiresIn=expires,
            )

    @contextlib.contextmanager
    def _explained(self, doing: str, key: str, permission: str) -> Iterator[None]:
        """Raise what botocore raises as a StorageError, or MissingObject."""
        what = f"cannot {doing} s3://{self.bucket}/{one_line(key)}"
        with aws_errors(what, StorageError, permission, "S3 refused it"):
            try:
                yield
            except Exception as error:
                if self._is_missing(error, key if doing == "read" else None):
                    raise MissingObject(f"{what}: there is no such object") from error
                raise

    def _is_missing(self, error: Exception, key: str | None) -> bool:
        """Return True if S3 means that there is no such object.

        Who may list by prefix only is told "forbidden" about one, so that is asked by a listing.
        """
        if key is None or error_code(error) not in ("AccessDenied", "403"):
            return error_code(error) in ("NoSuchKey", "404")
        with contextlib.suppress(Exception):
            found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
            return all(entry["Key"] != key for entry in found.get("Contents", ()))
        return False


def _credentials(session: Any) -> S3Credential:
    """Return the session's credentials as obstore takes them."""
    found = session.get_credentials().get_frozen_credentials()
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": datetime.now(UTC) + CREDENTIALS,
    }


def _refusal(error: Exception) -> str:
    """Return why S3 refuses this one object and what to do; empty: that is not the reason."""
    code = error_code(error)
    if "Throttl" in code or not (code in _OF_OBJECT or code.startswith("KMS.")):
        return ""
    said = getattr(error, "response", {})["Error"]
    if code == ARCHIVED:
        tier = one_line(said.get("AccessTier") or said.get("StorageClass") or "", 40)
        return (
            f"archived{f' ({tier})' if tier else ''}: restore it (aws s3api restore-object), "
            "and a later run reads it"
        )
    reason = aws_reason(error, "s3:GetObject", "its encryption key cannot be used")
    message = one_line(str(said.get("Message", "")).strip(), 400)
    plain = message.lower().strip(".") in ("", "access denied", "forbidden")
    return reason if plain else f"{reason}; S3 says: {message}"


Storage = FolderStorage | S3Storage
"""what is stored is whole or not there; of any number that `put_new` one key one gets True"""


def open_storage(url: str, presign_keys: tuple[str, str] | None = None) -> Storage:
    """Return the storage at ``s3://bucket/prefix`` or at a folder's path.

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
