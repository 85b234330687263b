"""Facts and checks to findings: what is wrong, since when, and what to do.

In: `Facts` and `Outside`. Out: `Finding` rows with a status against the run before, and what a
policy would have done (`what_if`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
