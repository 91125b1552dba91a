"""Unlearn: train, measure before and after, save what changed.

usage: unlearnctl train [group=option ...] [key=value ...] [-m] [--cfg job [--resolve]] [--config-dir DIR]
       unlearnctl train --resume SWEEP_DIR [key=value ...]

groups: model= data= objective= objective/retain= objective/token_weights=
        trainer= eval=[a,b] tracker= launch= experiment= sweep=
        (`unlearnctl ls GROUP` lists the options)

examples:
  unlearnctl train
  unlearnctl train objective=rmu objective.layer=4 trainer.steps=50 seed=1
  unlearnctl train objective=npo objective/retain=kl
  unlearnctl train data=local data.forget.path=bad.jsonl data.retain.path=good.txt model=local model.path=DIR
  unlearnctl train -m objective=rmu,rmu_cosine seed=0,1,2        a sweep: every combination, one summary
  unlearnctl train -m objective.alpha=1,10,40 hydra/launcher=side_by_side   the same at once, on shared frozen blocks
  unlearnctl train -m sweep=rmu_layers                            a ready-made one; `unlearnctl ls sweep`
  unlearnctl train --resume outputs/train/sweep/RUN               the members of a sweep that are not done
  unlearnctl train data=tinyworld_hazard_toxic objective=composite       two functions in one run
  unlearnctl train trainer=meta trainer.meta.mode=search          trade-offs learned in short episodes first
  unlearnctl train launch=cpu launch.num_processes=2              the same numbers on two processes (gloo)
  unlearnctl train model=llama3_8b data=wmdp_bio launch=multi_gpu launch.num_processes=8
  unlearnctl train model=llama3_8b data=wmdp_bio launch.dry_run=true     the plan, without weights
  unlearnctl train --config-dir conf plugins=[mine] objective=x   configs may name classes of the package `mine`
  unlearnctl train resume=outputs/train/NAME/RUN                  resume a run that was killed or interrupted
  unlearnctl train --cfg job --resolve                            the config, nothing else
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from omegaconf import DictConfig

from unlearnctl.config.instantiate import plain
from unlearnctl.distributed.settings import Launch, read_launch
from unlearnctl.distributed.start import start_workers
from unlearnctl.distributed.world import World
from unlearnctl.runs.directory import create
from unlearnctl.tuning.hint import hint
from unlearnctl.unlearning.resume import config_to_resume, given_changes
from unlearnctl.unlearning.session import run
from unlearnctl.unlearning.setup import check_setup, make_setup, show_dry_run

SEVERAL_PROCESSES = True


def train(cfg: DictConfig, directory: Path | None = None) -> Path | None:
    """Train one config; return its run directory, or None after a dry run.

    A `directory` is given to workers, and where a run is resumed; otherwise one is chosen and made.
    """
    if cfg.get("resume") and directory is None:
        directory = Path(str(cfg.resume))
        again = config_to_resume(directory, given_changes(cfg))
        if again is None:
            return directory
        cfg = again
    launch = read_launch(plain(cfg.launch), cfg.trainer.device)
    untuned = hint(cfg)
    if launch.dry_run:
        show_dry_run(cfg, launch.num_processes)
    if untuned:
        print(untuned)
    if launch.dry_run:
        return None
    if launch.starts_workers:
        return _start_workers(cfg, directory, launch)
    setup = make_setup(cfg, directory)
    run(setup)
    return setup.directory


def _start_workers(cfg: DictConfig, directory: Path | None, launch: Launch) -> Path:
    """Check the run here, so that a mistake is reported once; then have several processes call `train`."""
    with redirect_stdout(StringIO()):  # rank 0 prints the same again
        checked = check_setup(cfg, World(0, launch.num_processes, "us"), launch, directory).directory
    if directory is None and launch.machine_rank == 0:
        checked = create(checked, cfg)
    start_workers("train", cfg, checked, launch)
    return checked
