"""Everything that the doctor checks, in the order in which it is printed."""

from __future__ import annotations

from dmarckit.cli.doctor import machine, places, services
from dmarckit.cli.doctor.check import Check

S = ("settings",)

CHECKS = (
    Check("settings", machine.readable),
    Check("setting values", machine.consistent, S),
    Check("versions", machine.versions),
    Check("disk", machine.disk, S),
    Check("memory", machine.memory),
    Check("fonts", machine.fonts, S),
    Check("credentials", places.credentials, S),
    Check("buckets", places.reachable, (*S, "credentials")),
    Check("region", places.region, (*S, "buckets")),
    # without the buckets: a wrong clock is a reason why they refuse us
    Check("clock", places.clock, (*S, "credentials")),
    Check("mails", places.mails, (*S, "buckets"), 60),
    Check("results header", places.verdicts, (*S, "buckets", "mails"), 60),
    Check("home", places.writable, (*S, "buckets"), 45),
    Check("conditional writes", places.conditional, (*S, "buckets", "home"), 45),
    Check("links", places.links, (*S, "buckets", "home"), 45),
    Check("page address", places.page_address, S),
    Check("lake", machine.tables, (*S, "buckets"), 60),
    Check("newest report", machine.newest_report, (*S, "buckets", "lake"), 60),
    Check("kernel", machine.kernel, (), 110),
    Check("notebooks", machine.notebooks),
    Check("schedules", machine.schedules),
    Check("runs", machine.runs, (*S, "buckets", "lake", "schedules"), 60),
    Check("outbox", machine.outbox, (*S, "buckets", "lake"), 60),
    Check("queue", services.queue, (*S, "credentials"), 45),
    Check("Slack token", services.slack_token, S),
    Check("Slack channels", services.slack_channels, (*S, "Slack token"), 45),
    Check("Slack message", services.slack_message, (*S, "Slack token"), 150),
    Check("Google", services.google, S),
    Check("DNS", services.dns, S, 60),
    Check("Dask", services.cluster, (*S, "buckets", "mails", "lake"), 90),
)
"""(a check's name is its key in ``--json``, and in `needs` of others)"""
