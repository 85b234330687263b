"""Facts of all domains → the frames of the overview. No function changes its input.

Counts are messages; fractions of spread reports are rounded. Without facts there are the same
columns and no rows, or rows of zeros where the docstring says so.
"""

from __future__ import annotations

import pandas as pd

from dmarckit.checks.outside import Outside
from dmarckit.checks.requirements import matrix, not_met
from dmarckit.core.language import later
from dmarckit.core.window import Window
from dmarckit.facts.class_summary import days_of, in_window, whole_days
from dmarckit.facts.facts_frames import Facts
from dmarckit.findings.record import quoted_policy
from dmarckit.pages.sections.domain_summary import most_first
from dmarckit.pages.sections.summary import OUTCOMES

STEPS = (
    later("not quoted"),
    "p=none",
    "p=quarantine; t=y",
    "p=quarantine",
    "p=reject; t=y",
    "p=reject",
)
"""the ladder of policies; pct below 100 counts as testing"""

_DONE = {"none": "delivered", "pass": "delivered", "quarantine": "quarantined"}
_DONE |= {"reject": "rejected"}


def failing_by_day(messages: pd.DataFrame, complete: pd.DataFrame, window: Window) -> pd.DataFrame:
    """One row a day of the window: `day`, `messages`, `fail`, the failing messages by what the
    receivers did (`summary.OUTCOMES`), and `complete` as in `class_summary.classes_by_day`."""
    days = days_of(window)
    rows = in_window(messages, window)
    failing = _failing(rows)
    parts = {
        "messages": rows.groupby("day")["messages"].sum(),
        "fail": failing.groupby("day")["messages"].sum(),
    }
    done = failing.groupby(["day", "done"])["messages"].sum()
    parts |= {name: done[done.index.get_level_values("done") == name] for name in OUTCOMES}
    table = pd.DataFrame(
        {n: p.groupby("day").sum().reindex(days, fill_value=0) for n, p in parts.items()}
    )
    table = table.round().astype("int64").assign(complete=whole_days(complete, window))
    return table.rename_axis("day").reset_index()


def domains(facts: Facts, window: Window, outside: Outside | None = None) -> pd.DataFrame:
    """One row a domain with reports in the window, most failing messages first.

    Columns: `domain`, `messages`, `failing`, `delivered` (failing, and delivered all the
    same), `pass_share`, `before` (the pass share of the window before), `policy` (p as
    quoted; None when nobody has), `reporters`, `last_end` (of the newest report),
    `not_met` (requirements of mailbox providers that are not met; null: none is known).
    """
    reports = facts.reports
    reports = reports[(reports["begin"] >= window.start) & (reports["begin"] < window.end)]
    groups = reports.groupby("domain")
    table = pd.DataFrame(
        {"reporters": groups["reporter"].nunique(), "last_end": groups["end"].max()}
    )
    policies = facts.policies.groupby("domain")
    table["policy"] = pd.Series({n: quoted_policy(str(n), p).p for n, p in policies}, dtype=object)
    now, before = _shares(facts, window), _shares(facts, window.before)
    table = table.join(now)
    table["before"] = before["pass_share"].reindex(table.index)
    counts = ["messages", "failing", "delivered"]
    table[counts] = table[counts].fillna(0).round().astype("int64")
    table["not_met"] = not_met(matrix(facts, outside or Outside())).reindex(table.index)
    columns = ["domain", *counts, "pass_share", "before", "policy", "not_met", "reporters"]
    table = table.rename_axis("domain").reset_index()[[*columns, "last_end"]]
    order = ["failing", "messages", "domain"]
    return table.sort_values(order, ascending=[False, False, True], ignore_index=True)


def failing_senders(facts: Facts, window: Window) -> pd.DataFrame:
    """One row a domain and sender with failing messages, most of them first.

    Columns: `domain`, `sender`, `sender_kind`, `class` (of most of them), `messages` (failing
    ones), the same by `summary.OUTCOMES`, `reporters` (number), `first_day`, `last_day`.
    """
    rows = _failing(in_window(facts.messages, window))
    rows = rows.astype(dict.fromkeys(["domain", "sender", "sender_kind", "class"], "str"))
    keys = ["domain", "sender"]
    table = rows.groupby(keys).agg(
        sender_kind=("sender_kind", "first"),
        messages=("messages", "sum"),
        reporters=("reporter", "nunique"),
        first_day=("day", "min"),
        last_day=("day", "max"),
    )
    done = rows.groupby([*keys, "done"])["messages"].sum().unstack("done")
    table = table.join(done.reindex(columns=list(OUTCOMES)).fillna(0))
    sums = rows.groupby([*keys, "class"])["messages"].sum().sort_values(ascending=False)
    table["class"] = sums.reset_index().drop_duplicates(keys).set_index(keys)["class"]
    whole = ["messages", *OUTCOMES]
    table[whole] = table[whole].round().astype("int64")
    columns = [*keys, "sender_kind", "class", *whole, "reporters", "first_day", "last_day"]
    return most_first(table.reset_index()[columns], "sender")


def ladder(facts: Facts) -> pd.DataFrame:
    """One row a step of the ladder (`STEPS`): `step`, `domains` (number), `names` (up to 20)."""
    names: dict[str, list[str]] = {step: [] for step in STEPS}
    quoted = {str(n): quoted_policy(str(n), p) for n, p in facts.policies.groupby("domain")}
    for name in sorted(set(facts.reports["domain"].astype("str"))):
        policy = quoted.get(name)
        p = policy.p if policy else None
        testing = bool(policy and (policy.testing == "y" or policy.pct is not None))
        step = f"p={p}" + ("; t=y" if testing and p in ("quarantine", "reject") else "")
        names[step if step in names else STEPS[0]].append(name)
    return pd.DataFrame(
        {
            "step": list(names),
            "domains": [len(found) for found in names.values()],
            "names": [", ".join(found[:20]) for found in names.values()],
        }
    )


def inputs(reports: pd.DataFrame, mails: pd.DataFrame) -> pd.DataFrame:
    """What a page was made from, one row an input: `input`, `number`, `first`, `last`."""
    begin, received = reports["begin"], mails["received"]
    rows = [
        ("mails", len(mails), received.min(), received.max()),
        ("reports", len(reports), begin.min(), begin.max()),
        ("records", int(reports["records"].sum()), begin.min(), begin.max()),
    ]
    return pd.DataFrame(rows, columns=["input", "number", "first", "last"])


def _failing(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that fail DMARC, with `done`: what the receivers did (`summary.OUTCOMES`)."""
    failing = rows[~rows["da"] & ~rows["sa"]]
    done = failing["disposition"].astype("str").map(_DONE).astype(object).fillna("unstated")
    return failing.assign(done=done)


def _shares(facts: Facts, window: Window) -> pd.DataFrame:
    """Indexed by domain: messages, failing, delivered (failing ones), pass_share."""
    rows = in_window(facts.messages, window)
    failing = rows["messages"].mask(rows["da"] | rows["sa"], 0)
    done = rows["disposition"].astype("str").map(_DONE)
    rows = rows.assign(failing=failing, delivered=failing.where(done == "delivered", 0))
    columns = ["messages", "failing", "delivered"]
    table = rows.groupby("domain", observed=True)[columns].sum()
    table.index = table.index.astype("str")
    some = table["messages"].where(table["messages"] > 0)
    return table.assign(pass_share=(table["messages"] - table["failing"]) / some)
