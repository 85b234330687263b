"""ingest: what S3 refuses costs that mail, unless it refuses everything."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from dmarckit.core.errors import EncryptedObject, RefusedObject, StorageError
from dmarckit.core.settings import Settings, load_settings
from dmarckit.core.storage import S3Storage, open_storage
from dmarckit.ingest.ingest import ingest_mails
from dmarckit.lake.lake import Lake
from tests.support.builders import make_mail, report_xml
from tests.support.model_builders import make_report

KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"
KMS_DENIED = {
    "Code": "AccessDenied",
    "Message": "User: arn:aws:iam::111122223333:role/ingest is not authorized to perform: "
    f"kms:Decrypt on resource: {KEY} because no identity-based policy allows it",
}
DENIED = {"Code": "AccessDenied", "Message": "Access Denied"}
ARCHIVED = {
    "Code": "InvalidObjectState",
    "Message": "The operation is not valid for the object's storage class",
    "StorageClass": "DEEP_ARCHIVE",
}
DISABLED = {"Code": "KMS.DisabledException", "Message": f"{KEY} is disabled."}


class Bucket:
    """Stands in for boto3's client: answers with what is set for a key."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Mapping[str, Any]]] = {}
        self.asked = 0

    def get_object(self, Bucket: str, Key: str) -> Mapping[str, Any]:
        self.asked += 1
        answers = self.answers[Key]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if "Code" in answer:
            raise ClientError({"Error": answer}, "GetObject")  # type: ignore[arg-type]
        return answer


def content(body: bytes, length: int | None = None, **metadata: str) -> Mapping[str, Any]:
    stream = StreamingBody(io.BytesIO(body), length or len(body))  # type: ignore[no-untyped-call]
    return {"Body": stream, "Metadata": metadata}


@pytest.fixture
def s3() -> tuple[S3Storage, Bucket]:
    storage, bucket = S3Storage("mails", "rua"), Bucket()
    storage.__dict__["client"] = bucket
    return storage, bucket


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ARCHIVED, ("archived (DEEP_ARCHIVE)", "restore")),
        ({**ARCHIVED, "AccessTier": "ARCHIVE_ACCESS"}, ("archived (ARCHIVE_ACCESS)", "restore")),
        (DENIED, ("access denied", "s3:GetObject")),
        (KMS_DENIED, ("kms:Decrypt", KEY)),
        (DISABLED, ("KMS.DisabledException", f"{KEY} is disabled")),
    ],
)
def test_a_refusal_names_the_reason_and_the_fix(
    s3: tuple[S3Storage, Bucket], answer: Mapping[str, str], said: tuple[str, ...]
) -> None:
    storage, bucket = s3
    bucket.answers["rua/m"] = [answer]
    with pytest.raises(RefusedObject) as refused:
        storage.get("m")
    assert all(words in refused.value.reason for words in said)
    assert "s3://mails/rua/m" in str(refused.value)


@pytest.mark.parametrize("code", ["ExpiredToken", "SlowDown", "InternalError", "NoSuchBucket"])
def test_what_concerns_more_than_the_object_is_no_refusal(
    s3: tuple[S3Storage, Bucket], code: str
) -> None:
    storage, bucket = s3
    bucket.answers["rua/m"] = [{"Code": code}]
    with pytest.raises(StorageError) as error:
        storage.get("m")
    assert not isinstance(error.value, RefusedObject)


