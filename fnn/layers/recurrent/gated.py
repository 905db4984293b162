"""The cells of the library: simple recurrent, LSTM and GRU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fnn.errors import OptionError, ShapeError
from fnn.kernels import recurrence
from fnn.layers.calls import Shape
from fnn.layers.contract import Traits
from fnn.layers.initializers import Initializer, draw, glorot_uniform, zeros
from fnn.layers.leaves import Leaf
from fnn.layers.recurrent.cells import Cell, step_of
from fnn.layers.scaled_initializers import orthogonal
from fnn.options import integer, real
from fnn.recipe import constructor
from fnn.tree import Array

ORTHOGONAL = orthogonal()
"""What a simple recurrence carries then neither grows nor fades at first; of cells with gates the rows
of all gates together are orthonormal, as in Keras."""


def _cell(
    name: str,
    width: int,
    gates: int,
    run: Callable[[Any, Array, Any, Array | None], tuple[Array, Any, Callable[[Array, Any], Any]]],
    inits: tuple[Initializer, Initializer, Initializer],
    *,
    kept: int,
    carried: int = 1,
    state_bias: bool = False,
    kinks: bool = False,
) -> Cell:
    """Make a cell with `gates` blocks of weights for x and for the state.

    `run(params, z, carry, valid)` is the recurrence over z = x w_in + b. It returns the states, the
    first before the first step, what is carried in the end, and the way back: from derivatives of the
    states and of what is carried in the end to those of z, of products with w_state, and of `carry`.
    For it `kept` arrays of the states' shape are kept, them included.
    """
    init_in, init_state, init_b = inits

    def shapes(in_shape: Shape) -> Any:
        if len(in_shape) != 1 or in_shape[0] < 1:
            raise ShapeError(f"expected steps of 1 or more features, got steps of shape {in_shape}")
        (n,) = in_shape
        # Fans are those of one gate, which is a matrix of its own.
        leaves = {
            "w_in": Leaf((n, gates * width), init_in, (n, width)),
            "w_state": Leaf((width, gates * width), init_state, (width, width)),
            "b": Leaf((gates * width,), init_b),
        }
        leaves |= {"b_state": Leaf((gates * width,), init_b)} if state_bias else {}
        return (width,), (width,) if carried == 1 else ((width,),) * carried, leaves

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        return 2 * sum(math.prod(params[each].shape) for each in ("w_in", "w_state"))

    def over_time(params: Any, first: Any, xs: Array, valid: Array | None) -> Any:
        w_in = params["w_in"]
        hs, carry, back = run(params, recurrence.inputs_of_gates(xs, w_in, params["b"]), first, valid)

        def pullback(dys: Array, dlast: Any, *, need_dx: bool) -> Any:
            dz, dproducts, dfirst = back(dys, dlast)
            dw, db, dx = recurrence.inputs_of_gates_vjp(xs, w_in, dz, need_dx=need_dx)
            dparams = {"w_in": dw, "w_state": recurrence.states_vjp(hs, dproducts), "b": db}
            if state_bias:
                dparams["b_state"] = recurrence.sums(dproducts)
            return dparams, dfirst, dx

        return hs[1:], carry, pullback

    traits = Traits(has_kinks=kinks)
    more: Any = {"traits": traits, "flops": flops, "keeps": lambda in_shape, out_shape: kept * width}
    return Cell(name, shapes, step_of(over_time), over_time=over_time, **more)


@constructor
def RNNCell(
    width: int,
    *,
    activation: str = "tanh",
    init_w_in: Initializer = glorot_uniform,
    init_w_state: Initializer = ORTHOGONAL,
    init_b: Initializer = zeros,
) -> Cell:
    """Make the cell of a simple recurrence: h ← tanh(x w_in + h w_state + b), and y = h.

    Args:
        width: Number of features of h.
        activation: "tanh" or "relu".
        init_w_in, init_w_state, init_b: Draw the weights.

    Params:
        w_in: Shape (features, width).
        w_state: Shape (width, width).
        b: Shape (width,).

    References: Elman (1990), "Finding structure in time".
    """
    width = integer("RNNCell", "width", width)
    if activation not in ("tanh", "relu"):
        expected = "activation: expected 'tanh' or 'relu'"
        raise OptionError(f"{expected}, got {activation!r}", path=("RNNCell",))
    relu = activation == "relu"

    def run(params: Any, z: Array, first: Array, valid: Array | None) -> Any:
        w = params["w_state"]
        hs = recurrence.simple(z, w, first, valid, relu=relu)

        def back(dys: Array, dlast: Array) -> Any:
            dz, dfirst = recurrence.simple_vjp(hs, w, dys, dlast, valid, relu=relu)
            return dz, dz, dfirst

        return hs, hs[-1], back

    return _cell("rnn", width, 1, run, (init_w_in, init_w_state, init_b), kept=1, kinks=relu)


@constructor
def LSTMCell(
    width: int,
    *,
    forget_bias: float = 1.0,
    init_w_in: Initializer = glorot_uniform,
    init_w_state: Initializer = ORTHOGONAL,
    init_b: Initializer = zeros,
) -> Cell:
    """Make the cell of a long short-term memory: c ← f c + i g, h ← o tanh c, and y = h.

    i, f, o = σ(·) and g = tanh(·) of the four parts of x w_in + h w_state + b, in the order i, f, g, o.
    What is carried is (h, c).

    Args:
        width: Number of features of h and of c.
        forget_bias: Added to the first biases of f, so that much is remembered at first.
        init_w_in, init_w_state, init_b: Draw the weights; fans are those of one gate.

    Params:
        w_in: Shape (features, 4 width).
        w_state: Shape (width, 4 width).
        b: Shape (4 width,).

    References: Hochreiter & Schmidhuber (1997), "Long short-term memory"; Gers et al. (2000),
        "Learning to forget".
    """
    width = integer("LSTMCell", "width", width)
    forget_bias = real("LSTMCell", "forget_bias", forget_bias)

    def run(params: Any, z: Array, first: Any, valid: Array | None) -> Any:
        w = params["w_state"]
        saved = hs, cs, _, _ = recurrence.lstm(z, w, first, valid)

        def back(dys: Array, dlast: Any) -> Any:
            dz, dfirst = recurrence.lstm_vjp(saved, w, dys, dlast, valid)
            return dz, dz, dfirst

        return hs, (hs[-1], cs[-1]), back

    inits = init_w_in, init_w_state, _with_forget_bias(init_b, width, forget_bias)
    return _cell("lstm", width, 4, run, inits, kept=7, carried=2)


def _with_forget_bias(init_b: Initializer, width: int, forget_bias: float) -> Callable[..., Array]:
    def drawn(key: Any, shape: Any, fan_in: Any, fan_out: Any) -> Array:
        b = draw(init_b, key, shape, fan_in, fan_out).copy()
        b[width : 2 * width] += forget_bias
        return b

    return drawn


@constructor
def GRUCell(
    width: int,
    *,
    init_w_in: Initializer = glorot_uniform,
    init_w_state: Initializer = ORTHOGONAL,
    init_b: Initializer = zeros,
) -> Cell:
    """Make the cell of a gated recurrent unit: h ← (1 - z) n + z h, and y = h.

    r, z = σ(·) of their parts of x w_in + b + h w_state + b_state, in the order r, z, n, and
    n = tanh(x w_n + b_n + r (h w_state_n + b_state_n)): the reset gate acts after the product, as in
    PyTorch and cuDNN, which makes b_state differ from b.

    Args:
        width: Number of features of h.
        init_w_in, init_w_state, init_b: Draw the weights; fans are those of one gate.

    Params:
        w_in: Shape (features, 3 width).
        w_state: Shape (width, 3 width).
        b, b_state: Shape (3 width,).

    References: Cho et al. (2014), "Learning phrase representations", in the form of cuDNN.
    """
    width = integer("GRUCell", "width", width)

    def run(params: Any, z: Array, first: Array, valid: Array | None) -> Any:
        w = params["w_state"]
        saved = hs, _, _ = recurrence.gru(z, w, params["b_state"], first, valid)
        return hs, hs[-1], lambda dys, dlast: recurrence.gru_vjp(saved, w, dys, dlast, valid)

    inits = init_w_in, init_w_state, init_b
    return _cell("gru", width, 3, run, inits, kept=5, state_bias=True)
