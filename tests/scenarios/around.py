"""Postmaster Tools and DNS beside the reports: each cause is told once, and quiet stays quiet."""

from __future__ import annotations

from dmarckit.lake.lake import Lake
from tests.scenarios.people import office, service
from tests.scenarios.scenario import Expect, scenario
from tests.support.outside_rows import entry, keep, metric

OUTSIDE = ("spam_rate", "delivery_errors", "dns_record", "dns_changed", "requirement_not_met")
HERE = "example.com"
IN_ORDER = [
    entry(HERE, "dmarc", f"_dmarc.{HERE}", tags={"v": "DMARC1", "p": "none"}, ttl=300),
    entry(HERE, "spf", HERE, lookups=4),
    entry(HERE, "dkim", f"s1._domainkey.{HERE}", bits=2048),
]


def all_is_well(lake: Lake) -> None:
    """Compliant throughout; one day with a single complaint among few messages."""
    rules = ("SPF", "DKIM", "ENCRYPTION", "DMARC_ALIGNMENT", "ONE_CLICK_UNSUBSCRIBE")
    rates = [metric(HERE, "spam_rate", "", 0.02 if ago == 4 else 0.0, ago) for ago in range(2, 9)]
    metrics = [metric(HERE, "compliance", rule, "COMPLIANT") for rule in rules]
    keep(lake, [*metrics, *rates], IN_ORDER)


def much_is_wrong(lake: Lake) -> None:
    """Complaints for days, refusals for reputation, an SPF record too many, no TLS."""
    metrics = [metric(HERE, "compliance", "ENCRYPTION", "NEEDS_WORK")]
    metrics += [metric(HERE, "compliance", "USER_REPORTED_SPAM_RATE", "NEEDS_WORK")]
    metrics += [metric(HERE, "spam_rate", "", 0.004, ago) for ago in range(2, 6)]
    refused = "reject/low_domain_reputation"
    metrics += [metric(HERE, "delivery_error_rate", refused, 0.03, ago) for ago in range(2, 6)]
    spf = entry(HERE, "spf", HERE, "invalid", "example.com has 2 SPF records; merge them.")
    keep(lake, metrics, [IN_ORDER[0], spf, IN_ORDER[2]])


AROUND = (
    scenario(
        "Google and DNS have nothing to say",
        "a spam rate of 2 % on one day is a single click where there is little mail",
        office(),
        service(),
        expected=[Expect("policy_ready", severity="quiet")],
        absent=OUTSIDE,
        outside=all_is_well,
    ),
    scenario(
        "Google and DNS see what reports cannot",
        "spam rate and SPF are rules as well, but each is told by its own finding only",
        office(),
        service(),
        expected=[
            Expect("spam_rate", "", "critical"),
            Expect("delivery_errors", "reject/low_domain_reputation", "alert"),
            Expect("dns_record", f"spf {HERE}", "alert"),
            Expect("requirement_not_met", "tls", "alert", says="TLS"),
        ],
        absent=["dns_changed"],
        outside=much_is_wrong,
    ),
)
