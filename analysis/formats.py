"""How figures are written, everywhere: page, terminal, sentences. One figure looks the same in all of them.

Three significant digits, because a fourth is noise in any load test; counts are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log10

NONE = "–"
"""Stands for a figure that there is not, or too few samples to show."""

_US, _MS, _S = 1_000, 1_000_000, 1_000_000_000


def fmt_ms(ns: float | None) -> str:
    """Write a duration in the unit that suits it: `0 ms`, `8.31 µs`, `12.4 ms`, `1.82 s`."""
    if ns is None:
        return NONE
    if ns == 0:
        return "0 ms"
    if abs(ns) < _MS / 10:
        return f"{_digits(ns / _US)} µs"
    if abs(ns) < 999.5 * _MS:
        return f"{_digits(ns / _MS)} ms"
    return f"{_digits(ns / _S)} s"


def fmt_span(ns: float | None) -> str:
    """Write how long a run took: `45 s`, `12 min 30 s`, `2 h 05 min`."""
    if ns is None:
        return NONE
    seconds = round(ns / _S)
    if ns < 10 * _S:
        return f"{ns / _S:.1f} s"
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def fmt_count(n: float | None) -> str:
    """Write a number of things with its thousands apart."""
    return NONE if n is None else f"{n:,.0f}"


def fmt_rate(per_second: float | None) -> str:
    """Write events per second."""
    if per_second is None:
        return NONE
    return f"{_digits(per_second) if per_second < 1000 else format(per_second, ',.0f')}/s"


def fmt_share(fraction: float | None) -> str:
    """Write a fraction as a percentage; never 0 % for what is not nothing, nor 100 % for what is not all."""
    if fraction is None:
        return NONE
    if 0 < fraction < 0.0001:
        return "< 0.01 %"
    if 0.9999 < fraction < 1:
        return "> 99.99 %"
    if 0.999 <= fraction < 1:
        return f"{fraction * 100:.2f} %"
    return f"{fraction * 100:.0f} %" if fraction in (0, 1) else f"{_digits(fraction * 100)} %"


def fmt_change(fraction: float | None) -> str:
    """Write a relative difference with its sign: `+6.1 %`, `-0.4 %`."""
    return NONE if fraction is None else f"{fraction * 100:+.1f} %"


def fmt_bytes(n: float | None) -> str:
    """Write a size in the unit that suits it: `0 MiB`, `812 B`, `34.9 KiB`, `12.4 MiB`, `1.82 GiB`."""
    if n is None:
        return NONE
    if 0 < abs(n) < 2**20 / 10:
        return f"{_digits(n / 2**10)} KiB" if abs(n) >= 2**10 else f"{_digits(n)} B"
    return f"{_digits(n / 2**20)} MiB" if n < 2**30 else f"{_digits(n / 2**30)} GiB"


def fmt_text(value: object) -> str:
    """Write anything else as it is."""
    return NONE if value is None or value == "" else str(value)


def fmt_number(x: float | None) -> str:
    """Write a number that has no unit."""
    if x is None:
        return NONE
    return f"{x:.3g}" if 0 < abs(x) < 0.001 else fmt_count(x) if abs(x) >= 1000 else _digits(x)


FORMATS: dict[str, Callable[..., str]] = {
    "ms": fmt_ms,
    "span": fmt_span,
    "count": fmt_count,
    "rate": fmt_rate,
    "share": fmt_share,
    "bytes": fmt_bytes,
    "text": fmt_text,
    "number": fmt_number,
    "change": fmt_change,
}


def _digits(x: float) -> str:
    """Write x with three significant digits and no exponent."""
    if x == 0:
        return "0"
    # To three digits first: 0.9996 has two decimals, not three, because it is written 1.00.
    decimals = max(0, 2 - floor(log10(abs(float(f"{x:.3g}")))))
    return f"{x:,.{decimals}f}"
