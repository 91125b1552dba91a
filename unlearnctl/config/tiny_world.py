"""Refuse the tiny world's data and suites on models that do not know its words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unlearnctl.config.checks import check_model, check_writable
from unlearnctl.config.instantiate import plain
from unlearnctl.models.folder import check_folder
from unlearnctl.models.spec import ModelSpec
from unlearnctl.tinyworld import model_dir
from unlearnctl.tinyworld.resolve import resolve
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.safe_json import loads

SCHEME = "tinyworld:"
SUITES = "unlearnctl.evaluation.suites.tinyworld."
ANY_MODEL = ("smoke",)  # suites that only show that things run


def check_known(cfg: DictConfig, spec: ModelSpec, changes: bool = False) -> None:
    """Check the model, and that it knows what it will read and be asked.

    Args:
        cfg: the verb's config.
        spec: its model.
        changes: whether the verb changes weights.

    Raises:
        UserError: see `check_model`, `check_writable` and `check_world`.
    """
    if not spec.is_local:  # before the hub is asked
        check_world(cfg, spec)
    if changes:
        check_writable(spec)
    check_model(spec)
    if spec.is_local:
        check_world(cfg, spec)


def check_world(cfg: DictConfig, spec: ModelSpec) -> None:
    """Refuse the tiny world's data, suites and attacks on a model that never saw it.

    Raises:
        UserError: names them, and what to type instead.
    """
    suites = [name for name, node in _group(cfg, "eval").items() if name not in ANY_MODEL and _asks(node)]
    texts = list(_paths("data", _group(cfg, "data")))
    attacks = {name: list(_paths(f"attack.{name}", node)) for name, node in _group(cfg, "attack").items()}
    if not (suites or texts or any(attacks.values())) or is_tinyworld(str(cfg.model.path)):
        return
    if not spec.is_local:
        check_folder(spec.path)  # a missing local folder is the more useful message
    asks, reads = _instead(str(cfg.model.name))
    if texts:
        name, instead = str(cfg.data.name), f"{reads}{f' {asks}' if suites else ''}"
        said = f"{f'data={name}' if name.startswith('tinyworld') else texts[0]}: texts of"
    elif suites:
        said, instead = f"eval=[{','.join(suites)}]: asks about", asks
    else:
        said, instead = f"{next(paths[0] for paths in attacks.values() if paths)}: texts of", _other(attacks)
    raise UserError(
        f"{said} the embedded tiny world, which {_shown(cfg)} has never seen; choose e.g. {instead}"
    )


def _other(attacks: Mapping[str, list[str]]) -> str:
    """Suggest what to type if attacks read the tiny world's files: attacks without files, or the user's own files."""
    keys = [path.partition("=")[0] for paths in attacks.values() for path in paths]
    own = " ".join(f"{key}=FILE" for key in keys)
    left = [name for name, paths in attacks.items() if not paths or name == "prefix"]
    fixed = " attack.prefix.search=null" if attacks.get("prefix") else ""
    return f"attack=[{','.join(left)}]{fixed}, or {own}" if left else own


def _shown(cfg: DictConfig) -> str:
    """Return the model as it is typed."""
    name = str(cfg.model.name)
    return (
        f"model.path={cfg.model.path}" if name == "local" or name.startswith("tinyworld") else f"model={name}"
    )


def is_tinyworld(path: str) -> bool:
    """Tell whether the model at `path` is from the tiny world: one of ours, or a folder with its vocabulary."""
    if path.startswith(SCHEME):
        return True
    file = Path(resolve(path)) / "tokenizer.json"
    try:
        if file.stat().st_size > 10 * (model_dir() / "tokenizer.json").stat().st_size:
            return False
        return bool(_vocabulary(file) == _our_vocabulary())
    except ValueError:  # damaged: the tokenizer's own error says so
        return True
    except (OSError, KeyError, TypeError):
        return False


def _vocabulary(file: Path) -> Any:
    return loads(file.read_text(encoding="utf-8"))["model"]["vocab"]


@cache
def _our_vocabulary() -> Any:
    return _vocabulary(model_dir() / "tokenizer.json")


def _group(cfg: DictConfig, name: str) -> Mapping[str, Any]:
    return plain(cfg[name]) if cfg.get(name) else {}


def _asks(node: object) -> bool:
    """Tell whether a suite is the tiny world's own, or reads its files."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return str(target).startswith(SUITES) or any(_paths("", node))


def _paths(key: str, node: object) -> Iterator[str]:
    """Yield every `key=tinyworld:…` in a part of the config."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _paths(f"{key}.{name}", value)
    elif isinstance(node, list):
        for value in node:
            yield from _paths(key, value)
    elif isinstance(node, str) and node.startswith(SCHEME):
        yield f"{key}={node}"


def _instead(model: str) -> tuple[str, str]:
    """Return suites and data that fit a model."""
    if model.startswith("tofu"):
        return "eval=[tofu]", "data=tofu_forget10"
    return "eval=[wmdp,mmlu]", "data=wmdp_bio"
