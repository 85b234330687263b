"""The statements that follow one sender or address down to the single records.

They run on the connection of a `Reduction` and use its tables (`facts_sql`), so that the
records are exactly those that the facts count for the sender.
"""

from __future__ import annotations

TRACED = """
CREATE TEMP TABLE parts AS SELECT period, sum(share) AS part,
    to_timestamp(min(day) * 86400) AS first_day, to_timestamp(max(day) * 86400) AS last_day
FROM days WHERE day >= {first} AND day < {end} GROUP BY period;

CREATE TEMP TABLE followed AS
SELECT chosen.report_uid, chosen."position", pattern, period, chosen.reporter, chosen.ip,
    chosen.disposition, chosen.da, chosen.sa, chosen.header_from, sender_id, class_id,
    chosen.messages AS messages
FROM chosen JOIN raw USING (domain, header_from, da, sa, dkim, spf, reasons)
JOIN periods USING (begin_us, end_us)
JOIN origin_of USING (pattern) JOIN always USING (origin)
LEFT JOIN failing ON chosen.ip = failing.ip
JOIN delivered ON delivered.origin = origin_of.origin
    AND delivered.place = CASE WHEN always OR failing.ip IS NOT NULL THEN chosen.ip ELSE '' END
JOIN judges USING (sender_id) JOIN classes USING (pattern, judge)
WHERE {who};

CREATE TEMP TABLE traced AS
SELECT followed.* REPLACE (messages * part AS messages), first_day, last_day
FROM followed JOIN parts USING (period)
"""
"""`followed`: the records in the whole history of the facts; `traced`: those of the window,
with the messages that fall into it (a long report's are spread over its days)."""

DAILY = """
SELECT day, class_id, da, sa, disposition, sum(messages * share) AS messages
FROM followed JOIN days USING (period) WHERE day >= {first} AND day < {end} GROUP BY ALL
"""

REPORTS = """
SELECT reporter, count(DISTINCT report_uid) AS reports, sum(messages) AS messages,
    coalesce(sum(messages) FILTER (NOT da AND NOT sa), 0) AS failing,
    coalesce(sum(messages) FILTER (disposition IN ('quarantine', 'reject')), 0) AS blocked,
    min(first_day) AS first_day, max(last_day) AS last_day
FROM traced GROUP BY ALL ORDER BY messages DESC, reporter
"""

ADDRESSES = """
SELECT ip AS source_ip, any_value(sender_id) AS sender_id,
    sum(messages) AS messages,
    coalesce(sum(messages) FILTER (da), 0) AS dkim,
    coalesce(sum(messages) FILTER (sa), 0) AS spf,
    coalesce(sum(messages) FILTER (da OR sa), 0) AS passing,
    min(first_day) AS first_day, max(last_day) AS last_day
FROM traced GROUP BY ALL ORDER BY messages DESC, source_ip
"""

SIGNATURES = """
SELECT name(x.domain) AS dkim_domain, coalesce(name(x.selector), '') AS selector,
    coalesce(lower(trim(x.result)), '') AS result, header_from, sum(messages) AS messages
FROM (SELECT pattern, header_from, messages, unnest(list_distinct(raw.dkim)) AS x
    FROM traced JOIN (SELECT pattern, dkim FROM raw) AS raw USING (pattern))
WHERE name(x.domain) IS NOT NULL GROUP BY ALL ORDER BY messages DESC, dkim_domain, selector, result
"""

SPF = """
SELECT name(x.domain) AS spf_domain, coalesce(lower(trim(x.scope)), '') AS scope,
    coalesce(lower(trim(x.result)), '') AS result, header_from, sum(messages) AS messages
FROM (SELECT pattern, header_from, messages, unnest(list_distinct(raw.spf)) AS x
    FROM traced JOIN (SELECT pattern, spf FROM raw) AS raw USING (pattern))
GROUP BY ALL ORDER BY messages DESC, spf_domain, scope, result
"""

REASONS = """
SELECT x.type AS type, x.comment AS comment, sum(messages) AS messages,
    count(DISTINCT reporter) AS reporters, any_value(reporter) AS reporter
FROM (SELECT pattern, reporter, messages, unnest(list_distinct(raw.reasons)) AS x
    FROM traced JOIN (SELECT pattern, reasons FROM raw) AS raw USING (pattern))
WHERE x.type IS NOT NULL OR x.comment IS NOT NULL
GROUP BY ALL ORDER BY messages DESC, type, comment
"""

RECORDS = """
WITH shown AS (
    SELECT report_uid, "position", class_id FROM traced
    ORDER BY da OR sa, last_day DESC, messages DESC, report_uid, "position" LIMIT {limit}
)
SELECT records.*, reports.report_id, class_id
FROM shown JOIN records USING (report_uid, "position")
LEFT JOIN (SELECT report_uid, report_id FROM reports) AS reports USING (report_uid)
ORDER BY coalesce(dkim_aligned, false) OR coalesce(spf_aligned, false), records.begin DESC,
    records.messages DESC, report_uid, "position"
"""
"""The failing ones first, then the newest."""
