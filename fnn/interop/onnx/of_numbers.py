"""How layers of single numbers, of features and of rows of scores are written in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.interop.onnx.graph import LAYERS, Graph, Part, Rule, Value, Values, mapped
from fnn.layers.activation import Identity, LeakyRelu, LogSoftmax, Relu, Sigmoid, Softmax, Tanh
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout, GaussianNoise, SpatialDropout, StochasticDepth
from fnn.layers.gates import GeGlu, Glu, Maxout, PRelu, SwiGlu
from fnn.layers.shape import Flatten, Reshape
from fnn.layers.smooth_activation import (
    Abs,
    Celu,
    Elu,
    Exp,
    Gelu,
    HardSigmoid,
    HardSwish,
    HardTanh,
    LogSigmoid,
    Mish,
    Relu6,
    Selu,
    Silu,
    Softplus,
    Softsign,
    Sparsemax,
    Square,
)

# --- single numbers: of a tuple every array by itself ----------------------------------------


def _each(fn: Callable[[Graph, Any, Value], Any]) -> Rule:
    """Return the rule of a function of (graph, options, x)."""
    return lambda graph, part, x: mapped(lambda value: fn(graph, part.options, value), x)


def _operator(kind: str, *names: str) -> Rule:
    """Return the rule of one operator whose attributes are called as the options are."""
    return _each(
        lambda graph, options, x: graph.op(kind, x, **{name: getattr(options, name) for name in names})
    )


for constructor, operator in {
    Relu: "Relu",
    Sigmoid: "Sigmoid",
    Tanh: "Tanh",
    Mish: "Mish",
    Softplus: "Softplus",
    Softsign: "Softsign",
    HardSwish: "HardSwish",
    Exp: "Exp",
    Abs: "Abs",
}.items():
    LAYERS.of(constructor)(_operator(operator))
LAYERS.of(Elu)(_operator("Elu", "alpha"))
LAYERS.of(LeakyRelu)(_each(lambda graph, options, x: graph.op("LeakyRelu", x, alpha=options.slope)))
LAYERS.of(Selu)(_each(lambda graph, options, x: graph.op("Selu", x)))
LAYERS.of(Square)(_each(lambda graph, options, x: graph.op("Mul", x, x)))
LAYERS.of(Relu6)(_each(lambda graph, options, x: graph.op("Clip", x, 0, 6)))
LAYERS.of(HardTanh)(_each(lambda graph, options, x: graph.op("Clip", x, -1, 1)))
LAYERS.of(HardSigmoid)(
    _each(lambda graph, options, x: graph.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))
)
LAYERS.of(Silu)(_each(lambda graph, options, x: silu(graph, x)))
LAYERS.of(LogSigmoid)(
    _each(lambda graph, options, x: graph.op("Neg", graph.op("Softplus", graph.op("Neg", x))))
)
LAYERS.of(Gelu)(
    _each(
        lambda graph, options, x: graph.op(
            "Gelu", x, approximate="tanh" if options.approximate else None
        )
    )
)


def silu(graph: Graph, x: Any) -> str:
    """Write x σ(x)."""
    return str(graph.op("Mul", x, graph.op("Sigmoid", x)))


def celu(graph: Graph, options: Any, x: Value) -> str:
    """Write the operator, which takes float32 alone, or alpha elu(x / alpha)."""
    if graph.dtype == np.float32:
        return str(graph.op("Celu", x, alpha=options.alpha))
    bent = graph.op("Elu", graph.op("Div", x, options.alpha), alpha=1.0)
    return str(graph.op("Mul", bent, options.alpha))


LAYERS.of(Celu)(_each(celu))


@LAYERS.of(Identity, Dropout, SpatialDropout, StochasticDepth, GaussianNoise)
def unchanged(graph: Graph, part: Part, x: Values) -> Values:
    """Write nothing: in evaluation noise is off."""
    return x


# --- features and scores ----------------------------------------------------------------------


@LAYERS.of(Dense)
def dense(graph: Graph, part: Part, x: Value) -> str:
    """Write x w + b."""
    w = graph.weight("w", part.params["w"])
    b = graph.weight("b", part.params["b"]) if part.options.bias else None
    return affine(graph, x, len(x.shape), w, b)


def affine(graph: Graph, x: Any, n_axes: int, w: str, b: str | None) -> str:
    """Write x w + b for examples of so many axes."""
    if n_axes == 1:
        return str(graph.op("Gemm", x, w, b))
    y = graph.op("MatMul", x, w)
    return str(y if b is None else graph.op("Add", y, b))


@LAYERS.of(Softmax, LogSoftmax)
def softmax(graph: Graph, part: Part, x: Value) -> str:
    """Write a softmax of x / T."""
    kind = "Softmax" if part.layer.made_by().call is Softmax else "LogSoftmax"
    t = part.options.temperature
    scores = x if t == 1 else graph.op("Div", x, t)
    return str(graph.op(kind, scores, axis=part.options.axis))


@LAYERS.of(Sparsemax)
def sparsemax(graph: Graph, part: Part, x: Value) -> str:
    """Write max(x - τ, 0), with τ from the sorted scores that are above it."""
    axis = part.options.axis
    at = axis % (len(x.shape) + 1)
    n, axes = x.shape[at - 1], np.array([axis])
    ranks = np.arange(1, n + 1).reshape(-1, *(1,) * (len(x.shape) - at)).astype(graph.dtype)
    ranked, _ = graph.op("TopK", x, np.array([n]), axis=axis, outputs=2)
    total = graph.op("CumSum", ranked, np.array(axis))
    bound = graph.op("Add", graph.op("Mul", ranked, ranks), 1)
    counts = graph.op("Where", graph.op("Less", total, bound), 1, 0)
    support = graph.op("ReduceSum", counts, axes)
    inside = graph.op("ReduceSum", graph.op("Mul", ranked, counts), axes)
    threshold = graph.op("Div", graph.op("Sub", inside, 1), support)
    return str(graph.op("Relu", graph.op("Sub", x, threshold)))


def _gated(opened: Callable[[Graph, Any], str]) -> Rule:
    def rule(graph: Graph, part: Part, x: Value) -> str:
        value, gate = graph.op("Split", x, axis=part.options.axis, num_outputs=2, outputs=2)
        return str(graph.op("Mul", value, opened(graph, gate)))

    return rule


LAYERS.of(Glu)(_gated(lambda graph, gate: str(graph.op("Sigmoid", gate))))
LAYERS.of(GeGlu)(_gated(lambda graph, gate: str(graph.op("Gelu", gate))))
LAYERS.of(SwiGlu)(_gated(silu))


@LAYERS.of(PRelu)
def prelu(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator; its slopes broadcast from the last axis."""
    slope = part.params["slope"]
    if part.options.per_channel:
        slope = slope.reshape(-1, *(1,) * (len(x.shape) - 1))
    return str(graph.op("PRelu", x, graph.weight("slope", slope)))


