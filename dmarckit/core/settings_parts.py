"""Values that stand in settings: places, groups of domains, declared senders, mutes."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict


def _without_slash(url: str) -> str:
    return url.rstrip("/") or "/"


Location = Annotated[str, AfterValidator(_without_slash)]


Kind = Literal[
    "mailbox provider",
    "email service",
    "marketing",
    "crm",
    "ticketing",
    "security gateway",
    "mailing list",
    "forwarder",
    "hosting",
    "own",
    "unknown",
]
KINDS: tuple[str, ...] = get_args(Kind)
"""What a sender can be. ``crm`` takes in other business applications (orders, staff,
documents), ``ticketing`` issue trackers and alerting."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DomainGroup(Strict):
    """Domains that belong to one owner, with the Slack channel that hears of them."""

    name: str
    domains: tuple[str, ...]
    owner: str | None = None
    slack_channel: str | None = None


class DeclaredSender(Strict):
    """A sender that the company knows of; it comes before every other way to tell."""

    name: str
    kind: Kind = "own"
    networks: tuple[str, ...] = ()
    dkim_domains: tuple[str, ...] = ()
    spf_domains: tuple[str, ...] = ()


class Mute(Strict):
    """A finding that is known and accepted until a date."""

    fingerprint: str
    reason: str
    until: date
