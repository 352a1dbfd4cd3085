"""One-time codes: one right code, once, in time, in five tries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.talkamie.conftest import PASSWORD
from tests.talkamie.stores import Backend
from tests.talkamie.world import World, worlds

EMAIL = "ann@example.test"


def test_a_right_code_lets_one_account_be_made(world: World) -> None:
    """Verified is used up by signing up."""
    assert verify(world, issue(world)) == 200
    assert sign_up(world)[0] == 200
    assert sign_up(world)[0] == 422


def test_a_code_may_come_as_a_number(world: World) -> None:
    """The client sends either; leading zeros are ours."""
    assert verify(world, int(issue(world))) == 200


def test_a_code_works_once(world: World) -> None:
    """A verified code is no code any more."""
    code = issue(world)
    assert verify(world, code) == 200
    assert verify(world, code) == 422


def test_signing_up_needs_a_verified_address(world: World) -> None:
    """Neither no code nor an unused one is enough."""
    assert sign_up(world)[0] == 422
    issue(world)
    assert sign_up(world)[0] == 422


def test_five_wrong_codes_make_the_right_one_worthless(world: World) -> None:
    """Four digits cannot be guessed in five tries; a new code starts again."""
    code = issue(world)
    for _ in range(5):
        assert verify(world, wrong(code)) == 422
    assert verify(world, code) == 429
    assert verify(world, issue(world)) == 200


def test_a_code_expires_after_ten_minutes(world: World) -> None:
    """A moment before it still works."""
    code = issue(world)
    world.later(599.9)
    assert verify(world, code) == 200
    code = issue(world)
    world.later(600)
    assert verify(world, code) == 422


def test_a_verification_expires_too(world: World) -> None:
    """Sign-up comes at once after the code; ten minutes later it does not."""
    verify(world, issue(world))
    world.later(600)
    assert sign_up(world)[0] == 422


def test_a_new_code_supersedes_the_old(world: World) -> None:
    """Of two codes only the later is good."""
    first = issue(world)
    while (second := issue(world)) == first:
        pass
    assert verify(world, first) == 422
    assert verify(world, second) == 200


@pytest.mark.parametrize("spelling", ["ANN@EXAMPLE.TEST", " ann@example.test", "ａｎｎ@example.test"])
def test_an_address_has_one_spelling(world: World, spelling: str) -> None:
    """Case, space around and compatibility forms do not make another address."""
    code = issue(world)
    status, _ = world.request("POST", "/otp/verify", {"email": spelling.strip(), "code": code})
    assert status == 200
    sign_up(world)
    verify(world, issue(world))
    assert sign_up(world, email=spelling.strip())[0] == 409


def test_a_code_may_be_resent_after_a_minute_where_that_is_limited(backend: Backend) -> None:
    """429 says how long to wait."""
    with worlds(backend) as make:
        world = make(otp_resend_limit=True)
        issue(world)
        world.later(59)
        status, head, _ = world.raw("POST", "/v1/otp", b'{"email":"ann@example.test"}')
        assert (status, head["retry-after"]) == (429, "1")
        world.later(1)
        issue(world)


class Model:
    """What must happen to one address; times in seconds."""

    def __init__(self) -> None:
        self.status, self.at, self.tries, self.taken = "none", 0.0, 0, False

    def generate(self, now: float) -> int:
        self.status, self.at, self.tries = "issued", now, 0
        return 200

    def verify(self, now: float, *, right: bool) -> int:
        if self.status != "issued" or (now - self.at >= 600 and self.tries < 5):
            return 422
        if self.tries >= 5:
            return 429
        self.tries += 1
        if right:
            self.status, self.at = "verified", now
        return 200 if right else 422

    def sign_up(self, now: float) -> int:
        if self.status != "verified" or now - self.at >= 600:
            return 422
        if self.taken:
            return 409
        self.status, self.taken = "none", True
        return 200


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["generate", "right", "wrong", "wrong", "join"]), st.sampled_from([0, 1, 300])
        ),
        max_size=16,
    )
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_a_code_does_what_the_model_does(backend: Backend, steps: list[tuple[str, int]]) -> None:
    """Codes asked for, tried, right and wrong, in any order and at any time: the model's status codes."""
    with worlds(backend) as make:
        world = make()
        model, code, now = Model(), "0000", 0
        for name, wait in steps:
            now += wait
            world.later(wait)
            match name:
                case "generate":
                    code = issue(world)
                    assert model.generate(now) == 200
                case "join":
                    assert sign_up(world)[0] == model.sign_up(now)
                case _:
                    tried = code if name == "right" else wrong(code)
                    assert verify(world, tried) == model.verify(now, right=name == "right")


def issue(world: World) -> str:
    status, envelope = world.request("POST", "/otp", {"email": EMAIL})
    assert status == 200
    code: str = envelope["data"]["otp"]
    assert len(code) == 4
    return code


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10_000:04d}"


def verify(world: World, code: Any) -> int:
    return world.request("POST", "/otp/verify", {"email": EMAIL, "code": code})[0]


def sign_up(world: World, email: str = EMAIL) -> tuple[int, Any]:
    return world.request("POST", "/auth/sign-up", {"email": email, "password": PASSWORD, "name": "Ann"})
