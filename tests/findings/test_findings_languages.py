"""What findings say, in each language: the same numbers and names, in other words."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import pytest

from dmarckit.core import language
from dmarckit.facts.frames import Facts
from dmarckit.findings.find import find, title
from dmarckit.findings.model import Finding, join_names
from tests.support.finding_cases import (
    CASES,
    failing_tls,
    mails,
    owned,
    signatures,
    unhonoured,
    with_rows,
)
from tests.support.finding_facts import (
    ALL,
    FOUR,
    NOW,
    SERVICE,
    UNALIGNED,
    facts,
    messages,
    reported,
)
from tests.support.translations import read_catalog

ALL_CASES = [(kind, n) for kind, cases in CASES.items() for n in range(len(cases))]
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)*")
NAME = re.compile(r"[a-z0-9_<>-]+(?:\.[a-z0-9_<>-]+)*\.(?:example|com|toml|txt)", re.ASCII)
ENGLISH = re.compile(r"(?:\b[A-Za-z']+,? ){3}[a-z]+", re.ASCII)
WRITTEN_IN_ENGLISH = (
    "rua=<as in your present record>",
    "dmarckit ingest --retry untrusted",
    "dmarckit ingest --retry unreadable",
)
HOSTILE = "{0}{n}{name} %s %(n)d }{ {sender!r}"


@pytest.fixture(autouse=True)
def _english_again() -> Any:
    yield
    language.use("en")


def told(some: Facts, kind: str, name: str) -> list[Finding]:
    """The findings of a kind, in a language."""
    language.use(name)
    return [finding for finding in find(some, now=NOW) if finding.kind == kind]


def texts(finding: Finding) -> list[str]:
    return [finding.summary, finding.action, title(finding)]


def numbers(text: str) -> set[str]:
    """The numbers of a text, without the month of a date such as 11/21."""
    return set(NUMBER.findall(re.sub(r"(?<!\d)\d{1,2}/(?=\d)", "", text.replace(",", ""))))


@pytest.mark.parametrize(("kind", "case"), ALL_CASES)
def test_japanese_says_the_same(kind: str, case: int) -> None:
    some = CASES[kind][case]()
    english = told(some, kind, "en")
    in_english = [texts(finding) for finding in english]
    japanese = told(some, kind, "ja")
    in_japanese = [texts(finding) for finding in japanese]
    assert english
    assert [known(f) for f in japanese] == [known(f) for f in english]
    for here, there in zip(in_english, in_japanese, strict=True):
        for one, other in zip(here, there, strict=True):
            assert numbers(one) <= numbers(other), other
            assert numbers(other) - numbers(one) <= {"1", "2"}, other  # "a week", "exactly one"
            assert set(NAME.findall(one)) == set(NAME.findall(other)), other
            assert re.search("[\u3041-\u30ff\u4e00-\u9fff]", other), other
            assert not ENGLISH.search(without_commands(other)), other


def test_every_text_of_a_finding_has_its_japanese_with_the_same_names() -> None:
    told = [m for m in read_catalog() if m.id and any("finding" in f for f, _ in m.locations)]
    assert len(told) > 150
    for message in told:
        english = message.id if isinstance(message.id, tuple) else (message.id,)
        japanese = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(japanese), english
        assert filled_in(*japanese) == filled_in(*english), japanese


def filled_in(*texts: str) -> set[str]:
    """The names of the placeholders."""
    return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}


def known(finding: Finding) -> tuple[Any, ...]:
    """What does not depend on the language."""
    explains = {"explains": list(finding.evidence.get("explains", {}))}  # sentences stand there
    evidence = finding.evidence | explains
    return finding.fingerprint, finding.severity, finding.messages, evidence


def without_commands(text: str) -> str:
    for written in WRITTEN_IN_ENGLISH:
        text = text.replace(written, "")
    return text


def hostile_facts() -> dict[str, Facts]:
    """Outside text with braces and percent signs, wherever a finding names something."""
    bad = {**UNALIGNED, "sender": HOSTILE}
    return {
        "unaligned_sender": with_rows(messages([1, 2], **bad)),
        "new_sender": with_rows(messages(range(1, 4), **{**SERVICE, "sender": HOSTILE})),
        "sender_stopped": with_rows(
            messages(range(5, 61), **{**SERVICE, "sender": HOSTILE}),
            inventory=[owned(HOSTILE, HOSTILE)],
        ),
        "broken_dkim": with_rows(signatures=signatures(sender=HOSTILE, selector=HOSTILE)),
        "reporter_silent": with_rows(
            reports=reported(ALL, FOUR) + reported(range(6, 61), [HOSTILE])
        ),
        "untrusted_reports": facts(mails=mails("untrusted", sender=HOSTILE)),
        "tls_failures": failing_tls(HOSTILE),
        "policy_not_honoured": unhonoured(HOSTILE),
    }


@pytest.mark.parametrize("name", language.LANGUAGES)
@pytest.mark.parametrize("kind", hostile_facts())
def test_braces_in_outside_text_are_text(kind: str, name: str) -> None:
    (finding,) = told(hostile_facts()[kind], kind, name)
    assert HOSTILE in finding.summary
    assert not finding.subject or HOSTILE in title(finding)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("en", "a, b, c and 2 more"), ("ja", "a、b、c、ほか 2 件")],
)
def test_lists_follow_the_language(name: str, shown: str) -> None:
    language.use(name)
    assert join_names(["a", "b", "c", "d", "e"]) == shown


def test_a_kind_without_a_title_is_named_itself() -> None:
    unknown = Finding("new_kind", "", HOSTILE, "info", 0, None, None, 0, "", "")
    assert title(unknown) == f"new_kind: {HOSTILE}"
