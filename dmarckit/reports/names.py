"""The elements of an aggregate report by name, and how reporters misspell them.

The names are those of RFC 7489 appendix C and RFC 9990; ``testing`` and ``np`` came with the
latter. A prefix says nothing: reporters declare any namespace, or none.
"""

from __future__ import annotations

from dmarckit.reports.values import Warnings, quoted

KNOWN = frozenset(
    {
        "feedback",
        "version",
        "report_metadata",
        "org_name",
        "email",
        "extra_contact_info",
        "report_id",
        "date_range",
        "begin",
        "end",
        "error",
        "generator",
        "policy_published",
        "domain",
        "adkim",
        "aspf",
        "p",
        "sp",
        "np",
        "pct",
        "fo",
        "testing",
        "discovery_method",
        "record",
        "row",
        "source_ip",
        "count",
        "policy_evaluated",
        "disposition",
        "dkim",
        "spf",
        "reason",
        "type",
        "comment",
        "identifiers",
        "header_from",
        "envelope_from",
        "envelope_to",
        "auth_results",
        "selector",
        "result",
        "human_result",
        "scope",
        "extension",
    }
)
MISSPELT = {
    "data_range": "date_range",
    "daterange": "date_range",
    "identities": "identifiers",
    "identity_alignment": "policy_evaluated",
    "policyevaluated": "policy_evaluated",
    "policypublished": "policy_published",
    "reportmetadata": "report_metadata",
    "authresults": "auth_results",
    "orgname": "org_name",
    "reportid": "report_id",
    "sourceip": "source_ip",
    "headerfrom": "header_from",
    "envelopefrom": "envelope_from",
    "envelopeto": "envelope_to",
    "humanresult": "human_result",
    "extra_contact": "extra_contact_info",
    "genertor": "generator",
}
_NAMES_KEPT = 2_000


class Names(dict[str, str]):
    """Element name as written → the name it is read as, noting what was bent."""

    def __init__(self, warnings: Warnings) -> None:
        super().__init__({name: name for name in KNOWN})
        self._warnings = warnings

    def __missing__(self, written: str) -> str:
        local = written.rpartition(":")[2]
        name = local
        if local not in KNOWN:
            folded = local.lower().replace("-", "_")
            folded = MISSPELT.get(folded, folded)
            if folded in KNOWN:
                name = folded
                self._warnings.add(f"element {quoted(local)} read as '{name}'")
        if len(self) < _NAMES_KEPT:
            self[written] = name
        return name
