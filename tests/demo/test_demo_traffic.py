"""The generator tells the truth: what it makes reads back as what it says is in there."""

from __future__ import annotations

import email
import gzip
import tomllib
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import policy as email_policy
from email.message import EmailMessage
from io import BytesIO
from xml.etree import ElementTree

import pytest

from dmarckit.core.settings import DeclaredSender
from dmarckit.demo.company import DECLARED, demo_domains, demo_mails, demo_settings
from dmarckit.demo.flows import (
    DemoSender,
    Domain,
    Flow,
    Reporter,
    Style,
    between,
    block,
    spf,
    valid,
)
from dmarckit.demo.mails import GeneratedMail, duplicate, mails
from dmarckit.demo.reporters import GATEWAY, MAIL, MOBILE, NEXT_MAIL
from dmarckit.demo.traffic import (
    GeneratedReport,
    aligned,
    messages_on,
    reports,
    split_total,
    stream,
)
from dmarckit.reports.model import (
    AggregateReport,
    DkimResult,
    Policy,
    Reason,
    TlsReport,
    Unreadable,
)
from dmarckit.reports.read import read_object, read_reports
from tests.support.reporters import REPORTERS, WEEKLY

MONDAY = date(2026, 3, 2)
END = date(2026, 11, 24)
OWN = DemoSender("example.com", "own")
OLD_STYLE = Reporter("old.example", "old.example", share=1, style=Style())
NEW_STYLE = Reporter("new.example", "new.example", share=1, style=Style(rfc9990=True))


