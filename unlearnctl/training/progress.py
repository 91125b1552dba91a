"""Show the progress of a run: loss terms, rate, time left; plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainProgress:
    """Shows the rows of the loop: `with TrainProgress() as p: on_step = p.member("run", steps)`."""

    def __init__(self, console: Console | None = None, enabled: bool = True) -> None:
        self.console = console or Console()
        self.enabled = enabled
        self.live = enabled and self.console.is_terminal
        self.members = 0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )

    def __enter__(self) -> TrainProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.bar.stop()

    def member(self, name: str, steps: int) -> Callable[[dict[str, Any]], None]:
        """Add a bar for one run; returns what takes its rows."""
        self.members += 1
        task = self.bar.add_task(name, total=steps, rate="", terms="")

        def step(row: dict[str, Any]) -> None:
            done, terms = row["step"], format_terms(row)
            rate = done / max(row["seconds"], 1e-9)
            self.bar.update(task, completed=done, rate=f"{rate:.1f} step/s", terms=terms)
            tenth = max(1, steps // 10)
            if self.enabled and not self.live and (done % tenth == 0 or done == steps):
                who = f"{name}  " if self.members > 1 else ""
                self._print(f"  {who}step {done}/{steps}", rate, (steps - done) / rate, terms)

        return step

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.enabled:
            self.console.print(line, highlight=False, soft_wrap=True)

    def _print(self, head: str, rate: float, left: float, terms: str) -> None:
        self.say(f"{head}  {rate:.1f} step/s  {left:.0f} s left  {terms}")


def format_terms(row: dict[str, Any]) -> str:
    """Format a row: `loss 1.23  forget 0.50  retain 0.07`."""
    values = {"loss": row["loss"], **row["terms"]}
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
