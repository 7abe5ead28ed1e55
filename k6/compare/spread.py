"""Quantiles of a run, the spread over its repetitions, and when a difference counts."""

import math
import statistics
from dataclasses import dataclass


def quantile(values, share):
    """The smallest value that at least this share of the values does not exceed. None if there are too few values to
    tell: the 99.9th percentile needs a thousand."""
    needed = 1 if share in (0, 1) else 1 / (1 - share)
    if len(values) < needed - 1e-6:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


@dataclass(frozen=True)
class Spread:
    """One figure over the repetitions."""

    values: tuple

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def low(self):
        return min(self.values)

    @property
    def high(self):
        return max(self.values)

    @property
    def width(self):
        return self.high - self.low


def spread(values):
    """The spread of the values that were measured, or None if there are none."""
    measured = tuple(value for value in values if value is not None)
    return Spread(measured) if measured else None


def differs(one, other):
    """Whether the medians differ by more than the wider of the two spreads, and every repetition of one lies on the
    same side of every repetition of the other. One repetition has no spread, so it shows no difference."""
    if min(len(one.values), len(other.values)) < 2:
        return False
    is_apart = one.high < other.low or other.high < one.low
    return is_apart and abs(one.median - other.median) > max(one.width, other.width)


def odds_of_chance(repetitions):
    """N, where two equal candidates lie apart in one of N comparisons: all orders of their repetitions are equally
    probable, and in two of them they lie apart."""
    return math.comb(2 * repetitions, repetitions) // 2
