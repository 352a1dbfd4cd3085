"""How long a fault makes somebody wait: distributions of whole milliseconds, and what is known of them.

A draw is the quantile of a random number (inverse transform sampling), so what is drawn and what is told as
the truth are one function. Whole milliseconds, because the event loop's timers have no finer ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Annotated

from msgspec import Meta, Struct

MS = 1_000_000
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
_NORMAL = NormalDist()
_SMALLEST = 2.0**-53  # a random number may be 0, where the logarithm of a lognormal has no end

Ms = Annotated[int, Meta(ge=1, le=600_000)]


class _Distribution(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="distribution"):
    pass


class Constant(_Distribution, frozen=True, kw_only=True, tag="constant"):
    ms: Ms

    def quantile(self, share: float) -> int:
        return self.ms


class Uniform(_Distribution, frozen=True, kw_only=True, tag="uniform"):
    """Every whole number from `min_ms` to `max_ms`, each as likely as the next."""

    min_ms: Ms
    max_ms: Ms

    def __post_init__(self) -> None:
        if self.max_ms < self.min_ms:
            raise ValueError("max_ms is less than min_ms")

    def quantile(self, share: float) -> int:
        count = self.max_ms - self.min_ms + 1
        return self.min_ms + max(0, math.ceil(share * count) - 1)


class Lognormal(_Distribution, frozen=True, kw_only=True, tag="lognormal"):
    """exp(ln median + sigma · Z), Z standard normal, rounded, and cut to 1 … `max_ms`."""

    median_ms: Ms
    sigma: Annotated[float, Meta(gt=0, le=5)]
    max_ms: Ms = 60_000

    def __post_init__(self) -> None:
        if self.max_ms < self.median_ms:
            raise ValueError("max_ms is less than median_ms")

    def quantile(self, share: float) -> int:
        exponent = self.sigma * _NORMAL.inv_cdf(max(share, _SMALLEST))
        if exponent > math.log(self.max_ms / self.median_ms):
            return self.max_ms
        return max(1, round(self.median_ms * math.exp(exponent)))


class Bimodal(_Distribution, frozen=True, kw_only=True, tag="bimodal"):
    """`slow_ms` with the chance `slow_share`, else `fast_ms`."""

    fast_ms: Ms
    slow_ms: Ms
    slow_share: Annotated[float, Meta(gt=0, lt=1)]

    def __post_init__(self) -> None:
        if self.slow_ms <= self.fast_ms:
            raise ValueError("slow_ms is not more than fast_ms")

    def quantile(self, share: float) -> int:
        return self.slow_ms if share > 1 - self.slow_share else self.fast_ms


Distribution = Constant | Uniform | Lognormal | Bimodal
DISTRIBUTIONS = {str(kind.__struct_config__.tag): kind for kind in (Constant, Uniform, Lognormal, Bimodal)}


def stall_wait(share: float, *, stall: int, period: int) -> int:
    """Return the quantile of what a periodic stall adds for arrivals spread evenly over its period, in ns.

    Who arrives `u` after the stall began waits `stall - u`, the others not at all, so that
    P(wait > w) = (stall - w) / period for 0 <= w < stall: the open-loop truth, free of coordinated omission.
    """
    return max(0, round(stall - (1 - share) * period))


def told(quantile: Callable[[float], int]) -> dict[str, int]:
    """Return the quantiles that are served as the truth."""
    return {name: quantile(share) for name, share in QUANTILES.items()}
