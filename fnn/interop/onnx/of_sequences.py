"""How layers over tokens and over time are written in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.interop.onnx.graph import LAYERS, Graph, Part, Value, Values, onnx
from fnn.interop.onnx.of_numbers import affine, reshaped
from fnn.interop.rules import options_of
from fnn.kernels.attention import later, rotated, sinusoids
from fnn.layers.attention.heads import BASE, MultiHeadAttention
from fnn.layers.attention.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from fnn.layers.embedding import Embedding, tied_embedding
from fnn.layers.recurrent.gated import GRUCell, LSTMCell, RNNCell
from fnn.layers.recurrent.over_time import GRU, LSTM, RNN, rnn
from fnn.tree import Array

# --- tokens and positions ---------------------------------------------------------------------


@LAYERS.of(Embedding)
def embedding(graph: Graph, part: Part, x: Value) -> str:
    """Write the rows of w; in ONNX a token below 0 counts from the end."""
    return str(graph.op("Gather", graph.weight("w", part.params["w"]), x, axis=0))


@LAYERS.of(tied_embedding)
def tied(graph: Graph, part: Part, x: Value) -> str:
    """Write the rows of w, the layers, and the products with all rows."""
    w = graph.weight("w", part.params["w"])
    rows = Value(graph.op("Gather", w, x, axis=0), (*x.shape, part.options.width))
    y = graph.chain(part, part.layer.children, rows)
    return str(graph.op("MatMul", y, graph.op("Transpose", w, perm=[1, 0])))


@LAYERS.of(SinusoidalPositions)
def sinusoidal(graph: Graph, part: Part, x: Value) -> str:
    """Write the sum with the waves."""
    return str(graph.op("Add", x, sinusoids(*x.shape, part.options.base, graph.dtype)))


@LAYERS.of(LearnedPositions)
def learned(graph: Graph, part: Part, x: Value) -> str:
    """Write the sum with the weights of the first steps."""
    w, time = part.params["w"], x.shape[0]
    name = graph.weight("w", w)
    rows = name if time == len(w) else graph.op("Slice", name, *map(_row, (0, time, 0)))
    return str(graph.op("Add", x, rows))


def _row(n: int) -> Array:
    return np.array([n])


@LAYERS.of(RotaryPositions)
def rotary(graph: Graph, part: Part, x: Value) -> str:
    """Write the pairs, turned."""
    time, width = x.shape
    return turned(graph, x, time, width, part.options.base)


def turned(graph: Graph, x: Any, time: int, width: int, base: float) -> str:
    """Write every pair of features (…, time, width) turned by its step's angle: x c + swapped(x) s."""
    # What becomes of (1, 0) is (cos, sin), and of (0, 1) is (-sin, cos).
    ones = np.zeros((2, time, width), graph.dtype)
    ones[0, :, ::2] = ones[1, :, 1::2] = 1
    first, second = rotated(ones, base)
    cos, sin = np.empty_like(first), np.empty_like(first)
    cos[:, ::2], sin[:, 1::2] = first[:, ::2], first[:, 1::2]
    cos[:, 1::2], sin[:, ::2] = second[:, 1::2], second[:, ::2]
    swapped = graph.op("Gather", x, np.arange(width) ^ 1, axis=-1)
    return str(graph.op("Add", graph.op("Mul", x, cos), graph.op("Mul", swapped, sin)))


# --- attention --------------------------------------------------------------------------------


@LAYERS.of(MultiHeadAttention)
def attention(graph: Graph, part: Part, x: Values) -> str:
    """Write softmax(q kᵀ / √d) v for each head, and what joins them."""
    options, params = part.options, part.params
    parts = x if isinstance(x, tuple) else (x,)
    own, memory = parts[0], parts[1] if options.cross else parts[0]
    mask = parts[-1] if options.mask else None
    total = params["w_q"].shape[1]
    d = total // options.heads

    def product(name: str, into: Any) -> str:
        b = params.get(f"b_{name}")
        w = graph.weight(f"w_{name}", params[f"w_{name}"])
        return affine(graph, into, 2, w, None if b is None else graph.weight(f"b_{name}", b))

    def heads(name: str, into: Value) -> str:
        cut = reshaped(graph, product(name, into), (into.shape[0], options.heads, d))
        y = graph.op("Transpose", cut, perm=[0, 2, 1, 3])
        if name == "v" or not options.positions:
            return str(y)
        return turned(graph, y, into.shape[0], d, BASE)

    q = graph.op("Mul", heads("q", own), 1 / math.sqrt(d))
    k = graph.op("Transpose", heads("k", memory), perm=[0, 1, 3, 2])
    scores = graph.op("MatMul", q, k)
    weights = _weights(graph, scores, own.shape[0], memory.shape[0], mask, causal=options.causal)
    seen = graph.op("MatMul", weights, heads("v", memory))
    joined = graph.op("Transpose", seen, perm=[0, 2, 1, 3])
    return product("o", reshaped(graph, joined, (own.shape[0], total)))


