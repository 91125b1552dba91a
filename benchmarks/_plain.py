"""Implement the plain reference from the RMU paper (arXiv 2403.03218): two whole models, every block run."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from unlearnctl.data.batch import Batch


class PlainRMU:
    """One AdamW step on ‖h(x_f) − c·u‖² + α‖h(x_r) − h0(x_r)‖², with activations from a hook.

    All parameters require grad, as they do in a model just loaded; the optimiser has the three matrices.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        layer: int,
        names: Sequence[str],
        target: Tensor,
        alpha: float,
        lr: float,
    ) -> None:
        self.model, self.frozen = model, copy.deepcopy(model)
        self.layer, self.target, self.alpha = layer, target, alpha
        parameters = dict(model.named_parameters())
        self.trained = {name: parameters[name] for name in names}
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=lr, weight_decay=0.0)

    def hidden(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        """Return the block's output, from a forward hook in a whole forward pass."""
        caught: list[Tensor] = []

        def hook(module: object, args: object, out: Tensor | tuple) -> None:
            caught.append(out[0] if isinstance(out, tuple) else out)

        handle = model.model.layers[self.layer].register_forward_hook(hook)
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        handle.remove()
        return caught[0]

    def step(self, forget: Batch, retain: Batch) -> float:
        """Do one update; return the loss."""
        steer = torch.nn.functional.mse_loss(
            self.hidden(self.model, forget).float(), self.target.expand(*forget.input_ids.shape, -1)
        )
        with torch.no_grad():
            kept = self.hidden(self.frozen, retain)
        keep = torch.nn.functional.mse_loss(self.hidden(self.model, retain).float(), kept.float())
        loss = steer + self.alpha * keep
        self.model.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
