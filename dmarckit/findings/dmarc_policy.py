"""The DMARC policy of a domain: as quoted, as written in tags, and its next step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from dmarckit.checks import DMARC_VALUES, tag_list
from dmarckit.core import SettingsError, normalize_domain, one_line
from dmarckit.findings.rows import Rows, plain_time
from dmarckit.reports import Policy

POLICY_TAGS: Mapping[str, str] = {
    "p": "p",
    "sp": "sp",
    "np": "np",
    "pct": "pct",
    "testing": "t",
    "adkim": "adkim",
    "aspf": "aspf",
}
"""Column of `Facts.policies`, and field of `Policy` → tag of the record, of those that decide
about messages."""

LEVELS: Mapping[str, int] = {"none": 0, "quarantine": 1, "reject": 2}
LOWER: Mapping[str, str] = {"reject": "quarantine", "quarantine": "none", "none": "none"}
"""Policy → the one a step below it, which t=y makes of it (RFC 9989 section 4.7)."""


def policy_tags(policy: Policy) -> str:
    """Return the tags that decide about messages, without those that only repeat a default.

    >>> policy_tags(Policy("example.com", p="quarantine", sp="quarantine", testing="y", adkim="s"))
    'p=quarantine; t=y; adkim=s'
    """
    tags = {
        "p": policy.p or "none",
        "sp": policy.sp if policy.sp != policy.p else None,
        "np": policy.np if policy.np != subdomain_policy(policy) else None,
        "t": "y" if policy.testing == "y" else None,
        "pct": policy.pct if policy.pct is not None and policy.pct < 100 else None,
        "adkim": "s" if policy.adkim == "s" else None,
        "aspf": "s" if policy.aspf == "s" else None,
    }
    return "; ".join(f"{name}={value}" for name, value in tags.items() if value not in (None, ""))


def subdomain_policy(policy: Policy) -> str:
    """Return what holds for subdomains: sp, else p."""
    return policy.sp or policy.p or "none"


def next_step(policy: Policy) -> Policy | None:
    """Return the step up the ladder none → quarantine; t=y → quarantine → reject; t=y → reject.

    pct below 100 counts as testing, as RFC 9989 has no pct any more. None after the last
    step, and when no reporter has quoted a policy.
    """
    testing = policy.testing == "y" or (policy.pct is not None and policy.pct < 100)
    steps = {
        ("none", False): ("quarantine", "y"),
        ("none", True): ("quarantine", "y"),
        ("quarantine", True): ("quarantine", None),
        ("quarantine", False): ("reject", "y"),
        ("reject", True): ("reject", None),
    }
    step = steps.get((policy.p or "", testing))
    if step is None:
        return None
    # an sp that was only as strict as p was filled in by reporters, or follows p anyway
    sp = None if policy.sp == policy.p else policy.sp
    return replace(policy, p=step[0], testing=step[1], pct=None, sp=sp)


def fill_policy_defaults(policies: pd.DataFrame) -> pd.DataFrame:
    """Fill in the defaults of quoted policies, which only some reporters write.

    Columns and rows as in `Facts.policies`. See RFC 9989 section 4.7.
    """
    p = policies["p"].where(policies["p"] != "", "none")
    sp = policies["sp"].where(policies["sp"] != "", p)
    return policies.assign(
        p=p,
        sp=sp,
        np=policies["np"].where(policies["np"] != "", sp),
        pct=policies["pct"].fillna(100).astype("int64"),
        testing=policies["testing"].where(policies["testing"] == "y", "n"),
        adkim=policies["adkim"].where(policies["adkim"] == "s", "r"),
        aspf=policies["aspf"].where(policies["aspf"] == "s", "r"),
    )


def with_changes(policies: pd.DataFrame) -> pd.DataFrame:
    """Return quoted policies by begin, defaults filled in, each with the one quoted before it.

    Adds `who` (a number of the reporter, whatever the case of its name), the tags that it quoted
    about the domain before (``p_old``; null in its first report), and `changed`: one differs.
    """
    tags = list(POLICY_TAGS)
    quoted = fill_policy_defaults(policies.sort_values("begin", kind="stable"))
    codes, names = pd.factorize(quoted["reporter"])
    who, _same = pd.factorize(pd.Index([str(name).casefold() for name in names], dtype=object))
    quoted = quoted.assign(who=who[codes])
    before = quoted.groupby(["domain", "who"], observed=True)[tags].shift()
    differs = (before != quoted[tags]).any(axis=1) & before["p"].notna()
    before["pct"] = before["pct"].astype("Int64")  # not 100.0
    return quoted.join(before.add_suffix("_old")).assign(changed=differs.astype(bool))


def quoted_policies(policies: pd.DataFrame) -> dict[str, Policy]:
    """Return the policy of each domain in force: what most reporters quote in their last report.

    Only last reports within 48 hours of the newest count, so that a reporter that has not
    written since a change has no vote. `t` and `np` are believed when anybody quotes them
    by the majority's p, since receivers that know only RFC 7489 leave them out; of `sp` those
    who quote it decide.
    """
    quoted = policies[policies["p"] != ""]
    newest = quoted["begin"].groupby(quoted["domain"], observed=True).transform("max")
    recent = quoted[quoted["begin"] >= newest - pd.Timedelta(hours=48)]
    rows = recent.sort_values("begin", kind="stable")[["domain", "reporter", *POLICY_TAGS]]
    last = rows.drop_duplicates(["domain", "reporter"], keep="last")
    found: dict[str, list[Any]] = {}
    for row in list(last.astype(object).itertuples(index=False))[::-1]:
        found.setdefault(str(row.domain), []).append(row)
    return {domain: _majority(domain, last) for domain, last in found.items()}


def quoted_policy(domain: str, policies: pd.DataFrame) -> Policy:
    """Return the policy in force of a domain, whose rows these are, as `quoted_policies`."""
    return quoted_policies(policies).get(domain) or Policy(domain)


def _majority(domain: str, last: Sequence[Any]) -> Policy:
    p = _most(row.p for row in last) or "none"
    last = [row for row in last if row.p == p]
    sp = _most(row.sp for row in last) or p
    pct = _most(int(row.pct) for row in last if not pd.isna(row.pct))
    return Policy(
        domain,
        p=p,
        sp=None if sp == p else sp,
        np=_most(row.np for row in last),
        pct=int(pct) if pct is not None and int(pct) < 100 else None,
        testing="y" if any(row.testing == "y" for row in last) else None,
        adkim="s" if _most(row.adkim for row in last) == "s" else None,
        aspf="s" if _most(row.aspf for row in last) == "s" else None,
    )


def _most(values: Iterable[Any]) -> str | None:
    """Return the most frequent value; of equal ones the first, which is the newest."""
    known = Counter(str(value) for value in values if value != "")
    return known.most_common(1)[0][0] if known else None


def changed_tags(quotes: Rows, day: pd.Timestamp) -> list[str]:
    """Return ``p=reject (before: none)`` for each tag that most quote differently since `day`.

    A change on the day before or after counts too. `quotes` has rows as from `with_changes`.
    """
    columns = ["testing", "p", "sp", "adkim", "aspf"]
    week, near = pd.Timedelta(days=7), pd.Timedelta(days=1)
    times = [plain_time(time) for time in (day - week, day - near, day + near, day + week)]
    places = quotes["begin"].values.searchsorted(times).tolist()
    old, new = slice(*places[:2]), slice(*places[2:])
    if places[0] == places[1] or places[2] == places[3]:
        return []
    pairs = {
        POLICY_TAGS[column]: tuple(_most(quotes[column][when]) for when in (old, new))
        for column in columns
    }
    return [f"{tag}={now} (before: {was})" for tag, (was, now) in pairs.items() if was != now]


def parse_policy(domain: str, text: str) -> Policy:
    """Parse ``p=reject; sp=none; adkim=s`` or a whole DMARC record.

    Tags that do not decide about messages (rua, fo, …) are left out.

    >>> parse_policy("example.com", "v=DMARC1; p=reject; rua=mailto:d@example.com").p
    'reject'

    Raises:
        SettingsError: a tag has a value that it cannot have, or p is missing.
    """
    tags: dict[str, str] = {}
    for name, value in tag_list(text).items():
        if not value:
            raise SettingsError(f"policy {one_line(text)}: {one_line(name)} is not tag=value")
        allowed = DMARC_VALUES.get(name, ()) if name in POLICY_TAGS.values() else ()
        if allowed and value.lower() not in allowed:
            raise SettingsError(f"policy {one_line(text)}: {name} is {' or '.join(allowed)}")
        if name == "pct" and not (value.isdecimal() and int(value) <= 100):
            raise SettingsError(f"policy {one_line(text)}: pct is a whole number from 0 to 100")
        tags[name] = value.lower()
    if "p" not in tags:
        raise SettingsError(f"policy {one_line(text)}: it needs p=none, quarantine or reject")
    return Policy(
        normalize_domain(domain),
        p=tags["p"],
        sp=tags.get("sp"),
        np=tags.get("np"),
        pct=int(tags["pct"]) if "pct" in tags else None,
        testing=tags.get("t"),
        adkim=tags.get("adkim"),
        aspf=tags.get("aspf"),
    )
