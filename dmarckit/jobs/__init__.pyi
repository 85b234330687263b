from .export import (
    CONTAINER as CONTAINER,
    SLOT as SLOT,
    TARGETS as TARGETS,
    export_files as export_files,
    local_place as local_place,
    scheduler_resource as scheduler_resource,
)
from .health import serve as serve
from .notify import (
    Notifier as Notifier,
    check_slack as check_slack,
    record_old_news as record_old_news,
)
from .record import (
    RunnerState as RunnerState,
    job_states as job_states,
    last_runs as last_runs,
)
from .run import (
    JobResult as JobResult,
    publish_and_notify as publish_and_notify,
    run_job as run_job,
)
from .runner import Processes as Processes, Runner as Runner, run_forever as run_forever
from .schedule import (
    Schedule as Schedule,
    find_schedules as find_schedules,
    load_schedule as load_schedule,
    load_schedules as load_schedules,
)
from .timeout import time_limit as time_limit
from .watch import Watcher as Watcher
