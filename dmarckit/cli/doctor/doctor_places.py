"""Checks of the places: mails can be read, the rest written, links open."""

from __future__ import annotations

import contextlib
import email
import email.policy
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta
from heapq import nlargest
from itertools import islice

from dmarckit.cli.doctor.doctor import Answer, Context, fail, ok, skip, warn
from dmarckit.core.errors import StorageError, UnreadableReport, one_line
from dmarckit.core.objects import StoredObject
from dmarckit.core.settings import Settings
from dmarckit.core.storage import FolderStorage, Storage, open_storage
from dmarckit.reports.mail import read_mail
from dmarckit.reports.verdict import without_comments
from dmarckit.slack.presign import lasting

OWN = "doctor"
"""all that the doctor writes is below this key, and is deleted again"""
LISTED = 50_000
"""objects that are looked at for the newest mail; more would take too long"""
SAMPLE = 5
"""newest mails that are read"""
QUIET = timedelta(days=3)
"""without mail: reporters send every day"""
FETCH_SECONDS = 10


def mails(context: Context) -> Answer:
    """The mail location can be listed, its newest mails read, and they are of late."""
    settings = context.settings
    storage = open_storage(settings.mail_url)
    found = list(islice(storage.list(), LISTED))
    if not found:
        return warn(
            f"{storage.url} is empty",
            "point the rua address of a DMARC record at SES, and a receipt rule at this place",
        )
    newest = _newest(found)
    for item in newest:
        storage.get(item.key)
    age = context.clock() - newest[0].modified
    many = f"more than {LISTED:,}" if len(found) == LISTED else f"{len(found):,}"
    message = f"{many} objects in {storage.url}, the newest is {_age(age)} old"
    if age > QUIET and len(found) < LISTED:
        fix = "see whether SES still stores mails there: receipt rule, MX record, quarantine"
        return warn(message, fix)
    return ok(message)


def verdicts(context: Context) -> Answer:
    """The newest mails carry the results header of the server that `authserv_id` names."""
    settings = context.settings
    storage = open_storage(settings.mail_url)
    newest = _newest(list(islice(storage.list(), LISTED)))
    if not newest:
        return skip("there is no mail yet")
    servers = [_server(storage, item, settings) for item in newest]
    good = servers.count(settings.authserv_id)
    message = f"{good} of the newest {len(servers)} mails have a DMARC result by"
    message = f"{message} {settings.authserv_id}"
    if good or settings.trust_level == "any":
        return ok(f"{message} (trust: {settings.trust_level})")
    others = sorted({one_line(s, 80) for s in servers if s})
    said = f"; found instead: {', '.join(others)}" if others else ""
    fix = "set authserv_id to the server that receives the mails"
    if not others:
        fix = "mails must come as SES stores them; for a bucket of files set trust to any"
    found = fail if settings.trust_level == "pass" else warn
    return found(f"{message}, and trust is {settings.trust_level}{said}", fix)


def _server(storage: Storage, item: StoredObject, settings: Settings) -> str | None:
    """The authserv-id of a mail's topmost results header, as far as it says something of DMARC."""
    raw = storage.get(item.key)
    try:
        mail = read_mail(raw, settings.limits, settings.authserv_id)
    except UnreadableReport:
        return None
    if mail.verdict.dmarc is not None:
        return settings.authserv_id
    header = email.message_from_bytes(raw, policy=email.policy.compat32)["Authentication-Results"]
    words = without_comments(str(header or "")).partition(";")[0].split()
    return words[0] if words else None


def _newest(found: list[StoredObject]) -> list[StoredObject]:
    return nlargest(SAMPLE, found, key=lambda item: item.modified)


