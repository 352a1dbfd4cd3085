"""`python -m talkamie.server`: reads options, prints one ready line, serves until it is told to stop.

On stdout there is exactly one line, a JSON object: `https`, `wss`, `ca` (null with --plain), `pid`, and
`test` with --test-endpoints. Exit codes: 0 stopped, 2 could not start; one sentence on stderr says why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """Return the command line; importing nothing heavy, so that --help and mistakes are answered at once."""
    options = argparse.ArgumentParser(
        prog="python -m talkamie.server",
        description="The reference server of the Talkamie API: https and wss with a throw-away CA.",
    )
    add = options.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=_port, default=8443, help="0 picks a free one (default %(default)s)")
    add("--plain", action="store_true", help="http and ws instead of https and wss")
    add(
        "--db",
        metavar="URL",
        help="database to keep: sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME "
        "(default: SQLite, removed at exit)",
    )
    add(
        "--durable", action="store_true", help="flush what is written (default: off, a target is thrown away)"
    )
    add(
        "--password-cost",
        choices=("light", "realistic"),
        default="light",
        help="argon2id: the least it can do, or OWASP's advice, about 30 ms (default %(default)s)",
    )
    add("--ca-dir", metavar="DIR", help="where to put ca.pem and the server's key (default: removed at exit)")
    add("--test-endpoints", action="store_true", help="serve the ledger and bulk accounts on 127.0.0.1")
    add(
        "--auth-deadline",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds a socket may stay unauthenticated (default %(default)s)",
    )
    add(
        "--ring-timeout",
        type=_seconds,
        default=45.0,
        metavar="S",
        help="seconds until a call that nobody answers is missed (default %(default)s)",
    )
    add(
        "--call-grace",
        type=_seconds,
        default=15.0,
        metavar="S",
        help="seconds until a call ends that a party without a socket is in (default %(default)s)",
    )
    add(
        "--dialect",
        choices=("2025", "2025-06", "2026"),
        default="2025",
        help="which names pushes have: those of the web client of 2025, or of the documentation of June 2025 "
        "or of 2026 (default %(default)s)",
    )
    add(
        "--extras", action="store_true", help="serve what later documentation adds: finance, support, files …"
    )
    add(
        "--platform-limits",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="10 min idle, 2 h connected, 32 KiB a frame, 128 KiB a message (default: on)",
    )
    add(
        "--otp-resend-limit",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="at most one code a minute and address (default: off)",
    )
    add("--faults", metavar="PLAN", help="misbehave as this file says (docs/reference-server.md, Faults)")
    add("--seed", type=int, default=1, help="of the faults that go by chance (default %(default)s)")
    add("--exit-with-parent", action="store_true", help="stop when the process that started this one ends")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT; return the exit code."""
    options = parser().parse_args(arguments)
    # Because --help must be fast: what follows imports the whole server.
    from talkamie.server.process import StartError, run

    try:
        run(options)
    except StartError as error:
        print(f"talkamie.server: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
