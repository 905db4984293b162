"""Wrong outputs: y, the state, what init announces and what the traits declare.

Where y is changed it is changed in apply and vjp alike, and the pullback along with it where it
should be: only the law that the fault breaks can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.testing.mutation.parts import (
    FACTOR,
    Buffers,
    Fault,
    TreeBuffers,
    each,
    halved,
    overwrite,
    rounded,
    wide,
)
from fnn.tree import Array


def forward(
    layer: Layer,
    *,
    x: Callable[[Any], Any] | None = None,
    y: Callable[[Any], Any] | None = None,
    dy: Callable[[Any], Any] | None = None,
    dx: Callable[[Any], Any] | None = None,
    moved: Callable[[Any, Any, bool], Any] | None = None,
    parts: tuple[str, ...] = ("apply", "vjp"),
) -> dict[str, Any]:
    """Replace x, y, dy and dx by these functions of them, the new state by moved(new, old, train)."""
    own_apply, own_vjp = layer.core.apply, layer.core.vjp

    def out(result: Any, new: Any, state: Any, train: bool) -> Any:
        return (y(result) if y else result), (moved(new, state, train) if moved else new)

    def apply(params: Any, state: Any, v: Any, *, train: bool = False, key: Key | None = None) -> Any:
        result, new = own_apply(params, state, x(v) if x else v, train=train, key=key)
        return out(result, new, state, train)

    def vjp(params: Any, state: Any, v: Any, *, train: bool = False, key: Key | None = None) -> Any:
        result, new, back = own_vjp(params, state, x(v) if x else v, train=train, key=key)

        def pullback(cotangent: Any, *, need_dx: bool = True) -> Any:
            dparams, dv = back(dy(cotangent) if dy else cotangent, need_dx=need_dx)
            return dparams, dx(dv) if dx and dv is not None else dv

        return *out(result, new, state, train), pullback

    made = {"apply": apply, "vjp": vjp}
    return {part: made[part] for part in parts}


# --- y --------------------------------------------------------------------------------------


def _next(y: Array) -> Array:
    return y * (1 + 4 * float(np.finfo(y.dtype).eps))


def _mixed(v: Array) -> Array:
    return v + 0.01 * np.roll(v, 1, axis=0)


def _unmixed(dv: Array) -> Array:
    return dv + 0.01 * np.roll(dv, -1, axis=0)


def _per_example(v: Array) -> Array:
    return v / len(v) if len(v) else v


def _real(x: Array) -> Array:
    return x.real.astype(x.dtype)


def _reusing(layer: Layer) -> dict[str, Any]:
    return forward(layer, y=partial(each, Buffers()))


def _counting(layer: Layer) -> dict[str, Any]:
    calls = count()
    return forward(layer, y=lambda y: each(lambda part: part * (1 + 1e-6 * next(calls)), y))


def _into_x(layer: Layer) -> dict[str, Any]:
    """Write y into x where it fits, as an in-place layer does."""

    def changed(own: Any, params: Any, state: Any, x: Any, train: bool, key: Key | None) -> Any:
        y, *rest = own(params, state, x, train=train, key=key)
        if isinstance(x, np.ndarray) and x.flags.writeable and np.shape(y) == x.shape:
            x[...] = y
            return x, *rest
        overwrite(x, halved)
        return y, *rest

    return _called(changed, layer)


def _called(changed: Callable[..., Any], layer: Layer) -> dict[str, Any]:
    own = {"apply": layer.core.apply, "vjp": layer.core.vjp}

    def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        return changed(own["apply"], params, state, x, train, key)

    def vjp(params: Any, state: Any, x: Any, *, train: bool = False, key: Key | None = None) -> Any:
        return changed(own["vjp"], params, state, x, train, key)

    return {"apply": apply, "vjp": vjp}


def output_faults() -> Iterator[tuple[str, Fault]]:
    """Yield faults of y, and of x on its way in."""
    yield "y aliased buffer", _reusing
    yield "y float64 leak", partial(forward, y=partial(each, wide))
    yield "y rounded", partial(forward, y=partial(each, rounded))
    yield "y written into x", _into_x
    yield "y changes with every call", _counting
    yield (
        "y of mixed examples",
        partial(forward, x=partial(each, _mixed), dx=partial(each, _unmixed)),
    )
    roll, unroll = (partial(np.roll, shift=shift, axis=0) for shift in (1, -1))
    yield "y of the next example", partial(forward, y=partial(each, roll), dy=partial(each, unroll))
    halves = partial(each, _per_example)
    yield "y divided by the batch size", partial(forward, y=halves, dy=halves)
    yield "y lets no imaginary part through", partial(forward, x=partial(each, _real))
    yield f"y × {FACTOR} without its gradient", partial(forward, y=partial(each, lambda y: y * FACTOR))
    for name in ("apply", "vjp"):
        differs = partial(forward, y=partial(each, _next), parts=(name,))
        yield ("apply differs from vjp" if name == "apply" else "vjp differs from apply"), differs


# --- state ----------------------------------------------------------------------------------


def _stale(path: str) -> Callable[[Any, Any, bool], Any]:
    return lambda new, old, train: tree.update(new, {path: tree.get(old, path)})


def _restless(new: Any, old: Any, train: bool) -> Any:
    return new if train else tree.map(lambda s: s * FACTOR + np.ones((), s.dtype), new)


def _in_place(new: Any, old: Any, train: bool) -> Any:
    overwrite(old, lambda s, moved: moved, new)
    return new


def _sealed(layer: Layer) -> dict[str, Any]:
    buffers = TreeBuffers()
    return forward(layer, moved=lambda new, old, train: buffers(new))


def state_faults(state: Any, *, by_leaf: bool) -> Iterator[tuple[str, Fault]]:
    """Yield faults of the state; those of single leaves `by_leaf` only."""
    if not state:
        return
    yield "state stale", partial(forward, moved=lambda new, old, train: old)
    for path, _ in tree.items(state) if by_leaf else ():
        yield f"state/{path} stale", partial(forward, moved=_stale(path))
    yield "state moves in evaluation", partial(forward, moved=_restless)
    yield "state updated in place", partial(forward, moved=_in_place)
    yield "state aliased buffer", _sealed
    yield "state float64 leak", partial(forward, moved=lambda new, old, train: tree.map(wide, new))
    stale = partial(forward, moved=lambda new, old, train: old, parts=("apply",))
    yield "state stale in apply", stale
    yield "state lost", partial(forward, moved=lambda new, old, train: tree.EMPTY)


# --- init and traits ------------------------------------------------------------------------


def _init(change: Callable[..., Any], layer: Layer) -> dict[str, Any]:
    def init(key: Key, in_shape: Shape) -> Any:
        return change(*layer.core.init(key, in_shape))

    return {"init": init}


def _longer(shape: Any, params: Any, state: Any) -> Any:
    last = shape[-1] if shape else 0
    grown = _longer(last, None, None)[0] if isinstance(last, tuple) else last + 1
    return (*shape[:-1], grown), params, state


def _counted(layer: Layer) -> dict[str, Any]:
    calls = count()

    def init(key: Key, in_shape: Shape) -> Any:
        return layer.core.init(key.fold(next(calls)), in_shape)

    return {"init": init}


def _flipped(trait: str, layer: Layer) -> dict[str, Any]:
    return {"traits": attrs.evolve(layer.traits, **{trait: not getattr(layer.traits, trait)})}


def init_faults(layer: Layer, params: Any) -> Iterator[tuple[str, Fault]]:
    """Yield faults of init."""
    yield "out_shape too long", partial(_init, _longer)
    if params:
        yield "init changes with every call", _counted
        widened = partial(_init, lambda shape, p, s: (shape, tree.map(wide, p), s))
        yield "params float64 leak", widened


def trait_faults(layer: Layer) -> Iterator[tuple[str, Fault]]:
    """Yield traits that are declared falsely or not at all."""
    for trait in ("mixes_batch", "stochastic"):
        said = "not declared" if getattr(layer.traits, trait) else "declared falsely"
        yield f"{trait} {said}", partial(_flipped, trait)
