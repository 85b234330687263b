"""Slack: the real SDK over HTTP against a local server, and messages nobody can break."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.errors import ChannelUnavailable, DeliveryError
from dmarckit.core.window import Window, last_days
from dmarckit.lake.rows import report_row, report_uid
from dmarckit.reports.model import Policy
from dmarckit.slack.alerts import report_alert
from dmarckit.slack.blocks import (
    Message,
    build_message,
    bullet_list,
    code,
    header,
    link_lines,
    message_text,
    mrkdwn,
    section,
)
from dmarckit.slack.client import block_kit, post_message, slack_json
from dmarckit.slack.summary import News, summary_message
from tests.support.model_builders import make_failing, make_record, make_report
from tests.support.slack_limits import block_faults
from tests.support.slack_server import CHANNEL, TOKEN, SlackServer, slack_server
from tests.support.telling import addressed, alert_about, stored

HELLO = build_message("hello", [section("hello")])
WINDOW: Window = last_days(7, end="2026-11-23")
HOSTILE = (
    "<!channel> <@U0123> <https://evil.example|login> @here #general https://evil.example/x "
    "www.evil.example *bold* _it_ ~no~ `code` :skull: a\nb\x1b[31m\u202egnp.exe & $x$"
)
PRESIGNED = "https://s3.example/exports/a!b.json?X-Amz-Signature=abc&X-Amz-Expires=604800"


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with slack_server() as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """The pauses that the poster made, in seconds; no test really waits."""
    return []


def send(server: SlackServer, waits: list[float], what: Message = HELLO, **other: Any) -> str:
    how = {"token": TOKEN, "channel": CHANNEL, "base_url": server.url, "sleep": waits.append}
    return post_message(what, **{**how, **other})


def headline(**values: float) -> pd.DataFrame:
    now = {"messages": 1000, "pass_share": 0.982, "failing": 18, "reports": 12, "reporters": 5}
    now |= values
    before = {"messages": 800, "pass_share": 0.99, "failing": 8, "reports": 10, "reporters": 5}
    return pd.DataFrame(
        {"measure": list(now), "value": list(now.values()), "before": list(before.values())}
    )


# --- posting


def test_a_message_is_posted_and_its_ts_returned(slack: SlackServer, waits: list[float]) -> None:
    assert send(slack, waits) == "1790000000.000001"
    assert slack.posted[0]["text"] == "hello"
    assert slack.posted[0]["blocks"] == block_kit(HELLO)


def test_slack_is_told_to_link_mention_and_unfurl_nothing(
    slack: SlackServer, waits: list[float]
) -> None:
    send(slack, waits)
    wanted = {"parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}
    assert {name: slack.posted[0][name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"channel": "C404"}, r"C404: channel_not_found: check slack_channel"),
        ({"token": "xoxb-wrong"}, r"invalid_auth: set slack_token"),
    ],
)
def test_a_refusal_says_what_to_do(
    slack: SlackServer, waits: list[float], other: dict[str, str], says: str
) -> None:
    with pytest.raises(DeliveryError, match=says) as raised:
        send(slack, waits, **other)
    assert not isinstance(raised.value, ChannelUnavailable)
    assert "xoxb" not in str(raised.value).replace("xoxb-…", "")
    assert waits == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("not_in_channel", "invite"),
        ("token_revoked", "slack_token"),
        ("missing_scope", "chat:write"),
        ("is_archived", "archived"),
        ("some_new_error", "docs.slack.dev"),
    ],
)
def test_known_errors_have_a_fix(
    slack: SlackServer, waits: list[float], name: str, says: str
) -> None:
    slack.will_answer(200, json.dumps({"ok": False, "error": name}))
    with pytest.raises(DeliveryError, match=f"{name}.*{says}"):
        send(slack, waits)


def test_refused_blocks_are_named(slack: SlackServer, waits: list[float]) -> None:
    too_long = Message("x", (header("x") | {"text": "x" * 151},))
    with pytest.raises(DeliveryError, match=r"invalid_blocks \[blocks/0: text of 151 characters\]"):
        send(slack, waits, too_long)


def test_a_rate_limit_is_waited_out_as_slack_asks(slack: SlackServer, waits: list[float]) -> None:
    slack.will_answer(429, '{"ok": false, "error": "ratelimited"}', retry_after=7, times=2)
    send(slack, waits)
    assert waits == [7, 7]
    assert len(slack.posted) == 1


def test_a_rate_limit_beyond_all_patience_is_not_waited_for(
    slack: SlackServer, waits: list[float]
) -> None:
    slack.will_answer(429, '{"ok": false, "error": "ratelimited"}', retry_after=3600)
    with pytest.raises(ChannelUnavailable, match="ratelimited"):
        send(slack, waits)
    assert waits == []


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_tried_again(slack: SlackServer, waits: list[float], status: int) -> None:
    slack.will_answer(status, "down")
    send(slack, waits)
    assert waits == [1]
    assert len(slack.posted) == 1


def test_slack_being_down_gives_up_after_a_few_attempts(
    slack: SlackServer, waits: list[float]
) -> None:
    slack.will_answer(500, "down", times=9)
    with pytest.raises(ChannelUnavailable, match="HTTP 500"):
        send(slack, waits)
    assert waits == [1, 2, 4]


def test_nobody_listening_is_tried_again_then_named(waits: list[float]) -> None:
    with slack_server() as gone:
        pass
    with pytest.raises(ChannelUnavailable, match=r"127\.0\.0\.1 cannot be reached"):
        send(gone, waits)
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("body", ["{not json", "<html>a proxy's page</html>", "[]", "null", "{}"])
def test_an_answer_that_is_not_slacks(slack: SlackServer, waits: list[float], body: str) -> None:
    slack.will_answer(200, body)
    with pytest.raises(ChannelUnavailable, match="check slack_url and the proxy") as raised:
        send(slack, waits)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"no HTTP\r\n\r\n"]
)
def test_an_answer_that_breaks_off_is_tried_again_later(waits: list[float], answer: bytes) -> None:
    class Breaking(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    with ThreadingTCPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}/api/"
        with pytest.raises(ChannelUnavailable, match="does not answer as Slack does"):
            post_message(HELLO, token=TOKEN, channel=CHANNEL, base_url=base, sleep=waits.append)
        server.shutdown()


@pytest.mark.parametrize("url", ["ftp://slack.example/", "nonsense"])
def test_a_wrong_slack_url_is_named(url: str) -> None:
    with pytest.raises(DeliveryError, match="slack_url"):
        post_message(HELLO, token=TOKEN, channel=CHANNEL, base_url=url)


@pytest.mark.parametrize("token", ["", "xoxb-secret\nx: y", "xoxb-secret\u00e9"])
def test_a_token_that_is_none_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(DeliveryError, match="slack_token") as raised:
        post_message(HELLO, token=token, channel=CHANNEL)
    assert "secret" not in str(raised.value)


def test_neither_token_nor_links_are_logged_at_any_level(
    slack: SlackServer, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="slack_sdk")
    slack.will_answer(500, "down")
    alert = alert_about(make_report(make_failing()), links=[("JSON", PRESIGNED)])
    send(slack, waits, alert)
    assert len(slack.posted) == 1
    assert TOKEN not in caplog.text
    assert "X-Amz-Signature" not in caplog.text


def test_the_proxy_of_the_environment_is_used(
    slack: SlackServer, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ChannelUnavailable, match="proxy"):
        send(slack, waits)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    send(slack, waits)


# --- outside text


def test_outside_text_can_neither_mention_nor_link_nor_format() -> None:
    shown = mrkdwn(HOSTILE, 500)
    assert not re.search(r"[<>\n\x1b\u202e*~]", shown)
    assert "&lt;!channel&gt;" in shown
    assert "`evil.example`" in shown
    outside = re.sub("`[^`]*`", "", shown)
    for active in ("@here", "#general", "://", "evil.example", ":skull:", "_it_"):
        assert active not in outside


def test_underscores_within_names_stay() -> None:
    assert mrkdwn("key_2026") == "key_2026"


@pytest.mark.parametrize("text", ["_dmarc.example.com", "2001:db8:100::1", "xn--bcher-kva.example"])
def test_code_can_be_copied_as_it_is(text: str) -> None:
    assert code(text) == f"`{text}`"


def test_code_cannot_be_left() -> None:
    assert code("a`<!here>`b") == "`aˋ&lt;!here&gt;ˋb`"


def slack_link(url: str) -> str:
    message = addressed(build_message("x", link_lines([("Page", stored(url))])))
    text: str = block_kit(message)[0]["text"]["text"]
    return text


def test_a_link_ends_where_it_should() -> None:
    assert slack_link("https://a.example/x|y>z?a=1&b=2") == (
        "<https://a.example/x%7Cy%3Ez?a=1&amp;b=2|Page>"
    )


def test_a_path_is_shown_not_linked() -> None:
    assert slack_link("/data/pages/a.html") == "Page: `/data/pages/a.html`"


def test_what_does_not_fit_is_counted() -> None:
    shown = bullet_list(["x" * 90] * 100, limit=1000)
    assert len(shown) <= 1000
    assert shown.endswith("and 90 more")


def test_more_than_fifty_blocks_are_counted() -> None:
    assert [*block_faults(block_kit(build_message("x", [section("x")] * 60)))] == []
    assert "and 11 more" in message_text(build_message("x", [section("x")] * 60))


# --- the alert about a report


def test_an_alert_says_who_what_when_and_where_to_look() -> None:
    report = make_report(
        make_record(messages=900),
        make_failing("198.51.100.7", 80, disposition="reject"),
        make_failing("2001:db8::1", 20),
    )
    links = [("Report as JSON", PRESIGNED), ("Report as CSV", "https://s3.example/a.csv")]
    senders = [
        ("Salesdesk", Counter({f"198.51.100.{n}": 25 - n for n in range(7, 12)})),
        ("net.example", Counter({"2001:db8::1": 20})),
    ]
    alert = alert_about(report, links=links, chart="https://s3.example/a.png", senders=senders)
    assert message_text(alert) == (
        "example.com: 100 messages failing DMARC\n"
        "\n"
        "100 of 1,000 messages fail DMARC (10.0%)\n"
        "20 of them were delivered anyway.\n"
        "Reporter: Example Mail  Report id: r-1  Period: 2026-11-01  Domain: example.com  "
        "Policy: p=reject\n"
        "Senders of failing messages\n"
        "• Salesdesk: 80 messages (198.51.100.7, 198.51.100.8, 198.51.100.9, and 2 more "
        "addresses)\n"
        "• net.example: 20 messages (2001:db8::1)\n"
        f"Report as JSON: {PRESIGNED}\n"
        "Report as CSV: https://s3.example/a.csv\n"
        f"Details: dmarckit page report -p report_uid {report_uid(report)}\n"
        "[chart] DMARC, SPF and DKIM results: 100 of 1,000 messages fail DMARC (10.0%): "
        "https://s3.example/a.png\n"
    )
    assert (
        alert.text
        == "example.com: 100 of 1,000 messages fail DMARC (10.0%), reported by Example Mail"
    )


def test_reports_about_one_domain_are_one_message() -> None:
    found = [
        make_report(make_failing(messages=n), reporter=f"Mail {n}", report_id=f"id-{n}")
        for n in (4, 3, 2, 1)
    ]
    alert = alert_about(*found)
    shown = message_text(alert)
    assert shown.startswith("example.com: 10 messages failing DMARC\n")
    assert "Reporter  Report id  Period      Messages  Failing\n" in shown
    assert "Mail 4    id-4       2026-11-01  4         4\n" in shown
    assert alert.text.endswith("(100%), reported by 4 reporters")


@pytest.mark.parametrize(
    ("disposition", "says"),
    [
        ("none", "All of them were delivered anyway"),
        ("quarantine", "All of them were quarantined or rejected"),
        (None, ""),
    ],
)
def test_what_receivers_did_is_said_when_they_say_it(disposition: str | None, says: str) -> None:
    report = make_report(make_failing(disposition=disposition))
    shown = message_text(alert_about(report))
    assert says in shown
    assert ("All of them" in shown) == bool(says)


def test_only_the_top_senders_are_listed() -> None:
    senders = [(f"sender {n}", Counter({f"192.0.2.{n}": 9 - n})) for n in range(1, 9)]
    shown = message_text(alert_about(make_report(make_failing()), senders=senders))
    assert "sender 5: 4 messages (192.0.2.5)" in shown
    assert "sender 6" not in shown
    assert "and 3 more senders" in shown


def test_a_hostile_report_cannot_reach_people_and_is_taken_by_slack(
    slack: SlackServer, waits: list[float]
) -> None:
    report = make_report(
        *(make_failing(f"{n}{HOSTILE}") for n in range(20)),
        reporter=HOSTILE * 50,
        report_id=HOSTILE * 50,
        policy=Policy(HOSTILE * 50, p=HOSTILE * 50),
    )
    links = [("Report as JSON", PRESIGNED), ("Report as CSV", PRESIGNED)]
    senders = [(HOSTILE, Counter(f"{n}{HOSTILE}" for n in range(9)))] * 20
    send(
        slack,
        waits,
        alert_about(report, links=links, chart="https://s3.example/a.png", senders=senders),
    )
    sent = slack.posted[0]
    ours = r"<https://s3\.example/[^|<>]*\|Report as (JSON|CSV)>"
    for text in mrkdwn_of(sent):
        assert not re.search(r"[<>]", re.sub(ours, "", text))
    assert not re.search(r"<|@here|#general", sent["text"])


def test_all_mrkdwn_is_verbatim() -> None:
    alert = alert_about(make_report(make_failing()), links=[("JSON", PRESIGNED)])
    texts = [t for block in block_kit(alert) for t in texts_of(block) if t["type"] == "mrkdwn"]
    assert texts
    assert all(text["verbatim"] for text in texts)


@pytest.mark.parametrize("length", [2_000, 2_990, 3_001, 9_000])
def test_links_of_any_length_are_taken_or_said_to_be_too_long(
    slack: SlackServer, waits: list[float], length: int
) -> None:
    url = "https://s3.example/".ljust(length, "x")
    links = [("Report as JSON", url), ("Report as CSV", url)]
    send(slack, waits, alert_about(make_report(make_failing()), links=links, chart=url))
    *_, json_line, csv_line, _details = mrkdwn_of({"blocks": slack.posted[0]["blocks"][:-1]})
    for line, label in ((json_line, "Report as JSON"), (csv_line, "Report as CSV")):
        assert line == f"<{url}|{label}>" or "too long for Slack" in line
    last = slack.posted[0]["blocks"][-1]
    assert last.get("image_url") == url or "too long for Slack" in last["text"]["text"]


def test_a_report_too_long_to_load_is_counted_by_what_the_lake_knows() -> None:
    report = make_report(record_count=20_000, message_count=90_000)
    shown = message_text(report_alert([report_row(report, "uid", "mail", failing=300)]))
    assert "example.com: 300 messages failing DMARC" in shown
    assert "300 of 90,000 messages fail DMARC (0.3%)" in shown
    assert "delivered" not in shown


def test_a_report_without_records_still_makes_an_alert() -> None:
    shown = message_text(alert_about(make_report(policy=Policy(None), reporter=None)))
    assert "an unnamed domain: 0 messages failing DMARC" in shown


# --- the summary of a run


def test_dns_records_in_findings_can_be_copied_as_they_are() -> None:
    record = (
        "v=DMARC1; p=quarantine; sp=reject; rua=mailto:d+x@example.com,mailto:e@example.net; fo=1"
    )
    line = f"change _dmarc.example.com to: {record} (see inv._domainkey.example.com)."
    news = [News("Ready", "warning, new", "example.com · 3 messages", line, [record])]
    plain = block_kit(summary_message(headline(), WINDOW, None, news=news))[-1]["text"]["text"]
    assert "\u2060" not in plain
    assert plain.endswith(f"`{record}`")
    assert "`_dmarc.example.com`" in plain
    assert f"`{record}`" in plain
    assert "(see `inv._domainkey.example.com`)" in plain


def test_a_quiet_run_with_work_left_says_how_much() -> None:
    one = summary_message(headline(), WINDOW, None, news=[], still_open=1)
    assert "Nothing new; 1 finding still open. 98.2%" in one.text
    assert "No open findings" not in one.text
    assert "No open findings. " in summary_message(headline(), WINDOW, None, news=[]).text


def test_a_summary_has_numbers_causes_notes_page_and_chart() -> None:
    news = [News("Salesdesk fails", "critical, new", "2 domains: a.example and b.example", "Fix.")]
    news += [News(f"cause {n}", "info, new", "1 message") for n in range(8)]
    page, chart = stored("https://pages.example/p"), stored("https://s3.example/c.png")
    summary = summary_message(
        headline(), WINDOW, page, chart, news,
        notes=["2 emails could not be read"], still_open=4, job="weekly", title="DMARC overview",
        days=7,
    )  # fmt: skip
    assert message_text(addressed(summary)) == (
        "DMARC · weekly · 17–23 Nov 2026\n"
        "\n"
        "9 new or worse, 4 still open\n"
        "98.2% of 1,000 messages pass DMARC, 18 fail (12 reports from 5 reporters).\n"
        "Previous 7 days: 99.0% of 800 messages passed, 8 failed.\n"
        "New or worse\n"
        "• Salesdesk fails (critical, new)\n"
        "   2 domains: a.example and b.example\n"
        "   → Fix.\n"
        + "".join(f"• cause {n} (info, new)\n   1 message\n" for n in range(4))
        + "and 4 more\n"
        "Needs attention\n"
        "• 2 emails could not be read\n"
        "Open the page: DMARC overview: https://pages.example/p\n"
        "[chart] Passing and failing messages per day: 98.2% of 1,000 messages pass DMARC, 18 "
        "fail (12 reports from 5 reporters): https://s3.example/c.png\n"
    )


def test_findings_of_other_days_than_the_header_say_which() -> None:
    shown = summary_message(
        headline(), last_days(30, end="2026-11-23"), None, news=[News("x", "info, new", "")], days=7
    )
    assert "New or worse, last 7 days" in message_text(shown)


def test_a_quiet_run_says_so_in_one_line() -> None:
    quiet = summary_message(headline(), WINDOW, stored("https://pages.example/p"), news=[])
    assert message_text(addressed(quiet)) == (
        "DMARC · 17–23 Nov 2026: No open findings. 98.2% of 1,000 messages pass DMARC, 18 fail "
        "(12 reports from 5 reporters).\n"
        "Open the page: https://pages.example/p\n"
    )


def test_no_reports_at_all_is_not_called_quiet() -> None:
    nothing = headline(messages=0, pass_share=float("nan"), failing=0, reports=0, reporters=0)
    assert message_text(summary_message(nothing, WINDOW, None)) == (
        "DMARC · 17–23 Nov 2026: No reports received.\n"
    )


def test_hundreds_of_hostile_findings_are_cut_not_refused(
    slack: SlackServer, waits: list[float]
) -> None:
    send(
        slack,
        waits,
        summary_message(headline(), WINDOW, None, news=[News(*[HOSTILE] * 4, [HOSTILE])] * 300),
    )
    shown = "".join(mrkdwn_of(slack.posted[0]))
    assert "and 29" in shown
    assert not re.search(r"<|@here|#general", re.sub("`[^`]*`", "", shown))


def test_a_message_is_saved_as_slack_takes_it() -> None:
    assert json.loads(slack_json(HELLO)) == {"text": "hello", "blocks": block_kit(HELLO)}


def texts_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    single = [block["text"]] if "text" in block else []
    return [*single, *block.get("fields", []), *block.get("elements", [])]


def mrkdwn_of(sent: dict[str, Any]) -> list[str]:
    texts = [text for block in sent["blocks"] for text in texts_of(block)]
    return [text["text"] for text in texts if text["type"] == "mrkdwn"]
