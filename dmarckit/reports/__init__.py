"""Bytes of a mail to report models.

In: the bytes of one object. Out: `AggregateReport`, `TlsReport` or `FailureReport`, or an error
with the reason; and each report as JSON or CSV. Nothing is read or written elsewhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
