"""What every room stands on: settings, errors, storage, language, logs; nothing of DMARC.

In: the environment, settings files, objects of a bucket or folder. Out: `Settings`, `Storage`,
leases, windows, texts in the chosen language, and errors that name the thing, the value and the
fix.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
