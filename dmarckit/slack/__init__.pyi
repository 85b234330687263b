from .alerts import build_alerts as build_alerts, unsent_reports as unsent_reports
from .blocks import Message as Message, StoredFile as StoredFile
from .chart import can_draw as can_draw, daily_chart as daily_chart, note_chart as note_chart
from .client import (
    message_text as message_text,
    post_message as post_message,
    presign_warning as presign_warning,
    web_client as web_client,
)
from .outbox import (
    ChannelGroup as ChannelGroup,
    Delivery as Delivery,
    DeliveryResult as DeliveryResult,
    OutboxMessage as OutboxMessage,
    channel_routes as channel_routes,
    delivery_lock as delivery_lock,
    failing_since as failing_since,
    failure_subject as failure_subject,
    queue_messages as queue_messages,
    queued_messages as queued_messages,
    record_marked as record_marked,
    record_sent as record_sent,
    sent_mark as sent_mark,
)
from .summary import (
    Addition as Addition,
    News as News,
    failure_message as failure_message,
    recovery_message as recovery_message,
    summary_message as summary_message,
)
