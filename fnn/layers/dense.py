"""Affine layers."""

from __future__ import annotations

import math
from typing import Any

from fnn.errors import ShapeError
from fnn.kernels import stacked_affine
from fnn.kernels.affine import affine, affine_vjp
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.layers.making import Leaf, make_layer
from fnn.options import flag, integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree


@constructor
def Dense(
    width: int, *, bias: bool = True, init_w: Initializer = glorot_uniform, init_b: Initializer = zeros
) -> Layer:
    """Map the last axis affinely to `width` features: y = x w + b.

    All axes before the last are kept: (batch, n_in) or (batch, ..., n_in).

    Params:
        w: Weights, shape (n_in, width), drawn by `init_w`.
        b: Biases, shape (width,), drawn by `init_b`; absent if `bias` is False.

    Raises:
        OptionError: If width is not an integer of 1 or more.
        ShapeError: If the inputs have no feature axis, or another number of features than w.
        DTypeError: If the inputs' precision is not that of w.
        TreeError: If params have other entries.
    """
    width, bias = integer("Dense", "width", width), flag("Dense", "bias", bias)

    def shapes(in_shape: Shape) -> Any:
        if not in_shape or in_shape[-1] < 1:
            raise ShapeError(f"expected a feature axis of 1 or more, got in_shape={in_shape}")
        fans = in_shape[-1], width
        leaves = {"w": Leaf(fans, init_w, fans)} | ({"b": Leaf((width,), init_b, fans)} if bias else {})
        return (*in_shape[:-1], width), leaves, {}

    def fwd_of(affine: Any, affine_vjp: Any) -> Any:
        def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
            w = params["w"]

            def pullback(dy: Any, *, need_dx: bool = True, need_dparams: bool = True) -> Any:
                dw, db, dx = affine_vjp(x, w, dy, bias=bias, need_dx=need_dx, need_dw=need_dparams)
                if not need_dparams:
                    return EMPTY, dx
                return Tree.own({"w": dw, "b": db} if bias else {"w": dw}), dx

            return affine(x, w, params["b"] if bias else None), state, pullback

        return fwd

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return 2 * math.prod(params["w"].shape) * math.prod(in_shape[:-1])

    fwd = fwd_of(affine, affine_vjp)
    over_members = fwd_of(stacked_affine.affine, stacked_affine.affine_vjp)
    return make_layer("dense", shapes, fwd, flops=flops, members=over_members)
