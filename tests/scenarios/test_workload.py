"""A scenario is read whole or refused with the file, the line, the key and what was expected there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios import workload
from scenarios.workload import WorkloadError

GOOD = """description = "x"

[load]
users = 3

[senior]
chat = 1

[volunteer]
chat = 1

[slo]
lost = "= 0"
"""

SEGMENTS = """
[[load.arrivals]]
shape = "constant"
rate = 2
for_s = 10
[[load.arrivals]]
shape = "soak"
for_s = 20
"""


@pytest.mark.parametrize("name", list(workload.available()))
def test_every_scenario_that_ships_can_be_read(name: str) -> None:
    """Shipped scenarios are valid, have objectives, and say what they are for."""
    scenario = workload.load(name)
    assert scenario.description
    assert scenario.slo
    assert scenario.gate


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("users = 3", "user = 3"), r"t\.toml:4: load\.user: unknown key \(did you mean users\?\)"),
        (("users = 3", "users = 0"), r"t\.toml:4: load\.users: expected `int` >= 1"),
        (("users = 3", 'users = "many"'), r"t\.toml:4: load\.users: expected `int`, got `str`"),
        (("users = 3", "users = nan"), r"t\.toml:4: load\.users: expected `int`, got `float`"),
        (("chat = 1\n\n[vol", "chat = -1\n\n[vol"), r"t\.toml:7: senior\.chat: expected `float` >= 0"),
        (("chat = 1\n\n[vol", "chat = 0\n\n[vol"), r"t\.toml:6: senior: every weight is 0"),
        (('lost = "= 0"', 'lots = "= 0"'), r't\.toml:13: slo\.lots: "lots" is not an objective'),
        (
            ('lost = "= 0"', '"lost @stedy" = "= 0"'),
            r"t\.toml:13: slo\.lost @stedy: there is no phase 'stedy' \(did you mean steady\?\)",
        ),
        (('lost = "= 0"', 'lost = "= 0"\n[abort]\nsuccess_below = 50'), r"t\.toml:15: abort\.success_below"),
        (
            (
                "users = 3",
                'users = 3\n[[load.arrivals]]\nshape = "constant"\nrate = 1\nfor_s = 60\nname = "drain"',
            ),
            r"t\.toml:5: load\.arrivals\[0\]: drain is a phase of every run",
        ),
        (
            ('lost = "= 0"', 'lost = "= 0"\n[gate]\n"lost" = "5 %"'),
            r't\.toml:15: gate\.lost: "lost" is not a gate metric',
        ),
        (
            ('lost = "= 0"', 'lost = "= 0"\n[gate]\n"https p50" = "5 ms"'),
            r't\.toml:15: gate\.https p50: the tolerance "5 ms" of',
        ),
        (
            (
                'lost = "= 0"',
                "[gate]\n" + "".join(f'"https{n} p50" = "5 %"\n' for n in range(7)),
            ),
            r"gate: 7 metrics; a gate judges at most 6",
        ),
        (("[load]", "[lode]"), r"t\.toml:3: lode: unknown key \(did you mean load\?\)"),
        (('description = "x"', ""), r"t\.toml: missing key description"),
        (('description = "x"', 'description = "x"\nname = "y"'), r"t\.toml:2: name: unknown key"),
        (
            ("users = 3", "users = 3\n[rooms]\ndevices = [1, 5]"),
            r"t\.toml:5: rooms: 3 people are too few for 2 rooms",
        ),
        (
            ("users = 3", "users = 3\n[rooms]\ndevices = [0]"),
            r"t\.toml:6: rooms\.devices: expected `int` >= 1",
        ),
        (
            ("users = 3", "users = 3\n[people]\nsenior = 0\nvolunteer = 0\n[rooms]\ndevices = [2]"),
            r"t\.toml:8: rooms: 1 rooms take 2 of 3 people, and every share of \[people\] is 0",
        ),
        (("users = 3", "users = 3\n[people]\nsenior = 0\nvolunteer = 0"), r"t\.toml:5: people: every share"),
        (
            ("users = 3", 'users = 3\n[[load.arrivals]]\nshape = "rmp"'),
            r"t\.toml:6: load\.arrivals\[0\]\.shape: invalid value 'rmp' \(did you mean ramp\?\): expected",
        ),
        (
            ("users = 3", f"users = 3{SEGMENTS}rates = 1"),
            r"t\.toml:12: load\.arrivals\[1\]\.rates: unknown key \(did you mean rate\?\)",
        ),
        (
            ("users = 3", f"users = 3{SEGMENTS}rate = -1"),
            r"t\.toml:12: load\.arrivals\[1\]\.rate: expected `float` >= 0",
        ),
        (
            ("users = 3", f"users = 3{SEGMENTS}rate = 1"),
            r"t\.toml:.*: load\.run_time_s: 60 s, but the segments of arrivals last 30 s",
        ),
        (
            ("users = 3", f"users = 3\nrun_time_s = 30{SEGMENTS}rate = 1\nrise_s = 11"),
            r"t\.toml:10: load\.arrivals\[1\]: its parts take 22 s of 20 s",
        ),
        (
            ("users = 3", "users = 3\narrivals = 100_000"),
            r"t\.toml:5: load\.arrivals: 6,000,000 arrivals, expected at most 2,000,000",
        ),
        (
            ("users = 3", 'users = 3\n[[load.arrivals]]\nshape = "replay"\nfor_s = 60\nfile = "no.csv"'),
            r"t\.toml:8: load\.arrivals\[0\]\.file: .*no\.csv",
        ),
        (("[load]", "[load"), r"t\.toml: this is not TOML: .*line 3"),
        (("users = 3", "users = 3\nusers = 4"), r"t\.toml: this is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_key(change: tuple[str, str], complaint: str) -> None:
    """One mistake, one sentence: where it is, what stands there, what was expected."""
    assert change[0] in GOOD
    with pytest.raises(WorkloadError, match=complaint):
        workload.parse(GOOD.replace(*change, 1), name="t", file="t.toml")


@given(st.text(max_size=200))
def test_no_text_at_all_breaks_the_reader(text: str) -> None:
    """Whatever a file holds, the reader answers with a scenario or with WorkloadError."""
    with pytest.raises(WorkloadError):
        workload.parse(text, name="t", file="t.toml")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff\xfe[\x00l\x00",
        b"x" * 1_000_001,
        b"a = " + b"[" * 5000,
        b"\xef\xbb\xbfdescription = 1",
    ],
)
def test_strange_files_are_refused_not_survived_by_luck(tmp_path: Path, content: bytes) -> None:
    """Empty, binary, UTF-16, huge, deeply nested or marked with a BOM: one sentence naming the file."""
    file = tmp_path / "odd.toml"
    file.write_bytes(content)
    with pytest.raises(WorkloadError, match=r"odd\.toml"):
        workload.load(str(file))


@pytest.mark.parametrize(
    "name", ["typicl", "nowhere.toml", "/dev/null.toml", "a\x00b.toml", "x" * 5000 + ".toml"]
)
def test_a_scenario_that_is_not_there_is_named(name: str) -> None:
    """A misspelt name gets the nearest one; a missing file is said to be missing."""
    with pytest.raises(WorkloadError):
        workload.load(name)


def test_the_hash_knows_what_shapes_the_load() -> None:
    """A comment, a new description or what is judged changes nothing; one weight does."""
    one = workload.parse(GOOD, name="t", file="a")
    same = workload.parse("# why\n" + GOOD.replace('"x"', '"y"'), name="u", file="b")
    other = workload.parse(GOOD.replace("chat = 1", "chat = 2", 1), name="t", file="a")
    judged = workload.parse(GOOD + '[gate]\n"https p50" = "5 %"\n', name="t", file="a")
    assert one.hash() == same.hash() == judged.hash() != other.hash()


def test_a_setting_changes_what_the_file_states() -> None:
    """Typed as in TOML; a string needs no quotes; a metric's name has dots of its own."""
    settings = ["load.users=7", "load.arrivals=2.5", "slo.chat.delivered p99=< 9 ms", "people.pace = 3"]
    scenario = workload.parse(GOOD, name="t", file="t.toml", settings=settings)
    assert (scenario.load.users, scenario.load.arrivals, scenario.people.pace) == (7, 2.5, 3)
    assert scenario.slo == {"lost": "= 0", "chat.delivered p99": "< 9 ms"}


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("load.usrs=3", r"^--set load\.usrs: unknown key \(did you mean users\?\)"),
        ("laod.users=3", r"^--set laod: unknown key \(did you mean load\?\)"),
        ("load.users=many", r"^--set load\.users: expected `int`, got `str`"),
        ("load.users=0", r"^--set load\.users: expected `int` >= 1"),
        ("load.users=1\nx=2", r"^--set load\.users: expected `int`, got `str`"),
        ("slo.lost=few", r'^--set slo\.lost: the limit "few"'),
        ('load.arrivals=[{shape="rmp"}]', r"^--set load\.arrivals\[0\]\.shape: invalid value 'rmp'"),
        ("load=3", r"^--set load: expected `object`"),
        ("description.x=3", r"^--set description\.x: description is not a table"),
        ("users", r"^--set users: expected table\.key=value"),
        ("name=y", r"^--set name: unknown key"),
    ],
)
def test_a_mistake_in_a_setting_is_named(setting: str, complaint: str) -> None:
    """It stands on no line of the file: the setting itself is its place."""
    with pytest.raises(WorkloadError, match=complaint):
        workload.parse(GOOD, name="t", file="t.toml", settings=[setting])


def test_a_recorded_schedule_is_read_beside_its_scenario(tmp_path: Path) -> None:
    """Its instants belong to the load, so the hash knows them."""
    replay = '[[load.arrivals]]\nshape = "replay"\nfor_s = 60\nfile = "day.csv"\n'
    (tmp_path / "t.toml").write_text(GOOD.replace("[senior]", f"{replay}[senior]"))
    hashes = set()
    for last in ("3.5", "4"):
        (tmp_path / "day.csv").write_text(f"at_s,path\n0,/a\n{last},/b\n")
        scenario = workload.load(str(tmp_path / "t.toml"))
        assert scenario.recorded == {"day.csv": (0.0, float(last))}
        hashes.add(scenario.hash())
    assert len(hashes) == 2
