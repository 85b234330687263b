"""The statements that reduce millions of records to small tables, inside DuckDB.

Each record is looked at twice. First for its *pattern*: all that it says apart from who
reported it, when, of which address, what was done, and how many messages; there are few
of these. Then it becomes a row of numbers that names its pattern. What follows joins such
rows with tables that Python made of the patterns and the senders alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from dmarckit.lake import Lake

DAY_US = 86_400_000_000
MEMORY = "1000MB"
"""what DuckDB may use before it spills to disk; pandas needs up to as much again beside it"""

NAME = "CREATE TEMP MACRO name(text) AS nullif(lower(rtrim(trim(form(text)), '.')), '')"
"""Names within lists as they are compared; those of columns come so from the lake."""


OLD_RESULTS = {
    "unknown": "temperror", "error": "permerror", "invalid": "permerror",
    "hardfail": "fail", "hard_fail": "fail", "hard-fail": "fail",
}  # fmt: skip
"""words of older RFCs (7489 appendix C, 4408 section 2.5.7) → what they are called today"""


def result_meaning(column: str) -> str:
    """Return SQL: a raw SPF or DKIM result in the words of RFC 8601 section 2.7, in lower case."""
    word = f"lower(trim({column}))"
    old = " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in OLD_RESULTS.items())
    return f"CASE {word} {old} ELSE {word} END"


_RAW = "domain, header_from, da, sa, dkim, spf, reasons"

KEYS = f"hash({_RAW})", f"row({_RAW})"
"""What tells patterns apart: the second where two of them have the same hash."""

CHOSEN = """
CREATE OR REPLACE TEMP {what} chosen AS SELECT *, {key} AS key FROM (SELECT
    coalesce(domain, '') AS domain,
    coalesce(header_from, '') AS header_from,
    coalesce(dkim_aligned, false) AS da,
    coalesce(spf_aligned, false) AS sa,
    [{{'domain': x.domain, 'selector': x.selector, 'result': x.result}}
        FOR x IN coalesce(dkim, [])] AS dkim,
    [{{'domain': x.domain, 'scope': x.scope, 'result': x.result}}
        FOR x IN coalesce(spf, [])] AS spf,
    coalesce(reasons, []) AS reasons,
    coalesce(reporter, '') AS reporter,
    coalesce(source_ip, '') AS ip,
    coalesce(lower(trim(disposition)), '') AS disposition,
    envelope_from,
    report_uid,
    "position",
    begin,
    "end",
    epoch_us(begin) AS begin_us,
    epoch_us("end") AS end_us,
    least(messages, 1000000000000) AS messages
FROM counted WHERE messages > 0 AND {where})
"""
"""The records that count, without nulls; a table where they are few, for they are read six times.
Counts are bounded so that no sum overflows."""

PERIODS = f"""
CREATE TEMP TABLE periods AS
SELECT row_number() OVER () AS period, begin_us, end_us
FROM (SELECT DISTINCT begin_us, end_us FROM chosen);

