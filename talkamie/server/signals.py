"""Signals: how two browsers find each other. Relayed as they are, to the other member of the chat alone.

A sender never gets his own signal back, because his client would take it for the other's.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from talkamie.contract import MAX_SIGNAL_BYTES, Chat, SendSignal, Signal, SignalData
from talkamie.server import messages
from talkamie.server.registry import action
from talkamie.server.service import Call, Problem, failure_text, text_id

_decode = msgspec.json.Decoder(Signal).decode


@action("call-signal")
@action("signal")
async def signal(call: Call, *, body: SendSignal) -> None:
    """Hand a signal to the other member's sockets, byte for byte. 413 for one too long for a frame."""
    chat_id = text_id(body.chat_id)
    other = await messages.open_member(call, chat_id)
    raw = bytes(body.signal)
    if len(raw) > MAX_SIGNAL_BYTES:
        raise Problem(413, f"A signal may have {MAX_SIGNAL_BYTES} bytes, this one has {len(raw)}.")
    _expect_signal(raw)
    data = SignalData(chat=Chat(id=chat_id), signal=msgspec.Raw(raw))
    call.service.hub.push(other, body.action, data, (chat_id,), accepted=call.accepted)


def _expect_signal(raw: bytes) -> None:
    """Raise 400 for what is neither a session description nor a candidate."""
    try:
        found = _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Problem(400, f"signal: {failure_text(error)}") from error
    described = (found.type is not UNSET, found.sdp is not UNSET)
    if described != ((True, True) if found.candidate is UNSET else (False, False)):
        raise Problem(400, "signal: either type and sdp, or a candidate")
