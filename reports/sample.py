"""What is written down about everything that happens in a run: instants and outcomes, never a latency.

These instants describe one sample, all CLOCK_MONOTONIC nanoseconds of the generator's host. Of several
hosts each writes its own, and sealing turns them into the run's: see `reports.clocks`.

- `intended`: when it should have begun (the end of the think time, or of the step before);
- `sent`: stamped right before the first byte was written;
- `first`: of an https answer, when its first byte was there; 0 elsewhere;
- `arrived`: when the answer, or the pushed frame, was there (`Manifest.clock.stamps` says how stamped);
- `seen`: when our code had it in its hands.

Everything else follows, and is derived here only:

    response time = arrived - intended        service time = arrived - sent
    send lag      = sent - intended           read lag     = seen - arrived
    time to first byte = first - sent

Connecting comes before `sent`, as in a browser's Resource Timing: it is part of the response time of the call
that had to wait for it and of no service time, and is a sample of its own.

A sample that failed has the instant of its failure as `arrived`; a time-out the instant it was given up.
Failures never enter a distribution of successes.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import pyarrow as pa


class Kind(IntEnum):
    """What was timed."""

    REQUEST = 0  # an https operation
    SOCKET = 1  # a wss action and its answer
    PING = 2  # an application ping and its answer
    CONNECT = 3  # a new connection: TCP, TLS and, of a socket, the websocket's handshake
    STEP = 4  # a named part of a journey, several of the others together
    NOTICE = 5  # a wss frame that has no answer: counted, never timed
    PHASE = 6  # a part of a connect that worked: `https.connect.tcp`, `wss.connect.tls`


ARRIVAL = "arrival.started"
"""The step of an open run whose response time is how late an arrival was begun with; cancelled if never."""

STORM = "storm"
"""The event of a target that drops all sockets; `sockets` is how many, `at_ns` when it was told to."""


class Outcome(IntEnum):
    """How it ended. Every attempt has exactly one: ok + failed + timeout + broken + cancelled = attempts."""

    OK = 0
    FAILED = 1  # the target answered, and its answer says no, or can't be read
    TIMEOUT = 2  # no answer in time: what the target did with it is unknown
    BROKEN = 3  # the connection could not be made, or broke before the answer
    CANCELLED = 4  # we gave it up ourselves: the run ended


class Accepted(IntEnum):
    """What the sender of a message knows about it."""

    YES = 0  # the target confirmed it
    NO = 1  # the target refused it: nobody should get it
    UNKNOWN = 2  # no answer: it may or may not arrive


class Wait(IntEnum):
    """What a row of `WAITS` tells. See `reports.waits` for the rules."""

    STORED = 0  # a message found its recipient away; began: sent, ended: answered
    CAME = 1  # somebody authenticated; began: asked, ended: answered
    PERHAPS = 2  # somebody asked to, and had no answer
    WENT = 3  # somebody's last socket closed
    WITHDRAWN = 4  # a message was taken back, with the request that it came with


class Fate(StrEnum):
    """What became of one message for one recipient. See `reports.deliveries` for the rules."""

    ON_TIME = "on-time"
    LATE = "late"
    LOST = "lost"
    DUPLICATE = "duplicate"
    MISDELIVERED = "misdelivered"  # it reached somebody whom it was not for
    OFFLINE = "offline"  # the recipient had no socket when it was sent: nothing was due
    UNKNOWN = "unknown"  # nobody can say: the send was not confirmed, or the recipient or the run left


# 32 bits, because Parquet reads dictionaries back so, and no number of distinct names may make a run
# unreadable.
_NAME = pa.dictionary(pa.int32(), pa.string())

SAMPLES = pa.schema(
    [
        ("kind", pa.int8()),  # Kind
        ("operation", _NAME),  # contract name: `get-chats`, `wss.send-message`; a step: `sign-up.otp`
        ("journey", _NAME),  # the journey it was part of, or ""
        ("outcome", pa.int8()),  # Outcome
        ("user", pa.int32()),  # number of the virtual user, the same for any number of workers
        ("intended", pa.int64()),
        ("sent", pa.int64()),
        ("first", pa.int64()),
        ("arrived", pa.int64()),
        ("seen", pa.int64()),
        ("status", pa.int16()),  # http status, statusCode of a frame, close code; 0 where there is none
        ("size", pa.int32()),  # bytes of the answer's body or payload
        ("error", _NAME),  # class of the error, "" when ok; few distinct values, never server text
    ]
)
"""One row per attempt."""

SENDS = pa.schema(
    [
        ("key", pa.string()),  # what finds its arrivals: a message marker, `alert:<id>:<status>`, ...
        ("operation", _NAME),  # `chat.delivered`, `alert.delivered`, `receipt.delivered`, ...
        ("sender", pa.string()),  # user id at the target
        ("recipient", pa.string()),  # user id at the target
        ("accepted", pa.int8()),  # Accepted
        ("intended", pa.int64()),
        ("sent", pa.int64()),
        ("settled", pa.int64()),  # when the answer came, or was given up
        ("besides", pa.int32()),  # the sender's socket that is left out: its answer is its copy; -1: none
    ]
)
"""One row per message and recipient whom it is for, written when its answer is known."""

ARRIVALS = pa.schema(
    [
        ("key", pa.string()),
        ("operation", _NAME),
        ("recipient", pa.string()),  # user id of the socket that it came in on
        ("socket", pa.int32()),  # number of the socket within its worker
        ("arrived", pa.int64()),
        ("seen", pa.int64()),
    ]
)
"""One row per pushed frame that carried something of ours."""

PRESENCE = pa.schema(
    [
        ("user", pa.string()),  # user id at the target
        ("socket", pa.int32()),
        ("online", pa.bool_()),  # True: authenticated from here on; False: closed, or no longer listening
        ("at", pa.int64()),
    ]
)
"""One row per socket that came online or went offline."""

RESOURCES = pa.schema(
    [
        ("at", pa.int64()),
        ("process", _NAME),  # "generator" or "server"
        ("cpu", pa.float32()),  # share of one core in the last second: 1.0 is a full core
        ("cpu_system", pa.float32()),  # the part of it that was spent in the kernel
        (
            "cpu_wait",
            pa.float32(),
        ),  # share of the second in which its main thread was kept waiting for a core
        ("rss", pa.int64()),  # bytes
        ("fds", pa.int32()),
        ("preempted", pa.int32()),  # involuntary context switches of its main thread
        # What follows is of the generator only; of the server it is 0.
        ("users", pa.int32()),  # virtual users running
        ("sockets", pa.int32()),  # sockets online
        ("loop_lag_p50", pa.int64()),  # lateness of the wake-ups of a probe in this second, ns
        ("loop_lag_p99", pa.int64()),
        ("loop_lag_max", pa.int64()),
        ("send_lag_p99", pa.int64()),  # of what was done in this second and had a time of its own, ns
        ("read_lag_p99", pa.int64()),  # of what arrived and was seen in this second, ns
        ("dropped", pa.int32()),  # starts that were due and never made
        ("gc_runs", pa.int32()),  # collections
        ("gc_pause", pa.int64()),  # their time together, ns
        ("reads", pa.int64()),  # of sockets
        ("unstamped", pa.int64()),  # reads that came without a kernel stamp
        ("frames", pa.int64()),  # that came with those reads
        ("coalesced", pa.int64()),  # frames that were read together with a later one: they have its stamp
        ("pressure", pa.float32()),  # share of the second in which anybody on the machine waited for a core
        ("steal", pa.float32()),  # share of all cores that the hypervisor gave to others
    ]
)
"""One row per process and second."""

WAKEUPS = pa.schema([("due", pa.int64()), ("woken", pa.int64())])
"""One row per wake-up of a probe in the generator's event loop, at random instants. Its lag, woken - due, is
that of whatever a timer starts."""

WAITS = pa.schema(
    [
        ("what", pa.int8()),  # Wait
        ("message", pa.string()),  # its id at the target; "" of somebody who comes or goes
        ("sender", pa.string()),  # who wrote it; "" of somebody who comes or goes
        ("user", pa.string()),  # whom it is for; who comes or goes
        ("began", pa.int64()),
        ("ended", pa.int64()),
    ]
)
"""One row per message that was stored for somebody who was away, and for each coming and going."""
EXCHANGES = pa.schema([("at", pa.int64()), ("offset", pa.int64()), ("round_trip", pa.int64())])
"""One row per exchange with the run's clock, of a worker that has another: see `reports.clocks`."""

