"""Convolution layers."""

from __future__ import annotations

import functools
import math
from typing import Any, TypeAlias

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.checks import check_array, check_entry, check_precision, check_shape, entries
from fnn.kernels.convolution import convolution, convolution_vjp
from fnn.kernels.windows import Windows, batch_first, batch_last, windows
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape
from fnn.layers.initializers import Initializer, draw, glorot_uniform, zeros
from fnn.options import integer, sizes
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike

Sizes: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = str | int | tuple[tuple[int, int], ...]


def check_padding(who: str, padding: Any) -> Any:
    """Return `padding` as "valid", "same", an int or a tuple of pairs.

    Raises:
        OptionError: If it is none of these.
    """
    if isinstance(padding, str) and padding in ("valid", "same"):
        return padding
    if isinstance(padding, tuple | list) and padding:
        if all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in padding):
            return tuple(tuple(integer(who, "padding", n, least=0) for n in pair) for pair in padding)
    elif not isinstance(padding, str | tuple | list):
        return integer(who, "padding", padding, least=0)
    expected = "'valid', 'same', an integer or one (before, after) pair per axis"
    raise OptionError(f"padding: expected {expected}, got {padding!r}", path=(who,))


def check_sizes(who: str, name: str, value: Any) -> Any:
    """Return an integer of 1 or more, or a tuple of them; how many axes there are is not known yet."""
    if isinstance(value, tuple | list):
        return sizes(who, name, value, len(value))
    return integer(who, name, value)


MOST_SHAPES = 64
"""For how many shapes a layer remembers that they fit."""


@functools.lru_cache(maxsize=1024)
def lay(
    space: Shape, window: Any, stride: Any, padding: Any, dilation: Any = 1, ceil: bool = False
) -> Windows:
    """Lay windows over `space`, an option of one integer standing for all axes."""
    window, stride, dilation = (
        sizes("", name, value, len(space))
        for name, value in (("window", window), ("stride", stride), ("dilation", dilation))
    )
    return windows(space, window, stride, padding, dilation, ceil)


@constructor
def Conv(
    channels: int,
    window: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = "valid",
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Convolve over space: y[n, o] = Σ_c,k w[o, c, k] x[n, c, at k] + b[o].

    Cross-correlation, as everywhere in the field: the window is not flipped. Examples have the
    shape (in_channels, *space) with one or two spatial axes (more work too); an option of one
    integer applies to every axis.

    Args:
        channels: Number of output channels, a multiple of `groups`.
        window: Size of the kernels along each spatial axis.
        stride: Step between windows.
        padding: "valid" (none), "same" (ceil(n / stride) outputs, the odd row of zeros at the
            end), rows of zeros at every end, or one (before, after) pair per axis.
        dilation: Step between the values inside a window.
        groups: Number of groups; output channels of one group see the input channels of it alone.
        bias: Whether to add b.
        init_w: Draws w; fan_in and fan_out count the window's values of one group.
        init_b: Draws b.

    Params:
        w: Kernels, shape (channels, in_channels / groups, *window).
        b: Biases, shape (channels,); absent if `bias` is False.

    Raises:
        OptionError: If an option is out of range or has another number of axes.
        ShapeError: If the window is larger than the padded image, or the input's channels are
            not those of w.
        DTypeError: If the inputs' precision is not that of w.
        TreeError: If params have other entries.
    """
    channels, groups = integer("Conv", "channels", channels), integer("Conv", "groups", groups)
    window, stride = check_sizes("Conv", "window", window), check_sizes("Conv", "stride", stride)
    dilation, padding = check_sizes("Conv", "dilation", dilation), check_padding("Conv", padding)
    if channels % groups:
        raise OptionError(
            f"channels: expected a multiple of groups={groups}, got {channels}", path=("Conv",)
        )

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        if len(in_shape) < 2:
            raise ShapeError(f"expected examples (channels, *space), got in_shape={in_shape}")
        n_in, space = in_shape[0], in_shape[1:]
        if n_in < 1 or n_in % groups:
            raise ShapeError(f"expected channels in multiples of groups={groups}, got {in_shape}")
        at = lay(space, window, stride, padding, dilation)
        area = math.prod(at.size)
        fans = n_in // groups * area, channels // groups * area
        params = {"w": draw(init_w, key.fold("w"), (channels, n_in // groups, *at.size), *fans)}
        if bias:
            params["b"] = draw(init_b, key.fold("b"), (channels,), *fans)
        return (channels, *at.out), params, EMPTY

    names = ("w", "b") if bias else ("w",)
    known: dict[tuple[Any, ...], Windows] = {}

    def checked(params: Any, x: Any) -> tuple[Array, Array | None, Windows]:
        """Return w, b (None without bias) and where the windows lie."""
        mark: tuple[Any, ...] = ()
        w: Any
        b: Any
        if isinstance(params, dict) and type(x) is np.ndarray:
            w, b = params.get("w"), params.get("b")
            if type(w) is np.ndarray and (type(b) is np.ndarray or b is None):
                own = None if b is None else (b.shape, b.dtype)
                mark = (x.shape, x.dtype, w.shape, w.dtype, own, len(params))
        at = known.get(mark)
        if at is None:
            w, b, at = checked_anew(params, x)
            if mark and len(known) < MOST_SHAPES:
                known[mark] = at
        return w, b, at

    def checked_anew(params: Any, x: Any) -> tuple[Array, Array | None, Windows]:
        check_array(x, 3)
        w, *rest = entries("params", params, names)
        if w.ndim < 3:
            raise ShapeError(f"expected w of shape (channels, n_in, *window), got {w.shape}")
        if x.ndim != w.ndim or x.shape[1] != w.shape[1] * groups:
            expected = f"(batch, {w.shape[1] * groups}, {', '.join(['n'] * (w.ndim - 2))})"
            raise ShapeError(f"expected images {expected}, got {x.shape}")
        check_precision(x, w)
        at = lay(x.shape[2:], window, stride, padding, dilation)
        check_entry("w", w, (channels, w.shape[1], *at.size), x)
        if not rest:
            return w, None, at
        check_entry("b", rest[0], (channels,), w)
        return w, rest[0], at

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        w, b, at = checked(params, x)
        return convolution(x, w, b, at, groups), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        w, b, at = checked(params, x)
        x = batch_first(batch_last(x))  # Once, and not again on the way back.

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            dw, db, dx = convolution_vjp(
                x, w, dy, at, groups, bias=bias, need_dx=need_dx, need_dw=need_dparams
            )
            if not need_dparams:
                return EMPTY, dx
            return Tree.own({"w": dw, "b": db} if bias else {"w": dw}), dx

        return convolution(x, w, b, at, groups), state, pullback

    return Layer("conv", init, apply, vjp)
