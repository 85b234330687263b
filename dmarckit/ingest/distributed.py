"""Check that the workers of a Dask cluster would do the same work as this process.

Asked of every worker before any work: versions, that it reaches the mails, that it sees the
same lake, and for pages that its settings say the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dmarckit import core
from dmarckit.core import ClusterError, Settings, one_line, open_storage
from dmarckit.lake import Lake

Need = Literal["mail", "lake", "settings"]
"""what tasks need: the mails, the tables, or both settings and tables (pages)"""

PACKAGES = (
    "dmarckit", "dask", "distributed", "msgpack", "cloudpickle", "numpy", "pandas", "pyarrow",
    "duckdb", "deltalake",
)  # fmt: skip
OF_SCHEDULER = ("dask", "distributed", "cloudpickle")
TABLES = ("mails", "reports", "records")
OWN = frozenset(
    {
        *core.secret_names(), "dask", "workers", "log_format", "emf", "health_host", "health_port",
        "slack_channel", "slack_url", "mail_to", "mail_from", "smtp_url", "webhook_format",
        "presign_key_id", "presign_expires", "page_base_url",
        "resolvers", "dns_timeout", "google_subject", "postmaster_domains", "postmaster_url",
        "watch_queue", "alert_forwarded", "exports", "exports_to", "home", "mail", "limits",
        "trust", "authserv_id", "failures", "failures_content",
    }
)  # fmt: skip
"""settings that a machine may have for itself: nothing that a page shows depends on them"""


@dataclass(frozen=True)
class Installation:
    """What one process sees of an installation."""

    mail: str | None = None  # etag of the mail that was asked for; None: it is not there
    tables: Mapping[str, str] = field(default_factory=dict)
    """table → its id, which no other table has"""
    settings: Mapping[str, str] = field(default_factory=dict)
    error: str = ""  # why it sees nothing, in one line


@contextlib.contextmanager
def cluster_of(settings: Settings, need: Need, address: str | None = None) -> Iterator[Any]:
    """Yield the cluster at `address`, else that of the setting `dask`; None without both.

    Raises MissingExtra without Dask, and what `check_cluster` raises.
    """
    address = settings.dask if address is None else address
    if not address:
        yield None
        return
    with core.connected(address) as cluster:
        check_cluster(cluster, settings, need)
        yield cluster


def check_cluster(cluster: core.Cluster, settings: Settings, need: Need) -> None:
    """Check that each worker would do the same work as this process.

    Raises ClusterError, which names a worker and what is different there.
    """
    try:
        versions = cluster.client.get_versions(packages=list(PACKAGES))
    except Exception as error:
        raise cluster.lost(error) from error
    check_versions(cluster.where, versions)
    mails = open_storage(settings.mail_url)
    first = next(mails.list(), None) if need == "mail" else None
    mail = first.key if first is not None else None
    places = {"mail_url": mails.url, "lake_url": Lake(settings.lake_url).location.url}
    own = inspect_installation(mail, need=need, settings=settings, **places)
    if own.error:
        raise ClusterError(own.error)
    try:
        seen = cluster.client.run(
            inspect_installation, mail, need=need, on_error="return", **places
        )
    except Exception as error:
        raise cluster.lost(error) from error
    for worker, sight in seen.items():
        name = f"{cluster.where}, worker {one_line(worker)}"
        if not isinstance(sight, Installation):
            raise ClusterError(f"{name}: it cannot be asked: {one_line(repr(sight))}")
        if difference := _difference(own, sight, mail, places):
            raise ClusterError(f"{name}: {difference}")


def check_versions(where: str, versions: Mapping[str, Any]) -> None:
    """Check the answer of `Client.get_versions`; ClusterError names who has which version."""
    own = versions["client"]["packages"]
    asked = {f"{where}, worker {one_line(w)}": v for w, v in versions["workers"].items()}
    asked[f"{where}, its scheduler"] = versions["scheduler"]
    for name, theirs in asked.items():
        is_worker = theirs is not versions["scheduler"]
        found = (theirs or {}).get("packages")
        if found is None:
            raise ClusterError(f"{name}: it does not say its versions; start it again")
        ours, there = (".".join(v["python"].split(".")[:2]) for v in (own, found))
        if is_worker and ours != there:
            raise ClusterError(f"{name} has Python {there}, and this process {ours}")
        for package in PACKAGES if is_worker else OF_SCHEDULER:
            if own[package] != found.get(package):
                raise ClusterError(
                    f"{name} has {package} {found.get(package) or 'not at all'}, and this process "
                    f"{own[package]}; install the same versions (pip install -c constraints.txt)"
                )


def inspect_installation(
    mail: str | None, *, need: Need, mail_url: str, lake_url: str, settings: Settings | None = None
) -> Installation:
    """Return what this process sees with its own credentials (and settings, unless given)."""
    try:
        if need == "mail":
            found = open_storage(mail_url).list(mail) if mail else ()
            return Installation(next((item.etag for item in found if item.key == mail), None))
        location = Lake(lake_url).location
        opened = {name: location.open(name) for name in TABLES}
        tables = {name: str(t.metadata().id) for name, t in opened.items() if t is not None}
        if need == "lake":
            return Installation(tables=tables)
        settings = settings or core.load_settings()
        plain = settings.model_dump(mode="json", exclude=set(OWN))
        plain["lake"] = Lake(settings.lake_url).location.url  # places as they are found from here
        plain["pages"] = open_storage(settings.pages_url).url
        return Installation(
            tables=tables, settings={name: one_line(value, 4000) for name, value in plain.items()}
        )
    except core.DmarckitError as error:
        return Installation(error=str(error))


def _difference(
    own: Installation, seen: Installation, mail: str | None, places: Mapping[str, str]
) -> str:
    if seen.error:
        return seen.error
    if own.mail != seen.mail:
        return f"it sees other mails in {places['mail_url']}: not {one_line(mail)}"
    if own.tables != seen.tables:
        named = next(t for t in TABLES if own.tables.get(t) != seen.tables.get(t))
        what = "another" if named in seen.tables else "no"
        return f"it sees {what} table {named} in {places['lake_url']}"
    for name, value in own.settings.items():
        if seen.settings.get(name) != value:
            there = one_line(seen.settings.get(name), 80)
            return f"its setting {name} is {there}, and that of this process {one_line(value, 80)}"
    return ""