PARTS: dict[str, pa.Schema] = {
    "samples": SAMPLES,
    "sends": SENDS,
    "arrivals": ARRIVALS,
    "presence": PRESENCE,
    "resources": RESOURCES,
    "wakeups": WAKEUPS,
    "waits": WAITS,
    "exchanges": EXCHANGES,
}
"""What each worker writes in a run: `parts/<worker>.<name>.arrow`, later `<name>/<worker>.parquet`."""

INSTANTS = (
    *("intended", "sent", "settled", "first", "arrived", "seen"),
    *("at", "due", "woken", "began", "ended"),
)
"""The columns of parts that are instants, 0 where there is none."""

DELIVERIES = pa.schema(
    [
        ("key", pa.string()),
        ("operation", _NAME),
        ("sender", pa.string()),
        ("recipient", pa.string()),
        ("sent_by", _NAME),  # worker of the sender; "" where there is no such send
        ("worker", _NAME),  # of the recipient's socket; "" where none was due
        ("socket", pa.int32()),  # -1 where none was due
        ("intended", pa.int64()),  # 0 where there is no such send (misdelivered, or sent by nobody we know)
        ("sent", pa.int64()),
        ("arrived", pa.int64()),  # 0 where nothing arrived
        ("seen", pa.int64()),
        ("fate", _NAME),  # Fate
        ("reordered", pa.bool_()),  # a message sent later, by the same sender, arrived before it
    ]
)
"""The ledger: one row per message and recipient, one more for each surplus copy."""

HISTOGRAMS = pa.schema(
    [
        ("second", pa.int32()),  # of `arrived`, since the run's origin
        ("operation", _NAME),
        ("outcome", pa.int8()),  # Outcome; a delivery on time or late is OK
        ("bucket", pa.int32()),  # reports.histogram.bucket_of(response time in ns)
        ("count", pa.int64()),
    ]
)
"""Response times, one second x operation x outcome: merged by addition."""
