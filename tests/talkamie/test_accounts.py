"""Accounts: signing in and out, what others see, and what cannot be set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from talkamie.server.security import ACCESS_TOKEN_MS
from tests.talkamie.conftest import PASSWORD
from tests.talkamie.stores import TABLES
from tests.talkamie.world import SECOND, World

EMAIL = "ann@example.test"


def test_the_way_in(world: World) -> None:
    """Check the address, verify it, sign up, sign out, sign in."""
    assert world.request("GET", "/users", email=EMAIL)[1]["data"] == []
    session = join(world)
    assert world.request("GET", "/users", email=EMAIL)[1]["data"] == [{"id": session["user"]["id"]}]
    token = session["tokens"]["access"]
    assert world.request("GET", "/auth", token=token)[1]["data"]["user"]["email"] == EMAIL
    assert world.request("DELETE", "/auth/sign-out", token=token)[0] == 200
    assert world.request("GET", "/auth", token=token)[0] == 401
    again = world.request("POST", "/auth/sign-in", {"email": EMAIL.upper(), "password": PASSWORD})[1]["data"]
    assert world.request("GET", "/auth", token=again["tokens"]["access"])[0] == 200


def test_signing_out_ends_one_sign_in(world: World) -> None:
    """Another sign-in of the same person goes on; the refresh token of the ended one is gone too."""
    first = join(world)["tokens"]
    body = {"email": EMAIL, "password": PASSWORD}
    second = world.request("POST", "/auth/sign-in", body)[1]["data"]["tokens"]
    world.request("DELETE", "/auth/sign-out", token=first["access"])
    assert world.request("GET", "/auth", token=second["access"])[0] == 200
    assert world.sql("select count(*) as n from tokens") == [{"n": 2}]


def test_a_refresh_token_is_no_access_token(world: World) -> None:
    """It opens nothing by itself."""
    assert world.request("GET", "/auth", token=join(world)["tokens"]["refresh"])[0] == 401


def test_a_token_lives_a_day(world: World) -> None:
    """Afterwards it is as good as none."""
    token = join(world)["tokens"]["access"]
    world.later(ACCESS_TOKEN_MS / SECOND - 1)
    assert world.request("GET", "/auth", token=token)[0] == 200
    world.later(1)
    assert world.request("GET", "/auth", token=token)[0] == 401


def test_no_token_is_kept(world: World) -> None:
    """The database holds hashes: what is stolen from it opens nothing."""
    tokens = join(world)["tokens"]
    dump = repr([world.sql(f"select * from {table}") for table in TABLES])
    assert EMAIL in dump
    assert tokens["access"] not in dump
    assert tokens["refresh"] not in dump
    assert PASSWORD not in dump


def test_a_wrong_password_and_an_unknown_address_sound_the_same(world: World) -> None:
    """Nobody learns from sign-in who has an account."""
    join(world)
    wrong = world.request("POST", "/auth/sign-in", {"email": EMAIL, "password": "wrong password"})
    unknown = world.request("POST", "/auth/sign-in", {"email": "nobody@example.test", "password": PASSWORD})
    assert wrong == unknown
    assert wrong[0] == 401


def test_others_do_not_see_what_is_mine(world: World) -> None:
    """No e-mail address, no counters, no password hash in what others get."""
    ann, bob = world.member(), world.member()
    user = bob.call("GET", f"/user/{ann.id}")["data"]
    assert user["id"] == ann.id
    assert not {"email", "totalUnreadChats", "totalUnreadAlerts", "passwordHash"} & set(user)
    assert ann.email not in json.dumps(bob.call("GET", "/users"))


def test_a_body_sets_what_the_contract_lists_and_nothing_else(world: World) -> None:
    """Mass assignment: fields that are not the caller's to set are ignored."""
    ann = world.member()
    before = stored(world, ann.id)
    evil = {"id": "x", "email": "evil@x.test", "rating": 5, "passwordHash": "x", "created": 0, "bio": "hello"}
    user = ann.call("PUT", f"/user/{ann.id}", evil)["data"]
    assert user["bio"] == "hello"
    after = stored(world, ann.id)
    assert {key for key in before if before[key] != after[key]} == {"bio"}


