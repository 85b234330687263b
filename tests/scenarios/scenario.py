"""A scenario: traffic with its truth, and what the analysis must (and must not) say about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dmarckit.demo.flows import Domain, Flow, Reporter
from dmarckit.demo.mails import GeneratedMail
from dmarckit.demo.traffic import GeneratedReport
from dmarckit.lake.lake import Lake
from dmarckit.reports.model import Policy

END = date(2026, 11, 24)
"""a Tuesday: the day after the last reported one"""
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
LONG_AGO = date(2020, 1, 6)

ANY = None
ALERTS = ("critical", "warning")
UNTOLD = "?"
"""class of a flow whose class does not matter to the scenario"""


@dataclass(frozen=True, slots=True)
class Expect:
    """A finding that must be there."""

    kind: str
    subject: str | None = ANY
    severity: str | None = ANY
    """``alert`` is warning or critical; ``quiet`` is info or good"""
    domain: str | None = "example.com"
    """None: whichever domain the code names, where the design names none"""
    status: str | None = ANY
    says: str | None = ANY
    """a word that its summary, action, evidence or record must have"""
    never: tuple[str, ...] = ()
    """words that its summary, action and record must not have"""
    muted: bool = False
    messages: tuple[int, int] | None = ANY
    """bounds of its messages, both inclusive"""


@dataclass(frozen=True, slots=True)
class Absent:
    """A finding that must not be there, at whatever severity."""

    kind: str
    subject: str | None = ANY


@dataclass(frozen=True, slots=True)
class Run:
    """One look at the data. Alerts that are not expected are false alarms."""

    now: datetime = NOW
    expected: tuple[Expect, ...] = ()
    absent: tuple[Absent, ...] = ()
    allowed: tuple[Absent, ...] = ()
    """alerts that the design leaves open: neither wanted nor wrong"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Traffic up to `END`, and one or several looks at it, each at a later time."""

    name: str
    why: str
    """the trap, in a sentence"""
    flows: tuple[Flow, ...]
    runs: tuple[Run, ...]
    domains: tuple[Domain, ...]
    reporters: tuple[Reporter, ...]
    days: int = 45
    """days of data before `END`"""
    window: int = 7
    settings: dict[str, Any] = field(default_factory=dict)
    change: Callable[[list[GeneratedReport]], Sequence[GeneratedReport]] = list
    """what happens to the reports on their way"""
    mails: Callable[[list[GeneratedReport]], Sequence[GeneratedMail]] = lambda made: ()
    """mails besides those of honest reporters; always the whole way through `ingest`"""
    outside: Callable[[Lake], None] = lambda lake: None
    """puts into the lake what Postmaster Tools and DNS said"""
    whole_way: bool = False
    """reports as mails through `ingest`, instead of straight into the lake"""
    senders: bool = True
    """compare who delivered, too"""
    all_arrived: bool = False
    """all reports are in the lake from the start, also those about later days"""
    file_time: datetime | None = None
    """when all files were written, else each when its mail came in"""


def scenario(
    name: str,
    why: str,
    *flows: Flow,
    expected: Sequence[Expect] = (),
    absent: Sequence[Absent | str] = (),
    allowed: Sequence[Absent | str] = (),
    now: datetime = NOW,
    runs: Sequence[Run] = (),
    domains: Sequence[Domain] | None = None,
    reporters: Sequence[Reporter] | None = None,
    **more: Any,
) -> Scenario:
    """A scenario; with no `runs`, one look at `now`. `absent` takes kinds as well."""
    from tests.scenarios.people import FOUR

    single = Run(now, tuple(expected), _absent(absent), _absent(allowed))
    return Scenario(
        name,
        why,
        flows,
        tuple(runs) or (single,),
        tuple(domains or (domain(),)),
        tuple(reporters or FOUR),
        **more,
    )


def _absent(items: Sequence[Absent | str]) -> tuple[Absent, ...]:
    return tuple(Absent(item) if isinstance(item, str) else item for item in items)


def run(
    now: datetime = NOW,
    *expected: Expect,
    absent: Sequence[Absent | str] = (),
    allowed: Sequence[Absent | str] = (),
) -> Run:
    """One of several looks."""
    return Run(now, expected, _absent(absent), _absent(allowed))


def domain(name: str = "example.com", *changes: tuple[date, dict[str, Any]], **tags: Any) -> Domain:
    """A domain with one policy, or with some that follow each other."""
    first = {"p": "none", "adkim": "r", "aspf": "r", **tags}
    policies = [(LONG_AGO, Policy(name, **first))]
    for day, change in changes:
        first = {**first, **change}
        policies.append((day, Policy(name, **first)))
    return Domain(name, tuple(policies))


def before_end(days: int) -> date:
    """The day `days` before `END`: 1 is the last reported day."""
    return END - timedelta(days)
