"""An object of a storage as a listing shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket or a file in a folder, as a listing shows it."""

    key: str
    """path below the storage's root, with ``/``"""
    etag: str
    """changes when the content changes"""
    size: int
    """bytes"""
    modified: datetime = field(compare=False)
    """UTC"""
