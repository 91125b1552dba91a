"""Map classes that have moved since some runs were made, so that these runs can still be read and resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TARGET = "_target_"
SUITES = {  # where they are, and where they were
    "unlearnctl.evaluation.suites.lm_eval.LMEvalSuite": "unlearnctl.evaluation.lm_eval_suite.LMEvalSuite",
    "unlearnctl.evaluation.suites.membership.MembershipSuite": "unlearnctl.evaluation.membership.MembershipSuite",
    "unlearnctl.evaluation.suites.muse.MuseSuite": "unlearnctl.evaluation.muse.MuseSuite",
    "unlearnctl.evaluation.suites.perplexity.PerplexitySuite": "unlearnctl.evaluation.perplexity.PerplexitySuite",
    "unlearnctl.evaluation.suites.rwku.RwkuSuite": "unlearnctl.evaluation.rwku.RwkuSuite",
    "unlearnctl.evaluation.suites.tinyworld.TinyWorldSuite": "unlearnctl.evaluation.tinyworld.TinyWorldSuite",
    "unlearnctl.evaluation.suites.tofu.TofuSuite": "unlearnctl.evaluation.tofu.TofuSuite",
    "unlearnctl.evaluation.suites.toxicity.ToxicitySuite": "unlearnctl.evaluation.toxicity.ToxicitySuite",
}


def with_new_names(config: Any) -> Any:
    """Return a config in which every class is named by where it is now."""
    return _renamed(config, {old: new for new, old in SUITES.items()})


def with_first_names(config: Any) -> Any:
    """Return a config in which every class is named by where it was first, so that a move changes no hash."""
    return _renamed(config, SUITES)


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(each, names) for each in node]
    if not isinstance(node, dict):
        return node
    renamed = {key: _renamed(value, names) for key, value in node.items()}
    target = renamed.get(TARGET)
    if isinstance(target, str):
        renamed[TARGET] = names.get(target, target)
    return renamed
