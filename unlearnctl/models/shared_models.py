"""Loads a base model once for several runs: their copies share every tensor that stays frozen."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnctl.models.agreement import check_blocks
from unlearnctl.models.load import load_model, load_trunk
from unlearnctl.models.partial.decoder import trunk_prefix
from unlearnctl.models.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sharing_copy(model: PreTrainedModel, own: Iterable[str]) -> PreTrainedModel:
    """Copy a model's modules but share its tensors, except those named `own`, which are copied.

    Names are those of the whole causal LM. A tied tensor stays tied.
    """
    prefix = trunk_prefix(model)
    names = {name.removeprefix(prefix) for name in own}
    kept = [p for name, p in model.named_parameters() if name not in names]
    # deepcopy takes what its memo already holds as copied, and so leaves these tensors shared.
    return copy.deepcopy(model, {id(tensor): tensor for tensor in [*kept, *model.buffers()]})


@dataclass
class SharedModels:
    """The weights that a group of runs shares: the whole model for evaluation, a trunk for training."""

    spec: ModelSpec
    path: str  # path of the block list
    device: str
    members: int
    blocks: int | None = None  # number of blocks of the trunk; None: training needs the whole model too
    whole: PreTrainedModel | None = None
    trunk: PreTrainedModel | None = None

    def untouched(self) -> PreTrainedModel:
        """Return the whole model as it is on disk, loading it on first use.

        Raises:
            UserError: see `load_model` and `check_blocks`.
        """
        if self.whole is None:
            self.whole = load_model(self.spec, self.device)
            check_blocks(self.whole, self.path)
        return self.whole

    def for_training(self, own: Sequence[str], sliced: bool = False) -> PreTrainedModel:
        """Return the model that one member trains: the base itself for a single member, else a sharing copy.

        If FSDP is to slice it (`sliced`), it is not kept, because nobody else can use it afterwards.
        """
        if self.blocks is None:
            base = self.untouched()
        else:
            if self.trunk is None:
                self.whole = None  # freed first, so that whole model and trunk are never in memory together
                gc.collect()
                self.trunk = load_trunk(self.spec, self.blocks, self.device)
                check_blocks(self.trunk, self.path)
            base = self.trunk
        if sliced:
            self.whole = None
        # A single member trains the base itself, which is then not copied. With adapters (`own` is empty) a copy of the
        # modules gets them, so that the base stays as it is for evaluation.
        return base if self.members == 1 and own else sharing_copy(base, own)

    def for_evaluation(self, own: Iterable[str]) -> PreTrainedModel:
        """Return a whole model whose tensors `own` may be overwritten."""
        return self.untouched() if self.members == 1 else sharing_copy(self.untouched(), own)

    def drop_trunk(self) -> None:
        """Let go of the trunk, so that it is freed as soon as no member trains it."""
        self.trunk = None
        gc.collect()
