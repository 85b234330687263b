"""What was traced of a sender or address → the small frames of its page.

Counts are messages (fractions of spread reports are rounded), shares are fractions [0-1], NaN
where there is nothing to divide by. Without records there are the same columns and no rows.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.core.language import _
from dmarckit.core.window import Window
from dmarckit.facts.class_summary import in_window
from dmarckit.facts.organisation import organisations
from dmarckit.facts.trace import Trace
from dmarckit.findings.requirements import meaning
from dmarckit.pages.sections.domain_summary import most_first

_CODE = r"(?i)sender requirement failed:\s*\d{3}[- ](\d\.\d{1,3}\.\d{1,3})"
"""as in `facts_sql`: what Google writes into the comment of a reason"""


def headline(trace: Trace, window: Window) -> pd.DataFrame:
    """As `domain_summary.headline`: messages, pass_share and failing; no other measure."""
    values = {}
    for name, part in (("value", window), ("before", window.before)):
        rows = in_window(trace.daily, part)
        messages = float(rows["messages"].sum())
        passing = float(rows.loc[rows["da"] | rows["sa"], "messages"].sum())
        values[name] = {
            "pass_share": passing / messages if messages else float("nan"),
            "failing": messages - passing,
            "messages": messages,
        }
    table = pd.DataFrame(values).rename_axis("measure").reset_index()
    return table[["measure", "value", "before"]]


def classes(trace: Trace, window: Window) -> dict[str, int]:
    """Class → messages in the window, most first."""
    sums = in_window(trace.daily, window).groupby("class")["messages"].sum()
    ordered = sums.round().astype("int64").sort_values(ascending=False, kind="stable")
    return {str(name): int(number) for name, number in ordered.items() if number}


def dispositions(trace: Trace, window: Window) -> dict[str, int]:
    """What receivers did (``none``, ``quarantine``, …; empty: not said) → failing messages."""
    rows = in_window(trace.daily, window)
    rows = rows[~rows["da"] & ~rows["sa"]]
    sums = rows.groupby("disposition")["messages"].sum().round().astype("int64")
    return {str(name): int(number) for name, number in sums.items() if number}


def addresses(trace: Trace) -> pd.DataFrame:
    """One row an address, most messages first: `source_ip`, `host`, `country`, `network`,
    `sender`, `messages`, `pass_share`, `dkim_share`, `spf_share`, `first_day`, `last_day`."""
    frame = trace.addresses
    amount = frame["messages"].where(frame["messages"] > 0)
    frame = frame.assign(
        pass_share=frame["passing"] / amount,
        dkim_share=frame["dkim"] / amount,
        spf_share=frame["spf"] / amount,
    )
    columns = ["source_ip", "host", "country", "network", "sender", "messages", "pass_share"]
    columns += ["dkim_share", "spf_share", "first_day", "last_day"]
    return most_first(_whole(frame[columns]), "source_ip")


def signatures(trace: Trace) -> pd.DataFrame:
    """One row a DKIM signature: `dkim_domain`, `selector`, `aligned` (of the author's
    organisation), `messages` that carry it, `results` (dict raw result → messages)."""
    return _by_result(trace.signatures, ["dkim_domain", "selector"])


def spf(trace: Trace) -> pd.DataFrame:
    """One row a domain that SPF was checked for: `spf_domain`, `scope`, `aligned`, `messages`,
    `results` (dict raw result → messages)."""
    return _by_result(trace.spf.fillna({"spf_domain": ""}), ["spf_domain", "scope"])


def reasons(trace: Trace) -> pd.DataFrame:
    """One row a reason for not following the policy, as receivers gave it: `type`, `comment`,
    `code` and `means` (of a sender requirement, else empty), `messages`, `reporters`."""
    frame = _whole(trace.reasons)
    text = frame["comment"].astype(object).where(frame["comment"].notna(), "").astype("str")
    code = text.str.extract(_CODE, expand=False).astype(object)
    code = code.where(code.notna(), "")
    means = [_(meaning(str(c)).means) if c else "" for c in code]
    return frame.assign(code=code, means=pd.Series(means, index=frame.index, dtype=object))[
        ["type", "comment", "code", "means", "messages", "reporters"]
    ]


def reporters(trace: Trace) -> pd.DataFrame:
    """One row a reporter, most messages first; columns as `Trace.reporters`."""
    return most_first(_whole(trace.reporters), "reporter")


def _by_result(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row a pair of `keys` (a domain, and what goes with it)."""
    same = organisations(frame[keys[0]]) == organisations(frame["header_from"])
    rows = frame.assign(aligned=same.astype(bool))
    table = rows.groupby(keys).agg(aligned=("aligned", "max"), messages=("messages", "sum"))
    sums = rows.groupby([*keys, "result"])["messages"].sum().reset_index()
    ordered = sums.sort_values("messages", ascending=False, kind="stable")
    found: dict[Any, dict[str, int]] = {}
    for one, two, result, number in ordered.itertuples(index=False):
        found.setdefault((one, two), {})[str(result)] = round(number)
    results = [found[key] for key in table.index]
    table = table.assign(results=pd.Series(results, index=table.index, dtype=object))
    return most_first(_whole(table.reset_index()), keys[0])


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    counts = [c for c in ("messages", "failing", "blocked") if c in frame]
    return frame.assign(**{c: frame[c].fillna(0).round().astype("int64") for c in counts})
