"""One ``<record>`` of an aggregate report, as nested dicts, made into a `Record`.

Words are lower-cased and domains normalized; what is unknown or no address stays as sent, with a
warning. Text where an element belongs (``<reason>forwarded</reason>``) is read as what decides
in it; of an element that may stand only once the first is taken; an empty field is None.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal

from dmarckit.reports.feed import MIXED, Tree
from dmarckit.reports.model import DkimResult, Reason, Record, SpfResult
from dmarckit.reports.values import (
    FIELD_CHARACTERS,
    Warnings,
    cut,
    domain,
    noted_address,
    quoted,
    read_count,
    text_within,
)

# RFC 8601 section 2.7: results of DKIM and SPF; RFC 7489 and RFC 9990: dispositions
RESULTS = frozenset(
    {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror", "softfail"}
)
DISPOSITIONS = frozenset({"none", "quarantine", "reject", "pass"})
REASONS = frozenset({
    "forwarded", "sampled_out", "trusted_forwarder", "mailing_list", "local_policy", "other",
    "policy_test_mode",
})  # fmt: skip
# what reporters write instead; RFC 4408 section 2.5.7 knew "error" and "unknown"
SYNONYMS = {"soft_fail": "softfail", "soft-fail": "softfail", "temp_error": "temperror",
            "perm_error": "permerror", "passed": "pass", "failed": "fail",
            "accept": "none"}  # fmt: skip
# older RFCs' words for results, kept as sent; `facts.result_meaning` counts what they mean
OLD_FAILS = frozenset({"hardfail", "hard_fail", "hard-fail"})
OLD_ERRORS = frozenset({"unknown", "error", "invalid"})
# text in place of these elements → the element in it that the text is
_DECIDES = {
    "reason": ("type", REASONS),
    "dkim": ("result", RESULTS | OLD_FAILS | OLD_ERRORS),
    "spf": ("result", RESULTS | OLD_FAILS | OLD_ERRORS),
    "policy_evaluated": ("disposition", DISPOSITIONS),
}
MOST = 100  # results of DKIM or SPF, and reasons, of one record
_CACHED = 20_000
_CACHED_CHARACTERS = 1_000
_NOTHING: Tree = {}


class Elements:
    """Reads elements as xmltodict gives them: of several the first, and warns of what is odd."""

    def __init__(self, warnings: Warnings, most: int = FIELD_CHARACTERS) -> None:
        self.warnings = warnings
        self._most = most  # characters of a text

    @property
    def _place(self) -> str:
        """Where they stand, such as ``record 3``."""
        return ""

    def one(self, tree: Tree, name: str, parent: str) -> Tree:
        """Return the element `name`, which holds elements; empty when it is not there."""
        found = tree.get(name)
        if type(found) is dict:
            return found
        if found is None:
            return _NOTHING
        if type(found) is list:
            self.repeated(parent, name, len(found))
            return next((each for each in found if type(each) is dict), _NOTHING)
        return self._element(parent, name, found) or _NOTHING

    def _element(self, parent: str, name: str, text: str) -> Tree | None:
        """Return the element that the text `name` stands for; None: it says nothing that decides.

        A reason's text that is no known type is its comment.
        """
        inner, known = _DECIDES.get(name, ("", frozenset()))
        word = text.lower().replace(" ", "_").replace("-", "_")
        if SYNONYMS.get(word, word) not in known:
            inner = "comment" if name == "reason" else ""
        if not inner:
            self.warnings.add(f"{parent}/{name}: text {quoted(text)} passed over", self._place)
            return None
        self.warnings.add(f"{parent}/{name}: text {quoted(text)} read as {inner}", self._place)
        comment = cut(text, f"{parent}/{name}", self.warnings, self._place)
        return {inner: comment if inner == "comment" else word}

    def text(self, tree: Tree, name: str, parent: str) -> str | None:
        """Return the text of the element `name`; None when it is not there or empty."""
        found = tree.get(name)
        if found is None or (type(found) is str and len(found) <= self._most):
            return found
        if type(found) is list:
            self.repeated(parent, name, len(found))
            found = next((each for each in found if type(each) is str), None)
        elif type(found) is not str:
            text = text_within(found)
            taken = f"{quoted(text)} taken" if text else "passed over"
            self.warnings.add(f"{parent}/{name}: elements in it {taken}", self._place)
            found = text
        return found and cut(found, f"{parent}/{name}", self.warnings, self._place, self._most)

    def repeated(self, parent: str, name: str, times: int) -> None:
        """Warn of an element that stands more than once."""
        self.warnings.add(f"{parent}/{name} stands {times:,} times, first taken", self._place)


class RecordMaker(Elements):
    """Makes the records of one report; equal results are one object, which saves memory."""

    def __init__(self, warnings: Warnings) -> None:
        super().__init__(warnings)
        self._made: dict[tuple[Any, ...], DkimResult | SpfResult] = {}
        self._words: dict[tuple[str, str, str], str] = {}
        self.made = 0

    def make(self, tree: Tree) -> Record:
        """Return the `Record` of one ``<record>``.

        Raises `UnreadableReport` when it has no ``count`` that is a number.
        """
        self.made += 1
        row = self.one(tree, "row", "record")
        evaluated = self.one(row, "policy_evaluated", "row")
        if not evaluated and "policy_evaluated" in tree:
            evaluated = self.one(tree, "policy_evaluated", "record")
        identifiers = self.one(tree, "identifiers", "record")
        results = tree.get("auth_results")
        if type(results) is not dict:
            results = self._merged_results(tree)
        ip = self.text(row, "source_ip", "row")
        return Record(
            noted_address(ip, "source_ip", self.warnings, self._place),
            read_count(self.text(row, "count", "row"), "row/count", self.warnings, self._place),
            self._word(evaluated, "disposition", "policy_evaluated", DISPOSITIONS),
            self._aligned(evaluated, "dkim"),
            self._aligned(evaluated, "spf"),
            self._reasons(evaluated) if "reason" in evaluated else (),
            self._domain(identifiers, "header_from", "identifiers"),
            self._domain(identifiers, "envelope_from", "identifiers"),
            self._domain(identifiers, "envelope_to", "identifiers"),
            self._results(results, "dkim") if "dkim" in results else (),
            self._results(results, "spf") if "spf" in results else (),
        )

    @property
    def _place(self) -> str:
        return f"record {self.made}"

    def _merged_results(self, tree: Tree) -> Tree:
        """Return the results of several ``auth_results``: one for SPF and one for DKIM, say."""
        found = tree.get("auth_results")
        if type(found) is not list:
            return self.one(tree, "auth_results", "record")
        self.warnings.add(f"record/auth_results stands {len(found)} times, all taken", self._place)
        merged: dict[str, list[Any]] = {}
        for each in filter(None, found):
            for name, value in each.items() if type(each) is dict else ():
                merged.setdefault(name, []).extend(value if type(value) is list else [value])
        return dict(merged)

    def _domain(self, tree: Tree, name: str, parent: str) -> str | None:
        found = self.text(tree, name, parent)
        return None if found is None else domain(found)

    def _word(self, tree: Tree, name: str, parent: str, known: frozenset[str]) -> str | None:
        found = tree.get(name)
        if type(found) is str and found in known:
            return found
        text = self.text(tree, name, parent)
        if text is None:
            return None
        seen = parent, name, text
        if seen in self._words:
            return self._words[seen]
        word = text.lower()
        word = SYNONYMS.get(word, word) if word not in known else word
        if word not in known:
            self.warnings.add(f"{parent}/{name}: unknown value {quoted(text)}", self._place)
        elif word != text:
            self.warnings.changed(f"{parent}/{name}", text, word, self._place)
        if len(self._words) < _CACHED and len(text) <= _CACHED_CHARACTERS:
            self._words[seen] = word
        return word

    def _aligned(self, evaluated: Tree, name: str) -> bool | None:
        """Return True for pass, False for any other known result, None when it does not say."""
        word = self._word(evaluated, name, "policy_evaluated", RESULTS)
        return word == "pass" if word in RESULTS or word in OLD_FAILS else None

    def _each(self, tree: Tree, name: str, parent: str) -> list[Tree]:
        """Return the elements `name`, which may stand any number of times; empty ones left out."""
        found = tree.get(name)
        if type(found) is dict:
            return [found]
        if type(found) is not list:
            found = [found]
        elements = (
            self._element(parent, name, each) if type(each) is str else each for each in found
        )
        made = list(islice(filter(None, elements), MOST + 1))
        if len(made) > MOST:
            where = f"{parent}/{name}"
            self.warnings.add(f"{where} stands more than {MOST} times, first taken", self._place)
        return made[:MOST]

    def _reasons(self, evaluated: Tree) -> tuple[Reason, ...]:
        made = []
        for each in self._each(evaluated, "reason", "policy_evaluated"):
            kind = self._word(each, "type", "reason", REASONS)
            comment = self.text(each, "comment", "reason")
            if not kind and (text := each.get(MIXED) or text_within(each)) and text != comment:
                read = self._element("policy_evaluated", "reason", text) or _NOTHING
                kind, comment = read.get("type"), comment or read.get("comment")
            if kind or comment:
                made.append(Reason(kind, comment))
        return tuple(made)

    def _results(self, results: Tree, name: Literal["dkim", "spf"]) -> tuple[Any, ...]:
        """Return each raw result of DKIM or SPF; of the same values always the same object."""
        found = []
        own = "selector" if name == "dkim" else "scope"
        for tree in self._each(results, name, "auth_results"):
            get = tree.get
            sent = name, get("domain"), get(own), get("result"), get("human_result")
            try:
                made = self._made.get(sent)
                keep = len(self._made) < _CACHED
            except TypeError:  # a repeated element is a list, which is no key
                made, keep = None, False
            if made is None:
                made = (DkimResult if name == "dkim" else SpfResult)(
                    self._domain(tree, "domain", name),
                    self.text(tree, own, name)
                    if name == "dkim"
                    else self._word(tree, own, name, frozenset({"helo", "mfrom"})),
                    self._word(tree, "result", name, RESULTS),
                    self.text(tree, "human_result", name),
                )
                if keep and sum(len(text) for text in sent if text) < _CACHED_CHARACTERS:
                    self._made[sent] = made
            found.append(made)
        return tuple(found)
