"""One load for several runs on the same base model: copies that share every tensor which stays frozen."""

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
    """A model of its own modules whose tensors are the original's, but for those named `own`.

    Names as in the whole causal LM. A tied tensor stays tied.
    """
    prefix = trunk_prefix(model)
    names = {name.removeprefix(prefix) for name in own}
    kept = [p for name, p in model.named_parameters() if name not in names]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in [*kept, *model.buffers()]})


@dataclass
class SharedModels:
    """The weights that a group of runs reads: the whole model for evaluation, a trunk for training."""

    spec: ModelSpec
    path: str  # of the block list
    device: str
    members: int
    blocks: int | None = None  # of the trunk; None: training too needs the whole model
    whole: PreTrainedModel | None = None
    trunk: PreTrainedModel | None = None

    def untouched(self) -> PreTrainedModel:
        """The whole model as it is on disk.

        Raises:
            UserError: see `load_model` and `check_blocks`.
        """
        if self.whole is None:
            self.whole = load_model(self.spec, self.device)
            check_blocks(self.whole, self.path)
        return self.whole

    def for_training(self, own: Sequence[str], sliced: bool = False) -> PreTrainedModel:
        """What one member trains; the base itself if there is but one member and it owns some tensors of it.

        If it is to be `sliced` over processes, it is given away: evaluation loads another.
        """
        if self.blocks is None:
            base = self.untouched()
        else:
            if self.trunk is None:
                self.whole = None
                gc.collect()
                self.trunk = load_trunk(self.spec, self.blocks, self.device)
                check_blocks(self.trunk, self.path)
            base = self.trunk
        if sliced:
            self.whole = None
        return base if self.members == 1 and own else sharing_copy(base, own)

    def for_evaluation(self, own: Iterable[str]) -> PreTrainedModel:
        """A whole model that may be written over in the tensors `own`."""
        return self.untouched() if self.members == 1 else sharing_copy(self.untouched(), own)

    def drop_trunk(self) -> None:
        """Leave the trunk to those who train it."""
        self.trunk = None
        gc.collect()
