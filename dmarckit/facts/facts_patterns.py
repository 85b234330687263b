"""What the patterns of records say: alignment, and the flags that classes look at.

A pattern is all that a record says apart from who reported it, when, of which address,
what was done and how many messages (`facts_sql.PATTERNS`).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.facts.organisation import organisations


def with_alignment(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.DataFrame:
    """`signatures` with `aligned` and `exact`: d= is of the author's organisation, or the author.

    `patterns` has the author domain, `header_from`, by pattern (its index); `signatures` one
    row per pattern and signature, with `d`, `s`, and `passed`.
    """
    author = signatures["pattern"].map(patterns["header_from"])
    same = organisations(signatures["d"]) == organisations(author)
    return signatures.assign(aligned=same.astype(bool), exact=signatures["d"] == author)


def with_flags(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.DataFrame:
    """`patterns` with what follows from their raw results; `signatures` as from `with_alignment`.

    - `dkim_relaxed`, `dkim_strict`, `spf_relaxed`, `spf_strict`: a raw result passes that is
      of the author's organisation, or of the author domain itself
    - `backed`: SPF was found aligned, and the raw results do not speak against it. Only then
      does it bring a sender into the inventory: a forwarder gets there by no slip of a
      reporter
    - `broken`: there is an aligned signature that did not pass
    - `foreign_pass`: a raw result passes for another organisation, or for the author's own
      when the message fails all the same (strict alignment)
    - `passing`: the aligned signatures that pass, a tuple of (d, s)
    """
    author = organisations(patterns["header_from"])
    passed, aligned = signatures["passed"], signatures["aligned"]
    identity = patterns["spf_identity"]
    spf_relaxed = identity.notna() & (organisations(identity) == author)
    dkim_relaxed = _some(patterns, signatures[passed & aligned])
    others = patterns["spf_pass"].notna() & (organisations(patterns["spf_pass"]) != author)
    fails = ~patterns["da"] & ~patterns["sa"]
    return patterns.assign(
        dkim_relaxed=dkim_relaxed,
        dkim_strict=_some(patterns, signatures[passed & signatures["exact"]]),
        spf_relaxed=spf_relaxed,
        spf_strict=identity.notna() & (identity == patterns["header_from"]),
        backed=patterns["sa"] & (spf_relaxed | ~patterns["spf_given"]),
        broken=_some(patterns, signatures[~passed & aligned]),
        foreign_pass=others
        | _some(patterns, signatures[passed & ~aligned])
        | (fails & (dkim_relaxed | spf_relaxed)),
        passing=_tuples(patterns, signatures[passed & aligned]),
    )


def _some(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.Series[bool]:
    """True for the patterns that have one of the signatures."""
    return pd.Series(patterns.index.isin(signatures["pattern"]), index=patterns.index)


def _tuples(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.Series[Any]:
    pairs: dict[int, list[tuple[str, str]]] = {}
    for pattern, d, s in zip(*(signatures[c] for c in ("pattern", "d", "s")), strict=True):
        pairs.setdefault(pattern, []).append((d, s))
    found = [tuple(sorted(pairs.get(p, ()))) for p in patterns.index]
    return pd.Series(found, index=patterns.index, dtype=object)
