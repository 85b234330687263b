"""Messages written down before they go out, and what was told (tables `outbox`, `alerts`).

Every message has a subject and goes into the outbox once. It is told when `alerts` has the
subject. So a crash, or Slack being down, loses nothing: whoever tells next finds what is
waiting, in the order in which it was due.

What waits in the outbox goes out: in order, once, by one process at a time.

Which channel hears of which domain.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from dmarckit.core import (
    DomainGroup,
    JobBusy,
    LeaseLost,
    MessageRefused,
    Settings,
    SlackError,
    SlackUnavailable,
    StorageError,
    _,
    duration,
    heartbeat,
    moment,
    new_holder,
    normalize_domain,
    one_line,
    open_storage,
    take,
    with_retries,
)
from dmarckit.lake import ALERTS, OUTBOX, Lake, month_of
from dmarckit.slack.blocks import Message, StoredFile, simplified, with_addresses, with_line_above
from dmarckit.slack.client import post_message

_SUBJECTS = "SELECT subject FROM outbox WHERE subject NOT IN (SELECT subject FROM alerts)"
_WAITING = """
    SELECT * FROM outbox WHERE subject IN (SELECT unnest($subjects))
    ORDER BY made, position, subject
"""


@dataclass(frozen=True)
class OutboxMessage:
    """A message that is to go out."""

    subject: str
    """``report:<uid>``, ``digest:<run>:<hash of the reports>``, ``run:<run>``,
    ``failure:<job>:<since>:<day>``, ``recovery:<job>:<run>``; where one goes to
    several channels, ``…@<channel>``"""
    channel: str | None
    """None: there is no channel, it is shown and saved"""
    message: Message | None
    """with files of ours in place of addresses: links are secrets that do not lie in tables.
    None: another message that is due with it tells of it (a digest of its reports)"""


@dataclass(frozen=True)
class QueuedMessage:
    """A message in the outbox that was not told yet."""

    due: OutboxMessage
    made: datetime
    run: str


def queue_messages(
    lake: Lake, dues: Sequence[OutboxMessage], run: str, made: datetime, first: int = 0
) -> None:
    """Write messages into the outbox, all with one commit; a known subject stays as it is.

    `first` is the position of the first among those made at the same time.
    """
    rows = [
        {
            "subject": due.subject,
            "made": made,
            "position": first + position,
            "channel": due.channel,
            "message": None if due.message is None else due.message.as_json(),
            "run": run,
            "month": month_of(made),
        }
        for position, due in enumerate(dues)
    ]
    if rows:
        lake.write.append_new("outbox", pa.Table.from_pylist(rows, schema=OUTBOX.schema))


def queued_messages(lake: Lake) -> list[QueuedMessage]:
    """What is in the outbox and was not told, the oldest first."""
    # first without the messages: those of years are not read to find that none waits
    subjects = lake.arrow(_SUBJECTS)["subject"].to_pylist()
    if not subjects:
        return []
    return [
        QueuedMessage(
            OutboxMessage(
                row["subject"],
                row["channel"],
                None if row["message"] is None else Message.from_json(row["message"]),
            ),
            row["made"],
            row["run"],
        )
        for row in lake.arrow(_WAITING, subjects=subjects).to_pylist()
    ]


def record_sent(
    lake: Lake, subjects: Iterable[str], *, run: str, now: datetime, channel: str | None
) -> None:
    """Write down that these were told (or need not be): nobody tells them again."""
    rows = [
        {"subject": s, "told": now, "channel": channel, "run": run, "month": month_of(now)}
        for s in subjects
    ]
    if rows:
        lake.write.append_new("alerts", pa.Table.from_pylist(rows, schema=ALERTS.schema))


def failing_since(lake: Lake, job: str) -> datetime | None:
    """Since when a job fails, by the last message about it; None: no failure is open.

    A failure is open until a recovery was made after it.
    """
    newest = lake.arrow(
        "SELECT subject FROM outbox WHERE starts_with(subject, $failure) "
        "OR starts_with(subject, $recovery) ORDER BY made DESC, position DESC LIMIT 1",
        failure=f"failure:{job}:",
        recovery=f"recovery:{job}:",
    )["subject"].to_pylist()
    if not newest or not newest[0].startswith("failure:"):
        return None
    return datetime.fromisoformat(newest[0].split(":")[2])


def failure_subject(job: str, since: datetime, now: datetime) -> str:
    """The subject of a failure: a new one each day as long as it lasts."""
    utc = since.astimezone(UTC)  # in ISO 8601's form without colons
    return f"failure:{job}:{utc:%Y%m%dT%H%M%SZ}:{now:%Y-%m-%d}"


LEASE = "_slack"  # no schedule can have this name
LATE = timedelta(minutes=10)  # from when a message says that it is late
TRIED = timedelta(days=7)  # for so long a message is offered that Slack refuses
PATIENCE = 60  # seconds that a run waits for another one to finish telling
PAUSE = 1.0
SILENT = 2  # channels out of reach after which Slack itself is taken to be


@dataclass
class DeliveryResult:
    """What a run told, in order."""

    messages: list[Message] = field(default_factory=list)
    """those that went out or were saved: alerts, then what the run says of itself"""
    channel: str | None = None
    """the main channel; None: no token, so the messages are only saved"""
    saved: str | None = None
    """where the messages were saved as JSON when there is no token"""
    sent: int = 0
    """messages that went out (or were saved)"""
    waiting: int = 0
    """messages left in the outbox; a later run delivers them"""
    warnings: list[str] = field(default_factory=list)
    """what a person should look at, a sentence each"""
    notes: list[str] = field(default_factory=list)
    """what is as it is with this installation, and worth knowing, a sentence each"""
    open_findings: int | None = None
    """findings that are critical or warnings, muted ones apart; None: the run did not look"""


@contextlib.contextmanager
def delivery_lock(
    settings: Settings, run: str, clock: Callable[[], datetime]
) -> Iterator[Callable[[], bool]]:
    """Tell while no other process does; gives a function that says whether that still holds.

    Two runs at once must not tell the same report: who looks for what is untold, and posts
    it, holds a lease. A run that was killed is found dead within minutes, on the same machine
    at once. Raises JobBusy when another is still telling after `PATIENCE` seconds.
    """
    storage = open_storage(settings.home)
    lease = with_retries(
        lambda: take(storage, new_holder(LEASE, run, None, clock())),
        JobBusy,
        (PAUSE,) * int(PATIENCE / PAUSE),
    )
    lost = threading.Event()

    def holds() -> bool:
        with contextlib.suppress(LeaseLost):
            lease.renew(clock())
            return not lost.is_set()
        return False

    try:
        with heartbeat(lease, clock, lambda _error: lost.set()):
            yield holds
    finally:
        lease.release()


class Delivery:
    """Brings what waits in the outbox to Slack, or to a folder where there is no token."""

    def __init__(
        self, settings: Settings, lake: Lake, told: DeliveryResult, *, run: str, now: datetime
    ) -> None:
        self._settings, self._lake, self._told = settings, lake, told
        self._run, self._now = run, now
        self._unreachable: set[str] = set()  # channels that wait, in this run
        self._refusing: dict[str, SlackError] = {}  # channels that Slack refuses, in this run
        self._pages = open_storage(settings.pages_url, settings.presign_keys())
        self._exports = open_storage(settings.exports_url, settings.presign_keys())

    def deliver(self, holds: Callable[[], bool] = lambda: True) -> None:
        """Everything that waits, the oldest first; stops when the lease no longer `holds`.

        A message is noted as told right after it went out. A channel that cannot be reached
        gets nothing more in this run, so that order is kept: its messages stay.
        """
        seen: set[str] = set()
        # another run may have added its own meanwhile, and not waited for the lease
        while items := [i for i in queued_messages(self._lake) if i.due.subject not in seen]:
            seen |= {item.due.subject for item in items}
            covered = [item.due.subject for item in items if item.due.message is None]
            record_sent(self._lake, covered, run=self._run, now=self._now, channel=None)
            for item in items:
                message = item.due.message
                if message is not None and not (holds() and self._done(item, message)):
                    self._told.waiting += 1

    def _done(self, item: QueuedMessage, message: Message) -> bool:
        """Whether the message went out or is given up; that is noted then."""
        shown = self._shown(message, item.made)
        if self._settings.slack_token is None:
            self._save(shown)
            self._note(item, None, shown)
            return True
        # Slack refuses a channel that is misspelt, archived or private: the main one hears
        for place in dict.fromkeys((item.due.channel or self._told.channel, self._told.channel)):
            if place is None or place in self._refusing:
                continue
            if place in self._unreachable or len(self._unreachable) > SILENT:
                return False
            try:
                self._post(shown, place)
            except SlackUnavailable as error:
                self._unreachable.add(place)
                self._warn(f"{error}; messages for {one_line(place)} wait in the outbox")
                return False
            except MessageRefused as error:
                return self._given_up(item, error)
            except SlackError as error:
                self._refusing[place] = error
                self._warn(f"{error}; its messages go to the main channel, or wait in the outbox")
            else:
                self._note(item, place, shown)
                return True
        return self._given_up(item, next(reversed(self._refusing.values()), None))

    def _post(self, shown: Message, channel: str) -> None:
        secret, url = self._settings.slack_token, self._settings.slack_url
        token = secret.get_secret_value() if secret else ""
        try:
            post_message(shown, token=token, channel=channel, base_url=url)
        except MessageRefused:
            plain = simplified(shown)
            if plain == shown:
                raise
            post_message(plain, token=token, channel=channel, base_url=url)

    def _given_up(self, item: QueuedMessage, error: SlackError | None) -> bool:
        """A refused message stays in the outbox, where it is counted, and is offered again for
        some days: somebody may mend what is wrong. Then it is let go, with a warning."""
        subject = one_line(item.due.subject)
        if self._now - item.made < TRIED:
            if isinstance(error, MessageRefused):  # a refused channel was said already
                self._warn(f"{subject} was not told: {error}")
            return False
        record_sent(self._lake, [item.due.subject], run=self._run, now=self._now, channel=None)
        self._warn(f"{subject} is given up after {TRIED.days} days: {error or 'no channel'}")
        return True

    def _note(self, item: QueuedMessage, channel: str | None, shown: Message) -> None:
        self._told.messages.append(shown)  # it is out, whatever happens next
        self._told.sent += 1
        record_sent(self._lake, [item.due.subject], run=self._run, now=self._now, channel=channel)

    def _save(self, shown: Message) -> None:
        storage = open_storage(f"{self._settings.home}/slack")
        key = f"{self._run}-{len(self._told.messages) + 1}.json"
        storage.put(key, shown.as_json().encode(), content_type="application/json")
        self._told.saved = storage.url

    def _shown(self, message: Message, made: datetime) -> Message:
        """The message with addresses, and with its age when it is late."""
        shown = with_addresses(message, self.address)
        late = self._now - made
        if late < LATE:
            return shown
        text = _("Delayed by {length}: it was due {moment}.")
        return with_line_above(text.format(length=duration(late), moment=moment(made)), shown)

    def address(self, stored: StoredFile) -> str:
        """The address of a file of ours; where none can be made, where the file lies."""
        from dmarckit.pages import link_to

        storage = self._pages if stored.place == "pages" else self._exports
        try:
            if stored.place == "pages":
                return link_to(self._settings, storage, stored.key)
            return storage.link(stored.key, self._settings.presign_expires)
        except StorageError as error:
            self._warn(f"a message goes out without a link: {error}")
            return f"{storage.url}/{stored.key}"

    def _warn(self, text: str) -> None:
        if text not in self._told.warnings:
            self._told.warnings.append(text)


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
        return self._channels.get(normalize_domain(domain or ""), self.main)


def channel_routes(settings: Settings, channel: str | None = None) -> Routes:
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
                of_domain.setdefault(normalize_domain(domain), group.slack_channel)
    groups = tuple(
        Group(name, ", ".join(labels), frozenset(d for d, c in of_domain.items() if c == name))
        for name, labels in names.items()
    )
    return Routes(main, groups, of_domain)


def _with_channel(domains: Iterable[str | DomainGroup]) -> Iterable[DomainGroup]:
    return (d for d in domains if isinstance(d, DomainGroup) and d.slack_channel)
