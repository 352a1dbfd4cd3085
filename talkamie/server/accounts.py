"""Accounts: signing up, in and out, who a token belongs to, and what users see of each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from talkamie.contract import (
    Action,
    Authenticate,
    Interest,
    Pagination,
    Search,
    Session,
    SignIn,
    SignUp,
    Tokens,
    User,
    UserData,
    UserSearch,
    UserUpdate,
)
from talkamie.server import alerts, chats, otp, relations, security, views
from talkamie.server.registry import action, operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, given, iso, like, page
from talkamie.server.store import Row
from talkamie.server.store import Session as Db

INTERESTS = tuple(
    Interest(id=f"i{number:02d}", name=name, emoji=emoji)
    for number, (name, emoji) in enumerate(
        (
            ("Art", "🎨"),
            ("Baking", "🥧"),
            ("Board games", "🎲"),
            ("Books", "📚"),
            ("Chess", "♟️"),
            ("Cinema", "🎬"),
            ("Cooking", "🍲"),
            ("Crosswords", "✏️"),
            ("Dancing", "💃"),
            ("Dogs and cats", "🐾"),
            ("Family", "👪"),
            ("Fishing", "🎣"),
            ("Gardening", "🌱"),
            ("History", "🏛️"),
            ("Knitting", "🧶"),
            ("Languages", "💬"),
            ("Music", "🎵"),
            ("Nature", "🌳"),
            ("Photography", "📷"),
            ("Poetry", "🪶"),
            ("Politics", "🗳️"),
            ("Sewing", "🧵"),
            ("Singing", "🎤"),
            ("Sport", "⚽"),
            ("Technology", "💻"),
            ("Theatre", "🎭"),
            ("Travel", "✈️"),
            ("Walking", "🚶"),
        ),
        start=1,
    )
)
# Columns that a body may set. What is not here cannot be assigned, whatever a body says.
_PLAIN = ("name", "type", "gender", "bio", "language", "dob", "visibility", "country", "state", "city")
_encode = msgspec.json.Encoder().encode


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


@operation("get-user")
async def get_user(call: Call, user_id: str) -> User:
    """Return a user and my relation to him. One who hides from me is not found, unless we have a relation."""
    if user_id == call.me:
        return await own(call.db, user_id, call.now)
    row = await call.db.one("select * from users where id = $1", user_id)
    if row is None:
        raise Problem(404, "There is no such user.")
    user = views.user(row, call.now)
    await relations.attach_viewers(call.db, call.me, [user])
    viewer = given(user.viewer)
    related = viewer is not None and (given(viewer.chat) or given(viewer.connect_request)) is not None
    if not related and row["visibility"] not in await _visible_to(call):
        raise Problem(404, "There is no such user.")
    user.total_connections = await _total_connections(call.db, user_id)
    return user


@operation("update-user")
async def update_user(call: Call, user_id: str, *, body: UserUpdate) -> User:
    """Set the given fields of my account, and no other."""
    columns = {name: getattr(body, name) for name in _PLAIN}
    columns = {name: value for name, value in columns.items() if value is not msgspec.UNSET}
    if "dob" in columns:
        _expect_birthday(columns["dob"], call.now)
    if "name" in columns:
        columns["name_key"] = columns["name"].casefold()
    interests = given(body.interests)
    if interests is not None:
        columns["interests"] = _encode(interests).decode()
    if columns:
        assignments = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, start=2))
        await call.db.all(f"update users set {assignments} where id = $1", user_id, *columns.values())  # noqa: S608 - names of _PLAIN
    return await own(call.db, user_id, call.now)


@operation("get-users")
async def get_users(call: Call, *, query: UserSearch) -> Paged[list[User]]:
    """Return users, the newest first. Without a token only `?email=` is answered: is it taken?"""
    email = given(query.email)
    if call.user is None:
        if email is None:
            raise Problem(401, "Sign in first.")
        found = await call.db.value("select id from users where email = $1", security.email_key(email))
        return Paged([] if found is None else [User(id=found)], msgspec.UNSET)
    conditions, values = _filters(call, query)
    conditions.append(f"o.visibility in ({', '.join(repr(one) for one in sorted(await _visible_to(call)))})")
    before = cursor(query)
    where = " and ".join(conditions)
    rows, pagination = page(
        await call.db.all(
            f"select * from users o where o.id < $1 and {where} order by o.id desc limit $2",  # noqa: S608
            "~" if before is None else before.id,
            query.page_size + 1,
            *values,
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    users = [views.user(row, call.now) for row in rows]
    await relations.attach_viewers(call.db, call.user, users)
    return Paged(users, pagination)


@operation("get-interests")
async def get_interests(call: Call, *, query: Search) -> Paged[list[Interest]]:
    """Return the catalogue of interests, by name."""
    after = cursor(query)
    keyword = (given(query.keyword) or "").casefold()
    found = [
        one
        for one in INTERESTS
        if keyword in str(one.name).casefold() and (after is None or str(one.id) > after.id)
    ]
    shown = found[: query.page_size]
    if len(found) == len(shown):
        return Paged(shown, msgspec.UNSET)
    key = Cursor(id=str(shown[-1].id), date_created=iso(0))
    return Paged(shown, Pagination(last_evaluated_key=msgspec.to_builtins(key)))


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
    # Look again, because a sign-out since the first look found no socket to close.
    if await owner_of(call.db, body.token.encode(), call.now) is None:
        call.service.hub.refuse(call.socket)
        raise Problem(401, "The token is not valid.")
    await chats.deliver_waiting(call, user)
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


async def issue(db: Db, user: str, now: int) -> Tokens:
    """Return the tokens of a new sign-in; only their hashes are kept."""
    tokens = Tokens(access=security.new_token(), refresh=security.new_token())
    session = db.new_id(now)
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


async def own(db: Db, user_id: str, now: int) -> User:
    """Return all that a user may see of himself."""
    row = await _row(db, user_id)
    user = views.user(row, now)
    user.email = row["email"]
    user.total_unread_chats = await chats.total_unread(db, user_id)
    user.total_unread_alerts = await alerts.total_unread(db, user_id)
    user.total_connections = await _total_connections(db, user_id)
    user.total_pending_requests = await db.value(
        "select count(*) from connections where to_id = $1 and status = 'pending'", user_id
    )
    return user


async def _row(db: Db, user_id: str) -> Row:
    row = await db.one("select * from users where id = $1", user_id)
    if row is None:
        raise Problem(404, "There is no such user.")
    return row


async def _total_connections(db: Db, user_id: str) -> int:
    count: int = await db.value(
        "select count(*) from connections where status = 'accepted' and (from_id = $1 or to_id = $1)", user_id
    )
    return count


async def _visible_to(call: Call) -> set[str]:
    """Return the visibilities that let the caller find a user he has no relation to."""
    kind = await call.db.value("select type from users where id = $1", call.me)
    return {"public", f"{kind}s"} if kind else {"public"}


def _filters(call: Call, query: UserSearch) -> tuple[list[str], list[object]]:
    """Return the conditions of a search and their values, numbered from $3."""
    wanted: list[tuple[str, object]] = [("o.id <> {}", call.me)]
    keyword = given(query.keyword)
    if keyword is not None:
        wanted.append(("o.name_key like {} escape '!'", like(keyword)))
    for column, value in (
        ("email", None if (email := given(query.email)) is None else security.email_key(email)),
        ("type", given(query.type)),
        ("gender", given(query.gender)),
        ("country", given(query.location)),
    ):
        if value is not None:
            wanted.append((f"o.{column} = {{}}", value))
    exact = given(query.age)
    youngest = given(query.min_age) if exact is None else exact
    oldest = given(query.max_age) if exact is None else exact
    if youngest is not None:
        wanted.append(("o.dob <= {}", _born(call.now, youngest)))
    if oldest is not None:
        wanted.append(("o.dob > {}", _born(call.now, oldest + 1)))
    conditions = [sql.format(f"${n}") for n, (sql, _) in enumerate(wanted, start=3)]
    return conditions, [value for _, value in wanted]


def _born(now: int, years: int) -> str:
    """Return the date of birth of somebody who is exactly `years` old today."""
    if not 0 <= years <= 200:
        raise Problem(400, f"query: nobody is {years} years old")
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    try:
        return today.replace(year=today.year - years).isoformat()
    except ValueError:  # 29 February
        return (today - timedelta(days=1)).replace(year=today.year - years).isoformat()


def _expect_birthday(dob: str, now: int) -> None:
    try:
        age = views.age(dob, now)
    except ValueError as error:
        raise Problem(400, f"body: dob: {error}") from error
    if not 0 <= age <= 150:
        raise Problem(400, f"body: dob: {dob} is nobody's birthday")
