"""The table of a run's network as run.json holds it, written where the network is at hand.

A report shows it without making the network again, which it could not do with layers of somebody's
own: nothing that a run's folder says is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fnn.errors import DataError, FnnError
from fnn.layers.contract import Layer
from fnn.layers.summaries import Summary, SummaryRow, summary
from fnn.layers.wiring import WIRINGS

_MOST_ROWS = 10_000
_LARGEST = 1 << 62
_DEEPEST = 64


def network_table(net: Layer, in_shape: Any) -> dict[str, Any] | None:
    """Return the summary of a network as JSON can hold it; None where it has none.

    Args:
        net: The network.
        in_shape: Shape of one example.
    """
    try:
        found = summary(net, in_shape)
    except FnnError:
        # A run is not ended by what only describes it; the network itself will say what is wrong.
        return None
    names = [field.name for field in attrs.fields(SummaryRow)]
    rows = [{name: getattr(row, name) for name in names} for row in found.rows]
    return {"in_shape": found.in_shape, "rows": rows}


def read_table(value: Any) -> Summary:
    """Return the summary that `network_table` wrote.

    Raises:
        DataError: If the value is anything else; says what came.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("rows"), list):
        raise DataError(f"expected in_shape and rows, got {value!r:.80}")
    rows = value["rows"]
    if not 1 <= len(rows) <= _MOST_ROWS:
        raise DataError(f"expected 1 to {_MOST_ROWS:,} rows, got {len(rows):,}")
    return Summary(_shape(value.get("in_shape")), tuple(map(_row, rows)))


def _row(value: Any) -> SummaryRow:
    if not isinstance(value, Mapping):
        raise DataError(f"expected a layer's row, got {value!r:.80}")
    path, kind = value.get("path"), value.get("kind")
    if not isinstance(path, str) or not isinstance(kind, str):
        raise DataError(f"expected path and kind as text, got {path!r:.80} and {kind!r:.80}")
    depth = min(_count("depth", value.get("depth")), _DEEPEST)
    flops = None if value.get("flops") is None else _count("flops", value["flops"])
    parameters, state = (_count(name, value.get(name)) for name in ("parameters", "state"))
    # Older runs recorded neither.
    kept = None if value.get("activations") is None else _count("activations", value["activations"])
    wiring = value.get("wiring", "")
    if not isinstance(wiring, str) or wiring not in WIRINGS:
        raise DataError(f"wiring: expected one of {sorted(WIRINGS)}, got {wiring!r:.80}")
    shape = _shape(value.get("out_shape"))
    return SummaryRow(path, depth, kind, shape, parameters, flops, state, kept, wiring)


def _count(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise DataError(f"{name}: expected a whole number of 0 or more, got {value!r:.80}")
    return value


def _shape(value: Any, depth: int = 4) -> Any:
    """Return a shape, or a tuple of shapes where a layer hands out several arrays."""
    if not isinstance(value, list | tuple) or len(value) > 32 or not depth:
        raise DataError(f"expected a shape, got {value!r:.80}")
    return tuple(
        _shape(size, depth - 1) if isinstance(size, list | tuple) else _count("shape", size)
        for size in value
    )