def test_a_body_that_breaks_off_is_fetched_again_as_a_whole(
    s3: tuple[S3Storage, Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmarckit.core.storage.PAUSES_OF_BODY", (0.0,))
    storage, bucket = s3
    bucket.answers["rua/m"] = [content(b"hal", 8), content(b"the whole")]
    assert storage.get("m") == b"the whole"
    bucket.answers["rua/m"] = [content(b"hal", 8) for _ in range(3)]
    with pytest.raises(RefusedObject, match="broke off"):
        storage.get("m")
    assert bucket.asked == 5


@pytest.mark.parametrize("name", ["x-amz-key-v2", "x-amz-key", "X-Amz-Key-V2"])
def test_client_side_encryption_is_seen_by_the_metadata(
    s3: tuple[S3Storage, Bucket], name: str
) -> None:
    storage, bucket = s3
    bucket.answers["rua/m"] = [content(b"\x93\x11", **{name: "wrapped"})]
    bucket.answers["rua/plain"] = [content(b"plain", **{"x-amz-iv": "of somebody's own"})]
    with pytest.raises(EncryptedObject):
        storage.get("m")
    assert storage.get("plain") == b"plain"


Refuse = Callable[[Callable[[str], bool], StorageError | None], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Let reading raise an error for the keys that a function names; None: for none."""
    from dmarckit.core.storage import FolderStorage

    get = FolderStorage.get

    def set_(keys: Callable[[str], bool], error: StorageError | None) -> None:
        def refusing(self: FolderStorage, key: str) -> bytes:
            if error is not None and self.root.name == "mail" and keys(key):
                raise error
            return get(self, key)

        monkeypatch.setattr(FolderStorage, "get", refusing)

    return set_


def refusal(code: str = "AccessDenied") -> RefusedObject:
    return RefusedObject("cannot read it", f"the reason of {code}", code)


def installation(home: Path, mails: int) -> Settings:
    settings = load_settings(home=str(home), trust="pass", workers=1)
    add(settings, range(mails))
    return settings


def add(settings: Settings, numbers: range) -> None:
    storage = open_storage(settings.mail_url)
    for number in numbers:
        mail = make_mail(report_xml(make_report(report_id=f"r-{number}")))
        storage.put(f"{number:03}", mail, content_type="message/rfc822")


@pytest.mark.s3
def test_a_ledger_in_s3_is_read_after_a_mail_was_reached(bucket: str, tmp_path: Path) -> None:
    settings = installation(tmp_path, 2).model_copy(update={"lake": f"{bucket}/lake"})
    ingest_mails(settings)
    lake = Lake(settings.lake_url)
    lake.write.forget_mails(["001"])
    assert ingest_mails(settings).outcomes == {"stored": 1}
    query = "SELECT key FROM mails WHERE outcome = 'stored' AND from_domain = 'mail.example'"
    assert len(lake.sql(query)) == 2


def outcomes(settings: Settings) -> dict[str, str]:
    mails = Lake(settings.lake_url).mails()
    return dict(zip(mails["key"], mails["outcome"], strict=True))


def test_a_refused_object_is_unreachable_and_read_as_soon_as_it_can_be(
    tmp_path: Path, refuse: Refuse
) -> None:
    settings = installation(tmp_path, 4)
    refuse(lambda key: key == "002", refusal())
    result = ingest_mails(settings)
    assert result.outcomes == {"stored": 3, "unreachable": 1}
    assert result.problems == [("002", "unreachable", "the reason of AccessDenied")]
    for _ in range(2):  # alone now, and still refused
        assert ingest_mails(settings).outcomes == {"unreachable": 1}
    assert outcomes(settings)["002"] == "unreachable"
    refuse(lambda _: False, None)
    assert ingest_mails(settings).outcomes == {"stored": 1}
    assert set(outcomes(settings).values()) == {"stored"}
    assert len(Lake(settings.lake_url).reports()) == 4
    assert ingest_mails(settings).outcomes == {}


def test_objects_named_by_events_are_tried_again_too(tmp_path: Path, refuse: Refuse) -> None:
    settings = installation(tmp_path, 3)
    refuse(lambda key: key == "001", refusal())
    ingest_mails(settings)
    refuse(lambda _: False, None)
    objects = list(open_storage(settings.mail_url).list())
    assert ingest_mails(settings, objects=objects).outcomes == {"stored": 1}


@pytest.mark.parametrize(("mails", "readable"), [(1, ()), (3, ()), (25, range(20, 25))])
def test_the_same_refusal_of_everything_ends_the_ingest(
    tmp_path: Path, refuse: Refuse, mails: int, readable: tuple[int, ...]
) -> None:
    settings = installation(tmp_path, mails)
    refuse(lambda key: int(key) not in readable, refusal())
    with pytest.raises(StorageError, match="all others: the reason of AccessDenied"):
        ingest_mails(settings)
    assert not len(Lake(settings.lake_url).mails())
    refuse(lambda _: False, None)
    assert ingest_mails(settings).outcomes == {"stored": mails}


def test_a_permission_lost_on_the_way_ends_the_ingest(tmp_path: Path, refuse: Refuse) -> None:
    settings = installation(tmp_path, 110)
    refuse(lambda key: int(key) >= 50, refusal("KMS.DisabledException"))
    with pytest.raises(StorageError, match=r"KMS\.DisabledException"):
        ingest_mails(settings)


def test_different_refusals_are_those_of_the_objects(tmp_path: Path, refuse: Refuse) -> None:
    settings = installation(tmp_path, 24)
    refuse(lambda key: int(key) < 23, refusal("KMS.DisabledException"))
    with pytest.raises(StorageError):
        ingest_mails(settings)
    refuse(lambda key: 0 < int(key) < 24, refusal())
    assert ingest_mails(settings).outcomes == {"stored": 1, "unreachable": 23}


def test_mails_that_are_archived_do_not_keep_the_newer_ones_out(
    tmp_path: Path, refuse: Refuse
) -> None:
    settings = installation(tmp_path, 70)
    refuse(lambda key: int(key) < 60, refusal("InvalidObjectState"))
    assert ingest_mails(settings).outcomes == {"stored": 10, "unreachable": 60}
    add(settings, range(70, 72))
    refuse(lambda key: int(key) < 60, refusal("InvalidObjectState"))
    assert ingest_mails(settings).outcomes == {"stored": 2, "unreachable": 60}


def test_a_single_new_mail_that_is_refused_later_is_that_mail(
    tmp_path: Path, refuse: Refuse
) -> None:
    settings = installation(tmp_path, 2)
    ingest_mails(settings)
    add(settings, range(2, 3))
    refuse(lambda key: key == "002", refusal())
    assert ingest_mails(settings).outcomes == {"unreachable": 1}
    add(settings, range(3, 5))
    refuse(lambda key: int(key) >= 2, refusal())
    with pytest.raises(StorageError):
        ingest_mails(settings)


def test_mails_that_ses_encrypted_are_unreadable_with_the_switch(
    tmp_path: Path, refuse: Refuse
) -> None:
    settings = installation(tmp_path, 2)
    refuse(lambda key: key == "000", EncryptedObject("it was encrypted"))
    result = ingest_mails(settings)
    assert result.outcomes == {"stored": 1, "unreadable": 1}
    assert "client side" in result.problems[0][2]
    assert "receipt rule" in result.problems[0][2]
