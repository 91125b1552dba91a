"""What every objective, retain term and token weighting refuses when it is made from Python."""

from __future__ import annotations

import pytest

from unlearnctl.objectives.npo import NPO
from unlearnctl.objectives.retain import KL, EmbedDiff
from unlearnctl.objectives.rmu import RMU
from unlearnctl.objectives.token_weights import Probability
from unlearnctl.utils.errors import UserError


class Louder(RMU):
    """Inherits the constructor: it is checked once, under this name."""


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: RMU(7, -1, 10.0), "RMU.steering_coeff=-1: must be a positive number"),
        (lambda: RMU(layer=7, steering_coeff=1.0, alpha=float("nan")), "RMU.alpha=nan: must be a finite number"),
        (lambda: RMU(7, 1.0, 1.0, "mask"),  # type: ignore[arg-type]
         "RMU.reduction=mask: unknown (did you mean 'masked'?). Allowed: all, masked, sequence"),
        (lambda: Louder(7, 0.0, 1.0), "Louder.steering_coeff=0.0: must be a positive number"),
        (lambda: NPO(0.1, 1.0, 1.0, "kl"),  # type: ignore[arg-type]
         "NPO.retain=kl: must be a mapping with _target_"),
        (lambda: Probability(-1.0), "Probability.beta=-1.0: must be a number, 0 or more"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_in_one_line(make: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == line


def test_what_configs_allow_is_allowed() -> None:
    assert NPO(beta=0.1, forget_coeff=1, alpha=0, retain=KL()).beta == 0.1
    assert EmbedDiff((3, 5)).layers == (3, 5)
