"""What a run that failed is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.synthetic import make_trainer
from unlearnctl.objectives.grad_ascent import GradAscent
from unlearnctl.unlearning.advice import as_user_error
from unlearnctl.utils.errors import UserError


def setup(masters: str) -> Any:
    settings = SimpleNamespace(master_weights=masters)
    return SimpleNamespace(
        prepared=SimpleNamespace(settings=settings), cfg=SimpleNamespace(model=SimpleNamespace(name="gpt"))
    )


def test_a_model_that_cannot_compute_with_masters() -> None:
    """Its mask has the dtype of the first parameter, so it fails where the embedding is a master."""
    half: dict[str, Any] = {"dtype": torch.bfloat16, "steps": 1, "master_weights": "auto"}
    with pytest.raises(RuntimeError) as failed:
        make_trainer(GradAscent(), "openai-gpt", trainable=["tokens_embed"], **half).fit()
    told = as_user_error(failed.value, setup("auto"), None, None)
    assert isinstance(told, UserError)
    assert str(told).startswith(
        "trainer.master_weights=auto: gpt cannot compute with float32 masters of what trains"
    )
    assert str(told).endswith("set it to none, or model.dtype=float32")
    assert as_user_error(failed.value, setup("none"), None, None) is failed.value
    make_trainer(GradAscent(), "openai-gpt", trainable=[r"\.h\."], **half).fit()