def _weights(
    graph: Graph, scores: str, queries: int, keys: int, mask: Value | None, *, causal: bool
) -> str:
    """Write the softmax over the keys that are not hidden, 0 where there are none."""
    after = later(queries, keys) if causal else None
    hidden: Any = after
    if mask is not None:
        unseen = graph.op("Unsqueeze", graph.op("Not", mask), np.array([1, 2]))
        hidden = unseen if after is None else graph.op("Or", unseen, after)
    if hidden is None:
        return str(graph.op("Softmax", scores, axis=-1))
    # So low that its exponential is 0 beside any other; of a row of -inf no softmax is a number.
    low = graph.dtype.type(np.finfo(graph.dtype).min)
    weights = graph.op("Softmax", graph.op("Where", hidden, graph.constant(low), scores), axis=-1)
    if after is None or (mask is None and not after.all(axis=1).any()):
        return str(weights)
    return str(graph.op("Where", hidden, 0, weights))


# --- recurrences ------------------------------------------------------------------------------


@attrs.frozen
class Gates:
    """How ONNX lays out what a cell has.

    Attributes:
        operator: Its name.
        order: Which of our gates stands where.
        attributes: Attributes of the node, from the options of the cell.
    """

    operator: str
    order: tuple[int, ...]
    attributes: Callable[[SimpleNamespace], dict[str, Any]] = lambda options: {}


CELLS: dict[Any, Gates] = {
    RNNCell: Gates("RNN", (0,), lambda options: {"activations": [options.activation.capitalize()]}),
    LSTMCell: Gates("LSTM", (0, 3, 1, 2)),
    GRUCell: Gates("GRU", (1, 0, 2), lambda options: {"linear_before_reset": 1}),
}
"""What is known of cells, by their constructors."""


@LAYERS.of(rnn)
def over_time(graph: Graph, part: Part, x: Values) -> Any:
    """Write the operator for one of the library's own cells."""
    cell = part.options.cell
    gates = CELLS.get(cell.made_by().call)
    if gates is None:
        known = ", ".join(each.__name__ for each in CELLS)
        raise OptionError(f"cell: expected one that ONNX can express, {known}, got {cell!r:.200}")
    return recurrence(graph, part, x, gates, gates.attributes(options_of(cell)))


@LAYERS.of(RNN, LSTM, GRU)
def known_recurrence(graph: Graph, part: Part, x: Values) -> Any:
    """Write the operator for a layer that has its cell within."""
    gates = CELLS[{RNN: RNNCell, LSTM: LSTMCell, GRU: GRUCell}[part.layer.made_by().call]]
    return recurrence(graph, part, x, gates, gates.attributes(part.options))


def recurrence(graph: Graph, part: Part, x: Values, gates: Gates, attributes: dict[str, Any]) -> Any:
    """Write one direction; ONNX has time first and an axis of directions."""
    options = part.options
    parts = x if isinstance(x, tuple) else (x,)
    lengths = graph.op("Cast", parts[1], to=onnx.TensorProto.INT32) if options.lengths else None
    carried = parts[-1] if options.carry else ()
    first = [
        graph.op("Unsqueeze", each, np.array([0]))
        for each in (carried if isinstance(carried, tuple) else (carried,))
    ]
    n_states = 2 if gates.operator == "LSTM" else 1
    y, *last = graph.op(
        gates.operator,
        graph.op("Transpose", parts[0], perm=[1, 0, 2]),
        *weights_of(graph, part, gates),
        lengths,
        *first,
        hidden_size=part.params["w_state"].shape[0],
        direction="reverse" if options.reverse else "forward",
        outputs=1 + n_states,
        **attributes,
    )
    carry = tuple(graph.op("Squeeze", each, np.array([0])) for each in last)
    if options.last:
        out = carry[0]
    else:
        out = graph.op("Transpose", graph.op("Squeeze", y, np.array([1])), perm=[1, 0, 2])
    return (out, carry if n_states > 1 else carry[0]) if options.carry else out


def weights_of(graph: Graph, part: Part, gates: Gates) -> tuple[str, str, str]:
    """Return the names of the weights of x, of the state, and of both biases, laid out for ONNX."""

    def laid(w: Array) -> Array:
        blocks = np.split(w, len(gates.order), axis=-1)
        return np.ascontiguousarray(np.concatenate([blocks[k].T for k in gates.order]))

    params = part.params
    b_state = params.get("b_state", np.zeros_like(params["b"]))
    both = np.concatenate([laid(params["b"]), laid(b_state)])
    return (
        graph.weight("w_in", laid(params["w_in"])[None]),
        graph.weight("w_state", laid(params["w_state"])[None]),
        graph.weight("b", both[None]),
    )
