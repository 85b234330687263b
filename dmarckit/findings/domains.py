"""The domains that can be asked about; apart, since it needs nothing of the analysis."""

from __future__ import annotations

from collections.abc import Sequence

from dmarckit.core import Settings, SettingsError, normalize_domain, unknown_name
from dmarckit.lake import Lake

_KNOWN = """
    SELECT DISTINCT domain FROM (
        SELECT domain FROM reports UNION ALL SELECT policy_domain FROM tls
        UNION ALL SELECT domain FROM dns UNION ALL SELECT domain FROM postmaster
    ) WHERE domain <> '' ORDER BY domain
"""


def check_domains(settings: Settings, lake: Lake, domains: Sequence[str]) -> None:
    """Check that the settings, or a report or check in the lake, name the domains.

    While the lake is empty any name is right.

    Raises:
        SettingsError: a domain is not known; it says which are, and which may be meant.
        LakeError: the lake cannot be read.
    """
    asked = {normalize_domain(name): name for name in domains}
    if unsure := asked.keys() - set(settings.domain_names):
        seen = [normalize_domain(name) for name in lake.arrow(_KNOWN)["domain"].to_pylist()]
        if seen and (wrong := sorted(unsure - set(seen))):
            known = list(dict.fromkeys([*settings.domain_names, *seen]))
            raise SettingsError(f"the domain {unknown_name(wrong[0], known)}")
