"""Whether something grows: the straight line through its samples, by least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Trend", "trend"]

MIN_SAMPLES = 3
"""Samples through which there is a line with an error: one more than it has parameters."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How something changes.

    :ivar slope: by how much for each unit of time.
    :ivar error: the standard error of that, if what is beside the line is noise.
    """

    slope: float
    error: float

    @property
    def is_growth(self) -> bool:
        """Whether it grows, and by more than noise would explain: three standard errors."""
        return self.slope > 3 * self.error


def trend(times: Sequence[float], values: Sequence[float]) -> Trend | None:
    """Fit a line.

    :param times: when each sample was taken.
    :param values: the samples.
    :returns: ``None`` for fewer than three samples, or samples of one moment.
    """
    count = len(times)
    if count < MIN_SAMPLES:
        return None
    middle_time, middle = math.fsum(times) / count, math.fsum(values) / count
    spread = math.fsum((time - middle_time) ** 2 for time in times)
    if not spread:
        return None
    pairs = list(zip(times, values, strict=True))
    slope = math.fsum((time - middle_time) * (value - middle) for time, value in pairs) / spread
    rest = math.fsum((value - middle - slope * (time - middle_time)) ** 2 for time, value in pairs)
    return Trend(slope, math.sqrt(rest / (count - 2) / spread))
