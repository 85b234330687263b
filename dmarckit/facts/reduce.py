"""The steps from records to frames: DuckDB counts, Python names what the records say.

A pattern is all that a record says apart from who reported it, when, of which address,
what was done and how many messages (`sql.PATTERNS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from dmarckit.facts import classify, sql
from dmarckit.facts.frames import typed
from dmarckit.facts.networks import organisations


def with_alignment(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.DataFrame:
    """Add `aligned` and `exact`: d= is of the author's organisation, or is the author.

    `patterns` has the author domain, `header_from`, by pattern (its index); `signatures` one
    row per pattern and signature, with `d`, `s`, and `passed`.
    """
    author = signatures["pattern"].map(patterns["header_from"])
    same = organisations(signatures["d"]) == organisations(author)
    return signatures.assign(aligned=same.astype(bool), exact=signatures["d"] == author)


def with_flags(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.DataFrame:
    """Add what follows from the raw results; `signatures` as from `with_alignment`.

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
    """Return True for the patterns that have one of the signatures."""
    return pd.Series(patterns.index.isin(signatures["pattern"]), index=patterns.index)


def _tuples(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.Series[Any]:
    pairs: dict[int, list[tuple[str, str]]] = {}
    for pattern, d, s in zip(*(signatures[c] for c in ("pattern", "d", "s")), strict=True):
        pairs.setdefault(pattern, []).append((d, s))
    found = [tuple(sorted(pairs.get(p, ()))) for p in patterns.index]
    return pd.Series(found, index=patterns.index, dtype=object)


Attribute = Callable[[pd.DataFrame], pd.DataFrame]
"""`senders.attribute` with all that it knows: adds `sender` and `sender_kind`"""


class Reduction:
    """The records of a connection, reduced step by step in temporary tables.

    Names are numbers in there; `names` gives, for each kind of number, the names, and
    `senders` those of the senders (`sender`, `sender_kind`) after `run`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        attribute: Attribute,
        declared: Sequence[str],
        *,
        every_address: bool,
        own_addresses: bool,
    ) -> None:
        self._connection = connection
        self._attribute = attribute
        self._declared = declared
        self._every_address, self._own_addresses = every_address, own_addresses
        self.names: dict[str, pd.Index[Any]] = {}
        self.senders = pd.DataFrame({"sender": [], "sender_kind": []}, dtype="str")

    def run(self, where: str, start_us: int, now_us: int) -> dict[str, pd.DataFrame]:
        """Return all frames that are made of records, and `inventory`."""
        self.execute(sql.CHOSEN.format(where=where))
        self.execute(sql.PERIODS.format(start_us=start_us, now_us=now_us))
        self.execute(sql.NAMES, sql.PATTERNS)
        self._count_in_fractions()
        patterns = self._number_patterns()
        self.execute(sql.ORIGINS, sql.RECORDS)
        senders = self._find_senders()
        self.execute(sql.REDUCED.format(sum=self._spread))
        self.execute(sql.ADDRESSES.format(sum=self._spread))
        inventory = self._classify(patterns, senders)
        frames = {name: self._frame(name, query) for name, query in sql.FRAMES.items()}
        return frames | {"inventory": typed("inventory", inventory)}

    def execute(self, *statements: str) -> None:
        """Run statements on the connection."""
        for statement in statements:
            self._connection.execute(statement)

    def table(self, query: str) -> pd.DataFrame:
        """Return the result of a query, with numbers in place of names."""
        frame: pd.DataFrame = self._connection.sql(query).to_arrow_table().to_pandas()
        return frame

    def relation(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return a query whose rows are not read yet."""
        return self._connection.sql(query)

    def put_names(self) -> None:
        """Make `sender_names` and `class_names`, the names of `sender_id` and `class_id`."""
        self.put("sender_names", self.senders.rename_axis("sender_id").reset_index())
        classes = pd.DataFrame({"class": self.names["class"]})
        self.put("class_names", classes.rename_axis("class_id").reset_index())

    def put(self, name: str, frame: pd.DataFrame) -> None:
        """Make a frame a temporary table."""
        self._connection.register("arriving", frame)
        self._connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM arriving")  # noqa: S608
        self._connection.unregister("arriving")

    def _count_in_fractions(self) -> None:
        long = self.table("SELECT count(*) AS long FROM days WHERE share < 1")["long"].sum()
        self._sum = "sum(messages)" if long else sql.MESSAGES
        self._spread = sql.SPREAD_MESSAGES if long else sql.MESSAGES
        for name in ("reporter", "disposition"):
            names = self.table(f"SELECT {name} FROM {name}s ORDER BY {name}_id")  # noqa: S608
            self.names[name] = pd.Index(names[name])

    def _number(self, name: str, values: pd.Series[Any]) -> Any:
        codes, names = pd.factorize(values)
        self.names[name] = pd.Index(names)
        return codes.astype("int32")

    def _number_patterns(self) -> pd.DataFrame:
        """Make the tables `said` and `signed`: what each pattern says, as numbers and flags."""
        patterns = self.table("SELECT * EXCLUDE (dkim, requirements) FROM patterns")
        signatures = self.table(
            "SELECT pattern, x.d AS d, x.s AS s, bool_or(x.passed) AS passed"
            " FROM (SELECT pattern, unnest(dkim) AS x FROM patterns) GROUP BY ALL"
        )
        patterns = patterns.set_index("pattern").sort_index()
        signatures = with_alignment(patterns, signatures)
        patterns = with_flags(patterns, signatures).assign(
            domain_id=self._number("domain", patterns["domain"]),
            author_id=self._number("author", patterns["header_from"]),
            spf_domain_id=self._number("spf_domain", patterns["spf_domain"]),
            result_id=self._number("result", patterns["spf_result"]),
        )
        pairs = pd.MultiIndex.from_frame(signatures[["d", "s"]])
        codes, distinct = pd.factorize(pairs)
        self.signatures = pd.MultiIndex.from_tuples(distinct, names=["d", "s"])
        said = ["domain_id", "author_id", "spf_domain_id", "result_id", "spf_given", "da", "sa"]
        said += ["backed", "dkim_relaxed", "dkim_strict", "spf_relaxed", "spf_strict"]
        self.put("said", patterns[said].reset_index())
        signatures["signature_id"] = codes.astype("int32")
        self.put("signed", signatures[["pattern", "signature_id", "passed", "aligned"]])
        return patterns

    def _find_senders(self) -> pd.DataFrame:
        """Make `delivered` (origin, place → sender); return the senders by number."""
        origins = self.table("SELECT * FROM origins").set_index("origin").sort_index()
        passes = origins["spf_pass"] != ""
        own = organisations(origins["spf_pass"]) == organisations(origins["header_from"])
        always = ~passes | self._every_address | (own & self._own_addresses)
        self.put("always", always.rename("always").reset_index())
        self.execute(sql.SOURCES)
        rows = self.table(
            "SELECT origin, place, sum(messages)::BIGINT AS messages FROM placed GROUP BY ALL"
        )
        keys = {text: _signatures(text) for text in origins["dkim_pass"].unique()}
        said = pd.DataFrame(
            {
                "header_from": origins["header_from"].astype("category"),
                "spf_pass_domain": origins["spf_pass"].where(passes).astype("category"),
                "dkim_pass": origins["dkim_pass"].map(keys).astype(object),
            }
        )
        sources = said.take(rows["origin"].to_numpy()).reset_index(drop=True)
        sources.insert(0, "source_ip", rows["place"].where(rows["place"] != ""))
        found = self._attribute(sources.assign(messages=rows["messages"]))
        names, name = pd.factorize(found["sender"])
        kinds, kind = pd.factorize(found["sender_kind"])
        codes, pairs = pd.factorize(names * np.int64(len(kind)) + kinds)
        self.put("delivered", rows[["origin", "place"]].assign(sender_id=codes.astype("int32")))
        # a MultiIndex of the pairs would be a tuple for each of millions of rows
        of_name, of_kind = np.divmod(pairs, max(len(kind), 1))
        return pd.DataFrame(
            {
                "sender": pd.Index(name).astype("str").take(of_name),
                "sender_kind": pd.Index(kind).astype("str").take(of_kind),
            }
        )

    def _classify(self, patterns: pd.DataFrame, senders: pd.DataFrame) -> pd.DataFrame:
        """Make `judges` and `classes` (pattern, judge → class); return the inventory."""
        seen = self.table(sql.SEEN.format(sum=self._sum))
        passing = self.table(sql.PASSING.format(sum=self._sum))
        seen = _named(seen, self.names["domain"], senders)
        passing = _named(passing, self.names["domain"], senders)
        pairs = self.signatures.take(passing["signature_id"].to_numpy()).to_frame(index=False)
        passing = passing.assign(dkim_domain=pairs["d"], selector=pairs["s"])
        owners = classify.owners(passing)
        inventory = classify.inventory(_once(seen, self._declared), passing, owners)
        named = senders["sender"].isin(inventory["sender"])
        special = named | ~senders["sender_kind"].isin(classify.ANONYMOUS_KINDS)
        judge = np.where(special, np.arange(len(senders)), -1).astype("int32")
        self.put(
            "judges",
            pd.DataFrame({"sender_id": np.arange(len(senders), dtype="int32"), "judge": judge}),
        )
        self.execute(sql.JUDGED)
        ways = self.table("SELECT * FROM ways")
        everyone = pd.concat([senders, pd.DataFrame([{"sender": "", "sender_kind": "unknown"}])])
        who = everyone.iloc[ways["judge"].to_numpy()].reset_index(drop=True)
        said = patterns.reindex(ways["pattern"])[list(_SAID)].reset_index(drop=True)
        rows = pd.concat([who, said], axis=1)
        passed = patterns.loc[patterns["da"] | patterns["sa"], "header_from"].drop_duplicates()
        found = classify.classify(rows, inventory, owners, passed)
        self.names["class"] = pd.Index(classify.CLASSES)
        codes = pd.Categorical(found, categories=list(classify.CLASSES)).codes.astype("int8")
        member = classify.in_inventory(rows, inventory)
        self.put("classes", ways.assign(class_id=codes, in_inventory=member))
        self.senders = senders
        return inventory

    def _frame(self, name: str, query: str) -> pd.DataFrame:
        """Return the result of a frame's query, with names in place of its numbers."""
        rows = self.table(query.format(sum=self._sum, spread=self._spread))
        columns: dict[str, Any] = {}
        for column in rows.columns:
            values = rows.pop(column)
            if column == "sender_id":
                columns["sender"] = _categories(values, self.senders["sender"])
                columns["sender_kind"] = _categories(values, self.senders["sender_kind"])
            elif column == "signature_id":
                columns["dkim_domain"] = _categories(values, self.signatures.get_level_values("d"))
                columns["selector"] = _categories(values, self.signatures.get_level_values("s"))
            elif column.endswith("_id"):
                plain = column.removesuffix("_id")
                given = {"author": "header_from"}.get(plain, plain)
                columns[given] = _categories(values, self.names[plain])
            elif column in ("day", "first_day", "last_day"):
                columns[column] = _days(values)
            else:
                columns[column] = values
        return typed(name, pd.DataFrame(columns))


_SAID = ("domain", "header_from", "da", "sa", "passing", "broken", "foreign_pass", "forward_reason")


def _signatures(text: str) -> tuple[tuple[str, str], ...]:
    """Split ``d␞s␟d␞s``, as DuckDB writes the signatures that pass, into pairs."""
    if not text:
        return ()
    pairs = (item.partition("\x1e") for item in text.split("\x1f"))
    return tuple((domain, selector) for domain, _, selector in pairs)


def _named(frame: pd.DataFrame, domains: pd.Index[Any], senders: pd.DataFrame) -> pd.DataFrame:
    who = senders.take(frame["sender_id"].to_numpy()).reset_index(drop=True)
    domain = pd.Series(domains.take(frame["domain_id"].to_numpy()), name="domain")
    return pd.concat([frame, domain, who], axis=1)


def _once(seen: pd.DataFrame, declared: Sequence[str]) -> pd.DataFrame:
    """Return one row per domain and sender; of several kinds that of the most messages."""
    order = seen.sort_values(["domain", "sender", "messages"], ascending=[True, True, False])
    rows = order.groupby(["domain", "sender"], as_index=False).agg(
        sender_kind=("sender_kind", "first"),
        sa_messages=("sa_messages", "sum"),
        messages=("messages", "sum"),
        first_day=("first_day", "min"),
        last_day=("last_day", "max"),
    )
    return rows.assign(
        declared=rows["sender"].isin(declared),
        first_day=_days(rows["first_day"]),
        last_day=_days(rows["last_day"]),
    )


def _days(numbers: pd.Series[Any]) -> pd.Series[Any]:
    """Return days since 1970 as UTC midnights."""
    plain = numbers.to_numpy("int64").astype("datetime64[D]").astype("datetime64[us]")
    return pd.Series(plain, index=numbers.index).dt.tz_localize("UTC")


def _categories(codes: pd.Series[Any], names: Any) -> pd.Series[Any]:
    """Return the names of numbers, as a categorical."""
    own, distinct = pd.factorize(pd.Index(names, dtype="str"), sort=True)
    values = pd.Categorical.from_codes(own[codes.to_numpy()], categories=distinct)
    return pd.Series(values, index=codes.index)
