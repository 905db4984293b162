"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.checks import check_array, check_entry, check_precision, check_shape, entries
from fnn.kernels.normalization import (
    batch_norm_vjp,
    moments,
    scale_and_shift,
    scale_and_shift_vjp,
)
from fnn.kernels.rows import down
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape, Traits
from fnn.layers.initializers import draw, ones, zeros
from fnn.options import flag, integer, real
from fnn.recipe import constructor
from fnn.tree import Array, Tree, TreeLike


@constructor
def BatchNorm(
    *,
    axis: int = 1,
    momentum: float = 0.9,
    eps: float = 1e-5,
    scale: bool = True,
    shift: bool = True,
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
    axis = integer("BatchNorm", "axis", axis, least=-32)
    if axis == 0:
        raise OptionError("axis: expected a feature axis, got 0, the batch's", path=("BatchNorm",))
    momentum = real("BatchNorm", "momentum", momentum)
    if not 0 <= momentum <= 1:
        raise OptionError(f"momentum: expected a number in [0, 1], got {momentum}", path=("BatchNorm",))
    eps = real("BatchNorm", "eps", eps, least=0)
    wanted = {"scale": flag("BatchNorm", "scale", scale), "shift": flag("BatchNorm", "shift", shift)}
    names = tuple(name for name, is_wanted in wanted.items() if is_wanted)

    def feature_axis(n_axes: int) -> int:
        at = axis if axis > 0 else n_axes + axis
        if not 0 < at < n_axes:
            raise ShapeError(f"expected a feature axis {axis}, got arrays of {n_axes} axes")
        return at

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        n = in_shape[feature_axis(len(in_shape) + 1) - 1]
        if n < 1:
            raise ShapeError(f"expected 1 or more features, got in_shape={in_shape}")
        first_0, first_1 = (draw(init, key, (n,), n, n) for init in (zeros, ones))
        params = {"scale": first_1, "shift": first_0}
        return in_shape, {name: params[name] for name in names}, {"mean": first_0, "var": first_1}

    def by_feature(x: Array, at: int) -> Array:
        """View x as (n_features, n_values); copies only where no such view exists."""
        return x.transpose(at, *range(at + 1, x.ndim), *range(at)).reshape(x.shape[at], -1)

    def restore(z: Array, x: Array, at: int) -> Array:
        shape = (*x.shape[at:], *x.shape[:at])
        return z.reshape(shape).transpose(*range(x.ndim - at, x.ndim), *range(x.ndim - at))

    def centered(params: Any, state: Any, x: Any, train: bool) -> Any:
        """Return x less about its mean, by feature, the mean of that, 1 / std and the new state."""
        check_array(x, 2)
        at = feature_axis(x.ndim)
        mean, var = entries("state", state, ("mean", "var"))
        trained = dict(zip(names, entries("params", params, names), strict=True))
        if x.shape[at] != mean.size:
            raise ShapeError(f"expected axis {at} of size {mean.size}, got {x.shape}")
        check_precision(x, next(iter(trained.values()), mean))
        for name, leaf in (trained | {"mean": mean, "var": var}).items():
            check_entry(name, leaf, (x.shape[at],), x)
        rows = by_feature(x, at)
        if not train:
            rest = down(np.subtract, rows, mean)
            return rest, np.zeros_like(mean), 1 / np.sqrt(var + eps), state
        count = rows.shape[1]
        if count < 2:
            raise ShapeError(f"expected 2 or more values per feature in training, got {x.shape}")
        batch_mean, batch_var, rest, missed = moments(rows)
        keep, unbias = 1 - momentum, count / (count - 1)
        moved = {
            "mean": momentum * mean + keep * batch_mean,
            "var": momentum * var + keep * unbias * batch_var,
        }
        return rest, missed, 1 / np.sqrt(batch_var + eps), Tree.own(moved)

    def affine(params: Any, missed: Array, inv_std: Array) -> tuple[Array, Array]:
        """Return factor and offset of y = factor rest + offset."""
        factor = params["scale"] * inv_std if scale else inv_std
        return factor, params["shift"] - missed * factor if shift else -missed * factor

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        rest, missed, inv_std, new_state = centered(params, state, x, train)
        y = scale_and_shift(rest, *affine(params, missed, inv_std))
        return restore(y, x, feature_axis(x.ndim)), new_state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        rest, missed, inv_std, new_state = centered(params, state, x, train)
        at, (factor, offset) = feature_axis(x.ndim), affine(params, missed, inv_std)
        y = scale_and_shift(rest, factor, offset)

        def pullback(dy: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            rows = by_feature(dy, at)
            dfactor, dshift = scale_and_shift_vjp(rows, rest, missed)
            dparams = {"scale": dfactor * inv_std, "shift": dshift}
            dparams = Tree.own({name: dparams[name] for name in names})
            if not need_dx:
                return dparams, None
            if train:
                dx = batch_norm_vjp(rows, rest, missed, factor, inv_std, dfactor, dshift)
            else:
                dx = down(np.multiply, rows, factor)
            return dparams, restore(dx, x, at)

        return restore(y, x, at), new_state, pullback

    return Layer("batch_norm", init, apply, vjp, traits=Traits(mixes_batch=True))
