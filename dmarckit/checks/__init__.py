"""What DNS, Postmaster Tools and the providers' rules say about the domains.

In: domains, and what reports show of them. Out: rows of the tables `dns` and `postmaster`, and
the matrix of requirements.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
