"""A frame finds whoever waits for it, and whatever the other side does ends in a word, never in a hang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.queue import Queue
from websockets.frames import Frame, Opcode

from loadtests import clock
from loadtests.link import Link, LinkError, NoAnswer
from talkamie.contract import (
    MAX_MESSAGE_BYTES,
    Action,
    Alert,
    AlertData,
    GetMessages,
    MessageData,
    MessageText,
    SendMessage,
)
from tests.patched.peer import Peer, listening

SOON = 5.0
SHORT = 0.05


class Pair:
    """A connected link and its peer; what was pushed and how it ended."""

    def __init__(self) -> None:
        self.peer: Peer
        self.pushes: list[tuple[str, Any, int, int]] = []
        self.ends: Queue[tuple[int, str]] = Queue()
        self.link = Link(
            lambda *push: self.pushes.append(push), lambda code, reason: self.ends.put((code, reason))
        )

    def later(self, request: Callable[[], Any]) -> gevent.Greenlet[[], Any]:
        """Begin a request without waiting for it."""
        return gevent.spawn(request)

    def settle(self) -> None:
        """Wait until the link has read all that the peer has sent so far."""
        done = self.later(lambda: self.link.request(Action(action="ping"), timeout=SOON))
        while self.peer.heard() != {"action": "ping"}:
            pass
        self.peer.send(action="ping", success=True)
        done.get(timeout=SOON)


@contextmanager
def connected() -> Iterator[Pair]:
    """Connect a link with a peer of this process."""
    pair, peers = Pair(), Queue[Peer]()

    def handle(connection: socket.socket) -> None:
        peer = Peer(connection)
        peers.put(peer)
        peer.serve()

    with listening(handle) as url:
        pair.link.connect(url, None, timeout=SOON)
        pair.peer = peers.get(timeout=SOON)
        yield pair
        pair.link.close(timeout=SHORT)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A connected pair."""
    with connected() as pair:
        yield pair


def message(text: str, number: int = 1) -> dict[str, Any]:
    return {"chat": {"id": "c1"}, "message": {"id": f"m{number}", "text": text, "sender": {"id": "u1"}}}


def send(text: str) -> SendMessage:
    return SendMessage(action="send-message", chat_id="c1", message=MessageText(text=text))


def test_an_answer_brings_its_data_and_its_instants(pair: Pair) -> None:
    """Sent before arrived before seen, the size in bytes, and data of the contract's type."""
    before = clock.now()
    asked = pair.later(lambda: pair.link.request(send("hi"), timeout=SOON))
    assert pair.peer.heard()["action"] == "send-message"
    pair.peer.send(action="send-message", success=True, data=message("hi"))
    received = asked.get(timeout=SOON)
    assert isinstance(received.data, MessageData)
    assert before <= received.sent <= received.arrived <= received.seen <= clock.now()
    assert received.size > 50


def test_the_instant_of_sending_is_told_before_anything_is_written(pair: Pair) -> None:
    """on_send hears the very instant that the answer reports."""
    told: list[int] = []
    asked = pair.later(lambda: pair.link.request(send("hi"), timeout=SOON, on_send=told.append))
    pair.peer.heard()
    pair.peer.send(action="send-message", success=True, data=message("hi"))
    assert [asked.get(timeout=SOON).sent] == told


def test_answers_find_their_requests_by_content_not_by_order(pair: Pair) -> None:
    """Two messages under way, answered the other way round: each gets its own."""

    def ask(text: str) -> Any:
        where = lambda data: data.message.text == text  # noqa: E731
        return pair.later(lambda: pair.link.request(send(text), timeout=SOON, where=where))

    first, second = ask("one"), ask("two")
    pair.peer.heard(), pair.peer.heard()
    pair.peer.send(action="send-message", success=True, data=message("two"))
    pair.peer.send(action="send-message", success=True, data=message("one"))
    assert first.get(timeout=SOON).data.message.text == "one"
    assert second.get(timeout=SOON).data.message.text == "two"


def test_somebody_elses_update_with_the_same_action_is_a_push(pair: Pair) -> None:
    """update-messages comes to everybody: what the waiter does not accept is not its answer."""
    asked = pair.later(
        lambda: pair.link.expect(
            "update-messages", timeout=SOON, where=lambda data: "mine" in data.messages_map
        )
    )
    gevent.sleep(0)
    for key in ("theirs", "mine"):
        data = {"chat": {"id": "c1"}, "messagesMap": {key: {"id": key}}}
        pair.peer.send(action="update-messages", success=True, data=data)
    assert set(asked.get(timeout=SOON).data.messages_map) == {"mine"}
    assert [set(push[1].messages_map) for push in pair.pushes] == [{"theirs"}]


def test_a_refusal_goes_to_the_oldest_who_asked_that(pair: Pair) -> None:
    """A frame that says no has nothing but its action."""
    asked = [pair.later(lambda: pair.link.request(send("x"), timeout=SOON)) for _ in range(2)]
    pair.peer.heard(), pair.peer.heard()
    pair.peer.send(action="send-message", success=False, statusCode=403, message="not yours")
    pair.peer.send(action="send-message", success=True, data=message("x"))
    assert asked[0].get(timeout=SOON).frame.status_code == 403
    assert asked[1].get(timeout=SOON).frame.success is True


