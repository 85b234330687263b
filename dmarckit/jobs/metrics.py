"""Numbers about mail for dashboards: a run makes them of its analysis, and keeps them in the home.

So `/metrics` costs no analysis, any process can serve them, and a restart forgets nothing. They
are bounded: the domains with the most messages have a label each, all others share `OTHER`.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import pydantic

from dmarckit import core, facts, findings, pages
from dmarckit.core import DmarckitError, MissingObject, Settings, Storage, Strict
from dmarckit.jobs.timeout import end_reason

KEY = "metrics.json"  # below the home
LARGEST = 250_000  # bytes of that object; more is not read
DAYS = 7  # whole UTC days that the numbers are about
MOST_DOMAINS = 20  # with a label of their own
OTHER = "other"  # label of all other domains; a name without a dot never gets one of its own
EMF_DOMAINS = 5  # of which CloudWatch gets metrics
NAMESPACE = "dmarckit"  # of CloudWatch's metrics
_RATES = {  # metric of Postmaster Tools → family
    "spam_rate": "postmaster_spam_ratio",
    "delivery_error_rate": "postmaster_delivery_error_ratio",
}
_EMF_OF_DOMAIN = (  # each is another 0.30 $ a month and domain
    "own_mail_messages",
    "own_mail_passing_messages",
    "forged_delivered_messages",
    "postmaster_spam_ratio",
)
_HOST = re.compile(r"(?!.{254})[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")

log = logging.getLogger(__name__)


class Family(NamedTuple):
    """A metric: its help text and the names of its labels."""

    about: str
    labels: tuple[str, ...] = ("domain",)


_OF = f"of the last {DAYS} whole days (UTC)."
_GOOGLE = f"as Postmaster Tools gave it for its newest day of the last {DAYS}; other: the highest."
FAMILIES = {
    "messages": Family(f"Messages by class, {_OF}", ("domain", "class")),
    "own_mail_messages": Family(
        f"Messages that are neither forged nor changed by forwarders so that they fail, {_OF}"
    ),
    "own_mail_passing_messages": Family(f"Those of own_mail_messages that pass DMARC, {_OF}"),
    "forged_delivered_messages": Family(
        f"Forged messages that were neither quarantined nor rejected, {_OF}"
    ),
    "tls_sessions": Family(f"Sessions in TLS reports {_OF}"),
    "tls_failed_sessions": Family(f"Sessions in TLS reports that failed, {_OF}"),
    "postmaster_spam_ratio": Family(f"Share [0-1] of mail that Gmail users call spam, {_GOOGLE}"),
    "postmaster_delivery_error_ratio": Family(
        f"Share [0-1] of mail that Gmail rejected or deferred, {_GOOGLE}"
    ),
    "findings": Family("Open findings that are not muted.", ("kind", "severity")),
}
"""name, without ``dmarckit_`` → what it is"""

Label = Annotated[str, pydantic.Field(pattern=r"^[a-z0-9_.-]{1,253}$")]
Number = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class MailMetrics(Strict):
    """The numbers as of one moment."""

    as_of: pydantic.AwareDatetime
    samples: Annotated[
        tuple[tuple[str, tuple[Label, ...], Number], ...], pydantic.Field(max_length=1000)
    ]
    """name of a family, values of its labels, number; the domains with the most messages first"""

    @pydantic.field_validator("samples")
    @classmethod
    def _fits(
        cls, samples: tuple[tuple[str, tuple[str, ...], float], ...]
    ) -> tuple[tuple[str, tuple[str, ...], float], ...]:
        """Refuse what would spoil a whole scrape: a sample twice, or with other labels."""
        if len({sample[:2] for sample in samples}) < len(samples):
            raise ValueError("a sample is there twice")
        for name, labels, _number in samples:
            if name not in FAMILIES or len(labels) != len(FAMILIES[name].labels):
                raise ValueError("a sample is of no known family")
        return samples

    def of(self, family: str) -> Iterator[tuple[tuple[str, ...], float]]:
        """Yield labels and number of each sample of the family."""
        return ((labels, number) for name, labels, number in self.samples if name == family)


def mail_metrics(analysis: findings.Analysis) -> MailMetrics:
    """Return the numbers of an analysis, of the domains that it is about."""
    window = core.last_days(DAYS, today=analysis.now.astimezone(UTC).date())
    rows = facts.in_window(analysis.facts.messages, window)
    own, number = pages.is_own(rows), rows["messages"]
    delivered = rows["class"].isin(pages.FORGED) & ~rows["disposition"].isin(findings.BLOCKED)
    counted = {
        "own_mail_messages": number.where(own, 0),
        "own_mail_passing_messages": number.where(own & (rows["da"] | rows["sa"]), 0),
        "forged_delivered_messages": number.where(delivered, 0),
    }
    sums = rows[["domain", "class", "messages"]].assign(**counted)
    sums = sums.groupby(["domain", "class"], observed=True).sum().reset_index()
    sums = sums.astype({"domain": "str", "class": "str"})
    tls = analysis.facts.tls
    tls = tls[(tls["begin"] >= window.start) & (tls["begin"] < window.end)]
    tls = tls.assign(tls_sessions=tls["successful"] + tls["failed"])
    tls = tls.rename(columns={"policy_domain": "domain", "failed": "tls_failed_sessions"})
    google, asked = analysis.outside.postmaster, analysis.outside.domains
    google = google[google["domain"].isin(asked) | (not asked)]
    google = google[google["metric"].isin(_RATES) & (google["detail"] == "")]
    google = facts.in_window(google[google["share"].notna()], window).sort_values("day")
    google = google.drop_duplicates(["domain", "metric"], keep="last")

    most = sums.groupby("domain")["messages"].sum().to_dict()
    seen = {*sums["domain"], *tls["domain"], *google["domain"]}
    ranked = sorted(seen, key=lambda name: (-most.get(name, 0), name))
    named = [name for name in ranked if _HOST.fullmatch(name)][:MOST_DOMAINS]
    label = {name: name if name in named else OTHER for name in ranked}
    shown = list(dict.fromkeys(label.values()))
    sums, tls, google = (f.assign(domain=f["domain"].map(label)) for f in (sums, tls, google))

    found: list[tuple[str, tuple[str, ...], float]] = []
    classes = sums.groupby(["domain", "class"])["messages"].sum().to_dict()
    keys = ((name, each) for name in shown for each in facts.CLASSES)
    found += (("messages", key, round(classes.get(key, 0))) for key in keys)
    by_domain = sums.groupby("domain")[list(counted)].sum().reindex(shown, fill_value=0)
    sessions = tls.groupby("domain")[["tls_sessions", "tls_failed_sessions"]].sum()
    for numbers in (by_domain, sessions):
        for column in map(str, numbers):
            found += ((column, (str(name),), round(n)) for name, n in numbers[column].items())
    worst: dict[Any, float] = google.groupby(["metric", "domain"])["share"].max().to_dict()
    found += ((_RATES[key[0]], key[1:], round(share, 6)) for key, share in worst.items())
    kinds = findings.KINDS.values()
    counts = Counter({(kind.name, s): 0 for kind in kinds for s in kind.severities})
    opened = [entry.finding for entry in analysis.findings if findings.is_open(entry)]
    counts.update((finding.kind, finding.severity) for finding in opened)
    found += (("findings", key, n) for key, n in counts.items())
    return MailMetrics(as_of=analysis.now, samples=tuple(found))


def keep_metrics(settings: Settings, analysis: findings.Analysis, now: datetime) -> None:
    """Write the numbers to the home, and for CloudWatch to stdout if `emf` says so.

    An analysis of another day, as of a page about a month that has passed, is not written. What
    goes wrong is logged: it ends no run.
    """
    if analysis.now.astimezone(UTC).date() != now.astimezone(UTC).date():
        return
    try:
        found = mail_metrics(analysis)
        if settings.emf != "none":
            for line in emf_lines(found, settings.home, domains=settings.emf == "domains"):
                print(line, flush=True)
        body = found.model_dump_json().encode()
        core.open_storage(settings.home).put(KEY, body, content_type="application/json")
    except DmarckitError as error:
        log.warning("the metrics are as they were: %s", error)
    except Exception:
        if end_reason():
            raise
        log.exception("the metrics are as they were")


def read_metrics(home: Storage) -> MailMetrics | None:
    """Return what the last run has kept; None when there is nothing, or nothing that is sound."""
    try:
        body = home.get(KEY)
        if len(body) > LARGEST:
            raise core.StorageError(f"{KEY} in the home has {len(body)} bytes")
        return MailMetrics.model_validate_json(body)
    except MissingObject:
        return None
    except (DmarckitError, ValueError) as error:
        log.warning("the metrics about mail are left out: %s", core.one_line(error, 200))
        return None


def emf_lines(found: MailMetrics, home: str, *, domains: bool) -> Iterator[str]:
    """Yield lines of CloudWatch's embedded metric format: totals, then a line a domain if asked.

    The dimension `home` tells installations apart. A ratio's total is that of the worst domain.
    """
    metrics: dict[str, float] = {f"findings_{severity}": 0 for severity in findings.URGENT}
    for (_kind, severity), number in found.of("findings"):
        if severity in findings.URGENT:
            metrics[f"findings_{severity}"] += number
    for name in FAMILIES:
        numbers = [number for _labels, number in found.of(name)]
        if numbers and name != "findings":
            metrics[name] = max(numbers) if name.endswith("_ratio") else sum(numbers)
    yield _emf(found.as_of, metrics, home=home)
    largest = [labels[0] for labels, _n in found.of("own_mail_messages") if labels[0] != OTHER]
    for domain in largest[: EMF_DOMAINS * domains]:
        numbers_of = ((name, dict(found.of(name)).get((domain,))) for name in _EMF_OF_DOMAIN)
        metrics = {name: number for name, number in numbers_of if number is not None}
        yield _emf(found.as_of, metrics, home=home, domain=domain)


def _emf(as_of: datetime, metrics: dict[str, float], **dimensions: str) -> str:
    units = {name: "None" if name.endswith("_ratio") else "Count" for name in metrics}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
    }
    about = {"Timestamp": round(as_of.timestamp() * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": about, **dimensions, **metrics})
