"""Records of the lake to who sent what, and what each message means.

In: a `Lake` and a `Window`. Out: `Facts`: frames of messages by domain, sender and class, with
the days that are complete.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
