"""Tokens: their embedding, and the read-out that shares its weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels.affine import product
from fnn.kernels.embedding import rows_of, rows_of_vjp
from fnn.keys import Key
from fnn.layers.calls import Pullback, Shape
from fnn.layers.chains import chained, named_children
from fnn.layers.contract import Change, Layer, Traits
from fnn.layers.initializers import Initializer, draw, lecun_normal
from fnn.layers.making import Leaf, make_layer
from fnn.options import integer
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree, TreeLike


def _check_tokens(tokens: Array, n: int) -> None:
    """Refuse what is no token of a vocabulary of n.

    Raises:
        DTypeError, DataError: Saying which, and where.
    """
    if tokens.dtype.kind not in "iu":
        raise DTypeError(f"expected tokens as integers, got {tokens.dtype}")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= n):
        at = np.unravel_index(int(np.argmax((tokens < 0) | (tokens >= n))), tokens.shape)
        place = ", ".join(map(str, at))
        raise DataError(f"expected tokens of 0 to {n - 1}, got {tokens[at]} at [{place}]")


def _tokens(n: int) -> Any:
    return lambda key, count, in_shape: key.generator().integers(0, n, (count, *in_shape))


@constructor
def Embedding(n: int, width: int, *, init_w: Initializer = lecun_normal) -> Layer:
    """Look up a row of weights for every token: y = w[x].

    x holds integers of 0 to n - 1, (batch, ...); y is (batch, ..., width).

    Args:
        n: How many tokens there are.
        width: Number of features.
        init_w: Draws w; its fans are (width, n), so that the rows of `lecun_normal` have length 1.

    Params:
        w: Shape (n, width).

    Raises:
        DTypeError: If x holds no integers.
        DataError: If a token is out of range; names the first.
    """
    n, width = integer("Embedding", "n", n), integer("Embedding", "width", width)

    def shapes(in_shape: Shape) -> Any:
        return (*in_shape, width), {"w": Leaf((n, width), init_w, (width, n))}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        w = params["w"]
        _check_tokens(x, n)

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return Tree.own({"w": rows_of_vjp(w, x, dy)}), None

        return rows_of(w, x), state, pullback

    traits = Traits(takes_integers=True)
    return make_layer("embedding", shapes, fwd, traits=traits, flops=0, inputs=_tokens(n))


@constructor
def tied_embedding(n: int, width: int, *layers: Layer, init_w: Initializer = lecun_normal) -> Layer:
    """Embed tokens, pass them through layers, and score all tokens by the same weights: y = f(w[x]) wᵀ.

    x holds integers of 0 to n - 1, (batch, ...); y is (batch, ..., n), if the layers keep the shape.

    Args:
        n: How many tokens there are.
        width: Number of features of the embedding, and of what the layers return.
        layers: What lies between, called by kind and count as in `serial`.
        init_w: Draws w, as in `Embedding`.

    Params:
        w: Shape (n, width), beside those of the layers.

    Raises:
        OptionError: If two layers have one name, or one is called "w".
        ShapeError: If the layers return other than `width` features.
        DataError: If a token is out of range; names the first.

    References: Press & Wolf (2017), "Using the output embedding to improve language models".
    """
    n, width = integer("tied_embedding", "n", n), integer("tied_embedding", "width", width)
    children = named_children("tied_embedding", layers)
    if any(name == "w" for name, _ in children):
        raise OptionError("a child is called 'w', as the weights", path=("tied_embedding",))
    body = chained(children)

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        shape, params, state = body.init(key, (*in_shape, width))
        if shape[-1:] != (width,):
            raise ShapeError(f"expected layers that return {width} features, got the shape {shape}")
        w = draw(init_w, key.fold("w"), (n, width), width, n)
        return (*shape[:-1], n), {"w": w, **dict(params)}, state

    def inside(params: Any) -> tuple[Any, Any]:
        w = params["w"]
        if getattr(w, "shape", None) != (n, width):
            raise ShapeError(f"expected w of shape {(n, width)}, got {getattr(w, 'shape', w)}")
        return w, {name: params[name] for name in params if name != "w"}

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        w, inner = inside(params)
        _check_tokens(x, n)
        h, state = body.apply(inner, state, rows_of(w, x), train=train, key=key)
        return _scores(h, w), state

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        w, inner = inside(params)
        _check_tokens(x, n)
        h, state, back = body.vjp(inner, state, rows_of(w, x), train=train, key=key)

        def pullback(
            dy: Any, *, need_dx: bool = True, need_dparams: bool = True
        ) -> tuple[TreeLike, Any]:
            if not need_dparams:
                return EMPTY, None
            rows = dy.reshape(math.prod(dy.shape[:-1]), n)
            dh = product(rows, w).reshape(h.shape)
            dinner, drows = back(dh)
            dw = product(rows.T, h.reshape(len(rows), width)) + rows_of_vjp(w, x, drows)
            both: dict[str, Any] = {"w": dw, **dict(dinner)}
            return Tree.own({name: both[name] for name in params}), None

        return _scores(h, w), state, pullback

    def rebuilt(change: Change) -> Layer:
        made = [change(*child) for child in children]
        return tied_embedding(n, width, *made, init_w=init_w)

    traits = Traits.joint(tuple(layer.traits for layer in layers))
    return Layer(
        "tied_embedding",
        init,
        apply,
        vjp,
        children=children,
        traits=Traits(
            mixes_batch=traits.mixes_batch,
            stochastic=traits.stochastic,
            has_kinks=traits.has_kinks,
            complex_safe=traits.complex_safe,
            takes_integers=True,
        ),
        flops=lambda in_shape, out_shape, params: 2 * width * math.prod(out_shape),
        # The rows of the tokens, and the scores.
        keeps=lambda in_shape, out_shape: width * math.prod(in_shape) + math.prod(out_shape),
        inputs=_tokens(n),
        rebuilt=rebuilt,
    )


def _scores(h: Array, w: Array) -> Array:
    rows = h.reshape(math.prod(h.shape[:-1]), h.shape[-1])
    return product(rows, w.T).reshape(*h.shape[:-1], len(w))
