"""sender_table: which service a domain belongs to."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import pytest
from publicsuffixlist import PublicSuffixList

from dmarckit.core import normalize_domain
from dmarckit.core.thresholds import KINDS
from dmarckit.facts.senders import (
    NEAREST,
    Sender,
    SenderTable,
    howto,
    load_howtos,
    load_table,
    read_rows,
)


def read_table(name: str) -> list[dict[str, str]]:
    path = files("dmarckit.facts") / "data" / name
    return read_rows(path.read_text("utf-8").splitlines())


class KnownReporter(NamedTuple):
    """A receiver that writes many aggregate reports, under whatever spellings of its name."""

    name: str
    org_names: tuple[str, ...]
    domains: tuple[str, ...]


@cache
def reporters() -> tuple[KnownReporter, ...]:
    """Read the receivers that write most aggregate reports, with the domains they write from."""
    return tuple(
        KnownReporter(
            row["reporter"],
            tuple(filter(None, row["org_names"].split("|"))),
            tuple(row["domains"].split("|")),
        )
        for row in read_table("reporters.csv")
    )


SHORT = SenderTable(
    {
        "mail.example": Sender("Example Mail", "email service"),
        "lists.mail.example": Sender("Example Lists", "mailing list"),
    }
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    path = files("dmarckit.facts") / "data" / "senders.csv"
    return read_rows(path.read_text("utf-8").splitlines())


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("mail.example", "Example Mail"),
        ("u1.bounce.mail.example", "Example Mail"),
        ("lists.mail.example", "Example Lists"),
        ("a.lists.mail.example", "Example Lists"),
        ("U1.Mail.Example.", "Example Mail"),
        ("notmail.example", None),
        ("mail.example.org", None),
        ("example", None),
        ("", None),
        (None, None),
    ],
)
def test_the_longest_suffix_of_whole_labels_wins(domain: str | None, name: str | None) -> None:
    found = SHORT.lookup(domain)
    assert (found.name if found else None) == name


def test_services_that_everyone_knows_are_found() -> None:
    table = load_table()
    for domain, name in {
        "em1234.sendgrid.net": "Twilio SendGrid",
        "a1-2.smtp-out.amazonses.com": "Amazon SES",
        "mail-ej1-f1.google.com": "Google",
        "example-com.20230601.gappssmtp.com": "Google",
        "mail-eopbgr1.outbound.protection.outlook.com": "Microsoft 365",
        "mx0a-00000000.pphosted.com": "Proofpoint",
        "fc0001.cuenote.jp": "Cuenote",
        "spf.besender.jp": "blastengine",
        "www1.sakura.ne.jp": "Sakura Internet",
    }.items():
        found = table.lookup(domain)
        assert found is not None, domain
        assert found.name == name


def test_the_table_has_at_least_1200_services_each_with_a_source(
    rows: list[dict[str, str]],
) -> None:
    assert len({row["sender"] for row in rows}) >= 1200
    assert len(load_table()) == len(rows)
    for row in rows:
        assert list(row) == ["suffix", "sender", "kind", "source"], row
        assert all(value and value == value.strip() for value in row.values()), row


def test_no_suffix_is_there_twice_and_none_is_a_bare_public_suffix(
    rows: list[dict[str, str]],
) -> None:
    suffixes = [row["suffix"] for row in rows]
    assert [s for s, n in Counter(suffixes).items() if n > 1] == []
    # without the list's private part: some services are public suffixes of their users
    public = PublicSuffixList(accept_unknown=False, only_icann=True)
    for suffix in suffixes:
        assert suffix == normalize_domain(suffix).lstrip(".")
        assert re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]", suffix)
        assert public.privatesuffix(suffix), suffix


def test_every_kind_is_known_and_every_service_has_one_kind(rows: list[dict[str, str]]) -> None:
    assert {row["kind"] for row in rows} == set(KINDS) - {"own", "unknown"}
    assert set(NEAREST) == set(KINDS)
    kinds: dict[str, set[str]] = {}
    for row in rows:
        kinds.setdefault(row["sender"], set()).add(row["kind"])
    assert {name: k for name, k in kinds.items() if len(k) > 1} == {}


def test_a_service_is_spelt_in_one_way(rows: list[dict[str, str]]) -> None:
    spellings = {row["sender"] for row in rows}
    assert len({name.casefold() for name in spellings}) == len(spellings)


def test_rows_are_in_order_so_that_changes_are_easy_to_read(rows: list[dict[str, str]]) -> None:
    keys = [(row["kind"], row["sender"].lower(), row["suffix"]) for row in rows]
    assert keys == sorted(keys)


def test_what_a_service_needs_to_sign_is_known_for_at_least_60(rows: list[dict[str, str]]) -> None:
    howtos = load_howtos()
    assert len(howtos) >= 60
    assert set(howtos) <= {row["sender"] for row in rows}
    for needs in howtos.values():
        assert needs.dkim_type in ("CNAME", "TXT"), needs
        assert all(name.endswith("._domainkey") for name in needs.dkim_names), needs
        assert needs.dkim_records is None or len(needs.dkim_names) in (1, needs.dkim_records), needs
        assert needs.return_path in ("", "own", "none", "CNAME", "TXT", "MX, TXT"), needs
        assert not needs.manual or needs.manual.startswith("https://"), needs


def test_microsoft_365_signs_by_two_cnames_and_a_stranger_has_no_howto() -> None:
    needs = howto("Microsoft 365")
    assert needs is not None
    assert (needs.dkim_type, needs.dkim_records) == ("CNAME", 2)
    assert needs.dkim_names == ("selector1._domainkey", "selector2._domainkey")
    assert howto("a stranger") is None


def test_at_least_60_reporters_are_known_each_by_domains_of_its_own() -> None:
    assert len(reporters()) >= 60
    assert len({known.name for known in reporters()}) == len(reporters())
    for values in (
        [domain for known in reporters() for domain in known.domains],
        [name for known in reporters() for name in {n.lower() for n in known.org_names}],
    ):
        assert [value for value, n in Counter(values).items() if n > 1] == []
    assert all(known.domains for known in reporters())


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("google.com", "Google"),
        ("microsoft.com", "Microsoft"),
        ("yahooinc.com", "Yahoo"),
        ("yahoo.co.jp", "Yahoo! JAPAN"),
        ("amazonses.com", "Amazon SES"),
        ("docomo.ne.jp", "NTT docomo"),
    ],
)
def test_reporters_are_known_by_the_domain_they_write_from(domain: str, name: str) -> None:
    assert [known.name for known in reporters() if domain in known.domains] == [name]


def test_domains_of_reporters_are_organisational_ones() -> None:
    public = PublicSuffixList(accept_unknown=False)
    for known in reporters():
        for domain in known.domains:
            assert public.privatesuffix(domain) == domain
