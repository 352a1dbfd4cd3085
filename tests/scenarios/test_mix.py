"""From counts to a scenario: it loads, each value has a source, and journeys are as frequent as they were."""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import talkload
from scenarios import mix, observed, workload
from scenarios.journeys import JOURNEYS, arriving, talking
from scenarios.mix import SHARES, SIGNS
from scenarios.observed import Observed
from talkamie.contract import ALL_OPERATIONS, Call, Schedule, User
from tests.scenarios.test_journeys import HABITS, OPEN_CHAT, Scripted
from tests.scenarios.test_observed import ID, entry, har, line

CANARY = "kanarienvogel7"


def seen_of(**counts: int) -> Observed:
    """Return what a log with so many of these operations shows."""
    seen = Observed("access.log")
    seen.operations.update({name.replace("_", "-"): count for name, count in counts.items()})
    seen.lines = seen.known
    return seen


def weights(seen: Observed, kind: str) -> dict[str, float]:
    return {name: each.value for name, each in mix.derive(seen)[kind].items()}


def test_the_table_names_what_exists() -> None:
    """Operations of the contract, journeys of a mix, shares of people."""
    told = [
        *(f"{sign.seen} {sign.less}" for sign in SIGNS.values()),
        *(" ".join(row) for row in SHARES.values()),
    ]
    assert set(" ".join(told).split()) <= set(ALL_OPERATIONS)
    assert set(SIGNS) <= {each.encode_name for each in msgspec.structs.fields(workload.Mix)}
    assert set(SHARES) <= {each.name for each in msgspec.structs.fields(workload.People)}


def actor_who_finds_everything(kind: Any) -> Scripted:
    """Return a scripted person whose every list has an entry."""
    actor = Scripted(kind)
    actor.user = User(id="me")
    other, lists = [User(id="u2")], [Schedule(id="s1", type="audio")]
    actor.answers |= {"get-users": other, "get-connections": other, "get-schedules": lists, "get-alerts": []}
    actor.answers |= {"get-schedule": lists[0], "get-call-histories": [Call(id="k1")]}
    return actor


@pytest.mark.parametrize("name", SIGNS)
def test_each_journey_is_known_by_its_sign_alone(name: str) -> None:
    """A hundred visits with one journey each give that journey the weight, and no other."""
    kind = SIGNS[name].kinds[0]
    operations = Counter[str]()
    for _ in range(100):
        actor = actor_who_finds_everything(kind)
        arriving.app_start(actor)
        JOURNEYS[name](actor, HABITS)
        if name == "chat":
            talking.talk(actor, HABITS, OPEN_CHAT, starts=False)  # the other one opens it too
        operations.update(call for call in actor.calls if call in ALL_OPERATIONS)
    seen = Observed("access.log", operations=operations)
    assert {each for each in weights(seen, kind) if each in SIGNS} == {name}
    sign = SIGNS[name]
    assert mix._difference(operations, sign.seen, sign.less) == 100 * sign.per


def test_journeys_relate_as_they_did_in_the_log() -> None:
    """What both kinds do is shared; who has less to do is idle the longer; idle itself is assumed."""
    seen = seen_of(send_connection_request=10, get_chat=120, send_message_request=30)
    senior, volunteer = weights(seen, "senior"), weights(seen, "volunteer")
    assert sum(senior.values()) == pytest.approx(sum(volunteer.values()), rel=0.01)
    assert senior["chat"] == volunteer["chat"]
    assert senior["chat"] / senior["connect"] == pytest.approx(3.0, rel=0.01)
    assert volunteer["message-request"] / senior["connect"] == pytest.approx(3.0, rel=0.01)
    assert volunteer["idle"] == 2.0
    assert senior["idle"] > 2.0


def test_shares_of_people_come_from_first_screens_and_answers() -> None:
    """Who is new, leaves, comes back with a password, accepts; what nothing tells stays assumed."""
    seen = seen_of(
        get_upcoming_schedules=100, sign_up=15, delete_user=5, sign_in=20,
        accept_connection=6, accept_message_request=3, reject_connection=1,
    )  # fmt: skip
    people = mix.derive(seen)["people"]
    assert [people[name].value for name in SHARES] == [0.1, 0.05, 0.2, 0.9]
    assert all(each.source.startswith("assumed") for name, each in people.items() if name not in SHARES)


def test_a_log_that_tells_no_journey_leaves_the_mix_assumed() -> None:
    """The weights are those of typical.toml, and say so."""
    tables = mix.derive(seen_of(get_interests=7))
    typical = workload.load("typical")
    assert weights(seen_of(get_interests=7), "senior") == {
        name: weight for name, weight in msgspec.to_builtins(typical.senior).items() if weight
    }
    assert all(each.source.startswith("assumed") for table in tables.values() for each in table.values())


