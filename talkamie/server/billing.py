"""What calls cost where `--billing` is on, and the book of everybody's coins.

A caller pays a coin for every 2.4 s in which either side has media, and the callee earns it. Both are settled
when the call ends, in its transaction; a call whose caller has talked all his coins away is over as of then.

A balance is always the sum of the book: what is bought and earned, less what is withdrawn. A call is a
withdrawal of its caller, with the intent `call`, because the contract has no fourth type.
"""

from __future__ import annotations

from talkamie.contract import UserData
from talkamie.server.profiles import own
from talkamie.server.service import Call, Problem, Service
from talkamie.server.store import Row, Session

COIN_MS = 2400


async def expect_coins(call: Call) -> None:
    """Raise 403 where calls are billed and the caller has no coin."""
    if not call.service.settings.billing:
        return
    if not await call.db.value("select coins from users where id = $1", call.me):
        raise Problem(403, "You have no coins left. Buy some before you call.")


async def spent(db: Session, now: int, limit: int) -> list[tuple[str, int]]:
    """Return the calls whose callers have no coins left for them: (id, when the last one was spent)."""
    rows = await db.all(
        """select k.id, k.up_since, k.up_since - k.talked + u.coins * $1 as until
        from busy b join calls k on k.id = b.call_id join users u on u.id = k.caller_id
        where b.user_id = k.caller_id and k.up_since - k.talked + u.coins * $1 <= $2 limit $3""",
        COIN_MS,
        now,
        limit,
    )
    # Coins that were paid out during the call are missing for what was talked already.
    return [(row["id"], max(row["until"], row["up_since"])) for row in rows]


async def settle(db: Session, call: Row, now: int) -> bool:
    """Pay for a call that ends, inside the caller's transaction; tell whether it cost anything."""
    balance: int = await db.value("select coins from users where id = $1", call["caller_id"])
    coins = min(call["talked"] // COIN_MS, balance)
    if coins == 0:
        return False
    for user, kind, change in (
        (call["caller_id"], "withdrawal", -coins),
        (call["callee_id"], "earning", coins),
    ):
        await db.all("update users set coins = coins + $2 where id = $1", user, change)
        await book(db, user, kind, "call", coins, now, status="complete")
    return True


async def tell(service: Service, db: Session, call: Row, now: int, accepted: int) -> None:
    """Push both parties what they have now, where the action for it is served."""
    if not service.settings.extras:
        return
    for user in (call["caller_id"], call["callee_id"]):
        data = UserData(user=await own(db, user, now))
        service.hub.push(user, "update-user", data, (user,), accepted=accepted)


async def book(
    db: Session,
    user: str,
    kind: str,
    intent: str,
    coins: int,
    now: int,
    *,
    status: str = "pending",
    payment: str | None = None,
) -> str:
    """Write a transaction down and return its id; the balance is the caller's to change."""
    identity = db.new_id(now)
    await db.all(
        """insert into transactions (id, user_id, type, intent, status, coins, payment, created)
        values ($1, $2, $3, $4, $5, $6, $7, $8)""",
        identity,
        user,
        kind,
        intent,
        status,
        coins,
        payment,
        now,
    )
    return identity
