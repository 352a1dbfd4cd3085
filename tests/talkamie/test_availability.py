"""Availability: two maps, each set as a whole, each slot with a beginning and a later end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talkamie.server import availability
from tests.talkamie.stores import Backend
from tests.talkamie.world import World, worlds

DAYS = ("sun", "mon", "tue", "wed", "thur", "fri", "sat")
MORNING = [{"start": "08:30", "end": "12:00"}]
times = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        (
            "weekly",
            {"thur": MORNING, "sun": []},
            {"mon": [*MORNING, {"start": "13:00:30", "end": "23:59:59"}]},
        ),
        ("custom", {"2025-12-24": MORNING}, {"2026-01-01": [], "2024-02-29": MORNING}),
    ],
)
def test_a_map_is_replaced_as_a_whole(world: World, path: str, first: Any, second: Any) -> None:
    """What is set is what is got, by its owner and by others; nothing of the map before is left."""
    ann, bob = world.member(), world.member()
    assert ann.call("GET", f"/availability/{path}")["data"] == {}
    for wanted in (first, second):
        assert ann.call("POST", f"/availability/{path}", wanted)["data"] == wanted
        assert ann.call("GET", f"/availability/{path}")["data"] == wanted
        assert bob.call("GET", f"/user/{ann.id}")["data"]["availability"] == {path: wanted}
    assert bob.call("GET", f"/availability/{path}")["data"] == {}


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("weekly", {"thu": MORNING}),
        ("weekly", {"mon": [{"start": "12:00", "end": "08:00"}]}),
        ("weekly", {"mon": [{"start": "24:00", "end": "24:01"}]}),
        ("weekly", {"mon": [{"start": "8:00", "end": "12:00"}]}),
        ("weekly", {"mon": [{"start": "08:00"}]}),
        ("weekly", {"mon": None}),
        ("weekly", {"mon": MORNING * 97}),
        ("custom", {"2025-02-31": MORNING}),
        ("custom", {"0000-01-01": MORNING}),
        ("custom", {"mon": MORNING}),
        ("custom", {f"{year}-01-01": [] for year in range(2000, 2367)}),
        ("custom", []),
    ],
)
def test_a_map_that_cannot_be_is_refused(world: World, path: str, wrong: Any) -> None:
    """400, and the map before stays."""
    ann = world.member()
    good = {"weekly": {"mon": MORNING}, "custom": {"2025-12-24": MORNING}}[path]
    ann.call("POST", f"/availability/{path}", good)
    ann.call("POST", f"/availability/{path}", wrong, status=400)
    assert ann.call("GET", f"/availability/{path}")["data"] == good


@given(start=times, end=times, seconds=st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_slot_ends_after_it_begins(
    backend: Backend, start: Any, end: Any, seconds: tuple[bool, bool]
) -> None:
    """With seconds or without, a slot is taken exactly when its end is later."""
    one, other = ((*t[:2], t[2] if shown else 0) for t, shown in zip((start, end), seconds, strict=True))
    first, second = (
        ":".join(f"{n:02d}" for n in (t if shown else t[:2]))
        for t, shown in zip((one, other), seconds, strict=True)
    )
    with worlds(backend) as make:
        body = {"fri": [{"start": first, "end": second}]}
        expected = 200 if other > one else 400
        make().member().call("POST", "/availability/weekly", body, status=expected)


def test_a_week_is_the_same_whichever_is_asked_for(world: World) -> None:
    """Its date is checked and changes nothing; both maps are one page."""
    ann = world.member()
    ann.call("POST", "/availability/weekly", {"sat": MORNING})
    for query in ({"year": 2025, "monthIndex": 11, "monthDay": 31}, {"year": "", "pageSize": 1}):
        assert ann.call("GET", "/availability/weekly", **query)["data"] == {"sat": MORNING}
    ann.call("GET", "/availability/weekly", monthIndex=12, status=400)


hours = st.lists(st.tuples(st.integers(0, 22), st.integers(1, 8)), max_size=4)


@given(
    weekly=st.none() | st.dictionaries(st.sampled_from(DAYS), hours, max_size=7),
    custom=st.none() | st.dictionaries(st.integers(0, 7), hours, max_size=4),
    start=st.integers(0, 7 * 24),
    length=st.integers(1, 10),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_time_is_covered_where_each_of_its_hours_is(
    backend: Backend, weekly: Any, custom: Any, start: int, length: int
) -> None:
    """By that day's own slots where it has any said, else by the week's; always where nothing was said."""
    with worlds(backend) as make:
        world = make()
        ann = world.member()
        sunday = datetime(2025, 6, 15, tzinfo=UTC)
        days = {number: (sunday + timedelta(days=number)).date().isoformat() for number in range(9)}
        if weekly is not None:
            ann.call("POST", "/availability/weekly", {day: slots(one) for day, one in weekly.items()})
        if custom is not None:
            ann.call("POST", "/availability/custom", {days[day]: slots(one) for day, one in custom.items()})

        def free(hour: int) -> bool:
            day, hour = divmod(hour, 24)
            mine = (custom or {}).get(day, (weekly or {}).get(DAYS[day % 7], []))
            return any(begin <= hour < min(begin + size, 23) for begin, size in mine)

        expected = not (weekly or custom) or all(free(hour) for hour in range(start, start + length))
        begun = round(sunday.timestamp() * 1000)
        times = (begun + hour * 3_600_000 for hour in (start, start + length))
        assert world.run(availability.covers(world.service.store.session(), ann.id, *times)) is expected


def slots(hours: list[tuple[int, int]]) -> list[dict[str, str]]:
    """Return slots of whole hours, none later than 23:00."""
    return [
        {"start": f"{begin}:00".zfill(5), "end": f"{min(begin + size, 23)}:00".zfill(5)}
        for begin, size in hours
    ]
