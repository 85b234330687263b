"""What was decided about senders: the settings, and the table `senders` of the lake.

The table keeps every decision; the newest about a name at a domain holds. A decision holds
whatever moment an analysis looks back from: it says what is true, not since when.
"""

from __future__ import annotations

import getpass
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa

from dmarckit.core import (
    KINDS,
    DeclaredSender,
    Settings,
    SettingsError,
    normalize_domain,
    one_line,
    unknown_name,
)
from dmarckit.lake import SENDERS, Lake

_NEWEST = """
    SELECT * FROM senders QUALIFY row_number() OVER (
        PARTITION BY domain, name ORDER BY "at" DESC, decision) = 1 ORDER BY domain, name
"""
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Decision:
    """A decision about a sender; of the settings where `at` is None."""

    sender: DeclaredSender
    by: str = "settings"
    at: datetime | None = None


def decisions(settings: Settings, lake: Lake) -> list[Decision]:
    """Return what holds about senders: the settings first, which win, then the table.

    Raises:
        LakeError: the lake cannot be read.
    """
    found = [Decision(sender) for sender in settings.senders]
    settled = {(sender.domain, sender.name) for sender in settings.senders}
    for row in lake.arrow(_NEWEST).to_pylist():
        places = {(row["domain"], row["name"]), ("", row["name"])}
        if row["decision"] != "forgotten" and settled.isdisjoint(places):
            sender = DeclaredSender(
                name=row["name"],
                kind=row["kind"] or "own",
                networks=row["networks"] or (),
                dkim_domains=row["dkim_domains"] or (),
                spf_domains=row["spf_domains"] or (),
                domain=row["domain"],
                denied=row["decision"] == "denied",
            )
            found.append(Decision(sender, row["by"] or "", row["at"]))
    return found


def decide(
    lake: Lake,
    decision: Literal["declared", "denied", "forgotten"],
    name: str,
    domain: str,
    *,
    now: datetime,
    kind: str | None = None,
    networks: Sequence[str] = (),
    dkim_domains: Sequence[str] = (),
    spf_domains: Sequence[str] = (),
) -> None:
    """Write a decision about the sender `name` at `domain` (empty: at every domain) down.

    Raises:
        SettingsError: a value is none of its kind, or there is nothing to forget.
        LakeError: the lake cannot be read or written.
    """
    name, domain = name.strip(), normalize_domain(domain)
    if not name or len(name) > _LONGEST_NAME:
        raise SettingsError(
            f"a sender's name has 1 to {_LONGEST_NAME} characters, this one {len(name)}; "
            "copy it from dmarckit senders"
        )
    if kind is not None and kind not in KINDS:
        raise SettingsError(f"the kind {unknown_name(kind, KINDS)}")
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise SettingsError(
                f"{one_line(network)!r} is no network; write it as 192.0.2.0/24"
            ) from error
    if decision == "forgotten":
        known = [row for row in lake.arrow(_NEWEST).to_pylist() if row["decision"] != "forgotten"]
        if not any(row["name"] == name and row["domain"] == domain for row in known):
            names = sorted({row["name"] for row in known})
            where = f" at {one_line(domain)}" if domain else ""
            raise SettingsError(f"nothing was decided{where}: {unknown_name(name, names)}")
    row = {
        "domain": domain,
        "name": name,
        "decision": decision,
        "kind": kind,
        "networks": list(networks),
        "dkim_domains": [normalize_domain(d) for d in dkim_domains],
        "spf_domains": [normalize_domain(d) for d in spf_domains],
        "by": getpass.getuser(),
        "at": now,
        "month": f"{now:%Y-%m}",
    }
    lake.write.append_new("senders", pa.Table.from_pylist([row], schema=SENDERS.schema))
