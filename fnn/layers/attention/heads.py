"""Attention of several heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels import attention as kernel
from fnn.kernels.affine import affine, affine_vjp
from fnn.kernels.checks import check_floats
from fnn.kernels.values import count_numbers
from fnn.keys import Key
from fnn.layers.attention.positions import check_sequence
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.layers.making import Leaf, make_layer, need_key
from fnn.options import flag, integer, real
from fnn.recipe import constructor
from fnn.tree import Array, Tree

BASE = 10_000.0


@constructor
def MultiHeadAttention(
    heads: int,
    *,
    width: int | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    positions: str | None = None,
    mask: bool = False,
    cross: bool = False,
    bias: bool = True,
    init_w: Initializer = glorot_uniform,
    init_b: Initializer = zeros,
) -> Layer:
    """Let every step attend to all: y = concat_h(softmax(q_h k_hᵀ / √d) v_h) w_o, for each head h.

    q = x w_q, k = x w_k and v = x w_v are cut into heads of d = width / heads features; x and y are
    (batch, time, features).

    Args:
        heads: Number of heads, a divisor of `width`.
        width: Number of features of all heads together; that of x by default.
        causal: Whether a step attends to itself and those before it alone.
        dropout: With what probability a weight of the softmax is dropped in training.
        positions: "rotary" turns q and k by their steps; see `RotaryPositions`.
        mask: Whether x is `(x, mask)`, the mask (batch, time) True where a step is valid: nobody
            attends to others. y is an array all the same, and its values at steps that are not valid
            mean nothing. A query that may see no valid step (causal, and all before it hidden) gets 0.
        cross: Whether x is `(x, memory)`, or `(x, memory, mask)`: q comes from x, while k and v come
            from the memory (batch, its time, its features), whose steps the mask is about. With
            `causal` both end at the same step.
        bias: Whether to add biases to q, v and y; and to k if it has positions, for what is the same
            at all steps does not change a softmax over them.
        init_w, init_b: Draw the weights and the biases.

    Params:
        w_q: Shape (features, width); its heads lie one after the other.
        w_k, w_v: Shape (features of the memory, width).
        w_o: Shape (width, features).
        b_q, b_v, b_o: Shape (width,), and (features,) for the last; absent if `bias` is False.
        b_k: Shape (width,); there if `bias` is True and `positions` are given.

    Raises:
        OptionError: If an option is out of range; in training with dropout without a key.
        ShapeError: If heads do not divide the width, or rotary heads have an odd one.
        DTypeError: If the mask holds no booleans.
        DataError: If a mask hides all steps of an example; names it.

    References: Vaswani et al. (2017), "Attention is all you need", section 3.2.
    """
    who = "MultiHeadAttention"
    heads = integer(who, "heads", heads)
    width = None if width is None else integer(who, "width", width)
    rate = real(who, "dropout", dropout, least=0, below=1)
    causal, mask = flag(who, "causal", causal), flag(who, "mask", mask)
    cross, bias = flag(who, "cross", cross), flag(who, "bias", bias)
    if positions not in (None, "rotary"):
        raise OptionError(f"positions: expected None or 'rotary', got {positions!r}", path=(who,))
    biases = ("qkvo" if positions else "qvo") if bias else ""
    names = ["x", *(["memory"] if cross else []), *(["mask"] if mask else [])]

    def parts(value: Any, what: str) -> tuple[Any, Any, Any]:
        """Return x, the memory (x itself without one) and the mask, or their shapes."""
        if len(names) == 1:
            return value, value, None
        if not isinstance(value, tuple) or len(value) != len(names) or isinstance(value[0], int):
            raise ShapeError(f"expected ({', '.join(names)}), got {what}")
        return value[0], value[1] if cross else value[0], value[-1] if mask else None

    def shapes(in_shape: Shape) -> Any:
        own, memory, hides = parts(in_shape, f"in_shape={in_shape}")
        check_sequence(own)
        check_sequence(memory)
        if mask and hides != memory[:1]:
            raise ShapeError(f"expected a mask of shape {memory[:1]}, got {hides}")
        n, n_memory = own[1], memory[1]
        total = n if width is None else width
        if total % heads:
            raise ShapeError(f"expected a width in multiples of heads={heads}, got {total}")
        if positions and total // heads % 2:
            raise ShapeError(f"expected an even width of rotary heads, got {total // heads}")
        sizes = {"q": (n, total), "k": (n_memory, total), "v": (n_memory, total), "o": (total, n)}
        leaves = {f"w_{each}": Leaf(size, init_w, size) for each, size in sizes.items()}
        leaves |= {f"b_{each}": Leaf(sizes[each][1:], init_b, sizes[each]) for each in biases}
        return own, leaves, {}

    def turned(x: Array, *, back: bool = False) -> Array:
        return kernel.rotated(x, BASE, back=back) if positions else x

    def fwd(params: Any, state: Any, value: Any, train: Any, key: Any) -> Any:
        x, memory, shown = parts(value, "x")
        check_floats("x", x)
        check_floats("the memory", memory)
        hidden = _hidden(x.shape[1], memory.shape[1], shown, causal=causal)
        b = {each: params[f"b_{each}"] if each in biases else None for each in "qkvo"}
        given = {"q": x, "k": memory, "v": memory}
        q, k, v = (
            kernel.by_head(affine(given[each], params[f"w_{each}"], b[each]), heads) for each in "qkv"
        )
        kept = None
        if rate and train:
            kept = _kept(key, (*q.shape[:3], k.shape[2]), rate, x.real.dtype)
        seen, saved = kernel.attention(turned(q), turned(k), v, hidden, kept)
        joined = kernel.joined(seen)
        y = affine(joined, params["w_o"], b["o"])

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            dparams: dict[str, Any] = {}

            def back(name: str, into: Array, d: Array, *, need: bool) -> Any:
                w = params[f"w_{name}"]
                has_b = name in biases
                dparams[f"w_{name}"], db, dinto = affine_vjp(into, w, d, bias=has_b, need_dx=need)
                dparams.update({f"b_{name}": db} if has_b else {})
                return dinto

            djoined = back("o", joined, dy, need=True)
            dq, dk, dv = kernel.attention_vjp(saved, kernel.by_head(djoined, heads))
            each = {"q": turned(dq, back=True), "k": turned(dk, back=True), "v": dv}
            dx, *dmemory = (
                back(name, given[name], kernel.joined(d), need=need_dx) for name, d in each.items()
            )
            tree = Tree.own({name: dparams[name] for name in params})
            if not need_dx:
                return tree, None
            dother = np.add(dmemory[0], dmemory[1], out=dmemory[0])
            whole = (dx, dother) if cross else (np.add(dx, dother, out=dother),)
            whole = (*whole, None) if mask else whole
            return tree, whole if len(whole) > 1 else whole[0]

        return y, state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        own, memory, _ = parts(in_shape, "in_shape")
        total = params["w_o"].shape[0]
        products = own[0] * own[1] * total * 2 + memory[0] * memory[1] * total * 2
        return 2 * (products + 2 * own[0] * memory[0] * total)

    def keeps(in_shape: Shape, out_shape: Shape) -> int:
        own, memory, _ = parts(in_shape, "in_shape")
        total = own[1] if width is None else width
        # y, q, what the heads have seen, k and v; the weights, and with dropout those that are left
        # and the mask.
        weights = heads * own[0] * memory[0] * (3 if rate else 1)
        return count_numbers(own) + 2 * total * (own[0] + memory[0]) + weights

    return make_layer(
        "multi_head_attention",
        shapes,
        fwd,
        traits=Traits(stochastic=rate > 0, takes_integers=mask, takes_tuples=len(names) > 1),
        flops=flops,
        keeps=keeps,
        inputs=_inputs if len(names) > 1 else None,
    )


def _hidden(queries: int, keys: int, shown: Array | None, *, causal: bool) -> Array | None:
    """Return which keys a query may not see, in a shape that broadcasts; None if it sees all.

    Raises:
        DTypeError, DataError: If the mask holds no booleans, or hides all of an example.
    """
    later = kernel.later(queries, keys) if causal else None
    if shown is None:
        return later
    if shown.dtype != bool:
        raise DTypeError(f"expected a mask of booleans, got {shown.dtype}")
    if not (any_shown := shown.any(axis=1)).all():
        message = f"expected a mask that shows a step, got one of {keys} hidden"
        raise DataError(f"{message} for example {int(np.argmin(any_shown))}")
    hidden = ~shown[:, None, None, :]
    return hidden if later is None else hidden | later


def _kept(key: Key | None, shape: Shape, rate: float, dtype: Any) -> Array:
    kept = need_key(key).generator().random(shape, "float32") >= np.float32(rate)
    return np.multiply(kept, 1 / (1 - rate), dtype=dtype)


def _inputs(key: Key, n: int, in_shape: Shape) -> Any:
    """Return sequences, and masks that hide some but never the first step."""
    rng = key.generator()

    def drawn(shape: Shape) -> Array:
        if len(shape) == 2:
            return rng.normal(size=(n, *shape))
        shown = rng.random((n, *shape)) < 0.7
        shown[:, :1] = True
        return shown

    return tuple(map(drawn, in_shape))
