"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.normalization import batch_standardize_vjp, moments
from fnn.keys import Key
from fnn.layer import Layer, Pullback, Shape, Traits, check_array, check_precision
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.tree import Array, Tree, TreeLike


@constructor
def BatchNorm(*, axis: int = 1, momentum: float = 0.9, eps: float = 1e-5) -> Layer:
    """Standardise every feature over the batch, then scale and shift: y = scale z + shift.

    z = (x - mean) / √(var + eps). In training the moments are the batch's (biased variance) and
    move the running ones: running ← momentum running + (1 - momentum) batch; in evaluation they are
    the running ones. (Some libraries call 1 - momentum the momentum.)

    Args:
        axis: Axis of the features, the batch being axis 0: 1 for (batch, features) and for
            (batch, channels, *space); -1 is the last. All other axes are averaged over.
        momentum: Weight of the old running value, in [0, 1].
        eps: Added to the variance, against division by zero.

    Params:
        scale, shift: Shape (n_features,), ones and zeros at first.

    State:
        mean, var: Running moments, shape (n_features,), zeros and ones at first; var is unbiased.

    Raises:
        ShapeError: If `axis` is not there or has another size, or in training with fewer than 2
            values per feature.

    References: Ioffe & Szegedy (2015), "Batch normalization", algorithms 1 and 2.
    """
    axis = integer("BatchNorm", "axis", axis, least=-32)
    if axis == 0:
        raise OptionError("axis: expected a feature axis, got 0, the batch's", path=("BatchNorm",))
    momentum = real("BatchNorm", "momentum", momentum, least=0, below=float(np.nextafter(1, 2)))
    eps = real("BatchNorm", "eps", eps, least=0)

    def feature_axis(n_axes: int) -> int:
        at = axis if axis > 0 else n_axes + axis
        if not 0 < at < n_axes:
            raise ShapeError(f"expected a feature axis {axis}, got arrays of {n_axes} axes")
        return at

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        n = in_shape[feature_axis(len(in_shape) + 1) - 1]
        zeros, ones = np.zeros(n, "float32"), np.ones(n, "float32")
        return in_shape, {"scale": ones, "shift": zeros}, {"mean": zeros, "var": ones}

    def by_feature(x: Array, at: int) -> Array:
        """View x as (n_features, n_values); copies only where no such view exists."""
        return x.transpose(at, *range(at + 1, x.ndim), *range(at)).reshape(x.shape[at], -1)

    def restore(z: Array, x: Array, at: int) -> Array:
        shape = (*x.shape[at:], *x.shape[:at])
        return z.reshape(shape).transpose(*range(x.ndim - at, x.ndim), *range(x.ndim - at))

    def standardize(params: Any, state: Any, x: Any, train: bool) -> Any:
        """Return z, 1 / std and the new state."""
        check_array(x, 2)
        at = feature_axis(x.ndim)
        scale = params["scale"]
        if x.shape[at] != scale.size:
            raise ShapeError(f"expected axis {at} of size {scale.size}, got {x.shape}")
        check_precision(x, scale)
        check_precision(x, state["mean"])
        rows = by_feature(x, at)
        if not train:
            inv_std = 1 / np.sqrt(state["var"] + eps)
            return (rows - state["mean"][:, None]) * inv_std[:, None], inv_std, state
        count = rows.shape[1]
        if count < 2:
            raise ShapeError(f"expected 2 or more values per feature in training, got {x.shape}")
        mean, var, centered = moments(rows)
        keep, unbias = 1 - momentum, count / (count - 1)
        moved = {
            "mean": momentum * state["mean"] + keep * mean,
            "var": momentum * state["var"] + keep * unbias * var,
        }
        inv_std = 1 / np.sqrt(var + eps)
        return centered * inv_std[:, None], inv_std, Tree.own(moved)

    def scaled(params: Any, z: Array, x: Array) -> Array:
        y = z * params["scale"][:, None]
        shift = params["shift"][:, None]
        # Not in place where the shift alone carries a complex perturbation.
        y = np.add(y, shift, out=y if y.dtype == np.result_type(y, shift) else None)
        return restore(y, x, feature_axis(x.ndim))

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        z, _, new_state = standardize(params, state, x, train)
        return scaled(params, z, x), new_state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        z, inv_std, new_state = standardize(params, state, x, train)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            at = feature_axis(x.ndim)
            rows = by_feature(dy, at)
            ones = np.ones(rows.shape[1], rows.dtype)
            dparams = Tree.own({"scale": (rows * z) @ ones, "shift": rows @ ones})
            if not need_dx:
                return dparams, None
            dz = rows * params["scale"][:, None]
            dx = batch_standardize_vjp(dz, z, inv_std) if train else dz * inv_std[:, None]
            return dparams, restore(dx, x, at)

        return scaled(params, z, x), new_state, pullback

    return Layer("batch_norm", init, apply, vjp, traits=Traits(mixes_batch=True))
