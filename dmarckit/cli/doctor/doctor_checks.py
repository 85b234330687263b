"""Everything that the doctor checks, in the order in which it is told."""

from __future__ import annotations

from dmarckit.cli.doctor import doctor_lake as lake
from dmarckit.cli.doctor import doctor_machine as machine
from dmarckit.cli.doctor import doctor_parts as parts
from dmarckit.cli.doctor import doctor_places as places
from dmarckit.cli.doctor import doctor_s3 as s3
from dmarckit.cli.doctor import doctor_services as services
from dmarckit.cli.doctor import doctor_settings as settings
from dmarckit.cli.doctor.doctor import Check

S = ("settings",)

CHECKS = (
    Check("settings", settings.readable),
    Check("setting values", settings.consistent, S),
    Check("versions", machine.versions),
    Check("disk", machine.disk, S),
    Check("memory", machine.memory),
    Check("fonts", machine.fonts, S),
    Check("credentials", s3.credentials, S),
    Check("buckets", s3.reachable, (*S, "credentials")),
    Check("region", s3.region, (*S, "buckets")),
    # without the buckets: a wrong clock is a reason why they refuse us
    Check("clock", s3.clock, (*S, "credentials")),
    Check("mails", places.mails, (*S, "buckets"), 60),
    Check("results header", places.verdicts, (*S, "buckets", "mails"), 60),
    Check("home", places.writable, (*S, "buckets"), 45),
    Check("conditional writes", places.conditional, (*S, "buckets", "home"), 45),
    Check("links", places.links, (*S, "buckets", "home"), 45),
    Check("page address", places.page_address, S),
    Check("lake", lake.tables, (*S, "buckets"), 60),
    Check("newest report", lake.newest_report, (*S, "buckets", "lake"), 60),
    Check("kernel", parts.kernel, (), 110),
    Check("notebooks", parts.notebooks),
    Check("schedules", parts.schedules),
    Check("runs", lake.runs, (*S, "buckets", "lake", "schedules"), 60),
    Check("outbox", lake.outbox, (*S, "buckets", "lake"), 60),
    Check("queue", services.queue, (*S, "credentials"), 45),
    Check("Slack token", services.slack_token, S),
    Check("Slack channels", services.slack_channels, (*S, "Slack token"), 45),
    Check("Slack message", services.slack_message, (*S, "Slack token"), 150),
    Check("Google", services.google, S),
    Check("DNS", services.dns, S, 60),
    Check("Dask", services.cluster, (*S, "buckets", "mails", "lake"), 90),
)
"""(a check's name is its key in ``--json``, and in `needs` of others)"""
