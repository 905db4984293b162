"""The network of a run: the table that it recorded, or else what its recipe says.

Nothing that either says is executed. Older runs have the recipe alone, which reads as Python:
`serial(Conv(4, 5), Relu())`. It is parsed, not evaluated (`checkpoint/networks.py`), and its layers
are asked for their shapes alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn import tree
from fnn.errors import DataError, FnnError, TreeError
from fnn.layers.initializers import zeros
from fnn.layers.summaries import Summary, SummaryRow, summary
from fnn.runs.checkpoint.networks import layers_allowed, network_from
from fnn.runs.experiment.network_table import read_table
from fnn.runs.report.reading import RunRecord
from fnn.tree import Array

_MOST_VALUES = 1 << 28
# Layers that leave every number in its place, and those that still show an image.
_IN_PLACE = {"Identity", "Flatten", "Dropout", "BatchNorm"} | {"Relu", "LeakyRelu", "Sigmoid", "Tanh"}
_POOLS = {"MaxPool", "AvgPool"}


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
    if run.recipe is None or run.params is None or run.in_shape is None:
        return None
    try:
        most = layers_allowed(sum(leaf.nbytes for leaf in tree.leaves(run.params)))
        net = network_from(run.recipe, own={}, most_layers=most, unknown=zeros)
        found = summary(net, run.in_shape, most=_MOST_VALUES)
        if found.parameters != size:
            raise DataError(f"the recipe has {found.parameters:,} parameters, the model {size:,}")
    # Options out of a stranger's text: what numpy and Python say to numbers of any size.
    except (FnnError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        notes.append(f"The table of the network is left out: {error or type(error).__name__}.")
        return None
    return found


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
    name, bracket, _ = _thawed(row.kind).partition("(")
    return name if bracket else ""


def _thawed(kind: str) -> str:
    """Return the kind of a layer that may be frozen, which changes nothing of what it looks at."""
    while kind.startswith("frozen(") and kind.endswith(")"):
        kind = kind[len("frozen(") : -1]
    return kind


def _first(found: Summary) -> SummaryRow | None:
    """Return the first layer with weights; None if what it gets is not the example any more."""
    stays = True
    for row in found.rows:
        maker = _maker(row)
        if maker == "Conv" or (maker == "Dense" and stays):
            return row
        if _thawed(row.kind) in ("serial", "residual") or maker in _IN_PLACE:
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
