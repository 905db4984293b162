"""The door to networks from models: `from_onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from fnn.errors import DataError, FnnError, OptionError
from fnn.interop.onnx import (
    operators_of_images,
    operators_of_layout,
    operators_of_numbers,
    operators_of_rows,
    operators_of_shapes,
    operators_over_time,
)
from fnn.interop.onnx.assembling import assembled
from fnn.interop.onnx.importing import Reader
from fnn.interop.onnx.reading import read_model
from fnn.interop.onnx.wiring import Wire
from fnn.layers.chains import asked_once
from fnn.layers.contract import Layer
from fnn.options import integer
from fnn.tree import Tree

OPERATORS_OF = (
    operators_of_numbers,
    operators_of_rows,
    operators_of_shapes,
    operators_of_images,
    operators_of_layout,
    operators_over_time,
)
"""Where the operators stand: to import them is to have them."""


def from_onnx(
    model: Any, *, outputs: Sequence[str] | None = None, batch_axis: int = 0
) -> tuple[Layer, Tree, Tree]:
    """Return net, params and state that predict what a `ModelProto` predicts.

        net, params, state = from_onnx(onnx.load("digits.onnx"))
        y, _ = net.apply(params, state, x)

    The network is put together from the library's layers as far as they go, in chains, residual ways
    and branches; what has another form is a graph of layers (`wired`), with layers for operators that
    the library has none for. It trains on. Weights that the model has as initializers are params; what
    it has as constants, such as masks, stays as it is.

    Args:
        model: A `ModelProto`, with sizes for all axes but the batch's. Weights are inside it.
        outputs: Names of what is to come out, which may be any arrays of the graph; by default the
            model's own outputs. What they do not depend on is not read.
        batch_axis: Which axis of the model's inputs is the batch: 1 for recurrent models with time
            before it. The network has it first, in what comes in and in what goes out.

    Raises:
        OptionError: If it is no model, or an option is out of range.
        DataError: If it is not valid, has weights in other files, or an operator, or an option of one,
            that no layer can express; names the node.
    """
    if isinstance(outputs, str):
        message = f"outputs: expected names, got the text {outputs!r:.80}"
        raise OptionError(message, path=("from_onnx",))
    read = read_model(model, integer("from_onnx", "batch_axis", batch_axis, least=0))
    try:
        with asked_once():
            reader = Reader(read if outputs is None else attrs.evolve(read, outputs=tuple(outputs)))
            reader.run()
            n = len(read.inputs)
            inputs: Wire = 0 if n == 1 else tuple(range(n))
            piece = assembled(reader.steps, inputs, reader.outputs())
    except FnnError as error:
        raise error.inside("from_onnx", "") from None
    except RecursionError:
        raise DataError("expected a graph that is less nested", path=("from_onnx",)) from None
    return piece.layer, Tree(piece.params), Tree(piece.state)
