"""networks: country, network and network name of an address."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmarckit.core.errors import MissingExtra, SettingsError
from dmarckit.facts import networks
from dmarckit.facts.networks import NetworkName, countries, inside, network_key, network_names
from tests.support.mmdb import write_mmdb


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.0", "192.0.2.0/24"),
        ("192.0.2.255", "192.0.2.0/24"),
        ("2001:db8::1", "2001:db8::/48"),
        ("2001:db8:12:ffff::1", "2001:db8:12::/48"),
        ("not an address", "not an address"),
        ("192.0.2", "192.0.2"),
    ],
)
def test_an_address_counts_as_its_24_or_48(address: str, key: str) -> None:
    assert network_key(address) == key


def test_addresses_lie_inside_networks_of_their_own_family() -> None:
    addresses = pd.Series(
        ["192.0.2.15", "192.0.2.16", "2001:db8:1::9", "2001:db8:2::9", None, "junk", "192.0.2.99"],
        index=list("abcdefg"),
    )
    found = inside(addresses, ["192.0.2.16/28", "2001:db8:1::/48", "192.0.2.99"])
    assert found.tolist() == [False, True, True, False, False, False, True]
    assert inside(addresses, []).tolist() == [False] * 7
    assert inside(addresses, ["0.0.0.0/0"]).tolist() == [True, True] + [False] * 4 + [True]
    assert inside(addresses[:0], ["192.0.2.0/24"]).tolist() == []


def test_what_is_no_network_is_named() -> None:
    with pytest.raises(SettingsError, match=r"'192\.0\.2\.0/33' is no network"):
        inside(pd.Series(["192.0.2.1"]), ["192.0.2.0/33"])


def test_countries_come_from_the_shipped_data() -> None:
    addresses = pd.Series(
        ["8.8.8.8", "192.0.2.1", None, "2001:4860:4860::8888"], index=[5, 6, 7, 8]
    )
    found = countries(addresses)
    assert found.index.tolist() == [5, 6, 7, 8]
    assert found.where(found.notna(), None).tolist() == ["US", None, None, "US"]
    assert countries(addresses[:0]).empty


def test_network_names_of_both_kinds_of_file(tmp_path: Path) -> None:
    ipinfo = {"192.0.2.0/24": {"asn": "AS64500", "as_name": "Example", "as_domain": "net.example"}}
    geolite = {"198.51.100.0/24": {"autonomous_system_organization": "Other Networks"}}
    mmdb = write_mmdb(tmp_path / "asn.mmdb", ipinfo | geolite | {"203.0.113.0/24": {"asn": "x"}})
    wanted = ["192.0.2.7", "198.51.100.1", "203.0.113.1", "10.0.3.1", "2001:db8::1", "junk"]
    assert network_names(wanted, mmdb) == {
        "192.0.2.7": NetworkName("Example (AS64500)", "net.example"),
        "198.51.100.1": NetworkName("Other Networks", None),
    }


def test_plevin_names_what_the_file_does_not(tmp_path: Path) -> None:
    mmdb = write_mmdb(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"as_name": "Example"}})
    google = NetworkName("Google (AS15169)", "google.com")
    assert network_names(["8.8.8.8", "8.8.8.9", "192.0.2.7", "junk", ""], mmdb) == {
        "8.8.8.8": google,
        "8.8.8.9": google,
        "192.0.2.7": NetworkName("Example", None),
    }
    assert network_names(["192.0.2.7", "2001:db8::1"], None) == {}


def test_a_public_suffix_is_nobodys_domain(tmp_path: Path) -> None:
    entry = {"as_name": "Example", "as_domain": "co.uk"}
    mmdb = write_mmdb(tmp_path / "asn.mmdb", {"192.0.2.0/24": entry})
    assert network_names(["192.0.2.7"], mmdb) == {"192.0.2.7": NetworkName("Example", None)}


def test_only_so_many_networks_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "MOST_NETWORKS", 2)
    wanted = ["8.8.8.8", "8.8.8.4", "8.8.4.4", "8.34.208.1"]
    assert set(network_names(wanted, None)) == {"8.8.8.8", "8.8.8.4", "8.8.4.4"}


def test_without_data_there_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "find_spec", lambda name: None)
    assert not networks.knows_networks(None)
    assert network_names(["8.8.8.8"], None) == {}


@pytest.mark.parametrize("content", [None, b"no database"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "asn.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"setting mmdb: cannot read .*asn\.mmdb"):
        network_names(["192.0.2.7"], path)


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "maxminddb":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "maxminddb", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'dmarckit\[mmdb\]'"):
        network_names(["192.0.2.7"], Path("asn.mmdb"))
