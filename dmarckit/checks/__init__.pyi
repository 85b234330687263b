from .dns import Checked as Checked, check as check, is_problem as is_problem
from .outside import Outside as Outside, load_outside as load_outside
from .postmaster import Pulled as Pulled, latest as latest, pull as pull
from .postmaster_client import NOT_CONNECTED as NOT_CONNECTED, Query as Query, identity as identity
from .postmaster_metrics import Metric as Metric, Row as Row, api_date as api_date
from .requirements import matrix as matrix, not_met as not_met
from .resolver import NoAnswer as NoAnswer, Servers as Servers, fetch_policy as fetch_policy
from .rules import (
    PROVIDERS as PROVIDERS,
    RULES as RULES,
    SOURCES as SOURCES,
    VERDICTS as VERDICTS,
    VIEWS as VIEWS,
    sees as sees,
    verdict_word as verdict_word,
    wording as wording,
)
from .verdicts import CODES as CODES
