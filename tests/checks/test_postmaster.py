"""Postmaster Tools: Google's own client against a server that follows the discovery document."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from dmarckit.checks.postmaster import (
    FIRST_DAYS,
    LATE_DAYS,
    PullResult,
    ascii_name,
    latest_metrics,
    pull_metrics,
)
from dmarckit.checks.postmaster_client import WAITS, Identity, PostmasterClient, Query, connect
from dmarckit.checks.postmaster_metrics import FAMILIES, condition, stat_row
from dmarckit.core.errors import LakeError, MissingExtra, PostmasterAccess, SettingsError
from dmarckit.core.redact import secrets_of, withheld_variables
from dmarckit.core.settings import Settings, load_settings
from dmarckit.lake.lake import open_lake
from tests.support.postmaster_server import (
    ACCOUNT,
    CLIENT_ID,
    SCOPE,
    PostmasterServer,
    Refused,
    authorised_user,
    document,
    metric_key,
    postmaster_server,
    service_account,
)

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
NO_SERVICE = "Gmail Postmaster Tools API has not been used in project 1 before or it is disabled."


@pytest.fixture
def google() -> Iterator[PostmasterServer]:
    with postmaster_server() as server:
        server.add("example.com")
        yield server


@pytest.fixture
def settings(google: PostmasterServer, tmp_path: Path) -> Settings:
    return connected(google, tmp_path)


def connected(google: PostmasterServer, folder: Path, **more: Any) -> Settings:
    given = {"google_credentials": service_account(google, folder)} | more
    return Settings(home=str(folder / "home"), postmaster_url=google.url, **given)


def ago(days: int) -> date:
    return NOW.date() - timedelta(days=days)


def pulled(settings: Settings, waits: list[float] | None = None, **more: Any) -> PullResult:
    """A pull that does not really wait; the seconds it would have waited go to `waits`."""
    client = connect(settings, sleep=([] if waits is None else waits).append)
    try:
        return pull_metrics(settings, client=client, **({"now": NOW} | more))
    finally:
        client.close()


def spam_rates(settings: Settings) -> dict[tuple[str, int], float]:
    """Domain and days ago → the newest spam rate."""
    frame = latest_metrics(open_lake(settings))
    frame = frame[frame["metric"] == "spam_rate"]
    return {
        (str(row.domain), (NOW.date() - row.day.date()).days): float(row.share)
        for row in frame.itertuples()
    }


def asked_days(google: PostmasterServer, metric: str = "SPAM_RATE") -> list[tuple[date, date]]:
    """The ranges of days that queries of a metric asked for, in order."""
    found = []
    for body in google.asked("domainStats.batchQuery"):
        for query in body["requests"]:
            (span,) = query["timeQuery"]["dateRanges"]["dateRanges"]
            if query["metricDefinitions"][0]["baseMetric"]["standardMetric"] == metric:
                found.append((date(**span["start"]), date(**span["end"])))
    return found


# what is asked


def test_the_document_names_every_metric_that_is_asked_for() -> None:
    known = document()["schemas"]["BaseMetric"]["properties"]["standardMetric"]["enum"]
    for metrics in FAMILIES.values():
        for metric in metrics:
            assert metric.standard in known
            query = Query("example.com", "", [metric], ago(1), ago(1)).body("")
            # refuses filters that the API does not have
            metric_key(query["metricDefinitions"][0])


def test_each_metric_becomes_a_row_with_its_detail(
    google: PostmasterServer, settings: Settings
) -> None:
    says = (("example.com", ago(3)),)
    for key, value in (
        (("SPAM_RATE",), {"doubleValue": 0.003}),
        (("AUTH_SUCCESS_RATE", "dkim"), {"floatValue": 0.995}),
        (("TLS_ENCRYPTION_RATE", "inbound"), {"intValue": "1"}),
        (("DELIVERY_ERROR_RATE",), {"doubleValue": 0}),
        (("DELIVERY_ERROR_RATE", "reject", "low_ip_reputation"), {"doubleValue": 0.01}),
        (("DELIVERY_ERROR_COUNT", "temp_fail"), {"intValue": "12"}),
    ):
        google.says(*says[0], *key, **value)
    result = pulled(settings)
    frame = latest_metrics(open_lake(settings), ["Example.com."])
    assert (result.domains, result.rows, result.problems) == (("example.com",), 6, ())
    assert [(day.date(), at) for day, at in zip(frame["day"], frame["pulled"], strict=True)] == [
        (ago(3), NOW)
    ] * 6
    assert frame.set_index(["metric", "detail"])["share"].dropna().to_dict() == {
        ("auth_success_rate", "dkim"): 0.995,
        ("delivery_error_rate", ""): 0.0,
        ("delivery_error_rate", "reject/low_ip_reputation"): 0.01,
        ("spam_rate", ""): 0.003,
        ("tls_encryption_rate", "inbound"): 1.0,
    }
    assert frame.set_index(["metric", "detail"])["number"].dropna().to_dict() == {
        ("delivery_error_count", "temp_fail"): 12
    }


def test_feedback_loops_are_asked_for_by_the_ids_that_google_names(
    google: PostmasterServer, settings: Settings
) -> None:
    odd = 'news "weekly" \\ 1'
    loops = {"stringList": {"values": ["camp-7", odd]}}
    google.says("example.com", ago(2), "FEEDBACK_LOOP_ID", "FROM_HEADER", **loops)
    google.says(
        "example.com", ago(2), "FEEDBACK_LOOP_SPAM_RATE", odd, "FROM_HEADER", doubleValue=0.02
    )
    assert pulled(settings).problems == ()
    frame = latest_metrics(open_lake(settings)).set_index(["metric", "detail"])
    assert json.loads(frame.loc[("feedback_loop_ids", "from_header"), "text"]) == ["camp-7", odd]
    assert frame.loc[("feedback_loop_rate", f"from_header/{odd}"), "share"] == 0.02


def test_the_compliance_status_is_kept_with_the_day_it_was_asked(
    google: PostmasterServer, settings: Settings
) -> None:
    google.add("news.example.com")
    state = {"status": "NEEDS_WORK"}
    google.status["news.example.com"] = {
        "complianceData": {
            "domainId": "example.com",
            "rowData": [
                {"requirement": "SPF", "status": {"status": "COMPLIANT"}},
                {"requirement": "DKIM", "status": {"status": "STATE_UNSPECIFIED"}},
            ],
        },
        "subdomainComplianceData": {
            "domainId": "news.example.com",
            "rowData": [{"requirement": "ONE_CLICK_UNSUBSCRIBE", "status": state}],
            "oneClickUnsubscribeVerdict": {"status": state, "reason": "NO_UNSUB_GENERAL"},
        },
    }
    pulled(settings)
    frame = latest_metrics(open_lake(settings))
    columns = ["domain", "day", "metric", "detail", "text"]
    today = datetime(2026, 11, 24, tzinfo=UTC)
    assert [tuple(row) for row in frame[columns].itertuples(index=False)] == [
        ("example.com", today, "compliance", "SPF", "COMPLIANT"),
        ("news.example.com", today, "compliance", "ONE_CLICK_UNSUBSCRIBE", "NEEDS_WORK"),
        (
            "news.example.com",
            today,
            "compliance_reason",
            "ONE_CLICK_UNSUBSCRIBE",
            "NO_UNSUB_GENERAL",
        ),
    ]
    pulled(settings, now=NOW + timedelta(days=1))
    assert len(latest_metrics(open_lake(settings))) == 6


# days


def test_days_without_data_have_no_row_and_a_second_pull_writes_nothing(
    google: PostmasterServer, settings: Settings
) -> None:
    google.says("example.com", ago(9), "SPAM_RATE", doubleValue=0.001)
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0)
    assert pulled(settings).rows == 2
    assert pulled(settings, now=NOW + timedelta(hours=1)).rows == 0
    assert spam_rates(settings) == {("example.com", 9): 0.001, ("example.com", 2): 0.0}


def test_a_value_that_google_revised_is_a_newer_row(
    google: PostmasterServer, settings: Settings
) -> None:
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0.001)
    pulled(settings)
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0.004)
    assert pulled(settings, now=NOW + timedelta(days=1)).rows == 1
    assert spam_rates(settings) == {("example.com", 2): 0.004}
    kept = open_lake(settings).sql("SELECT share FROM postmaster ORDER BY pulled")
    assert kept["share"].tolist() == [0.001, 0.004]


def test_the_first_pull_goes_far_back_and_later_ones_ask_for_what_may_be_late(
    google: PostmasterServer, settings: Settings
) -> None:
    google.says("example.com", ago(3), "SPAM_RATE", doubleValue=0.001)
    for _ in range(2):
        pulled(settings)
    pulled(settings, days=30)
    assert asked_days(google) == [
        (ago(FIRST_DAYS), ago(1)),
        (ago(3 + LATE_DAYS), ago(1)),
        (ago(30), ago(1)),
    ]
    assert asked_days(google, "AUTH_SUCCESS_RATE")[1] == (ago(FIRST_DAYS), ago(1))


def test_newest_values_of_some_days(google: PostmasterServer, settings: Settings) -> None:
    for days in (1, 5, 40):
        google.says("example.com", ago(days), "SPAM_RATE", doubleValue=0.001)
    pulled(settings)
    lake, day = open_lake(settings), datetime(2026, 11, 19, tzinfo=UTC)
    found = latest_metrics(lake, ["example.com"], day, day + timedelta(days=1))
    assert found["day"].tolist() == [day]
    assert latest_metrics(lake, ["other.example"]).empty
    with pytest.raises(LakeError, match="has no time zone"):
        latest_metrics(lake, start=datetime(2026, 11, 19))  # noqa: DTZ001


def test_nothing_was_ever_pulled(settings: Settings) -> None:
    frame = latest_metrics(open_lake(settings))
    assert frame.empty
    assert {"domain", "day", "metric", "detail", "share", "number", "text"} <= set(frame)


# pages, batches, quotas


def test_all_pages_of_domains_and_of_results_are_read(
    google: PostmasterServer, settings: Settings
) -> None:
    google.page = 7  # Google may give fewer than it is asked for
    for number in range(23):
        google.add(f"d{number:02}.example")
        for days in range(1, 16):
            google.says(f"d{number:02}.example", ago(days), "SPAM_RATE", doubleValue=0.001)
    result = pulled(settings)
    assert (len(result.domains), result.rows) == (24, 23 * 15)
    assert len(spam_rates(settings)) == 23 * 15
    assert max(len(b["requests"]) for b in google.asked("domainStats.batchQuery")) <= 100


def test_more_queries_than_a_batch_may_hold(google: PostmasterServer, settings: Settings) -> None:
    google.says("example.com", ago(1), "SPAM_RATE", doubleValue=0.001)
    query = Query("example.com", "spam", FAMILIES["spam"], ago(3), ago(1))
    client = connect(settings)
    answers = client.stats([query] * 130)
    client.close()
    assert [len(b["requests"]) for b in google.asked("domainStats.batchQuery")] == [100, 30]
    assert (
        answers
        == [
            [
                stat_row(
                    "example.com",
                    FAMILIES["spam"][0],
                    {
                        "date": {"year": 2026, "month": 11, "day": 23},
                        "value": {"doubleValue": 0.001},
                    },
                )
            ]
        ]
        * 130
    )


def test_quota_and_faults_of_google_are_waited_out(
    google: PostmasterServer, settings: Settings
) -> None:
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0.001)
    google.will_refuse(429, "Quota exceeded", "RATE_LIMIT_EXCEEDED", retry_after=9)
    google.will_refuse(429, "Quota exceeded", "RATE_LIMIT_EXCEEDED")
    google.will_refuse(503, "The service is currently unavailable.")
    waits: list[float] = []
    assert pulled(settings, waits).rows == 1
    assert waits == [9.0, 4.0, 8.0]


def test_items_of_a_batch_that_are_over_quota_are_asked_again(
    google: PostmasterServer, settings: Settings
) -> None:
    google.add("other.example")
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0.001)
    google.says("other.example", ago(2), "SPAM_RATE", doubleValue=0.002)
    over = Refused(429, "Quota exceeded", "RATE_LIMIT_EXCEEDED")
    google.items["example.com"] = deque([over, over])
    waits: list[float] = []
    result = pulled(settings, waits)
    assert (result.rows, result.problems, waits) == (2, (), [2.0])
    sizes = [len(b["requests"]) for b in google.asked("domainStats.batchQuery")]
    assert sizes == [2 * len(FAMILIES), 2]


def test_a_quota_that_stays_used_up_ends_the_pull(
    google: PostmasterServer, settings: Settings
) -> None:
    google.will_refuse(429, "Quota exceeded", "RATE_LIMIT_EXCEEDED", times=20)
    waits: list[float] = []
    with pytest.raises(PostmasterAccess, match="quota is used up; run it again later"):
        pulled(settings, waits)
    assert waits == list(WAITS)


def test_nobody_answers(tmp_path: Path, google: PostmasterServer) -> None:
    here = connected(google, tmp_path)
    client = connect(here.model_copy(update={"postmaster_url": "http://127.0.0.1:9/"}), [].append)
    with pytest.raises(PostmasterAccess, match="nothing answers; check the network"):
        pull_metrics(here, now=NOW, client=client)
    client.close()


# one bad domain does not stop the others


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    class Breaking:
        def execute(self) -> dict[str, Any]:
            raise IncompleteRead(b"{")

    waits: list[float] = []
    client = PostmasterClient(None, Identity(None, "somebody", ""), waits.append)
    with pytest.raises(PostmasterAccess, match="nothing answers"):
        client._call(Breaking(), "statistics")
    assert waits == list(WAITS)


@pytest.mark.parametrize("whole_batches", [False, True])
def test_a_domain_without_permission_is_a_problem_of_its_own(
    google: PostmasterServer, tmp_path: Path, whole_batches: bool
) -> None:
    google.add("closed.example", permission="NONE")
    google.whole_batches = whole_batches
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0.001)
    names = ("closed.example", "Example.COM", "gone.example")
    result = pulled(connected(google, tmp_path, postmaster_domains=names))
    assert result.domains == ("closed.example", "example.com", "gone.example")
    assert result.rows == 1
    closed, gone = result.problems
    assert f"cannot read closed.example from Postmaster Tools: give {ACCOUNT} access" in closed
    assert "gone.example" in gone
    assert "add and verify it at https://postmaster.google.com" in gone


def test_domains_that_cannot_be_read_are_not_asked_about(
    google: PostmasterServer, settings: Settings
) -> None:
    google.add("waiting.example", state="UNVERIFIED")
    google.add("closed.example", permission="NONE")
    result = pulled(settings)
    assert result.domains == ("example.com",)
    assert result.problems == (
        "waiting.example is not verified in Postmaster Tools; verify it there",
        "closed.example: no permission in Postmaster Tools; ask its owner",
    )


def test_a_query_that_google_does_not_like_costs_only_its_own_metrics(
    google: PostmasterServer, settings: Settings
) -> None:
    google.says("example.com", ago(2), "AUTH_SUCCESS_RATE", "spf", doubleValue=1)
    google.items["example.com"] = deque([Refused(400, "Request contains an invalid argument.")])
    result = pulled(settings)
    assert result.rows == 1
    (problem,) = result.problems
    assert "cannot read spam of example.com" in problem
    assert "invalid argument" in problem


# units


def test_a_percentage_is_refused_and_nothing_of_it_is_kept(
    google: PostmasterServer, settings: Settings
) -> None:
    google.says("example.com", ago(2), "SPAM_RATE", doubleValue=0.3)
    google.says("example.com", ago(2), "AUTH_SUCCESS_RATE", "dmarc", doubleValue=99.2)
    with pytest.raises(PostmasterAccess, match=r"dmarc of example\.com on 2026-11-22 as 99\.2"):
        pulled(settings)
    assert latest_metrics(open_lake(settings)).empty


@pytest.mark.parametrize(
    "stat",
    [
        {},
        {"date": {"year": 2026, "month": 11, "day": 22}},
        {"date": {"year": 2026, "month": 11, "day": 22}, "value": {}},
        {"date": {"year": 2026, "month": 11, "day": 22}, "value": {"doubleValue": "NaN"}},
        {"date": {"year": 2026, "month": 11, "day": 22}, "value": {"stringValue": "many"}},
        {"date": {"year": 2026, "month": 0, "day": 0}, "value": {"doubleValue": 0.1}},
    ],
)
def test_a_result_without_day_or_value_is_no_row(stat: dict[str, Any]) -> None:
    (spam,) = FAMILIES["spam"]
    assert stat_row("example.com", spam, stat) is None


# who asks


def test_the_scopes_are_the_least_that_suffice(google: PostmasterServer, tmp_path: Path) -> None:
    pulled(connected(google, tmp_path))
    pulled(connected(google, tmp_path, postmaster_domains=("example.com",)))
    assert list(google.tokens.values()) == [
        {f"{SCOPE}.domain", f"{SCOPE}.traffic.readonly"},
        {f"{SCOPE}.traffic.readonly"},
    ]
    assert len(google.asked("domains.list")) == 1


def test_delegation_asks_in_the_name_of_a_user(google: PostmasterServer, tmp_path: Path) -> None:
    here = connected(google, tmp_path, google_subject="admin@example.com")
    with pytest.raises(PostmasterAccess, match="allow domain-wide delegation") as caught:
        pulled(here)
    assert CLIENT_ID in str(caught.value)
    google.subjects.add("admin@example.com")
    assert pulled(here).domains == ("example.com",)


def test_an_authorised_user(google: PostmasterServer, tmp_path: Path) -> None:
    here = connected(google, tmp_path, google_credentials=authorised_user(google, tmp_path))
    assert pulled(here).domains == ("example.com",)


def test_an_authorisation_that_has_ended(google: PostmasterServer, tmp_path: Path) -> None:
    file = authorised_user(google, tmp_path, refresh_token="revoked-token")
    with pytest.raises(PostmasterAccess, match="authorise the user again") as caught:
        pulled(connected(google, tmp_path, google_credentials=file))
    assert "revoked-token" not in str(caught.value)
    assert "secret-of-the-client" not in str(caught.value)


def test_reading_statistics_alone_cannot_list(google: PostmasterServer, tmp_path: Path) -> None:
    google.granted = {f"{SCOPE}.traffic.readonly"}
    user = authorised_user(google, tmp_path)
    with pytest.raises(PostmasterAccess, match="name the domains in postmaster_domains"):
        pulled(connected(google, tmp_path, google_credentials=user))
    named = connected(
        google, tmp_path, google_credentials=user, postmaster_domains=("example.com",)
    )
    assert pulled(named).problems == ()


@pytest.mark.parametrize(
    ("status", "reason", "advice"),
    [
        (403, "SERVICE_DISABLED", "enable the Gmail Postmaster Tools API"),
        (401, "", "Google does not take the credentials"),
    ],
)
def test_what_to_do_in_the_console(
    google: PostmasterServer, settings: Settings, status: int, reason: str, advice: str
) -> None:
    google.will_refuse(status, NO_SERVICE, reason, times=5)
    with pytest.raises(PostmasterAccess, match=advice) as caught:
        pulled(settings)
    assert "\n" not in str(caught.value)


def test_not_connected() -> None:
    with pytest.raises(SettingsError, match="not connected: set google_credentials"):
        connect(Settings())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no json", "holds no JSON object"),
        ('{"type": "external_account"}', "'external_account'; service_account and"),
        ('{"type": "service_account", "private_key": "s3cret"}', "no complete service account"),
        ('{"type": "authorized_user", "refresh_token": "s3cret"}', "no complete authorised user"),
    ],
)
def test_credentials_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=says) as caught:
        connect(Settings(google_credentials=file))
    assert "s3cret" not in str(caught.value)


def test_the_key_itself_may_stand_in_the_setting(
    google: PostmasterServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = service_account(google, tmp_path).read_text("utf-8")
    monkeypatch.setenv("DMARCKIT_GOOGLE_CREDENTIALS", text)
    settings = load_settings()
    assert connect(settings)
    key = json.loads(text)["private_key"]
    assert key not in repr(settings)
    assert {text, key} <= secrets_of(settings)
    assert text not in withheld_variables().values()
    assert withheld_variables()["DMARCKIT_GOOGLE_CREDENTIALS"]  # pages say that it is connected


def test_a_broken_key_in_the_setting_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="its text holds no JSON object") as caught:
        connect(load_settings(google_credentials='{"private_key": "s3cret"'))
    assert "s3cret" not in str(caught.value)


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "googleapiclient", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dmarckit\[google\]'"):
        connect(Settings())


# names


def test_names_of_domains_are_written_as_google_writes_them() -> None:
    assert ascii_name(" Bücher.Example. ") == "xn--bcher-kva.example"
    for wrong in ("a/b", "", "..", "a b.example"):
        with pytest.raises(SettingsError, match="is no domain name"):
            ascii_name(wrong)


def test_a_filter_quotes_what_comes_from_outside() -> None:
    assert condition(feedback_loop_id='a" OR "b') == 'feedback_loop_id = "a\\" OR \\"b"'
