"""Explain a run that fails in one line: what happened, what is kept, what to change, how to resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnctl.config.instantiate import plain
from unlearnctl.runs.disk import smaller_evaluation
from unlearnctl.training.loop import Trainer, smaller_micro_batch
from unlearnctl.utils.atomic import why
from unlearnctl.utils.errors import UserError, brief, out_of_memory

if TYPE_CHECKING:
    from unlearnctl.unlearning.outcome import Outcome
    from unlearnctl.unlearning.setup import Setup


def as_user_error(
    error: BaseException, setup: Setup, saved: int | None, trainer: Trainer | None
) -> BaseException:
    """Turn an error into what a user can act on; itself where nothing can be added.

    Args:
        error: whatever stopped the run.
        setup: of the run.
        saved: the step of its newest training checkpoint.
        trainer: if it was training.
    """
    if isinstance(error, OSError) and error.strerror:
        return UserError(f"{why(error)}; {_how_to_resume(setup, saved)}")
    if _mixed_dtypes(error) and setup.prepared.settings.master_weights == "auto":
        return UserError(
            f"trainer.master_weights=auto: {setup.cfg.model.name} cannot compute with float32 masters of what trains "
            f"({brief(error)}); set it to none, or model.dtype=float32"
        )
    if not out_of_memory(error):
        return error
    if trainer is None:
        return UserError(f"{smaller_evaluation(plain(setup.cfg.eval))}; {_how_to_resume(setup, saved)}")
    return UserError(_training_memory(setup, saved, trainer))


def _mixed_dtypes(error: BaseException) -> bool:
    """Tell whether a model mixed two dtypes, as one that takes its first parameter's dtype for that of all."""
    return isinstance(error, RuntimeError) and any(w in str(error) for w in ("same dtype", "scalar type"))


def divergence(setup: Setup, outcome: Outcome, saved: int | None) -> str:
    """Say what to do after a loss, gradient or weight that was not finite."""
    lr, dtype = outcome.lr, setup.cfg.model.dtype
    mixed = setup.prepared.settings.mixed_precision
    narrow = [f"model.dtype={dtype}"] if dtype not in ("float32", "auto") else []
    narrow += [f"trainer.mixed_precision={mixed}"] if mixed != "no" else []
    kept = f"the weights before it are in {setup.directory / 'checkpoint'}"
    if not outcome.manifest:
        kept = "no weights are saved, because those before it were not finite either"
    wider = f" or, in a new run, wider numbers than {' and '.join(narrow)}" if narrow else ""
    return (
        f"{outcome.fit.stop_reason}; {kept}. Try a smaller learning rate, trainer.clip_norm=1.0{wider}: "
        f"unlearnctl train resume={setup.directory} trainer.optimizer.lr={lr / 10:g} ({_from(setup, saved)})"
    )


def _how_to_resume(setup: Setup, saved: int | None) -> str:
    if not (setup.directory / "config.yaml").is_file():
        return f"the run directory {setup.directory} was removed, and everything saved in it"
    return f"resume with unlearnctl train resume={setup.directory} ({_from(setup, saved)})"


def _from(setup: Setup, saved: int | None) -> str:
    steps = setup.prepared.settings.steps
    return "from the beginning" if saved is None else f"after step {saved} of {steps}"


def _training_memory(setup: Setup, saved: int | None, trainer: Trainer) -> str:
    settings, micro = setup.prepared.settings, trainer.micro
    ways = [f"trainer.micro_batch={micro} (the result stays the same)"] if micro > 1 else []
    ways.append(f"data.max_length={setup.cfg.data.max_length}")
    more = [] if settings.gradient_checkpointing else ["trainer.gradient_checkpointing=true"]
    if settings.sharding == "none":
        alone = trainer.accelerator.num_processes == 1
        more.append(f"{'launch=multi_gpu ' if alone else ''}trainer.sharding=fsdp")
    change = f" trainer.micro_batch={smaller_micro_batch(micro)}" if micro > 1 else ""
    return (
        f"out of memory at step {trainer.result.steps + 1}: lower {' or '.join(ways)}"
        f"{', or set ' + ' or '.join(more) if more else ''}: unlearnctl train resume={setup.directory}{change} "
        f"({_from(setup, saved)})"
    )
