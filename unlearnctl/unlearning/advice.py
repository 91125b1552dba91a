"""A run that fails, in one line: what happened, what is kept, what to change, how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnctl.config.instantiate import plain
from unlearnctl.runs.disk import smaller_evaluation
from unlearnctl.training.loop import smaller_micro_batch
from unlearnctl.utils.atomic import why
from unlearnctl.utils.errors import UserError, out_of_memory

if TYPE_CHECKING:
    from unlearnctl.unlearning.session import Run


def told(error: BaseException, run: Run) -> BaseException:
    """The error as a user can act on it; itself where nothing can be added."""
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"{why(error)}; {_kept(run)}")
    if out_of_memory(error):
        return UserError(_memory(run))
    return error


def divergence(run: Run) -> str:
    """Of a run whose loss, gradient or weights were not finite."""
    lr, dtype = float(run.cfg.trainer.optimizer.lr), run.cfg.model.dtype
    mixed = run.ready.settings.mixed_precision
    narrow = [f"model.dtype={dtype}"] if dtype not in ("float32", "auto") else []
    narrow += [f"trainer.mixed_precision={mixed}"] if mixed != "no" else []
    kept = f"the weights before it are in {run.directory / 'checkpoint'}"
    if not run.manifest:
        kept = "no weights are saved, for those before it were not finite either"
    wider = f" or, in a new run, wider numbers than {' and '.join(narrow)}" if narrow else ""
    return (
        f"{run.fit.stop_reason}; {kept}. Try a smaller learning rate, trainer.clip_norm=1.0{wider}: unlearnctl train "
        f"resume={run.directory} trainer.optimizer.lr={lr / 10:g} ({_from(run)})"
    )


def _kept(run: Run) -> str:
    if not (run.directory / "config.yaml").is_file():
        return f"the run directory {run.directory} is gone, and with it what was kept"
    return f"unlearnctl train resume={run.directory} goes on ({_from(run)})"


def _from(run: Run) -> str:
    step = run.saver.saved
    return "from the beginning" if step is None else f"after step {step} of {run.ready.settings.steps}"


def _memory(run: Run) -> str:
    if not run.training:
        return f"{smaller_evaluation(plain(run.cfg.eval))}; {_kept(run)}"
    settings, micro = run.ready.settings, run.trainer.micro
    ways = [f"trainer.micro_batch={micro} (the result stays the same)"] if micro > 1 else []
    ways.append(f"data.max_length={run.cfg.data.max_length}")
    more = [] if settings.gradient_checkpointing else ["trainer.gradient_checkpointing=true"]
    if settings.sharding == "none":
        alone = run.accelerator.num_processes == 1
        more.append(f"{'launch=multi_gpu ' if alone else ''}trainer.sharding=fsdp")
    change = f" trainer.micro_batch={smaller_micro_batch(micro)}" if micro > 1 else ""
    return (
        f"out of memory at step {run.trainer.result.steps + 1}: lower {' or '.join(ways)}"
        f"{', or set ' + ' or '.join(more) if more else ''}: unlearnctl train resume={run.directory}{change} "
        f"({_from(run)})"
    )
