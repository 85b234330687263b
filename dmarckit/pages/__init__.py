"""Notebooks to HTML pages, in the storage or a folder.

In: a notebook, its parameters and the lake. Out: self-contained pages, their index and addresses.
The sections that a page consists of are in `pages.sections`.
"""

import sys

import lazy_loader

# jsonschema, which nbformat imports, looks for this package (JupyterLab brings it) to check URIs,
# and it builds a grammar for a second in each process. No schema of a notebook has a URI to check.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
