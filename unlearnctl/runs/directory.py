"""Choose, check and create the directory of a run: `outputs/VERB/NAME/RUN`, or `…/sweep/RUN/HASH` in a sweep."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnctl.config.names import check_name
from unlearnctl.config.targets import check_config
from unlearnctl.runs.layout import BOOKKEEPING, KEPT, RUN_LOCK
from unlearnctl.runs.lock import locked
from unlearnctl.runs.moved import with_first_names, with_new_names
from unlearnctl.utils.atomic import write_atomically
from unlearnctl.utils.errors import UserError
from unlearnctl.utils.numbers import flatten
from unlearnctl.utils.redact import redact

if TYPE_CHECKING:
    from omegaconf import DictConfig

DEFAULT_NAME = re.compile(r"\d{8}-\d{6}")  # ${now:%Y%m%d-%H%M%S}
REPORT_BYTES = 50_000_000  # plots, HTML, metrics: generous
TRAINED = ("model", "data", "objective", "trainer")  # groups that every run of `train` has


def run_directory(cfg: DictConfig, verb: str) -> Path:
    """Choose the directory of this run; a sweep member's is named by a hash of what it computes."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not cfg.output_dir:
        raise UserError(f"output_dir={cfg.output_dir}: required; the folder under which runs are kept")
    for key in ("name", "run"):
        check_name(key, cfg[key])
    root = Path(cfg.output_dir) / verb
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return root / "sweep" / str(cfg.run) / config_hash(cfg)
    directory = root / str(cfg.name) / str(cfg.run)
    return next_free(directory) if has_default_name(cfg) else directory


def has_default_name(cfg: DictConfig) -> bool:
    """Tell whether the run is named after the second in which it started, not by its user."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.MULTIRUN:
        return False
    typed = any(each.lstrip("+").startswith("run=") for each in HydraConfig.get().overrides.task)
    return not typed and DEFAULT_NAME.fullmatch(str(cfg.run)) is not None


def next_free(directory: Path) -> Path:
    """Return the directory or, if it exists, the first free one of DIRECTORY-2, DIRECTORY-3, …"""
    number, found = 1, directory
    while found.exists():
        number += 1
        found = directory.with_name(f"{directory.name}-{number}")
    return found


def config_hash(cfg: DictConfig) -> str:
    """Hash the resolved config, without the keys that change no number, to eight hex digits."""
    from omegaconf import OmegaConf

    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    content = {key: value for key, value in resolved.items() if key not in BOOKKEEPING}
    # How often a run is saved changes no number.
    if isinstance(content.get("trainer"), dict):
        content["trainer"].pop("checkpoint", None)
    content.setdefault("eval", {})  # what Hydra makes of eval=[]
    content = with_first_names(content)
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]


def check_free(directory: Path, bytes_needed: int, again: DictConfig | None = None) -> None:
    """Refuse a directory that exists, or a disk that is too full.

    Args:
        directory: of the run.
        bytes_needed: to be written.
        again: config of a verb without `resume`; it may continue in what the same command left when it failed.

    Raises:
        UserError: with what to change.
    """
    try:
        held = directory.exists() and any(path.name not in (*KEPT, RUN_LOCK) for path in directory.iterdir())
    except OSError as error:
        raise UserError(f"output_dir={directory}: cannot be read: {error.strerror}") from error
    if held and not (again is not None and unfinished(directory, again)):
        raise UserError(f"run={directory.name}: {directory} exists already; choose another run=NAME")
    check_space(directory, bytes_needed, f"output_dir={directory}", "the checkpoint and reports need")


def unfinished(directory: Path, cfg: DictConfig) -> bool:
    """Tell whether a run with exactly this config began here and did not finish."""
    try:
        same = (directory / "config.yaml").read_text(encoding="utf-8") == _resolved(cfg)
    except OSError:
        return False
    return same and not (directory / "results.json").exists()


def _resolved(cfg: DictConfig) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(cfg, resolve=True)


def check_space(target: Path, bytes_needed: int, key: str, what: str) -> None:
    """Refuse a disk that is too full for what will be written to `target`.

    Raises:
        UserError: with what is needed and what is free.
    """
    parent = next(p for p in [target, *target.absolute().parents] if p.exists())
    free = shutil.disk_usage(parent).free
    if free < bytes_needed:
        raise UserError(
            f"{key}: not enough disk space: {what} about "
            f"{bytes_needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free"
        )


def _check_keys(cfg: DictConfig) -> None:
    """Refuse an API key or password anywhere in the config, because run directories are shown and shared."""
    from omegaconf import OmegaConf

    for key, value in flatten(OmegaConf.to_container(cfg, resolve=True)).items():  # type: ignore[arg-type]
        if redact(str(value)) != str(value):
            raise UserError(f"{key}: holds a key or a password; give it through the environment instead")


def keep_config(directory: Path, cfg: DictConfig) -> None:
    """Write the resolved config over the old one, after a resumption has changed it.

    Raises:
        OSError: it cannot be written.
    """
    _check_keys(cfg)
    write_atomically(directory / "config.yaml", _resolved(cfg))


def create(directory: Path, cfg: DictConfig) -> Path:
    """Create the directory and write the resolved config into it; of two commands at once, only one succeeds.

    The other takes the next free name if its user chose none. Returns the directory; `cfg.run` is set to its name.

    Raises:
        UserError: it cannot be written, or another config is already in it.
    """
    _check_keys(cfg)
    try:
        if has_default_name(cfg):
            directory = _made_alone(directory)
            cfg.run = directory.name
        else:
            directory.mkdir(parents=True, exist_ok=True)
        config, text = directory / "config.yaml", _resolved(cfg)
        with locked(directory):
            if config.exists() and config.read_text(encoding="utf-8") != text:
                raise UserError(f"run={directory.name}: {directory} exists already; choose another run=NAME")
            write_atomically(config, text)  # half a YAML file is often valid YAML
    except OSError as error:
        raise UserError(f"output_dir={directory}: cannot be written: {error.strerror}") from error
    return directory


def _made_alone(directory: Path) -> Path:
    """Create the directory, or the next free one, such that no other process uses it too."""
    while True:
        free = next_free(directory)
        try:
            free.mkdir(parents=True)
            return free
        except FileExistsError:  # another process was faster
            continue


def own_config(directory: Path, key: str = "resume", groups: Collection[str] = TRAINED) -> DictConfig:
    """Read the resolved config of a train run; like any other config it may name no class that is not allowed.

    Args:
        directory: of the run.
        key: the config key that messages name.
        groups: config groups that it must have.

    Raises:
        UserError: there is no config, or it would run code.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import AliasEvent, YAMLError, parse
    from yaml.cyaml import CSafeLoader

    path = directory / "config.yaml"
    try:
        events = parse(path.read_text(encoding="utf-8"), CSafeLoader)
        if any(isinstance(event, AliasEvent) for event in events):  # they can expand without bound
            raise UserError(f"{key}={directory}: config.yaml holds aliases, which no run writes")
        cfg = OmegaConf.create(with_new_names(OmegaConf.to_container(OmegaConf.load(path))))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{key}={directory}: no run directory there (config.yaml is missing)") from None
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{key}={directory}: config.yaml cannot be read ({type(error).__name__})") from error
    if not isinstance(cfg, DictConfig) or any(cfg.get(group) is None for group in groups):
        raise UserError(f"{key}={directory}: not a run of `unlearnctl train`")
    check_config(cfg, [path])
    return cfg
