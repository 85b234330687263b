"""settings: from arguments, environment, files and TOML, with errors that name the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dmarckit.core.errors import SettingsError
from dmarckit.core.settings import load_settings


def write(text: str, path: str = "dmarckit.toml") -> None:
    Path(path).write_text(text, "utf-8")


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.home == "./dmarckit-data"
    assert settings.mail_url == "./dmarckit-data/mail"
    assert settings.lake_url == "./dmarckit-data/lake"
    assert settings.pages_url == "./dmarckit-data/pages"
    assert settings.exports_url == "./dmarckit-data/exports"


def test_the_file_in_the_working_directory_is_read() -> None:
    write('home = "s3://reports/kit"\n[[senders]]\nname = "Shop"\nnetworks = ["192.0.2.0/24"]')
    settings = load_settings()
    assert settings.mail_url == "s3://reports/kit/mail"
    assert settings.senders[0].networks == ("192.0.2.0/24",)


def test_environment_wins_over_the_file_and_arguments_over_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write('home = "from-file"\nexports = "all"\nlanguage = "ja"')
    monkeypatch.setenv("DMARCKIT_EXPORTS", "none")
    monkeypatch.setenv("DMARCKIT_LANGUAGE", "ja")
    settings = load_settings(language="en")
    assert (settings.home, settings.exports, settings.language) == ("from-file", "none", "en")


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write('home = "other"', "other.toml")
    monkeypatch.setenv("DMARCKIT_CONFIG", "other.toml")
    assert load_settings().home == "other"


def test_a_secret_comes_from_a_file_and_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    write("xoxb-secret\n", "token")
    monkeypatch.setenv("DMARCKIT_SLACK_TOKEN_FILE", "token")
    settings = load_settings()
    assert settings.slack_token is not None
    assert settings.slack_token.get_secret_value() == "xoxb-secret"
    assert "xoxb-secret" not in repr(settings)


@pytest.mark.parametrize("by_file", [True, False])
def test_every_kind_of_value_comes_from_the_environment_or_a_file(
    by_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "SENDERS": '[{"name": "Shop", "networks": ["192.0.2.0/24"]}]',
        "KEEP_DAYS": '{"records": 800}',
        "LIMITS": '{"records": 5}',
        "RESOLVERS": "192.0.2.53, 192.0.2.54",
        "POSTMASTER_DOMAINS": '["example.com"]',
        "DOMAINS": "example.com",
        "WORKERS": "3",
        "HOME": "s3://reports/kit",
    }
    for name, text in values.items():
        if by_file:
            write(text + "\n", name)
            monkeypatch.setenv(f"DMARCKIT_{name}_FILE", name)
        else:
            monkeypatch.setenv(f"DMARCKIT_{name}", text)
    settings = load_settings()
    assert settings.senders[0].networks == ("192.0.2.0/24",)
    assert settings.keep_days == {"records": 800}
    assert (settings.limits.records, settings.limits.nesting) == (5, 3)
    assert settings.resolvers == ("192.0.2.53", "192.0.2.54")
    assert settings.postmaster_domains == ("example.com",)
    assert settings.domains == ("example.com",)
    assert (settings.workers, settings.home) == (3, "s3://reports/kit")


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_a_value_that_is_no_json_is_one_line(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write("Shop", "file")
    monkeypatch.setenv(f"DMARCKIT_SENDERS{suffix}", "file")
    with pytest.raises(SettingsError, match=rf"senders: .*DMARCKIT_SENDERS{suffix}.* JSON: Expec"):
        load_settings()


def test_limits_can_be_set_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[limits]\nrecords = 5")
    monkeypatch.setenv("DMARCKIT_LIMITS__MAIL_BYTES", "7")
    limits = load_settings().limits
    assert (limits.records, limits.mail_bytes, limits.nesting) == (5, 7, 3)


@pytest.mark.parametrize(
    ("home", "mail", "trust"),
    [
        ("s3://b", None, "pass"),
        ("folder", None, "any"),
        ("s3://b", "folder", "any"),
        ("folder", "s3://b", "pass"),
    ],
)
def test_mails_in_a_bucket_are_trusted_less(home: str, mail: str | None, trust: str) -> None:
    assert load_settings(home=home, mail=mail).trust_level == trust


def test_domains_may_be_grouped() -> None:
    write(
        'domains = ["Example.com.", {name = "shop", domains = ["shop.example"], '
        'owner = "shop@example.com", slack_channel = "#shop"}]'
    )
    assert load_settings().domain_names == ("example.com", "shop.example")


@pytest.mark.parametrize("text", ["example.com, shop.example", '["example.com", "shop.example"]'])
def test_domains_in_the_environment(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_DOMAINS", text)
    assert load_settings().domain_names == ("example.com", "shop.example")


@pytest.mark.parametrize(
    "text", ['home = "s3://b/kit"\nmail = "s3://b"', 'mail = "./dmarckit-data"', 'mail = "."']
)
def test_mails_must_not_share_a_place_with_what_is_written(text: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=r"setting mail: .*holds the lake .* in dmarckit\.toml"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('trust = "maybe"', r"setting trust: 'maybe': .*'pass', 'not-fail' or 'any' in dmarckit"),
        ('hme = "x"', r"unknown setting 'hme' in dmarckit.toml; did you mean home\?$"),
        ('qqq = "x"', r"unknown setting 'qqq' in dmarckit.toml; all are listed by: dmarckit help"),
        ("[thresholds]\nlost_day = 1", r"thresholds.lost_day' .*; did you mean lost_days"),
        ("[[senders]]\nname = 'x'\nnetwork = []", r"senders.0.network' .*did you mean networks\?"),
        ('[[senders]]\nname = "Shop"\nkind = "Marketing"', r"senders.0.kind: 'Marketing'.*'crm'"),
        ("presign_expires = 999999999", r"setting presign_expires: 999999999"),
        ("home = x y", r"dmarckit.toml is not valid TOML: .*line 1"),
        ("slack_token = 5", r"setting slack_token: Input should"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_fix(text: str, said: str) -> None:
    write(text)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_EXPORTS", "some")
    with pytest.raises(SettingsError, match=r"setting exports: 'some'.*DMARCKIT_EXPORTS"):
        load_settings()


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_PRESIGN_SECRET", "shh")
    monkeypatch.setenv("DMARCKIT_SLACK_TOKEN_FILE", "/no/such/file")
    with pytest.raises(SettingsError, match=r"DMARCKIT_SLACK_TOKEN_FILE: cannot read"):
        load_settings()


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMARCKIT_CONFIG", "gone.toml")
    with pytest.raises(SettingsError, match=r"cannot read settings file gone\.toml"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("home", "s3://", "a place is s3://bucket/prefix, or a folder"),
        ("home", "s3:/bucket", "a place is s3://bucket/prefix, or a folder"),
        ("mail", "https://bucket.example/rua", "a place is s3://bucket/prefix, or a folder"),
        ("domains", ["example.com!"], "example.com! is none; write a domain as example.com"),
        ("domains", [{"name": "a", "domains": ["shop example"]}], "write a domain as example.com"),
    ],
)
def test_what_is_no_place_and_no_domain_is_said(name: str, value: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(**{name: value})
    load_settings(home="file:///data", domains=["B\u00fccher.example", "_x.example.", "local"])
