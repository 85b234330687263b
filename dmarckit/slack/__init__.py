"""Messages for people: made, queued in an outbox, delivered once each.

In: findings, results of runs, reports. Out: messages with links and charts, each once to every
channel: Slack, mail (SES or SMTP) and a webhook (JSON, Microsoft Teams, Google Chat).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
