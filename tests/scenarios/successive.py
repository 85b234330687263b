"""Several looks one after the other: new, the same, worse, resolved; and muted findings."""

from __future__ import annotations

from datetime import datetime, timedelta

from dmarckit.demo.flows import between
from tests.scenarios.people import DECLARED_SALESDESK, office, sales, service
from tests.scenarios.scenario import END, NOW, Expect, before_end, run, scenario

FINGERPRINT = "unaligned_sender|example.com|Salesdesk"
KNOWN = {"senders": [DECLARED_SALESDESK]}
MUTED = {"fingerprint": FINGERPRINT, "reason": "asked the sales team"}


def salesdesk(status: str | None = None, *, muted: bool = False) -> Expect:
    """The finding about Salesdesk."""
    severity = None if status == "RESOLVED" else "alert"
    return Expect("unaligned_sender", "Salesdesk", severity, status=status, muted=muted)


def ago(days: int) -> datetime:
    """09:00 UTC, `days` days before the last look."""
    return NOW - timedelta(days)


SUCCESSIVE = (
    scenario(
        "new, the same, worse, the same",
        "ten times as much since four days: told once, not every day",
        office(),
        sales(
            messages=lambda day: 200.0 if day >= before_end(4) else 20.0,
            noise=0.0,
        ),
        settings=KNOWN,
        runs=[
            run(ago(6), salesdesk("NEW")),
            run(ago(5), salesdesk("SAME")),
            run(ago(2), salesdesk("WORSE")),
            run(ago(1), salesdesk("SAME")),
            run(ago(0), salesdesk()),
        ],
    ),
    scenario(
        "resolved once",
        "the service was set up: said once, then no more",
        office(),
        sales(until=before_end(12)),
        service(
            name="sales, aligned",
            sender=sales().sender,
            addresses=sales().addresses,
            messages=20,
            dkim=(service().dkim[0], sales().dkim[0]),
            spf=sales().spf,
            since=before_end(12),
        ),
        settings=KNOWN,
        runs=[
            run(ago(12), salesdesk("NEW")),
            run(ago(2), salesdesk("RESOLVED")),
            run(ago(1)),
        ],
    ),
    scenario(
        "back after it was resolved",
        "a finding that returns is new again",
        office(),
        sales(messages=between(before_end(20), before_end(8), 0.0, otherwise=20.0)),
        settings=KNOWN,
        runs=[
            run(ago(20), salesdesk("NEW")),
            run(ago(9), salesdesk("RESOLVED"), allowed=["sender_stopped"]),
            run(ago(0), salesdesk("NEW")),
        ],
        days=60,
    ),
    scenario(
        "a little more is not worse",
        "140 and 190 messages: less than twice as much",
        office(),
        sales(messages=lambda day: 27.0 if day >= before_end(7) else 20.0, noise=0.0),
        settings=KNOWN,
        runs=[run(ago(7), salesdesk("NEW")), run(ago(0), salesdesk("SAME"))],
    ),
    scenario(
        "muted",
        "known and accepted until the end of the year",
        office(),
        sales(),
        settings={**KNOWN, "mute": [{**MUTED, "until": END.replace(month=12, day=31)}]},
        expected=[salesdesk(muted=True)],
    ),
    scenario(
        "muted until last month",
        "the date has passed: it counts again",
        office(),
        sales(),
        settings={**KNOWN, "mute": [{**MUTED, "until": END.replace(month=10, day=31)}]},
        expected=[salesdesk()],
    ),
)
