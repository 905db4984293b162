"""Affine layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import ShapeError
from fnn.kernels.affine import affine, affine_vjp
from fnn.kernels.checks import check_array, check_entry, check_precision, check_shape, entries
from fnn.keys import Key
from fnn.layers.contract import Layer, Pullback, Shape
from fnn.layers.initializers import Initializer, draw, glorot_uniform, zeros
from fnn.options import integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike


@constructor
def Dense(
    width: int,
    *,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Map the last axis affinely to `width` features: y = x w + b.

    All axes before the last are kept: (batch, n_in) or (batch, ..., n_in).

    Params:
        w: Weights, shape (n_in, width), drawn by `init_w`.
        b: Biases, shape (width,), drawn by `init_b`; absent if `bias` is False.

    Raises:
        ShapeError: If the inputs have no feature axis, or another number of features than w.
        DTypeError: If the inputs' precision is not that of w.
        TreeError: If params have other entries.
    """
    width = integer("Dense", "width", width)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        check_shape(in_shape)
        if not in_shape or in_shape[-1] < 1:
            raise ShapeError(f"expected a feature axis of 1 or more, got in_shape={in_shape}")
        n_in = in_shape[-1]
        params = {"w": draw(init_w, key.fold("w"), (n_in, width), n_in, width)}
        if bias:
            params["b"] = draw(init_b, key.fold("b"), (width,), n_in, width)
        return (*in_shape[:-1], width), params, EMPTY

    names = ("w", "b") if bias else ("w",)

    def checked(params: Any, x: Any) -> tuple[Array, Array | None]:
        """Return w and b, b None without bias."""
        if type(x) is np.ndarray and x.ndim > 1 and len(params) == len(names):
            # What fits passes by comparing tuples and identities alone.
            w, b = params.get("w"), params.get("b")
            if (
                type(w) is np.ndarray
                and w.shape == (x.shape[-1], width)
                and (x.dtype is w.dtype or x.dtype == w.dtype)
                and w.dtype.kind == "f"
                and w.dtype.itemsize in (4, 8)
            ):
                if not bias:
                    return w, None
                if (
                    type(b) is np.ndarray
                    and b.shape == (width,)
                    and (b.dtype is w.dtype or b.dtype == w.dtype)
                ):
                    return w, b
        check_array(x, 2)
        w, *rest = entries("params", params, names)
        if w.shape != (x.shape[-1], width):
            if w.ndim != 2 or w.shape[1] != width:
                raise ShapeError(f"expected w of shape (n_in, {width}), got {w.shape}")
            raise ShapeError(f"expected last axis {w.shape[0]}, got {x.shape}")
        check_precision(x, w)
        if not rest:
            return w, None
        check_entry("b", rest[0], (width,), w)
        return w, rest[0]

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        w, b = checked(params, x)
        return affine(x, w, b), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        w, b = checked(params, x)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            dw, db, dx = affine_vjp(x, w, dy, bias=bias, need_dx=need_dx, need_dw=need_dparams)
            if not need_dparams:
                return EMPTY, dx
            return Tree.own({"w": dw, "b": db} if bias else {"w": dw}), dx

        return affine(x, w, b), state, pullback

    return Layer("dense", init, apply, vjp)
