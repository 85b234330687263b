"""ingest from an S3 server whose answers are spoilt on the way."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from dmarckit.core.aws import aws_errors
from dmarckit.core.errors import MissingObject, StorageError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import open_storage
from dmarckit.demo.server import S3Server
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from tests.support.builders import gz, make_mail, make_record, make_report, report_xml
from tests.support.s3_proxy import S3Proxy, s3_proxy, truncated

pytestmark = pytest.mark.s3


@pytest.fixture
def proxy(bucket: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    with s3_proxy(server.endpoint) as proxy:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            monkeypatch.setenv(name, proxy.endpoint)
        yield proxy


def installation(bucket: str, mails: int) -> Settings:
    settings = load_settings(home=bucket, workers=1)
    storage = open_storage(settings.mail_url)
    for n in range(mails):
        raw = make_mail(gz(report_xml(make_report(make_record(), report_id=f"r-{n}"))))
        storage.put(f"{n:03}", raw, content_type="message/rfc822")
    return settings


def test_one_answer_in_twenty_that_is_cut_off_ends_no_ingest(bucket: str, proxy: S3Proxy) -> None:
    settings = installation(bucket, 500)
    proxy.fault = truncated(0.05)
    outcomes = ingest_mails(settings).outcomes
    assert proxy.spoilt > 20
    assert outcomes.total() == 500
    assert outcomes.keys() <= {"stored", "unreachable"}
    assert outcomes["unreachable"] < 5
    ingest_mails(settings)
    lake = Lake(settings.lake_url)
    assert len(lake.reports()) == len(lake.records()) == 500
    assert set(lake.mails()["outcome"]) == {"stored"}


@pytest.mark.parametrize("fault", ["truncate", "refuse"])
def test_an_object_that_stays_unreadable_concerns_itself_alone(
    bucket: str, proxy: S3Proxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.core.storage.PAUSES_OF_BODY", (0.0,))
    settings = installation(bucket, 25)
    proxy.fault = lambda method, path: (
        fault if method == "GET" and path.partition("?")[0].endswith("/mail/007") else ""  # type: ignore[return-value]
    )
    result = ingest_mails(settings)
    assert result.outcomes == {"stored": 24, "unreachable": 1}
    ((key, _, reason),) = result.problems
    assert key == "007"
    assert ("broke off" if fault == "truncate" else "InternalError") in reason
    proxy.fault = lambda _method, _path: ""
    assert ingest_mails(settings).outcomes == {"stored": 1}


def test_what_was_read_before_the_storage_fails_is_committed(
    bucket: str, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.ingest.read.AHEAD", 1)
    settings = installation(bucket, 25)
    reached = False

    def fault(method: str, path: str) -> str:
        nonlocal reached
        reached = reached or path.partition("?")[0].endswith("/mail/020")
        of_mail = "mail/" in path or "prefix=mail" in path
        return "refuse" if reached and of_mail and method == "GET" else ""

    proxy.fault = fault  # type: ignore[assignment]
    with pytest.raises(StorageError):
        ingest_mails(settings)
    assert Lake(settings.lake_url).mails()["key"].tolist() == [f"{n:03}" for n in range(20)]


def test_without_permission_to_list_all_what_is_missing_is_known_by_its_prefix(
    bucket: str, proxy: S3Proxy
) -> None:
    """As the policy of `dmarckit aws deploy` has it: Amazon says "forbidden" of missing objects."""
    proxy.listed = ("mail/", "lake/", "kit/")
    settings = load_settings(home=f"{bucket}/kit", mail=f"{bucket}/mail", workers=1)
    assert ingest_mails(settings).outcomes == {}  # no mail yet
    installation(bucket, 3)
    assert ingest_mails(settings).outcomes == {"stored": 3}
    assert ingest_mails(settings).outcomes == {}
    assert len(Lake(settings.lake_url).records()) == 3
    with pytest.raises(MissingObject):
        open_storage(settings.mail_url).get("none")
    with pytest.raises(MissingObject):
        open_storage(settings.mail_url).head("00")  # there are objects below it
    with pytest.raises(StorageError, match="AccessDenied"), aws_errors("list", StorageError):
        boto3.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3://"))
    # engines that cannot read an empty hint find a checkpoint
    log = f"{settings.lake_url}/records/_delta_log"
    assert b'"version"' in open_storage(log).get("_last_checkpoint")


def test_what_is_forbidden_although_it_is_there_stays_forbidden(
    bucket: str, proxy: S3Proxy
) -> None:
    settings = installation(bucket, 2)
    proxy.fault = lambda method, path: (
        "forbid" if method == "GET" and path.partition("?")[0].endswith("/001") else ""
    )
    result = ingest_mails(settings)
    assert result.outcomes == {"stored": 1, "unreachable": 1}
    assert "allow s3:GetObject" in result.problems[0][2]
