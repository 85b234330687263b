"""Schedules to runs: one job at a time, recorded, and told about when it fails.

In: schedule files, the clock, queue events. Out: runs in the lake, pages and messages; files for
other schedulers; health and metrics over HTTP.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
