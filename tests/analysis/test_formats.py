"""How figures are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import formats


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (None, "–"),
        (0, "0 ms"),
        (8_310, "8.31 µs"),
        (420_000, "0.420 ms"),
        (24_700_000, "24.7 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.00 s"),
        (1_820_000_000, "1.82 s"),
    ],
)
def test_a_time_has_the_unit_that_suits_it(ns: int | None, expected: str) -> None:
    """Three digits, in µs, ms or s."""
    assert expected == formats.fmt_ms(ns)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.00001, "< 0.01 %"),
        (0.99999, "> 99.99 %"),
        (0.9995, "99.95 %"),
        (0.00445, "0.445 %"),
        (0.279, "27.9 %"),
    ],
)
def test_a_share_is_never_rounded_to_nothing_or_all(fraction: float, expected: str) -> None:
    """One failure in a million is not 0 %, and one success too few is not 100 %."""
    assert expected == formats.fmt_share(fraction)


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0.0 s"),
        (9_400_000_000, "9.4 s"),
        (60_000_000_000, "60 s"),
        (750_000_000_000, "12 min 30 s"),
        (7_500_000_000_000, "2 h 05 min"),
    ],
)
def test_a_span_is_written_as_people_say_it(ns: int, expected: str) -> None:
    """Seconds, then minutes, then hours."""
    assert expected == formats.fmt_span(ns)


@given(st.one_of(st.none(), st.floats(0, 1e18)), st.sampled_from(sorted(formats.FORMATS)))
def test_every_figure_can_be_written(value: float | None, form: str) -> None:
    """No figure is too small, too large or too absent to be written on one line."""
    text = formats.FORMATS[form](value)
    assert text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0612, "+6.1 %"), (-0.004, "-0.4 %"), (0.0, "+0.0 %"), (2.0, "+200.0 %"), (None, "–")],
)
def test_a_change_has_its_sign(fraction: float | None, text: str) -> None:
    """Slower is plus, faster is minus."""
    assert formats.fmt_change(fraction) == text
