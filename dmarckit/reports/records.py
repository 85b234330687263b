"""One ``<record>`` of an aggregate report, as nested dicts, made into a `Record`.

What a value may be, and what is done with others:

- results and dispositions are lower-cased; an unknown or old word (``hardfail``) stays
  as sent in lower case. Each of these leaves a warning.
- domains are lower-cased without the root dot (DNS does not tell the difference); selectors,
  comments and human results stay as sent.
- a missing or empty field is ``None``; a missing ``count`` makes the record unreadable.
- text where an element belongs (``<reason>forwarded</reason>``) is read as what decides in it.
- of an element that may stand only once the first one is taken, with a warning.
- an address that is none is kept as sent, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from dmarckit.reports.feed import MIXED, Tree
from dmarckit.reports.model import DkimResult, Reason, Record, SpfResult
from dmarckit.reports.values import (
    Warnings,
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
SCOPES = frozenset({"helo", "mfrom"})
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
_CACHED = 20_000
_CACHED_CHARACTERS = 1_000
_NOTHING: Tree = {}
_Sent = tuple[Any, ...]
Result = TypeVar("Result")


class RecordMaker:
    """Makes the records of one report; equal results are one object, which saves memory."""

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self._dkim: dict[_Sent, DkimResult] = {}
        self._spf: dict[_Sent, SpfResult] = {}
        self._words: dict[tuple[str, str, str], str] = {}
        self.made = 0

    def make(self, tree: Tree) -> Record:
        """Return the `Record` of one ``<record>``.

        Raises `UnreadableReport` when it has no ``count`` that is a number.
        """
        self.made += 1
        row = self._one(tree, "row", "record")
        evaluated = self._one(row, "policy_evaluated", "row")
        if not evaluated and "policy_evaluated" in tree:
            evaluated = self._one(tree, "policy_evaluated", "record")
        identifiers = self._one(tree, "identifiers", "record")
        results = tree.get("auth_results")
        if type(results) is not dict:
            results = self._merged_results(tree)
        return Record(
            self._source_ip(row),
            self._messages(row),
            self._word(evaluated, "disposition", "policy_evaluated", DISPOSITIONS),
            self._aligned(evaluated, "dkim"),
            self._aligned(evaluated, "spf"),
            self._reasons(evaluated) if "reason" in evaluated else (),
            self._domain(identifiers, "header_from", "identifiers"),
            self._domain(identifiers, "envelope_from", "identifiers"),
            self._domain(identifiers, "envelope_to", "identifiers"),
            self._dkim_results(results) if "dkim" in results else (),
            self._spf_results(results) if "spf" in results else (),
        )

    def _messages(self, row: Tree) -> int:
        sent = row.get("count")
        if type(sent) is str and sent.isdecimal() and sent.isascii() and len(sent) < 16:
            return int(sent)
        return read_count(self._text(row, "count", "row"), "row/count", self._warnings, self._place)

    def _source_ip(self, row: Tree) -> str | None:
        sent = self._text(row, "source_ip", "row")
        return noted_address(sent, "source_ip", self._warnings, self._place)

    @property
    def _place(self) -> str:
        return f"record {self.made}"

    def _one(self, tree: Tree, name: str, parent: str) -> Tree:
        """Return the element `name`, which holds elements; empty when it is not there."""
        found = tree.get(name)
        if type(found) is dict:
            return found
        if found is None:
            return _NOTHING
        if type(found) is list:
            self._repeated(parent, name, len(found))
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
            self._warnings.add(f"{parent}/{name}: text {quoted(text)} passed over", self._place)
            return None
        self._warnings.add(f"{parent}/{name}: text {quoted(text)} read as {inner}", self._place)
        return {inner: text if inner == "comment" else word}

    def _merged_results(self, tree: Tree) -> Tree:
        """Return the results of several ``auth_results``: one for SPF and one for DKIM, say."""
        found = tree.get("auth_results")
        if type(found) is not list:
            return self._one(tree, "auth_results", "record")
        self._warnings.add(f"record/auth_results stands {len(found)} times, all taken", self._place)
        merged: dict[str, list[Any]] = {}
        for each in filter(None, found):
            for name, value in each.items() if type(each) is dict else ():
                merged.setdefault(name, []).extend(value if type(value) is list else [value])
        return dict(merged)

    def _text(self, tree: Tree, name: str, parent: str) -> str | None:
        """Return the text of the element `name`; None when it is not there or empty."""
        found = tree.get(name)
        if found is None or type(found) is str:
            return found
        if type(found) is list:
            self._repeated(parent, name, len(found))
            return next((each for each in found if type(each) is str), None)
        text = text_within(found)
        taken = f"{quoted(text)} taken" if text else "passed over"
        self._warnings.add(f"{parent}/{name}: elements in it {taken}", self._place)
        return text

    def _repeated(self, parent: str, name: str, times: int) -> None:
        self._warnings.add(f"{parent}/{name} stands {times} times, first taken", self._place)

    def _domain(self, tree: Tree, name: str, parent: str) -> str | None:
        found = tree.get(name)
        if type(found) is not str:
            found = self._text(tree, name, parent)
        return None if found is None else domain(found)

    def _word(self, tree: Tree, name: str, parent: str, known: frozenset[str]) -> str | None:
        found = tree.get(name)
        if type(found) is str and found in known:
            return found
        text = self._text(tree, name, parent)
        if text is None:
            return None
        seen = parent, name, text
        if seen not in self._words:
            word = self._new_word(text, f"{parent}/{name}", known)
            if len(self._words) >= _CACHED or len(text) > _CACHED_CHARACTERS:
                return word
            self._words[seen] = word
        return self._words[seen]

    def _new_word(self, text: str, element: str, known: frozenset[str]) -> str:
        word = text.lower()
        word = SYNONYMS.get(word, word) if word not in known else word
        if word not in known:
            self._warnings.add(f"{element}: unknown value {quoted(text)}", self._place)
        elif word != text:
            self._warnings.changed(element, text, word, self._place)
        return word

    def _aligned(self, evaluated: Tree, name: str) -> bool | None:
        """Return True for pass, False for any other known result, None when it does not say."""
        found = evaluated.get(name)
        if found == "pass":
            return True
        if found == "fail":
            return False
        word = self._word(evaluated, name, "policy_evaluated", RESULTS)
        return None if word not in RESULTS | OLD_FAILS else word == "pass"

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
        return [each for each in elements if each]

    def _reasons(self, evaluated: Tree) -> tuple[Reason, ...]:
        made = []
        for each in self._each(evaluated, "reason", "policy_evaluated"):
            kind = self._word(each, "type", "reason", REASONS)
            comment = self._text(each, "comment", "reason")
            if not kind and (text := each.get(MIXED) or text_within(each)) and text != comment:
                read = self._element("policy_evaluated", "reason", text) or _NOTHING
                kind, comment = read.get("type"), comment or read.get("comment")
            if kind or comment:
                made.append(Reason(kind, comment))
        return tuple(made)

    def _dkim_results(self, results: Tree) -> tuple[DkimResult, ...]:
        return tuple(
            _remembered(self._dkim, _sent(each, "selector"), self._dkim_result, each)
            for each in self._each(results, "dkim", "auth_results")
        )

    def _dkim_result(self, tree: Tree) -> DkimResult:
        return DkimResult(
            self._domain(tree, "domain", "dkim"),
            self._text(tree, "selector", "dkim"),
            self._word(tree, "result", "dkim", RESULTS),
            self._text(tree, "human_result", "dkim"),
        )

    def _spf_results(self, results: Tree) -> tuple[SpfResult, ...]:
        return tuple(
            _remembered(self._spf, _sent(each, "scope"), self._spf_result, each)
            for each in self._each(results, "spf", "auth_results")
        )

    def _spf_result(self, tree: Tree) -> SpfResult:
        return SpfResult(
            self._domain(tree, "domain", "spf"),
            self._word(tree, "scope", "spf", SCOPES),
            self._word(tree, "result", "spf", RESULTS),
            self._text(tree, "human_result", "spf"),
        )


def _sent(tree: Tree, own: str) -> _Sent:
    """Return what a result holds, `own` (selector or scope) included."""
    get = tree.get
    return get("domain"), get(own), get("result"), get("human_result")


def _remembered(
    made: dict[_Sent, Result], sent: _Sent, make: Callable[[Tree], Result], tree: Tree
) -> Result:
    """Return the result made of the same values before, else a new one."""
    try:
        return made[sent]
    except KeyError:
        result = make(tree)
    except TypeError:  # a repeated element is a list, which is no key
        return make(tree)
    if len(made) < _CACHED and sum(len(text) for text in sent if text) < _CACHED_CHARACTERS:
        made[sent] = result
    return result
