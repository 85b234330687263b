"""SQL that recomputes a finding's number from the lake, for whoever doubts it.

The texts run as they are in `Lake.sql` or any DuckDB with the tables `records`, `reports`,
`tls` and `mails`; each gives one row whose first column is the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

FAILS = "dkim_aligned IS NOT TRUE AND spf_aligned IS NOT TRUE"
BLOCKED = "disposition IN ('quarantine', 'reject')"
DAY = timedelta(days=1)


def text(value: str) -> str:
    """A SQL string.

    >>> text("o'neil")
    "'o''neil'"
    """
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """`column` is one of the values; never true for none."""
    listed = ", ".join(text(value) for value in sorted(set(values)))
    return f"{column} IN ({listed})" if listed else "false"


def time(value: datetime) -> str:
    """A point in time as a SQL literal."""
    return f"TIMESTAMPTZ '{value:%Y-%m-%d %H:%M:%S}+00'"


def messages(domain: str, days: Sequence[datetime], now: datetime, *conditions: str) -> str:
    """Messages of the records of a domain on whole UTC days, under SQL conditions.

    As in the facts: a report of at most 24 hours belongs to the day that holds its middle,
    a longer one counts for each day in proportion.
    """
    where = [f"domain = {text(domain)}", "messages > 0", f'"begin" < {time(now)}', *conditions]
    share = " + ".join(_share(first, after) for first, after in ranges(days)) or "0"
    return (
        f"SELECT coalesce(round(sum(messages * ({share}))), 0)::BIGINT AS messages "  # noqa: S608
        f"FROM records WHERE {' AND '.join(f'({condition})' for condition in where)}"
    )


def any_of(column: str, condition: str) -> str:
    """One element (`x`) of a list column fulfils the condition."""
    return f"EXISTS (SELECT 1 FROM (SELECT unnest({column}) AS x) WHERE {condition})"  # noqa: S608


def signed(domain: str, selector: str) -> str:
    """The message carries a signature of this d= and s=, whatever became of it."""
    return any_of("dkim", _is_signature(domain, selector))


def verified(domain: str, selector: str) -> str:
    """A signature of this d= and s= passes."""
    return any_of("dkim", f"{_is_signature(domain, selector)} AND x.result = 'pass'")


def _is_signature(domain: str, selector: str) -> str:
    return f"lower(x.domain) = {text(domain)} AND coalesce(x.selector, '') = {text(selector)}"


RELAYED = any_of(
    "reasons",
    "x.type IN ('forwarded', 'trusted_forwarder', 'mailing_list') "
    "OR contains(lower(x.comment), 'arc=pass')",
)
_GOOD = "x.result = 'pass'"
PASSES_RAW = f"{any_of('spf', _GOOD)} OR {any_of('dkim', _GOOD)}"


def unaligned(own_signers: Iterable[str]) -> str:
    """Fails DMARC, not relayed, no signature of `own_signers`, and proves another domain."""
    own = any_of("dkim", one_of("lower(x.domain)", own_signers))
    return f"{FAILS} AND NOT {RELAYED} AND NOT {own} AND ({PASSES_RAW})"


def unproven(own_signers: Iterable[str]) -> str:
    """Fails DMARC, not relayed, no signature of `own_signers`, and proves nothing at all."""
    own = any_of("dkim", one_of("lower(x.domain)", own_signers))
    return f"{FAILS} AND NOT {RELAYED} AND NOT {own} AND NOT ({PASSES_RAW})"


def mails(outcome: str, sender: str, start: datetime, now: datetime) -> str:
    """Objects of one sender and outcome that were received in [start, now)."""
    return (
        f"SELECT count(*) AS mails FROM mails WHERE outcome = {text(outcome)} "  # noqa: S608
        f"AND coalesce(from_domain, '') = {text(sender)} "
        f"AND received >= {time(start)} AND received < {time(now)}"
    )


def sessions(domain: str, result: str, start: datetime, now: datetime) -> str:
    """TLS sessions of a domain that failed with a result type; "" for those without one."""
    where = f'policy_domain = {text(domain)} AND "end" > {time(start)} AND "begin" < {time(now)}'
    if not result:
        told = "SELECT sum(x.sessions) FROM (SELECT unnest(details) AS x)"
        return f"SELECT sum(failed - coalesce(({told}), 0))::BIGINT FROM tls WHERE {where}"  # noqa: S608
    return (
        "SELECT sum(x.sessions)::BIGINT AS sessions "  # noqa: S608
        f"FROM (SELECT unnest(details) AS x FROM tls WHERE {where}) "
        f"WHERE x.result_type = {text(result)}"
    )


def ranges(days: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Days in a row as (first, the day after the last)."""
    found: list[tuple[datetime, datetime]] = []
    for day in sorted(set(days)):
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], day + DAY)
        else:
            found.append((day, day + DAY))
    return found


def _share(first: datetime, after: datetime) -> str:
    a, b = time(first), time(after)
    length = 'epoch("end") - epoch("begin")'
    middle = 'epoch("begin") + epoch("end")'
    inside = f"({middle} >= 2 * epoch({a}) AND {middle} < 2 * epoch({b}))::INT"
    overlap = f'epoch(least("end", {b})) - epoch(greatest("begin", {a}))'
    return f"CASE WHEN {length} <= 86400 THEN {inside} ELSE greatest(0, {overlap}) / ({length}) END"
