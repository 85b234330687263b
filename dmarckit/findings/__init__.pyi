from .analysis import (
    USUAL_DAYS as USUAL_DAYS,
    Analysis as Analysis,
    analyse as analyse,
    as_of as as_of,
    left_out as left_out,
    page_analysis as page_analysis,
    read_facts as read_facts,
    read_outside as read_outside,
    too_many as too_many,
)
from .context import BLOCKED as BLOCKED
from .dmarc_policy import (
    POLICY_TAGS as POLICY_TAGS,
    fill_policy_defaults as fill_policy_defaults,
    next_step as next_step,
    parse_policy as parse_policy,
    policy_tags as policy_tags,
    quoted_policies as quoted_policies,
    quoted_policy as quoted_policy,
)
from .domains import check_domains as check_domains
from .find import KINDS as KINDS
from .ledger import LedgerEntry as LedgerEntry, record_findings as record_findings
from .model import (
    HANDED as HANDED,
    SEVERITIES as SEVERITIES,
    URGENT as URGENT,
    Finding as Finding,
    Record as Record,
    join_names as join_names,
)
from .postmaster import refusal_meaning as refusal_meaning, verdict_meaning as verdict_meaning
from .requirements import requirement_meaning as requirement_meaning
from .titles import (
    EVIDENCE_ORDER as EVIDENCE_ORDER,
    evidence_label as evidence_label,
    is_open as is_open,
    of_kinds as of_kinds,
    part_label as part_label,
    urgent as urgent,
)
from .tls import tls_policy as tls_policy, tls_result as tls_result
from .whatif import WhatIf as WhatIf, what_if as what_if
