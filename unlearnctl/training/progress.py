"""The progress bar of a run: loss terms, rate, time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainProgress:
    """Feed it the rows of the loop: `with TrainProgress(steps) as progress: progress.step(row)`."""

    def __init__(self, steps: int, console: Console | None = None, enabled: bool = True) -> None:
        self.console = console or Console()
        self.steps, self.enabled, self.started = steps, enabled, time.perf_counter()
        self.live = enabled and self.console.is_terminal
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task("training", total=steps, rate="", terms="")

    def __enter__(self) -> TrainProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.bar.stop()

    def step(self, row: dict[str, Any]) -> None:
        """Show one step's row."""
        done, terms = row["step"], format_terms(row)
        rate = done / max(row["seconds"], 1e-9)
        self.bar.update(self.task, completed=done, rate=f"{rate:.1f} step/s", terms=terms)
        tenth = max(1, self.steps // 10)
        if self.enabled and not self.live and (done % tenth == 0 or done == self.steps):
            left = (self.steps - done) / rate
            self.console.print(
                f"  step {done}/{self.steps}  {rate:.1f} step/s  {left:.0f} s left  {terms}",
                highlight=False,
                soft_wrap=True,
            )


def format_terms(row: dict[str, Any]) -> str:
    """`loss 1.23  forget 0.50  retain 0.07`."""
    values = {"loss": row["loss"], **row["terms"]}
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
