"""dns: all checks of the domains, kept once a day, and compared."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.checks import domains
from dmarckit.checks.dns import changes_window, check_dns, dns_changes, dns_snapshot
from dmarckit.checks.domains import BATCH
from dmarckit.core.errors import MissingExtra, SettingsError
from dmarckit.core.settings import Settings
from dmarckit.core.thresholds import Thresholds
from dmarckit.findings.context import Context
from dmarckit.findings.dns import dns_changed, dns_record, policy_differs
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import DkimResult, SpfResult
from tests.checks.test_dns_dkim import rsa
from tests.support.command_line import Ended, run
from tests.support.dns_server import Served, serving
from tests.support.finding_facts import facts, policies
from tests.support.lakes import lake_of, report
from tests.support.model_builders import make_failing, make_record

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
DAY = timedelta(days=1)
ZONE = {
    "example.com MX": ["10 mail.example.com"],
    "example.com TXT": ["v=spf1 mx -all"],
    "_dmarc.example.com TXT": ["v=DMARC1; p=reject; rua=mailto:d@example.com"],
    "s1._domainkey.example.com TXT": [f"v=DKIM1; p={rsa(2048)}"],
    "mail.example.com A": ["192.0.2.1"],
    "1.2.0.192.in-addr.arpa PTR": ["mail.example.com"],
    "_mta-sts.example.com TXT": ["v=STSv1; id=1;"],
    "_smtp._tls.example.com TXT": ["v=TLSRPTv1; rua=mailto:tls@example.com"],
}


@pytest.fixture
def server() -> Iterator[Served]:
    with serving(ZONE) as served:
        yield served


def settings_for(tmp_path: Path, server: Served, **more: Any) -> Settings:
    more.setdefault("domains", ("example.com",))
    more.setdefault("dns_timeout", 5)
    return Settings(home=str(tmp_path), resolvers=(server.address,), **more)  # type: ignore[call-arg]


def test_a_domain_in_order_has_a_row_for_each_record(tmp_path: Path, server: Served) -> None:
    lake_of(tmp_path, report(make_record("192.0.2.1", 40), days_ago=2))
    done = check_dns(settings_for(tmp_path, server), now=NOW)
    assert {(row.record, row.name): row.state for row in done.rows["example.com"]} == {
        ("dmarc", "_dmarc.example.com"): "ok",
        ("spf", "example.com"): "ok",
        ("dkim", "s1._domainkey.example.com"): "ok",
        ("mx", "example.com"): "ok",
        ("mta_sts", "_mta-sts.example.com"): "ok",
        ("tls_rpt", "_smtp._tls.example.com"): "ok",
        ("bimi", "default._bimi.example.com"): "ok",
        ("ptr", "192.0.2.1"): "ok",
    }
    assert (done.problems, done.silent, done.kept) == (0, [], 8)


def test_only_keys_and_addresses_of_the_domain_itself_are_asked_about(
    tmp_path: Path, server: Served
) -> None:
    """Anybody can write a signature; services have keys and addresses of their own."""
    forged = make_failing("198.51.100.9", 500, dkim=(DkimResult("example.com", "x", "fail"),))
    service = make_record(
        "203.0.113.5",
        80,
        spf_aligned=False,
        dkim=(DkimResult("example.com", "svc", "pass"), DkimResult("esp.example", "e", "pass")),
        spf=(SpfResult("bounce.esp.example", "mfrom", "pass"),),
    )
    broken = make_record(
        "192.0.2.1", 7, dkim_aligned=False, dkim=(DkimResult("example.com", "old", "permerror"),)
    )
    lake_of(tmp_path, report(forged, service, broken, days_ago=2))
    rows = check_dns(settings_for(tmp_path, server), now=NOW).rows["example.com"]
    assert {row.name for row in rows if row.record in ("dkim", "ptr")} == {
        "svc._domainkey.example.com",
        "old._domainkey.example.com",
        "192.0.2.1",
    }
    (old,) = (row for row in rows if row.name.startswith("old."))
    assert (old.state, old.values["messages"]) == ("missing", 7)


def test_spf_of_the_envelope_domains_is_checked_too(tmp_path: Path, server: Served) -> None:
    records = [
        make_record("192.0.2.1", 9, spf=(SpfResult(name, "mfrom", "pass"),))
        for name in ("bounce.example.com", "esp.example", "example.com", "news.example.com")
    ]
    lake_of(tmp_path, report(*records, days_ago=2))
    server.zone["bounce.example.com TXT"] = ["v=spf1 ip4:192.0.2.1 +all"]
    settings = settings_for(tmp_path, server)
    rows = check_dns(settings, now=NOW, domains=["example.com", "news.example.com"]).rows
    states = {row.name: row.state for row in rows["example.com"] if row.record == "spf"}
    assert states == {"example.com": "ok", "bounce.example.com": "invalid"}


def test_without_domains_in_the_settings_those_of_the_reports_are_checked(
    tmp_path: Path, server: Served
) -> None:
    lake_of(
        tmp_path,
        report(days_ago=80),
        report(days_ago=3, domain="gone.example"),
        report(days_ago=95, domain="too-long-ago.example"),
        report(days_ago=1, domain="no name\x1b"),
    )
    done = check_dns(settings_for(tmp_path, server, domains=()), now=NOW)
    assert list(done.rows) == ["example.com", "gone.example"]
    (gone,) = done.rows["gone.example"]
    assert (gone.state, gone.values["faults"]) == ("missing", ["no_domain"])


def test_the_first_check_of_a_day_is_kept(tmp_path: Path, server: Served) -> None:
    settings = settings_for(tmp_path, server)
    lake = Lake(settings.lake_url)
    assert check_dns(settings, now=NOW).kept == 6
    server.zone["_dmarc.example.com TXT"] = ["v=DMARC1; p=none"]
    again = check_dns(settings, now=NOW + timedelta(hours=1))
    assert again.kept == 0
    assert again.problems == 1  # but it says what it found
    rows = dns_snapshot(lake, ["example.com"]).set_index("record")
    assert len(rows) == 6
    assert rows.loc["dmarc", "state"] == "ok"
    assert rows.loc["dmarc", "checked"] == NOW
    assert json.loads(str(rows.loc["dmarc", "values"]))["policy"] == "reject"

    assert check_dns(settings, now=NOW + DAY).kept == 6
    newest = dns_snapshot(lake).set_index("record")
    assert newest.loc["dmarc", "state"] == "weak"
    assert newest.loc["dmarc", "since"] == NOW + DAY
    assert newest.loc["spf", "since"] == NOW
    then = dns_snapshot(lake, day=date(2026, 11, 24)).set_index("record")
    assert then.loc["dmarc", "state"] == "ok"


def test_an_empty_lake_has_no_snapshot_and_no_changes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    assert dns_snapshot(lake).empty
    assert "since" in dns_snapshot(lake).columns
    assert dns_changes(lake, (), NOW - DAY, NOW).empty


def test_changes_have_before_and_after_and_silence_is_none(tmp_path: Path, server: Served) -> None:
    settings = settings_for(tmp_path, server)
    first = str(ZONE["_dmarc.example.com TXT"][0])
    for day, records in enumerate(
        [[first], "SERVFAIL", [first], ["v=DMARC1; p=none"], "SERVFAIL", [first, "x"]]
    ):
        server.zone["_dmarc.example.com TXT"] = records
        check_dns(settings, now=NOW + day * DAY)
    seen = dns_changes(Lake(settings.lake_url), ["example.com"], NOW, NOW + 9 * DAY)
    assert [
        (row.record, row.name, list(row.before), list(row.after), row.day.day, row.day_before.day)
        for row in seen.itertuples()
    ] == [
        ("dmarc", "_dmarc.example.com", [first], ["v=DMARC1; p=none"], 27, 26),
        ("dmarc", "_dmarc.example.com", ["v=DMARC1; p=none"], [first], 29, 27),
    ]
    assert list(seen["state_before"]) == ["ok", "weak"]
    assert dns_changes(Lake(settings.lake_url), (), NOW + 4 * DAY, NOW + 4.5 * DAY).empty


@pytest.mark.parametrize("everything", ["SERVFAIL", "silence", "NXDOMAIN"])
def test_a_broken_resolver_teaches_nothing(tmp_path: Path, server: Served, everything: str) -> None:
    server.everything = everything
    waits = 0.3 if everything == "silence" else 5
    settings = settings_for(
        tmp_path, server, domains=("example.com", "other.example"), dns_timeout=waits
    )
    done = check_dns(settings, now=NOW)
    assert (done.rows, done.silent, done.kept) == ({}, ["example.com", "other.example"], 0)
    assert dns_snapshot(Lake(settings.lake_url)).empty
    server.everything = None
    settings = settings_for(tmp_path, server)
    assert check_dns(settings, now=NOW).kept == 6  # the day is not lost


def test_a_silent_resolver_is_asked_for_one_batch_only(tmp_path: Path, server: Served) -> None:
    server.everything = "SERVFAIL"
    names = tuple(f"d{i}.example" for i in range(BATCH + 40))
    done = check_dns(settings_for(tmp_path, server, domains=names), now=NOW)
    assert len(done.silent) == len(names)
    assert len({name for name, _, _ in server.asked}) == BATCH


def test_a_slow_domain_ends_in_time_and_the_rest_is_unknown(
    tmp_path: Path, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "ANSWERS", 4)
    records = [make_record("192.0.2.1", dkim=(DkimResult("example.com", f"s{i}", "pass"),))
               for i in range(40)]  # fmt: skip
    lake_of(tmp_path, report(*records, days_ago=1))
    server.zone |= {f"s{i}._domainkey.example.com TXT": "silence" for i in range(40)}
    settings = settings_for(tmp_path, server, dns_timeout=0.6)  # what answers must do so in it
    rows = check_dns(settings, now=NOW).rows["example.com"]
    keys = {name for name, _, _ in server.asked if "._domainkey." in name}
    assert len(keys) <= 4  # each takes 0.6 s of the 2.4 s that the domain has
    assert {row.state for row in rows if row.record in ("dkim", "mx", "ptr")} == {"unknown"}


def test_each_check_asks_anew(tmp_path: Path, server: Served) -> None:
    server.zone["example.com TXT"] = ["v=spf1 include:_spf.example.net -all"]
    server.zone["_spf.example.net TXT"] = ["v=spf1 -all"]
    settings = settings_for(tmp_path, server)
    assert check_dns(settings, now=NOW).problems == 0
    server.zone["_spf.example.net TXT"] = []
    assert check_dns(settings, now=NOW).problems == 1


def test_a_resolver_is_an_address(tmp_path: Path, server: Served) -> None:
    named = settings_for(tmp_path, server).model_copy(update={"resolvers": ("dns.example",)})
    with pytest.raises(SettingsError, match="is no address"):
        check_dns(named, now=NOW)


def command(tmp_path: Path, server: Served, *options: str) -> Ended:
    """Run `dmarckit dns check` with this server."""
    resolvers = [server.address]
    return run("dns", "check", *options, home=str(tmp_path), resolvers=resolvers, dns_timeout=5)


def test_the_command_prints_problems_and_fixes(tmp_path: Path, server: Served) -> None:
    server.zone["_dmarc.example.com TXT"] = ["v=DMARC1; p=reject; ri=1; rua=mailto:d@example.com"]
    status, out, _ = command(tmp_path, server, "--domain", "example.com")
    assert status == 1
    assert "WEAK" in out
    assert "RFC 9989 has no ri any more" in out
    assert "publish: v=DMARC1; p=reject; rua=mailto:d@example.com" in out

    _, out, _ = command(tmp_path, server, "--domain", "example.com", "--format", "json")
    rows = {row["record"]: row for row in json.loads(out)}
    assert set(rows["dmarc"]) == {
        "domain", "record", "name", "state", "problem", "found", "problems", "proposal", "values",
    }  # fmt: skip
    assert (rows["dmarc"]["problem"], rows["spf"]["problem"]) == (True, False)


def test_the_exit_status(tmp_path: Path, server: Served) -> None:
    status, out, _ = command(tmp_path, server, "--domain", "Example.com.")
    assert status == 0
    assert "1 domain checked, 0 records to look after, 6 rows kept." in out
    server.everything = "SERVFAIL"
    status, out, _ = command(tmp_path, server, "--domain", "example.com")
    assert status == 2
    assert "DNS did not answer" in out
    status, _, err = command(tmp_path, server, "--format", "xml")
    assert (status, "formats are table, json" in err) == (2, True)


def test_what_was_found_becomes_findings(tmp_path: Path, server: Served) -> None:
    """The frames of a lake fit the functions of the findings, empty ones as well."""
    settings, look = settings_for(tmp_path, server), Context(NOW + DAY, 7, Thresholds())
    lake = Lake(settings.lake_url)
    window = changes_window(NOW + DAY, 7)
    assert dns_record(dns_snapshot(lake), {}, look) == []
    nothing = facts().messages
    assert dns_changed(dns_changes(lake, (), *window), nothing, look) == []
    quoted = facts(policies=policies([0], p="reject")).policies
    assert policy_differs(quoted, dns_snapshot(lake), look) == []

    lake_of(tmp_path, report(make_record("192.0.2.1", 40), days_ago=2))
    del server.zone["s1._domainkey.example.com TXT"]
    check_dns(settings, now=NOW)
    server.zone["_dmarc.example.com TXT"] = ["v=DMARC1; p=none; pct=20; rua=mailto:d@example.com"]
    check_dns(settings, now=NOW + DAY)
    wrong = {f.subject: f for f in dns_record(dns_snapshot(lake), {"example.com": 40}, look)}
    assert {subject: f.severity for subject, f in wrong.items()} == {
        "dkim s1._domainkey.example.com": "critical",
        "dmarc _dmarc.example.com": "info",
    }
    assert wrong["dkim s1._domainkey.example.com"].messages == 40
    (changed,) = dns_changed(dns_changes(lake, ["example.com"], *window), nothing, look)
    assert (changed.subject, changed.severity) == ("dmarc _dmarc.example.com", "warning")
    later = Context(NOW + 5 * DAY, 7, Thresholds())
    quoted = quoted.assign(begin=pd.Timestamp(NOW + 3 * DAY))
    assert [f.subject for f in policy_differs(quoted, dns_snapshot(lake), later)] == [
        "p",
        "pct",
    ]


_ASKING = ("dmarckit.checks.domains", "dmarckit.checks.resolver")
"""modules that import the libraries of the extra"""


def test_a_missing_extra_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "dns":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n in _ASKING]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'dmarckit\[dns\]'"):
        check_dns(Settings(home=str(tmp_path)), now=NOW)  # type: ignore[call-arg]
