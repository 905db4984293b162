"""Recurrent operators; models have time before the batch, and an axis for directions."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.arithmetic import Held
from fnn.interop.onnx.arrangement import Take
from fnn.interop.onnx.importing import Nothing, Reader, Tensor, operator
from fnn.interop.onnx.of_sequences import CELLS, Gates
from fnn.interop.onnx.operators_of_layout import relaid
from fnn.interop.onnx.operators_of_numbers import array, optional, tensor, with_weights
from fnn.interop.onnx.operators_of_shapes import is_zero
from fnn.interop.onnx.reading import Node
from fnn.layers.contract import Layer
from fnn.layers.fans import fan_in
from fnn.layers.recurrent.both_ways import bidirectional
from fnn.layers.recurrent.gated import GRUCell, LSTMCell, RNNCell
from fnn.layers.recurrent.over_time import GRU, LSTM, RNN
from fnn.tree import Array

_MADE: dict[str, tuple[Any, Gates]] = {
    "RNN": (RNN, CELLS[RNNCell]),
    "LSTM": (LSTM, CELLS[LSTMCell]),
    "GRU": (GRU, CELLS[GRUCell]),
}
_USUAL = {"RNN": ("Tanh",), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


@attrs.frozen
class Recurrence:
    """A recurrent node: how to make its layer in one direction, and the weights of each."""

    make: Any
    width: int
    weights: list[dict[str, Array]]
    reverse: list[bool]

    def layer(self, direction: int, **options: Any) -> Layer:
        """Return the layer of a direction."""
        more = {"reverse": True} if self.reverse[direction] else {}
        layer: Layer = self.make(self.width, **more, **{key: on for key, on in options.items() if on})
        return layer


def _recurrence(node: Node, operands: list[Any]) -> Recurrence:
    kind = node.operator
    make, gates = _MADE[kind]
    w, r = (array(each, "its weights") for each in operands[1:3])
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    reverse = directions.get(node.attributes.get("direction", "forward"), [])
    n, width = len(reverse), r.shape[-1]
    if w.ndim != 3 or w.shape[:2] != (n, len(gates.order) * width) or r.shape != (*w.shape[:2], width):
        raise DataError(f"expected weights of {n} directions, got {w.shape} and {r.shape}")
    more = [name for name in ("clip", "input_forget") if node.attributes.get(name)]
    if more or not is_zero(optional(operands, 7)):
        raise DataError("expected no clip, input_forget or peepholes")
    if kind == "GRU" and not node.attributes.get("linear_before_reset"):
        raise DataError("expected linear_before_reset=1: the reset gate acts after the product")
    given = node.attributes.get("activations", ())
    bent = tuple(each.decode() if isinstance(each, bytes) else each for each in given)
    options = {}
    if kind == "RNN" and bent and set(bent) == {"Relu"}:
        options = {"activation": "relu"}
    elif bent and bent != _USUAL[kind] * n:
        raise DataError(f"expected activations {_USUAL[kind]}, got {bent}")
    b = optional(operands, 3)
    both = np.zeros((n, 2 * w.shape[1]), w.dtype) if b is None else array(b, "its biases")
    if both.shape != (n, 2 * w.shape[1]):
        raise DataError(f"expected biases of shape {(n, 2 * w.shape[1])}, got {both.shape}")
    weights = [_laid(kind, gates, *each) for each in zip(w, r, both, strict=True)]
    return Recurrence(lambda n, **more: make(n, **options, **more), width, weights, reverse)


def _laid(kind: str, gates: Gates, w: Array, r: Array, both: Array) -> dict[str, Array]:
    """Return the weights of one direction as layers have them."""
    back = np.argsort(gates.order)

    def ordered(rows: Array) -> Array:
        blocks = np.split(rows, len(gates.order))
        return np.concatenate([blocks[k] for k in back])

    b, b_state = (ordered(each) for each in np.split(both, 2))
    params = {"w_in": ordered(w).T.copy(), "w_state": ordered(r).T.copy()}
    if kind == "GRU":
        return params | {"b": b.copy(), "b_state": b_state.copy()}
    return params | {"b": b + b_state}


@operator("RNN", "LSTM", "GRU")
def recurrent(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read one direction or both; in models time is before the batch, and directions are an axis."""
    layout = node.attributes.get("layout", 0)
    x = tensor(operands[0])
    if x.batch != 1 - layout or len(x.shape) != 2:
        raise DataError("expected steps of features, time before the batch, or layout=1")
    x, found = attrs.evolve(x, batch=0), _recurrence(node, operands)
    lengths = optional(operands, 4)
    ends = () if lengths is None else (tensor(lengths, "lengths"),)
    first = [each for each in (optional(operands, 5), optional(operands, 6)) if not is_zero(each)]
    wants = [bool(name and reader.uses.get(name)) for name in (*node.outputs, "", "")[:3]]
    n = len(found.reverse)
    if not first and not wants[2] and wants[0] != wants[1]:
        y = _whole(reader, found, x, ends, last=wants[1])
        if wants[1]:
            return Nothing, _last(reader, y, n, found, layout)
        return _steps(reader, y, n, found, layout)
    states = [optional(operands, 5), optional(operands, 6)]
    return _carried(reader, found, x, ends, states[: 2 if node.operator == "LSTM" else 1], layout)


