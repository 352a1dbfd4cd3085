"""Calls: ringing, answering, the exchange of session descriptions and candidates, talking, hanging up.

The order on the wire, A calls B: call-user → user-calling → accept-call → call-accepted → A sends the offer,
B the answer, both their candidates as they find them → both report call-connected → … → end-call →
call-ended. Sound and picture never touch this API: descriptions and candidates are synthetic, of the sizes
that the real client's had (seen: offer 1.5 KB and answer 1.4 KB with audio, 5.8 and 5.5 KB with video, four
candidates a side of about 265 bytes as frames).
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from scenarios.actor import OVERTAKEN, Actor, CallNews
from scenarios.journeys.talking import pick
from scenarios.people import Habits
from talkamie.contract import (
    LIST_PAGE,
    Action,
    Call,
    CallData,
    CallReport,
    CallStep,
    CallType,
    CallUser,
    Candidate,
    Chat,
    Id,
    SendSignal,
    Signal,
)

_SDP_BYTES = {
    ("offer", "audio"): 1400,
    ("answer", "audio"): 1300,
    ("offer", "video"): 5720,
    ("answer", "video"): 5420,
}
_CANDIDATES = 4
_CANDIDATE_BYTES = 160
_LOST_MEDIA = 0.1  # share of calls in which the sides lose and find each other again, assumed
_VIDEO = 0.4  # share of calls with a picture, assumed


def place(actor: Actor) -> None:
    """Call somebody with whom a chat is open, talk if they answer, then look at the history of calls."""
    with actor.journey("call"):
        chat = pick(actor)
        if chat is None:
            return
        _ring(actor, chat, "video" if actor.rng.random() < _VIDEO else "audio")
    look_back(actor)


def _ring(actor: Actor, chat: Chat, kind: CallType) -> None:
    """Let it ring until they answer, decline, or do neither."""
    assert chat.id is not UNSET
    with actor.step("call.answered"):
        answer = actor.ask(CallUser(action="call-user", chat_id=chat.id, type=kind), expect=OVERTAKEN)
        if answer.data is None:
            return  # one's own phone has just begun to ring
        call: Call = answer.data.call
        if call.status != "ringing":
            actor.think("call-over")
            return
        news = actor.listen("ring", "call-accepted", "call-rejected", "call-ended")
    if news is None or news.action == "call-rejected":
        _hang_up(actor, call)  # having waited long enough; after a no, the app does it by itself
    elif news.action == "call-accepted":
        _connect(actor, chat, call, "offer", kind)
        _talk(actor, call)


def pick_up(actor: Actor, habits: Habits, ringing: CallData) -> None:
    """Hear the phone ring and answer it, decline, or let it ring out."""
    call = ringing.call
    assert call.id is not UNSET
    actor.chats.setdefault(str(ringing.chat.id), Chat(id=ringing.chat.id, user=call.user))
    with actor.journey("call"):
        if actor.listen("pick-up", "call-ended") is not None:
            return  # they gave up first
        dice = actor.rng.random()
        if dice < habits.picks_up:
            accept = CallStep(action="accept-call", call_id=call.id)
            if actor.ask(accept, expect=OVERTAKEN).data is None:
                return  # they hung up in this very moment
            kind = call.type if call.type is not UNSET else "audio"
            _connect(actor, ringing.chat, call, "answer", kind)
            _talk(actor, call, hangs_up=actor.rng.random() < 0.5)
        elif dice < habits.picks_up + habits.declines or actor.listen("ring", "call-ended") is None:
            # Whoever has let it ring for long sends it away: the app shows nothing else while it rings.
            actor.ask(CallStep(action="reject-call", call_id=call.id), expect=OVERTAKEN)


def look_back(actor: Actor) -> None:
    """Open the history of calls and the newest of them."""
    with actor.journey("call-history"):
        calls: list[Call] = actor.call("get-call-histories", page_size=LIST_PAGE)
        actor.think("look")
        if calls:
            actor.call("get-call", callId=calls[0].id)


def _connect(actor: Actor, chat: Chat, call: Call, side: str, kind: CallType) -> None:
    """Exchange descriptions and candidates until both hear each other."""
    assert chat.id is not UNSET
    with actor.step("call.connected"):
        if side == "answer" and not _is(actor.listen("ring", "signal", "call-ended"), "offer"):
            return
        actor.tell(_signal(chat.id, _description(side, kind)))
        for number in range(_CANDIDATES):
            actor.tell(_signal(chat.id, _candidate(number)))
        if side == "offer" and not _is(actor.listen("ring", "signal", "call-ended"), "answer"):
            return
        _report(actor, call, "call-connected")
    if actor.rng.random() < _LOST_MEDIA:
        _report(actor, call, "call-disconnected")
        actor.think("media")
        _report(actor, call, "call-connected")


def _is(news: CallNews | None, kind: str) -> bool:
    return news is not None and isinstance(news.data, Signal) and news.data.type == kind


def _talk(actor: Actor, call: Call, *, hangs_up: bool = True) -> None:
    """Talk until the other hangs up or one has said it all."""
    ended = actor.listen("conversation", "call-ended")
    if ended is None and not hangs_up:
        ended = actor.listen("conversation", "call-ended")
    if ended is None:
        _hang_up(actor, call)
    actor.think("call-over")


def _hang_up(actor: Actor, call: Call) -> None:
    assert call.id is not UNSET
    actor.ask(CallStep(action="end-call", call_id=call.id))


def _report(actor: Actor, call: Call, action: str) -> None:
    assert call.id is not UNSET
    at = int(actor.now().timestamp() * 1000)
    actor.tell(CallReport(action=action, call_id=call.id, timestamp=at))


def _signal(chat: Id, signal: Signal) -> Action:
    return SendSignal(action="signal", chat_id=chat, signal=msgspec.Raw(msgspec.json.encode(signal)))


def _description(side: str, kind: CallType) -> Signal:
    """Return a session description of the size seen; its lines mean nothing to this API."""
    head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    line = "a=rtpmap:111 opus/48000/2\r\n"
    body = (line * (_SDP_BYTES[side, kind] // len(line) + 1))[: _SDP_BYTES[side, kind] - len(head)]
    return Signal(type="offer" if side == "offer" else "answer", sdp=head + body)


def _candidate(number: int) -> Signal:
    text = f"candidate:{number} 1 udp 2122260223 127.0.0.1 {50000 + number} typ host generation 0 ufrag "
    padded = text.ljust(_CANDIDATE_BYTES, "x")
    return Signal(candidate=Candidate(candidate=padded, sdp_mid="0", sdp_m_line_index=0))
