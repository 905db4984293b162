"""Hypothesis strategies for schedules and for the transforms of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from fnn import tree
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.adaptive import adagrad, adam, adamw, rmsprop, scale_by_adam, scale_by_rms
from fnn.optimizers.compose import chain
from fnn.optimizers.constraints import add_decayed_weights, clip_by_global_norm, freeze
from fnn.optimizers.gradient import momentum, scale_by_learning_rate, sgd, trace
from fnn.optimizers.transform import Transform
from fnn.tree import TreeLike

# --- schedules ------------------------------------------------------------------------------


@attrs.frozen
class Curve:
    """A schedule that goes from one number to another: start + (end - start) · step / (step + half).

    It returns a float64 of NumPy's, which turns float32 into float64 wherever it is not made a
    Python float first.
    """

    start: float
    end: float
    half: int = 1

    def __call__(self, step: int) -> float:
        """Return the number at `step`."""
        return np.float64(self.start + (self.end - self.start) * step / (step + self.half))


@attrs.frozen
class Steps:
    """A schedule that holds one number before a step and another from then on."""

    before: float
    after: float
    at: int = 1

    def __call__(self, step: int) -> float:
        """Return the number at `step`."""
        return self.before if step < self.at else self.after


def schedules(least: float = 0.0, most: float = 1.0) -> st.SearchStrategy[Callable[[int], float]]:
    """Return schedules, functions `step -> float`, with values from `least` to `most`."""
    values, steps = _floats(least, most), st.integers(1, 4)
    return st.builds(Steps, values, values, steps) | st.builds(Curve, values, values, steps)


def _floats(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_subnormal=False)


def _numbers(least: float = 0.0, most: float = 1.0) -> st.SearchStrategy[Any]:
    return _floats(least, most) | schedules(least, most)


# --- transforms -----------------------------------------------------------------------------


def _table() -> dict[str, st.SearchStrategy[Transform]]:
    rate, decay, nesterov = _numbers(1e-4), _numbers(most=0.99), st.booleans()
    eps = st.sampled_from([1e-8, 1e-3, 0.1])
    moments = {"b1": decay, "b2": decay, "eps": eps}
    table = {
        "sgd": st.builds(sgd, rate),
        "scale_by_learning_rate": st.builds(scale_by_learning_rate, rate),
        "momentum": st.builds(momentum, rate, decay, nesterov=nesterov),
        "trace": st.builds(trace, decay, nesterov=nesterov),
        "rmsprop": st.builds(rmsprop, rate, decay, eps=eps),
        "scale_by_rms": st.builds(scale_by_rms, decay, eps=eps),
        "adagrad": st.builds(adagrad, rate, eps=eps),
        "adam": st.builds(adam, rate, **moments),
        "adamw": st.builds(adamw, rate, **moments, weight_decay=_numbers()),
        "scale_by_adam": st.builds(scale_by_adam, **moments),
        "add_decayed_weights": st.builds(add_decayed_weights, _numbers()),
        "clip_by_global_norm": st.builds(clip_by_global_norm, _numbers(most=10.0)),
    }
    for name in OPTIMIZERS:
        # With its defaults, where no row above draws them; what users registered is theirs to draw.
        if getattr(OPTIMIZERS[name], "__module__", "").startswith("fnn."):
            table.setdefault(name, st.builds(OPTIMIZERS[name], rate))
    return table


TRANSFORMS = _table()


def transforms(params: TreeLike | None = None) -> st.SearchStrategy[Transform]:
    """Return every public optimizer and transform with valid options, and chains of up to three.

    Numbers are floats or schedules.

    Args:
        params: Given them, `freeze` holds leaves and layers of theirs; without, it holds nothing.
    """
    single = st.one_of(*TRANSFORMS.values(), st.builds(freeze, _paths(params)))
    return single | st.lists(single, max_size=3).map(lambda parts: chain(*parts))


def _paths(params: TreeLike | None) -> st.SearchStrategy[list[str]]:
    leaves = [] if params is None else [path for path, _ in tree.items(params) if path]
    branches = {path.rsplit("/", n)[0] for path in leaves for n in range(path.count("/") + 1)}
    if not branches:
        return st.just([])
    return st.lists(st.sampled_from(sorted(branches)), max_size=2, unique=True)
