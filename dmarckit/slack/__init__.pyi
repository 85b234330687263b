from .alerts import build_alerts as build_alerts, unsent_reports as unsent_reports
from .blocks import (
    Message as Message,
    StoredFile as StoredFile,
    build_message as build_message,
    message_text as message_text,
    section as section,
)
from .chart import can_draw as can_draw, daily_chart as daily_chart, note_chart as note_chart
from .client import (
    presign_warning as presign_warning,
    slack_json as slack_json,
    web_client as web_client,
)
from .mail import check_mail as check_mail
from .outbox import (
    CHANNEL_NAMES as CHANNEL_NAMES,
    MAIL as MAIL,
    WEBHOOK as WEBHOOK,
    ChannelGroup as ChannelGroup,
    Delivery as Delivery,
    DeliveryResult as DeliveryResult,
    OutboxMessage as OutboxMessage,
    channel_routes as channel_routes,
    delivery_lock as delivery_lock,
    failing_since as failing_since,
    failure_subject as failure_subject,
    further_channels as further_channels,
    queue_messages as queue_messages,
    queued_messages as queued_messages,
    record_marked as record_marked,
    record_sent as record_sent,
    send_message as send_message,
    sent_mark as sent_mark,
)
from .summary import (
    Addition as Addition,
    News as News,
    failure_message as failure_message,
    recovery_message as recovery_message,
    summary_message as summary_message,
)
from .webhook import check_webhook as check_webhook
