from .dns import (
    DnsCheckResult as DnsCheckResult,
    Outside as Outside,
    check_dns as check_dns,
    is_problem as is_problem,
    load_outside as load_outside,
)
from .postmaster import latest_metrics as latest_metrics, pull_metrics as pull_metrics
from .postmaster_client import (
    NOT_CONNECTED as NOT_CONNECTED,
    Query as Query,
    google_identity as google_identity,
)
from .postmaster_metrics import Metric as Metric, Row as Row, api_date as api_date
from .record import (
    DMARC_VALUES as DMARC_VALUES,
    problem_texts as problem_texts,
    tag_list as tag_list,
)
from .requirements import (
    CODES as CODES,
    asked_rules as asked_rules,
    requirement_matrix as requirement_matrix,
    unmet_rules as unmet_rules,
)
from .resolver import (
    DnsClient as DnsClient,
    NoAnswer as NoAnswer,
    Servers as Servers,
    fetch_policy as fetch_policy,
)
from .rules import (
    PROVIDERS as PROVIDERS,
    RULES as RULES,
    SOURCES as SOURCES,
    VERDICTS as VERDICTS,
    VIEWS as VIEWS,
    verdict_word as verdict_word,
    views_text as views_text,
    wording as wording,
)
