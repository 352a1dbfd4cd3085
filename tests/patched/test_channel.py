"""Only who has the secret is heard, once, in one direction and in their own name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zmq.green as zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.rpc.protocol import Message

from loadtests import channel
from loadtests.channel import TO_MASTER, TO_WORKER, Forged, Seal, SecretError, message_of, read_secret

SECRET = b"a secret of some length"


def ends(secret: bytes = SECRET) -> tuple[Seal, Seal]:
    """Return a worker's and a master's end."""
    return Seal(secret, TO_MASTER, TO_WORKER), Seal(SECRET, TO_WORKER, TO_MASTER)


@given(st.lists(st.binary(max_size=60), max_size=9))
def test_what_was_sealed_is_read_as_it_was_written(messages: list[bytes]) -> None:
    """Both ways, in order."""
    worker, master = ends()
    assert [master.open(b"w", worker.close(b"w", each)) for each in messages] == messages
    assert [worker.open(b"w", master.close(b"w", each)) for each in messages] == messages


@settings(max_examples=300)
@given(st.binary(max_size=40), st.data())
def test_a_changed_byte_a_cut_or_any_bytes_are_forged(message: bytes, data: st.DataObject) -> None:
    """Nothing but the frame itself is read."""
    worker, master = ends()
    frame = bytearray(worker.close(b"w", message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(frame), bytes(frame[:at]), data.draw(st.binary(max_size=90))):
        with pytest.raises(Forged):
            master.open(b"w", bad)


def test_what_is_hidden_is_read_with_the_secret_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not to be seen in what is sent, and whoever has another secret is told that it is forged."""
    monkeypatch.setattr(channel, "secret", SECRET)
    hidden = channel.hide(b"a password")
    assert b"password" not in hidden
    assert channel.reveal(hidden) == b"a password"
    monkeypatch.setattr(channel, "secret", b"another secret, as long")
    with pytest.raises(Forged):
        channel.reveal(hidden)


def test_another_secret_worker_or_direction_is_forged() -> None:
    """A frame is good for one worker and one way."""
    stranger, master = ends(b"another secret, as long")
    with pytest.raises(Forged):
        master.open(b"w", stranger.close(b"w", b"x"))
    worker, _ = ends()
    with pytest.raises(Forged):
        master.open(b"v", worker.close(b"w", b"x"))
    with pytest.raises(Forged):
        master.open(b"w", master.close(b"w", b"x"))


def test_what_was_heard_is_not_heard_again() -> None:
    """Neither the last frame, nor an older one, nor one of another process under the same name."""
    worker, master = ends()
    frames = [worker.close(b"w", b"x") for _ in range(3)]
    master.open(b"w", frames[0])
    master.open(b"w", frames[2])
    for frame in (*frames, ends()[0].close(b"w", b"x")):
        with pytest.raises(Forged):
            master.open(b"w", frame)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x93\x01", b"\x01", b"\x92\xa1a\x01", b"\x93\xa4quit\xc0\xa1v"]
)
def test_what_is_sealed_but_no_message_or_in_anothers_name_is_forged(data: bytes) -> None:
    """Locust's own listener would end for good at most of these."""
    with pytest.raises(Forged):
        message_of(b"w", data)


def test_junk_at_the_port_does_not_keep_the_next_message_from_being_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is counted; messages go both ways after it."""
    monkeypatch.setattr(channel, "secret", SECRET)
    monkeypatch.setattr(channel, "traffic", channel.Traffic())
    server = channel.Server("127.0.0.1", 0)
    client = channel.Client("127.0.0.1", server.port, "w")
    context: Any = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    try:
        stranger.connect(f"tcp://127.0.0.1:{server.port}")
        for junk in (b"", b"\xc1", b"x" * 100):
            stranger.send(junk)
        stranger.send_multipart([b"one", b"two"])
        while stranger.poll(0, zmq.POLLOUT) == 0:
            pass
        client.send(Message("hello", {"n": 1}, "w"))
        who, said = server.recv_from_client()
        assert (who, said.type, said.data) == ("w", "hello", {"n": 1})
        server.send_to_client(Message("welcome", None, "w"))
        assert client.recv().type == "welcome"
        while channel.traffic.refused < 4:
            client.send(Message("again", None, "w"))
            server.recv_from_client()
        assert channel.traffic.refused == 4
    finally:
        for each in (stranger, server, client):
            each.close(linger=0)
        context.term()


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [("short", 0o600, "at least 16"), ("x" * 16, 0o640, "chmod 600"), ("x" * 16, 0o604, "chmod 600")],
)
def test_a_secret_that_is_none_is_refused_by_its_file(tmp_path: Path, text: str, mode: int, why: str) -> None:
    """Too short, or for others to read."""
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(SecretError, match=why) as refusal:
        read_secret(str(file))
    assert str(file) in str(refusal.value)
    assert text * 2 not in str(refusal.value)


def test_a_secret_is_the_files_text(tmp_path: Path) -> None:
    """Without the line's end; a missing file is told."""
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o600)
    assert read_secret(str(file)) == SECRET
    with pytest.raises(SecretError, match="No such file"):
        read_secret(str(tmp_path / "none"))
