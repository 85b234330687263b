"""Messages for people: made, queued in an outbox, delivered once each.

In: findings, results of runs, reports. Out: Slack messages with links and charts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