@given(st.dictionaries(st.sampled_from(sorted(ALL_OPERATIONS)), st.integers(1, 10**9), min_size=1))
def test_whatever_was_seen_the_scenario_loads_and_every_value_has_a_source(counts: dict[str, int]) -> None:
    """A comment stands behind each value of people and weights."""
    seen = Observed("a\n]\x7f\udcff.log", operations=Counter(counts), lines=sum(counts.values()))
    text = mix.scenario(seen)
    loaded = workload.parse(text, name="mine", file="mine.toml")
    assert {**loaded.slo, "deliveries": ">= 1000"} == workload.load("typical").slo
    for row in text.split("[load]")[1].split("[slo]")[0].splitlines():
        assert not re.match(r"\w", row) or re.search(r" # \S", row), row


def test_the_curve_has_few_rows_however_long_the_log() -> None:
    """All requests are in them, in order."""
    seen = seen_of(get_chats=3000)
    seen.minutes.update({29_000_000 + 997 * number: 1 for number in range(3000)})
    rows = mix._curve(seen)[2:]
    assert len(rows) <= 48
    assert sum(int(row.split()[1].replace(",", "")) for row in rows) == 3000
    assert rows == sorted(rows)


# --- The command -------------------------------------------------------------------------------------

LOG = [
    line(f"POST /v1/user/{ID}/connection?token={CANARY}"),
    *[line(f"GET /v1/chat/{CANARY}?pageSize={CANARY}")] * 6,
    line(f"GET /reset/{CANARY}?password={CANARY}"),
    f"nonsense {CANARY}",
]


def call(*arguments: str) -> Result:
    """Run `talkload mix` in this process."""
    return CliRunner().invoke(talkload.main, ["mix", *arguments])


def test_a_log_becomes_a_scenario(tmp_path: Path) -> None:
    """What is unknown is listed, in the file and beside it; an existing file stays."""
    log, out = tmp_path / "access.log", tmp_path / "mine.toml"
    log.write_text("\n".join(LOG))
    ended = call("--from", str(log), "--out", str(out))
    assert ended.exit_code == 0, ended.output
    for text in (ended.stderr, out.read_text()):
        assert "9 lines: 7 of the contract's operations, 1 other requests, 1 unreadable" in text
        assert "1  GET /reset/{}" in text
    assert workload.load(str(out)).senior.connect > 0
    again = call("--from", str(log), "--out", str(out))
    assert (again.exit_code, "not there yet" in again.stderr) == (2, True)


def test_it_prints_the_scenario_or_json(tmp_path: Path) -> None:
    """Without --out the scenario, with --json what was counted, and nothing else on standard output."""
    file = tmp_path / "a.har"
    file.write_bytes(har(entry("GET", f"https://api.test/v1/chat/{ID}"), {}))
    printed, as_json = call("--from", str(file)), call("--from", str(file), "--json")
    assert tomllib.loads(printed.stdout)["senior"]["chat"] == 8
    data = json.loads(as_json.stdout)
    assert data["operations"] == [{"name": "get-chat", "count": 1, "statuses": {"200": 1}, "page_sizes": {}}]
    assert data["unreadable"] == 1
    assert data["values"]["senior"]["chat"]["value"] == 8


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_printed(tmp_path: Path, options: list[str]) -> None:
    """Query values, ids and tokens in paths, and lines that can't be read stay where they are."""
    log = tmp_path / "access.log"
    log.write_text("\n".join(LOG))
    ended = call("--from", str(log), *options)
    assert ended.exit_code == 0, ended.output
    assert CANARY not in ended.output
    log.write_text(LOG[-2])
    ended = call("--from", str(log), *options)
    assert (ended.exit_code, CANARY in ended.output) == (2, False)


def test_another_services_har_is_a_mistake_of_usage(tmp_path: Path) -> None:
    """Exit code 2 and a sentence, no traceback; so is a file that is not there."""
    file = tmp_path / "shop.har"
    file.write_bytes(har(entry("GET", "https://shop.test/cart/7")))
    ended = call("--from", str(file))
    assert ended.exit_code == 2
    assert "talkload: shop.har: none of its 1 requests is one of the contract's operations" in ended.stderr
    assert call("--from", str(tmp_path / "none.log")).exit_code == 2
    assert observed.read(io.BytesIO(line().encode()), "a.log").known == 1
