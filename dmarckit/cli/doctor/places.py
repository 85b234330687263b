"""Checks of the places: S3 lets us in, mails can be read, the rest written, links open."""

from __future__ import annotations

import contextlib
import email
import email.policy
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from heapq import nlargest
from typing import Any
from urllib.parse import urlsplit

from dmarckit import core
from dmarckit.cli.doctor.command import LISTED, CheckContext, CheckResult, fail, ok, skip, warn
from dmarckit.core import Settings, Storage, StorageError, StoredObject, one_line, open_storage
from dmarckit.ingest import SETUP_NOTE
from dmarckit.reports import read_mail, without_comments
from dmarckit.slack import presign_warning

SWITCH_OFF = "switch message encryption off in the receipt rule's S3 action"
OWN = "doctor"  # all that the doctor writes is below this key, and is deleted again
NO_BUCKET = skip("no setting names a bucket")
NOT_AWS = "check AWS_ENDPOINT_URL and the proxy"


def mails(context: CheckContext) -> CheckResult:
    """List the mail location, read its newest mails, and see that they still come."""
    storage, found = context.mail_storage, context.mails
    newest = _newest(found)
    if not newest:
        return warn(
            f"{storage.url} has no mails" if found else f"{storage.url} is empty",
            "point the rua address of a DMARC record at SES, and a receipt rule at this place",
        )
    try:
        _contents(storage, newest)
    except core.EncryptedObject as error:
        return fail(str(error), SWITCH_OFF)
    age = context.clock() - newest[0].modified
    many = f"more than {LISTED:,}" if len(found) == LISTED else f"{len(found):,}"
    hours = int(age.total_seconds() // 3600)
    old = f"{hours // 24} days" if hours >= 72 else f"{hours} h" if hours else "less than an hour"
    message = f"{many} objects in {storage.url}, the newest is {old} old"
    if age > timedelta(days=3) and len(found) < LISTED:  # reporters send every day
        fix = "see whether SES still stores mails there: receipt rule, MX record, quarantine"
        return warn(message, fix)
    return ok(message)


def verdicts(context: CheckContext) -> CheckResult:
    """Check that the newest mails have the results header of the server `authserv_id`."""
    settings = context.settings
    storage, newest = context.mail_storage, _newest(context.mails)
    if not newest:
        return skip("there is no mail yet")
    try:
        servers = [_server(raw, settings) for raw in _contents(storage, newest)]
    except core.EncryptedObject as error:
        return fail(str(error), SWITCH_OFF)
    good = servers.count(settings.authserv_id)
    message = f"{good} of the newest {len(servers)} mails have a DMARC result by "
    message += settings.authserv_id
    if good or settings.trust_level == "any":
        return ok(f"{message} (trust: {settings.trust_level})")
    others = sorted({one_line(s, 80) for s in servers if s})
    said = f"; found instead: {', '.join(others)}" if others else ""
    fix = "set authserv_id to the server that receives the mails"
    if not others:
        fix = "mails must come as SES stores them; for a bucket of files set trust to any"
    found = fail if settings.trust_level == "pass" else warn
    return found(f"{message}, and trust is {settings.trust_level}{said}", fix)


def _contents(storage: Storage, objects: list[StoredObject]) -> list[bytes]:
    """Return the bytes of the objects without those that S3 refuses.

    Raises RefusedObject when it refuses all of them.
    """
    contents, refused = [], []
    for item in objects:
        try:
            contents.append(storage.get(item.key))
        except core.RefusedObject as error:
            refused.append(error)
    if refused and not contents:
        raise refused[0]
    return contents


def _server(raw: bytes, settings: Settings) -> str | None:
    """Return the authserv-id of a mail's topmost results header."""
    try:
        mail = read_mail(raw, settings.limits, settings.authserv_id)
    except core.UnreadableReport:
        return None
    if mail.verdict.dmarc is not None:
        return settings.authserv_id
    header = email.message_from_bytes(raw, policy=email.policy.compat32)["Authentication-Results"]
    words = without_comments(str(header or "")).partition(";")[0].split()
    return words[0] if words else None


def _newest(found: list[StoredObject]) -> list[StoredObject]:
    mails = (item for item in found if not item.key.endswith(SETUP_NOTE))
    return nlargest(5, mails, key=lambda item: item.modified)


def writable(context: CheckContext) -> CheckResult:
    """Write a small object to each place, read it back and delete it."""
    done = []
    for name, storage in _written(context.settings):
        data = uuid.uuid4().bytes
        with _own_object(storage, data) as key:
            if storage.get(key) != data:
                what = f"{name} {storage.url} gives back other bytes than were written"
                return fail(what, "use a storage that is consistent after a write, as S3 is")
        # asked by a listing: S3 says "denied" of a missing object where listing is limited
        if any(item.key == key for item in storage.list(key)):
            what = f"{storage.url}/{key} is still there after it was deleted"
            return warn(what, "allow s3:DeleteObject; or is there a cache in front of it?")
        done.append(f"{name} {storage.url}")
    return ok(f"written, read back and deleted in {', '.join(done)}")


def conditional(context: CheckContext) -> CheckResult:
    """Check that a write that must not replace anything is refused where something is."""
    for name, storage in _written(context.settings):
        with _own_object(storage) as key:
            first = storage.put_new(key, b"1", content_type="text/plain")
            second = storage.put_new(key, b"2", content_type="text/plain")
        if (first, second) != (True, False):
            return fail(
                f"{name} {storage.url} does not honour conditional writes (If-None-Match)",
                "use S3 or a server that does: two writers could destroy each other's work",
            )
    return ok("of two writers at once one is refused")


def links(context: CheckContext) -> CheckResult:
    """Open an object by a presigned link, over HTTP and without credentials."""
    settings = context.settings
    if not settings.pages_url.startswith("s3://"):
        return skip("pages are in a folder: links are file names")
    storage = open_storage(settings.pages_url, settings.presign_keys())
    data = uuid.uuid4().hex.encode()
    with _own_object(storage, data) as key:
        found = _fetched(storage.link(key, 60))
    if found != (200, data):
        status = found if isinstance(found, str) else f"HTTP {found[0]}"
        problem = "it gave something else" if status == "HTTP 200" else status
        fix = "check presign_key_id and its right s3:GetObject, AWS_REGION, and the network"
        return fail(f"a presigned link does not open: {problem}", fix)
    if short := presign_warning(settings, context.clock()):
        return warn(short)
    hours = settings.presign_expires // 3600
    signer = "presign_key_id" if settings.presign_keys() else "the session's own keys"
    return ok(f"a presigned link opens; links last {hours} h, signed with {signer}")


def _fetched(url: str) -> tuple[int, bytes] | str:
    """Return status and first bytes of an answer; without one, why, without the link."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read(1000)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except OSError as error:
        return one_line(getattr(error, "reason", None) or error, 100)


def page_address(context: CheckContext) -> CheckResult:
    """Check that something answers at `page_base_url`; who may see it is not ours to know."""
    address = context.settings.page_base_url
    if not address:
        return skip("page_base_url is not set: links are presigned")
    if not address.startswith(("http://", "https://")):
        what = f"page_base_url {address} is no http(s) address"
        return fail(what, "write it as https://dmarc.example.com")
    found = _fetched(address)
    if isinstance(found, str):
        what = f"page_base_url does not answer from here: {found}"
        return warn(what, "check address and network")
    if found[0] >= 500:
        return warn(f"page_base_url answers HTTP {found[0]}", "see the server's log")
    return ok(f"page_base_url answers (HTTP {found[0]})")


def _written_urls(settings: Settings) -> dict[str, str]:
    return {
        "home": settings.home,
        "lake": settings.lake_url,
        "pages": settings.pages_url,
        "exports_to": settings.exports_url,
    }


def _written(settings: Settings) -> Iterator[tuple[str, Storage]]:
    """Yield the places that are written to; those below another one go without saying."""
    places = _written_urls(settings)
    for name, url in places.items():
        others = (other for n, other in places.items() if n != name and other != url)
        if not any(f"{url}/".startswith(f"{other.rstrip('/')}/") for other in others):
            try:
                yield name, open_storage(url)
            except StorageError as error:
                raise StorageError(f"{name}: {error}") from error


@contextlib.contextmanager
def _own_object(storage: Storage, data: bytes | None = None) -> Iterator[str]:
    """Yield the key of an object with these bytes; afterwards it is away, and an empty folder."""
    key = f"{OWN}/{uuid.uuid4().hex}"
    if data is not None:
        storage.put(key, data, content_type="application/octet-stream")
    try:
        yield key
    finally:
        storage.delete(key)
        if isinstance(storage, core.FolderStorage):
            with contextlib.suppress(OSError):
                (storage.root / OWN).rmdir()


def _in_s3(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return setting → bucket and prefix, of all places that are in S3."""
    urls = {"mail": settings.mail_url, **_written_urls(settings)}
    parts = {n: u[5:].partition("/") for n, u in urls.items() if u.startswith("s3://")}
    return {name: (bucket, prefix) for name, (bucket, _, prefix) in parts.items()}


def _buckets(settings: Settings) -> list[str]:
    return list(dict.fromkeys(bucket for bucket, _ in _in_s3(settings).values()))


def credentials(context: CheckContext) -> CheckResult:
    """Name whose keys are used. Only Amazon's STS knows that for sure."""
    if not _buckets(context.settings):
        return NO_BUCKET
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    keys = context.session.get_credentials()
    if keys is None:
        return fail("no AWS credentials found", "set AWS_PROFILE, or use a role")
    found = f"credentials from {keys.method}"
    s3, sts = context.s3, context.client("sts")
    if not _amazon(s3) and _amazon(sts):
        return skip(f"{found}; S3 is at {_host(s3)}, which has no STS to ask who we are")
    try:
        who = sts.get_caller_identity()
        return ok(f"{one_line(who['Arn'])} ({found})")
    except ClientError as error:
        code = one_line(core.error_code(error), 60)
        if not _amazon(sts):
            return skip(f"{found}; {_host(sts)} does not say who we are ({code})")
        hint = core.code_hint(code, "sts:GetCallerIdentity") or "check AWS_PROFILE or the keys"
        return fail(f"{found}: STS refused them ({code})", hint)
    except ResponseParserError:
        return fail(f"{found}: {_host(sts)} does not answer as AWS does", NOT_AWS)
    except BotoCoreError as error:
        return fail(f"{found}: STS at {_host(sts)}", core.aws_reason(error))


def reachable(context: CheckContext) -> CheckResult:
    """List every place in S3 with these credentials."""
    places = _in_s3(context.settings)
    if not places:
        return NO_BUCKET
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    client = context.s3
    for name, (bucket, prefix) in places.items():
        what = f"cannot list {name} s3://{bucket}/{prefix}".rstrip("/")
        try:
            client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
        except ClientError as error:
            why = core.aws_reason(error, "s3:ListBucket", "S3 refused it")
            raise StorageError(f"{what}: {why}") from error
        except ResponseParserError as error:
            what = f"{_host(client)} does not answer as S3 does: {NOT_AWS}"
            raise StorageError(what) from error
        except BotoCoreError as error:
            raise StorageError(f"{what} at {_host(client)}: {core.aws_reason(error)}") from error
    return ok(f"{', '.join(places)} can be listed at {_host(client)}")


def region(context: CheckContext) -> CheckResult:
    """Compare the region of each bucket with the one that the SDK signs for."""
    names = _buckets(context.settings)
    if not names:
        return NO_BUCKET
    client = context.s3
    ours = client.meta.region_name
    for name in names:
        headers = _headers(client.head_bucket, Bucket=name)
        theirs = one_line(headers.get("x-amz-bucket-region", ""), 40)
        if not theirs:
            return skip(f"{_host(client)} does not say in which region a bucket is; ours: {ours}")
        if theirs != ours:
            what = f"bucket {name} is in {theirs}, and AWS_REGION says {ours}"
            return warn(what, f"set AWS_REGION={theirs}")
    return ok(f"{', '.join(names)}: {ours}")


def clock(context: CheckContext) -> CheckResult:
    """Compare our clock with S3's, by the Date header of an answer."""
    names = _buckets(context.settings)
    if not names:
        return NO_BUCKET
    client = context.s3
    headers = _headers(client.list_objects_v2, Bucket=names[0], MaxKeys=1)
    now = context.clock()
    try:
        theirs = parsedate_to_datetime(headers.get("date", "")).astimezone(UTC)
    except (ValueError, TypeError):
        return skip(f"{_host(client)} does not say what time it is")
    skew = (now - theirs).total_seconds()
    message = f"our clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} S3's"
    fix = "set this machine's clock (NTP)"
    if abs(skew) > 300:  # SigV4
        return fail(f"{message}: it refuses more than 300 s", fix)
    return warn(message, fix) if abs(skew) > 30 else ok(message)


def _headers(request: Callable[..., Any], **given: Any) -> dict[str, str]:
    """Return the headers of an answer, even of one that refuses."""
    from botocore.exceptions import ClientError

    try:
        answer = request(**given)
    except ClientError as error:
        answer = error.response
    found: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found


def _host(client: Any) -> str:
    return one_line(urlsplit(str(client.meta.endpoint_url)).netloc.rpartition("@")[2])


def _amazon(client: Any) -> bool:
    host = _host(client).partition(":")[0]
    return any(host.endswith(f".{d}") for d in ("amazonaws.com", "amazonaws.com.cn", "api.aws"))
