"""The published policy day by day, as reporters quoted it: a strip with its changes marked."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from dmarckit.core.language import _
from dmarckit.core.window import Window
from dmarckit.facts.class_summary import days_of
from dmarckit.facts.facts_frames import Facts
from dmarckit.findings.record import normal
from dmarckit.pages.markup import Html
from dmarckit.pages.sections.day_matrix import matrix
from dmarckit.pages.sections.domain_summary import of_domain

REPORTERS = 12
"""reporters with a row of their own: those that quoted it most often"""

_TAGS = ("p", "sp", "np", "pct", "testing", "adkim", "aspf")
_LEVELS = {"reject": "a", "quarantine": "c", "none": "d"}


DAYS = 90
"""length of the strip: changes of a policy are rare"""


def span(window: Window) -> Window:
    """The days of the strip: `DAYS` up to the end of the window, or the window if it is longer."""
    return Window(min(window.start, window.end - timedelta(days=DAYS)), window.end)


def by_day(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row a day and reporter (empty: the policy that most of them quoted that day).

    Columns: `day`, `reporter`, `p`, `policy` (its tags, defaults left out), `changed`
    (another one than on the last day before on which it was quoted, the days before the
    window included). A reporter's last quote of a day counts.
    """
    rows = normal(of_domain(facts.policies, domain))
    policy = [_text(row) for row in rows[list(_TAGS)].itertuples(index=False)]
    rows = rows.assign(day=rows["begin"].dt.floor("D"), policy=pd.Series(policy, rows.index))
    keys = ["reporter", "day"]
    last = rows.sort_values("begin", kind="stable").drop_duplicates(keys, keep="last")
    votes = rows.groupby(["day", "policy"]).agg(p=("p", "first"), n=("begin", "size"))
    most = votes.reset_index().sort_values(["n", "policy"], ascending=[False, True], kind="stable")
    most = most.drop_duplicates("day").assign(reporter="")
    busiest = rows.groupby("reporter").size().sort_values(ascending=False, kind="stable")
    last = last[last["reporter"].isin(busiest.index[:REPORTERS])]
    columns = ["day", "reporter", "p", "policy"]
    table = pd.concat([most[columns], last[columns]]).sort_values(["reporter", "day"])
    before = table.groupby("reporter")["policy"].shift()
    table = table.assign(changed=before.notna() & (before != table["policy"]))
    return table[table["day"].isin(days_of(window))].reset_index(drop=True)


def _text(row: tuple[object, ...]) -> str:
    """The tags that decide, those left out that say nothing: ``p=quarantine; sp=none``."""
    tags = dict(zip(_TAGS, row, strict=True))
    usual = {"sp": tags["p"], "np": tags["sp"], "pct": 100, "testing": "n"}
    usual |= {"adkim": "r", "aspf": "r"}
    names = {"testing": "t"}
    return "; ".join(
        f"{names.get(name, name)}={value}"
        for name, value in tags.items()
        if value not in ("", usual.get(name))
    )


def policy_days(frame: pd.DataFrame, window: Window) -> Html:
    """Reporter × day, coloured by the policy, changes marked. Takes `by_day`."""
    said = _("{policy} (changed)")
    cells = frame.assign(
        name=frame["reporter"].replace("", _("most reporters")),
        level=[
            _LEVELS.get(str(p), "grey") + (" changed" if changed else "")
            for p, changed in zip(frame["p"], frame["changed"], strict=True)
        ],
        text=[
            said.format(policy=policy) if changed else policy
            for policy, changed in zip(frame["policy"], frame["changed"], strict=True)
        ],
        messages=[1_000_000 if not reporter else 1 for reporter in frame["reporter"]],
    )
    key = {
        "d": "p=none",
        "c": "p=quarantine",
        "a": "p=reject",
        "grey": _("another"),
        "changed": _("changed on that day"),
        "none": _("not quoted"),
    }
    caption = _("The policy that reporters quoted, by day")
    return matrix(cells, window, caption=caption, first=_("Quoted by"), key=key)
