"""Alerts: what happened while you looked elsewhere. Kept as they were pushed.

An alert is stored inside the transaction of its cause and pushed after it, so that a receiver never hears of
something that did not happen.
"""

from __future__ import annotations

import msgspec

from talkamie.contract import Alert, AlertData, AlertsUpdate, Page, ReadMark, UpdateAlerts, Viewer
from talkamie.server.hub import success
from talkamie.server.registry import action, operation
from talkamie.server.service import Call, Cursor, Paged, Problem, cursor, iso, page
from talkamie.server.store import Session, marks

_decode = msgspec.json.Decoder(Alert).decode
_encode = msgspec.json.Encoder().encode


@operation("get-alerts")
async def get_alerts(call: Call, *, query: Page) -> Paged[list[Alert]]:
    """Return my alerts, newest first."""
    before = cursor(query)
    rows, pagination = page(
        await call.db.all(
            """select id, payload, status, created from alerts where user_id = $1 and id < $2
            order by id desc limit $3""",
            call.me,
            "~" if before is None else before.id,
            query.page_size + 1,
        ),
        query.page_size,
        lambda row: Cursor(id=row["id"], date_created=iso(row["created"])),
    )
    alerts = [_decode(row["payload"]) for row in rows]
    for alert, row in zip(alerts, rows, strict=True):
        if row["status"] == "read":
            alert.status = "read"
    return Paged(alerts, pagination)


@action("update-alerts")
async def update_alerts(call: Call, *, body: UpdateAlerts) -> AlertsUpdate:
    """Mark my alerts as read; somebody else's are none of mine, and not found."""
    ids = list(body.alerts_map)
    rows = await call.db.all(
        f"""update alerts set status = 'read' where user_id = $1 and id in ({marks(len(ids), first=2)})
        returning id""",  # noqa: S608 - only numbered marks are put in
        call.me,
        *ids,
    )
    if not rows:
        raise Problem(404, "There is no such alert.")
    unread = await total_unread(call.db, call.me)
    return AlertsUpdate(
        alerts_map={row["id"]: ReadMark(status="read") for row in rows},
        viewer=Viewer(id=call.me, total_unread_alerts=unread),
    )


async def total_unread(db: Session, user: str) -> int:
    count: int = await db.value("select count(*) from alerts where user_id = $1 and status is null", user)
    return count


async def store(db: Session, user: str, alert: Alert, now: int) -> str:
    """Keep a new alert for `user` and return its id. Fills in the alert's id and timestamp."""
    alert.id = identity = db.new_id(now)
    alert.timestamp = iso(now)
    await db.all(
        "insert into alerts (id, user_id, payload, created) values ($1, $2, $3, $4)",
        identity,
        user,
        _encode(alert).decode(),
        now,
    )
    return identity


async def withdraw(db: Session, user: str, identity: str | None, alert: Alert, now: int) -> None:
    """Delete an alert whose cause is gone; `alert`, pushed under its id, tells the client to do so too."""
    if identity is None:
        raise ValueError("an alert that was never stored cannot be withdrawn")
    alert.id, alert.timestamp = identity, iso(now)
    await db.all("delete from alerts where id = $1 and user_id = $2", identity, user)


def push(call: Call, user: str, alert: Alert) -> None:
    """Push a stored alert to every socket of `user`."""
    frame = success("alert", AlertData(alert=alert))
    call.service.hub.deliver(user, "alert", frame, (str(alert.id),), accepted=call.accepted)
