from .export import (
    SLOT as SLOT,
    TARGETS as TARGETS,
    export_files as export_files,
    here as here,
    scheduler_resource as scheduler_resource,
)
from .health import (
    RunnerState as RunnerState,
    job_states as job_states,
    read_status as read_status,
    serve as serve,
)
from .notify import check_slack as check_slack
from .record import last_runs as last_runs
from .run import JobResult as JobResult, publish_and_tell as publish_and_tell, run_job as run_job
from .runner import Processes as Processes, Runner as Runner, run_forever as run_forever
from .schedule import (
    Schedule as Schedule,
    find_schedules as find_schedules,
    load_schedule as load_schedule,
    load_schedules as load_schedules,
)
from .timeout import ended_in_time as ended_in_time
from .watch import Watcher as Watcher