def make_flow(**changes: object) -> Flow:
    usual = Flow(
        name="office mail",
        header_from="example.com",
        sender=OWN,
        addresses=block("192.0.2.0/24", 10, 3),
        messages=200,
        expected="aligned",
        dkim=(valid("example.com", "s1"),),
        spf=spf("example.com"),
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def make_domain(name: str = "example.com", **tags: object) -> Domain:
    published = replace(Policy(name, p="none"), **tags)  # type: ignore[arg-type]
    return Domain(name, ((MONDAY, published),))


def made(
    *flows: Flow,
    domains: Sequence[Domain] = (make_domain(),),
    reporters: Sequence[Reporter] = (OLD_STYLE,),
    days: int = 1,
    seed: int = 1,
) -> list[GeneratedReport]:
    return reports(domains, flows, reporters, MONDAY, days, seed)


def messages_by(field: str, generated: Sequence[GeneratedReport]) -> dict[object, int]:
    found: Counter[object] = Counter()
    for g in generated:
        for record in g.report.records:
            found[getattr(record, field)] += record.messages
    return dict(found)


def expected_classes(generated: Sequence[GeneratedReport]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for g in generated:
        for truth in g.truth:
            found[truth.expected] += truth.messages
    return dict(found)


FAILING = make_flow(
    name="spoof", dkim=(), spf=spf("example.com", "fail"), expected="unauthenticated"
)


@pytest.fixture(scope="module")
def sample() -> list[GeneratedMail]:
    return demo_mails(END)


# Amounts


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two = (demo_mails(END, days=10) for _ in range(2))
    assert [(m.key, m.raw) for m in one] == [(m.key, m.raw) for m in two]


def test_another_seed_gives_other_mails() -> None:
    assert made(make_flow(), seed=1)[0].xml() != made(make_flow(), seed=2)[0].xml()


def test_a_flow_is_the_same_whatever_else_is_sent() -> None:
    alone = made(make_flow(), days=3)
    together = made(make_flow(), FAILING, days=3)
    assert expected_classes(alone)["aligned"] == expected_classes(together)["aligned"]


def test_no_message_is_lost_among_reporters_periods_and_addresses() -> None:
    flow = make_flow(broken=0.3)
    generated = made(flow, reporters=REPORTERS, days=14)
    sent = sum(messages_on(flow, MONDAY + timedelta(i), 1) for i in range(14))
    assert sum(g.report.message_count for g in generated) == sent
    assert sum(t.messages for g in generated for t in g.truth) == sent


def test_a_flow_is_active_from_its_first_day_to_its_last() -> None:
    flow = make_flow(since=MONDAY + timedelta(1), until=MONDAY + timedelta(3))
    days = [g.report.begin.date() for g in made(flow, days=5)]
    assert days == [MONDAY + timedelta(1), MONDAY + timedelta(2)]


def test_the_week_has_its_pattern() -> None:
    flow = make_flow(week=(1.0, 0, 0, 0, 0, 0, 0.5), noise=0)
    assert [messages_on(flow, MONDAY + timedelta(i), 1) for i in range(7)] == [
        200, 0, 0, 0, 0, 0, 100,
    ]  # fmt: skip


def test_counts_of_zero_are_reported_when_asked_for() -> None:
    (generated,) = made(make_flow(messages=0, keeps_zero=True))
    assert [r.messages for r in generated.report.records] == [0, 0, 0]


def test_parts_sum_to_the_whole_and_follow_the_weights() -> None:
    parts = split_total(1000, [1, 0, 3], stream(1))
    assert sum(parts) == 1000
    assert parts[1] == 0
    assert parts[2] == pytest.approx(750, abs=1)


def test_weights_without_a_share_are_refused() -> None:
    with pytest.raises(ValueError, match="weights"):
        split_total(1, [0.0], stream(1))


# Receivers


@pytest.mark.parametrize(
    ("identifier", "mode", "is_aligned"),
    [
        ("example.co.uk", None, True),
        ("bounce.example.co.uk", "r", True),
        ("bounce.example.co.uk", "s", False),
        ("other.co.uk", "r", False),
        (None, "r", False),
    ],
)
def test_alignment(identifier: str | None, mode: str | None, is_aligned: bool) -> None:
    assert aligned(identifier, "example.co.uk", mode) is is_aligned


@pytest.mark.parametrize(
    ("tags", "author", "disposition", "at_new_style"),
    [
        ({"p": "none"}, "example.com", "none", "none"),
        ({"p": "reject"}, "example.com", "reject", "reject"),
        ({"p": "reject", "sp": "none"}, "a.example.com", "none", "none"),
        ({"p": "quarantine"}, "a.example.com", "quarantine", "quarantine"),
        ({"p": "none", "np": "reject"}, "a.example.com", "none", "reject"),
        ({"p": "reject", "testing": "y"}, "example.com", "reject", "quarantine"),
        ({"p": "reject", "pct": 0}, "example.com", "quarantine", "reject"),
    ],
)
def test_what_fails_is_treated_as_the_policy_asks(
    tags: dict[str, object], author: str, disposition: str, at_new_style: str
) -> None:
    flow = replace(FAILING, header_from=author, addresses=("192.0.2.1",))
    domains = [make_domain("example.com", **tags)]
    for reporter, expected in ((OLD_STYLE, disposition), (NEW_STYLE, at_new_style)):
        (generated,) = made(flow, domains=domains, reporters=[reporter])
        assert list(messages_by("disposition", [generated])) == [expected]


def test_what_passes_is_delivered() -> None:
    for reporter, expected in ((OLD_STYLE, "none"), (NEW_STYLE, "pass")):
        generated = made(make_flow(), domains=[make_domain(p="reject")], reporters=[reporter])
        assert list(messages_by("disposition", generated)) == [expected]


def test_pct_spares_its_share_and_says_so() -> None:
    flow = replace(FAILING, messages=1000, noise=0, addresses=("192.0.2.1",))
    generated = made(flow, domains=[make_domain(p="reject", pct=25)])
    assert messages_by("disposition", generated) == {"reject": 250, "quarantine": 750}
    assert messages_by("reasons", generated) == {(): 250, (Reason("sampled_out"),): 750}


def test_a_reason_overrides_the_policy() -> None:
    flow = replace(FAILING, reasons=(Reason("local_policy", "arc=pass"),))
    generated = made(flow, domains=[make_domain(p="reject")])
    assert list(messages_by("disposition", generated)) == ["none"]


def test_a_reason_may_stand_beside_a_pass_and_a_disposition_be_given() -> None:
    requirement = Reason("local_policy", "Sender requirement failed: 550-5.7.30")
    flow = make_flow(dkim=(), expected="spf_only", reasons=(requirement,), disposition="reject")
    generated = made(flow)
    assert list(messages_by("spf_aligned", generated)) == [True]
    assert list(messages_by("reasons", generated)) == [(requirement,)]
    assert list(messages_by("disposition", generated)) == ["reject"]


def test_broken_signatures_are_their_share_of_the_messages() -> None:
    flow = make_flow(
        messages=1000,
        noise=0,
        spf=spf("bounce.mailer.example"),
        broken=between(MONDAY + timedelta(1), END, 0.4),
        expected="dkim_only",
        expected_broken="broken_dkim",
    )
    first, second = made(flow, days=2)
    assert messages_by("dkim_aligned", [first]) == {True: 1000}
    assert messages_by("dkim_aligned", [second]) == {
        True: pytest.approx(600, abs=3),
        False: pytest.approx(400, abs=3),
    }
    classes = expected_classes([second])
    assert classes["broken_dkim"] == messages_by("dkim_aligned", [second])[False]


def test_one_reporter_may_evaluate_dkim_wrongly() -> None:
    wrong = replace(OLD_STYLE, org_name="wrong.example", dkim_broken=1.0)
    generated = made(make_flow(), reporters=[OLD_STYLE, wrong])
    seen = {g.reporter.org_name: set(messages_by("dkim_aligned", [g])) for g in generated}
    assert seen == {"old.example": {True}, "wrong.example": {False}}


def test_a_subdomain_with_its_own_record_has_its_own_reports() -> None:
    flow = make_flow(header_from="news.example.com")
    domains = [make_domain(), make_domain("news.example.com", p="reject")]
    (generated,) = made(flow, domains=domains)
    assert generated.report.policy.domain == "news.example.com"
    assert generated.report.policy.p == "reject"


def test_an_author_without_a_dmarc_record_is_refused() -> None:
    with pytest.raises(ValueError, match=r"other\.example"):
        made(make_flow(header_from="other.example"))


def test_a_policy_change_shows_in_the_reports() -> None:
    changed = Domain(
        "example.com",
        (
            (MONDAY, Policy("example.com", p="none")),
            (MONDAY + timedelta(2), Policy("example.com", p="reject")),
        ),
    )
    generated = made(FAILING, domains=[changed], days=4)
    assert [g.report.policy.p for g in generated] == ["none", "none", "reject", "reject"]
    assert [set(messages_by("disposition", [g])) for g in generated] == [
        {"none"}, {"none"}, {"reject"}, {"reject"},
    ]  # fmt: skip


# Periods and dialects


def test_periods_have_the_reporters_length_and_offset() -> None:
    generated = made(make_flow(), reporters=[GATEWAY, MOBILE, WEEKLY], days=7)
    spans = {
        g.reporter.org_name: (g.report.end - g.report.begin, g.report.begin.hour) for g in generated
    }
    assert spans["Mobile Example Corp."] == (timedelta(days=1), 15)
    assert spans["Village Net Example"] == (timedelta(days=7), 0)
    assert sum(g.reporter is GATEWAY for g in generated) == 14
    assert sum(g.reporter is WEEKLY for g in generated) == 1


def test_two_reporters_can_use_the_same_report_id() -> None:
    style = Style(report_id="{domain}.{begin}")
    both = [Reporter(n, n, share=1, style=style) for n in ("one.example", "two.example")]
    first, second = made(make_flow(), reporters=both)
    assert first.report.report_id == second.report.report_id
    assert first.reporter != second.reporter


def elements(generated: GeneratedReport) -> set[str]:
    return {e.tag for e in ElementTree.fromstring(generated.xml()).iter()}


def test_old_dialect_has_no_namespace_and_the_new_one_has() -> None:
    (old,) = made(make_flow(), reporters=[MAIL])
    (new,) = made(
        make_flow(), reporters=[NEXT_MAIL], domains=[make_domain(testing="y", np="reject")]
    )
    assert {"feedback", "pct", "report_id"} <= elements(old)
    assert "version" not in elements(old)
    namespace = "{urn:ietf:params:xml:ns:dmarc-2.0}"
    assert {namespace + tag for tag in ("feedback", "testing", "np", "generator")} <= elements(new)
    assert namespace + "pct" not in elements(new)


@pytest.mark.parametrize("reporter", REPORTERS, ids=lambda r: r.host)
def test_every_dialect_reads_back_as_its_truth(reporter: Reporter) -> None:
    flows = (
        make_flow(broken=0.5),
        replace(FAILING, addresses=("2001:db8::25",), reasons=(Reason("other", "<&> \"'é"),)),
        make_flow(name="odd", dkim=(DkimResult("example.com", "s1", "temperror"),), spf=None),
    )
    domains = [make_domain(sp="reject", np="reject", testing="y", adkim="s", fo="1:d", pct=50)]
    generated = reports(domains, flows, [reporter], MONDAY, 7, 3)
    assert generated
    for mail in mails(generated, 3):
        assert mail.truth is not None
        (found,) = read_reports(read_object(mail.raw, mail.key))
        assert found == mail.truth.report  # type: ignore[union-attr]


def test_attachments_are_packed_as_named() -> None:
    for g in made(make_flow(messages=2000), reporters=REPORTERS):
        if g.name().endswith(".gz"):
            assert gzip.decompress(g.attachment()) == g.xml()
        elif g.name().endswith(".zip"):
            with zipfile.ZipFile(BytesIO(g.attachment())) as archive:
                (member,) = archive.namelist()
                assert archive.read(member) == g.xml()
        else:
            assert g.attachment() == g.xml()


# Mails


def parsed(mail: GeneratedMail) -> EmailMessage:
    message = email.message_from_bytes(mail.raw, policy=email_policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_is_as_ses_stores_it() -> None:
    (mail,) = mails(made(make_flow(), reporters=[GATEWAY])[:1], 1)
    message = parsed(mail)
    assert not message.defects
    assert next(iter(message)) == "Return-Path"
    assert mail.key in str(message["Received"])
    assert message["X-SES-Spam-Verdict"] == "PASS"
    assert "dmarc=pass header.from=gateway.example" in str(message["Authentication-Results"])
    assert [p.get_content_type() for p in message.iter_parts()] == [
        "text/plain",
        "application/x-gzip",
    ]
    assert all(len(line) <= 998 for line in mail.raw.split(b"\r\n"))


def test_a_reporter_may_send_the_file_as_the_body() -> None:
    (generated,) = made(make_flow(), reporters=[MAIL])
    (mail,) = mails([generated], 1)
    message = parsed(mail)
    assert message.get_content_type() == "application/zip"
    assert message.get_filename() == generated.name()
    assert message.get_payload(decode=True) == generated.attachment()


def test_a_duplicate_differs_only_in_key_and_time() -> None:
    (mail,) = mails(made(make_flow()), 1)
    copy = duplicate(mail, 1, later=timedelta(hours=1))
    assert copy.key != mail.key
    assert copy.received - mail.received == timedelta(hours=1)
    assert copy.raw == mail.raw


# The demo's sample


def test_the_sample_has_sixty_days_of_three_domains_and_enough_reporters(
    sample: list[GeneratedMail],
) -> None:
    found = [m.truth for m in sample if isinstance(m.truth, GeneratedReport)]
    assert 900 <= len(sample) <= 1500
    assert {g.report.policy.domain for g in found} == {d.name for d in demo_domains(END)}
    assert len({g.reporter.org_name for g in found}) >= 6
    assert min(g.report.begin for g in found).date() >= END - timedelta(61)
    assert max(g.report.begin for g in found).date() == END - timedelta(1)


def test_the_sample_has_every_class(sample: list[GeneratedMail]) -> None:
    found = expected_classes([m.truth for m in sample if isinstance(m.truth, GeneratedReport)])
    assert set(found) == {
        "aligned", "dkim_only", "forwarded", "spf_only", "broken_dkim", "modified",
        "unaligned_sender", "spoofed_subdomain", "unauthenticated",
    }  # fmt: skip


def test_the_samples_last_day_lacks_a_reporter(sample: list[GeneratedMail]) -> None:
    def reporters_of(day: date) -> set[str]:
        return {
            m.truth.reporter.org_name
            for m in sample
            if isinstance(m.truth, GeneratedReport) and m.truth.report.begin.date() == day
        }

    missing = reporters_of(END - timedelta(4)) - reporters_of(END - timedelta(1))
    assert "Letterbox Example K.K." in missing
    assert "Letterbox Example K.K." in reporters_of(END - timedelta(2))


def test_the_sample_arrives_in_order_and_before_its_end(sample: list[GeneratedMail]) -> None:
    times = [m.received for m in sample]
    assert times == sorted(times)
    assert times[-1] < datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert len({m.key for m in sample}) == len(sample)


def test_every_mail_of_the_sample_reads_back_as_its_truth(sample: list[GeneratedMail]) -> None:
    for mail in sample:
        read = read_object(mail.raw, mail.key)
        found = list(read_reports(read))
        if isinstance(mail.truth, GeneratedReport):
            assert found == [mail.truth.report]
        elif isinstance(mail.truth, TlsReport):
            assert found == [mail.truth]
        assert read.verdict.dmarc == ("fail" if mail.outcome == "untrusted" else "pass")


def test_the_samples_troubles_are_what_they_should_be(sample: list[GeneratedMail]) -> None:
    def found(outcome: str) -> list[object]:
        return [
            report
            for m in sample
            if m.outcome == outcome
            for report in read_reports(read_object(m.raw, m.key))
        ]

    troubles = Counter(m.outcome for m in sample if m.outcome != "stored")
    assert troubles == {"untrusted": 2, "duplicate": 1, "unreadable": 1, "not_a_report": 1}
    (broken,) = found("unreadable")
    (nothing,) = found("not_a_report")
    assert isinstance(broken, Unreadable)
    assert broken.is_report
    assert isinstance(nothing, Unreadable)
    assert not nothing.is_report
    assert all(isinstance(r, AggregateReport) for r in found("untrusted"))


def test_one_forged_mail_claims_to_pass_below_what_ses_says(sample: list[GeneratedMail]) -> None:
    claims = [
        [("dmarc=pass" in h) for h in parsed(m).get_all("Authentication-Results", [])]
        for m in sample
        if m.outcome == "untrusted"
    ]
    assert sorted(claims) == [[False], [False, True]]


def test_the_companys_settings_declare_its_senders() -> None:
    settings = tomllib.loads(demo_settings())
    declared = [DeclaredSender.model_validate(s) for s in settings["senders"]]
    assert {d.name: d.kind for d in declared} == {d.name: d.kind for d in DECLARED}


@pytest.mark.parametrize("days", [0, 1, 3])
def test_a_short_sample_works_too(days: int) -> None:
    assert {m.outcome for m in demo_mails(END, days)} <= {
        "stored", "duplicate", "untrusted", "unreadable", "not_a_report",
    }  # fmt: skip
