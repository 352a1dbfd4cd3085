"""Accounts: signing up, in and out, whose a token is, another password, and the end of an account.

A sign-in is a session: its two tokens and every socket opened with them end together.
"""

from __future__ import annotations

from talkamie.contract import (
    Action,
    Authenticate,
    PasswordChange,
    Session,
    SignIn,
    SignUp,
    Tokens,
    User,
    UserData,
)
from talkamie.server import messages, otp, security
from talkamie.server.profiles import own
from talkamie.server.registry import action, operation
from talkamie.server.service import Call, Problem, given
from talkamie.server.store import Session as Db

STUB_NAME = "Deleted user"


@operation("sign-up")
async def sign_up(call: Call, *, body: SignUp) -> Session:
    """Make an account for an address whose code was verified, and sign in. 422 without, 409 if taken."""
    email = security.email_key(body.email)
    # Look before hashing, because a hash is dear and an unverified caller must not make us pay it.
    if not await otp.is_verified(call.db, email, call.now):
        raise Problem(422, "Verify the e-mail address first.")
    if await call.db.value("select 1 from users where email = $1", email) is not None:
        raise Problem(409, "The e-mail address is taken.")
    hashed = await call.service.passwords.hash(body.password)
    async with call.db.transaction():
        if not await otp.consume(call.db, email, call.now):
            raise Problem(422, "Verify the e-mail address first.")
        user = await create(call.db, email, body.name, given(body.type), hashed, call.now)
        tokens = await issue(call.db, user, call.now)
    return Session(user=await own(call.db, user, call.now), tokens=tokens)


@operation("sign-in")
async def sign_in(call: Call, *, body: SignIn) -> Session:
    """Return new tokens. A wrong password and an unknown address are told in the same words and time."""
    row = await call.db.one(
        "select id, password_hash from users where email = $1", security.email_key(body.email)
    )
    right = await call.service.passwords.verify(None if row is None else row["password_hash"], body.password)
    if row is None or not right:
        raise Problem(401, "The e-mail address or the password is wrong.")
    async with call.db.transaction():
        # Checking took a while, in which the password may have become another one.
        if not await _has_password(call.db, row["id"], row["password_hash"]):
            raise Problem(401, "The e-mail address or the password is wrong.")
        tokens = await issue(call.db, row["id"], call.now)
    return Session(user=await own(call.db, row["id"], call.now), tokens=tokens)


@operation("sign-out")
async def sign_out(call: Call) -> None:
    """Make this sign-in's tokens worthless and close its sockets."""
    me, session = call.me, call.session
    if session is None:
        raise Problem(401, "Sign in first.")
    await call.db.all("delete from tokens where session_id = $1", session)
    call.service.hub.revoke(me, session)


@operation("get-user-by-token")
async def get_user_by_token(call: Call) -> UserData:
    """Return the caller."""
    return UserData(user=await own(call.db, call.me, call.now))


@operation("change-password")
async def change_password(call: Call, user_id: str, *, body: PasswordChange) -> None:
    """Set another password; 403 unless the old one is right. Every other sign-in ends, with its sockets."""
    stored = await call.db.value("select password_hash from users where id = $1", user_id)
    if not await call.service.passwords.verify(stored, body.old_password):
        raise Problem(403, "The old password is wrong.")
    hashed = await call.service.passwords.hash(body.new_password)
    async with call.db.transaction():
        changed = await call.db.value(
            "update users set password_hash = $3 where id = $1 and password_hash = $2 returning id",
            user_id,
            stored,
            hashed,
        )
        if changed is None:
            raise Problem(409, "The password was changed meanwhile.")
        await call.db.all(
            "delete from tokens where user_id = $1 and session_id <> $2", user_id, call.session or ""
        )
    call.service.hub.revoke_others(user_id, call.session)


