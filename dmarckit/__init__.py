"""dmarckit: DMARC reports from S3 to one page a morning.

>>> import dmarckit as dk
>>> lake = dk.open_lake()  # doctest: +SKIP
>>> page = dk.open_page(days=30)  # doctest: +SKIP

Each name is imported when it is first asked for.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return __all__
