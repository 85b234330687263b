from .classify import CLASSES as CLASSES
from .completeness import (
    Coverage as Coverage,
    complete_days as complete_days,
    coverage as coverage,
)
from .decisions import Decision as Decision, decide as decide, decisions as decisions
from .frames import (
    COLUMNS as COLUMNS,
    Facts as Facts,
    classes_by_day as classes_by_day,
    days_of as days_of,
    empty_facts as empty_facts,
    in_window as in_window,
    pass_shares as pass_shares,
    typed as typed,
)
from .lake import Lake as Lake, open_lake as open_lake
from .load import (
    history_of as history_of,
    load_facts as load_facts,
    load_lists as load_lists,
    name_sources as name_sources,
)
from .messages import keep_messages as keep_messages
from .networks import (
    about_addresses as about_addresses,
    countries as countries,
    network_key as network_key,
    network_names as network_names,
    organisation as organisation,
    organisations as organisations,
)
from .ptr import (
    HOST as HOST,
    Lookup as Lookup,
    NoAnswer as NoAnswer,
    dns_lookup as dns_lookup,
    host_names as host_names,
    resolve as resolve,
    server_address as server_address,
)
from .senders import (
    HowTo as HowTo,
    attribute as attribute,
    howto as howto,
    kind_word as kind_word,
    load_table as load_table,
)
from .sql import (
    FORWARD_REASON as FORWARD_REASON,
    LISTS as LISTS,
    only_forwarded as only_forwarded,
    result_meaning as result_meaning,
)
from .trace import Trace as Trace, trace_sender as trace_sender
