"""Take model, data and suites from the run that a verb works on, with what was typed beside it."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from unlearnctl.config.tiny_world import SCHEME
from unlearnctl.models.delta import read_manifest
from unlearnctl.models.folder import looks_local
from unlearnctl.runs.directory import own_config
from unlearnctl.tinyworld.resolve import provide, resolve
from unlearnctl.utils.errors import UserError, nearest


def typed(group: str) -> tuple[str | None, list[str]]:
    """Return what was typed for a config group: the choice (`model=local`), and keys below it (`model.path`)."""
    choice, keys = None, []
    for override in HydraConfig.get().overrides.task if HydraConfig.initialized() else ():
        key, _, value = override.lstrip("+~").partition("=")
        if key == group:
            choice = value.strip("'\"")
        elif key.startswith(f"{group}."):
            keys.append(key)
    return choice, keys


def laid_over(own: DictConfig, cfg: DictConfig, group: str) -> DictConfig:
    """Lay the keys that were typed over the run's own `group`; take `cfg`'s as a whole where another was chosen."""
    choice, keys = typed(group)
    if choice is not None and group != "model":
        return cfg[group]
    merged = OmegaConf.create({group: OmegaConf.to_container(own, resolve=True)})
    for key in keys:
        OmegaConf.update(merged, key, OmegaConf.select(cfg, key), merge=False)
    return merged[group]


def with_model_of(cfg: DictConfig, run: Path) -> DictConfig:
    """Put the model of a train run into the verb's config; what was typed of the model, and a name, wins.

    Raises:
        UserError: `run` is not a run directory of `unlearnctl train`, or its base is no longer there.
    """
    trained = own_config(run, "run_dir", ("model", "objective", "name"))
    merged = cfg.copy()
    OmegaConf.set_struct(merged, False)
    merged.model = model_of_run(trained.model, cfg, run)
    if typed("name")[0] is None:
        merged.name = f"{trained.name}"
    return merged


def of_model(model: DictConfig, key: str) -> DictConfig | None:
    """Look up the settings of another verb that stand in the config of the model, `validation` or `relearn`.

    Models of runs from before those keys existed have them in `recipe`.
    """
    old = {"validation": "monitor_overrides"}.get(key, key)
    found: DictConfig | None = model.get(key) or (model.get("recipe") or {}).get(old)
    return found


def suites_of_run(cfg: DictConfig, run: Path) -> DictConfig:
    """Return the suites that were named or, if none were, the run's own with what was typed of them.

    Named ones over texts that no file was named for get the run's (`texts_of_run`).

    Raises:
        UserError: a setting of a suite that the run does not have.
    """
    choice, keys = typed("eval")
    if choice is not None:
        named = OmegaConf.create({"eval": {}}) if not cfg.get("eval") else cfg.copy()
        OmegaConf.set_struct(named, False)
        texts_of_run(named.eval, run)
        return named.eval
    own = own_config(run, "run_dir", ("model", "objective")).get("eval") or OmegaConf.create({})
    for key in keys:
        if (name := key.split(".")[1]) not in own:
            raise UserError(
                f"{key}: {run} has no suite {name}{nearest(name, own)}, it has {', '.join(own) or 'none'}; "
                "name the suites, as in eval=[a,b]"
            )
    return laid_over(own, cfg, "eval")


def texts_of_run(suites: DictConfig, run: Path) -> None:
    """Give suites over texts that no file was named for, such as `forget_perplexity`, the run's own by their role.

    Changes `suites`, and says so.
    """
    for name in map(str, suites):
        node = suites[name]
        if not OmegaConf.is_missing(node, "path") or node.get("role") not in ("forget", "retain"):
            continue
        data = own_config(run, "run_dir", ("data",)).data
        own = data[node.role]
        if "path" in own:  # several topics have several files
            read = {
                "chat_template": data.get("chat_template", False),
                "long": "cut",
                "limit": node.get("limit"),
            }
            suites[name] = OmegaConf.merge(node, own, read)
            print(f"eval.{name}: texts are data.{node.role} of the run")


def relearn_corpora(trained: DictConfig, cfg: DictConfig) -> None:
    """Give relearning the run's forget and retain texts where it would read those of the tiny world.

    Changes `cfg.attack`; what was typed of a corpus wins.
    """
    corpora = cfg.attack.relearn.corpora
    for name, side in (("domain", "forget"), ("unrelated", "retain")):
        given, key = corpora.get(name), f"attack.relearn.corpora.{name}."
        if given is None or not str(given.get("path")).startswith(SCHEME):
            continue
        own = trained.data[side]
        read = {"chat_template": trained.data.get("chat_template", False)}
        topics = {name: own} if "path" in own else {f"{name}_{topic}": node for topic, node in own.items()}
        leaves = [each.removeprefix(key) for each in typed("attack")[1] if each.startswith(key)]
        del corpora[name]
        corpora.update(
            # whole texts, cut where they are too long: relearning takes each as one
            {
                each: {**read, **node, "long": "cut", **{leaf: given[leaf] for leaf in leaves}}
                for each, node in topics.items()
            }
        )
        print(f"relearn: {name} texts are data.{side} of the run")


def leave_out_tinyworld(cfg: DictConfig) -> None:
    """Leave out default attacks that would read the tiny world's facts: `latent`, and the search of `prefix`.

    Changes `cfg.attack`, and says so. Attacks that were named on the command line stay as they are.
    """
    if typed("attack")[0] is not None:
        return
    if _is_ours(cfg, "attack.latent.train.path"):
        del cfg.attack.latent
        print(
            "latent: left out; it needs attack=[latent] attack.latent.train.path=FILE attack.latent.test.path=FILE"
        )
    if _is_ours(cfg, "attack.prefix.search.corpus.path"):
        cfg.attack.prefix.search = None
        print("prefix: fixed texts alone; a search needs attack.prefix.search.corpus.path=FILE")


def _is_ours(cfg: DictConfig, key: str) -> bool:
    return str(OmegaConf.select(cfg, key)).startswith(SCHEME)


def model_of_run(own: DictConfig, cfg: DictConfig, run: Path, key: str = "run_dir") -> DictConfig:
    """Return the run's model with what was typed of it, above all `model.path` where its base has moved.

    Args:
        own: `model` of the run.
        cfg: the verb's config.
        run: its directory, and
        key: how it was named, for messages.

    Raises:
        UserError: another model was chosen, or the base is no longer where it was.
    """
    choice, keys = typed("model")
    if choice not in (None, "local", own.get("name")):
        raise UserError(
            f"model={choice}: {key}={run} was made with model={own.get('name')}; leave model out, or give its base "
            "as model.path=DIR"
        )
    model = laid_over(own, cfg, "model")
    if "model.path" not in keys and _gone(str(model.get("path")), run):
        raise UserError(
            f"model.path={model.path}: no such folder; {key}={run} was made from it, so add model.path=DIR, "
            "where it is now"
        )
    return model


def _gone(path: str, run: Path) -> bool:
    """Tell whether a local base is missing, also where its path could be a hub id."""
    provide(resolve(path))
    if Path(resolve(path)).exists():
        return False
    if looks_local(path):
        return True
    return bool(re.search(r"@[0-9a-f]{16}:\w+$", read_manifest(run / "checkpoint")["identity"]))
