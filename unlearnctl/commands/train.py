"""`unlearnctl train`: unlearn, measure before and after, save what changed."""

from __future__ import annotations

from unlearnctl.unlearning.train import train

__all__ = ["train"]
