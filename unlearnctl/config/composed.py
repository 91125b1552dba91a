"""Check what Hydra has composed as a whole: its keys, their types, and where its classes come from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest import mock

import yaml
from annotated_types import Ge, Le
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import NonNegativeFloat, PositiveInt
from yaml import MarkedYAMLError
from yaml.cyaml import CSafeLoader

from unlearnctl.config.names import check_name
from unlearnctl.config.targets import check_config
from unlearnctl.utils.errors import UserError, brief
from unlearnctl.utils.paths import conf_dir, shown
from unlearnctl.utils.validate import check_present, read

Group = Mapping[str, Any]
Name = str | int | float  # run=1 is a name too


@dataclass(frozen=True)
class _Kept:
    """Keys of every verb that makes a run directory."""

    seed: Annotated[int, Ge(0), Le(2**32 - 1)]  # what every generator takes
    output_dir: Name
    name: Name
    run: Name
    model: Group


@dataclass(frozen=True)
class Train(_Kept):
    """`unlearnctl train`."""

    data: Group
    objective: Group
    trainer: Group
    tracker: Group
    launch: Group
    eval: Group | None = None
    resume: Name | None = None
    plugins: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tune(Train):
    """`unlearnctl tune`."""

    tune: Group = field(default_factory=dict)
    select: Group | None = None


@dataclass(frozen=True)
class Eval(_Kept):
    """`unlearnctl eval`."""

    launch: Group
    eval: Group | None = None
    run_dir: Name | None = None
    device: Literal["cpu", "cuda"] | None = None
    plugins: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Probe(_Kept):
    """`unlearnctl probe`."""

    data: Group
    layers: list[int] | None = None
    pool: Literal["mean", "before"] = "mean"
    texts: PositiveInt = 1024
    batch_size: PositiveInt = 16
    device: Literal["cpu", "cuda"] | None = None


@dataclass(frozen=True)
class Repair(_Kept):
    """`unlearnctl repair`."""

    data: Group
    repair: Group
    eval: Group | None = None
    run_dir: Name | None = None
    unlearned: Name | None = None
    strengths: list[NonNegativeFloat] = field(default_factory=list)
    strength: NonNegativeFloat | None = None
    select: Group | None = None
    sequences: PositiveInt = 256
    batch_size: PositiveInt = 16
    device: Literal["cpu", "cuda"] | None = None
    plugins: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Attack(_Kept):
    """`unlearnctl attack`."""

    eval: Group | None = None
    attack: Group | None = None
    run_dir: Name | None = None
    unlearned: Name | None = None
    device: Literal["cpu", "cuda"] | None = None
    plugins: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Export:
    """`unlearnctl export`."""

    run: Name
    to: Name
    model: Group


KEYS = {
    "train": Train,
    "tune": Tune,
    "eval": Eval,
    "probe": Probe,
    "repair": Repair,
    "attack": Attack,
    "export": Export,
}


def check_keys(verb: str, cfg: DictConfig) -> None:
    """Refuse keys that a verb does not have, and values of the wrong type.

    Raises:
        UserError: names the key, with the nearest one that exists.
    """
    schema = KEYS.get(verb)  # a verb without one has the keys of its conf/VERB.yaml, which Hydra checks
    if schema:
        check_present("", [str(key) for key in cfg], schema)  # before interpolations are resolved
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    values.pop("hydra", None)
    missing = next((str(key) for key, value in values.items() if value == "???"), None)
    if missing:
        raise UserError(f"{missing}=???: required; give it as key=value")
    if schema:
        read(schema, "", values)


@contextmanager
def guarded() -> Iterator[None]:
    """Make Hydra check every config it composes, before it makes loggers and plugins from it."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.hydra import Hydra

    compose, mode = ConfigLoaderImpl.load_configuration, Hydra.get_mode

    def checked(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        try:
            cfg = compose(self, *args, **kwargs)
        except (UserError, HydraException, OmegaConfBaseException, MarkedYAMLError, OSError):
            raise  # each has a good message already
        except Exception as error:  # a file is not a config; this can come from anywhere in Hydra
            if str(error).startswith("Config group override must be"):
                raise  # and this one too
            raise UserError(_unreadable(self) or f"a config cannot be composed ({brief(error)})") from error
        check_config(cfg, _files(cfg))
        check_characters({key: node for key, node in _plain(cfg).items() if key != "hydra"})
        if "output_dir" in cfg:  # a sweep's folder is made before its members are checked
            check_name("run", cfg.run)
        return cfg

    def asked(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        # Hydra composes everything once more just to look up hydra.mode. Where nobody sets it, -m alone decides.
        return mode(self, config_name, overrides) if any("hydra.mode" in arg for arg in overrides) else None

    with (
        mock.patch.object(ConfigLoaderImpl, "load_configuration", checked),
        mock.patch.object(Hydra, "get_mode", asked),
    ):
        yield


def check_characters(node: Any, key: str = "") -> None:
    """Refuse texts that no file can hold, such as file names in another encoding, or lone surrogates.

    Raises:
        UserError: names the key, with the bytes escaped.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            check_characters(str(name), key)
            check_characters(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            check_characters(value, key)
    elif isinstance(node, str):
        try:
            node.encode()
        except UnicodeEncodeError:
            seen = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", node)
            seen = seen.encode("ascii", "backslashreplace").decode()
            raise UserError(f"{key}={seen}: not UTF-8, so it cannot be recorded; rename it") from None


def _plain(cfg: DictConfig) -> dict[str, Any]:
    found = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _unreadable(loader: Any) -> str:
    """Find out which of the user's files is not a config, since Hydra does not say."""
    for place in loader.config_search_path.get_path():
        if place.provider == "main":  # ours
            continue
        for file in sorted(Path(str(place.path).removeprefix("file://")).rglob("*.yaml")):
            try:
                text = file.read_text(encoding="utf-8")
                ConfigSource._get_header_dict(text)
                cfg = OmegaConf.create(yaml.load(text, CSafeLoader))
            except UnicodeDecodeError as error:
                return f"{shown(file)}: not UTF-8 (byte {error.start + 1})"
            except RecursionError:
                return f"{shown(file)}: nested too deeply"
            except Exception as error:
                return f"{shown(file)}: not a config ({brief(error)})"
            if isinstance(cfg, DictConfig) and "hydra" in cfg and cfg.hydra is None:
                return f"{shown(file)}: hydra: has no value; leave the line out"
    return ""


def _files(cfg: DictConfig) -> list[Path]:
    """Return the folders that configs come from, the user's before ours."""
    sources = OmegaConf.select(cfg, "hydra.runtime.config_sources", default=[])
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    return sorted(folders, key=lambda folder: folder == conf_dir())
