"""`python -m talkamie.server`: reads options, prints one ready line, serves until it is told to stop.

On stdout there is exactly one line, a JSON object: `https`, `wss`, `ca` (null with --plain), `pid`, and
`test` with --test-endpoints, and `workers`, their process ids, with --workers. Exit codes: 0 stopped, 1 one
of its processes or the bus between them ended, 2 could not start; one sentence on stderr says why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use 1–65535, or 0 for a free one")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds between 0 and 86400")
    return seconds


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes from 1 to 64")
    return int(text)


def _switch(says: str) -> dict[str, Any]:
    return {"action": "store_true", "help": says}


def _either(says: str, *, default: bool) -> dict[str, Any]:
    return {"action": argparse.BooleanOptionalAction, "default": default, "help": says}


def _duration(says: str, default: float) -> dict[str, Any]:
    says += " (default %(default)s)"
    return {"type": _seconds, "default": default, "metavar": "S", "help": says}


OPTIONS: dict[str, dict[str, Any]] = {
    "--host": {"default": "127.0.0.1", "help": "address to listen on (default %(default)s)"},
    "--port": {"type": _port, "default": 8443, "help": "0 picks a free one (default %(default)s)"},
    "--plain": _switch("http and ws instead of https and wss"),
    "--db": {
        "metavar": "URL",
        "help": "database to keep: sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME "
        "(default: SQLite, removed at exit)",
    },
    "--workers": {
        "type": _workers,
        "default": 1,
        "metavar": "N",
        "help": "processes that share the address and the database (default %(default)s)",
    },
    "--bus": {
        "metavar": "BUS",
        "default": "unix",
        "help": "how they tell each other of pushes: unix (datagrams), nats://HOST:PORT or "
        "postgresql://USER:PASSWORD@HOST:PORT/NAME (default %(default)s)",
    },
    "--durable": _switch("flush what is written (default: off, a target is thrown away)"),
    "--password-cost": {
        "choices": ("light", "realistic"),
        "default": "light",
        "help": "argon2id: the least it can do, or OWASP's advice, about 30 ms (default %(default)s)",
    },
    "--ca-dir": {
        "metavar": "DIR",
        "help": "where to put ca.pem and the server's key (default: removed at exit)",
    },
    "--test-endpoints": _switch("serve the ledger and bulk accounts on 127.0.0.1"),
    "--auth-deadline": _duration("seconds a socket may stay unauthenticated", 30.0),
    "--ring-timeout": _duration("seconds until a call that nobody answers is missed", 45.0),
    "--call-grace": _duration("seconds until a call ends that a party without a socket is in", 15.0),
    "--dialect": {
        "choices": ("2025", "2025-06", "2026"),
        "default": "2025",
        "help": "which names pushes have: those of the web client of 2025, or of the documentation of "
        "June 2025 or of 2026 (default %(default)s)",
    },
    "--extras": _switch("serve what later documentation adds: finance, support, files …"),
    "--billing": _switch("a call costs its caller a coin every 2.4 s, and ends with the last"),
    "--enforce-roles": _switch("only seniors ask for connections, schedule and call"),
    "--check-overlap": _switch("no schedule over another, or when the other party is not available"),
    "--apigw-errors": _switch("answer an unknown action as API Gateway does: without its name"),
    "--platform-limits": _either(
        "10 min idle, 2 h connected, 32 KiB a frame, 128 KiB a message (default: on)", default=True
    ),
    "--otp-resend-limit": _either("at most one code a minute and address (default: off)", default=False),
    "--faults": {
        "metavar": "PLAN",
        "help": "misbehave as this file says (docs/reference-server.md, Faults)",
    },
    "--seed": {
        "type": int,
        "default": 1,
        "help": "of the faults that go by chance (default %(default)s)",
    },
    "--exit-with-parent": _switch("stop when the process that started this one ends"),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line; importing nothing heavy, so that --help and mistakes are answered at once."""
    options = argparse.ArgumentParser(
        prog="python -m talkamie.server",
        description="The reference server of the Talkamie API: https and wss with a throw-away CA.",
    )
    for name, kind in OPTIONS.items():
        options.add_argument(name, **kind)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT; return the exit code."""
    options = parser().parse_args(arguments)
    # Because --help must be fast: what follows imports the whole server.
    from talkamie.server.doors import StartError
    from talkamie.server.process import run
    from talkamie.server.workers import Ended

    try:
        run(options)
    except StartError as error:
        print(f"talkamie.server: {error}", file=sys.stderr)
        return 2
    except Ended as error:
        print(f"talkamie.server: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
