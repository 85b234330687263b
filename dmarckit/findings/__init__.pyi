from .analysis import (
    USUAL_DAYS as USUAL_DAYS,
    Analysis as Analysis,
    analyse as analyse,
    read_facts as read_facts,
    read_outside as read_outside,
)
from .context import (
    BLOCKED as BLOCKED,
    dns_record as dns_record,
    next_step as next_step,
    normal as normal,
    quoted_policy as quoted_policy,
)
from .find import Finding as Finding
from .ledger import Judged as Judged, record as record
from .model import listed as listed
from .postmaster import refusal_meaning as refusal_meaning
from .requirements import requirement_meaning as requirement_meaning
from .titles import (
    FIRST as FIRST,
    URGENT as URGENT,
    evidence_word as evidence_word,
    is_open as is_open,
    part_word as part_word,
    title as title,
    urgent as urgent,
)
from .whatif import WhatIf as WhatIf, parse_policy as parse_policy, what_if as what_if
