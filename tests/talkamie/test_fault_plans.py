"""Fault plans: what a file may say, and what is said of a mistake in it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkamie.server.faults import plan as plans
from talkamie.server.faults import rules
from talkamie.server.faults.plan import PlanError, load, parse

EXAMPLE = Path(plans.__file__).with_name("example.toml")
DOCS = (Path(__file__).parents[2] / "docs" / "reference-server.md").read_text(encoding="utf-8")


def places(rule: str) -> list[str]:
    return parse(f"[[rule]]\n{rule}".encode(), file="p.toml", name="p", seed=1).places[0]


def test_the_example_is_a_plan() -> None:
    """The file that ships, with a name, a seed and the faults that it tells of."""
    plan = load(str(EXAMPLE), seed=7)
    assert (plan.name, plan.seed, len(plan.rules)) == ("example", 7, 7)
    assert isinstance(plan.rules[0], rules.Latency)
    assert plan.places[3] == ["push:new-message"]


def test_the_plans_of_the_documents_are_plans() -> None:
    """Every block of TOML in docs/reference-server.md."""
    blocks = re.findall(r"```toml\n(.*?)```", DOCS, re.S)
    assert len(blocks) == 2
    for block in blocks:
        parse(block.encode(), file="docs", name="docs", seed=1)


def test_every_fault_and_key_is_documented() -> None:
    """The table names each fault with each of its own keys."""
    shared = set(rules.Some.__struct_fields__) | {"where"}
    for name, kind in rules.RULES.items():
        row = next(line for line in DOCS.splitlines() if line.startswith(f"| `{name}`"))
        for field in set(kind.__struct_fields__) - shared:
            assert f"`{field}`" in row, (name, field)
    for field in shared:
        assert f"`{field}`" in DOCS


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('"get-user"', ["https:get-user"]),
        ('"new-message"', ["push:new-message"]),
        ('["ping", "sign-in"]', ["https:sign-in", "action:ping"]),
        ('"update-messages"', ["action:update-messages", "push:update-messages"]),
        ('"push:update-messages"', ["push:update-messages"]),
        ('"*-password"', ["https:change-password", "https:reset-password"]),
        ('"handshake"', ["handshake"]),
    ],
)
def test_a_place_is_a_name_or_a_pattern(where: str, found: list[str]) -> None:
    """In the order of the contract; a name that stands for an action and a push means both."""
    assert places(f'fault="latency"\nwhere={where}\ndelay={{distribution="constant",ms=5}}') == found


def test_groups_of_places() -> None:
    """`*` is everything that the fault is for, `wss` is actions and pushes, the others their own kind."""
    every = places('fault="latency"\nwhere="*"\ndelay={distribution="constant",ms=5}')
    assert every == plans.known_places()
    socket = places('fault="latency"\nwhere="wss"\ndelay={distribution="constant",ms=5}')
    assert {place.partition(":")[0] for place in socket} == {"action", "push"}
    assert {place.partition(":")[0] for place in places('fault="drop"\nwhere="wss"')} == {"push"}
    assert {place.partition(":")[0] for place in places('fault="error"\nwhere="https"')} == {"https"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "no rule: a plan has at least one [[rule]] table"),
        (b"rule = 5", "no rule: a plan has at least one [[rule]] table"),
        (b"rule = [5]", "rule 1: expected a table, got int"),
        (b"[[rule]", "this is not TOML: "),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        (b"rule = " + b"9" * 5000, "this is not TOML: "),
        (b"[[rules]]", "unknown key 'rules': a plan has only [[rule]] tables"),
        (b"[[rule]]", "rule 1: missing key fault: expected one of latency, error"),
        (b'[[rule]]\nfault="drop"\n[[rule]]\nfault="drip"', "rule 2: fault: there is no 'drip'"),
        (b'[[rule]]\nfault="drop"\n' * 101, "101 rules: a plan may have 100"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: bytes, sentence: str) -> None:
    """One sentence that begins with the file."""
    with pytest.raises(PlanError) as raised:
        parse(text, file="p.toml", name="p", seed=1)
    assert str(raised.value).startswith(f"p.toml: {sentence}")


PING = 'fault="latency"\nwhere="ping"\ndelay='


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("fault=5", "fault: there is no 5: expected one of latency, error"),
        ('fault="dorp"', "fault: there is no 'dorp' (did you mean drop?): expected one of"),
        ('fault="drop"\nevry=2', "unknown key evry (did you mean every?): expected one of fault,"),
        ('fault="drop"\nevery="2"', "every: expected `int | null`, got `str`"),
        ('fault="drop"\nevery=0', "every: expected `int` >= 1"),
        ('fault="drop"\nevery=true', "every: expected"),
        ('fault="drop"\nrate=nan', "rate: "),
        ('fault="drop"\nrate=1.5', "rate: expected `float` <= 1"),
        ('fault="drop"\nfrom_s=nan', "from_s: "),
        ('fault="drop"\nfrom_s=inf', "from_s: expected `float` <= 86400"),
        ('fault="drop"\nrate=0.5\nevery=2', "every and rate exclude each other"),
        (
            'fault="drop"\nwhere="new-mesage"',
            "where: there is no operation, action or push 'new-mesage' (did you mean new-message?)",
        ),
        ('fault="drop"\nwhere=[]', "where: expected `array` of length >= 1"),
        ('fault="drop"\nwhere="get-user"', "where: 'get-user' is none of what drop is for (push)"),
        ('fault="error"', "missing key where"),
        ('fault="error"\nwhere="https"\nstatus=200', "status: expected `int` >= 400"),
        ('fault="outage"', "missing key for_s"),
        ('fault="ignore-ping"\nwhere="alert"', "where: invalid enum value 'alert'"),
        ('fault="stall"\nstall_ms=1000\nperiod_s=1', "stall_ms is not less than period_s"),
        (f"{PING}5", "delay: expected `object`, got `int`"),
        (f"{PING}{{ms=5}}", "missing key delay.distribution"),
        (
            f'{PING}{{distribution="unifrom"}}',
            "delay.distribution: there is no 'unifrom' (did you mean uniform?): expected one of constant,",
        ),
        (
            f'{PING}{{distribution="constant",mss=5}}',
            "unknown key delay.mss (did you mean ms?): expected one of distribution, ms",
        ),
        (f'{PING}{{distribution="constant",ms=0.5}}', "delay.ms: expected `int`, got `float`"),
        (f'{PING}{{distribution="uniform",min_ms=5,max_ms=4}}', "delay: max_ms is less than min_ms"),
    ],
)
def test_a_mistake_in_a_rule_is_named_with_its_field(rule: str, sentence: str) -> None:
    """With the nearest name for a slip."""
    with pytest.raises(PlanError) as raised:
        places(rule)
    assert str(raised.value).startswith(f"p.toml: rule 1: {sentence}")
    assert "\n" not in str(raised.value)


SCALARS = (
    st.integers(-2, 2**70).map(str)
    | st.sampled_from(
        ["nan", "-inf", "0.5", "1e400", "true", "2026-01-01", "12:00:00", '"https"', '"["', '""']
    )
    | st.sampled_from(['{distribution="constant",ms=1}', '{distribution="bimodal",fast_ms=1}', "{ms=1}"])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3).map(lambda values: f"[{','.join(values)}]")
FIELDS = sorted({field for kind in rules.RULES.values() for field in kind.__struct_fields__} | {"x", "fault"})


@given(st.sampled_from(sorted(rules.RULES)), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_any_value_anywhere_is_taken_or_named(fault: str, fields: dict[str, str]) -> None:
    """There is no other way out than a plan or a PlanError of one line."""
    fields = {"fault": f'"{fault}"'} | fields
    text = "[[rule]]\n" + "\n".join(f"{key} = {value}" for key, value in fields.items())
    said = ""
    try:
        parse(text.encode(), file="p.toml", name="p", seed=1)
    except PlanError as error:
        said = str(error)
    assert said == "" or said.startswith("p.toml: rule 1: ")
    assert "\n" not in said


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    """A file that is not there, a folder, and one that is too large."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(PlanError, match="there is no such file"):
            load(str(path), seed=1)
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (plans.MAX_BYTES + 1))
    with pytest.raises(PlanError, match="this is no fault plan"):
        load(str(big), seed=1)


def test_a_resolved_rule_has_its_defaults() -> None:
    """What GET /faults tells is the whole rule."""
    rule = parse(b'[[rule]]\nfault="reorder"', file="p", name="p", seed=1).rules[0]
    assert msgspec.to_builtins(rule) == {
        "fault": "reorder",
        "where": "push",
        "every": None,
        "rate": None,
        "from_s": 0.0,
        "for_s": None,
        "limit_ms": 1000,
    }
