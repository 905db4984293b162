"""Recurrences that run over time in both directions."""

from __future__ import annotations

import inspect

import attrs

from fnn.errors import OptionError
from fnn.layers.branching import branch
from fnn.layers.chains import check_layer
from fnn.layers.combinators import named
from fnn.layers.contract import Layer
from fnn.layers.fans import merging_layer
from fnn.recipe import constructor


@constructor
def bidirectional(layer: Layer, merge: str | Layer = "concat") -> Layer:
    """Run a recurrent layer forward, and another like it in reverse, with weights of their own.

    Args:
        layer: `LSTM(8)`, `rnn(cell)`, or any layer whose constructor has an option `reverse`; it says
            `last` and `lengths` for both.
        merge: How the two become one: "concat" over the last axis, "sum", "mean", "product", "max", or
            a layer that takes the pair.

    Params:
        forward, backward: Those of the layer, for each direction.
        merge: Those of a layer that merges.

    Raises:
        OptionError: If the layer cannot be reversed, is so already, or carries its state out, which
            could not go on backwards; or if there is no such merge.

    References: Schuster & Paliwal (1997), "Bidirectional recurrent neural networks".
    """
    check_layer("bidirectional", "layer", layer)
    recipe, path = layer.recipe, ("bidirectional",)
    if recipe is None or "reverse" not in inspect.signature(recipe.call).parameters:
        raise OptionError(f"layer: expected one with an option reverse, got {layer!r}", path=path)
    for option in ("reverse", "carry"):
        if recipe.kwargs.get(option):
            raise OptionError(f"layer: expected one without {option}=True, got {layer!r}", path=path)
    back = recipe.call(*recipe.args, **{**recipe.kwargs, "reverse": True})
    both = named("forward", layer), named("backward", back)
    axis = -1 if merge == "concat" else 1
    if not isinstance(merge, Layer):
        merging_layer("bidirectional", merge, axis)  # Refuses what is none in this name.
    whole = branch(*both, merge=merge, axis=axis)
    return attrs.evolve(whole, name="bidirectional")