def test_every_field_of_the_contract_can_be_set(world: World) -> None:
    """And comes back as it was given."""
    ann = world.member()
    user = ann.call(
        "PUT",
        f"/user/{ann.id}",
        {
            "name": "Änne",
            "type": "volunteer",
            "gender": "female",
            "bio": "",
            "language": "de",
            "dob": "1950-06-15",
            "visibility": "seniors",
            "country": "DE",
            "state": "BY",
            "city": "Passau",
            "interests": [{"name": "Chess", "emoji": "♟️"}],
            "picture": {"org": {"mimeType": "image/png", "url": "https://x.test/p"}},
            "video": "https://x.test/v",
            "fileDirPath": "users/1",
            "specialization": "Nursing",
            "certificate": {"mimeType": "application/pdf", "url": "https://x.test/c"},
            "certificateState": "TX",
            "licenseId": "L-1",
        },
    )["data"]
    assert user["picture"] == {"org": {"mimeType": "image/png", "url": "https://x.test/p"}}
    assert user["video"] == {"org": {"url": "https://x.test/v"}}
    assert user["fileDirPath"] == "users/1"
    assert user["specialization"] == {"area": "Nursing"}
    assert user["certificate"]["file"]["url"] == "https://x.test/c"
    assert user["certificate"]["state"] == "TX"
    assert user["licence"] == {"id": "L-1"}
    assert user["age"] == 75
    assert user["location"] == {"country": "DE", "state": "BY", "city": "Passau"}
    assert user["interests"] == [{"name": "Chess", "emoji": "♟️"}]
    assert (user["name"], user["bio"], user["visibility"]) == ("Änne", "", "seniors")


@pytest.mark.parametrize("dob", ["2025-02-31", "0000-01-01", "1800-01-01", "2999-01-01", "01.02.1950", 5])
def test_a_birthday_that_cannot_be_is_refused(world: World, dob: Any) -> None:
    """400, and nothing is changed."""
    ann = world.member()
    ann.call("PUT", f"/user/{ann.id}", {"dob": dob}, status=400)


def test_searches_find_what_they_should(world: World) -> None:
    """Each filter alone, empty ones as none, and never the caller."""
    me = world.member("senior", "Me")
    ada = world.member("volunteer", "Ada Ångström")
    ben = world.member("senior", "Ben")
    ada.call("PUT", f"/user/{ada.id}", {"gender": "female", "dob": "1990-06-15", "country": "SE"})
    ben.call("PUT", f"/user/{ben.id}", {"dob": "1950-06-16"})

    def found(**query: Any) -> set[str]:
        return {user["name"].split()[0] for user in me.call("GET", "/users", **query)["data"]}

    assert found() == {"Ada", "Ben"}
    assert found(keyword="", type="", pageSize=25) == {"Ada", "Ben"}
    assert found(type="volunteer") == {"Ada"}
    assert found(keyword="ÅNGS") == {"Ada"}
    assert found(keyword="%") == set()
    assert found(gender="female") == {"Ada"}
    assert found(location="SE") == {"Ada"}
    assert found(age=35) == {"Ada"}
    assert found(minAge=36) == {"Ben"}
    assert found(maxAge=74) == {"Ada", "Ben"}
    assert found(maxAge=73) == {"Ada"}
    assert found(email=ben.email.upper()) == {"Ben"}


def test_searching_needs_a_token_but_for_the_sign_up_check(world: World) -> None:
    """A literal `undefined` is no token either."""
    assert world.request("GET", "/users")[0] == 401
    assert world.request("GET", "/users", type="senior", token="undefined")[0] == 401
    assert world.request("GET", "/users", email="x@example.test", token="undefined")[0] == 200


