"""Rules of layers over time: recurrent cells and what runs them, attention, and positions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

from fnn.errors import DTypeError, FnnError
from fnn.interop.arrays import functions as a
from fnn.interop.arrays.plain import affine, dropped, plain
from fnn.interop.arrays.translating import Run, check_floats, rule_of, rules
from fnn.interop.rules import options_of
from fnn.kernels.attention import later, sinusoids
from fnn.kernels.values import is_tuple_of_shapes
from fnn.layers.attention import positions
from fnn.layers.attention.heads import BASE, MultiHeadAttention
from fnn.layers.contract import Layer
from fnn.layers.recurrent.cells import Cell
from fnn.layers.recurrent.gated import GRUCell, LSTMCell, RNNCell
from fnn.layers.recurrent.over_time import GRU, LSTM, RNN, rnn

# --- cells: step(params, carry, x) -> (carry, y) -------------------------------------------------

C = TypeVar("C", bound=Callable[..., Any])


def of_cell(make: Callable[..., Cell]) -> Callable[[C], C]:
    """Return what makes a function the rule of a cell, which is made by a constructor as layers are."""
    return cast(Any, rules).of(make)


class _Gated:
    """A step of which x enters by x w_in + b alone: one product makes that for all of time."""

    def __init__(self, step: Callable[[Any, Any, Any], tuple[Any, Any]]) -> None:
        self.step = step

    def inputs(self, params: Any, xs: Any) -> Any:
        return affine(xs, params["w_in"], params["b"])

    def __call__(self, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        return self.step(params, carry, self.inputs(params, x))


@of_cell(RNNCell)
def rnn_cell(cell: Cell) -> _Gated:
    """Make the step of a simple recurrence."""
    f = a.relu if options_of(cell).activation == "relu" else a.tanh  # type: ignore[arg-type]

    def step(params: Any, h: Any, z: Any) -> tuple[Any, Any]:
        h = f(z + h @ params["w_state"])
        return h, h

    return _Gated(step)


@of_cell(LSTMCell)
def lstm_cell(cell: Cell) -> _Gated:
    """Make the step of a long short-term memory."""

    def step(params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        h, c = carry
        i, f, g, o = a.split(z + h @ params["w_state"], 4, axis=-1)
        c = a.sigmoid(f) * c + a.sigmoid(i) * a.tanh(g)
        h = a.sigmoid(o) * a.tanh(c)
        return (h, c), h

    return _Gated(step)


@of_cell(GRUCell)
def gru_cell(cell: Cell) -> _Gated:
    """Make the step of a gated recurrent unit."""

    def step(params: Any, h: Any, z: Any) -> tuple[Any, Any]:
        of_r, of_z, of_n = a.split(z, 3, axis=-1)
        by_r, by_z, by_n = a.split(affine(h, params["w_state"], params["b_state"]), 3, axis=-1)
        n = a.tanh(of_n + a.sigmoid(of_r + by_r) * by_n)
        update = a.sigmoid(of_z + by_z)
        h = (1 - update) * n + update * h
        return h, h

    return _Gated(step)


# --- over time ----------------------------------------------------------------------------------


@rules.of(RNN, LSTM, GRU, rnn)
def over_time(layer: Layer) -> Run:
    """Run a cell over time."""
    o, make = options_of(layer), layer.made_by().call
    if make is rnn:
        cell = o.cell
    elif make is RNN:
        cell = RNNCell(o.width, activation=o.activation)
    else:
        cell = {LSTM: LSTMCell, GRU: GRUCell}[make](o.width)
    try:
        step = rule_of(cell)(cell)
    except FnnError as error:
        raise error.inside("cell", cell.where) from None

    def run(params: Any, state: Any, value: Any, train: bool, key: Any) -> Any:
        x, *rest = value if o.lengths or o.carry else (value,)
        ends: Any = rest[0] if o.lengths else None
        check_floats("x", x)
        first = rest[-1] if o.carry else _zeros(cell.shapes(x.shape[2:])[1], x)
        check_floats("what is carried", *a.arrays_in(first))
        xs, shown = a.swapaxes(x, 0, 1), None
        time = len(xs)
        if ends is not None:
            shown = _valid(ends, time)
            # What stands in the padding is never seen, whatever it is.
            xs = a.where(_wide(shown, xs), xs, 0)
        if o.reverse:
            xs, shown = a.flip(xs, 0), None if shown is None else a.flip(shown, 0)
        carried, ys = _scanned(step, params, first, xs, shown)
        if o.last and (ends is None or o.reverse):
            y = ys[-1]
        elif o.last:
            y = ys[a.clip(ends - 1, 0, time - 1), a.arange_like(x, len(x))]
        else:
            ys = ys if shown is None else a.where(_wide(shown, ys), ys, 0)
            y = a.swapaxes(a.flip(ys, 0) if o.reverse else ys, 0, 1)
        came = (y, carried) if o.carry else y
        if ends is not None:
            is_right = (ends >= 1) & (ends <= time)
            came = a.map_value(lambda each: a.where(_wide(is_right, each), each, math.nan), came)
        return came, state

    return run


def _scanned(step: Any, params: Any, first: Any, xs: Any, shown: Any) -> tuple[Any, Any]:
    """Return what is carried in the end, and y of all steps; where an example has ended, it stays."""
    is_gated = isinstance(step, _Gated)
    call = step.step if is_gated else step

    def one(carry: Any, now: Any) -> tuple[Any, Any]:
        x, goes_on = now
        new, y = call(params, carry, x)
        if goes_on is not None:
            new = a.map_value(lambda b, c: a.where(_wide(goes_on, b), b, c), new, carry)
        return new, y

    return a.scan(one, first, (step.inputs(params, xs) if is_gated else xs, shown))


def _zeros(shape: Any, x: Any) -> Any:
    if is_tuple_of_shapes(shape):
        return tuple(_zeros(each, x) for each in shape)
    return a.zeros_like(x, (len(x), *shape))


def _valid(lengths: Any, time: int) -> Any:
    """Return (time, batch): where examples have not ended."""
    if not a.is_integer(lengths):
        raise DTypeError(f"expected lengths as integers, got {lengths.dtype}")
    return a.arange_like(lengths, time)[:, None] < lengths


def _wide(where: Any, like: Any) -> Any:
    return where.reshape(*where.shape, *(1,) * (like.ndim - where.ndim))


# --- attention ----------------------------------------------------------------------------------


def _turned(x: Any, base: float) -> Any:
    """Turn each pair of features of x (..., time, width) by its step's angle."""
    time, width = x.shape[-2:]
    # The sine of each angle stands at an even place, its cosine behind it.
    table = a.constant(sinusoids(time, width, base, a.numpy_dtype(x)), x)
    sin, cos = table[:, ::2], table[:, 1::2]
    even, odd = x[..., ::2], x[..., 1::2]
    return a.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1).reshape(x.shape)


