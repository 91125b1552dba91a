"""Every target, by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import checkpoints, configs, data, reports, text, trust

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (data, checkpoints, reports, text, configs, trust)
    for target in module.TARGETS
}