def test_pages_hold_everything_once(world: World) -> None:
    """Whatever the page size, going through the pages meets each user once."""
    me = world.member()
    everybody = {world.member().id for _ in range(7)}
    for size in (1, 2, 3, 7, 100):
        met = [user["id"] for user in all_pages(me, "/users", size)]
        assert len(met) == len(set(met))
        assert set(met) == everybody


def test_interests_are_a_catalogue_for_everybody(world: World) -> None:
    """Paged and searchable, without a token."""
    status, envelope = world.request("GET", "/interests", pageSize=100)
    assert status == 200
    names = [one["name"] for one in envelope["data"]]
    assert "Chess" in names
    member = world.member()
    assert [one["name"] for one in all_pages(member, "/interests", 5)] == names
    assert world.request("GET", "/interests", keyword="CHESS")[1]["data"][0]["name"] == "Chess"


def test_who_hides_is_found_by_those_he_chose(world: World) -> None:
    """Visibility: volunteers only, matches only; a relation opens the door."""
    ann, volunteer, senior = world.member("senior"), world.member("volunteer"), world.member("senior")
    ann.call("PUT", f"/user/{ann.id}", {"visibility": "volunteers"})
    volunteer.call("GET", f"/user/{ann.id}")
    senior.call("GET", f"/user/{ann.id}", status=404)
    assert ann.id not in {user["id"] for user in senior.call("GET", "/users")["data"]}
    ann.call("PUT", f"/user/{ann.id}", {"visibility": "matches"})
    volunteer.call("GET", f"/user/{ann.id}", status=404)
    ann.call("POST", f"/user/{volunteer.id}/connection")
    volunteer.call("GET", f"/user/{ann.id}")


def test_another_password_ends_every_other_sign_in(world: World) -> None:
    """The old one must be right; the sign-in that changed it goes on, and so does its socket."""
    session = join(world)
    mine, user = session["tokens"]["access"], session["user"]["id"]
    other = sign_in(world, PASSWORD)[1]["data"]["tokens"]["access"]
    wires = {token: world.socket() for token in (mine, other)}
    for token, wire in wires.items():
        wire.ask("authenticate", token=token)
    path = f"/user/{user}/password"
    wrong = {"oldPassword": "wrong password", "newPassword": "another password"}
    assert world.request("PUT", path, wrong, token=mine)[0] == 403
    short = {"oldPassword": PASSWORD, "newPassword": "short"}
    assert world.request("PUT", path, short, token=mine)[0] == 400
    right = {"oldPassword": PASSWORD, "newPassword": "another password"}
    assert world.request("PUT", path, right, token=mine)[0] == 200
    assert world.request("GET", "/auth", token=mine)[0] == 200
    assert world.request("GET", "/auth", token=other)[0] == 401
    assert wires[mine].connection.closed is None
    assert wires[other].connection.closed == (4401, "token not valid")
    assert sign_in(world, PASSWORD)[0] == 401
    assert sign_in(world, "another password")[0] == 200


def test_an_account_that_ended_is_gone(world: World) -> None:
    """Its tokens, sockets, profile and address; 404 for others, and the address may sign up again."""
    session = join(world)
    token, user = session["tokens"]["access"], session["user"]["id"]
    bob = world.member("volunteer", "Bob")
    wire = world.socket()
    wire.ask("authenticate", token=token)
    world.request("PUT", f"/user/{user}", {"bio": "my story", "city": "Passau"}, token=token)
    world.request("POST", f"/user/{bob.id}/connection", token=token)
    assert world.request("DELETE", f"/user/{user}", token=token)[0] == 200
    assert world.request("GET", "/auth", token=token)[0] == 401
    assert wire.connection.closed == (4401, "token not valid")
    assert sign_in(world, PASSWORD)[0] == 401
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/connection", None),
        ("POST", "/message/request", {"text": "hi"}),
        ("POST", "/review", {"rate": 5}),
        ("GET", "/reviews", None),
    ):
        bob.call(method, f"/user/{user}{path}", body, status=404)
    assert bob.call("GET", "/users")["data"] == []
    assert bob.call("GET", "/connections/pending")["data"] == []
    kept = json.dumps(stored(world, user))
    assert not any(word in kept for word in ("my story", "Passau", EMAIL, "argon2"))
    assert join(world)["user"]["id"] != user


