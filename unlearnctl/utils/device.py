"""Choose the device that a command computes on."""

from __future__ import annotations

from unlearnctl.utils.errors import UserError


def pick_device(asked: str | None) -> str:
    """Return `asked`, or cuda if there is one.

    Raises:
        UserError: cuda, where there is no GPU.
    """
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: no CUDA device is visible; use device=cpu")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")