def test_a_push_is_handed_on_with_its_instants(pair: Pair) -> None:
    """Nobody asked for an alert; it arrives all the same."""
    pair.peer.send(action="alert", success=True, data={"alert": {"id": "a1", "type": "review"}})
    pair.settle()
    ((action, data, arrived, seen),) = pair.pushes
    assert action == "alert"
    assert data == AlertData(alert=Alert(id="a1", type="review"))
    assert 0 < arrived <= seen


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"{}",
        b'{"action":7}',
        b'{"action":"no-such-action","success":true}',
        b'{"action":"alert","success":true,"data":{"alert":"x"}}',
        b'{"action":"alert","success":true}',
        b'{"message":"Internal server error","connectionId":"x","requestId":"y"}',
        b'{"action":"alert","success":false}',
        b'{"action":"new-message","success":true,"data":{"chat":{}}}',
        b'{"action":"ping","success":true,"data":' + b"[" * 100_000,
    ],
)
def test_a_frame_that_is_not_of_the_contract_is_counted_and_survived(pair: Pair, payload: bytes) -> None:
    """It is nobody's answer and nobody's push, and the next good frame still finds its way."""
    pair.peer.raw(Frame(Opcode.TEXT, payload))
    pair.settle()
    assert pair.link.strange == 1
    assert pair.pushes == []


def test_fragments_and_pings_between_them_make_one_message(pair: Pair) -> None:
    """A message in three pieces with a ping inside arrives as one."""
    asked = pair.later(lambda: pair.link.ping(timeout=SOON))
    pair.peer.heard()
    pair.peer.raw(
        Frame(Opcode.TEXT, b'{"action":', fin=False),
        Frame(Opcode.PING, b"?"),
        Frame(Opcode.CONT, b'"ping",', fin=False),
        Frame(Opcode.CONT, b'"success":true}'),
    )
    assert asked.get(timeout=SOON).frame.action == "ping"


def test_no_answer_in_time_is_said_so_and_forgotten(pair: Pair) -> None:
    """The waiter is gone: an answer that comes too late is strange, not somebody else's."""
    with pytest.raises(NoAnswer):
        pair.link.request(send("x"), timeout=SHORT)
    pair.peer.heard()
    pair.peer.send(action="send-message", success=True, data=message("x"))
    pair.settle()
    assert pair.link.strange == 1


def test_a_close_by_the_target_ends_all_waiting_with_its_code(pair: Pair) -> None:
    """Whoever waits hears of it at once, and so does the owner."""
    asked = pair.later(lambda: pair.link.request(send("x"), timeout=SOON))
    pair.peer.heard()
    pair.peer.close(4401, "token revoked")
    with pytest.raises(LinkError, match="closed with 4401"):
        asked.get(timeout=SOON)
    assert pair.ends.get(timeout=SOON) == (4401, "token revoked")
    with pytest.raises(LinkError, match="4401"):
        pair.link.ping(timeout=SOON)


def test_a_connection_that_breaks_is_told_from_one_that_is_closed(pair: Pair) -> None:
    """No close frame, no code."""
    pair.peer.socket.close()
    code, _ = pair.ends.get(timeout=SOON)
    assert code == 0


def test_a_message_over_the_limit_ends_the_connection(pair: Pair) -> None:
    """The size is checked before the payload is taken in: close code 1009 goes out."""
    pair.peer.raw(Frame(Opcode.TEXT, b"x" * (MAX_MESSAGE_BYTES + 1)))
    pair.ends.get(timeout=SOON)
    pair.peer.closed.wait(SOON)
    assert pair.peer.protocol.close_rcvd is not None
    assert pair.peer.protocol.close_rcvd.code == 1009


def test_what_the_target_sent_before_it_said_goodbye_still_counts(pair: Pair) -> None:
    """Closing reads on until the other side has closed too."""
    closing = pair.later(lambda: pair.link.close(timeout=SOON))
    pair.peer.send(action="alert", success=True, data={"alert": {"id": "last"}})
    closing.get(timeout=SOON)
    assert [push[1].alert.id for push in pair.pushes] == ["last"]
    assert pair.ends.empty()


def test_a_goodbye_without_an_answer_takes_no_longer_than_it_may() -> None:
    """A target that never closes does not hold anybody up."""
    with connected() as pair:
        pair.peer.protocol.receive_data = lambda data: None  # type: ignore[method-assign]
        pair.link.close(timeout=SHORT)
        assert pair.link.ended == "closed by us"


def no_answer(connection: socket.socket) -> None:
    gevent.sleep(SOON)


def hang_up(connection: socket.socket) -> None:
    connection.close()


def not_a_websocket(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    ("handle", "error", "why"),
    [
        (no_answer, NoAnswer, "connect timed out"),
        (hang_up, LinkError, "closed in the handshake|connection reset"),
        (not_a_websocket, LinkError, "websocket handshake refused"),
    ],
)
def test_a_handshake_that_fails_says_how(
    handle: Callable[[socket.socket], None], error: type[Exception], why: str
) -> None:
    """Silence, a closed door, another protocol: each has its name."""
    link = Link(lambda *push: None, lambda *end: None)
    with listening(handle) as url, pytest.raises(error, match=why):
        link.connect(url, None, timeout=SHORT if handle is no_answer else SOON)


def test_nobody_there_is_connection_refused() -> None:
    """A port where nobody listens."""
    with listening(hang_up) as url:
        pass
    with pytest.raises(LinkError, match="connection refused"):
        Link(lambda *push: None, lambda *end: None).connect(url, None, timeout=SOON)


def test_history_of_one_chat_is_not_taken_for_anothers(pair: Pair) -> None:
    """get-messages is told apart by its chat."""
    frame = GetMessages(action="get-messages", chat_id="c2")
    asked = pair.later(
        lambda: pair.link.request(frame, timeout=SOON, where=lambda data: data.chat.id == "c2")
    )
    pair.peer.heard()
    for chat in ("c1", "c2"):
        pair.peer.send(action="get-messages", success=True, data={"chat": {"id": chat}, "messages": []})
    assert asked.get(timeout=SOON).data.chat.id == "c2"
