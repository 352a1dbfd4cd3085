"""Locust's channel between master and workers, with a seal on every message that passes.

Rules: a message counts only if whoever sent it has the secret, if it was sealed for this direction and this
worker, and if it is newer than the last. Whatever else comes to the port is left alone and counted, and never
stops anybody: Locust's own listener ends for good at the first bytes that are not a message of its own.

A frame is MAC (32 bytes) + session (16) + number (8, big endian) + message. The MAC is HMAC-SHA-256 (RFC
2104) over direction, worker, session, number and message. A session is a process that sends: of each worker,
and of a master, the first one that is heard is the only one. Who listens can read the messages, but not what
was hidden in them.

Without a secret, which only a master on loopback may be, the seal keeps out accidents but nobody.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq
from cryptography.fernet import Fernet, InvalidToken
from locust.exception import RPCError
from locust.rpc import zmqrpc
from locust.rpc.protocol import Message

TO_MASTER, TO_WORKER = b"m", b"w"
_HIDDEN = b"what is hidden"  # what the key for it is made with, so that it is another than the seal's
SHORTEST = 16  # characters of a secret
LARGEST = 64 << 20  # bytes of a message
_MAC, _SESSION, _NUMBER = 32, 16, 8


class SecretError(Exception):
    """A secret that can't be used; the message says which file and why."""


class Forged(Exception):
    """Bytes that are no message for us."""


def read_secret(path: str) -> bytes:
    """Return the secret in a file. Raises SecretError where it is short, or others may read it."""
    try:
        file, text = Path(path).stat(), Path(path).read_bytes().strip()
    except OSError as error:
        raise SecretError(f"--secret-file {path}: {error.strerror}") from None
    # A group may read what is not ours: that is how a mounted secret is given to us.
    others = stat.S_IROTH | (stat.S_IRGRP if file.st_uid == os.geteuid() else 0)
    if file.st_mode & others:
        raise SecretError(f"--secret-file {path}: others may read it: chmod 600 {path}")
    if len(text) < SHORTEST:
        raise SecretError(
            f"--secret-file {path}: {len(text)} characters, expected at least {SHORTEST}:"
            f" openssl rand -hex 32 > {path}"
        )
    return text


class Seal:
    """Seals what one process sends, and opens what it gets."""

    def __init__(self, secret: bytes, sends: bytes, receives: bytes) -> None:
        """`sends` and `receives` are the directions: TO_MASTER and TO_WORKER, either way round."""
        self._secret, self._sends, self._receives = secret, sends, receives
        self._session = secrets.token_bytes(_SESSION)
        self._sent = 0
        self._heard: dict[bytes, tuple[bytes, int]] = {}  # worker -> session and number of the last message

    def close(self, worker: bytes, message: bytes) -> bytes:
        """Return the frame for a message to, or of, a worker."""
        self._sent += 1
        head = self._session + self._sent.to_bytes(_NUMBER, "big")
        return self._mac(self._sends, worker, head, message) + head + message

    def open(self, worker: bytes, frame: bytes) -> bytes:
        """Return the message in a frame. Raises Forged."""
        mac, head = frame[:_MAC], frame[_MAC : _MAC + _SESSION + _NUMBER]
        message = frame[_MAC + _SESSION + _NUMBER :]
        if len(head) < _SESSION + _NUMBER:
            raise Forged("too short")
        if not hmac.compare_digest(mac, self._mac(self._receives, worker, head, message)):
            raise Forged("not sealed with our secret")
        session, number = head[:_SESSION], int.from_bytes(head[_SESSION:], "big")
        known, last = self._heard.get(worker, (session, 0))
        if session != known or number <= last:
            raise Forged("heard before, or of another process")
        self._heard[worker] = session, number
        return message

    def _mac(self, direction: bytes, worker: bytes, head: bytes, message: bytes) -> bytes:
        return hmac.digest(
            self._secret,
            b"".join((direction, len(worker).to_bytes(4, "big"), worker, head, message)),
            "sha256",
        )