def _age(age: timedelta) -> str:
    hours = int(age.total_seconds() // 3600)
    if hours < 1:
        return "less than an hour"
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"


def writable(context: Context) -> Answer:
    """A small object can be written to each place, read back and deleted."""
    done = []
    for name, storage in _written(context.settings):
        key, data = _own_key(), uuid.uuid4().bytes
        storage.put(key, data, content_type="application/octet-stream")
        try:
            if storage.get(key) != data:
                what = f"{name} {storage.url} gives back other bytes than were written"
                return fail(what, "use a storage that is consistent after a write, as S3 is")
        finally:
            _removed(storage, key)
        # asked by a listing: S3 says "denied" of a missing object where listing is limited
        if any(item.key == key for item in storage.list(key)):
            what = f"{storage.url}/{key} is still there after it was deleted"
            return warn(what, "allow s3:DeleteObject; or is there a cache in front of it?")
        done.append(f"{name} {storage.url}")
    return ok(f"written, read back and deleted in {', '.join(done)}")


def conditional(context: Context) -> Answer:
    """A write that must not replace anything is refused where something is."""
    for name, storage in _written(context.settings):
        key = _own_key()
        try:
            first = storage.put_new(key, b"1", content_type="text/plain")
            second = storage.put_new(key, b"2", content_type="text/plain")
        finally:
            _removed(storage, key)
        if (first, second) != (True, False):
            return fail(
                f"{name} {storage.url} does not honour conditional writes (If-None-Match)",
                "use S3 or a server that does: two writers could destroy each other's work",
            )
    return ok("of two writers at once one is refused")


def links(context: Context) -> Answer:
    """A presigned link really opens an object, over HTTP and without credentials."""
    settings = context.settings
    if not settings.pages_url.startswith("s3://"):
        return skip("pages are in a folder: links are file names")
    storage = open_storage(settings.pages_url, settings.presign_keys())
    key, data = _own_key(), uuid.uuid4().hex.encode()
    storage.put(key, data, content_type="text/plain")
    try:
        problem = _opened(storage.link(key, 60), data)
    finally:
        _removed(storage, key)
    if problem:
        fix = "check presign_key_id and its right s3:GetObject, AWS_REGION, and the network"
        return fail(f"a presigned link does not open: {problem}", fix)
    short = lasting(settings, context.clock())
    hours = settings.presign_expires // 3600
    if short:
        return warn(short, "")
    signer = "presign_key_id" if settings.presign_keys() else "the session's own keys"
    return ok(f"a presigned link opens; links last {hours} h, signed with {signer}")


def _opened(link: str, data: bytes) -> str | None:
    """What is wrong with a link; None: it gave these bytes. The link is never part of it."""
    try:
        with urllib.request.urlopen(link, timeout=FETCH_SECONDS) as answer:  # noqa: S310
            return None if answer.read(1000) == data else "it gave something else"
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}"
    except OSError as error:
        return one_line(getattr(error, "reason", None) or error, 100)


def page_address(context: Context) -> Answer:
    """Something answers at `page_base_url`; who may see it is not ours to know."""
    settings = context.settings
    if not settings.page_base_url:
        return skip("page_base_url is not set: links are presigned")
    if not settings.page_base_url.startswith(("http://", "https://")):
        what = f"page_base_url {settings.page_base_url} is no http(s) address"
        return fail(what, "write it as https://dmarc.example.com")
    try:
        with urllib.request.urlopen(settings.page_base_url, timeout=FETCH_SECONDS) as answer:  # noqa: S310
            code = answer.status
    except urllib.error.HTTPError as error:
        code = error.code
        error.close()
    except OSError as error:
        why = one_line(getattr(error, "reason", None) or error, 100)
        return warn(f"page_base_url does not answer from here: {why}", "check address and network")
    if code >= 500:
        return warn(f"page_base_url answers HTTP {code}", "see the server's log")
    return ok(f"page_base_url answers (HTTP {code})")


def _written(settings: Settings) -> Iterator[tuple[str, Storage]]:
    """The places that are written to; those below another one go without saying."""
    places = {
        "home": settings.home,
        "lake": settings.lake_url,
        "pages": settings.pages_url,
        "exports_to": settings.exports_url,
    }
    for name, url in places.items():
        others = (other for n, other in places.items() if n != name and other != url)
        if not any(f"{url}/".startswith(f"{other.rstrip('/')}/") for other in others):
            try:
                yield name, open_storage(url)
            except StorageError as error:
                raise StorageError(f"{name}: {error}") from error


def _removed(storage: Storage, key: str) -> None:
    """The doctor's object goes, in a folder its own empty folder too."""
    storage.delete(key)
    if isinstance(storage, FolderStorage):
        with contextlib.suppress(OSError):
            (storage.root / OWN).rmdir()


def _own_key() -> str:
    return f"{OWN}/{uuid.uuid4().hex}"
