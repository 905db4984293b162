"""Everything that can be seen of a layer, a loss or a transform from outside, as bits.

It knows no law: two values are told apart if they ever return other bits, raise another kind of
error, write to an argument, or change what they returned before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.losses.reduction import Loss
from fnn.optimizers.transform import Transform
from fnn.testing.drawing import Inputs, in_dtype
from fnn.testing.laws.of_transforms import called
from fnn.testing.mutation.parts import each
from fnn.testing.values import without_integers
from fnn.tree import freeze

Seen = Iterator[Any]


def _bits(value: Any) -> Any:
    """Return a copy of what a value holds, to compare; zeros have no sign."""
    if isinstance(value, dict):
        return tuple((name, _bits(value[name])) for name in sorted(value))
    if isinstance(value, tuple | list):
        return tuple(map(_bits, value))
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        shown = array + np.zeros((), array.dtype) if array.dtype.kind in "fc" else array
        return type(value).__name__, str(array.dtype), array.shape, shown.tobytes()
    return type(value).__name__ if callable(value) else repr(value)


def _loose(value: Any) -> Any:
    """Return a copy that can be written to."""
    return each(lambda array: np.array(array, order="C"), value)


def same(first: Seen, second: Seen) -> bool:
    """Return whether two observers see the same to the end."""
    end = object()
    while True:
        a, b = next(first, end), next(second, end)
        if a is end or b is end:
            return a is b
        if a != b:
            return False


def _guarded(seen: Callable[..., Seen], *args: Any) -> Seen:
    """See until the first error, and its kind."""
    try:
        # Faults overflow, and laws are not what is tested here.
        with np.errstate(all="ignore"):
            yield from seen(*args)
    except Exception as error:
        yield type(error).__name__


# --- layers ---------------------------------------------------------------------------------


def _drawn(in_shape: Any, batch: int, rng: np.random.Generator, dtype: str) -> Any:
    if in_shape and isinstance(in_shape[0], tuple):
        return tuple(_drawn(shape, batch, rng, dtype) for shape in in_shape)
    if dtype == "int64":
        return rng.integers(0, 2, (batch, *in_shape))
    x = rng.normal(size=(batch, *in_shape))
    return (x + 1j * rng.normal(size=x.shape) if dtype[0] == "c" else x).astype(dtype)


def see_layer(
    layer: Layer, drawn_by: Layer, in_shape: Shape, inputs: Inputs = None, seeds: int = 2
) -> Seen:
    """Yield what is seen of the layer, called with trees drawn by `drawn_by`, and x by `inputs`."""
    yield layer.traits, layer.name
    for seed in range(seeds):
        yield from _guarded(_see_init, layer, in_shape, Key.of(seed))
        for dtype in ("float64", "float32", "complex128", "int64"):
            for batch in (3, 1):
                call = (layer, drawn_by, in_shape, inputs, seed, dtype, batch)
                yield from _guarded(_see_calls, *call)


def _see_init(layer: Layer, in_shape: Shape, key: Key) -> Seen:
    for _ in range(2):
        yield _bits(layer.init(key, in_shape))


def _see_calls(
    layer: Layer, drawn_by: Layer, in_shape: Shape, inputs: Inputs, seed: int, dtype: str, batch: int
) -> Seen:
    rng = np.random.Generator(np.random.Philox(seed))
    _, params, state = drawn_by.init(Key.of(seed), in_shape)
    real = "float32" if dtype in ("float32", "int64") else "float64"
    params = each(lambda p: (p + rng.normal(size=p.shape)).astype(real), params)
    state = each(
        lambda s: (s + rng.random(s.shape)).astype(s.dtype if s.dtype.kind in "iu" else real), state
    )
    if inputs is None:
        xs = [_drawn(in_shape, batch, rng, dtype) for _ in range(2)]
    else:
        kind = real if dtype == "int64" else dtype
        xs = [in_dtype(inputs(Key.of(seed).fold(i), batch), kind) for i in range(2)]
    for train in (False, True):
        for key in (None, Key.of(seed), Key.of(seed + 1)):
            call = (layer, _loose(params), _loose(state), *map(_loose, xs), train, key, seed)
            yield from _guarded(_see_call, *call)


def _see_call(
    layer: Layer, params: Any, state: Any, x: Any, other: Any, train: bool, key: Key | None, seed: int
) -> Seen:
    rng = np.random.Generator(np.random.Philox(seed + 100))
    given = (params, state, x)
    # Other numbers in the state: what it moves to would else be what it moved to before.
    frozen = (freeze(_loose(params)), freeze(each(lambda s: s * 2, state)))
    first = layer.apply(params, state, _loose(x), train=train, key=key)
    yield _bits((first, params, state))
    y, new, back = layer.vjp(*given, train=train, key=key)
    yield _bits((y, new, given))
    dy, dy2 = (
        without_integers(each(lambda a: rng.normal(size=a.shape).astype(a.dtype), y), y)
        for _ in range(2)
    )
    grads = back(dy)
    yield _bits((grads, dy))
    second = layer.apply(*frozen, other, train=train, key=key)
    *_, other_back = layer.vjp(params, state, other, train=train, key=key)
    # What was returned before, once more: shared memory would hold something else by now.
    yield _bits((second, first, y, new))
    yield _bits((back(dy2), other_back(dy2), grads, back(each(lambda a: 0 * a, dy))))
    yield _bits((back(dy2, need_dx=False), grads, given, y))


# --- losses ---------------------------------------------------------------------------------


def _loss_batches(seed: int, dtype: str) -> Iterator[tuple[Any, Any]]:
    rng = np.random.Generator(np.random.Philox(seed))
    for shape in ((4, 3), (5,), (3, 2, 4), (1, 3)):
        scores = rng.normal(size=shape) * 2
        exp = np.exp(scores)
        log_probabilities = np.log(exp / exp.sum(axis=-1, keepdims=True))
        labels = rng.integers(0, shape[-1], shape[:-1])
        for pred in (scores, np.exp(log_probabilities), log_probabilities):
            for target in (rng.normal(size=shape), rng.random(shape), labels):
                yield pred.astype(dtype), target.astype(dtype) if target.dtype.kind == "f" else target


def see_loss(loss: Loss, seeds: int = 2) -> Seen:
    """Yield what is seen of the loss on everything that losses are called with."""
    for seed in range(seeds):
        for dtype in ("float64", "float32", "complex128"):
            real = "float32" if dtype == "float32" else "float64"
            for pred, target in _loss_batches(seed, real):
                yield from _guarded(_see_loss, loss, pred.astype(dtype), target, seed)


def _see_loss(loss: Loss, pred: Any, target: Any, seed: int) -> Seen:
    rng = np.random.Generator(np.random.Philox(seed + 100))
    n = len(pred)
    weight = rng.random(n) + 0.1
    if pred.dtype.kind == "c":
        pred = pred + 1e-30j * rng.normal(size=pred.shape)
    call = (_loose(pred), _loose(target))
    first = loss(*call)
    yield _bits((first, call))
    own = weight.copy()
    second = loss(*call, weight=own)
    yield _bits((second, first, call, own))
    yield _bits((loss(*call, weight=np.ones(n)), loss(*call, weight=2 * weight), loss(*call)))
    yield from _guarded(_see_fits, loss, pred, target)
    if n > 1:
        weight[0], broken = 0, _loose(pred)
        yield _bits(loss(*map(_loose, (pred, target)), weight=weight))
        broken[0] = np.nan
        yield _bits(loss(broken, target, weight=weight))


def _see_fits(loss: Loss, pred: Any, target: Any) -> Seen:
    yield _bits(loss(pred, target[..., None]))


# --- transforms -----------------------------------------------------------------------------


def see_transform(transform: Transform, params: Any, seeds: int = 2) -> Seen:
    """Yield what is seen of the transform over some steps, and of a call that is made twice."""
    yield transform.elementwise
    for seed in range(seeds):
        for dtype in ("float64", "float32"):
            yield from _guarded(_see_transform, transform, params, seed, dtype)


def _see_transform(transform: Transform, params: Any, seed: int, dtype: str) -> Seen:
    rng = np.random.Generator(np.random.Philox(seed))

    def draw() -> Any:
        return each(lambda p: np.asarray(rng.normal(size=np.shape(p)), dtype), params)

    now = draw()
    opt_state = transform.init(now)
    yield _bits(opt_state)
    before: list[Any] = []
    # Not from step 0 and not one by one: a clock that counts by itself would be right.
    for step in (0, 1, 2, 7):
        yield transform.numbers(step)
        given = (draw(), _loose(opt_state), _loose(now))
        u, opt_state = called(transform, *given, step)
        before += [u, opt_state]
        yield _bits((before, given))
        yield _bits((called(transform, *given, step), before))
        now = each(lambda p, d: p + d.astype(p.dtype), now, u)
