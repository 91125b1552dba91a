"""Summarise all members at the end of a multirun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepSummary(Callback):
    """Print the summary of the member runs and write it to the sweep's directory."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """End with the line `sweep: PATH`, or print nothing if no member made a run directory (a dry run)."""
        # Imported here: Hydra builds its callbacks before every verb, `--cfg job` included.
        from unlearnctl.reporting.site.write import write_site
        from unlearnctl.reporting.summary import find_runs, summarise
        from unlearnctl.reporting.summary_files import write_summary
        from unlearnctl.reporting.summary_terminal import print_summary
        from unlearnctl.utils.atomic import why

        folder = Path(config.hydra.sweep.dir)
        runs = [path for path in find_runs(folder) if path != folder]
        if not runs:
            return
        summary = summarise(runs)
        print_summary(summary)
        try:
            write_summary(summary, folder)
            print(f"report: {write_site(summary, folder / 'report.html')}")
        except OSError as error:
            print(f"summary: not written ({why(error)}); make it later with unlearnctl report {folder}")
        print(f"sweep: {folder}")