@LAYERS.of(Maxout)
def maxout(graph: Graph, part: Part, x: Value) -> str:
    """Write the largest along an axis of its own."""
    pieces = part.options.pieces
    at = part.options.axis % (len(x.shape) + 1)
    cut = (*x.shape[: at - 1], x.shape[at - 1] // pieces, pieces, *x.shape[at:])
    return str(graph.op("ReduceMax", reshaped(graph, x, cut), np.array([at + 1]), keepdims=0))


@LAYERS.of(Flatten, Reshape)
def reshape(graph: Graph, part: Part, x: Value) -> str:
    """Write the shape that comes out."""
    if part.layer.made_by().call is Flatten:
        start = part.options.start
        if start == 1 and x.shape:
            return str(graph.op("Flatten", x, axis=1))
        return reshaped(graph, x, (*x.shape[: start - 1], math.prod(x.shape[start - 1 :])))
    given = part.options.shape
    known = math.prod(n for n in given if n != -1)
    return reshaped(graph, x, tuple(math.prod(x.shape) // known if n == -1 else n for n in given))


def reshaped(graph: Graph, x: Any, shape: tuple[int, ...]) -> str:
    """Write examples of another shape; the batch stays."""
    return str(graph.op("Reshape", x, np.array([0, *shape])))
