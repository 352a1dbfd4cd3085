"""Is a burnt generator called invalid, a quiet one not? `python -m benchmarks.validity [--runs 10] [--json]`.

The same seconds of load again and again, in turns: undisturbed; with processes on the generator's cores; with
a greenlet that burns inside it. Whatever else the machine does at the time goes on, and is shown beside: the
quiet runs are as quiet as the machine was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis import verdict
from loadtests import generator
from reports.artefact import Run

ROOT = Path(__file__).parents[1]
BURN = Path(__file__).parent / "burn.py"
SCENARIO = """description = "Enough people to keep the generator at work for a fifth of the time"

[load]
users = 30
spawn_rate = 30
run_time_s = 8

[people]
senior = 6
volunteer = 6
lurker = 2
pace = 40

[senior]
connect = 3
chat = 6

[volunteer]
message-request = 2
chat = 6

[client]
ping_interval_s = 1
timeout_s = 5
delivery_deadline_s = 2
"""
HOGS_A_CORE = 8
HOG = """
import os
parent = os.getppid()
while os.getppid() == parent:  # whoever kills the benchmark ends its hogs
    sum(range(100_000))
"""
LONGEST_S = 90


@dataclass(frozen=True)
class Judged:
    """One run: how it was disturbed, and what its verdict says of the instrument."""

    kind: str
    invalid: bool
    late: str  # the figure of the rule
    cpu: float  # share of a core that the generator ran, and for which it waited
    waited: float
    pressure: float  # share of the time in which anybody on the machine waited for a core


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """Keep cores busy, each process in a session of its own: the scheduler may share by session."""
    processes = [subprocess.Popen([sys.executable, "-c", HOG], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def judged(kind: str, folder: Path) -> Judged:
    """Do one run, disturbed as its kind says: "quiet", "hogs" or "burn"."""
    scenario = folder / "busy.toml"
    scenario.write_text(SCENARIO)
    out = Path(tempfile.mkdtemp(dir=folder))
    line = [sys.executable, "-m", "talkload", "run", str(scenario), "--no-page", "--out", str(out)]
    if kind == "burn":
        line += ["--", "-f", f"{generator.LOCUSTFILE},{BURN}"]
    cores = len(os.sched_getaffinity(0))
    with hogs(HOGS_A_CORE * cores) if kind == "hogs" else contextlib.nullcontext():
        ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    try:
        found = verdict.judge(Run.open("latest", root=out))
    except Exception as error:
        raise SystemExit(f"a {kind} run left nothing to judge ({error}): {ended.stderr[-500:]}") from error
    own = next(each for each in found.resources.processes if each.process.startswith("generator"))
    return Judged(
        kind=kind,
        invalid=found.verdict is verdict.Word.INVALID,
        late=next(rule.figure for rule in found.validity if rule.rule == "the generator was in time"),
        cpu=own.cpu_mean,
        waited=own.cpu_wait,
        pressure=found.resources.pressure or 0.0,
    )


def main() -> int:
    """Return 0 if every disturbed run was called invalid and no quiet one was."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validity", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each kind")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[Judged] = []
    with tempfile.TemporaryDirectory(prefix="talkload-validity-") as folder:
        for _ in range(options.runs):
            for kind in ("quiet", "hogs", "burn"):
                one = judged(kind, Path(folder))
                found.append(one)
                if not options.json:
                    word = "invalid" if one.invalid else "valid"
                    print(
                        f"{kind:6} {word:8} late: {one.late:38} generator ran {one.cpu:4.0%},"
                        f" waited {one.waited:4.0%}; pressure {one.pressure:4.0%}",
                        flush=True,
                    )
    counts = {
        kind: sum(one.invalid for one in found if one.kind == kind) for kind in ("quiet", "hogs", "burn")
    }
    if options.json:
        print(json.dumps({"runs": options.runs, "invalid": counts, "each": [asdict(one) for one in found]}))
    else:
        print(", ".join(f"{kind}: {count} of {options.runs} invalid" for kind, count in counts.items()))
    return 0 if counts == {"quiet": 0, "hogs": options.runs, "burn": options.runs} else 1


if __name__ == "__main__":
    sys.exit(main())
