"""Notebooks to HTML pages, in the storage or a folder.

In: a notebook, its parameters and the lake. Out: self-contained pages, their index and addresses.
The sections that a page consists of are in `pages.sections`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