@operation("delete-user")
async def delete_user(call: Call, user_id: str) -> None:
    """End my account: all that is mine alone is gone, what I shared stays with a stub in my place."""
    async with call.db.transaction():
        # The address is free again. An id is no address: nobody can sign in to the stub, or sign up as it.
        await call.db.all(
            """update users set deleted = $2, email = id, password_hash = '', name = $3, name_key = $4,
                gender = null, dob = null, bio = null, language = null, country = null, state = null,
                city = null, interests = null, timezone_offset = null, picture = null, video = null,
                file_dir_path = null, specialization = null, certificate = null, certificate_state = null,
                licence_id = null, paypal = null, background_check = null, availability_weekly = null,
                availability_custom = null where id = $1""",
            user_id,
            call.now,
            STUB_NAME,
            STUB_NAME.casefold(),
        )
        await call.db.all("delete from tokens where user_id = $1", user_id)
        await call.db.all(
            """update connections set status = 'canceled', updated = $2
            where (from_id = $1 or to_id = $1) and status = 'pending'""",
            user_id,
            call.now,
        )
    call.service.hub.revoke_others(user_id, None)


@action("ping")
async def ping(call: Call, *, body: Action) -> None:
    """Answer, to show that the connection lives."""


@action("authenticate")
async def authenticate(call: Call, *, body: Authenticate) -> User:
    """Make the socket the user's whose token this is; what waited for him is delivered now.

    A bad token is told so and closes the socket.
    """
    if call.socket is None:
        raise RuntimeError("authenticate is an action of sockets")
    owner = await owner_of(call.db, body.token.encode(), call.now)
    if owner is None:
        call.service.hub.refuse(call.socket)
        raise Problem(401, "The token is not valid.")
    user, session = owner
    call.service.hub.authenticate(call.socket, user, session)
    await call.service.hub.elsewhere.settled()
    # Look again, because a sign-out since the first look found no socket to close.
    if await owner_of(call.db, body.token.encode(), call.now) is None:
        call.service.hub.refuse(call.socket)
        raise Problem(401, "The token is not valid.")
    await messages.deliver_waiting(call, user)
    return await own(call.db, user, call.now)


async def owner_of(db: Db, token: bytes, now: int) -> tuple[str, str] | None:
    """Return whose access token this is, (user, session); nothing for one unknown, expired or revoked."""
    row = await db.one(
        "select user_id, session_id from tokens where hash = $1 and kind = 'access' and expires > $2",
        security.token_hash(token),
        now,
    )
    return None if row is None else (row["user_id"], row["session_id"])


async def create(db: Db, email: str, name: str, kind: str | None, hashed: str, now: int) -> str:
    """Make an account and return its id; 409 if the address (its one spelling) is taken."""
    user: str | None = await db.value(
        """insert into users (id, email, password_hash, name, name_key, type, visibility, created)
        values ($1, $2, $3, $4, $5, $6, 'public', $7) on conflict (email) do nothing returning id""",
        db.new_id(now),
        email,
        hashed,
        name,
        name.casefold(),
        kind,
        now,
    )
    if user is None:
        raise Problem(409, "The e-mail address is taken.")
    return user


async def issue(db: Db, user: str, now: int, *, session: str | None = None) -> Tokens:
    """Return tokens of a new sign-in, or of one that goes on; only their hashes are kept."""
    tokens = Tokens(access=security.new_token(), refresh=security.new_token())
    session = session or db.new_id(now)
    for token, kind, lifetime in (
        (tokens.access, "access", security.ACCESS_TOKEN_MS),
        (tokens.refresh, "refresh", security.REFRESH_TOKEN_MS),
    ):
        await db.all(
            "insert into tokens (hash, session_id, user_id, kind, expires) values ($1, $2, $3, $4, $5)",
            security.token_hash(token),
            session,
            user,
            kind,
            now + lifetime,
        )
    return tokens


async def _has_password(db: Db, user: str, hashed: str) -> bool:
    sql = "select 1 from users where id = $1 and password_hash = $2"
    return await db.value(sql, user, hashed) is not None
