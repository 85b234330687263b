"""What a domain's page is made of, as a hash: equal hashes mean that the page would be equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dmarckit.core.redact import secret_names
from dmarckit.core.settings import Settings
from dmarckit.core.window import Window
from dmarckit.facts.organisation import organisation
from dmarckit.lake.lake import Lake
from dmarckit.pages.render import versions

_NOT_SHOWN = {
    *secret_names(),
    *("home", "mail", "lake", "pages", "exports", "exports_to", "workers"),
    *("slack_channel", "slack_url", "presign_key_id", "presign_expires"),
}
"""settings that no page depends on"""
_TABLES = {
    # whole rows never change, so that the keys stand for them
    "reports": "SELECT domain, count(*), bit_xor(hash(report_uid)) FROM reports GROUP BY ALL",
    "tls": """
        SELECT policy_domain, count(*), bit_xor(hash(report_uid, position)) FROM tls GROUP BY ALL
    """,
    "failures": "SELECT domain, count(*), bit_xor(hash(report_uid)) FROM failures GROUP BY ALL",
    # a run that finds the same again changes nothing
    "findings": """
        SELECT domain, count(*), bit_xor(hash(made)) FROM (
            SELECT DISTINCT domain, (fingerprint, severity, status, messages, mute_reason) AS made
            FROM findings
        ) GROUP BY domain
    """,
    "postmaster": """
        SELECT domain, count(*), bit_xor(hash("day", metric, detail, pulled)) FROM postmaster
        GROUP BY ALL
    """,
    "dns": "SELECT domain, count(*), bit_xor(hash(day, record, name)) FROM dns GROUP BY ALL",
    # host names say who a sender is, whatever the domain
    "ptr": "SELECT '', count(*), bit_xor(hash(address, name)) FROM ptr",
}
_CODE = {".py", ".j2", ".js", ".css", ".csv", ".json", ".mo"}


def inputs(lake: Lake) -> dict[str, dict[str, list[str]]]:
    """Domain → table → number of rows and a hash of their keys; ``""`` holds what all share."""
    found: dict[str, dict[str, list[str]]] = {}
    for table, query in _TABLES.items():
        columns = [column.to_pylist() for column in lake.arrow(query).columns]
        for domain, rows, keys in zip(*columns, strict=True):
            found.setdefault(domain or "", {})[table] = [str(rows), str(keys)]
    return found


def manifest(
    notebook: Path,
    parameters: Mapping[str, Any],
    settings: Settings,
    window: Window,
    tables: Mapping[str, Mapping[str, list[str]]],
) -> dict[str, Any]:
    """Everything that decides what the page of ``parameters["domain"]`` shows, and its hash.

    `tables` comes from `inputs`. Secrets are no part of it.
    """
    domain = str(parameters.get("domain", "")).lower()
    parts: dict[str, Any] = {
        "notebook": hashlib.sha256(notebook.read_bytes()).hexdigest(),
        "parameters": dict(parameters),
        "window": [f"{window.start:%Y-%m-%d}", f"{window.last_day:%Y-%m-%d}"],
        "tables": {
            **tables.get("", {}),
            # Postmaster Tools of the organisation speaks for a domain below it
            **{k: v for k, v in tables.get(organisation(domain), {}).items() if k == "postmaster"},
            **tables.get(domain, {}),
        },
        "settings": _hash(settings.model_dump(mode="json", exclude=_NOT_SHOWN)),
        "mmdb": _file_state(settings.mmdb),
        "code": code_hash(),
        "versions": versions(),
    }
    return {"hash": _hash(parts), **parts}


@cache
def code_hash() -> str:
    """A hash of dmarckit itself: an edited file makes new pages without a new version."""
    package = Path(__file__).parent.parent
    state = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.suffix in _CODE and "demo" not in path.parts and path.is_file():
            state.update(path.relative_to(package).as_posix().encode() + b"\0")
            state.update(path.read_bytes())
    return state.hexdigest()


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _file_state(path: Path | None) -> list[int]:
    if path is None or not path.is_file():
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
