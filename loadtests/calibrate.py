"""Carries out the cases of `scenarios.calibration`: one reference server for all, one generator for each.

The generator is the one of any run, and what it leaves behind is a run like any other. The truth is read
from the server's books before and after it, by a client that has nothing to do with either.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from loadtests import clock, generator
from loadtests.target import Server, Target, TargetError, preflight, tls_context
from scenarios.calibration import Account, Case, Drill, Ping, Rule, Truth
from talkamie.contract import OPERATIONS

DRILL = Path(__file__).parent / "drill.py"
SAFETY_S = 30  # how much longer than its drill a run may take to begin
ECHO_TIMEOUT_S = 20

_SCENARIO = """description = "{about}"

[load]
users = {devices}
spawn_rate = {devices}
run_time_s = {run_time_s}

[people]
senior = 0
volunteer = 0
lurker = 1

[client]
ping_interval_s = 1000
timeout_s = {timeout_s}
delivery_deadline_s = {deadline_s}
"""


class Bench:
    """The reference server with its test endpoints, and two people who know each other."""

    def __init__(self, folder: Path) -> None:
        """Start it; what is written goes to `folder`. Raises TargetError."""
        self._folder = folder
        self._server = Server("--test-endpoints")
        try:
            self._target = preflight(self._server.ready())
            self._test = httpx.Client(base_url=self._target.test, trust_env=False, timeout=20)
            self._seed()
        except BaseException:
            self._server.stop()
            raise

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._test.close()
        self._server.stop()

    def carry_out(self, case: Case) -> tuple[Path, Truth]:
        """Run a case; return the folder of the run and what was true. Raises TargetError."""
        assert case.drill is not None
        since, before = clock.now(), self._counts()
        self._test.delete("/ledger").raise_for_status()
        with self._target_of(case) as (target, pings):
            folder = self._generate(case, case.drill, target)
        return folder, self._truth(since, before, pings)

    def _generate(self, case: Case, drill: Drill, target: Target) -> Path:
        scenario, orders = self._folder / f"{case.name}.toml", self._folder / f"{case.name}.json"
        run_time_s = round(drill.lead_s + drill.span_s + SAFETY_S)
        scenario.write_text(
            _SCENARIO.format(
                about=case.about,
                devices=drill.devices,
                run_time_s=run_time_s,
                timeout_s=drill.timeout_s,
                deadline_s=drill.deadline_s,
            )
        )
        what = {"drill": drill, "plan": case.plan, "name": case.name, **self._people(case)}
        orders.write_bytes(msgspec.json.encode(what))
        orders.chmod(0o600)  # there are tokens in it
        options = ["--scenario", str(scenario), "--orders", str(orders), "--out", str(self._folder / "runs")]
        ended = generator.run(
            target, options, on_second=lambda _: None, on_stop=lambda: None, locustfile=DRILL
        )
        if ended.folder is None:
            raise TargetError(f"{case.name}: the generator did not run: {ended.complaint}")
        return ended.folder

    def _people(self, case: Case) -> dict[str, Any]:
        if case.echo_us:  # which takes everybody for whom he says he is
            return {**self._seeded, "me": Account("1", "1")}
        return self._seeded

    def _seed(self) -> None:
        """Make two people who may write to each other, and their chat."""
        people = [
            {"email": f"{name}@calibration.test", "name": name, "type": kind, "password": "Calibrate-1"}
            for name, kind in (("me", "senior"), ("partner", "volunteer"))
        ]
        made = self._test.post("/accounts", json=people).raise_for_status().json()
        me, partner = (Account(each["id"], each["tokens"]["access"]) for each in made)
        base, verify = self._target.https, tls_context(self._target) or True
        with httpx.Client(base_url=base, verify=verify, trust_env=False, timeout=20) as client:

            def call(who: Account, operation: str, other: Account, body: Any = None) -> Any:
                row, headers = OPERATIONS[operation], {"Authorization": f"Bearer {who.token}"}
                answer = client.request(row.method, row.path.format(id=other.id), headers=headers, json=body)
                return answer.raise_for_status().json().get("data")

            said = call(partner, "send-message-request", me, {"text": "Hello."})
            call(me, "accept-message-request", partner)
        self._seeded = {
            "me": me,
            "partner": partner,
            "chat": str(said["chat"]["id"]),
        }

    @contextmanager
    def _target_of(self, case: Case) -> Iterator[tuple[Target, list[Ping]]]:
        """Give the target of a case, and a list that gets the echo's pings when the block ends."""
        pings: list[Ping] = []
        if not case.echo_us:
            yield self._target, pings
            return
        echo = subprocess.Popen(
            [sys.executable, "-m", "talkamie.server.echo", *map(str, case.echo_us)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert echo.stdout is not None
            said = msgspec.json.decode(echo.stdout.readline())
            yield replace(self._target, wss=said["wss"], pid=said["pid"]), pings
            told, _ = echo.communicate(timeout=ECHO_TIMEOUT_S)
            pings += msgspec.json.decode(told, type=dict[str, list[Ping]])["pings"]
        finally:
            echo.kill()
            echo.wait()

    # --- What the server says ---

    def _truth(self, since: int, before: dict[str, dict[int, int]], pings: list[Ping]) -> Truth:
        faults = self._get("/faults")
        rules = [{**rule, "fault": rule["rule"]["fault"]} for rule in faults.get("rules", [])]
        took: dict[str, list[int]] = {}
        for ring, prefix in (("/requests", ""), ("/actions", "wss.")):
            for row in self._rows(ring):
                if row["start_ns"] > since:
                    whole = row["queue_ns"] + row["duration_ns"]
                    took.setdefault(prefix + row["operation"], []).append(whole)
        counted = {
            operation: {
                status: count - before.get(operation, {}).get(status, 0) for status, count in counts.items()
            }
            for operation, counts in self._counts().items()
        }
        pushes = [
            (row["ids"], row["socket"], row["accepted_ns"], row["written_ns"], row["fate"])
            for row in self._rows("/ledger")
            if row["action"] == "new-message"
        ]
        return Truth(
            rules=msgspec.convert(rules, list[Rule]), took=took, counted=counted, pushes=pushes, pings=pings
        )

    def _get(self, path: str) -> Any:
        return self._test.get(path).raise_for_status().json()

    def _rows(self, path: str) -> list[dict[str, Any]]:
        said = self._get(path)
        return [dict(zip(said["columns"], row, strict=True)) for row in said["rows"]]

    def _counts(self) -> dict[str, dict[int, int]]:
        """Return how often each operation and action has ended with each status."""
        origin = self._target.https.rsplit("/", 1)[0]
        text = httpx.get(origin + "/metrics", verify=tls_context(self._target) or True, trust_env=False).text
        counts: dict[str, dict[int, int]] = {}
        for family in text_string_to_metric_families(text):
            for each in family.samples:
                if each.name == "talkamie_requests_total":
                    status = counts.setdefault(each.labels["operation"], {})
                    status[int(each.labels["status"])] = int(each.value)
        return counts
