"""The live view of a run: one table, redrawn once a second; plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_LINE_EVERY_S = 10
_NAMES = {
    "https": "https requests",
    "wss": "wss requests",
    "deliveries": "deliveries",
    "ping": "pings",
    "connect": "connects",
}


class LiveView:
    """Shows snapshots of `loadtests.run.Run`; use it in a with block."""

    def __init__(self, console: Console, run_time_s: float) -> None:
        self._console = console
        self._run_time = run_time_s
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._next_line = 0.0
        self._note = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def stopping(self) -> None:
        """Say that the end was asked for."""
        self._note = "stopping: what is under way is finished and written; Ctrl-C again ends it at once"
        if not self._live:
            self._console.print(self._note)

    def show(self, now: dict[str, Any]) -> None:
        """Show one snapshot."""
        if self._live:
            self._live.update(self._picture(now), refresh=True)
        elif now["elapsed_s"] >= self._next_line:
            self._next_line = now["elapsed_s"] + _LINE_EVERY_S
            self._console.print(_line(now), highlight=False, soft_wrap=True)

    def _picture(self, now: dict[str, Any]) -> Group:
        health = now["health"]
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("", "total", "failed", "per second", "p50", "p99"):
            table.add_column(name, justify="left" if not name else "right", min_width=9)
        for group, name in _NAMES.items():
            recent = now["groups"].get(group, {})
            failed = now["failures"].get(group, 0)
            table.add_row(
                name,
                f"{now['counts'].get(group, 0):,}",
                Text(f"{failed:,}", style="bold red" if failed else "dim"),
                f"{recent['rate']:.1f}" if recent else "–",
                _ms(recent.get("p50")),
                _ms(recent.get("p99")),
            )
        bar = ProgressBar(total=self._run_time, completed=min(now["elapsed_s"], self._run_time), width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            bar,
            f"{now['elapsed_s']:.0f} of {self._run_time:.0f} s",
            Text(now["phase"], style="bold"),
            f"{now['online']} of {now['users']} people online",
        )
        lag = health.get("loop_lag_ms", 0.0)
        foot = Text(
            f"generator: {health.get('generator_cpu', 0):.0%} of a core, loop lag {lag:.1f} ms"
            + (f"   server: {health['server_cpu']:.0%}" if "server_cpu" in health else ""),
            style="yellow" if lag > 50 else "dim",
        )
        arrivals = [Text(arrived)] if (arrived := _arrived(now)) else []
        notes = [Text(note, style="bold red") for note in now["troubles"]]
        notes += [Text(note, style="bold") for note in (self._note, now.get("note")) if note]
        return Group(head, Text(), table, *arrivals, foot, *notes)


def _line(now: dict[str, Any]) -> str:
    parts = [f"{now['elapsed_s']:4.0f} s  {now['phase']:<8} {now['online']}/{now['users']} online"]
    for group in ("https", "wss", "deliveries"):
        recent = now["groups"].get(group)
        if recent:
            parts.append(f"{group} {recent['rate']:.0f}/s p50 {_ms(recent['p50'])} p99 {_ms(recent['p99'])}")
    parts += [arrived] if (arrived := _arrived(now)) else []
    parts.append(f"failed {sum(now['failures'].values())}")
    parts += filter(None, [now.get("note", ""), *now["troubles"]])
    return "  ".join(parts)


def _arrived(now: dict[str, Any]) -> str:
    """Return how far the plan of an open run has come, "" of a closed one."""
    if not (came := now.get("arrivals")):
        return ""
    return f"arrivals {came['achieved']:,} of {came['planned']:,} begun, {came['late']:,} late"


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
