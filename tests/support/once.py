"""Things that take long to make: made once for all test processes of a run."""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Callable
from pathlib import Path


class Once:
    """Makes files and folders that tests only look at, below a folder that processes share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file or folder of this name; unless it is there, `make` makes it at a path it gets.

        While one process makes it, others that want the same wait. What `make` leaves half done
        when it fails is not taken for it.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                half = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
                make(half)
                half.rename(path)
        return path
