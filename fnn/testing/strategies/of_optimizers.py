"""Hypothesis strategies for schedules and for the transforms of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from fnn import tree
from fnn.keys import Key
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.adaptive import (
    adadelta,
    adagrad,
    adam,
    adamw,
    rmsprop,
    scale_by_adadelta,
    scale_by_adam,
    scale_by_rms,
)
from fnn.optimizers.averaging import add_noise, ema
from fnn.optimizers.clipping import adaptive_clip, centralize, clip_by_block_rms, clip_by_value
from fnn.optimizers.compose import chain
from fnn.optimizers.constraints import add_decayed_weights, clip_by_global_norm, freeze
from fnn.optimizers.factored import adafactor, scale_by_factored_rms, scale_by_sm3, sm3
from fnn.optimizers.gradient import momentum, nesterov, scale_by_learning_rate, sgd, trace
from fnn.optimizers.moments import (
    adabelief,
    adamax,
    amsgrad,
    nadam,
    radam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_radam,
    scale_by_yogi,
    yogi,
)
from fnn.optimizers.orthogonalizing import muon, scale_by_muon
from fnn.optimizers.searching import lbfgs, sam
from fnn.optimizers.selecting import masked, partition
from fnn.optimizers.signs import lion, rprop, scale_by_lion, scale_by_sign, sign_sgd
from fnn.optimizers.transform import Transform
from fnn.optimizers.trust import lamb, lars, novograd, scale_by_novograd, scale_by_trust_ratio
from fnn.optimizers.wrapping import accumulate, lookahead, skip_nonfinite
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
    table |= _further(rate, decay, eps)
    for name in OPTIMIZERS:
        # With its defaults, where no row above draws them; what users registered is theirs to draw.
        if getattr(OPTIMIZERS[name], "__module__", "").startswith("fnn."):
            table.setdefault(name, st.builds(OPTIMIZERS[name], rate))
    return table


def _further(rate: Any, decay: Any, eps: Any) -> dict[str, st.SearchStrategy[Transform]]:
    moments = {"b1": decay, "b2": decay, "eps": eps}
    table = {
        make.__name__: st.builds(make, rate, **moments)
        for make in (adabelief, adamax, amsgrad, lamb, nadam, novograd, radam, yogi)
    }
    scaling = (scale_by_adamax, scale_by_amsgrad, scale_by_belief, scale_by_novograd, scale_by_radam)
    table |= {make.__name__: st.builds(make, **moments) for make in (*scaling, scale_by_yogi)}
    factors = {"decay_power": _floats(0.0, 1.0), "eps": st.none() | eps}
    sign = {"b1": decay, "b2": decay}
    steps = {"nesterov": st.booleans(), "steps": st.integers(1, 5)}
    return table | {
        "nesterov": st.builds(nesterov, rate, decay),
        "adadelta": st.builds(adadelta, rate, decay, eps=eps),
        "scale_by_adadelta": st.builds(scale_by_adadelta, decay, eps=eps),
        "sign_sgd": st.builds(sign_sgd, rate),
        "scale_by_sign": st.builds(scale_by_sign),
        "lion": st.builds(lion, rate, **sign, weight_decay=_numbers()),
        "scale_by_lion": st.builds(scale_by_lion, **sign),
        "rprop": st.builds(rprop, _floats(1e-4, 1.0), grow=_floats(1.0, 2.0), shrink=_floats(0.0, 0.9)),
        "lars": st.builds(lars, rate, decay, trust=_numbers(), weight_decay=_numbers()),
        "scale_by_trust_ratio": st.builds(scale_by_trust_ratio, _numbers()),
        "adafactor": st.builds(adafactor, rate, **factors, weight_decay=_numbers()),
        "scale_by_factored_rms": st.builds(scale_by_factored_rms, **factors),
        "sm3": st.builds(sm3, rate, decay, eps=eps),
        "scale_by_sm3": st.builds(scale_by_sm3, decay, eps=eps),
        "muon": st.builds(muon, rate, decay, **steps, weight_decay=_numbers()),
        "scale_by_muon": st.builds(scale_by_muon, decay, **steps),
        "clip_by_value": st.builds(clip_by_value, _numbers(most=10.0)),
        "clip_by_block_rms": st.builds(clip_by_block_rms, _numbers(most=10.0)),
        "adaptive_clip": st.builds(adaptive_clip, _numbers(most=10.0), eps=eps),
        "centralize": st.builds(centralize),
        "ema": st.builds(ema, decay),
        "add_noise": st.builds(add_noise, _numbers(), key=st.integers(0, 9).map(Key.of)),
        "masked": st.builds(masked, st.builds(add_decayed_weights, _numbers()), st.just(is_matrix)),
        "partition": st.builds(_in_two, st.builds(sgd, rate), st.builds(adam, rate, **moments)),
        "accumulate": st.builds(accumulate, st.builds(momentum, rate, decay), st.integers(1, 3)),
        "lookahead": st.builds(lookahead, st.builds(adam, rate), st.integers(1, 3)),
        "sam": st.builds(sam, _numbers()),
        "lbfgs": st.builds(lbfgs, st.integers(1, 5), curvature=_floats(0.1, 0.9)),
        "skip_nonfinite": st.builds(skip_nonfinite, st.builds(adam, rate, **moments)),
    }


def is_matrix(path: str, leaf: Any) -> bool:
    """Return whether a leaf has two axes, as weights of dense layers have."""
    return bool(leaf.ndim == 2)


def _label(path: str, leaf: Any) -> str:
    return "matrix" if is_matrix(path, leaf) else "other"


def _in_two(one: Transform, other: Transform) -> Transform:
    return partition({"matrix": one, "other": other}, _label)


TRANSFORMS = _table()


def transforms(params: TreeLike | None = None) -> st.SearchStrategy[Transform]:
    """Return every public optimizer and transform with valid options, and chains of up to three.

    Numbers are floats or schedules. The update of one that `needs_gradient` takes a fifth argument.

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
