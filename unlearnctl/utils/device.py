"""Choose the device that a command computes on."""

from __future__ import annotations

from unlearnctl.utils.errors import UserError


def pick_device(asked: str | None) -> str:
    """`asked`, or cuda if there is one.

    Raises:
        UserError: neither cpu nor cuda, or a GPU that is not there.
    """
    import torch

    if asked not in (None, "cpu", "cuda"):
        raise UserError(f"device={asked}: must be null, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: no CUDA device is visible; use device=cpu")
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")