CREATE TEMP TABLE days AS
WITH bounded AS (
    SELECT period, begin_us, end_us - begin_us AS length, end_us,
        greatest(begin_us, end_us - 366 * {DAY_US}) AS first_us
    FROM periods
), spread AS (
    SELECT *, unnest(CASE WHEN length <= {DAY_US}
        THEN [(begin_us + greatest(length, 0) // 2) // {DAY_US}]
        ELSE range(first_us // {DAY_US}, (end_us - 1) // {DAY_US} + 1) END) AS day
    FROM bounded
)
SELECT period, day::INTEGER AS day, CASE WHEN length <= {DAY_US} THEN 1.0::DOUBLE ELSE
    (least(end_us, (day + 1) * {DAY_US}) - greatest(first_us, day * {DAY_US}))::DOUBLE
    / (end_us - first_us) END AS share
FROM spread WHERE day * {DAY_US} >= {{start_us}} AND day * {DAY_US} < {{now_us}}
"""  # noqa: S608
"""Period of a report → its days in the window, with the share of its messages on each.

A day at most belongs to the day of its middle; a longer one to all its days in proportion.
What claims to be longer than 366 days counts as the last 366 of them.
"""

_REQUIREMENT = r"sender requirement failed:\s*(\d{3}[- ]\d\.\d{1,3}\.\d{1,3})"

FORWARD_REASON = (
    "len([1 FOR x IN coalesce(reasons, []) IF coalesce(lower(trim(x.type)), '') "
    "IN ('forwarded', 'trusted_forwarder', 'mailing_list') "
    r"OR regexp_matches(coalesce(x.comment, ''), 'arc\s*=\s*pass', 'i')]) > 0"
)
"""A record's receiver says that it was forwarded, came through a list, or had a valid ARC seal."""

RAW = f"""
CREATE OR REPLACE TEMP TABLE raw AS
SELECT (row_number() OVER () - 1)::INTEGER AS pattern, *
FROM (SELECT DISTINCT key, {_RAW} FROM chosen);

SELECT count(DISTINCT key) = count(*) AS apart FROM raw
"""  # noqa: S608
"""What records say, once each, and whether their keys tell them apart."""

PATTERNS = rf"""
CREATE TEMP TABLE patterns AS
WITH listed AS (
    SELECT pattern, domain, da, sa, coalesce(name(header_from), domain) AS header_from,
        -- "none" is a message without a signature (RFC 8601 section 2.7.1)
        list_sort(list_distinct([
            {{'d': name(x.domain), 's': coalesce(name(x.selector), ''),
              'passed': coalesce(lower(trim(x.result)) = 'pass', false)}}
            FOR x IN dkim IF name(x.domain) IS NOT NULL AND
            (coalesce(lower(trim(x.result)), 'none') <> 'none' OR name(x.selector) IS NOT NULL)
        ])) AS dkim,
        [{{'d': name(x.domain), 'r': coalesce({result_meaning("x.result")}, '')}}
            FOR x IN spf IF coalesce(lower(trim(x.scope)), '') <> 'helo'] AS mfrom,
        [{{'d': name(x.domain), 'r': coalesce({result_meaning("x.result")}, '')}}
            FOR x IN spf IF coalesce(lower(trim(x.scope)), '') = 'helo'] AS helo,
        [x FOR x IN reasons IF x.type IS NOT NULL OR x.comment IS NOT NULL] AS reasons
    FROM raw
), single AS (
    SELECT *, CASE WHEN len(mfrom) > 0 THEN mfrom ELSE helo END AS checked,
        [x.d FOR x IN mfrom IF x.r = 'pass'][1] AS mfrom_pass,
        [x.d FOR x IN helo IF x.r = 'pass'][1] AS helo_pass
    FROM listed
)
SELECT pattern, domain, header_from, da, sa, dkim,
    coalesce(checked[1].d, '') AS spf_domain,
    coalesce(checked[1].r, '') AS spf_result,
    len(checked) > 0 AS spf_given,
    coalesce(mfrom_pass, helo_pass) AS spf_pass,
    CASE WHEN len(mfrom) > 0 THEN mfrom_pass ELSE helo_pass END AS spf_identity,
    array_to_string([x.d || chr(30) || x.s FOR x IN dkim IF x.passed], chr(31)) AS dkim_pass,
    len(reasons) > 0 AS excused,
    {FORWARD_REASON} AS forward_reason,
    list_distinct([regexp_extract(x.comment, '{_REQUIREMENT}', 1, 'i')
        FOR x IN reasons
        IF regexp_matches(coalesce(x.comment, ''), '{_REQUIREMENT}', 'i')]) AS requirements
FROM single
"""  # noqa: S608
"""What `raw` means. `spf_pass` is the domain of the passing raw SPF result (MAIL
FROM first), `spf_identity` the one that DMARC looks at: HELO only where there is no MAIL
FROM (RFC 7489 section 3.1.2). `dkim_pass`: d= and s= of the signatures that pass."""

REPORTERS = """
CREATE TEMP TABLE exceptions AS
SELECT report_uid, CASE WHEN spellings.unclear THEN spellings.name END AS reporter,
    misplaced.parent AS domain, repeated.report_uid IS NOT NULL AS repeated
FROM reports
LEFT JOIN spellings ON coalesce(reports.reporter, '') = spellings.reporter
    AND coalesce(reports.contact, '') = spellings.contact
    AND coalesce(authenticated_from, '') = spellings.sent_by
LEFT JOIN misplaced ON misplaced.name = spellings.name AND misplaced.domain = reports.domain
    AND begin >= misplaced.since
LEFT JOIN repeated USING (report_uid)
WHERE {overlap} AND (spellings.unclear OR misplaced.parent IS NOT NULL OR repeated.report_uid
    IS NOT NULL);

CREATE TEMP VIEW reported AS
SELECT reports.* REPLACE (coalesce(exceptions.domain, reports.domain) AS domain),
    coalesce(reports.reporter, '') AS spelling, coalesce(reports.contact, '') AS written_contact,
    coalesce(authenticated_from, '') AS sent_by,
    coalesce(spellings.name, reports.reporter, '') AS name, coalesce(provider, '') AS provider,
    CASE WHEN exceptions.domain IS NOT NULL THEN 'misplaced ' || reports.domain
        WHEN exceptions.repeated THEN 'repeated'
        WHEN rival_of IS NOT NULL THEN 'rival'
        WHEN settled THEN 'settled' ELSE '' END AS oddity
FROM reports
LEFT JOIN spellings ON coalesce(reports.reporter, '') = spellings.reporter
    AND coalesce(reports.contact, '') = spellings.contact
    AND coalesce(authenticated_from, '') = spellings.sent_by
LEFT JOIN exceptions USING (report_uid)
"""
"""`reported`: reports with the reporter's `name` and the domain that they are about."""

COUNTED = "CREATE TEMP VIEW counted AS SELECT * FROM records"
COUNTED_WITH_EXCEPTIONS = """
CREATE TEMP VIEW counted AS
SELECT records.* REPLACE (coalesce(exceptions.reporter, records.reporter) AS reporter,
    coalesce(exceptions.domain, records.domain) AS domain)
FROM records LEFT JOIN exceptions USING (report_uid) WHERE repeated IS NOT TRUE
"""

NAMES = """
CREATE TEMP TABLE reporters AS
SELECT (dense_rank() OVER (ORDER BY name, provider) - 1)::INTEGER AS reporter_id, *
FROM (SELECT reporter, coalesce(name, reporter) AS name, coalesce(provider, '') AS provider
    FROM (SELECT DISTINCT reporter FROM chosen) LEFT JOIN reporter_names USING (reporter));

CREATE TEMP TABLE dispositions AS
SELECT (row_number() OVER (ORDER BY disposition) - 1)::INTEGER AS disposition_id, disposition
FROM (SELECT DISTINCT disposition FROM chosen)
"""

ORIGINS = """
CREATE TEMP TABLE origins AS
SELECT (row_number() OVER () - 1)::INTEGER AS origin, *
FROM (SELECT DISTINCT domain, header_from, coalesce(spf_pass, '') AS spf_pass, dkim_pass
    FROM patterns);

CREATE TEMP TABLE origin_of AS
SELECT pattern, origin FROM patterns
JOIN origins ON patterns.domain = origins.domain AND patterns.header_from = origins.header_from
    AND coalesce(patterns.spf_pass, '') = origins.spf_pass
    AND patterns.dkim_pass = origins.dkim_pass
"""
"""What of a pattern says who delivered it, the address apart."""

RECORDS = """
CREATE TEMP TABLE ips AS
SELECT (row_number() OVER () - 1)::INTEGER AS address, ip FROM (SELECT DISTINCT ip FROM chosen);

CREATE TEMP TABLE thin AS
SELECT pattern, origin, reporter_id, period, address, disposition_id,
    messages::BIGINT AS messages
FROM chosen JOIN raw USING (key)
JOIN origin_of USING (pattern)
JOIN ips USING (ip)
JOIN reporters USING (reporter)
JOIN dispositions USING (disposition)
JOIN periods USING (begin_us, end_us)
WHERE period IN (SELECT period FROM days)
"""

SOURCES = """
CREATE TEMP TABLE failing AS
SELECT DISTINCT address FROM thin JOIN origins USING (origin) WHERE spf_pass = '';

CREATE TEMP VIEW placed AS
SELECT thin.*, CASE WHEN always OR failing.address IS NOT NULL THEN thin.address ELSE -1 END
    AS place
FROM thin JOIN always USING (origin) LEFT JOIN failing ON thin.address = failing.address
"""
"""Where the address does not help to tell who delivered, it is left out (`place`), for
services send from thousands: SPF passes, and this address nowhere fails it."""

SENT = """
CREATE TEMP TABLE sent AS
SELECT pattern, sender_id, reporter_id, period, address, disposition_id, messages
FROM placed JOIN delivered USING (origin, place);

DROP VIEW placed;
DROP TABLE thin
"""

REDUCED = """
CREATE TEMP TABLE reduced AS
SELECT pattern, reporter_id, day, sender_id, disposition_id, bool_or(share >= 1) AS dated,
    {sum} AS messages
FROM sent JOIN days USING (period)
GROUP BY ALL
"""
"""`dated`: a report of this day alone says that something was sent on it."""

MESSAGES = "sum(messages)::BIGINT"
SPREAD_MESSAGES = "sum(messages * share)"
"""How messages are summed: the second form when a report had to be spread over its days."""

ADDRESSES = """
CREATE TEMP TABLE addresses AS
SELECT domain_id, sender_id, address, {sum} AS messages, round(coalesce(
        sum(messages * share) FILTER (day >= {week} AND NOT da AND NOT sa), 0))::BIGINT AS failed,
    min(day) AS first_day, max(day) AS last_day
FROM sent JOIN days USING (period)
JOIN said USING (pattern)
GROUP BY ALL;

CREATE TEMP TABLE signing AS
SELECT pattern, sender_id, address, {sum} AS messages
FROM sent JOIN days USING (period)
WHERE day >= {week} AND pattern IN (SELECT pattern FROM signed WHERE aligned AND signature_id IN
    (SELECT signature_id FROM signed WHERE aligned AND NOT passed))
GROUP BY ALL;

DROP TABLE sent;
"""
"""`signing`: what addresses sent in the last week with a signature that fails somewhere."""

SEEN = """
SELECT domain_id, sender_id, sum(messages) AS messages,
    coalesce(sum(messages) FILTER (backed), 0) AS sa_messages,
    min(day) AS first_day, max(day) AS last_day
FROM reduced JOIN said USING (pattern) GROUP BY ALL
"""

PASSING = """
SELECT domain_id, sender_id, signature_id, sum(messages) AS messages, bool_or(backed) AS sa
FROM reduced JOIN said USING (pattern) JOIN signed USING (pattern)
WHERE da AND passed AND aligned GROUP BY ALL
"""

CANDIDATES = """
CREATE TEMP TABLE unexplained AS
SELECT domain_id, sender_id, proof_id, bit_or(CASE WHEN dated THEN 1::BIGINT << (day - {since})
    ELSE 0 END) AS days, sum(messages)::DOUBLE AS messages
FROM reduced JOIN said USING (pattern)
WHERE unexplained AND day >= {since}
    AND NOT (foreign_pass AND sender_id IN (SELECT sender_id FROM services))
    AND NOT EXISTS (SELECT 1 FROM decided
        WHERE decided.domain_id = said.domain_id AND decided.sender_id = reduced.sender_id)
GROUP BY ALL;

CREATE TEMP TABLE candidates AS
SELECT domain_id, sender_id, bit_or(days) AS days, sum(messages)::DOUBLE AS messages
FROM unexplained GROUP BY ALL HAVING bit_count(bit_or(days)) >= {least};

SELECT domain_id, sender_id, any_value(messages) AS messages,
    any_value(bit_count(days)) AS days,
    any_value(floor(log2(days)) - floor(log2(days & -days)) + 1)::INTEGER AS span,
    count(*) AS addresses, count(DISTINCT CASE WHEN contains(ip, ':')
        THEN concat_ws(':', groups[1], nullif(groups[2], '0') || ':', nullif(groups[3], '0'))
        ELSE array_to_string(octets[:3], '.') END) AS networks
FROM (SELECT candidates.*, ip, string_split(split_part(ip, '::', 1), ':') AS groups,
    string_split(ip, '.') AS octets
    FROM candidates JOIN addresses USING (domain_id, sender_id) JOIN ips USING (address)
    WHERE last_day >= {since})
GROUP BY ALL HAVING networks <= {networks}
"""
"""Who fails without an explanation on some days of the last weeks (bits of `days`, the first
of them the lowest) and from few networks (as `networks.network_key`: /24, /48). `decided`: in
the inventory, or denied."""

PROOFS = """
SELECT domain_id, sender_id, proof_id, sum(messages)::DOUBLE AS messages
FROM unexplained SEMI JOIN found USING (domain_id, sender_id) WHERE proof_id >= 0 GROUP BY ALL
"""

JUDGED = """
CREATE TEMP TABLE judged AS SELECT reduced.*, judge FROM reduced JOIN judges USING (sender_id);

CREATE TEMP TABLE ways AS SELECT DISTINCT pattern, judge FROM judged;

DROP TABLE reduced;
"""
"""What is classified: patterns by sender. Senders that no rule of the classes looks at share
one `judge`, or the networks of spoofers alone would be millions."""

_MARKED = """(SELECT * FROM chosen WHERE len([1 FOR x IN reasons
    IF contains(lower(coalesce(x.comment, '')), 'sender requirement failed')]) > 0) AS chosen"""

_CLASSED = "FROM judged JOIN said USING (pattern) JOIN classes USING (pattern, judge)"

JUDGED_RECORDS = """chosen JOIN raw USING (key)
JOIN periods USING (begin_us, end_us)
JOIN origin_of USING (pattern) JOIN always USING (origin)
JOIN ips USING (ip) LEFT JOIN failing ON ips.address = failing.address
JOIN delivered ON delivered.origin = origin_of.origin AND delivered.place =
    CASE WHEN always OR failing.address IS NOT NULL THEN ips.address ELSE -1 END
JOIN judges USING (sender_id) JOIN classes USING (pattern, judge)"""
"""The single records, with their `sender_id` and `class_id`."""

NAMED_RECORDS = f"""
WITH parts AS (
    SELECT period, sum(share) AS share, to_timestamp(min(day) * 86400) AS day,
        strftime(DATE '1970-01-01' + min(day), '%Y-%m') AS month
    FROM days JOIN periods USING (period)
    WHERE day * {DAY_US} >= {{first_us}} AND day * {DAY_US} < {{end_us}} GROUP BY {{by}}
), named AS (
    SELECT parts.day, chosen.domain, patterns.header_from, sender_names.sender,
        sender_names.sender_kind, class_names.class, in_inventory, chosen.messages, parts.share,
        chosen.disposition, chosen.da AS dkim_aligned, chosen.sa AS spf_aligned,
        chosen.ip AS source_ip, address_names.country, address_names.network, address_names.host,
        chosen.reporter, chosen.reasons, chosen.dkim, chosen.spf, chosen.envelope_from,
        chosen.begin, chosen."end", chosen.report_uid, chosen."position", parts.month
    FROM {JUDGED_RECORDS}
    JOIN parts USING (period) JOIN patterns USING (pattern)
    JOIN sender_names USING (sender_id) JOIN class_names USING (class_id)
    LEFT JOIN address_names ON address_names.source_ip = chosen.ip
)
SELECT {{columns}} FROM named {{order}}
"""  # noqa: S608
"""The records of some days in words: `lake.MESSAGES`."""

EACH_DAY = f"""period, CASE WHEN end_us - begin_us <= 7 * {DAY_US} THEN day
    ELSE day - dayofmonth(DATE '1970-01-01' + day) END"""
"""A row for each day; for each month of what claims to be longer than a week: reports of 90 days
would make 90 rows of each record, which anyone can send by the million."""

FRAMES = {
    "messages": f"""
SELECT domain_id, day, reporter_id, sender_id, author_id, class_id, disposition_id, da, sa,
    in_inventory, ours, {{sum}} AS messages {_CLASSED} GROUP BY ALL""",
    "signatures": f"""
SELECT domain_id, day, reporter_id, sender_id, in_inventory, of_ours AS ours, author_id,
    signature_id, passed, aligned, living, covered, disposition_id, {{sum}} AS messages
    {_CLASSED} JOIN signed USING (pattern) GROUP BY ALL""",
    "failing_hosts": """
WITH hosts AS (
    SELECT domain_id, signature_id, address,
        round(coalesce(sum(messages) FILTER (NOT passed), 0))::BIGINT AS failed,
        round(coalesce(sum(messages) FILTER (passed), 0))::BIGINT AS passed
    FROM signing JOIN said USING (pattern) JOIN judges USING (sender_id)
    JOIN classes USING (pattern, judge) JOIN signed USING (pattern)
    WHERE aligned AND of_ours AND NOT (covered AND NOT passed) GROUP BY ALL
)
SELECT * EXCLUDE (address, ip), ip AS source_ip, count(*) OVER signature AS hosts
FROM hosts JOIN ips USING (address)
WINDOW signature AS (PARTITION BY domain_id, signature_id)
QUALIFY sum(failed) OVER signature > 0 AND row_number() OVER (
    signature ORDER BY failed DESC, passed DESC, ip) <= 20""",
    "unidentified": f"""
SELECT domain_id, sender_id, proves_id, days, networks, addresses,
    round(coalesce(sum(messages) FILTER (day >= since), 0))::BIGINT AS messages,
    min(day) AS first_day, max(day) AS last_day
{_CLASSED} JOIN found USING (domain_id, sender_id) WHERE unidentified GROUP BY ALL""",
    "spf": f"""
SELECT domain_id, day, reporter_id, sender_id, spf_domain_id, result_id, {{sum}} AS messages
    {_CLASSED} WHERE spf_given GROUP BY ALL""",
    "alignments": f"""
SELECT domain_id, day, sender_id, author_id, class_id, in_inventory, da, sa, dkim_relaxed,
    dkim_strict, spf_relaxed, spf_strict, {{sum}} AS messages {_CLASSED} GROUP BY ALL""",
    "requirements": f"""
SELECT domain_id, day, reporter_id, sender_id, author_id, chosen.ip AS source_ip,
    requirement[5:] AS code, requirement[1:3] AS smtp, {{spread}} AS messages
FROM {JUDGED_RECORDS.replace("chosen", _MARKED, 1)}
JOIN reporters USING (reporter) JOIN days USING (period) JOIN said USING (pattern)
JOIN (SELECT pattern, unnest(requirements) AS requirement FROM patterns) USING (pattern)
GROUP BY ALL""",  # noqa: S608
    "contradictions": f"""
SELECT domain_id, day, reporter_id, sender_id, author_id, dkim_strict AS dkim,
    {{sum}} AS messages {_CLASSED}
    WHERE NOT da AND NOT sa AND (dkim_strict OR spf_strict) GROUP BY ALL""",
    "unhonoured": """
SELECT domain, day, name AS reporter, {spread} AS messages
FROM chosen JOIN reporters USING (reporter)
JOIN periods USING (begin_us, end_us) JOIN days USING (period)
JOIN (SELECT report_uid, p, sp, np, pct, testing FROM reports) USING (report_uid)
WHERE NOT da AND NOT sa AND disposition = 'none'
    AND len([1 FOR x IN reasons IF x.type IS NOT NULL OR x.comment IS NOT NULL]) = 0
    AND coalesce(lower(testing), 'n') <> 'y' AND coalesce(pct, 100) = 100
    AND CASE WHEN coalesce(name(header_from), domain) = domain
        THEN lower(p) = 'reject'
        -- what is published for names that do not exist may be meant: only if it says the same;
        -- and some reporters never quote sp
        ELSE lower(coalesce(sp, p)) = 'reject' AND lower(coalesce(np, sp, p)) = 'reject'
            AND (sp IS NOT NULL OR domain NOT IN (
                SELECT domain FROM reports WHERE lower(sp) IN ('none', 'quarantine'))) END
GROUP BY ALL""",
    "sources": """
SELECT domain_id, sender_id, ip AS source_ip, messages, failed, first_day, last_day
FROM addresses JOIN ips USING (address) QUALIFY row_number() OVER (
    PARTITION BY domain_id, sender_id ORDER BY messages DESC, last_day DESC, ip) <= 20""",
    "addresses": """
SELECT domain_id, sender_id, last_day, count(*) AS addresses FROM addresses GROUP BY ALL""",
}
"""Frame of `Facts` → its query, with numbers in place of names."""

MOST_SUBJECTS = 200
BOUNDED = {
    "signatures": ("domain_id", "signature_id", "bool_or(in_inventory)"),
    "spf": ("domain_id", "spf_domain_id", "true"),
    "requirements": ("domain_id", "code", "true"),
    "unhonoured": ("domain", "reporter", "true"),
}
"""Frame → its domain, and what a domain has at most `MOST_SUBJECTS` of in it: those first that are
so, then those with the most messages. Whoever may report may name as many as fit."""

BEYOND = """
CREATE OR REPLACE TEMP TABLE subjects AS
SELECT *, row_number() OVER (
    PARTITION BY {domain} ORDER BY known DESC, messages DESC, {subject}) AS place
FROM (SELECT {domain}, {subject}, {first} AS known, sum(messages) AS messages
    FROM bounded GROUP BY {domain}, {subject});

SELECT {domain}, count(*) AS names, round(sum(messages))::BIGINT AS messages FROM subjects
WHERE place > {most} GROUP BY ALL
"""

LISTS = {
    "policies": """
SELECT domain, name AS reporter, begin, "end", lower(p) AS p, lower(sp) AS sp,
    lower(np) AS np, pct, lower(testing) AS testing, lower(adkim) AS adkim, lower(aspf) AS aspf,
    spelling, written_contact AS contact, sent_by
FROM reported WHERE {where} AND oddity NOT LIKE 'misplaced %'
ORDER BY begin, domain, reporter, report_uid""",
    "reports": """
SELECT domain, name AS reporter, begin, "end", received, spelling, written_contact AS contact,
    sent_by, provider, oddity,
    CASE WHEN oddity LIKE 'misplaced %' OR oddity = 'repeated' THEN report_uid END AS report_uid
FROM reported LEFT JOIN (SELECT key, min(received) AS received FROM mails GROUP BY key) AS mail
    ON mail.key = mail_key
WHERE {where} ORDER BY begin, domain, reporter, reported.report_uid""",
    "mails": """
SELECT received, from_domain, outcome, error FROM mails
WHERE received >= {start} AND received < {now} ORDER BY received, key""",
    "dead_letters": """
SELECT seen, queue, reason FROM dead_letters
WHERE seen >= {start} AND seen < {now} ORDER BY seen, message""",
    "tls": """
SELECT policy_domain, begin, "end", reporter, policy_type,
    CASE WHEN place = 1 THEN coalesce(successful, 0) ELSE 0 END AS successful,
    CASE WHEN place = 1 THEN coalesce(failed, 0) ELSE 0 END AS failed,
    kinds[place] AS result_type,
    coalesce(list_sum([x.sessions FOR x IN details IF x.result_type = kinds[place]]), 0)
        AS failed_sessions,
    array_to_string(list_sort(list_distinct([name(x.receiving_mx_hostname) FOR x IN details
        IF x.result_type = kinds[place] AND name(x.receiving_mx_hostname) IS NOT NULL]))[:20], ' ')
        AS mx_hosts
FROM (
    SELECT *, unnest(range(1, greatest(len(kinds), 1) + 1)) AS place FROM (
        SELECT * EXCLUDE (details), coalesce(details, []) AS details, list_sort(list_distinct(
            [x.result_type FOR x IN coalesce(details, []) IF x.result_type IS NOT NULL])) AS kinds
        FROM tls WHERE begin < {now} AND "end" > {start} AND {tls_domains}
    )
) ORDER BY begin, report_uid, position, place""",
}
"""Frames that are small as they are."""


# A failing message is `forwarded` where the receiver says so (`classify.classify`): neither
# who sent it nor what else was seen of its domain comes into it.
_ONLY_FORWARDED = f"""
    SELECT report_uid FROM records
    WHERE month IN (SELECT unnest($months)) AND report_uid IN (SELECT unnest($uids))
      AND messages > 0 AND NOT coalesce(dkim_aligned, false) AND NOT coalesce(spf_aligned, false)
    GROUP BY report_uid HAVING bool_and({FORWARD_REASON})
"""  # noqa: S608  our own text


def only_forwarded(lake: Lake, months: Mapping[str, str]) -> set[str]:
    """Return the reports (uid → month) whose failing messages are all of the class `forwarded`."""
    if not months:
        return set()
    found = lake.sql(_ONLY_FORWARDED, months=sorted(set(months.values())), uids=list(months))
    return set(found["report_uid"])
