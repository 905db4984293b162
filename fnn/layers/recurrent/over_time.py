"""Recurrent layers over (batch, time, features)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels import memory
from fnn.kernels.checks import check_floats
from fnn.kernels.noting import contiguous
from fnn.kernels.values import count_numbers, is_tuple_of_shapes, map_arrays
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import Initializer, glorot_uniform, zeros
from fnn.layers.making import make_layer
from fnn.layers.recurrent.cells import Cell, check_cell, over_time_of
from fnn.layers.recurrent.gated import ORTHOGONAL, GRUCell, LSTMCell, RNNCell
from fnn.options import flag, returned
from fnn.recipe import constructor
from fnn.tree import Array, Tree


@constructor
def rnn(
    cell: Cell,
    *,
    reverse: bool = False,
    last: bool = False,
    lengths: bool = False,
    carry: bool = False,
) -> Layer:
    """Run a cell over time: c_t, y_t = cell(c_(t-1), x_t), for x and y (batch, time, ...).

    Args:
        cell: `RNNCell`, `LSTMCell`, `GRUCell`, or one of `make_cell`.
        reverse: Whether to begin at the last step and end at the first; y stands in the order of x.
        last: Whether y is only what the last step gives, (batch, ...); in reverse that is the first.
        lengths: Whether x is `(x, lengths)` with an integer of 1 to time for each example. Beyond its
            length nothing happens: y is 0 there, what is carried stays, the last step is that at the
            length, and in reverse the first.
        carry: Whether what is carried before the first step comes with x, `(x, carry)` or
            `(x, lengths, carry)`, and what is carried after the last goes out with y, `(y, carry)`, so
            that a sequence goes on in the next call. Otherwise it begins as zeros.

    Raises:
        OptionError: If `cell` is no cell.
        ShapeError: If x has no time axis or other features than the params, or other parts.
        DataError: If a length is not within 1 and time; names the example.
    """
    check_cell("rnn", cell)
    ways = reverse, last, lengths, carry
    reverse, last, lengths, carry = (flag("rnn", *way) for way in zip(_WAYS, ways, strict=True))
    run = cell.over_time or over_time_of(cell.step)

    def parts(value: Any, what: str) -> tuple[Any, Any, Any]:
        """Return x, the lengths and what is carried, None for what does not come; or their shapes."""
        expected = ["x", *(["lengths"] if lengths else []), *(["carry"] if carry else [])]
        if len(expected) == 1:
            return value, None, None
        if not isinstance(value, tuple) or len(value) != len(expected) or isinstance(value[0], int):
            raise ShapeError(f"expected ({', '.join(expected)}), got {what}")
        return value[0], value[1] if lengths else None, value[-1] if carry else None

    def shapes(in_shape: Shape) -> Any:
        own, of_lengths, of_carry = parts(in_shape, f"in_shape={in_shape}")
        if is_tuple_of_shapes(own) or len(own) < 2 or own[0] < 1:
            raise ShapeError(f"expected (time, features) with 1 or more steps, got in_shape={own}")
        told = returned(
            "the cell's shapes", cell.shapes(own[1:]), ("out_shape", "carry_shape", "leaves")
        )
        out_shape, carried, leaves = told
        if lengths and of_lengths != ():
            raise ShapeError(f"expected one length for each example, got the shape {of_lengths}")
        if carry and of_carry != carried:
            raise ShapeError(f"expected what is carried of shape {carried}, got {of_carry}")
        y = out_shape if last else (own[0], *out_shape)
        return (y, carried) if carry else y, leaves, {}

    def fwd(params: Any, state: Any, value: Any, train: Any, key: Any) -> Any:
        x, ends, first = parts(value, "x")
        time, n = x.shape[1], x.shape[0]
        for what, part in (("x", x), ("what is carried", first)):
            if part is not None:
                check_floats(what, part)
        if first is None:
            first = _zeros(cell.shapes(x.shape[2:])[1], n, x.real.dtype)
        valid = None if ends is None else _valid(ends, time)
        way = slice(None, None, -1 if reverse else 1)
        xs = contiguous(x.swapaxes(0, 1)[way])
        valid = None if valid is None else valid[way]
        if valid is not None and not np.isfinite(xs).all():
            # What is not finite in the padding would come into the weights' derivatives as 0 · NaN.
            xs = np.where(valid.reshape(time, n, *(1,) * (xs.ndim - 2)), xs, xs.dtype.type(0))
        ys, carried, back = run(params, first, xs, valid)
        # In reverse all end at the last step that is run.
        ending = time - 1 if ends is None or reverse else ends - 1, np.arange(n)
        shown = None if valid is None else valid.reshape(time, n, *(1,) * (ys.ndim - 2))
        if last:
            y = ys[ending]
        else:
            y = (ys if shown is None else np.where(shown, ys, ys.dtype.type(0)))[way].swapaxes(0, 1)

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            dy, dlast = dy if carry else (dy, None)
            if dlast is None:
                dlast = map_arrays(np.zeros_like, carried)
            if last:
                dys = memory.zeros(ys.shape, dy.dtype)
                dys[ending] = dy
            else:
                dys = contiguous(dy.swapaxes(0, 1)[way])
                dys = dys if shown is None else np.where(shown, dys, dys.dtype.type(0))
            dparams, dfirst, dxs = back(dys, dlast, need_dx=need_dx)
            dparams = Tree.own({name: dparams[name] for name in params})
            if not need_dx:
                return dparams, None
            dx = dxs[way].swapaxes(0, 1)
            with_lengths = (dx, None) if lengths else (dx,)
            whole = (*with_lengths, dfirst) if carry else with_lengths
            return dparams, whole if len(whole) > 1 else dx

        # Copies: a state is not to change with y, nor to keep the memory of a whole sequence.
        return (y, map_arrays(np.copy, carried)) if carry else y, state, pullback

    def flops(in_shape: Shape, out_shape: Shape, params: Any) -> int:
        own, _, _ = parts(in_shape, "in_shape")
        of_y = out_shape[0] if carry else out_shape
        step = cell.flops(own[1:], of_y if last else of_y[1:], params) if cell.flops else 0
        return int(own[0] * step)

    def keeps(in_shape: Shape, out_shape: Shape) -> int:
        own, _, _ = parts(in_shape, "in_shape")
        of_step, of_carry, _ = cell.shapes(own[1:])
        if cell.keeps is not None:
            # y is seen in what the cell keeps, if it is not chosen from it.
            step, y = cell.keeps(own[1:], of_step), last or lengths
        else:
            step, y = count_numbers(of_step) + count_numbers(of_carry), True
        carried = count_numbers(of_carry) if carry else 0
        of_y = out_shape[0] if carry else out_shape
        return int(own[0] * step + carried + (count_numbers(of_y) if y else 0))

    def inputs(key: Key, n: int, in_shape: Shape) -> Any:
        rng = key.generator()
        own, _, of_carry = parts(in_shape, "in_shape")
        x = _normal(own, n, rng)
        ends = (rng.integers(1, own[0] + 1, n),) if lengths else ()
        whole = (x, *ends, *((_normal(of_carry, n, rng),) if carry else ()))
        return whole if len(whole) > 1 else x

    return make_layer(
        cell.name,
        shapes,
        fwd,
        traits=attrs.evolve(cell.traits, takes_integers=lengths, takes_tuples=lengths or carry),
        flops=flops if cell.flops else None,
        keeps=keeps,
        inputs=inputs if lengths or carry else None,
    )


def _zeros(shape: Any, n: int, dtype: Any) -> Any:
    if is_tuple_of_shapes(shape):
        return tuple(_zeros(each, n, dtype) for each in shape)
    return memory.zeros((n, *shape), dtype)


def _normal(shape: Any, n: int, rng: np.random.Generator) -> Any:
    if is_tuple_of_shapes(shape):
        return tuple(_normal(each, n, rng) for each in shape)
    return rng.normal(size=(n, *shape))


def _valid(lengths: Any, time: int) -> Array:
    """Return (time, batch, 1): where examples have not ended."""
    if lengths.dtype.kind not in "iu":
        raise DTypeError(f"expected lengths as integers, got {lengths.dtype}")
    wrong = np.flatnonzero((lengths < 1) | (lengths > time))
    if wrong.size:
        at = int(wrong[0])
        raise DataError(f"expected lengths of 1 to {time}, got {lengths[at]} for example {at}")
    valid: Array = np.arange(time)[:, None, None] < lengths[:, None]
    return valid


_WAYS = "reverse", "last", "lengths", "carry"
_INITS = "init_w_in", "init_w_state", "init_b"


def _layer(
    who: str,
    make: Callable[..., Cell],
    width: int,
    ways: tuple[bool, ...],
    inits: tuple[Initializer, ...],
    **more: Any,
) -> Layer:
    """Return rnn(make(width, ...), ...), with errors that name who was called."""
    options = {name: flag(who, name, way) for name, way in zip(_WAYS, ways, strict=True)}
    try:
        cell = make(width, **more, **dict(zip(_INITS, inits, strict=True)))
    except OptionError as error:
        error.path = (who,)
        raise
    return attrs.evolve(rnn(cell, **options), recipe=None)


@constructor
def RNN(
    width: int,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    last: bool = False,
    lengths: bool = False,
    carry: bool = False,
    init_w_in: Initializer = glorot_uniform,
    init_w_state: Initializer = ORTHOGONAL,
    init_b: Initializer = zeros,
) -> Layer:
    """Run a simple recurrence over time: h_t = tanh(x_t w_in + h_(t-1) w_state + b), y = h.

    From (batch, time, features) to (batch, time, width).

    Args:
        width: Number of features of h.
        activation: "tanh" or "relu".
        reverse, last, lengths, carry: As in `rnn`; h is carried, (batch, width).
        init_w_in, init_w_state, init_b: Draw the weights.

    Params:
        w_in: Shape (features, width).
        w_state: Shape (width, width).
        b: Shape (width,).

    References: Elman (1990), "Finding structure in time".
    """
    ways, inits = (reverse, last, lengths, carry), (init_w_in, init_w_state, init_b)
    return _layer("RNN", RNNCell, width, ways, inits, activation=activation)


@constructor
def LSTM(
    width: int,
    *,
    forget_bias: float = 1.0,
    reverse: bool = False,
    last: bool = False,
    lengths: bool = False,
    carry: bool = False,
    init_w_in: Initializer = glorot_uniform,
    init_w_state: Initializer = ORTHOGONAL,
    init_b: Initializer = zeros,
) -> Layer:
    """Run a long short-term memory over time: c_t = f c_(t-1) + i g, h_t = o tanh c_t, y = h.

    i, f, o = σ(·) and g = tanh(·) of the four parts of x_t w_in + h_(t-1) w_state + b, in the order
    i, f, g, o. From (batch, time, features) to (batch, time, width).

    Args:
        width: Number of features of h and of c.
        forget_bias: Added to the first biases of f, so that much is remembered at first.
        reverse, last, lengths, carry: As in `rnn`; (h, c) is carried, each (batch, width).
        init_w_in, init_w_state, init_b: Draw the weights; fans are those of one gate.

    Params:
        w_in: Shape (features, 4 width).
        w_state: Shape (width, 4 width).
        b: Shape (4 width,).

    References: Hochreiter & Schmidhuber (1997), "Long short-term memory"; Gers et al. (2000),
        "Learning to forget".
    """
    ways, inits = (reverse, last, lengths, carry), (init_w_in, init_w_state, init_b)
    return _layer("LSTM", LSTMCell, width, ways, inits, forget_bias=forget_bias)


@constructor
def GRU(
    width: int,
    *,
    reverse: bool = False,
    last: bool = False,
    lengths: bool = False,
    carry: bool = False,
    init_w_in: Initializer = glorot_uniform,
    init_w_state: Initializer = ORTHOGONAL,
    init_b: Initializer = zeros,
) -> Layer:
    """Run a gated recurrent unit over time: h_t = (1 - z) n + z h_(t-1), y = h.

    r, z = σ(·) of their parts of x_t w_in + b + h_(t-1) w_state + b_state, in the order r, z, n, and
    n = tanh(x_t w_n + b_n + r (h_(t-1) w_state_n + b_state_n)). From (batch, time, features) to
    (batch, time, width).

    Args:
        width: Number of features of h.
        reverse, last, lengths, carry: As in `rnn`; h is carried, (batch, width).
        init_w_in, init_w_state, init_b: Draw the weights; fans are those of one gate.

    Params:
        w_in: Shape (features, 3 width).
        w_state: Shape (width, 3 width).
        b, b_state: Shape (3 width,).

    References: Cho et al. (2014), "Learning phrase representations", in the form of cuDNN.
    """
    ways, inits = (reverse, last, lengths, carry), (init_w_in, init_w_state, init_b)
    return _layer("GRU", GRUCell, width, ways, inits)
