"""What a page is made from: for its footer, and to know whether it would be the same again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from platform import python_version
from typing import Any

from dmarckit import facts
from dmarckit.core import Settings, Window, later, normalize_domain, secret_names
from dmarckit.lake import Lake, month_of

_INPUTS = """
SELECT input, count(*) AS number, lower(hex(bit_xor(md5_number(key)))) AS hash FROM (
    SELECT '{mails}' AS input, mail_key AS key FROM reports WHERE {mine}
    UNION SELECT '{mails}', mail_key FROM tls WHERE {mine_tls}
    UNION SELECT '{reports}', report_uid FROM reports WHERE {mine}
    UNION SELECT '{tls}', report_uid FROM tls WHERE {mine_tls}
) GROUP BY input ORDER BY input
"""
MAILS, REPORTS, TLS = later("mails"), later("aggregate reports"), later("TLS reports")
_NOT_SHOWN = {  # settings that no page depends on
    *secret_names(),
    *("home", "mail", "lake", "pages", "exports", "exports_to", "workers"),
    *("mail_to", "mail_from", "smtp_url", "webhook_format"),
    *("slack_channel", "slack_url", "presign_key_id", "presign_expires"),
}
# what the next run of each job is compared with: whether it was new then changes nothing
_FOUND = """(
    SELECT domain, (job, fingerprint, severity, messages, mute_reason) AS found FROM (
        SELECT * FROM findings
        QUALIFY run = first(run ORDER BY "at" DESC, run) OVER (PARTITION BY job)
    ) WHERE status <> 'RESOLVED'
)"""
# table → its domains, rows and the keys that stand for them, as whole rows never change
_TABLES = {
    "reports": ("domain", "reports", "report_uid"),
    "tls": ("policy_domain", "tls", "report_uid, position"),
    "failures": ("domain", "failures", "report_uid"),
    "findings": ("domain", _FOUND, "found"),
    "postmaster": ("domain", "postmaster", '"day", metric, detail, pulled'),
    "dns": ("domain", "dns", "day, record, name"),
    "senders": ("domain", "senders", 'name, "at"'),
    # host names say who a sender is, whatever the domain
    "ptr": ("''", "ptr", "address, name"),
}
_CODE = {".py", ".j2", ".js", ".css", ".csv", ".json", ".mo"}


@dataclass(frozen=True)
class Input:
    """One kind of input: how many, and the MD5 sums of their names, combined by XOR.

    The names are keys of mails and `report_uid` of reports, so that the same lake gives the
    same hash in whatever order and files it was written.
    """

    name: str
    number: int
    hash: str


def page_inputs(lake: Lake, parameters: Mapping[str, Any], now: datetime) -> tuple[Input, ...]:
    """Return the mails and reports that a page with these parameters may rest on, now.

    By months: from 90 days (or twice the page's `days` and four weeks) before its `end`, or
    before `now`, on; of its `domain` or `domains` alone when there are some. Raises LakeError.
    """
    days = parameters.get("days")
    # 90 days before its end tell who a sender is, whatever the window
    back = max(90, 2 * days + 28 if isinstance(days, int) else 0)
    with contextlib.suppress(ValueError):  # none, or what the notebook will complain of
        end = datetime.fromisoformat(str(parameters.get("end"))).replace(tzinfo=UTC)
        now = min(now, end)
    names = [parameters.get("domain") or "", *(parameters.get("domains") or ())]
    names = [normalize_domain(str(name)) for name in names if name]
    mine = mine_tls = "month >= $month"
    values: dict[str, Any] = {"month": month_of(now - timedelta(days=back))}
    if names:
        mine += " AND domain IN (SELECT unnest($names))"
        mine_tls += " AND lower(policy_domain) IN (SELECT unnest($names))"
        values["names"] = names
    query = _INPUTS.format(mails=MAILS, reports=REPORTS, tls=TLS, mine=mine, mine_tls=mine_tls)
    return tuple(Input(*row.values()) for row in lake.rows(query, **values))


def table_states(lake: Lake) -> dict[str, dict[str, list[str]]]:
    """Return domain → table → number of rows, hash of their keys; ``""`` holds what all share."""
    found: dict[str, dict[str, list[str]]] = {}
    for table, (domains, rows_of, keys_of) in _TABLES.items():
        query = f"SELECT {domains}, count(*), bit_xor(hash({keys_of})) FROM {rows_of} GROUP BY 1"  # noqa: S608
        columns = [column.to_pylist() for column in lake.arrow(query).columns]
        for domain, rows, keys in zip(*columns, strict=True):
            found.setdefault(domain or "", {})[table] = [str(rows), str(keys)]
    return found


def page_manifest(
    notebook: Path,
    parameters: Mapping[str, Any],
    settings: Settings,
    window: Window,
    tables: Mapping[str, Mapping[str, list[str]]],
) -> dict[str, Any]:
    """Return all that decides what a page shows, and its hash.

    `tables` comes from `table_states`; a page without a domain depends on all of it. `state` is
    the hash of what it shows on whatever day, for whatever job. Secrets are no part of it.
    """
    domain, mmdb = str(parameters.get("domain", "")).lower(), settings.mmdb
    status = mmdb.stat() if mmdb and mmdb.is_file() else None
    parts: dict[str, Any] = {
        "notebook": hashlib.sha256(notebook.read_bytes()).hexdigest(),
        "parameters": dict(parameters),
        "window": [f"{window.start:%Y-%m-%d}", f"{window.last_day:%Y-%m-%d}"],
        "tables": {
            **({} if domain else {"all": _hash(tables)}),
            **tables.get("", {}),
            # Postmaster Tools of the organisation speaks for a domain below it
            **{
                k: v
                for k, v in tables.get(facts.organisation(domain), {}).items()
                if k == "postmaster"
            },
            **tables.get(domain, {}),
        },
        "settings": _hash(settings.model_dump(mode="json", exclude=_NOT_SHOWN)),
        "mmdb": [status.st_size, status.st_mtime_ns] if status else [],
        "code": code_hash(),
        "versions": page_versions(),
    }
    given = {key: value for key, value in parameters.items() if key != "job"}
    state = _hash(parts | {"window": [], "parameters": given})
    return {"hash": _hash(parts), "state": state, **parts}


@cache
def page_versions() -> dict[str, str]:
    """Return what made the page: Python and the libraries that shape it."""
    libraries = ("dmarckit", "pandas", "plotly", "papermill", "nbconvert")
    return {"Python": python_version()} | {name: version(name) for name in libraries}


@cache
def code_hash() -> str:
    """Return a hash of dmarckit itself: an edited file makes new pages without a new version."""
    package = Path(str(files("dmarckit")))
    state = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _CODE and "demo" not in path.parts and path.is_file():
            state.update(path.relative_to(package).as_posix().encode() + b"\0")
            state.update(path.read_bytes())
    return state.hexdigest()


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
