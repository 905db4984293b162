"""The block that transformers are made of."""

from __future__ import annotations

import functools
from typing import Any

from fnn.errors import FnnError, OptionError, ShapeError
from fnn.kernels.checks import check_value
from fnn.kernels.values import count_numbers, example_shape, is_tuple_of_shapes
from fnn.keys import Key
from fnn.layers.activation import ACTIVATIONS
from fnn.layers.attention.heads import MultiHeadAttention
from fnn.layers.calls import Core, Pullback, Shape, init_child, placed_error
from fnn.layers.chains import Children, check_layer
from fnn.layers.combinators import serial
from fnn.layers.contract import Layer, Traits
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.standardizing import LayerNorm
from fnn.options import flag, integer, real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Tree, TreeLike, freeze


@constructor
def TransformerBlock(
    heads: int,
    *,
    width_mlp: int | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    norm: str = "pre",
    activation: str | Layer = "gelu",
    positions: str | None = None,
    mask: bool = False,
) -> Layer:
    """Attend, then transform every step by itself, each added to what came: y = x + f(x), z = y + g(y).

    f is attention, and g two affine maps with a nonlinearity between. "pre" puts a norm before each,
    y = x + f(norm(x)), "post" behind each sum, y = norm(x + f(x)). x and z are (batch, time, features).

    Args:
        heads: Number of heads of attention, a divisor of the features.
        width_mlp: Width between the two affine maps; four times the features by default.
        causal: Whether a step attends to itself and those before it alone.
        dropout: With what probability weights of attention, and numbers of f and g, are dropped.
        norm: "pre" or "post".
        activation: The nonlinearity, by name or as a layer.
        positions: "rotary" or None, as in `MultiHeadAttention`.
        mask: Whether x is `(x, mask)`, as in `MultiHeadAttention`; then z is `(z, mask)`, for the next.

    Params:
        attention: Those of `MultiHeadAttention`.
        norm_1, norm_2: Those of `LayerNorm`.
        mlp: dense_0 and dense_1, those of `Dense`; and those of the activation, if it has any.

    Raises:
        OptionError: If an option is out of range; in training with dropout without a key.
        ShapeError, DTypeError, DataError: As `MultiHeadAttention` does.

    References: Vaswani et al. (2017), "Attention is all you need"; Xiong et al. (2020), "On layer
        normalization in the transformer architecture", for "pre".
    """
    who = "TransformerBlock"
    width_mlp = None if width_mlp is None else integer(who, "width_mlp", width_mlp)
    rate = real(who, "dropout", dropout, least=0, below=1)
    mask = flag(who, "mask", mask)
    if norm not in ("pre", "post"):
        raise OptionError(f"norm: expected 'pre' or 'post', got {norm!r}", path=(who,))
    bend = ACTIVATIONS[activation]() if isinstance(activation, str) else activation
    check_layer(who, "activation", bend)
    options: Any = {"causal": causal, "dropout": rate, "positions": positions, "mask": mask}
    attention = MultiHeadAttention(heads, **options)

    @functools.lru_cache(maxsize=8)
    def made(width: int) -> Core:
        inner = 4 * width if width_mlp is None else width_mlp
        mlp = serial(Dense(inner), bend, Dense(width))
        parts = {"norm_1": LayerNorm(), "attention": attention, "norm_2": LayerNorm(), "mlp": mlp}
        parts |= {"dropout_1": Dropout(rate), "dropout_2": Dropout(rate)} if rate else {}
        return _block(tuple(parts.items()), is_pre=norm == "pre", mask=mask)

    def own_of(shape: Shape) -> Shape:
        return shape[0] if mask else shape

    def of_shape(in_shape: Shape) -> Core:
        is_tuple = is_tuple_of_shapes(in_shape)
        own = in_shape[0] if mask and is_tuple else in_shape
        if is_tuple != mask or is_tuple_of_shapes(own) or len(own) != 2 or own[1] < 1:
            expected = "((time, features), (time,))" if mask else "(time, features)"
            raise ShapeError(f"expected {expected}, got in_shape={in_shape}")
        return made(own[1])

    def of(x: Any) -> Core:
        check_value(x, integers=mask)
        return of_shape(example_shape(x))

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        return of_shape(in_shape).init(key, in_shape)

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        return of(x).apply(params, state, x, train=train, key=key)

    def vjp(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike, Pullback]:
        return of(x).vjp(params, state, x, train=train, key=key)

    return Layer(
        "transformer_block",
        init,
        apply,
        vjp,
        traits=Traits(
            mixes_batch=bend.traits.mixes_batch,
            stochastic=rate > 0 or bend.traits.stochastic,
            has_kinks=bend.traits.has_kinks,
            complex_safe=bend.traits.complex_safe,
            takes_integers=mask,
            takes_tuples=mask,
        ),
        flops=lambda in_shape, out_shape, params: 2 * count_numbers(own_of(out_shape)),
        keeps=lambda in_shape, out_shape: 2 * count_numbers(own_of(out_shape)),
        inputs=attention.inputs,
    )


