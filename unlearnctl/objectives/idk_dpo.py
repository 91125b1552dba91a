"""IdkDPO: prefer "I do not know" (the preference baseline of TOFU, arXiv 2401.06121, as in arXiv 2404.05868)."""

from __future__ import annotations

from unlearnctl.objectives.dpo import DPO


class IdkDPO(DPO):
    """DPO against refusals of our own (`unlearnctl.data.refusals`), which take turns over the rows."""

    instead = "refusal"
