"""SQL that recomputes a finding's number from the lake, for whoever doubts it.

The texts run as they are in `Lake.sql` or any DuckDB with the tables `records`, `reports`,
`tls`, `mails` and `dead_letters`; each gives one row whose first column is the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from dmarckit.facts import FORWARD_REASON

FAILS = "dkim_aligned IS NOT TRUE AND spf_aligned IS NOT TRUE"
DAY = timedelta(days=1)
ROUNDING = 1e-9  # what a rate may lack of a limit that it has reached


def text(value: str) -> str:
    """Return a SQL string.

    >>> text("o'neil")
    "'o''neil'"
    """
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """`column` is one of the values; never true for none."""
    listed = ", ".join(text(value) for value in sorted(set(values)))
    return f"{column} IN ({listed})" if listed else "false"


def time(value: datetime) -> str:
    """Return a point in time as a SQL literal.

    >>> time(datetime(2026, 11, 24, 9, 0, 0, 250000))
    "TIMESTAMPTZ '2026-11-24 09:00:00.250000+00'"
    """
    fraction = f".{value:%f}" if value.microsecond else ""  # else what is of this second is lost
    return f"TIMESTAMPTZ '{value:%Y-%m-%d %H:%M:%S}{fraction}+00'"


def messages(
    domain: str,
    days: Sequence[datetime],
    now: datetime,
    *conditions: str,
    also: Iterable[str] = (),
    without: Iterable[str] = (),
) -> str:
    """Messages of the records of a domain on whole UTC days, under SQL conditions.

    `also` and `without` are report_uids: of reports that name another domain and are about this
    one, and of reports that do not count.

    As in the facts: a report of at most 24 hours belongs to the day that holds its middle,
    a longer one counts for each day in proportion.
    """
    about, left_out = one_of("report_uid", also), one_of("report_uid", without)
    mine = f"domain = {text(domain)}"
    where = [
        mine if about == "false" else f"{mine} OR {about}",
        "messages > 0",
        f'"begin" < {time(now)}',
        *([] if left_out == "false" else [f"NOT {left_out}"]),
        *conditions,
    ]
    share = " + ".join(_share(first, after) for first, after in ranges(days)) or "0"
    return (
        f"SELECT coalesce(round_even(round(sum(messages * ({share})), 6), 0), 0)::BIGINT "  # noqa: S608
        "AS messages "
        f"FROM records WHERE {' AND '.join(f'({condition})' for condition in where)}"
    )


def any_of(column: str, condition: str) -> str:
    """Return the SQL test that one element (`x`) of a list column fulfils the condition."""
    return f"EXISTS (SELECT 1 FROM (SELECT unnest({column}) AS x) WHERE {condition})"  # noqa: S608


def signed(domain: str, selector: str, result: str = "") -> str:
    """Return the SQL test that the message carries a signature of this d= and s=, valid or not."""
    name = f"lower(x.domain) = {text(domain)} AND coalesce(x.selector, '') = {text(selector)}"
    # "none" without a selector is a message without a signature (RFC 8601 section 2.7.1)
    there = "(coalesce(x.result, 'none') <> 'none' OR nullif(x.selector, '') IS NOT NULL)"
    return any_of("dkim", f"{name} AND {there}{result}")


def verified(domain: str, selector: str) -> str:
    """Return the SQL test that a signature of this d= and s= passes."""
    return signed(domain, selector, f" AND {_GOOD}")


def verified_by(domains: Iterable[str]) -> str:
    """Return the SQL test that a signature of one of these d= passes."""
    return any_of("dkim", f"{one_of('lower(x.domain)', domains)} AND {_GOOD}")


_GOOD = "x.result = 'pass'"
PASSES_RAW = f"{any_of('spf', _GOOD)} OR {any_of('dkim', _GOOD)}"


def passes_exactly() -> str:
    """A DKIM signature or SPF passes for just the author's domain."""
    same = f"{_GOOD} AND lower(x.domain) = lower(coalesce(header_from, domain))"
    helo = "coalesce(lower(x.scope), '') = 'helo'"
    no_sender = f"len([1 FOR x IN coalesce(spf, []) IF NOT ({helo})]) = 0"
    return (
        f"len([1 FOR x IN coalesce(dkim, []) IF {same}]) > 0 OR len([1 FOR x IN coalesce(spf, []) "
        f"IF {same} AND NOT ({helo})]) > 0 OR ({no_sender} AND len([1 FOR x IN coalesce(spf, []) "
        f"IF {same}]) > 0)"
    )


def proves_spf(domains: Iterable[str]) -> str:
    """Raw SPF passes for one of the domains."""
    return any_of("spf", f"{_GOOD} AND {one_of('lower(x.domain)', domains)}")


