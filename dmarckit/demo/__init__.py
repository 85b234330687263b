"""A made-up company, its mails, its DNS, and a local S3 server.

In: a seed and a day. Out: report mails with known truth, and servers on loopback that end with
what started them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
