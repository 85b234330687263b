"""New mails into the lake, exactly once.

In: a listing of the mail storage, or the events of a queue. Out: rows in the lake, and one
outcome for each mail.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
