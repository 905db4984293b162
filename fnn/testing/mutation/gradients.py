"""Wrong pullbacks: factors, signs, lost terms, shared memory, another point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fnn import tree
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.testing.mutation.parts import (
    FACTOR,
    Buffers,
    Fault,
    TreeBuffers,
    arrays,
    each,
    halved,
    overwrite,
    rounded,
    wide,
)
from fnn.tree import Array, Tree


def _without_last(g: Array, n: int) -> Array:
    g = np.array(g, order="C")  # Else reshape may copy.
    g.reshape(-1)[-1:] = 0
    return g


def _transposed(g: Array, n: int) -> Array:
    return g if g.ndim < 2 else np.swapaxes(g, -1, -2).reshape(g.shape)


# Of a gradient g and the batch size n.
GRADIENT_FAULTS: dict[str, Callable[[Array, int], Array]] = {
    f"× {FACTOR}": lambda g, n: g * FACTOR,
    "sign": lambda g, n: -g,
    "dropped": lambda g, n: np.zeros_like(g),
    "without its last entry": _without_last,
    "transposed": _transposed,
    "index shifted": lambda g, n: np.roll(g, 1),
    "without 1/n": lambda g, n: g * n,
    "offset": lambda g, n: g + 0.001,
    "rounded": lambda g, n: rounded(g),
    "float64 leak": lambda g, n: wide(g),
}


def _after(change: Callable[..., tuple[Any, Any]], layer: Layer) -> dict[str, Any]:
    """Replace what pullbacks return by change(dparams, dx, dy, batch size)."""
    own = layer.core.vjp

    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        y, new, back = own(params, state, x, train=train, key=key)
        n = len(arrays(x)[0])

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return change(*back(dy, need_dx=need_dx), dy, n)

        return y, new, pullback

    return {"vjp": vjp}


def _dparams(path: str, fault: Callable[[Array, int], Array]) -> Fault:
    def change(dparams: Any, dx: Any, dy: Any, n: int) -> Any:
        return tree.update(dparams, {path: fault(tree.get(dparams, path), n)}), dx

    return partial(_after, change)


def _dx(fault: Callable[[Array, int], Array]) -> Fault:
    return partial(_after, lambda dparams, dx, dy, n: (dparams, each(lambda g: fault(g, n), dx)))


def _minus_dy(dparams: Any, dx: Any, dy: Any, n: int) -> Any:
    fits = isinstance(dx, np.ndarray) and isinstance(dy, np.ndarray) and dx.shape == dy.shape
    return dparams, dx - dy if fits else dx


def _into_dy(dparams: Any, dx: Any, dy: Any, n: int) -> Any:
    if isinstance(dy, np.ndarray) and dy.flags.writeable and np.shape(dx) == dy.shape:
        dy[...] = dx
        return dparams, dy
    overwrite(dy, halved)
    return dparams, dx


def _around(change: Callable[..., Any], layer: Layer) -> dict[str, Any]:
    """Replace every pullback by change(pullback, dy, need_dx, memory, params), memory its own."""
    own = layer.core.vjp

    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        y, new, back = own(params, state, x, train=train, key=key)
        memory: list[Any] = []

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return change(back, dy, need_dx, memory, params)

        return y, new, pullback

    return {"vjp": vjp}


def _without_last_example(back: Any, dy: Any, need_dx: bool, memory: Any, params: Any) -> Any:
    def cut(dy: Array) -> Array:
        dy = dy.copy()
        dy[-1:] = 0
        return dy

    return back(each(cut, dy), need_dx=False)[0], back(dy, need_dx=need_dx)[1]


def _once(back: Any, dy: Any, need_dx: bool, memory: list[Any], params: Any) -> Any:
    if memory:
        raise RuntimeError("the pullback was called before")
    memory.append(True)
    return back(dy, need_dx=need_dx)


def _accumulating(back: Any, dy: Any, need_dx: bool, memory: list[Any], params: Any) -> Any:
    dparams, dx = back(dy)
    if memory:
        dparams, dx = each(np.add, dparams, memory[0]), each(np.add, dx, memory[1])
    memory[:] = [dparams, dx]
    return Tree(dparams), dx if need_dx else None


def _normalised(back: Any, dy: Any, need_dx: bool, memory: Any, params: Any) -> Any:
    size = float(np.sqrt(sum(float(np.sum(np.abs(part) ** 2)) for part in arrays(dy)))) or 1.0
    return back(each(lambda part: part / size, dy), need_dx=need_dx)


def _always_dx(back: Any, dy: Any, need_dx: bool, memory: Any, params: Any) -> Any:
    return back(dy)


def _nothing_without_dx(back: Any, dy: Any, need_dx: bool, memory: Any, params: Any) -> Any:
    dparams, dx = back(dy, need_dx=need_dx)
    return (dparams if need_dx else tree.map(np.zeros_like, dparams)), dx


def _stepping(back: Any, dy: Any, need_dx: bool, memory: Any, params: Any) -> Any:
    result = back(dy, need_dx=need_dx)
    overwrite(params, halved)
    return result


def _reusing(layer: Layer) -> dict[str, Any]:
    buffers = TreeBuffers()
    return _after(lambda dparams, dx, dy, n: (buffers(dparams), dx), layer)


def _reusing_dx(layer: Layer) -> dict[str, Any]:
    buffers = Buffers()
    return _after(lambda dparams, dx, dy, n: (dparams, each(buffers, dx)), layer)


def _at_another(params: float, state: float, x: float, layer: Layer) -> dict[str, Any]:
    """Take pullbacks from a point where params, state and x are multiplied by these."""
    own = layer.core.vjp

    def vjp(p: Any, s: Any, v: Any, *, train: bool = False, key: Key | None = None) -> Any:
        y, new, _ = own(p, s, v, train=train, key=key)
        p, s, v = (
            value if by == 1 else each(lambda a, by=by: a if a.dtype.kind in "iub" else a * by, value)
            for value, by in ((p, params), (s, state), (v, x))
        )
        return y, new, own(p, s, v, train=train, key=key)[2]

    return {"vjp": vjp}


def gradient_faults(layer: Layer, params: Any, *, by_leaf: bool) -> Iterator[tuple[str, Fault]]:
    """Yield faults of pullbacks; those of single parameters `by_leaf` only."""
    for path, _ in tree.items(params) if by_leaf else ():
        for name, fault in GRADIENT_FAULTS.items():
            yield f"dparams/{path} {name}", _dparams(path, fault)
    for name, fault in GRADIENT_FAULTS.items():
        yield f"dx {name}", _dx(fault)
    yield "dx without the term dy", partial(_after, _minus_dy)
    yield "dx written into dy", partial(_after, _into_dy)
    yield "dx aliased buffer", _reusing_dx
    if params:
        yield "dparams aliased buffer", _reusing
        yield "dparams without the last example", partial(_around, _without_last_example)
        yield "dparams dropped where no dx is needed", partial(_around, _nothing_without_dx)
        yield "pullback writes to params", partial(_around, _stepping)
        yield "pullback of other params", partial(_at_another, FACTOR, 1, 1)
    yield "pullback of another state", partial(_at_another, 1, FACTOR, 1)
    yield "pullback of another x", partial(_at_another, 1, 1, FACTOR)
    yield "pullback only once", partial(_around, _once)
    yield "pullback accumulates", partial(_around, _accumulating)
    yield "pullback of normalised dy", partial(_around, _normalised)
    yield "dx where none is needed", partial(_around, _always_dx)
