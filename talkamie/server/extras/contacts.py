"""Chats and connections: those that wait for an answer, a message over https, and an end."""

from __future__ import annotations

from talkamie.contract import Chat, MessageData, MessageText, Search
from talkamie.server import chats, messages
from talkamie.server.registry import operation
from talkamie.server.service import Call, Paged, Problem, pair


@operation("get-pending-chats")
async def get_pending_chats(call: Call, *, query: Search) -> Paged[list[Chat]]:
    """Return my chats that a message request is to open, the one with the latest activity first."""
    return await chats.pending(call, query)


@operation("post-message")
async def post_message(call: Call, chat_id: str, *, body: MessageText) -> MessageData:
    """Send a message without a socket; the other member is pushed to as ever."""
    return await messages.say(call, chat_id, body.text)


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
