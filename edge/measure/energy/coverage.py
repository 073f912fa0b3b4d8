"""Coverage factors: how many standard uncertainties make an interval that holds the value in 95.45 % of cases.

Student's distribution for the effective degrees of freedom, by the Welch-Satterthwaite formula: JCGM 100:2008 (GUM),
annex G.4 and table G.2, of which the column for 95.45 % stands here. Between two entries the smaller one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

_FACTORS = (
    (1, 13.97), (2, 4.53), (3, 3.31), (4, 2.87), (5, 2.65), (6, 2.52), (7, 2.43), (8, 2.37), (9, 2.32), (10, 2.28),
    (11, 2.25), (12, 2.23), (13, 2.21), (14, 2.20), (15, 2.18), (16, 2.17), (17, 2.16), (18, 2.15), (19, 2.14),
    (20, 2.13), (25, 2.11), (30, 2.09), (35, 2.07), (40, 2.06), (45, 2.06), (50, 2.05), (100, 2.025),
)  # fmt: skip
_MANY = 1000.0


def effective_freedom(parts: Iterable[tuple[float, float | None]]) -> float | None:
    """Return the effective degrees of freedom of a sum.

    Args:
        parts: Standard uncertainty and degrees of freedom of each component, None for a component known without end.

    Returns:
        None where there are so many (over 1000) that the normal distribution holds.
    """
    known = list(parts)
    total = sum(u**2 for u, _ in known) ** 2
    limited = sum(u**4 / freedom for u, freedom in known if freedom is not None and u > 0)
    freedom = total / limited if limited > 0 else math.inf
    return None if freedom > _MANY else freedom


def coverage_factor(freedom: float | None) -> float:
    """Return the factor for 95.45 %."""
    if freedom is None:
        return 2.0
    fitting = [factor for least, factor in _FACTORS if least <= freedom]
    return fitting[-1] if fitting else _FACTORS[0][1]
