"""Rules of weights that are functions of those that are trained: weight and spectral norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fnn.errors import TreeError
from fnn.interop.arrays import functions as a
from fnn.interop.arrays.translating import Run, function_of, rules
from fnn.interop.rules import options_of
from fnn.layers.contract import Layer
from fnn.layers.reparametrization import spectral_norm, weight_norm
from fnn.layers.weights import is_pair, is_weight, mapped, output_axis, weights_in


def _rows(w: Any, at: int) -> Any:
    moved = a.moveaxis(w, at, 0)
    return moved.reshape(moved.shape[0], -1)


@rules.of(weight_norm)
def weight_normed(layer: Layer) -> Run:
    """Scale the direction of every weight to its length."""
    o = options_of(layer)
    inner, axis_at = function_of(o.layer), output_axis("weight_norm", o.axis)

    def used(path: str, pair: Any) -> Any:
        v, g = pair["v"], pair["g"]
        at = axis_at(path, v)
        if g.shape != v.shape[at : at + 1]:
            raise TreeError(f"expected {path}/g of shape {v.shape[at : at + 1]}, got {g.shape}")
        factor = g / a.sqrt((_rows(v, at) ** 2).sum(axis=1))
        return v * factor.reshape(tuple(-1 if each == at else 1 for each in range(v.ndim)))

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        return inner(mapped(is_pair, used, params), state, x, train, key)

    return run


def _taken(state: Any, names: list[str]) -> tuple[Any, Any]:
    """Return the state without the entry at a path, nor what holds nothing else, and the entry."""
    head, *below = names
    if not isinstance(state, Mapping) or head not in state:
        return state, None
    rest = {name: state[name] for name in state if name != head}
    if not below:
        return rest, state[head]
    inside, found = _taken(state[head], below)
    return {**rest, head: inside} if inside else rest, found


def _put(state: Any, names: list[str], entry: Any) -> Any:
    head, *below = names
    return {**state, head: _put(state.get(head, {}), below, entry) if below else entry}


@rules.of(spectral_norm)
def spectral_normed(layer: Layer) -> Run:
    """Divide every weight by its largest singular value; the vectors move in training."""
    o = options_of(layer)
    inner, axis_at = function_of(o.layer), output_axis("spectral_norm", o.axis)
    still = [each for each in o.layer.frozen if each]

    def unit(v: Any) -> Any:
        return v / a.maximum(a.sqrt((v * v).sum()), o.eps)

    def moves(path: str) -> bool:
        return not o.layer.stands_still and not any(f"{path}/".startswith(f"{s}/") for s in still)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        scaled, vectors = {}, {}
        for path, w in weights_in(params):
            state, own = _taken(state, path.split("/"))
            if not isinstance(own, Mapping) or own.keys() != {"u", "v"}:
                expected = f"expected state {path}/u and {path}/v"
                raise TreeError(f"{expected}; made by another network's init?")
            u, v, rows = own["u"], own["v"], _rows(w, axis_at(path, w))
            if (u.shape, v.shape) != ((rows.shape[0],), (rows.shape[1],)):
                got = f"{u.shape} and {v.shape}"
                raise TreeError(f"expected {path}/u and {path}/v to fit {rows.shape}, got {got}")
            if train and moves(path):
                for _ in range(o.iterations):
                    u = unit(rows @ v)
                    v = unit(rows.T @ u)
            u, v = a.stop_gradient(u), a.stop_gradient(v)  # No derivative goes through the vectors.
            vectors[path] = {"u": u, "v": v}
            scaled[path] = w / (u @ (rows @ v))
        own_params = mapped(is_weight, lambda path, w: scaled[path], params)
        y, moved = inner(own_params, state, x, train, key)
        for path, pair in vectors.items():
            moved = _put(moved, path.split("/"), pair)
        return y, moved

    return run