def _block(parts: Children, *, is_pre: bool, mask: bool) -> Core:
    """Return the triple of a block of these layers."""
    layers = dict(parts)
    drops = "dropout_1" in layers

    def init(key: Key, in_shape: Shape) -> tuple[Shape, TreeLike, TreeLike]:
        own = in_shape[0] if mask else in_shape
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for name, layer in parts:
            given = in_shape if name == "attention" else own
            _, own_params, own_state = init_child(name, layer, key, given, is_made=True)
            params |= {name: own_params} if own_params else {}
            state |= {name: own_state} if own_state else {}
        return in_shape, params, state

    def run(params: Any, state: Any, x: Any, train: bool, key: Any, which: str) -> Any:
        """Return z, the state, and what goes back by name; `which` is "apply" or "vjp"."""
        moved: dict[str, Any] = {}
        backs: dict[str, Pullback] = {}

        def call(name: str, value: Any) -> Any:
            layer = layers[name]
            own, own_state = params.get(name, EMPTY), state.get(name, EMPTY)
            own_key = key.fold(name) if layer.traits.stochastic and key is not None else None
            try:
                given = own, own_state, value
                y, new, *back = getattr(layer.core, which)(*given, train=train, key=own_key)
            except (FnnError, KeyError) as error:
                raise placed_error(error, name, layer.where) from error.__cause__
            if new is not own_state:
                moved[name] = freeze(new)
            backs.update({name: back[0]} if back else {})
            return y

        def attended(value: Any) -> Any:
            y = call("attention", (value, x[1]) if mask else value)
            return call("dropout_1", y) if drops else y

        def transformed(value: Any) -> Any:
            y = call("mlp", value)
            return call("dropout_2", y) if drops else y

        own = x[0] if mask else x
        if is_pre:
            y = own + attended(call("norm_1", own))
            z = y + transformed(call("norm_2", y))
        else:
            y = call("norm_1", own + attended(own))
            z = call("norm_2", y + transformed(y))
        state = Tree(state) | moved if moved else state
        return ((z, x[1]) if mask else z), state, backs

    def apply(
        params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None
    ) -> tuple[Any, TreeLike]:
        z, state, _ = run(params, state, x, train, key, "apply")
        return z, state

    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        z, state, backs = run(params, state, x, train, key, "vjp")

        def pullback(dz: Any, *, need_dx: bool = True) -> tuple[TreeLike, Any]:
            dparams: dict[str, Any] = {}

            def back(name: str, d: Any) -> Any:
                layer = layers[name]
                try:
                    own, dx = backs[name](d)
                except (FnnError, KeyError) as error:
                    raise placed_error(error, name, layer.where) from error.__cause__
                dparams[name] = freeze(own)
                return dx

            def attended(d: Any) -> Any:
                dx = back("attention", back("dropout_1", d) if drops else d)
                return dx[0] if mask else dx

            def transformed(d: Any) -> Any:
                return back("mlp", back("dropout_2", d) if drops else d)

            d = dz[0] if mask else dz
            if is_pre:
                d = d + back("norm_2", transformed(d))
                d = d + back("norm_1", attended(d))
            else:
                d = back("norm_2", d)
                d = back("norm_1", d + transformed(d))
                d = d + attended(d)
            whole = Tree.own({name: dparams[name] for name in params})
            dx = (d, None) if mask else d
            return whole, dx if need_dx else None

        return z, state, pullback

    return Core(init, apply, vjp)
