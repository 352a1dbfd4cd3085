"""A worker's half of a run: Locust's worker, which does what its master wants and says how far it is.

See `loadtests.fleet` for how they agree. A worker that hears nothing of its master for a lease ends its load,
closes its own record, and leaves with an exit code that is not 0.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.event import Event as Bell
from locust.env import Environment

from loadtests import channel, clock, doctor, target
from loadtests.fetch import CHUNK, FETCH, chunk, listing, wanted
from loadtests.fleet import LEASE, Command, Duty, File, Hello, Phase, Snapshot, Spec, Wanted
from loadtests.master import MESSAGE
from loadtests.order import Known, connections, plan_hash
from loadtests.run import Run
from loadtests.statement import Statement
from reports.artefact import ArtefactError, create, read_manifest, release, seal
from scenarios.workload import WorkloadError

EXIT_USAGE, EXIT_INVALID = 2, 4
FAREWELL_S = 3.0  # for a master to take notice of somebody who leaves
MEND_S = 20.0  # the same, of one on another host: the link may be mended
IDLE = 10 * clock.SECOND
"""Beyond a lease: so long somebody without a run waits for a master to be heard again."""

_POLL_S = 0.05

_decode = msgspec.msgpack.Decoder(Command).decode
_known = msgspec.msgpack.Decoder(Known).decode


class Worker:
    """Takes part in one run after the other of one master."""

    def __init__(
        self,
        environment: Environment,
        *,
        hello: Hello,
        root: Path,
        own_disk: bool,
        leave_samples: bool,
        cast: Callable[[Spec], None],
        begin: Callable[[Run], None],
    ) -> None:
        """`cast` gives the kinds of people their habits; `begin` is told of a run whose books are open.

        `own_disk`: write below `root` even where the run's own folder can be seen from here.
        """
        self._own_disk, self._leave_samples = own_disk or leave_samples, leave_samples
        self._environment, self._hello, self._root = environment, hello, root
        self._cast, self._begin = cast, begin
        self._duty = Duty(clock.now())
        self._phase, self._complaint, self._plan, self._run_id = Phase.IDLE, "", "", ""
        self.run: Run | None = None
        self._last: Snapshot | None = None  # of a run that is closed
        self._bell = Bell()
        self._at_work = False
        self._own: Path | None = None  # the run's folder on this host, where it is not the master's
        assert environment.runner is not None
        self._runner: Any = environment.runner
        self._runner.register_message(MESSAGE, self._heard)
        self._runner.register_message(FETCH, self._asked)
        channel.traffic.on_message = self._alive
        gevent.spawn(self._say_so)
        gevent.spawn(self._watch)

    def _alive(self) -> None:
        self._duty.heard_at = clock.now()

    # --- Saying ---

    def _say_so(self) -> None:
        while True:
            self.say()
            self._bell.wait(1)
            self._bell.clear()

    def say(self) -> None:
        """Send a snapshot."""
        self._runner.send_message(MESSAGE, msgspec.msgpack.encode(self._snapshot()))

    def _snapshot(self) -> Snapshot:
        seq = self._duty.next()
        if self._last is not None:
            return msgspec.structs.replace(self._last, seq=seq)
        run = self.run
        return Snapshot(
            seq=seq,
            hello=self._hello,
            run=self._run_id,
            phase=self._phase,
            plan_hash=self._plan,
            complaint=self._complaint,
            statement=self._signed(run.statement()) if run else None,
            owed=run.owed_elsewhere() if run and self._phase == Phase.QUIET else [],
        )

    def _signed(self, said: Statement) -> Statement:
        """Add where this worker's rows are, for as long as its master has not got them."""
        if self._own is not None:
            said.worker.samples_at = f"{self._hello.host}:{self._own}"
        return said

    # --- Hearing ---

    def _heard(self, msg: Any, **_: Any) -> None:
        try:
            command = _decode(msg.data)
        except (msgspec.DecodeError, TypeError):
            channel.traffic.refused += 1
            return
        if self._duty.heard(command, clock.now()):
            self._obey(command)

    def _obey(self, command: Command) -> None:
        if command.refusal:
            self._leave(EXIT_USAGE, command.refusal)
        elif command.spec is not None and command.run != self._run_id:
            self._open(command.spec)
        elif command.run == self._run_id and self.run is not None:
            self._follow(command, self.run)
        elif command.wanted == Wanted.RELEASE:
            self._part(fetched=command.fetched)

    def _follow(self, command: Command, run: Run) -> None:
        run.steady_from = command.steady_ns
        if command.arrivals_ns:
            run.arrive_from(run.here(command.arrivals_ns))
        if command.wanted >= Wanted.STOP and self._phase == Phase.READY and not self._at_work:
            self._work(self._stop)
        elif command.wanted >= Wanted.LISTEN and self._phase == Phase.QUIET and not self._at_work:
            self._work(lambda: self._close(command))

    def _work(self, do: Callable[[], object]) -> None:
        """Do something that takes its time, and nothing else beside it."""
        self._at_work = True

        def work() -> None:
            try:
                do()
            finally:
                self._at_work = False
                self._bell.set()

        gevent.spawn(work)

    def _open(self, spec: Spec) -> None:
        self._run_id, self._last = spec.manifest.id, None
        wanted = connections(spec.scenario, spec.order)
        self._complaint = doctor.misfit(1, wanted, spec.target.host)
        if self._complaint:
            self.say()
            return
        try:
            tls = target.tls_context(spec.target, authority=spec.authority)
            self._cast(spec)
            known = _known(channel.reveal(spec.accounts)) if spec.accounts else None
            self.run = Run(spec.order, spec.scenario, spec.target, tls, self._folder(spec), known)
        except (ArtefactError, OSError, channel.Forged, target.TargetError, WorkloadError) as error:
            self._complaint = str(error)
        else:
            self._plan = plan_hash(spec.scenario, spec.order)
            self._phase = Phase.READY
            if spec.manifest.clock.id != self._hello.clock:
                self.run.compare_clocks(self._runner.master_host, spec.clock_port)
            self._begin(self.run)
        self.say()

    def _folder(self, spec: Spec) -> Path:
        """Return the run's own folder where this host has it, else one of our own."""
        theirs = Path(spec.folder)
        if not self._own_disk:
            with contextlib.suppress(ArtefactError):
                if read_manifest(theirs).id == spec.manifest.id:
                    return theirs
        self._own = create(self._root / spec.order.name, spec.manifest)  # there may be several here
        return self._own

    # --- Ending ---

    def _stop(self) -> None:
        self._runner.stop()
        self.quiet()  # also where nobody had come yet, and Locust had nothing to stop

    def quiet(self) -> None:
        """All people have left."""
        if self.run is not None and self._phase == Phase.READY:
            self._phase = Phase.QUIET
            self.say()

    def _close(self, command: Command | None) -> None:
        """Close this worker's books; without a command, nobody else is waited for."""
        run = self.run
        if run is None:
            return
        if command is not None:
            run.listen(command.owed)
        said = self._signed(run.close())
        files: list[File] = []
        if self._own is not None and command is not None and not self._leave_samples:
            files = listing(self._own)  # whoever goes early does not stay to be asked
        self.run, self._phase = None, Phase.CLOSED
        self._last = Snapshot(
            seq=0,
            hello=self._hello,
            run=self._run_id,
            phase=self._phase,
            plan_hash=self._plan,
            statement=said,
            files=files,
        )
        self.say()

    def _asked(self, msg: Any, **_: Any) -> None:
        """Answer a question for a piece of a file."""
        try:
            name, offset = wanted(msg.data)
            if (
                self._own is None
                or self._last is None
                or name not in {file.name for file in self._last.files}
            ):
                raise ValueError(f"{name!r} is not to be had")
            piece = chunk(self._own, name, offset)
        except (ValueError, TypeError, msgspec.DecodeError, OSError):
            channel.traffic.refused += 1
        else:
            self._runner.send_message(CHUNK, msgspec.msgpack.encode(piece))

    def _part(self, *, fetched: bool) -> None:
        """The run is sealed: what its master has goes from here, what it has not is a run of its own."""
        own, self._own = self._own, None
        self._phase, self._run_id, self._last, self._plan = Phase.IDLE, "", None, ""
        if own is not None and fetched:
            release(own)
            shutil.rmtree(own)
            with contextlib.suppress(OSError):
                own.parent.rmdir()
        elif own is not None:
            seal(own)

    def _watch(self) -> None:
        while True:
            gevent.sleep(_POLL_S)
            if self.run is not None and self._duty.lapsed(clock.now()):
                why = f"it heard nothing of its master for {LEASE // clock.SECOND} s"
                self.abandon(why)
                self._leave(EXIT_INVALID, f"the load of this worker was stopped: {why}")
                return
            if self._duty.lapsed(clock.now() - IDLE):
                self._leave(EXIT_INVALID, "the master is gone")
                return

    def abandon(self, why: str) -> None:
        """End this worker's part of a run early, close its record, and tell the master if it is there."""
        run = self.run
        if run is None:
            return
        run.left = why
        self._environment.process_exit_code = EXIT_INVALID
        run.stop_people()
        if not self._at_work and self._phase == Phase.READY:
            self._work(self._stop)
        while self._at_work:
            gevent.sleep(_POLL_S)
        self._close(None)
        final = self._duty.sent
        give_up = clock.now() + clock.ns(MEND_S if self._own else FAREWELL_S)
        while self._duty.command.ack < final and clock.now() < give_up:
            gevent.sleep(_POLL_S)
        self._part(fetched=False)

    def _leave(self, code: int, why: str) -> None:
        print(f"talkload: {why}", file=sys.stderr, flush=True)
        self._environment.process_exit_code = code
        gevent.spawn(self._runner.quit)
