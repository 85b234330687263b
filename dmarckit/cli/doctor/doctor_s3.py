"""Checks of S3: who we are there, whether the buckets answer, their region, the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dmarckit.cli.doctor.doctor import Answer, Context, fail, ok, skip, warn
from dmarckit.core.errors import StorageError, one_line
from dmarckit.core.settings import Settings
from dmarckit.core.storage import HINTS, aws_session, sdk_hint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SKEW_ALLOWED, SKEW_NOTED = 300, 30
"""seconds between our clock and S3's: SigV4 refuses beyond the first"""
NO_BUCKET = skip("no setting names a bucket")


_NOT_AWS = "check AWS_ENDPOINT_URL and the proxy"


def places(settings: Settings) -> dict[str, str]:
    """Setting → its address, of all places that are in S3."""
    urls = {
        "mail": settings.mail_url,
        "home": settings.home,
        "lake": settings.lake_url,
        "pages": settings.pages_url,
        "exports_to": settings.exports_url,
    }
    return {name: url for name, url in urls.items() if url.startswith("s3://")}


def buckets(settings: Settings) -> list[str]:
    """The buckets in use, each once."""
    names = (url.removeprefix("s3://").partition("/")[0] for url in places(settings).values())
    return list(dict.fromkeys(names))


def credentials(context: Context) -> Answer:
    """Whose keys are used. Only Amazon's STS knows that for sure."""
    if not buckets(context.settings):
        return NO_BUCKET
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    session = _session()
    keys = session.get_credentials()
    if keys is None:
        return fail("no AWS credentials found", "set AWS_PROFILE, or use a role")
    found = f"credentials from {keys.method}"
    s3, sts = _client(session, "s3"), _client(session, "sts")
    if not _amazon(s3) and _amazon(sts):
        return skip(f"{found}; S3 is at {_host(s3)}, which has no STS to ask who we are")
    try:
        who = sts.get_caller_identity()
        return ok(f"{one_line(who['Arn'])} ({found})")
    except ClientError as error:
        code = one_line(error.response.get("Error", {}).get("Code", "unknown"), 60)
        if not _amazon(sts):
            return skip(f"{found}; {_host(sts)} does not say who we are ({code})")
        hint = {"InvalidClientTokenId": HINTS["InvalidAccessKeyId"]}.get(code) or HINTS.get(code)
        return fail(f"{found}: STS refused them ({code})", hint or "check AWS_PROFILE or the keys")
    except ResponseParserError:
        return fail(f"{found}: {_host(sts)} does not answer as AWS does", _NOT_AWS)
    except BotoCoreError as error:
        return fail(f"{found}: STS at {_host(sts)}", sdk_hint(error))


def reachable(context: Context) -> Answer:
    """Every place in S3 can be listed with these credentials."""
    found = places(context.settings)
    if not found:
        return NO_BUCKET
    client = _client(_session(), "s3")
    for name, url in found.items():
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        _list_one(client, bucket, prefix, f"{name} {url}")
    return ok(f"{', '.join(found)} can be listed at {_host(client)}")


def region(context: Context) -> Answer:
    """The region of each bucket is the one that the SDK signs for."""
    names = buckets(context.settings)
    if not names:
        return NO_BUCKET
    client = _client(_session(), "s3")
    ours = client.meta.region_name
    for name in names:
        theirs = _head_region(client, name)
        if theirs is None:
            return skip(f"{_host(client)} does not say in which region a bucket is; ours: {ours}")
        if theirs != ours:
            what = f"bucket {name} is in {theirs}, and AWS_REGION says {ours}"
            return warn(what, f"set AWS_REGION={theirs}")
    return ok(f"{', '.join(names)}: {ours}")


def clock(context: Context) -> Answer:
    """Our clock against S3's, by the Date header of an answer."""
    from botocore.exceptions import ClientError

    names = buckets(context.settings)
    if not names:
        return NO_BUCKET
    client = _client(_session(), "s3")
    try:
        answer: Any = client.list_objects_v2(Bucket=names[0], MaxKeys=1)
    except ClientError as error:  # its Date counts all the same
        answer = error.response
    now, said = context.clock(), _date(answer)
    if said is None:
        return skip(f"{_host(client)} does not say what time it is")
    skew = (now - said).total_seconds()
    message = f"our clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} S3's"
    fix = "set this machine's clock (NTP)"
    if abs(skew) > SKEW_ALLOWED:
        return fail(f"{message}: it refuses more than {SKEW_ALLOWED} s", fix)
    return warn(message, fix) if abs(skew) > SKEW_NOTED else ok(message)


def _list_one(client: S3Client, bucket: str, prefix: str, what: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        hint = HINTS.get(code, "S3 refused it").format(permission="s3:ListBucket")
        raise StorageError(f"cannot list {what}: {hint} ({one_line(code, 60)})") from error
    except ResponseParserError as error:
        where = _host(client)
        raise StorageError(f"{where} does not answer as S3 does: {_NOT_AWS}") from error
    except BotoCoreError as error:
        raise StorageError(f"cannot list {what} at {_host(client)}: {sdk_hint(error)}") from error


def _head_region(client: S3Client, bucket: str) -> str | None:
    from botocore.exceptions import ClientError

    try:
        answer: Any = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    found = _headers(answer).get("x-amz-bucket-region")
    return one_line(found, 40) if found else None


def _date(answer: Any) -> datetime | None:
    try:
        return parsedate_to_datetime(_headers(answer).get("date", "")).astimezone(UTC)
    except (ValueError, TypeError):
        return None


def _headers(answer: Any) -> dict[str, str]:
    found: dict[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found


def _session() -> Any:
    from botocore.exceptions import BotoCoreError

    try:
        return aws_session()
    except BotoCoreError as error:
        raise StorageError(f"cannot use AWS: {sdk_hint(error)}") from error


def _client(session: Any, service: str) -> Any:
    """A client that gives up soon: a doctor must not wait as a run does."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(retries={"total_max_attempts": 1}, connect_timeout=4, read_timeout=8)
    try:
        return session.client(service, config=config)
    except (BotoCoreError, ValueError) as error:
        raise StorageError(f"cannot use {service.upper()}: {sdk_hint(error)}") from error


def _host(client: Any) -> str:
    return one_line(urlsplit(str(client.meta.endpoint_url)).netloc.rpartition("@")[2])


def _amazon(client: Any) -> bool:
    host = _host(client).partition(":")[0]
    return any(host.endswith(f".{d}") for d in ("amazonaws.com", "amazonaws.com.cn", "api.aws"))
