"""Starts a run when Locust starts a test, and sees it to its end: on this process alone, or on workers.

Locust tells of a test by its events; what each of them means for a run is here, and nothing of what a run is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
from locust import runners
from locust.env import Environment
from locust.exception import StopUser

from loadtests import clock, statement
from loadtests.app import App
from loadtests.head import Head, hello
from loadtests.locust_table import feed
from loadtests.master import Master, MasterError
from loadtests.order import ALONE, Order, plan_hash
from loadtests.recorder import Second
from loadtests.run import Run
from loadtests.storm import schedule
from loadtests.target import Target
from reports.artefact import ArtefactError, imbalance
from scenarios import workload

EXIT_USAGE, EXIT_INVALID, EXIT_UNUSABLE = 2, 4, 5


class Conductor:
    """Starts a run when Locust starts a test, and sees it to its end."""

    def __init__(
        self,
        environment: Environment,
        scenario: workload.Scenario,
        target: Target,
        order: Callable[[int], Order],
    ) -> None:
        self._environment, self._scenario, self._target, self._order = environment, scenario, target, order
        options: Any = environment.parsed_options
        self._root, self._live = Path(options.out), bool(options.live)
        self._runner: Any = environment.runner
        self._interrupted = ""
        self._over = True

    def index(self) -> Mapping[str, int]:
        """Return the place of each worker by its id at Locust."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin a run."""
        raise NotImplementedError

    def end(self, interrupted: str) -> tuple[Path, bool]:
        """Seal the run; return its folder, and whether what is on record can be believed."""
        raise NotImplementedError

    def start(self, **_: Any) -> None:
        """See Locust's events."""
        try:
            self.begin()
        except (ArtefactError, MasterError, OSError, workload.WorkloadError) as error:
            self._environment.process_exit_code = EXIT_USAGE
            if isinstance(self, Coordinator):
                self._runner.quit()
            refuse(EXIT_USAGE, str(error))
        self._over, self._interrupted = False, ""

    def spawned(self, user_count: int, **_: Any) -> None:
        """See Locust's events."""

    def stopping(self, **_: Any) -> None:
        """See Locust's events."""

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        """See Locust's events."""

    def stop(self, **_: Any) -> None:
        """See Locust's events."""
        if self._over:
            return
        self._over = True
        try:
            folder, believed = self.end(self._interrupted)
        except (ArtefactError, OSError) as error:
            self._environment.process_exit_code = EXIT_INVALID
            print(f"talkload: the run could not be sealed: {error}", file=sys.stderr)
            return
        if not believed:
            self._environment.process_exit_code = EXIT_INVALID
        if not self._live:
            print(f"talkload: run written to {folder}; read it with: talkload report {folder.name}")

    def quitting(self, **_: Any) -> None:
        """Locust says this before it stops a test that a signal ended; after it, had it ended by itself."""
        if not self._over:
            self._interrupted = self._interrupted or "stopped before its time"
            self._runner.stop()
            self.stop()

    def say(self, what: dict[str, Any]) -> None:
        """Tell whoever watches from outside."""
        if self._live:
            print(msgspec.json.encode(what).decode(), flush=True)


class Soloist(Conductor):
    """A run on this process alone."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:-1])
        self._tls = given[-1]
        self._run: Run | None = None
        self._stopped = 0

    def index(self) -> Mapping[str, int]:
        return {ALONE: 0}

    def begin(self) -> None:
        order = self._order(self._runner.target_user_count)
        self._head = Head(
            self._scenario,
            self._target,
            seed=order.seed,
            users=order.users,
            plan_hash=plan_hash(self._scenario, order),
            root=self._root,
            tag=order.tag,
        )
        run = self._run = App.books = Run(order, self._scenario, self._target, self._tls, self._head.folder)
        self._head.enlist([run.statement().worker])
        run.listeners.append(self._show)
        run.on_settled = self._settled
        run.on_end = self._ends
        gevent.spawn_later(self._scenario.load.warm_up_s, lambda: run.arrive_from(clock.now()))
        self.say({"run": str(self._head.folder)})

    def _settled(self, users: int) -> None:
        assert self._run is not None
        now = self._run.steady_from = clock.now()
        run, storms = self._run, self._scenario.storm.at_s
        self._head.steady(now, users)
        schedule(storms, run.folder, self._target.test, over=lambda: run.finishing)
        run.arrive_from(now)

    def _ends(self) -> None:
        if self._run is not None and self._run.aborted:
            self._head.abort(self._run.aborted, self._scenario.abort)
        gevent.spawn(self._runner.stop if self._environment.web_ui else self._runner.quit)

    def _show(self, second: Second) -> None:
        feed(self._environment.stats, second)
        run = self._run
        if run is not None:
            self._head.online(run.online)
        if self._live and run is not None:
            phase = self._head.phase(stopping=run.finishing)
            self.say(statement.picture([run.statement()], elapsed_s=self._head.elapsed_s(), phase=phase))

    def spawned(self, user_count: int, **_: Any) -> None:
        if self._run is not None:
            self._run.spawned(user_count)

    def user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        note_error(self._run, user_instance, exception)

    def stopping(self, **_: Any) -> None:
        if self._run is not None:
            self._run.stop_people()

    def end(self, interrupted: str) -> tuple[Path, bool]:
        run, self._run = self._run, None
        assert run is not None
        run.stop_people()
        stopped = clock.now()
        run.listen()
        said = run.close()
        self._head.interrupted = interrupted
        self._head.close([said], stopped=stopped)
        return run.folder, bool(said.worker.rows["samples"]) and not said.worker.errors


class Coordinator(Conductor):
    """A run on the workers of this master."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        # A worker that is gone for long stays on the list: else Locust would deal everybody out anew.
        runners.HEARTBEAT_DEAD_INTERNAL = -(10**9)
        options: Any = self._environment.parsed_options
        self._master = Master(
            *given,
            hello=hello(),
            root=self._root,
            expected=options.expect_workers if options.headless else 1,
            say=self.say,
        )
        self.say({"port": self._runner.server.port})

    def index(self) -> Mapping[str, int]:
        return self._master.index

    def begin(self) -> None:
        self._master.start()

    def spawned(self, user_count: int, **_: Any) -> None:
        self._master.spawned(user_count)

    def stopping(self, **_: Any) -> None:
        self._master.stop()

    def end(self, interrupted: str) -> tuple[Path, bool]:
        folder = self._master.folder
        sealed = self._master.seal(interrupted)
        if self._environment.web_ui is None:
            # Whoever is the last to go missing makes Locust stop, but not quit.
            gevent.spawn(self._runner.quit)
        assert sealed is not None
        assert folder is not None
        whole = all(each.closed and not each.errors and not imbalance(each) for each in sealed.workers)
        return folder, whole and any(each.found.get("samples") for each in sealed.workers)


def note_error(run: Run | None, user: Any, error: BaseException) -> None:
    if run is not None and not isinstance(error, StopUser):
        run.trouble(f"a {type(user).__name__} broke: {type(error).__name__}: {error}")


def refuse(code: int, why: str) -> NoReturn:
    logging.getLogger("locust").setLevel(logging.CRITICAL)
    print(f"talkload: {why}", file=sys.stderr, flush=True)
    sys.exit(code)
