"""Slower where nothing improves: the learning rate is cut when a column of the history stands still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs

from fnn.options import integer, real
from fnn.training.history import Mode, better, checked_mode


class Pace(NamedTuple):
    """How fast a training goes, and what that follows from: the epochs so far, and no more."""

    scale: float = 1.0
    best: float = math.nan
    waited: int = 0
    resting: int = 0


@attrs.frozen
class Plateau:
    """What `reduce_on_plateau` makes: how the learning rate follows from the history."""

    patience: int
    factor: float
    monitor: str
    mode: Mode
    min_delta: float
    cooldown: int
    least: float

    def after(self, pace: Pace, record: Mapping[str, Any]) -> Pace:
        """Return the pace after another epoch."""
        scale, best, waited, resting = pace
        value = record[self.monitor]
        if better(value, best, self.mode, 0.0 if math.isnan(best) else self.min_delta):
            best, waited = value, 0
        else:
            waited += 1
        if resting:
            resting, waited = resting - 1, 0
        if waited >= self.patience:
            scale, waited, resting = max(scale * self.factor, self.least), 0, self.cooldown
        return Pace(scale, best, waited, resting)


def reduce_on_plateau(
    patience: int,
    *,
    factor: float = 0.1,
    monitor: str = "validation_loss",
    mode: Mode | None = None,
    min_delta: float = 0.0,
    cooldown: int = 0,
    least: float = 0.0,
) -> Plateau:
    """Return how `fit(..., plateau=…)` cuts the learning rate when a column no longer improves.

    The rate is a pure function of the history, so that a resumed run has the rates of the original.
    NaN is worse than every number. The history shows the rate as "learning_rate".

    Args:
        patience: Epochs without improvement before a cut, 1 or more; PyTorch's, and one.
        factor: What the rate is multiplied by, from 0 to below 1.
        monitor: Column of the history to watch.
        mode: Whether smaller ("min") or larger ("max") is better; needed unless it is a loss.
        min_delta: By how much a value must be better to count, 0 or more.
        cooldown: Epochs after a cut that are not counted, 0 or more.
        least: The smallest share of the learning rate that is left, from 0 to 1.

    Raises:
        OptionError: If an argument is out of its range.
    """
    who = "reduce_on_plateau"
    return Plateau(
        integer(who, "patience", patience),
        real(who, "factor", factor, least=0.0, below=1.0),
        monitor,
        checked_mode(who, mode, monitor),
        real(who, "min_delta", min_delta, least=0.0),
        integer(who, "cooldown", cooldown, least=0),
        real(who, "least", least, least=0.0, most=1.0),
    )
