"""The network of a run: the table that it recorded, or else what its recipe says.

Nothing that either says is executed. Older runs have the recipe alone, which reads as Python:
`serial(Conv(4, 5), Relu())`. It is parsed, not evaluated; only the library's own layers and combinators
are made of it, and no layer gets more numbers than the run's model has.
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
from fnn.experiment.network_table import read_table
from fnn.layer import Layer
from fnn.report.reading import RunRecord
from fnn.summaries import Summary, SummaryRow, summary
from fnn.tree import Array

_LONGEST = 50_000
_MOST_VALUES = 1 << 28
_LARGEST_OPTION = 1 << 24
# Layers that leave every number in its place, and those that still show an image.
_IN_PLACE = {"Identity", "Flatten", "Dropout", "BatchNorm"} | {"Relu", "LeakyRelu", "Sigmoid", "Tanh"}
_POOLS = {"MaxPool", "AvgPool"}
_MAKERS: dict[str, Any] = {"named": named, "serial": serial, "residual": residual}


def summarize(run: RunRecord, notes: list[str]) -> Summary | None:
    """Return the summary of a run's network; None, with a note if there is a reason, if it has none.

    It has none if no table was recorded, or does not fit the model, and neither does the recipe.
    """
    size = None if run.params is None else tree.size(run.params)
    if run.about.get("layers") is not None:
        try:
            found = read_table(run.about["layers"])
            if size not in (None, found.parameters):
                raise DataError(f"it has {found.parameters:,} parameters, the model {size:,}")
            return found
        except DataError as error:
            notes.append(f"The recorded table of the network is not shown: {error}.")
    if run.recipe is None or size is None or run.in_shape is None:
        return None
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

    They do where the first layer with weights is one of the library's that looks at the examples as
    they are: kernels, one picture per pair of channels, or the columns of a dense layer, laid out as
    the examples are.
    """
    found = summarize(run, [])
    if found is None or not isinstance(run.params, Mapping):
        return None
    row = _first(found)
    if row is None:
        return None
    w = None
    # A network of a single layer has its entries at the top.
    for path in (f"{row.path}/w", "w"):
        with contextlib.suppress(TreeError):
            w = w if w is not None else tree.get(run.params, path)
    if not isinstance(w, np.ndarray) or w.dtype.kind != "f" or 0 in w.shape:
        return None
    if w.ndim == 4 and _maker(row) == "Conv":
        kernels = w.reshape(-1, *w.shape[2:])
        return kernels if max(kernels.shape[1:]) > 1 else None
    plane = _plane(found.in_shape)
    if w.ndim != 2 or _maker(row) != "Dense" or plane is None:
        return None
    # Nine numbers or fewer look like noise, whatever they are.
    fits = math.prod(found.in_shape) == w.shape[0] and math.prod(plane) > 9
    return w.T.reshape(-1, *plane) if fits else None


def _maker(row: SummaryRow) -> str:
    """Return the constructor of a row's layer; that of somebody's own has none that is known here."""
    name, bracket, _ = row.kind.partition("(")
    return name if bracket else ""


def _first(found: Summary) -> SummaryRow | None:
    """Return the first layer with weights; None if what it gets is not the example any more."""
    stays = True
    for row in found.rows:
        maker = _maker(row)
        if maker == "Conv" or (maker == "Dense" and stays):
            return row
        if row.kind in ("serial", "residual") or maker in _IN_PLACE:
            continue
        if maker not in _POOLS:
            return None
        stays = False
    return None


def _plane(shape: Any) -> tuple[int, ...] | None:
    """Return height and width of an example, None if it is no image."""
    if not all(isinstance(n, int) for n in shape):
        return None
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        return (side, side) if side * side == shape[0] else None
    return shape[-2:] if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)) else None
