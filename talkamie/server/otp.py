"""One-time codes: proof that somebody reads an e-mail address, used up by signing up.

none ──generate──► issued ──right code──► verified ──sign-up──► none
                    │  ▲ generate again supersedes
                    └──five wrong codes, or ten minutes──► worthless
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

import msgspec

from talkamie.contract import Otp, OtpCheck, OtpRequest
from talkamie.server.registry import operation
from talkamie.server.security import email_key
from talkamie.server.service import Call, Problem
from talkamie.server.store import Session

DIGITS = 4
VALID_MS = 10 * 60 * 1000
MAX_TRIES = 5
RESEND_MS = 60 * 1000


@operation("generate-otp")
async def generate(call: Call, *, body: OtpRequest) -> Otp:
    """Issue a code; an earlier one is worthless from now on."""
    email = email_key(body.email)
    if call.service.settings.otp_resend_limit:
        issued = await call.db.value("select issued from otps where email = $1", email)
        if issued is not None and call.now - issued < RESEND_MS:
            wait_s = -(-(RESEND_MS - (call.now - issued)) // 1000)
            raise Problem(429, f"A new code can be sent in {wait_s} s.", retry_after_s=wait_s)
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
    await call.db.all(
        """insert into otps (email, code, status, tries, issued) values ($1, $2, 'issued', 0, $3)
        on conflict (email) do update set code = excluded.code, status = 'issued', tries = 0,
            issued = excluded.issued, verified = null""",
        email,
        code,
        call.now,
    )
    return Otp(otp=code if call.service.settings.stage == "dev" else msgspec.UNSET)


@operation("verify-otp")
async def verify(call: Call, *, body: OtpCheck) -> dict[str, Any]:
    """Mark the address as verified if the code is right; count the try in any case."""
    email = email_key(body.email)
    code = body.code if isinstance(body.code, str) else _digits(body.code)
    # One statement counts and reads, so that two tries at once are two tries.
    row = await call.db.one(
        """update otps set tries = tries + 1
        where email = $1 and status = 'issued' and issued > $2 and tries < $3 returning code""",
        email,
        call.now - VALID_MS,
        MAX_TRIES,
    )
    if row is None:
        tries = await call.db.value("select tries from otps where email = $1 and status = 'issued'", email)
        if tries is not None and tries >= MAX_TRIES:
            raise Problem(429, "Too many wrong codes. Ask for a new one.")
        raise Problem(422, "The code is wrong or has expired.")
    if not hmac.compare_digest(row["code"].encode(), code.encode()):
        raise Problem(422, "The code is wrong or has expired.")
    # Of two right tries at once one wins, and none verifies a code that came in between.
    verified = await call.db.value(
        """update otps set status = 'verified', verified = $2
        where email = $1 and status = 'issued' and code = $3 returning email""",
        email,
        call.now,
        row["code"],
    )
    if verified is None:
        raise Problem(422, "The code is wrong or has expired.")
    return {}


def _digits(code: int) -> str:
    """Return a code that came as a number, with its leading zeros; one that cannot be a code as none."""
    return f"{code:0{DIGITS}d}" if 0 <= code < 10**DIGITS else ""


async def is_verified(db: Session, email: str, now: int) -> bool:
    """Tell whether `email` (its one spelling) may sign up."""
    sql = "select 1 from otps where email = $1 and status = 'verified' and verified > $2"
    return await db.value(sql, email, now - VALID_MS) is not None


async def consume(db: Session, email: str, now: int) -> bool:
    """Use the verification up; tell whether there was one. Of two at once, one succeeds."""
    sql = "delete from otps where email = $1 and status = 'verified' and verified > $2 returning email"
    return await db.value(sql, email, now - VALID_MS) is not None
