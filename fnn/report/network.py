"""The network of a run, from its recipe as text, without running anything that the text says.

A recipe reads as Python: `serial(Conv(4, 5), Relu())`. It is parsed, not evaluated; only the
library's own layers and combinators are made of it, and no layer gets more numbers than the run's
model has.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn import layers, tree
from fnn.combinators import named, residual, serial
from fnn.errors import DataError, FnnError, TreeError
from fnn.layer import Layer
from fnn.report.reading import RunRecord
from fnn.summaries import Summary, summary
from fnn.tree import Array

_LONGEST = 50_000
_MOST_VALUES = 1 << 28
_LARGEST_OPTION = 1 << 24
_MAKERS: dict[str, Any] = {"named": named, "serial": serial, "residual": residual}


def summarize(run: RunRecord, notes: list[str]) -> Summary | None:
    """Return the summary of a run's network; None, with a note if there is a reason, if it has none.

    It has none if the recipe was not kept, names layers of somebody's own or does not fit the model.
    """
    if run.recipe is None or run.params is None or run.in_shape is None:
        return None
    size = tree.size(run.params)
    try:
        found = summary(build(run.recipe, size), run.in_shape, most=_MOST_VALUES)
        if found.parameters != size:
            raise DataError(f"the recipe has {found.parameters:,} parameters, the model {size:,}")
    # Options out of a stranger's text: what numpy and Python say to numbers of any size.
    except (FnnError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        notes.append(f"The table of the network is left out: {error or type(error).__name__}.")
        return None
    return found


def build(recipe: str, most: int) -> Layer:
    """Return the network that a recipe of the library's own layers describes.

    Args:
        recipe: What `repr` says of a network; initializers are not looked at.
        most: The most numbers that one leaf of its parameters may have.

    Raises:
        DataError: If it is anything else.
    """
    if len(recipe) > _LONGEST:
        raise DataError(f"expected a recipe of at most {_LONGEST:,} characters, got {len(recipe):,}")
    try:
        parsed = ast.parse(recipe, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DataError(f"expected a network's recipe, got {recipe!r:.80}") from None

    def modest(key: Any, shape: tuple[int, ...]) -> Array:
        if math.prod(shape) > most:
            raise DataError(f"the recipe has a leaf of {shape}, more than all {most:,} of the model")
        return np.zeros(shape, np.float32)

    net = _value(parsed.body, modest)
    if not isinstance(net, Layer):
        raise DataError(f"expected a network's recipe, got {recipe!r:.80}")
    return net


def _value(node: ast.expr, modest: Any) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _made(node.func.id, node, modest)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise DataError("expected calls of layers with plain options") from None
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and abs(number) > _LARGEST_OPTION:
            raise DataError(f"expected options up to {_LARGEST_OPTION:,}, got {number}")
    return value


def _made(name: str, node: ast.Call, modest: Any) -> Any:
    make = _MAKERS.get(name) or (getattr(layers, name) if name in layers.__all__ else None)
    # Of what is public there, registries are no functions.
    if not inspect.isfunction(make):
        raise DataError(f"{name} is no layer of this library")
    args = [_value(arg, modest) for arg in node.args]
    options = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise DataError("expected options by name")
        is_drawn = keyword.arg.startswith("init_")
        options[keyword.arg] = modest if is_drawn else _value(keyword.value, modest)
    if name in ("Dense", "Conv"):
        # Their default would draw before anybody has looked at the size.
        options |= {"init_w": modest, "init_b": modest}
    return make(*args, **options)


def first_weights(run: RunRecord) -> Array | None:
    """Return the first layer's weights as (n, h, w), or None if they make no pictures.

    Kernels are one picture per pair of channels; columns of a dense layer are laid out as the
    examples are, or as squares.
    """
    if not isinstance(run.params, Mapping) or run.in_shape is None:
        return None
    w = _first_w(run)
    if w is None or w.dtype.kind != "f" or 0 in w.shape:
        return None
    if w.ndim == 4:
        kernels = w.reshape(-1, *w.shape[2:])
        return kernels if max(kernels.shape[1:]) > 1 else None
    plane = run.in_shape[1:] if len(run.in_shape) == 3 and run.in_shape[0] == 1 else run.in_shape
    if w.ndim != 2:
        return None
    side = math.isqrt(w.shape[0])
    if len(plane) != 2 or math.prod(plane) != w.shape[0]:
        plane = (side, side)
    # Nine numbers or fewer look like noise, whatever they are.
    return w.T.reshape(-1, *plane) if side > 3 and math.prod(plane) == w.shape[0] else None


def _first_w(run: RunRecord) -> Array | None:
    """Return "w" of the first layer with parameters; without a recipe, of the one named so."""
    found = summarize(run, [])
    paths = [row.path for row in found.rows if row.parameters][:1] if found else ["conv_0", "dense_0"]
    # A network of a single layer has its entries at the top.
    for path in (*(f"{path}/w" for path in paths), "w"):
        with contextlib.suppress(TreeError):
            leaf = tree.get(run.params or {}, path)
            return leaf if isinstance(leaf, np.ndarray) else None
    return None
