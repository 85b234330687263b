"""Digest, failure and recovery: what they say, and that Slack takes them whatever is in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from dmarckit.core.language import speaking
from dmarckit.core.window import last_days
from dmarckit.reports.model import Policy
from dmarckit.slack.alerts import Row, digest_message
from dmarckit.slack.blocks import (
    Message,
    StoredFile,
    build_message,
    image,
    link_lines,
    message_text,
    mrkdwn,
    simplified,
    with_addresses,
)
from dmarckit.slack.client import block_kit
from dmarckit.slack.summary import News, failure_message, recovery_message, summary_message
from tests.support.model_builders import make_failing, make_report
from tests.support.slack_limits import block_faults, texts_of
from tests.support.telling import addressed, alert_about, stored

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
DAY = datetime(2026, 11, 23, tzinfo=UTC)
LONG_LINK = "https://s3.example/".ljust(2_600, "x")
HOSTILE = (
    "<!channel> <@U0123> <https://evil.example|login> @here #general https://evil.example/x "
    "*bold* _it_ ~no~ `code` :skull: a\nb\x1b[31m\u202egnp.exe & 漢字"
)


def digest_row(reporter: str | None, domain: str | None, messages: int, failing: int) -> Row:
    end = DAY + timedelta(days=1)
    about = {"reporter": reporter, "contact": None, "domain": domain, "begin": DAY, "end": end}
    return about | {"messages": messages, "failing": failing}


def row(number: int, text: str = "") -> Row:
    reporter, domain = (f"{text}{number}", f"{text}example.com") if text else (None, None)
    return digest_row(reporter, domain, 10**12, 10**12 - number)


def headline(number: float) -> pd.DataFrame:
    names = ["messages", "pass_share", "failing", "reports", "reporters"]
    return pd.DataFrame({"measure": names, "value": [number] * 5, "before": [number / 3] * 5})


def failure(text: str) -> Message:
    return failure_message(
        "daily", error=text, since=DAY, now=NOW, run="abc", notebook=text, owner=text
    )


def alert(text: str) -> Message:
    report = make_report(
        *(make_failing(f"{n}{text}", 10**12) for n in range(50)),
        reporter=text,
        report_id=text,
        policy=Policy(text, p=text, sp=text, np=text, testing=text),
    )
    links = [(f"{mrkdwn(text, 60)}: report", LONG_LINK)] * 8
    senders = [(text, Counter({f"{n}{text}": 10**12 for n in range(50)}))] * 50
    return alert_about(*[report] * 40, links=links, chart=LONG_LINK, senders=senders)


def summary(text: str) -> Message:
    window = last_days(30, end="2026-11-23")
    made = summary_message(
        headline(10**12),
        window,
        stored(LONG_LINK),
        stored(LONG_LINK),
        [News(text, "critical, new", text, text, [text] * 9)] * 300,
        [text] * 300,
        10**6,
        text,
        job=text,
        title=text,
    )
    return addressed(made)


KINDS: dict[str, Callable[[str], Message]] = {
    "alert": alert,
    "digest": lambda text: digest_message([row(n, text) for n in range(2_000)]),
    "failure": failure,
    "recovery": lambda text: recovery_message(text, since=DAY, now=NOW),
    "summary": summary,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", [HOSTILE, HOSTILE * 100, "x" * 50_000, "", "\u2028", "&" * 5_000])
def test_whatever_is_in_it_slack_takes_it(kind: str, text: str) -> None:
    made = KINDS[kind](text)
    late = addressed(made, "Sent 5 hours late")
    for shown in (made, late, simplified(made), simplified(late)):
        assert [*block_faults(block_kit(shown))] == []
        assert 1 <= len(shown.text) <= 3000


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_mentioned_and_nothing_foreign_linked(kind: str) -> None:
    for shown in (KINDS[kind](HOSTILE), simplified(KINDS[kind](HOSTILE))):
        for block in block_kit(shown):
            if block["type"] == "table":
                continue  # raw text: nothing in it is read
            for text in texts_of(block):
                ours = re.sub(r"<https://s3\.example/x*\|[^<>]+>", "", text)
                assert "\x1b" not in ours
                assert "\u202e" not in ours
                if block["type"] not in ("header", "image"):  # those are plain text
                    assert not re.search("[<>]", ours)
        assert not re.search(r"<|@here|#general", shown.text)


def test_a_digest_has_the_worst_first_and_counts_the_rest() -> None:
    rows = [digest_row(f"Mail {n}", f"d{n % 3}.example", 2 * n, n) for n in range(1, 101)]
    shown = message_text(digest_message(rows))
    assert shown.startswith(
        "100 new reports with failing messages\n\n"
        "5,050 of 10,100 messages fail DMARC (50.0%)\n"
        "3 domains; most failures: d1.example (1,717 messages).\n"
        "Reporter  Domain      Period      Messages  Failing\n"
        "Mail 100  d1.example  2026-11-23  200       100\n"
    )
    assert "and 75 more" in shown


def test_a_digest_about_one_domain_names_it_alone() -> None:
    rows = [digest_row(f"Mail {n}", "d.example", 2, 1) for n in range(9)]
    assert "\nAll for d.example.\n" in message_text(digest_message(rows))
    with speaking("ja"):
        one, two = (digest_message(some) for some in (rows, [*rows, row(1, "x")]))
    assert one.blocks[1] != two.blocks[1], "Japanese has one form of a plural; these are two texts"


def test_numbers_of_a_table_are_to_the_right() -> None:
    (table,) = (b for b in block_kit(digest_message([row(1, "a ")])) if b["type"] == "table")
    assert [s["align"] for s in table["column_settings"]] == [
        "left", "left", "left", "right", "right",
    ]  # fmt: skip


def test_a_failure_says_what_since_when_where_and_what_to_do() -> None:
    made = failure_message(
        "daily",
        error="overview failed in cell [3]: ValueError: no column _dmarc.example.com",
        since=DAY,
        now=NOW,
        run="0a1b",
        notebook="s3://reports/pages/failed/overview/2026-11-24.ipynb",
        owner="mail team",
    )
    assert message_text(made) == (
        "Job daily failed\n\n"
        "overview failed in cell [3]: ValueError: no column _dmarc.example.com\n"
        "Failing since: 23 Nov 00:00 UTC, for 33 hours  Run: 0a1b  "
        "Notebook with the error (last cell): s3://reports/pages/failed/overview/2026-11-24.ipynb  "
        "Owner: mail team\n"
        "Next: dmarckit doctor checks the settings; dmarckit run daily retries now.\n"
        "You will be reminded daily until it recovers.\n"
    )


def test_a_recovery_says_how_long_it_lasted() -> None:
    made = recovery_message("daily", since=DAY, now=NOW)
    assert made.text == (
        "Job daily has recovered. It had been failing since 23 Nov 00:00 UTC, for 33 hours."
    )


# --- files get their addresses when a message goes out


def test_a_message_that_was_kept_gets_its_addresses_when_it_goes_out() -> None:
    page, chart = StoredFile("pages", "overview/x.html"), StoredFile("exports", "charts/x.png")
    made = build_message(
        "text", [*link_lines([("Open the page", page)]), *image(chart, "Messages per day")]
    )
    kept = Message.from_json(made.as_json())
    assert kept == made
    shown = with_addresses(
        kept, lambda file: f"https://files.example/{file.place}/{file.key}?signed"
    )
    assert message_text(shown) == (
        "Open the page: https://files.example/pages/overview/x.html?signed\n"
        "[chart] Messages per day: https://files.example/exports/charts/x.png?signed\n"
    )
    assert [*block_faults(block_kit(shown))] == []


def test_a_simpler_form_has_no_pictures_and_no_tables() -> None:
    made = digest_message([row(n, "a <b> ") for n in range(3)])
    picture = addressed(
        build_message("text", image(stored("https://files.example/x.png"), "Chart"))
    )
    assert "a <b> 2 · a <b> example.com · 2026-11-23" in message_text(simplified(made))
    assert message_text(simplified(picture)) == "Chart: https://files.example/x.png\n"
