"""Is a live gate right? Whole gates of the reference server against itself, where the answer is known.

    python -m benchmarks.gates [--gates 10] [--pairs 12] [--run-time 15s] [--only no-change …] [--json]

no-change   twice the same server: never "regressed", nor "improved"
slower      handlers that take 10 ms, and 12 ms: a fifth more, "regressed"
burn        twice the same server beside processes that never rest: "inconclusive" or "invalid", never "pass"

It takes three quarters of an hour and at most two hours; --quick does one gate of each, in ten minutes. The
scenario is `gate` with its medians alone, which short runs have enough samples of. Whatever else the machine
does goes on; a gate that it disturbed says so and is no mistake of the gate. Exit codes: 0 every word was
right, 1 one was wrong, 3 nothing was wrong, but the machine let no slower candidate be shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, to_builtins

from analysis.gate import Gate
from analysis.gate_files import FILE, read
from analysis.looks import Word
from benchmarks.validity import HOGS_A_CORE, hogs
from loadtests import clock
from scenarios import workload

ROOT = Path(__file__).parents[1]
SERVE = f"{sys.executable} -m talkload serve --port 0"
GATED = ("chat.delivered p50", "wss.ping p50", "https p50")
HANDLERS_MS = (10, 12)
PLAN = """[[rule]]
fault = "latency"
where = ["https", "action", "push"]
delay = {{ distribution = "constant", ms = {ms} }}
"""
ALLOWED = {
    "no-change": {Word.PASS, Word.INCONCLUSIVE, Word.INVALID},
    "slower": {Word.REGRESSED, Word.INCONCLUSIVE, Word.INVALID},
    "burn": {Word.INCONCLUSIVE, Word.INVALID},
}


class Ended(Struct, frozen=True):
    """One gate: what it said, and what that cost."""

    kind: str
    word: Word
    right: bool  # the word is one that the truth allows, and the exit code is the word's
    exit_code: int
    counted: int
    discarded: int
    changes: dict[str, float | None]
    load: float  # of the machine as it began: processes that run, over a minute
    minutes: float
    why: str

    @property
    def line(self) -> str:
        changes = "  ".join("     –" if c is None else f"{c:+6.1%}" for c in self.changes.values())
        return (
            f"{self.kind:9}  {self.word.value:12}  {'' if self.right else 'WRONG':5}  {self.exit_code:4}"
            f"  {self.counted:5} {self.discarded:4}  {changes}  {self.load:4.1f}  {self.minutes:4.1f}"
        )


def scenario(folder: Path) -> Path:
    """Write the scenario `gate` with its medians as the metrics, and return where."""
    text = workload.available()["gate"].read_text().partition("[gate]")[0]
    file = folder / "gate.toml"
    file.write_text(text + "[gate]\n" + "".join(f'"{metric}" = "5 %"\n' for metric in GATED))
    return file


def right(kind: str, word: Word, exit_code: int) -> bool:
    """Return whether the truth allows what a gate of a kind has said."""
    return word in ALLOWED[kind] and exit_code == word.exit_code


def gate(kind: str, folder: Path, seed: int, pairs: int, run_time: str) -> Ended:
    """Do one gate, of a kind of ALLOWED."""
    servers = [SERVE, SERVE]
    if kind == "slower":
        plans = [folder / f"{ms}.toml" for ms in HANDLERS_MS]
        for plan, ms in zip(plans, HANDLERS_MS, strict=True):
            plan.write_text(PLAN.format(ms=ms))
        servers = [f"{SERVE} --faults {plan} --seed {seed}" for plan in plans]
    out = Path(tempfile.mkdtemp(dir=folder))
    line = [sys.executable, "-m", "talkload", "gate", "--scenario", str(scenario(folder))]
    line += ["--baseline", servers[0], "--candidate", servers[1], "--out", str(out), "--seed", str(seed)]
    line += ["--pairs", str(pairs), "--run-time", run_time]
    load, began = os.getloadavg()[0], clock.now()
    cores = len(os.sched_getaffinity(0))
    with hogs(HOGS_A_CORE * cores) if kind == "burn" else contextlib.nullcontext():
        did = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if not (found := list(out.glob(f"*/{FILE}"))):
        raise SystemExit(f"a gate of {kind} left nothing to judge: {did.stderr[-500:]}")
    judged: Gate = read(found[0].parent)
    return Ended(
        kind=kind,
        word=judged.verdict,
        right=right(kind, judged.verdict, did.returncode),
        exit_code=did.returncode,
        counted=judged.counted,
        discarded=len(judged.discarded),
        changes={each.metric: each.change for each in judged.metrics},
        load=load,
        minutes=(clock.now() - began) / clock.SECOND / 60,
        why=(judged.sentences or [""])[0],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line a gate; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gates",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--gates", type=int, default=10, help="of no change; of the others a fifth")
    parser.add_argument("--pairs", type=int, default=12, help="at most")
    parser.add_argument("--run-time", default="15s")
    parser.add_argument("--only", choices=ALLOWED, nargs="+", default=list(ALLOWED))
    parser.add_argument("--quick", action="store_true", help="one gate of each")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    many = 1 if given.quick else given.gates
    kinds = [kind for kind in given.only for _ in range(many if kind == "no-change" else -(-many // 5))]
    ended: list[Ended] = []
    if not given.json:
        print(f"gate       word                 exit  pairs  not  {'  '.join(GATED)}  load  minutes")
    with tempfile.TemporaryDirectory(prefix="talkload-gates-") as folder:
        for number, kind in enumerate(kinds):
            ended.append(gate(kind, Path(folder), 1 + 1000 * number, given.pairs, given.run_time))
            if not given.json:
                print(ended[-1].line, flush=True)
                if ended[-1].word is not Word.PASS:
                    print(f"           {ended[-1].why}", flush=True)
    if given.json:
        print(json.dumps(to_builtins(ended)))
    if not all(each.right for each in ended):
        return 1
    shown = any(each.word is Word.REGRESSED for each in ended)
    return 0 if shown or "slower" not in given.only else 3


if __name__ == "__main__":
    sys.exit(main())
