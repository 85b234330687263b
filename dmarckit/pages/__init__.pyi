from .build import (
    BuiltPage as BuiltPage,
    find_notebook as find_notebook,
    known_parameters as known_parameters,
    own_kernel as own_kernel,
)
from .fleet import (
    FleetPage as FleetPage,
    Outcome as Outcome,
    fleet_domains as fleet_domains,
    fleet_window as fleet_window,
    publish_fleet as publish_fleet,
    publish_linked as publish_linked,
)
from .links import INDEX as INDEX, command as command
from .marks import LIGHT as LIGHT, parts as parts
from .page import Page as Page, open_page as open_page
from .publish import (
    StoredPage as StoredPage,
    link_pages as link_pages,
    link_to as link_to,
    open_pages as open_pages,
    publish_notebook as publish_notebook,
    refresh_index as refresh_index,
    store_notebook as store_notebook,
)
from .sections.findings import amount as amount, by_cause as by_cause
from .sections.messages import FORGED as FORGED, is_own as is_own
from .sections.overview import measure as measure
from .sections.postmaster import newest_rates as newest_rates
from .slack_note import SlackNote as SlackNote, slack_notes as slack_notes
