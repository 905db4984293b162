"""Normalisation of every example by itself: layer, root mean square, group and instance norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.affine import column_sums
from fnn.kernels.broadcasting import broadcast_row
from fnn.kernels.normalization import (
    divided_by_rms,
    divided_by_rms_vjp,
    standardized,
    standardized_vjp,
)
from fnn.kernels.windows import image_shape
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import ones
from fnn.layers.making import Leaf, make_layer
from fnn.options import axis_of, flag, integer, real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree


def _axes(who: str, axis: Any) -> tuple[int, ...]:
    given = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(axis_of(who, each, "axes of the features") for each in given)
    if not axes or len(set(axes)) < len(axes):
        raise OptionError(f"axis: expected different axes, got {axis!r}", path=(who,))
    return axes


def _over_axes(
    who: str,
    name: str,
    axis: Any,
    numbers: tuple[Any, bool, bool],
    standardize: Callable[..., tuple[Array, Array]],
    standardize_vjp: Callable[..., Array],
) -> Layer:
    """Make a layer that standardises over axes, and scales and shifts each place along them."""
    eps, scale, shift = numbers
    axes, eps = _axes(who, axis), real(who, "eps", eps, least=0)
    scale, shift = flag(who, "scale", scale), flag(who, "shift", shift)

    def places(n_axes: int) -> tuple[int, ...]:
        """Return the axes in their order, counted from 0, the batch's, up."""
        found = tuple(sorted(each % n_axes for each in axes if -n_axes <= each < n_axes))
        if len(set(found)) < len(axes) or 0 in found:
            raise ShapeError(f"expected axes {axes} of the features, got arrays of {n_axes} axes")
        return found

    def shapes(in_shape: Shape) -> Any:
        at = places(len(in_shape) + 1)
        sizes = tuple(in_shape[each - 1] for each in at)
        if not all(sizes):
            raise ShapeError(f"expected 1 or more features, got in_shape={in_shape}")
        params = {"scale": Leaf(sizes, ones)} if scale else {}
        return in_shape, params | ({"shift": Leaf(sizes)} if shift else {}), {}

    def rows_of(x: Array) -> tuple[Array, tuple[int, ...]]:
        at = places(x.ndim)
        order = (*(each for each in range(x.ndim) if each not in at), *at)
        n = math.prod(x.shape[each] for each in at)
        return x.transpose(order).reshape(x.size // n, n), order

    def restored(rows: Array, x: Array, order: tuple[int, ...]) -> Array:
        shape = tuple(x.shape[each] for each in order)
        return rows.reshape(shape).transpose(tuple(np.argsort(order)))

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        rows, order = rows_of(x)
        z, factor = standardize(rows, eps)
        flat = {each: params[each].reshape(-1) for each in params}
        y = broadcast_row(np.multiply, z, flat["scale"]) if scale else z
        y = broadcast_row(np.add, y, flat["shift"], y if scale else None) if shift else y

        def pullback(dy: Any, *, need_dx: bool = True, need_dparams: bool = True) -> Any:
            drows = rows_of(dy)[0]
            dparams: Any = EMPTY
            if need_dparams:
                found = {"shift": column_sums(drows)} if shift else {}
                found |= {"scale": column_sums(drows * z)} if scale else {}
                dparams = Tree.own({each: _shaped(found[each], params[each].shape) for each in params})
            if not need_dx:
                return dparams, None
            dz = broadcast_row(np.multiply, drows, flat["scale"]) if scale else drows
            return dparams, restored(standardize_vjp(dz, z, factor), x, order)

        return restored(y, x, order), state, pullback

    return make_layer(name, shapes, fwd, flops=8, keeps=2 if scale or shift else 1)


def _shaped(d: Array, shape: tuple[int, ...]) -> Array:
    # No view of what could still be written to.
    return d if d.shape == shape else d.reshape(shape).copy()


@constructor
def LayerNorm(
    *,
    axis: int | tuple[int, ...] = -1,
    eps: float = 1e-5,
    scale: bool = True,
    shift: bool = True,
) -> Layer:
    """Standardise every example over its features, then scale and shift: y = scale z + shift.

    z = (x - mean) / √(var + eps), with the moments over `axis` at each place of the other axes, and the
    biased variance.

    Args:
        axis: Axis of the features, or a tuple of axes, the batch being axis 0; -1 is the last.
        eps: Added to the variance, against division by zero.
        scale: Whether to scale.
        shift: Whether to shift.

    Params:
        scale, shift: Of the sizes of the axes, ones and zeros at first; absent if they are not wanted.

    Raises:
        ShapeError: If an axis is not there or has another size.

    References: Ba et al. (2016), "Layer normalization", eq. 3 and 4.
    """
    numbers = eps, scale, shift
    return _over_axes("LayerNorm", "layer_norm", axis, numbers, standardized, standardized_vjp)


@constructor
def RMSNorm(*, axis: int | tuple[int, ...] = -1, eps: float = 1e-5, scale: bool = True) -> Layer:
    """Divide every example by the root mean square of its features: y = scale x / √(mean(x²) + eps).

    Args:
        axis: Axis of the features, or a tuple of axes, the batch being axis 0; -1 is the last.
        eps: Added to the mean of the squares, against division by zero.
        scale: Whether to scale.

    Params:
        scale: Of the sizes of the axes, ones at first; absent if it is not wanted.

    Raises:
        ShapeError: If an axis is not there or has another size.

    References: Zhang & Sennrich (2019), "Root mean square layer normalization", eq. 4.
    """
    numbers = eps, scale, False
    return _over_axes("RMSNorm", "rms_norm", axis, numbers, divided_by_rms, divided_by_rms_vjp)


def _by_groups(who: str, name: str, groups: int | None, eps: Any, scale: Any, shift: Any) -> Layer:
    """Make a layer that standardises each group of channels; None for each channel by itself."""
    eps = real(who, "eps", eps, least=0)
    scale, shift = flag(who, "scale", scale), flag(who, "shift", shift)

    def shapes(in_shape: Shape) -> Any:
        if groups is None:
            image_shape(in_shape)
        channels = in_shape[0] if in_shape else 0
        if channels < 1 or (groups is not None and channels % groups):
            raise ShapeError(f"expected channels in multiples of groups={groups or 1}, got {in_shape}")
        if not math.prod(in_shape[1:]):
            raise ShapeError(f"expected 1 or more values per channel, got in_shape={in_shape}")
        params = {"scale": Leaf((channels,), ones)} if scale else {}
        return in_shape, params | ({"shift": Leaf((channels,))} if shift else {}), {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        batch, channels = x.shape[:2]
        size = math.prod(x.shape[2:])
        n_groups = channels if groups is None else groups
        rows = x.reshape(batch * n_groups, channels // n_groups * size)
        z, factor = standardized(rows, eps)
        by_channel = z.reshape(batch, channels, size)
        y = by_channel * params["scale"][:, None] if scale else by_channel
        y = y + params["shift"][:, None] if shift else y

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            d = dy.reshape(batch, channels, size)
            found = {"shift": np.add.reduce(d, axis=(0, 2))} if shift else {}
            found |= {"scale": np.add.reduce(d * by_channel, axis=(0, 2))} if scale else {}
            dparams = Tree.own({each: found[each] for each in params})
            if not need_dx:
                return dparams, None
            dz = d * params["scale"][:, None] if scale else d
            return dparams, standardized_vjp(dz.reshape(z.shape), z, factor).reshape(x.shape)

        return y.reshape(x.shape), state, pullback

    return make_layer(name, shapes, fwd, flops=8, keeps=2 if scale or shift else 1)


@constructor
def GroupNorm(groups: int, *, eps: float = 1e-5, scale: bool = True, shift: bool = True) -> Layer:
    """Standardise every example in groups of its channels, then scale and shift: y = scale z + shift.

    z = (x - mean) / √(var + eps), with the moments over the channels of a group and all of space, for
    x (batch, channels, *space).

    Args:
        groups: Number of groups, a divisor of the number of channels; 1 takes all together.
        eps: Added to the variance, against division by zero.
        scale: Whether to scale.
        shift: Whether to shift.

    Params:
        scale, shift: Shape (channels,), ones and zeros at first; absent if they are not wanted.

    Raises:
        ShapeError: If the channels are not a multiple of `groups`.

    References: Wu & He (2018), "Group normalization", eq. 1 and 7.
    """
    groups = integer("GroupNorm", "groups", groups)
    return _by_groups("GroupNorm", "group_norm", groups, eps, scale, shift)


@constructor
def InstanceNorm(*, eps: float = 1e-5, scale: bool = True, shift: bool = True) -> Layer:
    """Standardise every channel of every example over space, then scale and shift: y = scale z + shift.

    z = (x - mean) / √(var + eps), with the moments over space, for x (batch, channels, *space).

    Args:
        eps: Added to the variance, against division by zero.
        scale: Whether to scale.
        shift: Whether to shift.

    Params:
        scale, shift: Shape (channels,), ones and zeros at first; absent if they are not wanted.

    Raises:
        ShapeError: If the examples have no spatial axis.

    References: Ulyanov et al. (2016), "Instance normalization", eq. 3.
    """
    return _by_groups("InstanceNorm", "instance_norm", None, eps, scale, shift)