def test_what_was_shared_stays_with_a_stub(world: World) -> None:
    """Connections, chats and messages of one who left are kept; he has no name any more."""
    ann, bob, chat = world.friends()
    ann.socket().ask("send-message", chatId=chat, message={"text": "farewell"})
    ann.call("DELETE", f"/user/{ann.id}")
    stub = bob.call("GET", f"/chat/{chat}")["data"]["user"]
    assert (stub["id"], stub["name"]) == (ann.id, "Deleted user")
    assert bob.call("GET", f"/chat/{chat}/messages")["data"][0]["text"] == "farewell"
    assert [user["id"] for user in bob.call("GET", "/connections/users")["data"]] == [ann.id]
    assert bob.socket().ask("call-user", chatId=chat, type="audio")["data"]["call"]["status"] == "missed"


def test_a_background_check_is_asked_for_once(world: World) -> None:
    """It is pending from then on, for oneself only, and with a possible birthday."""
    ann, bob = world.member(), world.member()
    path, body = f"/user/{ann.id}/background-check", {"dob": "1950-06-15", "state": "TX", "links": []}
    bob.call("POST", path, body, status=403)
    ann.call("POST", path, body | {"dob": "1950-02-30"}, status=400)
    assert "background" not in ann.call("GET", "/auth")["data"]["user"]["verification"]
    ann.call("POST", path, body)
    assert ann.call("GET", "/auth")["data"]["user"]["verification"]["background"] == {"status": "pending"}
    ann.call("POST", path, body, status=409)


def test_preferences_and_purse_are_mine_alone(world: World) -> None:
    """Others see who somebody is, and not what he has or wants."""
    ann, bob = world.member(), world.member()
    wanted = {"maxCallDuration": 600, "maxCallCount": 3, "pushNotification": {"enabled": False}}
    user = ann.call("PUT", f"/user/{ann.id}", wanted)["data"]
    assert user["preferences"] == {
        "call": {"maxCount": 3, "maxDuration": 600},
        "notifications": {"push": {"enabled": False}},
    }
    assert user["ledger"] == {"coins": {"balance": 0}}
    seen = bob.call("GET", f"/user/{ann.id}")["data"]
    assert not {"preferences", "ledger", "dailyInfo"} & set(seen)


def sign_in(world: World, password: str) -> tuple[int, Any]:
    return world.request("POST", "/auth/sign-in", {"email": EMAIL, "password": password})


def join(world: World) -> Any:
    """Sign up with EMAIL and return {user, tokens}."""
    code = world.request("POST", "/otp", {"email": EMAIL})[1]["data"]["otp"]
    assert world.request("POST", "/otp/verify", {"email": EMAIL, "code": code})[0] == 200
    body = {"email": EMAIL, "password": PASSWORD, "name": "Ann", "type": "senior"}
    status, envelope = world.request("POST", "/auth/sign-up", body)
    assert status == 200
    return envelope["data"]


def stored(world: World, user: str) -> dict[str, Any]:
    return world.sql("select * from users where id = $1", user)[0]


def all_pages(member: Any, path: str, size: int) -> list[Any]:
    found: list[Any] = []
    query: dict[str, Any] = {"pageSize": size}
    while True:
        envelope = member.call("GET", path, **query)
        assert len(envelope["data"]) <= size
        found += envelope["data"]
        key = envelope.get("pagination", {}).get("lastEvaluatedKey")
        if key is None:
            return found
        query["lastEvaluatedKey"] = json.dumps(key)
