"""Internationalised names: A-labels where they are copied, U-labels where they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from publicsuffixlist import PSLFILE, PublicSuffixList

from dmarckit.core import normalize_domain, public_suffixes, show_domain, show_domains

A = "xn--bcher-kva.example"
U = "bücher.example"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{A} fails.", f"{U} ({A}) fails."),
        (f"{A} and {A}", f"{U} ({A}) and {U}"),
        (f"mail.{A}, news.{A}", f"mail.{U} (mail.{A}), news.{U} (news.{A})"),
        (f"_dmarc.{A}:", f"_dmarc.{U} (_dmarc.{A}):"),
        (f"{A}/s1 fails", f"{U}/s1 ({A}) fails"),
        (f"送信者{A}が", f"送信者{U} ({A})が"),
        (f"Postwagon ({A})", f"Postwagon ({U} ({A}))"),
        # what is copied, and what is no such name
        (f"dmarckit senders deny {A} --domain {A}", f"dmarckit senders deny {A} --domain {A}"),
        (f"dmarckit senders declare 'A' --dkim {A} ", f"dmarckit senders declare 'A' --dkim {A} "),
        (f"v=spf1 include:{A} -all", f"v=spf1 include:{A} -all"),
        (f"rua=mailto:a@{A}", f"rua=mailto:a@{A}"),
        (f"https://{A}/x", f"https://{A}/x"),
        ("xn--bcher-kva.exam…", "xn--bcher-kva.exam…"),
        ("xn--99999999.example and xn--", "xn--99999999.example and xn--"),
        ("bxn--c.example", "bxn--c.example"),
    ],
)
def test_sentences_show_names_as_people_read_them(text: str, shown: str) -> None:
    assert show_domains(text) == shown
    assert show_domains(shown) == shown  # a finding that goes on is said again


@pytest.mark.parametrize(
    "name",
    ["bücher.example", "bücher-2.example", "рф.example", "例え.example", "한국.example",
     "テスト1.example", "ελλάδα.example", "việt.example"],
)  # fmt: skip
def test_names_of_one_script_are_shown(name: str) -> None:
    a = ".".join(label.encode("idna").decode() for label in name.split("."))
    assert show_domain(a) == f"{name} ({a})"


@pytest.mark.parametrize(
    "name", ["pаypal.example", "аррӏе.example", "сосо.example", "tεst.example", "ɡoogle.example"]
)
def test_names_that_pass_for_others_keep_their_a_labels(name: str) -> None:
    a = ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
        for label in name.split(".")
    )
    assert show_domain(a) == a
    assert show_domains(f"{a} fails") == f"{a} fails"


def test_the_rules_of_suffixes_are_those_of_the_library() -> None:
    library, own = PublicSuffixList(), public_suffixes()
    assert public_suffixes() is own, "anybody may send reports that need it"
    lines = Path(PSLFILE).read_text("utf-8").splitlines()
    rules = [line.lstrip("!*.") for line in lines if line and not line.startswith("//")]
    names = [f"mail.shop.{form}" for rule in rules for form in (rule, normalize_domain(rule))]
    assert [own.privatesuffix(n) for n in names] == [library.privatesuffix(n) for n in names]
