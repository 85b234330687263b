"""Every scenario, by name."""

from __future__ import annotations

from tests.scenarios.advice import ADVICE
from tests.scenarios.around import AROUND
from tests.scenarios.attacks import ATTACKS
from tests.scenarios.combined import COMBINED
from tests.scenarios.coverage import COVERAGE
from tests.scenarios.healthy import HEALTHY
from tests.scenarios.identity import IDENTITY
from tests.scenarios.incoming import INCOMING
from tests.scenarios.partly import PARTLY
from tests.scenarios.policies import POLICIES
from tests.scenarios.relays import RELAYS
from tests.scenarios.reporting import REPORTING
from tests.scenarios.scenario import Scenario
from tests.scenarios.senders import SENDERS
from tests.scenarios.services import SERVICES
from tests.scenarios.signatures import SIGNATURES
from tests.scenarios.successive import SUCCESSIVE
from tests.scenarios.tricky import TRICKY
from tests.scenarios.wanted import WANTED
from tests.scenarios.without_dkim import WITHOUT_DKIM

_EACH = (
    *HEALTHY,
    *SENDERS,
    *RELAYS,
    *SERVICES,
    *SIGNATURES,
    *WITHOUT_DKIM,
    *POLICIES,
    *ATTACKS,
    *COVERAGE,
    *INCOMING,
    *REPORTING,
    *COMBINED,
    *TRICKY,
    *SUCCESSIVE,
    *AROUND,
    *ADVICE,
    *WANTED,
    *IDENTITY,
    *PARTLY,
)
SCENARIOS: dict[str, Scenario] = {s.name: s for s in _EACH}
if len(SCENARIOS) != len(_EACH):
    raise ValueError("two scenarios have the same name")
