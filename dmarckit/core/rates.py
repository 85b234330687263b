"""A rate, such as the share of mail that people mark as spam: one unit, one way to write it.

0.003 and 0.3 % are the same rate, and 0.3 is a hundred times more. So everywhere inside
dmarckit, in tables and in thresholds, a rate is a share from 0 to 1; text for people is a
percentage made by `Rate`; and what says something beyond 1 is refused, not divided by 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dmarckit.core.errors import DmarckitError
from dmarckit.core.words import is_missing, percent

_ROUNDING = 1e-6  # a single-precision 1 may come as 1.0000001


class NotARate(DmarckitError):
    """A number that cannot be a share from 0 to 1: very likely a percentage."""


@dataclass(frozen=True, order=True)
class Rate:
    """A part of a whole. Raises `NotARate` for a share that is not from 0 to 1.

    Spam rates are judged at 0.10 % and 0.30 %, hence two decimals. Further ones are cut, not
    rounded: what reads 0.30 % has reached it, and only everything is 100 %.

    >>> str(Rate(0.003)), str(Rate(0.3)), str(Rate(0.00299)), str(Rate(0.00001))
    ('0.30 %', '30.00 %', '0.29 %', '<0.01 %')
    >>> Rate.of_percent(0.3) == Rate(0.003)
    True
    >>> Rate(99.5)
    Traceback (most recent call last):
    dmarckit.rates.NotARate: 99.5 is no share from 0 to 1; is it a percentage?
    """

    share: float
    """from 0 to 1"""

    def __post_init__(self) -> None:
        if 1 < self.share <= 1 + _ROUNDING:
            object.__setattr__(self, "share", 1.0)
        if not 0 <= self.share <= 1:
            raise NotARate(f"{self.share:g} is no share from 0 to 1; is it a percentage?")

    @classmethod
    def of_percent(cls, number: float) -> Rate:
        """The rate that people write as ``0.3 %``."""
        return cls(number / 100)

    def __str__(self) -> str:
        if self.share in (0, 1):
            return f"{self.share * 100:.0f} %"
        hundredths = math.floor(self.share * 10_000 + 1e-6)  # 0.9999 * 10_000 is a hair below
        return f"{hundredths / 100:.2f} %" if hundredths else "<0.01 %"


def rate_text(share: float | None) -> str:
    """A cell of a frame that holds a share, or nothing.

    >>> rate_text(0.003), rate_text(None), rate_text(float("nan"))
    ('0.30 %', 'no data', 'no data')
    """
    if share is None or is_missing(share):
        return percent(None)  # the words for no data
    return str(Rate(share))
