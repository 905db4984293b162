"""Rules of activations and gates; where a function bends, its derivative is that of `fnn`.

Systems split a derivative between the two sides of a bend, or among values that tie. Here, as in the
layers, it belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fnn.interop.arrays import functions as a
from fnn.interop.arrays.plain import plain
from fnn.interop.arrays.translating import Run, rules
from fnn.interop.rules import options_of
from fnn.layers import activation as basic
from fnn.layers import gates
from fnn.layers import smooth_activation as more
from fnn.layers.contract import Layer


def _number_by_number(make: Callable[..., Layer], f: Callable[[Any, SimpleNamespace], Any]) -> None:
    """Add the rule of f(x, options), which takes every array of a tuple by itself."""

    def rule(layer: Layer) -> Run:
        options = options_of(layer)
        return plain(lambda x: a.map_value(lambda each: f(each, options), x))

    rules.of(make)(rule)


def _elu(x: Any, alpha: float, width: float = 1.0) -> Any:
    below = a.where(x > 0, 0, x)  # So that what lies on the other side does not overflow.
    return a.where(x > 0, x, alpha * a.expm1(below if width == 1 else below / width))


def _clipped(x: Any, low: float, high: float) -> Any:
    """Return x cut off; the derivative on the bounds is 0."""
    inside = (x > low) & (x < high)
    return a.where(inside, x, a.stop_gradient(a.clip(x, low, high)))


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

_number_by_number(basic.Identity, lambda x, o: x)
_number_by_number(basic.Relu, lambda x, o: a.relu(x))
_number_by_number(basic.LeakyRelu, lambda x, o: a.where(x > 0, x, o.slope * x))
_number_by_number(basic.Sigmoid, lambda x, o: a.sigmoid(x))
_number_by_number(basic.Tanh, lambda x, o: a.tanh(x))
_number_by_number(more.Elu, lambda x, o: _elu(x, o.alpha))
_number_by_number(more.Selu, lambda x, o: _SELU_SCALE * _elu(x, _SELU_ALPHA))
_number_by_number(more.Celu, lambda x, o: _elu(x, o.alpha, o.alpha))
_number_by_number(more.Gelu, lambda x, o: a.gelu(x, approximate=o.approximate))
_number_by_number(more.Silu, lambda x, o: x * a.sigmoid(x))
_number_by_number(more.Mish, lambda x, o: x * a.tanh(a.softplus(x)))
_number_by_number(more.Softplus, lambda x, o: a.softplus(x))
_number_by_number(more.Softsign, lambda x, o: x / (1 + a.abs_(x)))
_number_by_number(more.LogSigmoid, lambda x, o: -a.softplus(-x))
_number_by_number(more.Relu6, lambda x, o: _clipped(x, 0, 6))
_number_by_number(more.HardTanh, lambda x, o: _clipped(x, -1, 1))
_number_by_number(more.HardSigmoid, lambda x, o: _clipped(x * (1 / 6) + 0.5, 0, 1))
_number_by_number(more.HardSwish, lambda x, o: x * _clipped(x / 6 + 0.5, 0, 1))
_number_by_number(more.Exp, lambda x, o: a.exp(x))
_number_by_number(more.Abs, lambda x, o: x * a.stop_gradient(a.sign(x)))  # 0 at 0, not 1.
_number_by_number(more.Square, lambda x, o: x * x)


# --- over an axis -----------------------------------------------------------------------------


@rules.of(basic.Softmax, basic.LogSoftmax)
def softmax(layer: Layer) -> Run:
    """Turn scores into probabilities or their logarithms."""
    o = options_of(layer)
    f = a.softmax if layer.made_by().call is basic.Softmax else a.log_softmax
    return plain(lambda x: f(x if o.temperature == 1 else x / o.temperature, axis=o.axis))


@rules.of(more.Sparsemax)
def sparsemax(layer: Layer) -> Run:
    """Project scores to the simplex."""
    axis = options_of(layer).axis

    def f(x: Any) -> Any:
        x = a.moveaxis(x, axis, -1)
        fixed = a.stop_gradient(x)
        x, fixed = (each - a.amax(fixed, axis=-1) for each in (x, fixed))
        ordered = -a.sort(-fixed, axis=-1)
        ranks = a.as_dtype_of(a.arange_like(x, x.shape[-1]), x) + 1
        count = (1 + ranks * ordered > a.cumsum(ordered, axis=-1)).sum(axis=-1, keepdims=True)
        held = fixed >= a.take_along_axis(ordered, count - 1, axis=-1)
        total = a.where(held, x, 0).sum(axis=-1, keepdims=True)
        y = x - (total - 1) / a.as_dtype_of(held.sum(axis=-1, keepdims=True), x)
        return a.moveaxis(a.where(held & (y > 0), y, 0), -1, axis)

    return plain(f)


# --- gates ------------------------------------------------------------------------------------

_GATES: dict[Any, Callable[[Any], Any]] = {
    gates.Glu: lambda gate: a.sigmoid(gate),
    gates.GeGlu: lambda gate: a.gelu(gate, approximate=False),
    gates.SwiGlu: lambda gate: gate * a.sigmoid(gate),
}


@rules.of(gates.Glu, gates.GeGlu, gates.SwiGlu)
def gated(layer: Layer) -> Run:
    """Gate one half of the features by the other."""
    axis, f = options_of(layer).axis, _GATES[layer.made_by().call]

    def open_by(x: Any) -> Any:
        value, gate = a.split(x, 2, axis=axis)
        return value * f(gate)

    return plain(open_by)


@rules.of(gates.PRelu)
def p_relu(layer: Layer) -> Run:
    """Flatten below zero by a slope that is learned."""

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        slope = params["slope"]
        wide = slope.reshape(-1, *(1,) * (x.ndim - 2)) if options_of(layer).per_channel else slope[0]
        return a.where(x > 0, x, wide * x), state

    return run


@rules.of(gates.Maxout)
def maxout(layer: Layer) -> Run:
    """Take the largest of every few features, of equal ones the first."""
    o = options_of(layer)

    def f(x: Any) -> Any:
        at = o.axis % x.ndim
        size = x.shape[at] // o.pieces
        parts = x.reshape(*x.shape[:at], size, o.pieces, *x.shape[at + 1 :])
        best = a.expand_dims(a.argmax(parts, axis=at + 1), at + 1)
        return a.take_along_axis(parts, best, at + 1).squeeze(at + 1)

    return plain(f)
