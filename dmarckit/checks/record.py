"""A DNS record that was checked: its tags, what is wrong with it, and its row in the table `dns`.

Needs no DNS library, so that findings can read records too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from dmarckit.core import _, one_line

State = Literal["invalid", "missing", "unknown", "weak", "ok"]

STATES: tuple[State, ...] = get_args(State)
"""Worst first. unknown: DNS did not answer, so nothing is known."""
LONGEST = 2000  # characters of a record that are kept; longer ones are cut with an ellipsis


@dataclass(frozen=True)
class Phrase:
    """A sentence that is stored with its parts: each reader has it in the language in use."""

    text: str
    """English; a key of the catalog"""
    parts: Mapping[str, str | Phrase] = field(default_factory=dict)

    def format(self, **parts: object) -> Phrase:
        """Return the sentence with parts, of which phrases are translated with it."""
        kept = {name: p if isinstance(p, Phrase) else str(p) for name, p in parts.items()}
        return replace(self, parts={**self.parts, **kept})

    def __str__(self) -> str:
        return _(self.text).format(**{name: str(part) for name, part in self.parts.items()})

    def as_json(self) -> list[Any]:
        """Return the phrase as `from_json` reads it."""
        parts = self.parts.items()
        return [self.text, {n: p.as_json() if isinstance(p, Phrase) else p for n, p in parts}]

    @classmethod
    def from_json(cls, read: list[Any]) -> Phrase:
        """Return the phrase that `as_json` gave."""
        text, parts = read
        read_parts = {n: cls.from_json(p) if isinstance(p, list) else p for n, p in parts.items()}
        return cls(str(text), read_parts)


phrase = Phrase  # what the catalog's extractor looks for


def problem_texts(problems: Sequence[str], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sentences of a row in the language in use; older rows have them in one alone."""
    try:
        return tuple(one_line(Phrase.from_json(read), 600) for read in values["phrases"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return tuple(map(str, problems))


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, or worth saying, about a record."""

    code: str
    """short name, for programs; those of a row are in its `values` under ``faults``"""
    state: State
    """what it makes of the record; ok: worth saying, but nothing is due"""
    text: Phrase
    """a sentence for people, with what to publish"""


@dataclass(frozen=True)
class DnsRow:
    """A row of the table `dns`, without the domain and the times. All texts are cleaned."""

    record: str
    name: str
    state: State
    found: tuple[str, ...]
    problems: tuple[str, ...]
    proposal: str | None
    values: Mapping[str, Any]


def dns_row(
    record: str,
    name: str,
    texts: Sequence[str],
    faults: Sequence[Fault],
    *,
    proposal: str | None = None,
    **values: Any,
) -> DnsRow:
    """Return the row of a record; its state is the worst that its faults make of it."""
    state: State = min((f.state for f in faults), key=STATES.index, default="ok")
    return DnsRow(
        record=record,
        name=one_line(name, 300),
        state=state,
        # a sane name has one record
        found=tuple(sorted(one_line(text, LONGEST) for text in texts)[:20]),
        problems=tuple(one_line(f.text, 600) for f in faults),
        proposal=one_line(proposal, LONGEST) if proposal else None,
        values=values
        | {"faults": [f.code for f in faults], "phrases": [f.text.as_json() for f in faults]},
    )


def unanswered(name: str) -> Fault:
    """Return the fault of a name that nobody answered for: nothing is known."""
    text = phrase(
        "DNS did not answer for {name}; check its name servers and the setting resolvers."
    )
    return Fault("unanswered", "unknown", text.format(name=one_line(name, 300)))


def unanswered_row(record: str, name: str, **values: Any) -> DnsRow:
    """Return the row of a record that nobody answered for."""
    return dns_row(record, name, [], [unanswered(name)], **values)


DMARC_VALUES: Mapping[str, tuple[str, ...]] = {
    "p": ("none", "quarantine", "reject"),
    "sp": ("none", "quarantine", "reject"),
    "np": ("none", "quarantine", "reject"),
    "adkim": ("r", "s"),
    "aspf": ("r", "s"),
    "t": ("y", "n"),
    "psd": ("y", "n", "u"),
}
"""Tag of a DMARC record → the values that it can have (RFC 9989 section 4.7)."""


def tag_list(text: str) -> dict[str, str]:
    """Return the tags of a record such as ``v=DKIM1; k=rsa; p=…`` as name → value.

    Names are lower case; of one that comes twice, the first counts. A part that is no
    name=value stands under its own text with an empty value.

    >>> tag_list("v=DMARC1; P = none;")
    {'v': 'DMARC1', 'p': 'none'}
    """
    tags: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _equals, value = part.partition("=")
        tags.setdefault(name.strip().lower(), value.strip())
    return tags
