"""Which channel hears of which domain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dmarckit.core.settings import Settings
from dmarckit.core.settings_parts import DomainGroup


@dataclass(frozen=True)
class Group:
    """Domains that a channel of their own hears of."""

    channel: str
    name: str
    domains: frozenset[str]


@dataclass(frozen=True)
class Routes:
    """The channels of an installation, as one schedule uses them."""

    main: str | None
    """what hears of everything; None: there is no channel"""
    groups: tuple[Group, ...] = ()
    """one for each other channel"""
    _channels: dict[str, str] = field(default_factory=dict)

    def channel_of(self, domain: str | None) -> str | None:
        """The channel for a report about a policy domain."""
        return self._channels.get((domain or "").lower().rstrip("."), self.main)


def routes(settings: Settings, channel: str | None = None) -> Routes:
    """The routes with `channel` (a schedule's own) as the main one, else the setting's.

    A domain in several groups belongs to the first of them that has a channel. Groups with
    the same channel are one. Where no message is sent (no token) everything goes to the
    one place where messages are kept, with all groups as if they had none.
    """
    main = channel or settings.slack_channel
    if settings.slack_token is None:
        return Routes(None)
    of_domain: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for group in _with_channel(settings.domains):
        if group.slack_channel and group.slack_channel != main:
            names.setdefault(group.slack_channel, []).append(group.name)
            for domain in group.domains:
                of_domain.setdefault(domain.lower().rstrip("."), group.slack_channel)
    groups = tuple(
        Group(name, ", ".join(labels), frozenset(d for d, c in of_domain.items() if c == name))
        for name, labels in names.items()
    )
    return Routes(main, groups, of_domain)


def _with_channel(domains: Iterable[str | DomainGroup]) -> Iterable[DomainGroup]:
    return (d for d in domains if isinstance(d, DomainGroup) and d.slack_channel)
