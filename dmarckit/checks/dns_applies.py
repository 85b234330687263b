"""Which DMARC record applies to a domain: by tree walk, and by public suffix.

Receivers of RFC 9989 walk up the names of DNS (section 4.10); older ones (RFC 7489 section
3.2) go straight to the organisational domain of the Public Suffix List. As long as both are
in use, a domain should be in order for both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dmarckit.checks.dns_model import tag_list
from dmarckit.checks.dns_resolver import Asker
from dmarckit.facts.organisation import organisation

VERSION = re.compile(r"v\s*=\s*DMARC1\s*(;|$)")
WALK = 8  # questions of a tree walk at most (RFC 9989 section 4.10)


@dataclass(frozen=True)
class Applies:
    """The policy that one kind of receiver takes for a domain."""

    organisation: str
    """the organisational domain as that receiver sees it: alignment is judged by it"""
    location: str | None
    """domain whose record counts; None: there is no policy"""
    policy: str | None
    """what the record asks for messages of this domain: none, quarantine or reject"""
    record: str | None

    def json(self) -> dict[str, str | None]:
        """For `values` of the table `dns`."""
        return {
            "organisation": self.organisation,
            "location": self.location,
            "policy": self.policy,
        }


def records_at(ask: Asker, domain: str) -> list[str]:
    """The DMARC records at a domain's name, as published. Raises NoAnswer."""
    return [text for text in ask.texts(f"_dmarc.{domain}") if VERSION.match(text)]


def by_tree_walk(ask: Asker, domain: str) -> Applies:
    """As RFC 9989 sections 4.10.1 and 4.10.2 have it. Raises NoAnswer.

    Several records at one name count as none.
    """
    labels = domain.split(".")
    start = 1 if len(labels) < WALK else len(labels) - WALK + 1
    names = [domain, *(".".join(labels[i:]) for i in range(start, len(labels)))]
    met: list[tuple[str, str]] = []
    for name in names:
        at = records_at(ask, name)
        if len(at) != 1:
            continue
        met.append((name, at[0]))
        if tag_list(at[0]).get("psd") in ("n", "y"):
            break
    if not met:
        return Applies(domain, None, None, None)
    top, record = met[-1]
    if tag_list(record).get("psd") == "y" and top != domain:
        top = ".".join(labels[-len(top.split(".")) - 1 :])
    own = [pair for pair in met if pair[0] == domain]
    location, record = own[0] if own else next((m for m in met if m[0] == top), met[-1])
    return Applies(top, location, wanted(tag_list(record), own=location == domain), record)


def by_public_suffix(ask: Asker, domain: str) -> Applies:
    """As RFC 7489 section 6.6.3 has it. Raises NoAnswer."""
    top = organisation(domain)
    for name in dict.fromkeys((domain, top)):
        at = records_at(ask, name)
        if len(at) == 1:
            return Applies(top, name, wanted(tag_list(at[0]), own=name == domain), at[0])
        if at:
            break
    return Applies(top, None, None, None)


def wanted(tags: Mapping[str, str], *, own: bool) -> str:
    """What a record asks for its own domain, or for a domain below it: p, or sp, else p.

    A value that is none of DMARC's counts as none (RFC 9989 section 4.7).
    """
    p = tags.get("p", "none")
    value = (p if own else tags.get("sp", p)).lower()
    return value if value in ("quarantine", "reject") else "none"