def hide(what: bytes) -> bytes:
    """Return it for a message in a form that only who has the secret can read: a Fernet token."""
    return _fernet().encrypt(what)


def reveal(hidden: bytes) -> bytes:
    """Return what `hide` was given. Raises Forged."""
    try:
        return _fernet().decrypt(hidden)
    except InvalidToken:
        raise Forged("not hidden with our secret") from None


def _fernet() -> Fernet:
    return Fernet(urlsafe_b64encode(hmac.digest(secret, _HIDDEN, "sha256")))


class Traffic:
    """What came to this process: counted, and told to whoever watches."""

    def __init__(self) -> None:
        self.refused = 0
        self.on_message: Callable[[], object] = lambda: None


secret = b""
"""Of this process; set before Locust makes its runner."""

traffic = Traffic()


def use_secret(path: str) -> str:
    """Take the secret from a file, for all that is sent and heard from here on. Raises SecretError."""
    global secret
    secret = read_secret(path) if path else b""
    return path


def message_of(worker: bytes, message: bytes) -> Message:
    """Return a message of Locust's. Raises Forged where it is none, or says that it is another worker's."""
    try:
        found: Message = Message.unserialize(message)
    except Exception as error:  # whatever msgpack makes of it
        raise Forged(f"not a message: {type(error).__name__}") from None
    if not isinstance(found.type, str) or found.node_id != worker.decode("utf-8", "replace"):
        raise Forged("of one worker in the name of another")
    return found


class Server(zmqrpc.Server):
    """A master's end."""

    def __init__(self, host: str, port: int) -> None:
        """See Locust's, but for the largest message, which must be set before. Raises its RPCError."""
        self._seal = Seal(secret, TO_WORKER, TO_MASTER)
        zmqrpc.BaseSocket.__init__(self, zmq.ROUTER, self.ipv4_only(host, port))
        self.socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        try:
            if port:
                self.socket.bind(f"tcp://{host}:{port}")
            self.port = port or self.socket.bind_to_random_port(f"tcp://{host}")
        except zmq.ZMQError as error:
            raise RPCError(f"Socket bind failure: {error}") from error

    def send_to_client(self, msg: Any) -> None:
        """See Locust's. To a worker that is gone nothing is sent."""
        worker = msg.node_id.encode()
        self.socket.send_multipart([worker, self._seal.close(worker, msg.serialize())])

    def recv_from_client(self) -> tuple[str, Any]:
        """See Locust's: the next message that is genuine."""
        while True:
            try:
                frames = self.socket.recv_multipart()
                if len(frames) != 2:
                    raise Forged("not one frame")
                found = message_of(frames[0], self._seal.open(*frames))
            except Forged:
                traffic.refused += 1
            except zmq.ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            else:
                traffic.on_message()
                return found.node_id, found


class Client(zmqrpc.Client):
    """A worker's end."""

    def __init__(self, host: str, port: int, identity: str) -> None:
        self._seal = Seal(secret, TO_MASTER, TO_WORKER)
        self._worker = identity.encode()
        super().__init__(host, port, identity)
        self.socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        self.socket.setsockopt(zmq.LINGER, 2000)  # ms: whoever leaves must not hang on a master that is gone

    def send(self, msg: Any) -> None:
        """See Locust's. What a full queue has no room for is dropped: the next snapshot tells it again."""
        try:
            self.socket.send(self._seal.close(self._worker, msg.serialize()), zmq.NOBLOCK)
        except zmq.Again:
            traffic.refused += 1

    def recv(self) -> Any:
        """See Locust's: the next message that is genuine."""
        while True:
            try:
                found = message_of(self._worker, self._seal.open(self._worker, self.socket.recv()))
            except Forged:
                traffic.refused += 1
            except zmq.ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            else:
                traffic.on_message()
                return found


def install() -> None:
    """Have Locust use these."""
    vars(zmqrpc).update(Server=Server, Client=Client)