def _given(x: Tensor, *more: Any) -> Any:
    whole = x, *(each for part in more for each in part)
    return whole if len(whole) > 1 else x


def _whole(reader: Reader, found: Recurrence, x: Tensor, ends: Any, *, last: bool) -> Any:
    """Return all steps, or the last ones, of all directions along the last axis."""
    layer = found.layer(0, last=last, lengths=bool(ends))
    params: Any = found.weights[0]
    if len(found.reverse) > 1:
        layer = bidirectional(layer)
        params = dict(zip(("forward", "backward"), found.weights, strict=True))
    return reader.add(layer, _given(x, ends), params=params)


def _steps(reader: Reader, y: Tensor, n: int, found: Recurrence, layout: int) -> Tensor:
    time = y.shape[0]
    return relaid(reader, y, [None, time, n, found.width] if layout else [time, n, None, found.width])


def _last(reader: Reader, y: Tensor, n: int, found: Recurrence, layout: int) -> Tensor:
    return relaid(reader, y, [n, None, found.width] if not layout else [None, n, found.width])


def _carried(
    reader: Reader, found: Recurrence, x: Tensor, ends: Any, first: list[Any], layout: int
) -> Any:
    """Return what every direction gives with what it carries, from given states or from zeros."""
    n = len(found.reverse)
    zeros = np.zeros(found.width, reader.model.dtype)

    def begun(state: Any, direction: int) -> Tensor:
        if is_zero(state):
            return with_weights(reader, Held(zeros.shape), x, zeros, trained=False)
        given = tensor(state, "what is carried")
        if given.batch != 1 - layout or given.shape != (n, found.width):
            raise DataError(f"expected states of {(n, found.width)}, got {given.shape}")
        own = attrs.evolve(given, batch=0)
        part = own if n == 1 else reader.add(Take(direction, axis=1), own)
        return reader.arranged(part, (found.width,))

    ways = []
    for direction in range(n):
        states = tuple(begun(state, direction) for state in first)
        layer = found.layer(direction, lengths=bool(ends), carry=True)
        carry = states if len(first) > 1 else states[0]
        y, left = reader.add(layer, _given(x, ends, [carry]), params=found.weights[direction])
        ways.append((y, *(left if len(first) > 1 else (left,))))

    def joined(parts: Any) -> Tensor:
        y: Tensor = parts[0] if n == 1 else reader.add(fan_in("concat", axis=-1), tuple(parts))
        return y

    y, *last = (joined(parts) for parts in zip(*ways, strict=True))
    after = (_last(reader, each, n, found, layout) for each in last)
    return _steps(reader, y, n, found, layout), *after
