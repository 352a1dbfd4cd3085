"""Every frame has one sane answer, or a close that is documented; nobody else notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from talkamie.contract import ACTIONS, CLOSE_TOKEN_REVOKED, MAX_FRAME_BYTES
from tests.talkamie.conftest import ask, quiet, receive, send
from tests.talkamie.fuzzing import ODD, Watched, json_values, mutated, shaped, watched
from tests.talkamie.stores import Backend
from tests.talkamie.test_specs import validator

pytestmark = pytest.mark.end_to_end
REFUSALS = {400, 401, 403, 404, 409, 422}
PUSHED = {name for name, row in ACTIONS.items() if row.request is None}
BINARY, NOT_UTF8, TOO_BIG = 1003, 1007, 1009
BOUNDED = settings(
    max_examples=100,
    phases=[Phase.generate],  # because shrinking against a real server takes minutes
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(backend: Backend) -> Iterator[Watched]:
    with watched(backend) as server:
        yield server
        server.check()


class Subject:
    """Ann's socket, opened again whenever it was closed; Bob's, in the same chat; and a stranger's."""

    def __init__(self, server: Watched) -> None:
        self.server = server
        self.socket = server.ann.connect()
        self.friend = server.bob.connect()
        self.stranger = server.make(1)[0].connect()
        self.turn = 0

    def settle(self, answers: list[Any]) -> int | None:
        """Collect into `answers` all but pushes until a marker is answered; return the close code, if any."""
        self.turn += 1
        marker = f"marker-{self.turn}"
        try:
            send(self.socket, marker)
            while (frame := receive(self.socket)).get("action") != marker:
                if frame.get("action") in PUSHED:
                    validator(f"{frame['action']}-push").validate(frame)
                else:
                    answers.append(frame)
        except (ConnectionClosed, OSError) as closed:
            received = closed.rcvd if isinstance(closed, ConnectionClosed) else None
            self.socket = self.server.ann.connect()
            return 1006 if received is None else received.code
        return None

    def others_are_well(self) -> None:
        """Assert that the friend gets nothing but pushes, and the stranger nothing at all."""
        send(self.friend, "ping")
        while (frame := receive(self.friend))["action"] != "ping":
            validator(f"{frame['action']}-push").validate(frame)
        assert quiet(self.stranger)


@pytest.fixture(scope="module")
def subject(server: Watched) -> Subject:
    return Subject(server)


@BOUNDED
@given(data=st.data())
def test_a_frame_of_any_shape_has_one_answer(subject: Subject, data: st.DataObject) -> None:
    """Requests of the contract's types, as they are and with something in them changed."""
    name = data.draw(st.sampled_from([name for name, row in ACTIONS.items() if row.request is not None]))
    known = [*subject.server.known, subject.server.ann.token]
    schema, components = msgspec.json.schema_components([ACTIONS[name].request], ref_template="{name}")
    frame = shaped(schema[0], components, known).map(lambda fields: fields | {"action": name})
    for request in data.draw(st.lists(frame | mutated(frame), min_size=1, max_size=4)):
        text = json.dumps(request, ensure_ascii=data.draw(st.booleans()))
        if len(text.encode(errors="replace")) > MAX_FRAME_BYTES:
            continue
        answers: list[Any] = []
        subject.socket.send_text(text.encode(errors="surrogatepass"))
        code = subject.settle(answers)
        asked = request.get("action") if isinstance(request, dict) else None
        expect_sane(asked, answers, code)
    subject.others_are_well()


