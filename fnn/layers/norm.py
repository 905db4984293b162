"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.kernels.broadcasting import broadcast_column
from fnn.kernels.normalization import (
    batch_norm_vjp,
    by_feature,
    moments,
    restored,
    running_moments,
    scale_and_shift,
    scale_and_shift_vjp,
)
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.initializers import ones
from fnn.layers.making import Leaf, make_layer
from fnn.options import axis_of, flag, real
from fnn.recipe import constructor
from fnn.tree import Tree


@constructor
def BatchNorm(
    *, axis: int = 1, momentum: float = 0.9, eps: float = 1e-5, scale: bool = True, shift: bool = True
) -> Layer:
    """Standardise every feature over the batch, then scale and shift: y = scale z + shift.

    z = (x - mean) / √(var + eps). In training the moments are the batch's (biased variance) and
    move the running ones: running ← momentum running + (1 - momentum) batch; in evaluation they are
    the running ones. (Some libraries call 1 - momentum the momentum.)

    Args:
        axis: Axis of the features, the batch being axis 0: 1 for (batch, features) and for
            (batch, channels, *space); -1 is the last. All other axes are averaged over.
        momentum: Weight of the old running value, in [0, 1].
        eps: Added to the variance, against division by zero.
        scale: Whether to scale; without it y = z + shift.
        shift: Whether to shift; without both y = z.

    Params:
        scale, shift: Shape (n_features,), ones and zeros at first; absent if they are not wanted.

    State:
        mean, var: Running moments, shape (n_features,), zeros and ones at first; var is unbiased.

    Raises:
        ShapeError: If `axis` is not there or has another size, or in training with fewer than 2
            values per feature.
        DTypeError: If the inputs' precision is not that of params and state.
        TreeError: If params or state have other entries.

    References: Ioffe & Szegedy (2015), "Batch normalization", algorithms 1 and 2.
    """
    axis = axis_of("BatchNorm", axis, "a feature axis")
    momentum = real("BatchNorm", "momentum", momentum, least=0, most=1)
    eps = real("BatchNorm", "eps", eps, least=0)
    scale, shift = flag("BatchNorm", "scale", scale), flag("BatchNorm", "shift", shift)

    def shapes(in_shape: Shape) -> Any:
        at = axis - 1 if axis > 0 else len(in_shape) + axis
        if not 0 <= at < len(in_shape):
            got = f"got arrays of {len(in_shape) + 1} axes"
            raise ShapeError(f"expected a feature axis {axis}, {got}")
        if (n := in_shape[at]) < 1:
            raise ShapeError(f"expected 1 or more features, got in_shape={in_shape}")
        params = ({"scale": Leaf((n,), ones)} if scale else {}) | (
            {"shift": Leaf((n,))} if shift else {}
        )
        return in_shape, params, {"mean": Leaf((n,)), "var": Leaf((n,), ones)}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        at = axis % x.ndim
        rows = by_feature(x, at)
        if train:
            if rows.shape[1] < 2:
                expected = "expected 2 or more values per feature in training"
                raise ShapeError(f"{expected}, got {x.shape}")
            mean, var, rest, missed = moments(rows)
            state = Tree.own(running_moments(state, mean, var, rows.shape[1], momentum))
        else:
            var, missed = state["var"], np.zeros_like(state["mean"])
            rest = broadcast_column(np.subtract, rows, state["mean"])
        # What was taken from x is its mean but for `missed`, so that y = factor rest + offset.
        inv_std = 1 / np.sqrt(var + eps)
        factor = params["scale"] * inv_std if scale else inv_std
        offset = params["shift"] - missed * factor if shift else -missed * factor

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            drows = by_feature(dy, at)
            dfactor, dshift = scale_and_shift_vjp(drows, rest, missed)
            derivatives = {"scale": dfactor * inv_std, "shift": dshift}
            dparams = Tree.own({name: derivatives[name] for name in params})
            if not need_dx:
                return dparams, None
            if train:
                dx = batch_norm_vjp(drows, rest, missed, factor, inv_std, dfactor, dshift)
            else:
                dx = broadcast_column(np.multiply, drows, factor)
            return dparams, restored(dx, x, at)

        return restored(scale_and_shift(rest, factor, offset), x, at), state, pullback

    return make_layer("batch_norm", shapes, fwd, traits=Traits(mixes_batch=True), flops=2, keeps=2)
