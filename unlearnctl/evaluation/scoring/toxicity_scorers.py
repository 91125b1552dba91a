"""What judges whether a reply is toxic: a Hugging Face classifier, profanity-check, or a class of your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from unlearnctl.tinyworld.texts import is_toxic
from unlearnctl.utils.errors import UserError

Score = Callable[[Sequence[str]], list[float]]
LEXICON = "tinyworld:lexicon"
PROFANITY = (
    "profanity_check"  # the package alt-profanity-check: a linear classifier, no download, milliseconds
)
BUILT_IN = (LEXICON, PROFANITY)


@runtime_checkable
class Scorer(Protocol):
    """A scorer of your own, named in a config as `_target_` with `plugins=[my_package]`."""

    def validate(self) -> None:
        """Check what it needs before weights load.

        Raises:
            UserError: something is missing.
        """
        ...

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Return the toxicity of each text, 0-1."""
        ...


def name_of(scorer: str | Scorer) -> str:
    """Return what a scorer is called in messages and in the keys of kept answers."""
    made = type(scorer)
    return scorer if isinstance(scorer, str) else f"{made.__module__}.{made.__qualname__}"


def check_scorer(scorer: str | Scorer, key: str) -> None:
    """Check that a package is installed, and that a local folder is a classifier's.

    Raises:
        UserError: it is not.
    """
    if not isinstance(scorer, str):
        scorer.validate()
    elif scorer == PROFANITY and find_spec(PROFANITY) is None:
        raise UserError(f"{key}={PROFANITY}: not installed; pip install 'unlearnctl[profanity]'")
    elif scorer.startswith((".", "/", "~")) and not (Path(scorer) / "config.json").is_file():
        raise UserError(f"{key}={scorer}: no classifier folder there (config.json is missing)")


def make_scorer(scorer: str | Scorer, revision: str | None, label: str, key: str, device: str) -> Score:
    """Return a function from texts to scores, 0-1.

    Raises:
        UserError: the classifier cannot be loaded or has no such label.
    """
    if not isinstance(scorer, str):
        return scorer
    if scorer == LEXICON:
        return lambda texts: [float(is_toxic(text)) for text in texts]
    if scorer == PROFANITY:
        return _profanity
    return _classifier(scorer, revision, label, key, device)


def _profanity(texts: Sequence[str]) -> list[float]:
    from profanity_check import predict_prob

    return [float(probability) for probability in predict_prob(list(texts))] if texts else []


def _classifier(name: str, revision: str | None, label: str, key: str, device: str) -> Score:
    from transformers import pipeline

    try:
        classify = pipeline(
            "text-classification",
            model=name,
            revision=revision,
            top_k=None,
            device=device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{key}.scorer={name}: cannot be loaded ({str(error).splitlines()[0][:160]})"
        ) from error

    def score(texts: Sequence[str]) -> list[float]:
        found: list[float] = []
        outputs: Any = classify(list(texts), truncation=True, batch_size=32)
        for labels in outputs:
            by_label = {entry["label"].lower(): entry["score"] for entry in labels}
            if label.lower() not in by_label:
                raise UserError(
                    f"{key}.toxic_label={label}: the classifier's labels are {', '.join(by_label)}"
                )
            found.append(by_label[label.lower()])
        return found

    return score
