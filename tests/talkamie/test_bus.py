"""The bus: every message arrives once, whole and in order, on each adapter against the real thing."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkamie.server.bus import Answer, Bus, BusError, Deliver, InProcess, Message, make_bus
from talkamie.server.bus.packets import MAX_WAITING_BYTES, Gap, Inbox, Outbox
from tests.talkamie.stores import binaries, postgresql

COUNT = 3
WAIT_S = 20
Make = Callable[[int, Path], Bus]


@contextmanager
def nats_server() -> Iterator[str]:
    """Start a nats-server on a free port of loopback; yield its address."""
    program = shutil.which("nats-server") or "/usr/sbin/nats-server"
    if not Path(program).exists():
        pytest.skip("nats-server is not installed here (Debian: apt-get install nats-server)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        while "Server is ready" not in (line := process.stderr.readline()):
            assert line, "nats-server ended"
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module", params=["unix", "postgresql", "nats"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """What `--bus` is told, for each adapter."""
    if request.param == "unix":
        yield "unix"
    elif request.param == "nats":
        with nats_server() as found:
            yield found
    else:
        programs = binaries()
        if programs is None:
            pytest.skip(
                "PostgreSQL's own programs are not installed here (Debian: apt-get install postgresql)"
            )
        with postgresql(programs) as cluster:
            yield cluster.url("bus")


def push(number: int, size: int) -> Deliver:
    return Deliver("bob", "new-message", b"x" * size, str(number), 1, 2)


def test_every_message_arrives_once_and_in_order(url: str) -> None:
    """From each process to each other, of any size, whatever the others publish."""
    sizes = random.Random(7)
    wanted = [push(n, sizes.choice((0, 10, 500, 8_000, 130_000))) for n in range(150)]

    async def work(folder: Path) -> dict[tuple[int, int], list[Message]]:
        buses = [make_bus(url, number, COUNT, folder) for number in range(COUNT)]
        heard: dict[tuple[int, int], list[Message]] = {}
        whole = asyncio.Event()

        def take(me: int, sender: int, message: Message) -> None:
            heard.setdefault((sender, me), []).append(message)
            if sum(map(len, heard.values())) == COUNT * (COUNT - 1) * len(wanted):
                whole.set()

        def failed(why: str) -> None:
            pytest.fail(why)

        for number, bus in enumerate(buses):
            await bus.open(partial(take, number), failed)
        for message in wanted:
            for bus in buses:
                for peer in bus.peers:
                    assert bus.publish(peer, message)
        await asyncio.wait_for(whole.wait(), WAIT_S)
        for bus in buses:
            await bus.close()
        return heard

    with tempfile.TemporaryDirectory(prefix="talkamie-") as folder:
        heard = asyncio.run(work(Path(folder)))
    assert set(heard) == {(one, other) for one in range(COUNT) for other in range(COUNT) if one != other}
    assert all(found == wanted for found in heard.values())


def test_too_much_is_refused_and_the_rest_arrives(tmp_path: Path) -> None:
    """A push that finds no room is refused, news is not; whoever reads late reads all that was taken."""

    async def work() -> None:
        speaker, hearer = (make_bus("unix", number, 2, tmp_path) for number in range(2))
        heard: list[Message] = []
        last = asyncio.Event()

        def take(sender: int, message: Message) -> None:
            heard.append(message)
            if isinstance(message, Answer):
                last.set()

        for bus in (speaker, hearer):
            await bus.open(take, pytest.fail)
        taken = 0
        while speaker.publish(1, push(taken, 100_000)):  # nobody reads: the loop does not turn
            taken += 1
        assert taken > MAX_WAITING_BYTES // 100_100
        assert speaker.publish(1, Answer(1))
        await asyncio.wait_for(last.wait(), WAIT_S)
        assert [each.ids for each in heard if isinstance(each, Deliver)] == [str(n) for n in range(taken)]
        assert speaker.publish(1, push(0, 1))
        for bus in (speaker, hearer):
            await bus.close()

    asyncio.run(work())


def test_a_peer_that_is_gone_is_told(tmp_path: Path) -> None:
    """Once, in a sentence."""

    async def work() -> list[str]:
        speaker, hearer = (make_bus("unix", number, 2, tmp_path) for number in range(2))
        failures: list[str] = []
        for bus in (speaker, hearer):
            await bus.open(lambda sender, message: None, failures.append)
        await hearer.close()
        for _ in range(2):
            speaker.publish(1, Answer(1))
        await speaker.close()
        return failures

    (failure,) = asyncio.run(work())
    assert failure.startswith("process 1 cannot be reached: ")


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=40),
    st.integers(11, 80),
    st.randoms(use_true_random=False),
)
def test_packets_become_the_messages_they_were(
    sent: list[tuple[int, int]], limit: int, order: random.Random
) -> None:
    """Whatever the packet's size, however the packets of several publishers are mixed."""
    boxes = {publisher: Outbox(publisher, limit) for publisher in range(3)}
    for number, (publisher, size) in enumerate(sent):
        boxes[publisher].add(push(number, size))
    inbox = Inbox()
    found: dict[int, list[int]] = {}
    while full := [box for box in boxes.values() if box.first() is not None]:
        box = order.choice(full)
        packet = box.first()
        assert packet is not None
        assert len(packet) <= limit
        box.went()
        for publisher, message in inbox.take(packet):
            assert isinstance(message, Deliver)
            found.setdefault(publisher, []).append(int(message.ids))
    for publisher, box in boxes.items():
        assert found.get(publisher, []) == [n for n, (who, _) in enumerate(sent) if who == publisher]
        assert box.waiting == 0


@pytest.mark.parametrize("numbers", [[1], [0, 0], [0, 2]])
def test_a_packet_that_is_missing_or_came_twice_is_a_gap(numbers: list[int]) -> None:
    """It is never passed over."""
    box = Outbox(0, 40)
    box.add(push(0, 200))
    packets: list[bytes] = []
    while (packet := box.first()) is not None:
        packets.append(packet)
        box.went()
    inbox = Inbox()
    with pytest.raises(Gap):
        list(chain.from_iterable(inbox.take(packets[number]) for number in numbers))


def test_the_process_alone_has_no_peers() -> None:
    """And no bus is asked for anything."""
    assert InProcess().peers == ()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://x", "is no bus known here"),
        ("nats://127.0.0.1:9", "cannot use the bus"),
        ("postgresql://127.0.0.1:9/x", "cannot use the bus"),
    ],
)
def test_a_bus_that_cannot_be_used_is_said(url: str, says: str, tmp_path: Path) -> None:
    """In one sentence, with what to do."""
    with pytest.raises(BusError, match=says):
        asyncio.run(make_bus(url, 0, 2, tmp_path).open(lambda sender, message: None, pytest.fail))
