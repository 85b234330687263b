from .analysis import (
    USUAL_DAYS as USUAL_DAYS,
    Analysis as Analysis,
    analyse as analyse,
    as_of as as_of,
    page_analysis as page_analysis,
    read_facts as read_facts,
    read_outside as read_outside,
)
from .context import (
    BLOCKED as BLOCKED,
    dns_record as dns_record,
    fill_policy_defaults as fill_policy_defaults,
    next_step as next_step,
    quoted_policy as quoted_policy,
)
from .ledger import LedgerEntry as LedgerEntry, record_findings as record_findings
from .model import Finding as Finding, join_names as join_names
from .postmaster import refusal_meaning as refusal_meaning
from .requirements import requirement_meaning as requirement_meaning
from .titles import (
    EVIDENCE_ORDER as EVIDENCE_ORDER,
    URGENT as URGENT,
    evidence_label as evidence_label,
    is_open as is_open,
    part_label as part_label,
    title as title,
    urgent as urgent,
)
from .whatif import WhatIf as WhatIf, parse_policy as parse_policy, what_if as what_if
