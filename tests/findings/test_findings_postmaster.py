"""Findings out of Postmaster Tools: spam complaints, and refusals of Gmail."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from dmarckit.checks.postmaster import latest_metrics
from dmarckit.core.thresholds import Thresholds
from dmarckit.findings.context import Context
from dmarckit.findings.model import Finding
from dmarckit.findings.postmaster import deliverability, delivery_errors, gmail_volume, spam_rate
from dmarckit.lake.lake import Lake
from dmarckit.lake.schema import POSTMASTER
from tests.support.lakes import NOW, TODAY, day

LOOK = Context(NOW, 7, Thresholds())


def rates(
    *shares: float | None,
    metric: str = "spam_rate",
    detail: str = "",
    domain: str = "example.com",
    newest: int = 2,
) -> pd.DataFrame:
    """One rate a day, the last of them `newest` days ago; None: a day without data."""
    days = [day(newest + back) for back in reversed(range(len(shares)))]
    rows = [
        {"domain": domain, "day": at, "metric": metric, "detail": detail, "share": share}
        for at, share in zip(days, shares, strict=True)
        if share is not None
    ]
    columns = ["domain", "day", "metric", "detail", "share"]
    return pd.DataFrame(rows, columns=columns).astype({"share": "float64"})


def refused(*shares: float | None, detail: str, **more: str) -> pd.DataFrame:
    return rates(*shares, metric="delivery_error_rate", detail=detail, **more)


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_a_rate_at_0_30_percent_is_critical_and_says_when_google_helps_again() -> None:
    finding = only(spam_rate(rates(0.0005, 0.003, 0.0041, 0.0002), LOOK))
    assert (finding.fingerprint, finding.severity) == ("spam_rate|example.com|", "critical")
    assert (finding.first_day, finding.last_day) == (day(4).date(), day(3).date())
    assert finding.summary == (
        "Gmail users marked 0.41% of the mail of example.com as spam on 21 Nov; 2 days of "
        "the last 4 with data reached 0.10%. Google does not help with delivery problems before "
        "29 Nov: the rate has to be below 0.30% for 7 days in a row."
    )
    assert finding.evidence["mitigation_from"] == "2026-11-29"


def test_a_rate_at_0_10_percent_is_a_warning() -> None:
    finding = only(spam_rate(rates(0.001, 0.0009, 0.001), LOOK))
    assert finding.severity == "warning"
    assert "Google does not help" not in finding.summary


def test_rates_below_0_10_percent_and_no_data_are_no_finding() -> None:
    assert spam_rate(rates(0.00099, 0.0009, None, 0.0), LOOK) == []
    assert spam_rate(rates(), LOOK) == []


def test_a_percentage_would_be_a_hundred_times_too_much() -> None:
    """0.3% is 0.003: thresholds and data have the same unit."""
    assert LOOK.thresholds.spam_critical == 0.003
    assert spam_rate(rates(0.0003, 0.0003), LOOK) == []


def test_one_bad_day_counts_only_with_enough_mail() -> None:
    one_bad = rates(0.0, 0.05, 0.0)
    assert spam_rate(one_bad, LOOK) == []
    mail = pd.DataFrame({"domain": ["example.com"], "day": [day(3)], "messages": [2999]})
    assert spam_rate(one_bad, LOOK, mail) == []
    finding = only(spam_rate(one_bad, LOOK, mail.assign(messages=3000)))
    assert finding.severity == "critical"


def test_mail_to_gmail_is_what_google_reports() -> None:
    rows = [("Google", 3, 2000.0), ("Google", 3, 1000.0), ("", 3, 9.0)]
    frame = pd.DataFrame(rows, columns=["provider", "day", "messages"])
    frame = frame.assign(domain="example.com", day=[day(n) for n in frame["day"]])
    mail = gmail_volume(frame)
    assert mail.to_dict("records") == [{"domain": "example.com", "day": day(3), "messages": 3000.0}]
    assert only(spam_rate(rates(0.0, 0.05, 0.0), LOOK, mail)).severity == "critical"
    assert gmail_volume(frame.iloc[:0]).empty


def test_one_day_beyond_each_limit_is_a_warning() -> None:
    assert only(spam_rate(rates(0.004, 0.001), LOOK)).severity == "warning"


def test_seven_good_days_end_it() -> None:
    bad = (0.01, 0.01)
    assert only(spam_rate(rates(*bad, *[0.0] * 5), LOOK)).severity == "critical"
    assert spam_rate(rates(*bad, *[0.0] * 7), LOOK) == []


def test_what_google_said_weeks_ago_is_no_finding_of_today() -> None:
    assert only(spam_rate(rates(0.01, 0.01, newest=14), LOOK))
    assert spam_rate(rates(0.01, 0.01, newest=15), LOOK) == []


def test_each_domain_is_judged_on_its_own() -> None:
    both = pd.concat([rates(0.01, 0.0), rates(0.0, 0.01, domain="other.example")])
    assert spam_rate(both, LOOK) == []


def test_a_reason_that_comes_back_is_named() -> None:
    frame = pd.concat(
        [
            refused(0.02, 0.03, detail="reject"),
            refused(0.02, 0.03, detail="reject/ip_in_rbls"),
            refused(0.0, 0.02, detail="reject/other"),
        ]
    )
    finding = only(delivery_errors(frame, LOOK))
    assert finding.fingerprint == "delivery_errors|example.com|reject/ip_in_rbls"
    assert finding.severity == "warning"
    assert finding.summary == (
        "Gmail rejected 3.00% of the mail of example.com on 22 Nov, and too much on 2 days "
        "of the last 2 with data: the sending address is on a block list."
    )


def test_a_type_without_a_telling_reason_is_named_itself() -> None:
    frame = pd.concat([refused(0.2, 0.2, detail="temp_fail"), refused(0.9, 0.9, detail="")])
    finding = only(delivery_errors(frame, LOOK))
    assert (finding.subject, finding.severity) == ("temp_fail", "critical")
    assert "Gmail put off 20.00%" in finding.summary
    assert "Google does not say why" in finding.summary


@pytest.mark.parametrize(
    ("detail", "share", "is_found"),
    [
        ("reject/low_domain_reputation", 0.001, True),
        ("reject/low_ip_reputation", 0.001, True),
        ("reject/spammy_content", 0.009, False),
        ("reject/spammy_content", 0.01, True),
        ("temp_fail/other", 0.049, False),
        ("temp_fail/other", 0.05, True),
    ],
)
def test_reputation_is_looked_at_most_closely(detail: str, share: float, is_found: bool) -> None:
    assert bool(delivery_errors(refused(share, share, detail=detail), LOOK)) is is_found
    assert delivery_errors(refused(share, detail=detail), LOOK) == []


def test_names_from_outside_cannot_break_a_sentence() -> None:
    frame = refused(0.5, 0.5, detail="reject/{x}\x1b[2J", domain="a\nb.example")
    finding = only(delivery_errors(frame, LOOK))
    assert "reject" in finding.subject
    assert "\x1b" not in finding.summary + finding.action
    assert "\n" not in finding.summary


def test_the_query_recomputes_the_number(tmp_path: Path) -> None:
    lake = Lake(f"{tmp_path}/lake")
    rows = pd.concat([rates(0.003, 0.001, 0.0), refused(0.02, 0.03, detail="reject/ip_in_rbls")])
    old = rows.assign(share=0.0, pulled=NOW - timedelta(days=1), run="a")
    for frame in (old, rows.assign(pulled=NOW, run="b")):
        whole = frame.assign(month=frame["day"].dt.strftime("%Y-%m"), number=None, text=None)
        table = pa.Table.from_pylist(whole.to_dict("records"), schema=POSTMASTER.schema)
        lake.write.append_new("postmaster", table)
    metrics = latest_metrics(lake, start=TODAY - timedelta(days=30))
    found = [*spam_rate(metrics, LOOK), *delivery_errors(metrics, LOOK)]
    assert [finding.kind for finding in found] == ["spam_rate", "delivery_errors"]
    for finding in found:
        assert lake.sql(finding.evidence["query"]).iloc[0, 0] == finding.evidence["number"] == 2


def verdict(reason: str, *, ago: int = 1) -> pd.DataFrame:
    """What Google says of deliverability."""
    row = {"domain": "example.com", "day": day(ago), "metric": "compliance_reason"}
    more = {"detail": "DELIVERABILITY", "share": None, "number": None, "text": reason}
    return pd.DataFrame([row | more])


def test_a_bad_verdict_is_a_finding_in_words() -> None:
    finding = only(deliverability(verdict("USER_FEEDBACK_NEGATIVE"), LOOK, []))
    assert (finding.subject, finding.severity) == ("USER_FEEDBACK_NEGATIVE", "warning")
    assert "people show that they do not want the mail" in finding.summary


@pytest.mark.parametrize("reason", ["USER_FEEDBACK_POSITIVE", "MESSAGE_VOLUME_LOW", "SOMETHING"])
def test_a_good_or_unknown_verdict_is_none(reason: str) -> None:
    assert deliverability(verdict(reason), LOOK, []) == []


def test_what_another_finding_says_is_said_once() -> None:
    spam = spam_rate(rates(0.004, 0.004), LOOK)
    assert deliverability(verdict("SPAM_RATE_HIGH"), LOOK, spam) == []
    assert deliverability(verdict("SPAM_RATE_HIGH", ago=40), LOOK, []) == []
    assert deliverability(verdict("SPAM_RATE_HIGH"), LOOK, [])
