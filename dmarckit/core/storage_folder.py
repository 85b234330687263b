"""A folder as storage: files by their path below it."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dmarckit.core.errors import MissingObject, StorageError, one_line
from dmarckit.core.objects import StoredObject

TEMPORARY = ".dmarckit-"  # files half written; never listed
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # some file systems have none


class FolderStorage:
    """A folder. The etag is made of size and modification time, so that a listing is cheap."""

    compresses = False
    remote = False

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.url = str(self.root)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every file below `prefix`, in key order; links are followed, hidden files too."""
        top = self.root / prefix
        if not top.exists():
            if prefix and self.root.exists():
                return
            raise StorageError(f"folder {top} does not exist; create it or set another one")
        if top.is_file():
            yield self._stored(top)
            return
        yield from self._walk(top)

    def _walk(self, folder: Path) -> Iterator[StoredObject]:
        try:
            # "a.b" sorts before "a/": as S3 lists keys
            entries = sorted(os.scandir(folder), key=lambda e: e.name + ("/" if e.is_dir() else ""))
        except OSError as error:
            raise StorageError(f"cannot list folder {folder}: {error.strerror}") from error
        for entry in entries:
            if entry.is_dir():
                yield from self._walk(folder / entry.name)
            elif entry.is_file() and not entry.name.startswith(TEMPORARY):
                try:
                    stored = self._stored(folder / entry.name)
                except FileNotFoundError:
                    continue  # it went meanwhile
                yield stored

    def _stored(self, path: Path) -> StoredObject:
        status = path.stat()
        return StoredObject(
            key=os.fsencode(path.relative_to(self.root).as_posix()).decode("utf-8", "replace"),
            etag=f"{status.st_size:x}-{status.st_mtime_ns:x}",
            size=status.st_size,
            modified=datetime.fromtimestamp(status.st_mtime, UTC),
        )

    def get(self, key: str) -> bytes:
        """The file's bytes."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise MissingObject(f"no file {one_line(key)} in {self.root}") from error
        except OSError as error:
            raise StorageError(f"cannot read {self._path(key)}: {error.strerror}") from error

    def put(
        self, key: str, data: bytes, *, content_type: str, content_encoding: str | None = None
    ) -> None:
        """Write a temporary file, then rename it, so that no reader sees half a file."""
        with self._temporary(key, data) as (temporary, path):
            temporary.replace(path)

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """A second name for a temporary file, which the system gives to one only."""
        with self._temporary(key, data) as (temporary, path):
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                return _created(path, data)
            return True

    def delete(self, key: str) -> None:
        """Remove the file."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot delete {path}: {error.strerror}") from error

    @contextlib.contextmanager
    def _temporary(self, key: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        """A file beside the key's that holds the data, and the key's own path."""
        path = self._path(key)
        temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            yield temporary, path
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror}; is the folder writable for this user?"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def link(self, key: str, expires: int) -> str:
        """A file:// address; `expires` has no meaning in a folder."""
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        path = (self.root / key).absolute()
        if ".." in Path(key).parts or not path.is_relative_to(self.root):
            raise StorageError(f"key {one_line(key)} points outside {self.root}")
        return path


def _created(path: Path, data: bytes) -> bool:
    """As `FolderStorage.put_new` where files have one name only; a reader may see half."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True