@BOUNDED
@given(text=st.text() | json_values.map(json.dumps) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_answered(subject: Subject, text: str) -> None:
    """What is no request at all is a 400, or the 404 of an action nobody knows."""
    answers: list[Any] = []
    subject.socket.send(text.encode(errors="ignore").decode())
    assert subject.settle(answers) is None
    (answer,) = answers
    assert answer["statusCode"] in {400, 404}


MARKS = [b'"%d":{"status":"read"}' % n for n in range(1_001)]
HOSTILE = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b'{"action":"ping","a":NaN}',
    b'{"action":"ping","a":Infinity}',
    b'{"action":"ping","a":1e999}',
    b'{"action":"ping","a":' + b"9" * 20_000 + b"}",
    b'{"action":"ping","action":"get-messages"}',
    b'{"action":"\\ud800"}',
    b'{"action":"send-message","chatId":"\\udfff","message":{"text":"\\ud800x"}}',
    b'{"action":"ping"}{"action":"ping"}',
    b'\xef\xbb\xbf{"action":"ping"}',
    b'{"action":' + b"[" * 15_000,
    b'{"a":' * 5_000,
    b'{"action":"ping",' + b",".join(b'"%d":0' % n for n in range(3_000)) + b"}",
    b'{"action":"' + b"x" * 30_000 + b'"}',
    b'{"action":"update-alerts","alertsMap":{' + b",".join(MARKS[:1_000]) + b"}}",
    b'{"action":"update-alerts","alertsMap":{' + b",".join(MARKS[:1_001]) + b"}}",
]


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda payload: repr(payload[:30]))
def test_a_hostile_text_is_answered(subject: Subject, payload: bytes) -> None:
    """Numbers, depth, doubled keys, surrogates, thousands of fields: one answer, and the socket stays."""
    answers: list[Any] = []
    subject.socket.send_text(payload)
    assert subject.settle(answers) is None
    (answer,) = answers
    assert answer["statusCode"] in {200, *REFUSALS}
    subject.others_are_well()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"\x00", BINARY, id="binary"),
        pytest.param(b"", BINARY, id="empty binary"),
        pytest.param(json.dumps({"action": "ping"}).encode(), BINARY, id="JSON as binary"),
        pytest.param("x" * (MAX_FRAME_BYTES + 1), TOO_BIG, id="huge"),
    ],
)
def test_what_is_no_text_frame_closes(subject: Subject, payload: bytes | str, code: int) -> None:
    """With the code that says why."""
    subject.socket.send(payload)
    assert subject.settle([]) == code
    subject.others_are_well()


@pytest.mark.parametrize(
    "payload", [b"\xff", b'{"action":"\xed\xa0\x80"}', b"\xc0\x80", b'{"action":"ping"}\xf0']
)
def test_text_that_is_no_utf8_closes(subject: Subject, payload: bytes) -> None:
    """Bytes that are nobody's, a surrogate, an overlong form, half a character: 1007."""
    subject.socket.send_text(payload)
    assert subject.settle([]) == NOT_UTF8
    subject.others_are_well()


def test_odd_values_in_every_field_of_every_action(subject: Subject) -> None:
    """Each field once with each value that ever hurt anybody."""
    server = subject.server
    for name, row in ACTIONS.items():
        if row.request is None:
            continue
        fields = {
            "chatId": server.chat,
            "token": server.ann.token,
            "message": {"text": "hi"},
            "messagesMap": {server.known[4]: {"status": "read"}},
            "alertsMap": {server.known[5]: {"status": "read"}},
        }
        names = [field for field in row.request.__struct_encode_fields__ if field != "action"]
        for field in names:
            for value in ODD:
                answers: list[Any] = []
                frame = {one: fields.get(one, "x") for one in names if one in fields} | {field: value}
                send(subject.socket, name, **frame)
                expect_sane(name, answers, subject.settle(answers))
    subject.others_are_well()


def test_a_stranger_to_the_protocol_costs_nobody_anything(subject: Subject, server: Watched) -> None:
    """Sockets that never authenticate may talk nonsense; they get nothing, and keep what they have."""
    anonymous = server.ann.connect(authenticate=False)
    for value in ODD:
        anonymous.send(json.dumps({"action": value}))
        answer = receive(anonymous)
        assert answer["statusCode"] in REFUSALS
    assert ask(anonymous, "ping")["success"]
    subject.others_are_well()


def expect_sane(asked: Any, answers: list[Any], code: int | None) -> None:
    """Assert that there is one answer of the document's shape, or a close that the action may have."""
    if code is not None:
        assert (asked, code) == ("authenticate", CLOSE_TOKEN_REVOKED)
        assert [answer["statusCode"] for answer in answers] == [401]
        return
    if not answers and asked in ACTIONS and ACTIONS[asked].silent:
        return  # it has no answer but a failure
    (answer,) = answers
    if answer["success"]:
        validator(f"{asked}-answer").validate(answer)
    else:
        validator("failure").validate(answer)
        assert answer["statusCode"] in REFUSALS
        assert answer.get("action") in (None, asked)
