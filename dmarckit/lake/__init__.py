"""Delta tables of everything received and found: schema, rows, write, read, upkeep.

In: report models and rows. Out: `Lake`, whose tables are frames, Arrow tables or SQL. A commit
happens once, whoever else writes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
