"""Accounts, once more: tokens for tokens, another password without the old one, and a check of one's past."""

from __future__ import annotations

import msgspec

from talkamie.contract import BackgroundQuery, PasswordReset, Refresh, TokensData
from talkamie.server import accounts, otp, security
from talkamie.server.registry import operation
from talkamie.server.service import Call, Problem


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


@operation("reset-password")
async def reset_password(call: Call, *, body: PasswordReset) -> None:
    """Set a password for an address whose code was verified. Every sign-in ends, with its sockets."""
    email = security.email_key(body.email)
    # Look before hashing, as for a sign-up.
    if not await otp.is_verified(call.db, email, call.now):
        raise Problem(422, "Verify the e-mail address first.")
    hashed = await call.service.passwords.hash(body.password)
    async with call.db.transaction():
        if not await otp.consume(call.db, email, call.now):
            raise Problem(422, "Verify the e-mail address first.")
        # Whoever verified it reads this address: he may know that it has no account.
        user = await call.db.value(
            "update users set password_hash = $2 where email = $1 returning id", email, hashed
        )
        if user is None:
            raise Problem(404, "The e-mail address has no account.")
        await call.db.all("delete from tokens where user_id = $1", user)
    call.service.hub.revoke_others(user, None)


@operation("initiate-background-check")
async def initiate_background_check(call: Call, *, body: BackgroundQuery) -> None:
    """Ask for a check of my background, as `background-check` does; 409 while one is pending."""
    asked = await call.db.value(
        """update users set background = 'pending', background_check = $2
        where id = $1 and (background is null or background = 'failed') returning id""",
        call.me,
        msgspec.json.encode(body).decode(),
    )
    if asked is None:
        raise Problem(409, "A check has been asked for already.")
