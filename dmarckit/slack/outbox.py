"""Messages wait in the outbox until they are delivered, once each (tables `outbox`, `alerts`).

Every message has a subject and goes into the outbox once. It is sent when `alerts` has the
subject. So a crash, or Slack being down, loses nothing: whoever delivers next, one process at a
time, finds what is waiting. Where `alerts` cannot say that a message went out, a mark below the
home does. `Routes` say which channel gets what concerns which domain: Slack's channels, `MAIL` and
`WEBHOOK`. A message for several of them is queued for each, so that one that is down holds up no
other and repeats nothing there.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from dmarckit import core, pages
from dmarckit.core import DeliveryError, Settings, _, one_line
from dmarckit.lake import Lake, month_of
from dmarckit.slack import blocks as kit
from dmarckit.slack.blocks import Message
from dmarckit.slack.client import post_message, slack_json
from dmarckit.slack.mail import mail_of, send_mail
from dmarckit.slack.webhook import post_webhook

MAIL, WEBHOOK = "@mail", "@webhook"  # channels that are none of Slack's
CHANNEL_NAMES = {MAIL: "Mail", WEBHOOK: "Webhook"}  # of all others: Slack


@dataclass(frozen=True)
class OutboxMessage:
    """A message that is to go out."""

    subject: str
    """``report:<uid>``, ``digest:<run>:<hash of the reports>``, ``run:<run>``,
    ``failure:<job>:<since>:<day>``, ``recovery:<job>:<run>``; where one goes to
    several channels, ``…@<channel>``, ``…@mail``, ``…@webhook``"""
    channel: str | None  # one of Slack's, MAIL or WEBHOOK; None: it is shown and saved
    message: Message | None
    """with files of ours in place of addresses: links are secrets that do not lie in tables.
    None: another message that goes out with it covers it (a digest of its reports)"""


def queue_messages(
    lake: Lake, dues: Sequence[OutboxMessage], run: str, made: datetime, first: int = 0
) -> None:
    """Write messages into the outbox, all with one commit; a known subject stays as it is.

    `first` is the position of the first among those made at the same time.
    """
    shared = {"made": made, "run": run, "month": month_of(made)}
    rows = [
        shared | vars(due) | {"position": n, "message": due.message and due.message.as_json()}
        for n, due in enumerate(dues, first)
    ]
    lake.write.append_rows("outbox", rows)


def queued_messages(lake: Lake) -> list[tuple[OutboxMessage, datetime]]:
    """Return the messages that were not sent yet, and when they were made, the oldest first."""
    # first without the messages: those of years are not read to find that none waits
    waiting = "SELECT subject FROM outbox WHERE subject NOT IN (SELECT subject FROM alerts)"
    subjects = lake.arrow(waiting)["subject"].to_pylist()
    query = "SELECT * FROM outbox WHERE subject IN (SELECT unnest($subjects)) "
    query += "ORDER BY made, position, subject"
    found = []
    for row in lake.rows(query, subjects=subjects) if subjects else ():
        message = Message.from_json(row["message"]) if row["message"] else None
        found.append((OutboxMessage(row["subject"], row["channel"], message), row["made"]))
    return found


def record_sent(
    lake: Lake, subjects: Iterable[str], *, run: str, now: datetime, channel: str | None
) -> None:
    """Record that these were sent (or need not be): they are not sent again."""
    sent = {"told": now, "channel": channel, "run": run, "month": month_of(now)}
    lake.write.append_rows("alerts", [{"subject": subject, **sent} for subject in subjects])


def sent_mark(subject: str) -> str:
    """Return the key below the home that says of a message that it went out."""
    return f"{MARKS}/{hashlib.sha256(subject.encode()).hexdigest()[:24]}"


def record_marked(settings: Settings, lake: Lake, *, run: str, now: datetime) -> None:
    """Record what went out while `alerts` could not be written.

    Raises:
        LakeError, StorageError: it still cannot be, or the marks not read.
    """
    home = core.open_storage(settings.home)
    marks = list(home.list(f"{MARKS}/"))
    subjects = [home.get(mark.key).decode() for mark in marks]
    record_sent(lake, subjects, run=run, now=now, channel=None)
    lake.write.probe("alerts", month_of(now))
    for mark in marks:
        if now - mark.modified > MARKS_KEPT:
            home.delete(mark.key)


def failing_since(lake: Lake, job: str) -> datetime | None:
    """Return since when a job fails, by the last message about it; None: it has recovered."""
    query = """SELECT subject FROM outbox
        WHERE starts_with(subject, $failure) OR starts_with(subject, $recovery)
        ORDER BY made DESC, position DESC LIMIT 1"""
    prefixes = {"failure": f"failure:{job}:", "recovery": f"recovery:{job}:"}
    newest = "".join(lake.arrow(query, **prefixes)["subject"].to_pylist())
    return datetime.fromisoformat(newest.split(":")[2]) if newest.startswith("failure:") else None


def failure_subject(job: str, since: datetime, now: datetime) -> str:
    """Return the subject of a failure: a new one each day as long as it lasts."""
    utc = since.astimezone(UTC)  # in ISO 8601's form without colons
    return f"failure:{job}:{utc:%Y%m%dT%H%M%SZ}:{now:%Y-%m-%d}"


MARKS = "sent"  # folder of the marks; each contains its subject
MARKS_KEPT = timedelta(days=1)  # a failure is sent once a day, whatever the lake knows of it
NOTE_PAUSES = (0.0, 1.0, 3.0, 10.0)  # before a message that is out is recorded again
LEASE = "_slack"  # no schedule can have this name
LOCK_PAUSES = (1.0,) * 60  # a run waits for another one to finish delivering
LATE_AFTER = timedelta(minutes=10)  # from when a message says that it is late
OFFERED_FOR = timedelta(days=7)  # for so long a message is offered that Slack refuses
MOST_UNREACHABLE = 2  # channels out of reach after which Slack itself is taken to be


@dataclass
class DeliveryResult:
    """What a run sent, in order, and what is left."""

    messages: list[Message] = field(default_factory=list)  # that went out or were saved
    channel: str | None = None  # the main channel; None: there is none, the messages are saved
    places: Counter[str] = field(default_factory=Counter)  # channel → messages that it got
    saved: str | None = None  # where the messages were saved as JSON when there is no token
    sent: int = 0  # messages that went out (or were saved)
    waiting: int = 0  # messages left in the outbox; a later run delivers them
    warnings: list[str] = field(default_factory=list)  # what a person should look at
    notes: list[str] = field(default_factory=list)  # what is so with this installation
    open_findings: int | None = None  # critical or warnings, not muted; None: the run did not look


def send_message(
    settings: Settings,
    message: Message,
    channel: str,
    *,
    subject: str,
    now: datetime,
    picture: Callable[[kit.Block], bytes | None] = lambda _block: None,
) -> str:
    """Send a message to a channel; return a warning: who did not get it (else "").

    Raises ChannelUnavailable, MessageRefused or DeliveryError.
    """
    ident = hashlib.sha256(f"{settings.home} {subject}".encode()).hexdigest()[:32]
    if channel == MAIL:
        refused = send_mail(mail_of(message, settings, ident, now, picture), settings)
        return refused and f"not everybody in mail_to gets the mails: {refused}"
    if channel == WEBHOOK:
        post_webhook(message, settings, subject, ident, now)
        return ""
    secret, url = settings.slack_token, settings.slack_url
    token = secret.get_secret_value() if secret else ""
    post = partial(post_message, token=token, channel=channel, base_url=url)
    try:
        post(message)
    except core.MessageRefused:
        if (plain := kit.simplified(message)) == message:
            raise
        post(plain)
    return ""


@contextlib.contextmanager
def delivery_lock(
    settings: Settings, run: str, clock: Callable[[], datetime]
) -> Iterator[Callable[[], bool]]:
    """Hold the delivery lease for the block, and give a function that is True meanwhile.

    Two runs at once must not send the same report: who looks for what is unsent, and posts
    it, holds this lease. A run that was killed is found dead within minutes, on the same
    machine at once. JobBusy is raised if another still delivers after `LOCK_PAUSES`.
    """
    storage = core.open_storage(settings.home)

    def take() -> core.Lease:
        return core.take_lease(storage, core.new_holder(LEASE, run, None, clock()))

    lease = core.with_retries(take, core.JobBusy, LOCK_PAUSES)
    lost = threading.Event()

    def holds() -> bool:
        with contextlib.suppress(core.LeaseLost):
            lease.renew(clock())
            return not lost.is_set()
        return False

    try:
        with core.heartbeat(lease, clock, lambda _error: lost.set()):
            yield holds
    finally:
        lease.release()


class Delivery:
    """Brings what waits in the outbox to its channels, or to a folder where there are none."""

    def __init__(
        self, settings: Settings, lake: Lake, result: DeliveryResult, *, run: str, now: datetime
    ) -> None:
        self._settings, self._lake, self._result = settings, lake, result
        self._run, self._now = run, now
        self._unreachable: set[str] = set()  # channels that wait, in this run
        self._refusing: dict[str, DeliveryError] = {}  # those that take nothing, in this run
        self._further = further_channels(settings)
        self._pages = core.open_storage(settings.pages_url, settings.presign_keys())
        self._exports = core.open_storage(settings.exports_url, settings.presign_keys())

    def deliver(self, holds: Callable[[], bool]) -> None:
        """Send everything that waits, the oldest first, while the lease `holds`.

        None goes out while `alerts` cannot be written. A channel that cannot be reached gets
        nothing more in this run, so that order is kept.

        Raises:
            LakeError, StorageError: nothing more went out; what is left waits.
            SentNotRecorded: the same, and a message that is out is recorded later.
        """
        record_marked(self._settings, self._lake, run=self._run, now=self._now)
        seen: set[str] = set()
        # another run may have added its own meanwhile, and not waited for the lease
        while new := [i for i in queued_messages(self._lake) if i[0].subject not in seen]:
            seen |= {due.subject for due, _made in new}
            self._record([due.subject for due, _made in new if self._is_needless(due)], None)
            for due, made in new:
                message = due.message
                if message is None or self._is_needless(due):
                    continue
                if not (holds() and self._settle(due, message, made)):
                    self._result.waiting += 1

    def _is_needless(self, due: OutboxMessage) -> bool:
        """Return True if another message covers it, or it is a copy for what is set no more."""
        is_copy = due.subject.endswith((MAIL, WEBHOOK))
        return due.message is None or (is_copy and due.channel not in self._further)

    def _settle(self, due: OutboxMessage, message: Message, made: datetime) -> bool:
        """Send the message or give it up, and record that; False: it waits."""
        note = ""
        if (late := self._now - made) >= LATE_AFTER:
            note = _("Sent {length} late (created {moment}).")
            note = note.format(length=kit.duration(late), moment=core.moment(made))
        shown = kit.with_addresses(message, self._address, note)
        main = self._result.channel
        if main is None:
            storage = core.open_storage(f"{self._settings.home}/slack")
            key = f"{self._run}-{len(self._result.messages) + 1}.json"
            storage.put(key, slack_json(shown).encode(), content_type="application/json")
            self._result.saved = storage.url
            self._record_out(due.subject, None, shown)
            return True
        places = self._places(due.channel, main)
        for place in places:
            if place in self._refusing:
                continue
            if place in self._unreachable or self._is_slack_down(place):
                return False
            try:
                self._warn(
                    send_message(
                        self._settings, shown, place,
                        subject=due.subject, now=self._now, picture=self._picture,
                    )
                )  # fmt: skip
            except core.ChannelUnavailable as error:
                self._unreachable.add(place)
                self._warn(f"{error}; messages for {one_line(place)} wait in the outbox")
                return False
            except core.MessageRefused as error:
                return self._given_up(due.subject, made, error)
            except DeliveryError as error:
                self._refusing[place] = error
                then = "wait" if place in CHANNEL_NAMES else "go to the main channel, or wait"
                self._warn(f"{error}; its messages {then} in the outbox")
            else:
                self._record_out(due.subject, place, shown)
                return True
        return self._given_up(due.subject, made, self._refusing.get(places[-1]))

    def _places(self, channel: str | None, main: str) -> Sequence[str]:
        """Return the channels for a message: the second gets it where the first is refused."""
        if channel in self._further:
            return (channel,)
        if channel in CHANNEL_NAMES or self._settings.slack_token is None:
            return (main,)  # it was queued under other settings
        # Slack refuses a channel that is misspelt, archived or private: the main one gets it
        return tuple(dict.fromkeys((channel or main, main)))

    def _is_slack_down(self, place: str) -> bool:
        away = self._unreachable.difference(CHANNEL_NAMES)
        return place not in CHANNEL_NAMES and len(away) > MOST_UNREACHABLE

    def _picture(self, block: kit.Block) -> bytes | None:
        """Return a chart of ours; where it cannot be read, its link has to do."""
        storage = self._pages if block["place"] == "pages" else self._exports
        with contextlib.suppress(core.StorageError):
            return storage.get(block["key"])
        return None

    def _given_up(self, subject: str, made: datetime, error: DeliveryError | None) -> bool:
        """Return True if a refused message is let go, after some days: somebody may mend things."""
        name = one_line(subject)
        if self._now - made < OFFERED_FOR:
            if isinstance(error, core.MessageRefused):  # a refused channel was named already
                self._warn(f"{name} was not sent: {error}")
            return False
        self._record([subject], None)
        self._warn(f"{name} is given up after {OFFERED_FOR.days} days: {error or 'no channel'}")
        return True

    def _record(self, subjects: Sequence[str], channel: str | None) -> None:
        record_sent(self._lake, subjects, run=self._run, now=self._now, channel=channel)

    def _record_out(self, subject: str, channel: str | None, shown: Message) -> None:
        """Record that a message is out; where that fails, mark it, and try a few times more."""
        self._result.messages.append(shown)
        self._result.sent += 1
        self._result.places[channel or ""] += 1
        errors = (core.LakeError, core.StorageError)
        with contextlib.suppress(*errors):
            self._record([subject], channel)
            return
        home, key = core.open_storage(self._settings.home), sent_mark(subject)
        with contextlib.suppress(core.StorageError):
            home.put_new(key, subject.encode(), content_type="text/plain")
        try:
            core.with_retries(lambda: self._record([subject], channel), errors, NOTE_PAUSES)
        except errors as error:
            text = f"{one_line(subject)} went out, which is not recorded: {error}"
            raise core.SentNotRecorded(text) from error
        with contextlib.suppress(core.StorageError):
            home.delete(key)

    def _address(self, stored: kit.StoredFile) -> str:
        """Return the address of a file of ours; where none can be made, where it lies."""
        storage = self._pages if stored.place == "pages" else self._exports
        try:
            if storage is self._pages:
                return pages.link_to(self._settings, storage, stored.key)
            return storage.link(stored.key, self._settings.presign_expires)
        except core.StorageError as error:
            self._warn(f"a message goes out without a link: {error}")
            return f"{storage.url}/{stored.key}"

    def _warn(self, text: str) -> None:
        if text and text not in self._result.warnings:
            self._result.warnings.append(text)


@dataclass(frozen=True)
class ChannelGroup:
    """The domains of a channel of their own."""

    channel: str
    name: str
    domains: frozenset[str]


@dataclass(frozen=True)
class Routes:
    """The channels of an installation, as one schedule uses them."""

    main: str | None  # what gets everything; None: there is no channel
    groups: tuple[ChannelGroup, ...] = ()  # one for each other channel of Slack
    copied: tuple[str, ...] = ()  # those that get a copy of all but the summaries of groups

    def channel_of(self, domain: str | None) -> str | None:
        """Return the channel for a report about a policy domain."""
        name = core.normalize_domain(domain or "")
        return next((group.channel for group in self.groups if name in group.domains), self.main)

    def copies(self, dues: Iterable[OutboxMessage]) -> list[OutboxMessage]:
        """Return the messages, each followed by its copies for mail and webhook."""
        found: list[OutboxMessage] = []
        for due in dues:
            copied = self.copied if due.message else ()
            found += [due, *(replace(due, subject=f"{due.subject}{c}", channel=c) for c in copied)]
        return found


def further_channels(settings: Settings) -> tuple[str, ...]:
    """Return which of mail and webhook are set."""
    places = ((MAIL, settings.mail_to), (WEBHOOK, settings.webhook_url))
    return tuple(place for place, is_set in places if is_set)


def channel_routes(settings: Settings, channel: str | None = None) -> Routes:
    """Return the routes with `channel` (a schedule's own) as the main one, else the setting's.

    A domain in several groups belongs to the first of them that has a channel. Groups with
    the same channel are one. Without a token the main channel is mail or the webhook; without
    these too, everything goes to the one place of the messages.
    """
    further = further_channels(settings)
    if settings.slack_token is None:
        return Routes(further[0] if further else None, copied=further[1:])
    main = channel or settings.slack_channel
    found: dict[str, ChannelGroup] = {}
    taken: set[str] = set()
    for group in settings.domains:
        if isinstance(group, core.DomainGroup) and (own := group.slack_channel) and own != main:
            before = found.get(own, ChannelGroup(own, "", frozenset()))
            domains = before.domains | (set(group.domains) - taken)
            taken |= domains
            name = ", ".join(filter(None, (before.name, group.name)))
            found[own] = ChannelGroup(own, name, domains)
    return Routes(main, tuple(found.values()), further)
