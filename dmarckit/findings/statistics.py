"""The few statistics that findings need, in plain arithmetic. No function divides by zero."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def share(part: float, whole: float) -> float:
    """`part` ÷ `whole` [0–1]; 0 when there is nothing to take a share of."""
    return part / whole if whole else 0.0


def wilson_upper(part: float, whole: float, z: float = 1.96) -> float:
    """Upper end of Wilson's interval for a share; 1 when nothing was counted.

    With no failure at all it is z² ÷ (n + z²), so a few messages prove little.

    >>> round(wilson_upper(0, 60), 3), round(wilson_upper(0, 73), 3), wilson_upper(0, 0)
    (0.06, 0.05, 1.0)
    """
    if whole <= 0:
        return 1.0
    p, zz = part / whole, z * z
    middle = p + zz / (2 * whole)
    spread = z * math.sqrt(max(p * (1 - p), 0.0) / whole + zz / (4 * whole * whole))
    return min((middle + spread) / (1 + zz / whole), 1.0)


def two_proportion_z(part: float, whole: float, part_before: float, whole_before: float) -> float:
    """How many standard errors the share rose by; 0 when one side is empty or nothing varies.

    >>> round(two_proportion_z(60, 100, 2, 1000), 1)
    24.7
    """
    if not whole or not whole_before:
        return 0.0
    pooled = (part + part_before) / (whole + whole_before)
    variance = pooled * (1 - pooled) * (1 / whole + 1 / whole_before)
    if variance <= 0:
        return 0.0
    return (part / whole - part_before / whole_before) / math.sqrt(variance)


def median(values: Sequence[float]) -> float:
    """The middle value; 0 of none."""
    return float(statistics.median(values)) if values else 0.0


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation from the median: spread that outliers do not move.

    >>> mad([5, 6, 7, 6, 900])
    1.0
    """
    middle = median(values)
    return median([abs(value - middle) for value in values])