def proves_dkim(domains: Iterable[str]) -> str:
    """A signature of one of the domains passes."""
    return any_of("dkim", f"{_GOOD} AND {one_of('lower(x.domain)', domains)}")


def unexplained(known: Iterable[str]) -> str:
    """Fails DMARC, not relayed, and none of the predicates of what is known holds."""
    return f"{FAILS} AND NOT {FORWARD_REASON} AND NOT ({' OR '.join(known) or 'false'})"


def _count(name: str, table: str, *conditions: str) -> str:
    return f"SELECT count(*) AS {name} FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608


def count_mails(outcome: str, sender: str | None, start: datetime, now: datetime) -> str:
    """Objects of an outcome that were received in [start, now), of one sender or (None) of all."""
    where = [f"outcome = {text(outcome)}"]
    if sender is not None:
        where.append(f"coalesce(from_domain, '') = {text(sender)}")
    return _count("mails", "mails", *where, *_between("received", start, now))


def count_dead_letters(queue: str, start: datetime, now: datetime) -> str:
    """Messages of a queue that could not be taken, first seen in [start, now)."""
    where = f"queue = {text(queue)}", *_between("seen", start, now)
    return _count("messages", "dead_letters", *where)


def _between(column: str, start: datetime, now: datetime) -> tuple[str, str]:
    return f"{column} >= {time(start)}", f"{column} < {time(now)}"


def _overlap(start: datetime, now: datetime) -> str:
    return f'"end" > {time(start)} AND "begin" < {time(now)}'


def sessions(domain: str, result: str, start: datetime, now: datetime) -> str:
    """TLS sessions of a domain that failed with a result type; "" for those without one."""
    where = f"coalesce(policy_domain, '') = {text(domain)} AND {_overlap(start, now)}"
    if not result:
        told = "SELECT sum(x.sessions) FROM (SELECT unnest(details) AS x)"
        return f"SELECT sum(failed - coalesce(({told}), 0))::BIGINT FROM tls WHERE {where}"  # noqa: S608
    return (
        "SELECT sum(x.sessions)::BIGINT AS sessions "  # noqa: S608
        f"FROM (SELECT unnest(details) AS x FROM tls WHERE {where}) "
        f"WHERE x.result_type = {text(result)}"
    )


_NORMAL = {
    "p": "coalesce(nullif(p, ''), 'none')",
    "sp": "coalesce(nullif(sp, ''), nullif(p, ''), 'none')",
    "np": "coalesce(nullif(np, ''), nullif(sp, ''), nullif(p, ''), 'none')",
    "pct": "coalesce(pct, 100)::VARCHAR",
    "testing": "CASE WHEN testing = 'y' THEN 'y' ELSE 'n' END",
    "adkim": "CASE WHEN adkim = 's' THEN 's' ELSE 'r' END",
    "aspf": "CASE WHEN aspf = 's' THEN 's' ELSE 'r' END",
}


def spelt(spellings: Iterable[tuple[str, str, str]], unclear: Iterable[str]) -> str:
    """Return the SQL test that a report or record is of the reporter that has these spellings.

    Of each its org_name, contact, and the From domain that passed DMARC. `unclear`: org_names that
    others have too.
    """
    shared = set(unclear)
    rows = sorted(set(spellings))
    plain = one_of("coalesce(reporter, '')", (row[0] for row in rows if row[0] not in shared))
    listed = ", ".join(f"({', '.join(map(text, row))})" for row in rows if row[0] in shared)
    if not listed:
        return plain
    exactly = (
        "report_uid IN (SELECT report_uid FROM reports WHERE (coalesce(reporter, ''), "  # noqa: S608
        f"coalesce(contact, ''), coalesce(authenticated_from, '')) IN ({listed}))"
    )
    return exactly if plain == "false" else f"({plain} OR {exactly})"


def _reporter(tests: Mapping[str, str]) -> str:
    """Return the SQL expression for the name of the reporter whose test (`spelt`) is true."""
    cases = " ".join(f"WHEN ({test}) THEN {text(name)}" for name, test in sorted(tests.items()))
    return f"CASE {cases} END" if cases else "NULL"


def quoting(
    domain: str,
    column: str,
    value: str,
    start: datetime,
    now: datetime,
    reporters: Mapping[str, str],
) -> str:
    """Return the query for how many reporters quote this value, defaults filled in.

    `reporters` are names with their tests (`spelt`).
    """
    return (
        f"SELECT count(DISTINCT {_reporter(reporters)}) AS reporters FROM reports WHERE "  # noqa: S608
        f'domain = {text(domain)} AND "begin" >= {time(start)} AND "begin" < {time(now)} '
        f"AND {_NORMAL[column]} = {text(value)}"
    )


