"""AltPO: alternate preference optimisation (Mekala et al. 2024, arXiv 2409.13474)."""

from __future__ import annotations

from unlearnctl.objectives.dpo import DPO


class AltPO(DPO):
    """DPO towards plausible alternates of the same kind, several to a text, the next one in each pass over the data.

    The loss is DPO's; what the paper adds is where alternates come from: it has the original model write them. Ours
    come with the data (`data.forget.alternate_field`, a list of texts).
    """

    instead = "alternate"
