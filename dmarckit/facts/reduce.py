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
from numpy.typing import NDArray

from dmarckit.core import DeclaredSender, normalize_domain
from dmarckit.facts import classify, sql
from dmarckit.facts.frames import COLUMNS, typed
from dmarckit.facts.networks import organisations


def with_alignment(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.DataFrame:
    """Add `aligned`, `exact`, `living` and `covered`.

    - `aligned`: d= is of the author's organisation; `exact`: it is the author
    - `living`: (d, s) passes, aligned, in one of the patterns; where a reporter left the
      selector out, one of that d= does
    - `covered`: another aligned signature of the pattern passes

    `patterns` has the author domain, `header_from`, by pattern (its index); `signatures` one
    row per pattern and signature, with `d`, `s`, and `passed`.
    """
    author = signatures["pattern"].map(patterns["header_from"])
    same = organisations(signatures["d"]) == organisations(author)
    # foreign signatures say nothing here: what is loaded of other organisations may vary
    good = same.astype(bool) & signatures["passed"]
    alive = good.groupby([signatures["d"], signatures["s"]]).transform("any")
    domain_alive = good.groupby(signatures["d"]).transform("any")
    others = good.groupby(signatures["pattern"]).transform("sum") - good
    return signatures.assign(
        aligned=same.astype(bool),
        exact=signatures["d"] == author,
        living=(alive | (domain_alive & (signatures["s"] == ""))).astype(bool),
        covered=others > 0,
    )


def with_flags(patterns: pd.DataFrame, signatures: pd.DataFrame) -> pd.DataFrame:
    """Add what follows from the raw results; `signatures` as from `with_alignment`.

    - `dkim_relaxed`, `dkim_strict`, `spf_relaxed`, `spf_strict`: a raw result passes that is
      of the author's organisation, or of the author domain itself
    - `backed`: SPF was found aligned, and the raw results do not speak against it. Only then
      does it bring a sender into the inventory: a forwarder gets there by no slip of a
      reporter
    - `broken`: there is a living aligned signature that did not pass
    - `foreign_pass`: a raw result passes for another organisation, or for the author's own
      when the message fails all the same (strict alignment)
    - `contradicts`: the message fails although a raw result passes for just the author's domain
    - `passing`: the aligned signatures that pass, a tuple of (d, s)
    - `unexplained`: the message fails, and neither its receiver nor a broken signature says why
    - `proof`: the domain for which raw SPF passes, else the first one for which DKIM does
    """
    author = organisations(patterns["header_from"])
    passed, aligned = signatures["passed"], signatures["aligned"]
    identity = patterns["spf_identity"]
    spf_relaxed = identity.notna() & (organisations(identity) == author)
    dkim_relaxed = _some(patterns, signatures[passed & aligned])
    others = patterns["spf_pass"].notna() & (organisations(patterns["spf_pass"]) != author)
    fails = ~patterns["da"] & ~patterns["sa"]
    broken = _some(patterns, signatures[~passed & aligned & signatures["living"]])
    signed_as = signatures[passed].groupby("pattern")["d"].min().reindex(patterns.index)
    dkim_strict = _some(patterns, signatures[passed & signatures["exact"]])
    spf_strict = identity.notna() & (identity == patterns["header_from"])
    return patterns.assign(
        dkim_relaxed=dkim_relaxed,
        dkim_strict=dkim_strict,
        spf_relaxed=spf_relaxed,
        spf_strict=spf_strict,
        contradicts=fails & (dkim_strict | spf_strict),
        backed=patterns["sa"] & (spf_relaxed | ~patterns["spf_given"]),
        broken=broken,
        foreign_pass=others
        | _some(patterns, signatures[passed & ~aligned])
        | (fails & (dkim_relaxed | spf_relaxed)),
        passing=_tuples(patterns, signatures[passed & aligned]),
        unexplained=fails & ~broken & ~patterns["forward_reason"] & ~dkim_strict & ~spf_strict,
        proof=patterns["spf_pass"].fillna(signed_as),
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
        decisions: Sequence[DeclaredSender],
        *,
        few: bool,
        every_address: bool,
        own_addresses: bool,
    ) -> None:
        self._connection = connection
        self._attribute = attribute
        self._decisions = decisions
        self._what = "TABLE" if few else "VIEW"
        self._every_address, self._own_addresses = every_address, own_addresses
        self.names: dict[str, pd.Index[Any]] = {}
        self._places: dict[str, tuple[NDArray[Any], pd.CategoricalDtype]] = {}
        self._beyond: list[tuple[str, str, int, int]] = []
        self.senders = pd.DataFrame({"sender": [], "sender_kind": []}, dtype="str")

    def run(
        self, where: str, start_us: int, now_us: int, policies: pd.DataFrame, *, frames: bool = True
    ) -> dict[str, pd.DataFrame]:
        """Return all frames that are made of records (or none), `inventory` and `denied`.

        `policies` is the frame of that name: which domains ask for more than reports.
        """
        today = now_us // sql.DAY_US
        for key in sql.KEYS:
            self.execute(sql.CHOSEN.format(key=key, where=where, what=self._what))
            if self.table(sql.RAW)["apart"].all():
                break
        self.execute(sql.PERIODS.format(start_us=start_us, now_us=now_us))
        self.execute(sql.NAMES, sql.PATTERNS)
        self._count_in_fractions()
        patterns = self._number_patterns()
        self.execute(sql.ORIGINS, sql.RECORDS)
        senders = self._find_senders()
        self.execute(sql.SENT, sql.REDUCED.format(sum=self._spread))
        self.execute(sql.ADDRESSES.format(sum=self._spread, week=today - 7))
        decided = self._classify(patterns, senders, today - classify.LOOK_BACK, policies)
        queries = dict(sql.FRAMES)
        if self.table("SELECT 1 FROM patterns WHERE len(requirements) > 0 LIMIT 1").empty:
            queries["requirements"] += " LIMIT 0"  # the records need not be read again
        found = {name: self._frame(name, query) for name, query in queries.items() if frames}
        beyond = pd.DataFrame(self._beyond, columns=list(COLUMNS["beyond"]))
        made = decided | {"beyond": beyond}
        return found | {name: typed(name, frame) for name, frame in made.items()}

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
        names = self.table("SELECT disposition FROM dispositions ORDER BY disposition_id")
        self.names["disposition"] = pd.Index(names["disposition"])
        names = self.table("SELECT DISTINCT reporter_id, name, provider FROM reporters ORDER BY 1")
        self.names |= {"reporter": pd.Index(names["name"]), "provider": pd.Index(names["provider"])}

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
        patterns = with_flags(patterns, signatures)
        patterns = patterns.assign(
            domain_id=self._number("domain", patterns["domain"]),
            author_id=self._number("header_from", patterns["header_from"]),
            spf_domain_id=self._number("spf_domain", patterns["spf_domain"]),
            result_id=self._number("result", patterns["spf_result"]),
            proof_id=self._number("proof", patterns["proof"]),
        )
        pairs = pd.MultiIndex.from_frame(signatures[["d", "s"]])
        codes, distinct = pd.factorize(pairs)
        for place, name in enumerate(("dkim_domain", "selector")):
            self.names[name] = pd.Index([pair[place] for pair in distinct], dtype="str")
        said = ["domain_id", "author_id", "spf_domain_id", "result_id", "spf_given", "da", "sa"]
        said += ["proof_id", "unexplained", "foreign_pass"]
        said += ["backed", "dkim_relaxed", "dkim_strict", "spf_relaxed", "spf_strict"]
        self.put("said", patterns[said].reset_index())
        signatures["signature_id"] = codes.astype("int32")
        signed = ["pattern", "signature_id", "passed", "aligned", "living", "covered"]
        self.put("signed", signatures[signed])
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
        codes, texts = pd.factorize(origins["dkim_pass"])
        signatures = pd.Index([_signatures(str(text)) for text in texts], tupleize_cols=False)
        said = pd.DataFrame(
            {
                "domain": origins["domain"].astype("category"),
                "header_from": origins["header_from"].astype("category"),
                "spf_pass_domain": origins["spf_pass"].where(passes).astype("category"),
                "dkim_pass": pd.Categorical.from_codes(codes, categories=signatures),
            },
            index=origins.index,
        )
        sources = said.take(rows["origin"].to_numpy()).reset_index(drop=True)
        ips = self.table("SELECT ip FROM ips ORDER BY address")["ip"]
        none = np.append(ips == "", True)  # of the place -1
        codes = np.where(none[rows["place"]], -1, rows["place"])
        address = pd.Categorical.from_codes(codes, categories=pd.Index(ips))
        found = self._attribute(sources.assign(source_ip=address, messages=rows["messages"]))
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

    def _classify(
        self, patterns: pd.DataFrame, senders: pd.DataFrame, since: int, policies: pd.DataFrame
    ) -> dict[str, pd.DataFrame]:
        """Make `judges` and `classes` (pattern, judge → class); return `inventory`, `denied`."""
        seen = self.table(sql.SEEN.format(sum=self._sum))
        passing = self.table(sql.PASSING.format(sum=self._sum))
        seen = _named(seen, self.names["domain"], senders)
        passing = _named(passing, self.names["domain"], senders)
        for name in ("dkim_domain", "selector"):
            passing[name] = self.names[name].take(passing["signature_id"].to_numpy())
        owners = classify.owners(passing)
        who = _once(seen)
        who = who.assign(declared=self._is(who, denied=False), denied=self._is(who, denied=True))
        inventory = classify.inventory(who, passing, owners)
        denied = who.loc[who["denied"], ["domain", "sender"]]
        decided = pd.concat([inventory[["domain", "sender"]], denied])
        unidentified = self._unidentified(seen, senders, inventory, decided, since, policies)
        named = senders["sender"].isin([*inventory["sender"], *unidentified["sender"]])
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
        said = patterns.reindex(ways["pattern"])[_SAID].reset_index(drop=True)
        rows = pd.concat([who, said], axis=1)
        passed = patterns.loc[patterns["da"] | patterns["sa"], "header_from"].drop_duplicates()
        found = classify.classify(rows, inventory, owners, passed, unidentified, denied)
        self.names["class"] = pd.Index(classify.CLASSES)
        codes = pd.Categorical(found, categories=list(classify.CLASSES)).codes.astype("int8")
        member = classify.is_among(rows, inventory)
        steady = classify.is_among(rows, unidentified)
        service = rows["sender_kind"].isin(classify.SERVICES) & ~classify.is_among(rows, denied)
        flags = {
            "in_inventory": member,
            "ours": member | found.isin(["unaligned_sender", "unidentified"]),
            "of_ours": member | steady | service,
            "unidentified": found == "unidentified",
        }
        self.put("classes", ways.assign(class_id=codes, **flags))
        self.senders = senders
        self.names |= {n: pd.Index(senders[n]) for n in ("sender", "sender_kind")}
        return {"inventory": inventory, "denied": denied}

    def _is(self, who: pd.DataFrame, *, denied: bool) -> pd.Series[bool]:
        """Return True for the domains and senders that are declared, or denied."""
        made = [d for d in self._decisions if d.denied == denied]
        everywhere = who["sender"].isin([d.name for d in made if not d.domain])
        places = {f"{normalize_domain(d.domain)} {d.name}" for d in made if d.domain}
        return everywhere | (who["domain"] + " " + who["sender"]).isin(places)

    def _unidentified(
        self,
        seen: pd.DataFrame,
        senders: pd.DataFrame,
        inventory: pd.DataFrame,
        decided: pd.DataFrame,
        since: int,
        policies: pd.DataFrame,
    ) -> pd.DataFrame:
        """Make `found`; return who behaves like a sender of one's own (`find_unidentified`).

        `seen` has a row per number of domain and sender; `decided` are in the inventory or
        denied; `since` is the first of the days that count.
        """
        out = seen.loc[classify.is_among(seen, decided), ["domain_id", "sender_id"]]
        self.put("decided", out)
        services = senders["sender_kind"].isin((*classify.SERVICES, "own"))
        self.put("services", pd.DataFrame({"sender_id": np.flatnonzero(services)}))
        *steps, query = sql.CANDIDATES.format(
            since=since, least=classify.RHYTHM_DAYS, networks=classify.MOST_NETWORKS
        ).split(";")
        self.execute(*steps)
        rows = self.table(query)
        self.put("found", rows[["domain_id", "sender_id"]])
        domains = self.names["domain"]
        proofs = _named(self.table(sql.PROOFS), domains, senders)
        proofs["proves"] = self.names["proof"].take(proofs["proof_id"].to_numpy())
        rows = _named(rows, domains, senders)
        newest = policies.drop_duplicates("domain", keep="last")
        strict = newest.loc[newest["p"].isin(["quarantine", "reject"]), "domain"]
        bare = ~rows["domain"].isin(inventory["domain"])
        rows = rows.assign(bare=bare, parked=bare & rows["domain"].isin(strict))
        found = classify.find_unidentified(rows, proofs)
        found["proves_id"] = self._number("proves", found["proves"])
        self.execute("DROP TABLE found; DROP TABLE unexplained; DROP TABLE candidates")
        columns = ["domain_id", "sender_id", "proves_id", "days", "networks", "addresses"]
        self.put("found", found[columns].assign(since=since))
        return found[["domain", "sender"]]

    def _largest(self, rows: pd.DataFrame, domain: str, subject: str, first: str) -> pd.DataFrame:
        """Return the rows of each domain's largest subjects; `_beyond` counts the others."""
        if len(rows) <= sql.MOST_SUBJECTS:
            return rows
        names = {"domain": domain, "subject": subject, "first": first, "most": sql.MOST_SUBJECTS}
        self._connection.register("bounded", rows)
        count, query = sql.BEYOND.format(**names).split(";")
        self.execute(count)
        beyond = self.table(query)
        if not beyond.empty:
            of, what = self.names["domain"], subject.removesuffix("_id")
            self._beyond += [
                (of[place] if domain == "domain_id" else place, what, names, messages)
                for place, names, messages in beyond.itertuples(index=False, name=None)
            ]
            kept = f"SELECT * FROM subjects WHERE place <= {sql.MOST_SUBJECTS}"  # noqa: S608
            rows = self.table(f"FROM bounded SEMI JOIN ({kept}) USING ({domain}, {subject})")
        self._connection.unregister("bounded")
        return rows

    def _frame(self, name: str, query: str) -> pd.DataFrame:
        """Return the result of a frame's query, with names in place of its numbers."""
        rows = self.table(query.format(sum=self._sum, spread=self._spread))
        if name in sql.BOUNDED:
            rows = self._largest(rows, *sql.BOUNDED[name])
        columns: dict[str, Any] = {}
        order = self._order(rows) if "domain_id" in rows else np.arange(len(rows))
        for column in rows.columns:  # one after the other: there may be millions of rows
            values = rows.pop(column).array.take(order)
            if column.endswith("_id"):
                columns |= {
                    n: self._categories(n, values) for n in _NAMED.get(column, [column[:-3]])
                }
            else:
                columns[column] = _days(values) if column.endswith("day") else values
        return typed(name, pd.DataFrame(columns, copy=False))

    def _categories(self, name: str, codes: Any) -> pd.Categorical:
        """Return the names of numbers, with all names of the kind as categories, in order."""
        if name not in self._places:
            places, distinct = pd.factorize(pd.Index(self.names[name], dtype="str"), sort=True)
            self._places[name] = places, pd.CategoricalDtype(distinct)
        places, dtype = self._places[name]
        return pd.Categorical.from_codes(places[codes.to_numpy()], dtype=dtype)

    def _order(self, rows: pd.DataFrame) -> Any:
        """Return the places of rows in the order of domains by name, and of days."""
        domain = self._categories("domain", rows["domain_id"])
        if "day" not in rows or rows.empty:
            return np.argsort(domain.codes, kind="stable")
        days = rows["day"].to_numpy()
        return np.lexsort(((days - days.min()).astype("int16"), domain.codes))


_NAMED = {
    "sender_id": ["sender", "sender_kind"],
    "signature_id": ["dkim_domain", "selector"],
    "reporter_id": ["reporter", "provider"],
    "author_id": ["header_from"],
}
"""Number → the columns that it stands for, where these are not of its name."""
_SAID = [column for column in classify.ROW if not column.startswith("sender")]


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


def _once(seen: pd.DataFrame) -> pd.DataFrame:
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
        first_day=_days(rows["first_day"]),
        last_day=_days(rows["last_day"]),
    )


def _days(numbers: Any) -> pd.DatetimeIndex:
    """Return days since 1970 as UTC midnights."""
    plain = numbers.to_numpy("int64").astype("datetime64[D]").astype("datetime64[us]")
    return pd.DatetimeIndex(plain, tz="UTC")