def _weights(scores: Any, hidden: Any) -> Any:
    """Return the softmax over the keys that are not hidden; 0 where there are none."""
    if hidden is None:
        return a.softmax(scores, axis=-1)
    scores = a.where(hidden, -math.inf, scores)
    most = a.stop_gradient(a.amax(scores, axis=-1))
    shares = a.exp(scores - a.where(most == -math.inf, 0, most))
    total = shares.sum(axis=-1, keepdims=True)
    return shares / a.where(total == 0, 1, total)


@rules.of(MultiHeadAttention)
def multi_head_attention(layer: Layer) -> Run:
    """Let every step attend to all."""
    o = options_of(layer)

    def by_head(x: Any) -> Any:
        return a.swapaxes(x.reshape(*x.shape[:2], o.heads, -1), 1, 2)

    def run(params: Any, state: Any, value: Any, train: bool, key: Any) -> Any:
        x, *rest = value if o.cross or o.mask else (value,)
        memory, shown = rest[0] if o.cross else x, rest[-1] if o.mask else None
        check_floats("x", x)
        check_floats("the memory", memory)
        given = {"q": x, "k": memory, "v": memory}
        q, k, v = (
            by_head(affine(given[each], params[f"w_{each}"], params.get(f"b_{each}"))) for each in "qkv"
        )
        if o.positions:
            q, k = _turned(q, BASE), _turned(k, BASE)
        hidden = a.constant(later(x.shape[1], memory.shape[1]), x) if o.causal else None
        if shown is not None:
            if not a.is_bool(shown):
                raise DTypeError(f"expected a mask of booleans, got {shown.dtype}")
            is_hidden = ~shown[:, None, None, :]
            hidden = is_hidden if hidden is None else hidden | is_hidden
        weights = _weights((q * q.shape[-1] ** -0.5) @ a.swapaxes(k, 2, 3), hidden)
        if o.dropout and train:
            weights = dropped(weights, o.dropout, key)
        seen = a.swapaxes(weights @ v, 1, 2)
        y = affine(seen.reshape(*seen.shape[:2], -1), params["w_o"], params.get("b_o"))
        if shown is not None:
            y = a.where(_wide(shown.any(axis=1), y), y, math.nan)
        return y, state

    return run


@rules.of(positions.SinusoidalPositions)
def sinusoidal_positions(layer: Layer) -> Run:
    """Add sines and cosines of the position."""
    base = options_of(layer).base
    return plain(lambda x: x + a.constant(sinusoids(*x.shape[1:], base, a.numpy_dtype(x)), x))


@rules.of(positions.RotaryPositions)
def rotary_positions(layer: Layer) -> Run:
    """Turn every pair of features by the angle of its step."""
    base = options_of(layer).base
    return plain(lambda x: _turned(x, base))


@rules.of(positions.LearnedPositions)
def learned_positions(layer: Layer) -> Run:
    """Add weights for every position."""
    return lambda params, state, x, train, key: (x + params["w"][: x.shape[1]], state)