def unhonoured(domain: str, reporter: str, days: Sequence[datetime], now: datetime) -> str:
    """Messages that failed under reject and were delivered without a reason.

    `reporter` is the test of who reported them (`spelt`).
    """
    quoted = (
        f"SELECT report_uid FROM reports WHERE domain = {text(domain)} "  # noqa: S608
        "AND coalesce(testing, 'n') <> 'y' AND coalesce(pct, 100) = 100 AND"
    )
    lenient = "SELECT domain FROM reports WHERE lower(sp) IN ('none', 'quarantine')"
    strict = (
        f"(header_from = domain AND report_uid IN ({quoted} p = 'reject')) OR "
        f"(header_from <> domain AND report_uid IN "
        f"({quoted} coalesce(nullif(sp, ''), p) = 'reject' "
        "AND coalesce(nullif(np, ''), nullif(sp, ''), p) = 'reject' "
        f"AND (sp <> '' OR domain NOT IN ({lenient}))))"
    )
    return messages(
        domain,
        days,
        now,
        reporter,
        FAILS,
        "disposition = 'none'",
        f"NOT {any_of('reasons', 'x.type IS NOT NULL OR x.comment IS NOT NULL')}",
        strict,
    )


def _pairs(pairs: Iterable[tuple[str, str]], reporters: Mapping[str, str]) -> str:
    listed = ", ".join(f"({text(d)}, {text(r)})" for d, r in sorted(set(pairs)))
    return f"(domain, {_reporter(reporters)}) IN ({listed})"


def reports_of(
    pairs: Iterable[tuple[str, str]], reporters: Mapping[str, str], since: datetime, now: datetime
) -> str:
    """Reports of (domain, reporter) that end after `since`; reporters with tests (`spelt`)."""
    ends = f'"end" > {time(since)}', f'"end" <= {time(now + DAY)}', f'"begin" < {time(now)}'
    return _count("reports", "reports", _pairs(pairs, reporters), *ends)


def count_listed(uids: Iterable[str]) -> str:
    """Reports by their report_uid."""
    return _count("reports", "reports", one_of("report_uid", uids))


def rivals(domain: str, reporter: str, start: datetime, now: datetime) -> str:
    """Reports of a reporter (its test) that say something else than the first with their id."""
    where = f"domain = {text(domain)}", f"({reporter})", "rival_of IS NOT NULL"
    return _count("reports", "reports", *where, _overlap(start, now))


def sent_by(
    reporters: Iterable[str], domains: Iterable[str], start: datetime, now: datetime
) -> str:
    """Reports of reporters (their tests) whose mail came from one of the domains."""
    where = f"({' OR '.join(sorted(reporters))})", one_of("authenticated_from", domains)
    return _count("reports", "reports", *where, _overlap(start, now))


def silent(
    pairs: Iterable[tuple[str, str]], reporters: Mapping[str, str], last: datetime, now: datetime
) -> str:
    """Return the query for how many of the pairs have no report that ends after `last`."""
    return (
        "SELECT count(*) AS silent FROM (SELECT domain FROM reports "  # noqa: S608
        f"WHERE {_pairs(pairs, reporters)} "
        f'AND "end" <= {time(now + DAY)} AND "begin" < {time(now)} '
        f'GROUP BY domain, {_reporter(reporters)} HAVING max("end") <= {time(last)})'
    )


def hours_without_mail(now: datetime) -> str:
    """Whole hours since the last mail came in, or the last report ends."""
    at = time(now)
    return (
        f"SELECT floor((epoch({at}) - greatest("  # noqa: S608
        f"coalesce((SELECT max(epoch(received)) FROM mails WHERE received <= {at}), 0), "
        f'coalesce((SELECT max(epoch("end")) FROM reports WHERE "end" <= {at}), 0)'
        ")) / 3600)::BIGINT AS hours"
    )


def postmaster_days(
    domain: str, metric: str, detail: str, first: datetime, last: datetime, at_least: float
) -> str:
    """Days, both ends included, on which a rate of Postmaster Tools has reached a share."""
    return (
        'SELECT count(*) AS days FROM (SELECT "day", arg_max(share, pulled) AS share '  # noqa: S608
        f"FROM postmaster WHERE domain = {text(domain)} AND metric = {text(metric)} "
        f'AND detail = {text(detail)} AND "day" BETWEEN {time(first)} AND {time(last)} '
        f'GROUP BY "day") WHERE share >= {at_least - ROUNDING!r}'
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
