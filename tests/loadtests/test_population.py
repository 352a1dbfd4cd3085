"""Preparing a run's people: by the test endpoints, or as anybody would; twice is the same as once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from loadtests import population
from loadtests.target import Server, Target, TargetError, preflight, tls_context
from scenarios import workload
from scenarios.people import Person
from scenarios.population import Population
from scenarios.workload import WorkloadError

MADE = Population(tag="ab12", counts={"senior": 4, "volunteer": 3, "lurker": 1})


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A reference server with test endpoints."""
    server = Server("--test-endpoints", "--plain")
    try:
        yield preflight(server.ready())
    finally:
        server.stop()


def prepare(target: Target, people: Population, connections: int = 2) -> list[tuple[int, int]]:
    """Prepare them; return how far it said that it was."""
    said: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        said.append((done, total))

    population.prepare(target, people, connections=connections, seed=7, on_progress=note)
    return said


def chats_of(target: Target, someone: Person) -> list[str]:
    """Sign in as somebody and return the ids of the chats in which they may write."""
    with httpx.Client(base_url=target.https, verify=tls_context(target) or True, trust_env=False) as http:
        body = {"email": someone.email, "password": someone.password}
        said = http.post("/auth/sign-in", json=body).raise_for_status().json()["data"]
        assert said["user"]["type"] == someone.type
        headers = {"authorization": f"Bearer {said['tokens']['access']}"}
        chats = http.get("/chats", headers=headers).raise_for_status().json()["data"]
        return sorted(chat["id"] for chat in chats if chat["request"]["status"] == "accepted")


@pytest.mark.parametrize("bulk", [True, False])
def test_everybody_has_an_account_and_chats_and_twice_is_once(target: Target, bulk: bool) -> None:
    """Five seniors know two volunteers each, by either way; preparing them again changes nothing."""
    where = target if bulk else replace(target, test="")
    people = Population(tag=f"twice{bulk}", counts=MADE.counts)
    said = prepare(where, people)
    assert said[-1] == (8 + 10, 8 + 10)
    seniors = people.people(7)["senior"] + people.people(7)["lurker"]
    before = [chats_of(target, each) for each in seniors]
    assert [len(each) for each in before] == [2] * 5
    assert sum(len(chats_of(target, each)) for each in people.people(7)["volunteer"]) == 10
    prepare(target, people)  # by the test endpoints: an address signs up only once
    assert [chats_of(target, each) for each in seniors] == before


def test_accounts_of_a_file_are_connected_and_nobody_else_is_made(target: Target, tmp_path: Path) -> None:
    """Whatever was between them before."""
    people = Population(tag="filed", counts=MADE.counts)
    prepare(target, people, 0)
    found = people.people(7)
    rows = [
        f"{each.email},{each.type},{each.password}"
        for kind in ("senior", "volunteer", "lurker")
        for each in found[kind]
    ]
    file = tmp_path / "accounts.csv"
    file.write_text("\n".join(["email,role,password", *rows]))
    again = Population(counts=MADE.counts, file=str(file))
    assert prepare(target, again)[-1] == (10, 10)
    prepare(target, again)
    assert [len(chats_of(target, each)) for each in found["senior"]] == [2] * 4


def test_who_comes_is_told_by_shares_and_a_file_must_have_enough(tmp_path: Path) -> None:
    """Of typical's 45, 45 and 10 in a hundred; too few of a role are named."""
    typical = workload.load("typical", ["population.accounts=0.5"])
    assert population.plan(typical, 100).counts == {"senior": 22, "volunteer": 22, "lurker": 5}
    smoke = workload.load("smoke")
    file = tmp_path / "accounts.csv"
    file.write_text("email,role,password\na@x.test,senior,p\nb@x.test,volunteer,p\n")
    with pytest.raises(WorkloadError, match="too few accounts with the role senior: 1 of 2"):
        population.plan(smoke, 4, str(file))
    assert population.plan(smoke, 2, str(file)).counts["senior"] == 1


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("people.leavers=0.1", "not deleted, but the scenario has people.leavers"),
        ("people.newcomers=0.1", "nobody new signs up"),
        ("senior.sign-up=1", "nobody new signs up"),
        ("people.signs_out=0.1", "no password"),
    ],
)
def test_what_would_use_up_existing_accounts_is_refused(tmp_path: Path, setting: str, complaint: str) -> None:
    """Deleting them, and signing out with nothing to come back with."""
    file = tmp_path / "accounts.jsonl"
    rows = [f'{{"email":"{role}@x.test","role":"{role}","token":"t"}}' for role in ("senior", "volunteer")]
    file.write_text("\n".join(rows))
    with pytest.raises(WorkloadError, match=complaint):
        population.plan(workload.load("smoke", [setting]), 2, str(file))


def test_a_target_that_is_not_there_is_said_in_a_sentence() -> None:
    """No traceback of a library."""
    with pytest.raises(TargetError, match="could not be prepared"):
        prepare(Target("http://127.0.0.1:9", "ws://127.0.0.1:9", test="http://127.0.0.1:9"), MADE)
