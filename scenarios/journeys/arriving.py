"""Coming in and leaving: landing, sign-up, sign-in, the first screen, reload, reconnect, sign-out."""

from __future__ import annotations

from contextlib import suppress

from msgspec import UNSET

from scenarios.actor import Actor, Refused, Unanswered
from scenarios.people import birthday, sentence
from talkamie.contract import (
    CONNECTIONS_PAGE,
    FAQS_PAGE,
    LIST_PAGE,
    Interest,
    OtpCheck,
    OtpRequest,
    PasswordChange,
    SignIn,
    SignUp,
    UserUpdate,
)

ATTEMPTS = 8
"""After so many the app shows an error, and the person loads the page anew."""


def landing(actor: Actor) -> None:
    """See the page that strangers see. It asks who is there first; nobody is, and 401 is right."""
    with actor.journey("landing"):
        actor.call("get-user-by-token", expect=(401,))
        if actor.extras:
            actor.call("get-faqs", page_size=FAQS_PAGE)


def sign_up(actor: Actor) -> None:
    """Make an account: e-mail, one-time password, profile."""
    person = actor.person
    with actor.journey("sign-up"):
        actor.call("get-user-by-token", expect=(401,))
        actor.think("form")
        if actor.call("get-users", email=person.email):
            raise Refused("sign-up", 409, "this e-mail is taken")
        otp = actor.call("generate-otp", OtpRequest(email=person.email)).otp
        if otp is UNSET:
            raise Refused("sign-up", 0, "the target does not tell the one-time password")
        actor.think("otp")
        with actor.step("sign-up.verified"):
            actor.call("verify-otp", OtpCheck(email=person.email, code=otp))
            session = actor.call(
                "sign-up", SignUp(email=person.email, password=person.password, name=person.name)
            )
        actor.sign(session)
        me = session.user.id
        actor.call("update-user", UserUpdate(type=person.type), id=me)
        interests: list[Interest] = actor.call("get-interests")
        actor.think("profile")
        chosen = actor.rng.sample(interests, min(3, len(interests)))
        profile = UserUpdate(bio=sentence(actor.rng), interests=chosen, dob=birthday(person.type, actor.rng))
        actor.call("update-user", profile, id=me)


def sign_in(actor: Actor) -> None:
    """Come back with e-mail and password; the first screen follows without a new page."""
    person = actor.person
    with actor.journey("sign-in"):
        actor.call("get-user-by-token", expect=(401,))
        actor.think("form")
        with actor.step("sign-in.ready"):
            actor.sign(actor.call("sign-in", SignIn(email=person.email, password=person.password)))
            _first_screen(actor)


def app_start(actor: Actor) -> None:
    """Open the page, or load it anew: who am I, then everything that the first screen shows."""
    with actor.journey("app-start"), actor.step("app-start.ready"):
        actor.user = actor.call("get-user-by-token").user
        _first_screen(actor)


def _first_screen(actor: Actor) -> None:
    opposite = "volunteer" if actor.person.type == "senior" else "senior"
    actor.seen.clear()
    actor.together(
        lambda: actor.call("get-upcoming-schedules", page_size=LIST_PAGE),
        lambda: actor.call("get-pending-requests", page_size=CONNECTIONS_PAGE),
        lambda: actor.call("get-users", type=opposite, page_size=LIST_PAGE),
        actor.open_socket,
    )


def come_anew(actor: Actor) -> None:
    """Make way for somebody new, who signs up and sees the first screen."""
    actor.make_way()
    landing(actor)
    sign_up(actor)
    app_start(actor)


def reconnect(actor: Actor) -> None:
    """Lose the connection and be back."""
    with actor.journey("reconnect"):
        actor.drop_socket()
        resume(actor)


def resume(actor: Actor) -> None:
    """Open the socket again and authenticate; whoever wrote meanwhile is told by the target.

    Each attempt comes when the app's policy says so: the real one tries at once, no pause, no back-off.
    """
    with actor.journey("reconnect"), actor.step("reconnect.ready"):
        actor.close_socket()
        for attempt in range(ATTEMPTS - 1):
            actor.back_off(attempt)
            with suppress(Unanswered):
                actor.open_socket()
                return
        actor.back_off(ATTEMPTS - 1)
        actor.open_socket()


def change_password(actor: Actor) -> None:
    """Change the password, and back: the next sign-in still knows it."""
    person, me = actor.person, actor.user.id
    with actor.journey("settings"):
        other = person.password[::-1]
        for old, new in ((person.password, other), (other, person.password)):
            actor.think("form")
            actor.call("change-password", PasswordChange(old_password=old, new_password=new), id=me)


def sign_out(actor: Actor) -> None:
    """Sign out; the page of goodbye asks once more who is there."""
    with actor.journey("sign-out"):
        actor.close_socket()
        actor.call("sign-out")
        actor.forget()
        actor.call("get-user-by-token", expect=(401,))


def leave_for_good(actor: Actor) -> None:
    """Delete the account; whoever comes next is somebody new."""
    with actor.journey("settings"):
        actor.think("look")
        actor.close_socket()
        actor.call("delete-user", id=actor.user.id)
        actor.make_way()
