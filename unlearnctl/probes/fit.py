"""One logistic probe per layer, its direction in activation coordinates, and how far to trust it.

Axes: L layers, N texts, D hidden size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unlearnctl.utils.atomic import replacing
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.hashing import sha256
from unlearnctl.utils.safe_json import loads

FORMAT = "unlearnctl/probes/1"
SHUFFLES = 5  # of the control


@dataclass(frozen=True)
class Probes:
    """For each layer: h·direction > threshold says "positive" (the text to unlearn)."""

    layers: tuple[int, ...]
    direction: Float[Tensor, "L D"]  # unit vectors
    threshold: Float[Tensor, " L"]
    neutral_mean: Float[Tensor, " L"]  # of h·direction over the negative texts ...
    neutral_scale: Float[Tensor, " L"]  # ... and its standard deviation
    accuracy: Float[Tensor, " L"]  # on held-out texts
    control: Float[Tensor, " L"]  # mean over shuffled labels: what a probe of this size finds in noise
    held_out: int

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by field name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def of(self, layers: Sequence[int]) -> dict[str, Tensor]:
        """Return the probes of some of the layers, in the given order.

        Raises:
            UserError: a layer that was not probed.
        """
        missing = [layer for layer in layers if layer not in self.layers]
        if missing:
            raise UserError(f"objective.probe: layer {missing[0]} was not probed; it has {list(self.layers)}")
        where = [self.layers.index(layer) for layer in layers]
        return {name: value[where] for name, value in self.tensors().items()}


def fit_probes(
    positive: Float[Tensor, "N L D"],
    negative: Float[Tensor, "M L D"],
    layers: Sequence[int],
    seed: int,
    share: float = 0.25,
    strength: float = 0.1,
) -> Probes:
    """Fit an L2-regularised logistic regression on standardised states, with `share` of the texts held out.

    Args:
        positive, negative: pooled states (see `probes.states`).
        layers: what their second axis is.
        seed: of the split and of the control's shuffled labels.
        share: held out, of each class.
        strength: scikit-learn's C, the inverse of the regularisation.
    """
    states = torch.cat([positive, negative]).double().numpy()
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    train, test = _split(labels, share, seed)
    rng = np.random.default_rng(seed + 1)
    shuffled = [rng.permutation(labels) for _ in range(SHUFFLES)]
    rows = [_fit_layer(states[:, i], labels, shuffled, train, test, strength) for i in range(len(layers))]
    stacked = {
        key: torch.tensor(np.stack([row[key] for row in rows]), dtype=torch.float32) for key in rows[0]
    }
    return Probes(layers=tuple(layers), held_out=len(test), **stacked)


def _split(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(labels)), test_size=share, random_state=seed, stratify=labels
    )
    return train, test


def _fit_layer(
    states: np.ndarray,
    labels: np.ndarray,
    shuffled: Sequence[np.ndarray],
    train: np.ndarray,
    test: np.ndarray,
    strength: float,
) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    # Standardised by the training texts alone: held-out ones must not leak into the probe.
    mean, scale = states[train].mean(0), states[train].std(0) + 1e-6
    scaled = (states - mean) / scale

    def fit(y: np.ndarray) -> tuple[LogisticRegression, float]:
        probe = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced").fit(
            scaled[train], y[train]
        )
        return probe, probe.score(scaled[test], y[test])

    probe, accuracy = fit(labels)
    weight = probe.coef_[0] / scale  # back to activation coordinates
    norm = np.linalg.norm(weight)
    # Measured over all negative texts, held out or not, because it scales a loss and does not judge the probe.
    along = states[labels == 0] @ weight / norm
    return {
        "direction": weight / norm,
        "threshold": (mean @ weight - probe.intercept_[0]) / norm,
        "neutral_mean": along.mean(),
        "neutral_scale": along.std() + 1e-6,
        "accuracy": accuracy,
        "control": np.mean([fit(y)[1] for y in shuffled]),
    }


def save_probes(folder: Path, probes: Probes, note: Mapping[str, Any]) -> dict[str, Any]:
    """Write `probes.safetensors` and `probes.json` {format, layers, held_out, sha256, note}; return the latter."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "probes.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in probes.tensors().items()}, temporary)
    manifest = {
        "format": FORMAT,
        "layers": list(probes.layers),
        "held_out": probes.held_out,
        "sha256": sha256(folder / "probes.safetensors"),
        **note,
    }
    with replacing(folder / "probes.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def load_probes(folder: Path) -> Probes:
    """Read what `save_probes` wrote.

    Raises:
        UserError: nothing there, another format, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    key = f"objective.probe={folder}"
    try:
        manifest = loads((folder / "probes.json").read_text(encoding="utf-8"))
        whole = manifest["format"] == FORMAT and sha256(folder / "probes.safetensors") == manifest["sha256"]
        tensors = load_file(folder / "probes.safetensors") if whole else {}
        probes = _checked(manifest, tensors) if whole else None
    except FileNotFoundError:
        raise UserError(f"{key}: no probes there; `unlearnctl probe` makes them") from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{key}: probes.json cannot be read ({type(error).__name__})") from error
    if probes is None:
        raise UserError(f"{key}: damaged, or not probes of format {FORMAT}")
    return probes


def _checked(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Probes | None:
    """Return the probes if layers and tensors belong together; type annotations alone refuse nothing."""
    probes = Probes(layers=tuple(manifest["layers"]), held_out=manifest["held_out"], **tensors)
    per_layer = [value for name, value in tensors.items() if name != "direction"]
    count = len(probes.layers)
    sound = all(type(layer) is int for layer in (*probes.layers, probes.held_out))
    sound = sound and all(value.shape == (count,) for value in per_layer)
    return probes if sound and probes.direction.ndim == 2 and len(probes.direction) == count else None
