"""Tokens for tokens, and the end of a connection."""

from __future__ import annotations

from talkamie.contract import Refresh, TokensData
from talkamie.server import accounts, security
from talkamie.server.registry import operation
from talkamie.server.service import Call, Problem, pair


@operation("refresh-token")
async def refresh_token(call: Call, *, body: Refresh) -> TokensData:
    """Return new tokens of the same sign-in. The old ones are worthless; its sockets stay open."""
    async with call.db.transaction():
        # Of two that come with the same token, one deletes it.
        row = await call.db.one(
            """delete from tokens where hash = $1 and kind = 'refresh' and expires > $2
            returning user_id, session_id""",
            security.token_hash(body.refresh),
            call.now,
        )
        if row is None:
            raise Problem(401, "The token is not valid.")
        await call.db.all("delete from tokens where session_id = $1", row["session_id"])
        tokens = await accounts.issue(call.db, row["user_id"], call.now, session=row["session_id"])
    return TokensData(tokens=tokens)


@operation("disconnect-user")
async def disconnect_user(call: Call, other: str) -> None:
    """End my connection with `other`, by either party: as none, and our chat is closed as if never opened."""
    low, high = pair(call.me, other)
    async with call.db.transaction():
        ended = await call.db.value(
            """update connections set status = 'canceled', updated = $3
            where low = $1 and high = $2 and status = 'accepted' returning id""",
            low,
            high,
            call.now,
        )
        if ended is None:
            raise Problem(404, "You are not connected with this user.")
        await call.db.all(
            "update chats set request_status = 'canceled' where low = $1 and high = $2", low, high
        )
