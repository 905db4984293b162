"""Transforms that ask for the loss elsewhere: sharpness-aware steps, and L-BFGS with its line search.

They declare `needs_gradient`, and a training step gives their update a fifth argument, `at(params) ->
(value, grads)`: the loss of the batch, with the same masks and the same carried state, where the
parameters are others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.kernels.noting import as_array
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.constraints import global_norm
from fnn.optimizers.making import paired, recall, stateless_init
from fnn.optimizers.numbers import LARGEST, documented, numbers_of
from fnn.optimizers.transform import At, Transform
from fnn.options import Number, integer, real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, TreeLike


def _asked(at: At | None) -> At:
    if at is None:
        message = "expected the loss elsewhere, at(params), which a training step gives; got None"
        raise OptionError(message)
    return at


# --- sharpness-aware ------------------------------------------------------------------------


@constructor
@documented
def sam(rho: Number = 0.05) -> Transform:
    """Replace the gradient by that a little uphill: u = ∇L(p + rho g / |g|), for flat minima.

    Put it before an optimizer: `chain(sam(), momentum(0.1))`. A step costs two gradients. |g| is one
    norm over all leaves.

    Args:
        rho: How far uphill, a float or a schedule, 0 or more.

    References: Foret et al. (2021), "Sharpness-aware minimization for efficiently improving
        generalization", algorithm 1.
    """
    numbers = numbers_of("sam", {"rho": (rho, LARGEST)})

    def update(
        updates: Any, opt_state: Any, params: Any, step: int, at: At | None = None
    ) -> tuple[Any, TreeLike]:
        recall(opt_state)
        far, length = numbers(step)["rho"], global_norm(updates)
        if not 0.0 < length < math.inf:
            return updates, EMPTY
        uphill = paired(lambda p, g: as_array(p + g / length * far), params, updates)
        return _asked(at)(uphill)[1], EMPTY

    return Transform("sam", stateless_init, update, numbers=numbers, needs_gradient=True)


# --- l-bfgs ---------------------------------------------------------------------------------


class _Reached(NamedTuple):
    """Where a line search came to: the factor of the direction, and the gradient there."""

    t: float
    g: Array


@OPTIMIZERS.builtin("lbfgs")
@constructor
@documented
def lbfgs(
    pairs: int = 10,
    *,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    evaluations: int = 20,
) -> Transform:
    """Step along H g to where the loss has fallen enough, H a model of the inverse Hessian.

    For full batches, `fit(..., batch_size=len(train))`, without dropout. H follows from the last
    pairs of a step s and the change y of the gradient along it, by the two loops of Nocedal & Wright,
    from (s·y / y·y) 1. With φ(t) = L(p - t H g), the step is the first t of t = 1 (without pairs
    1 / |g|₁, if that is less) and then of doublings and bisections with
        φ(t) ≤ φ(0) + decrease t φ'(0)   and   φ'(t) ≥ curvature φ'(0)
    so that s·y > 0. If none of the `evaluations` has both, it is the last with the first alone; and
    the parameters stay where they are without such a one, as at a minimum to rounding.

    Args:
        pairs: How many pairs are remembered, 1 or more.
        decrease: From above 0 to below `curvature`.
        curvature: To below 1.
        evaluations: How often the loss and its gradient are asked for in a step, 1 or more.

    References: Liu & Nocedal (1989), "On the limited memory BFGS method for large scale optimization";
        Nocedal & Wright (2006), "Numerical optimization", algorithm 7.4; Lewis & Overton (2013),
        "Nonsmooth optimization via quasi-Newton methods", algorithm 2.6.
    """
    who = "lbfgs"
    n_pairs = integer(who, "pairs", pairs)
    steep = real(who, "curvature", curvature, least=1e-12, below=1.0)
    enough = real(who, "decrease", decrease, least=1e-12, below=steep)
    tries = integer(who, "evaluations", evaluations)

    def init(params: Any) -> TreeLike:
        vector, _ = tree.ravel(params)
        return {role: np.zeros((n_pairs, vector.size), vector.dtype) for role in ("change", "step")}

    def update(
        updates: Any, opt_state: Any, params: Any, step: int, at: At | None = None
    ) -> tuple[Any, TreeLike]:
        changes, steps = recall(opt_state, "change", "step")
        paired(lambda *_: np.empty(0), params, updates)  # Refuses what does not fit, with its path.
        g, back = tree.ravel(updates)
        d = _direction(g, steps, changes)
        slope = _dot(g, d)
        if math.isnan(slope):
            return updates, opt_state  # For the loop to report.
        found: _Reached | None = None
        if slope < 0.0:
            elsewhere = _asked(at)
            height = float(elsewhere(params)[0])

            def along(t: float) -> tuple[float, Array]:
                value, grads = elsewhere(paired(np.add, params, back(d * t)))
                return float(value), tree.ravel(grads)[0]

            is_first = not np.any(steps)
            begin = min(1.0, 1.0 / float(np.sum(np.abs(g), dtype=np.float64))) if is_first else 1.0
            found = _search(along, height, slope, d, begin, enough, steep, tries)
        if found is None:
            return tree.map_new(lambda u: np.full_like(u, -0.0), updates), opt_state
        s, y = d * found.t, found.g - g
        if _dot(s, y) > 0.0:
            steps, changes = np.vstack([steps[1:], s]), np.vstack([changes[1:], y])
        return back(s), {"change": changes, "step": steps}

    return Transform(who, init, update, needs_gradient=True)


def _dot(a: Array, b: Array) -> float:
    return float(np.dot(a.astype(np.float64), b.astype(np.float64)))


def _direction(g: Array, steps: Array, changes: Array) -> Array:
    """Return -H g by the two loops, newest pairs last."""
    pairs = [(s, y, _dot(s, y)) for s, y in zip(steps, changes, strict=True)]
    pairs = [pair for pair in pairs if pair[2] > 0.0]
    q, weights = -g, []
    for s, y, product in reversed(pairs):
        weights.append(_dot(s, q) / product)
        q = q - y * weights[-1]
    if pairs:
        _, y, product = pairs[-1]
        q = q * (product / _dot(y, y))
    for s, y, product in pairs:
        q = q + s * (weights.pop() - _dot(y, q) / product)
    return q


def _search(
    along: Callable[[float], tuple[float, Array]],
    height: float,
    slope: float,
    d: Array,
    t: float,
    enough: float,
    steep: float,
    tries: int,
) -> _Reached | None:
    """Return where the loss has fallen enough, by doublings and bisections of the step."""
    low, high = 0.0, math.inf
    kept: _Reached | None = None
    for _ in range(tries):
        value, g = along(t)
        inclined = _dot(g, d)
        # What is not finite compares as False.
        if not (value <= height + enough * t * slope and math.isfinite(inclined)):
            high = t
        else:
            kept = _Reached(t, g)
            if inclined >= steep * slope:
                break
            low = t
        t = 2.0 * t if high == math.inf else 0.5 * (low + high)
    return kept
