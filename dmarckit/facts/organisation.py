"""The organisational domain: what one company registered, by the Public Suffix List."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd
from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=1 << 18)
def organisation(domain: str) -> str:
    """The organisational domain (RFC 7489 section 3.2); a public suffix is its own.

    >>> organisation("News.shop.example.co.uk.")
    'example.co.uk'
    """
    name = domain.lower().strip(".")
    return str(_suffixes().privatesuffix(name) or name)


def organisations(domains: pd.Series) -> pd.Series:
    """`organisation` of each domain; null stays null. Same index; the input is not changed."""
    codes, names = pd.factorize(domains)
    found = pd.Series([organisation(str(name)) for name in names], dtype=object)
    return found.reindex(codes).set_axis(domains.index).astype(object)
