"""A DMARC policy as people write it → `Policy`."""

from __future__ import annotations

from dmarckit.core.errors import SettingsError, one_line
from dmarckit.reports.models import Policy

_VALUES = {
    "p": ("none", "quarantine", "reject"),
    "sp": ("none", "quarantine", "reject"),
    "np": ("none", "quarantine", "reject"),
    "adkim": ("r", "s"),
    "aspf": ("r", "s"),
}


def parse_policy(domain: str, text: str) -> Policy:
    """``p=reject; sp=none; adkim=s`` as a policy; a whole DMARC record is fine too.

    Tags that do not decide about messages (rua, fo, t, …) are left out. Raises SettingsError
    for a value that the tag does not have, and without p.

    >>> parse_policy("example.com", "v=DMARC1; p=reject; rua=mailto:d@example.com").p
    'reject'
    """
    tags: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (piece.strip().lower() for piece in part.partition("="))
        if not equals:
            raise SettingsError(f"policy {one_line(text)}: {one_line(part)} is not tag=value")
        if name in _VALUES:
            if value not in _VALUES[name]:
                raise SettingsError(
                    f"policy {one_line(text)}: {name} is {' or '.join(_VALUES[name])}"
                )
            tags[name] = value
    if "p" not in tags:
        raise SettingsError(f"policy {one_line(text)}: it needs p=none, quarantine or reject")
    return Policy(domain.lower().rstrip("."), **tags)  # type: ignore[arg-type]
