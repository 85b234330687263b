from .alerts import alerts_about as alerts_about, untold_reports as untold_reports
from .blocks import Message as Message, Stored as Stored
from .chart import can_draw as can_draw, daily_chart as daily_chart
from .client import lasting as lasting, post as post, show as show
from .outbox import (
    Delivery as Delivery,
    Due as Due,
    Group as Group,
    Routes as Routes,
    Told as Told,
    alone as alone,
    failing_since as failing_since,
    failure_subject as failure_subject,
    note as note,
    put as put,
    routes as routes,
    waiting as waiting,
)
from .summary import (
    failure_message as failure_message,
    recovery_message as recovery_message,
    summary_message as summary_message,
)
